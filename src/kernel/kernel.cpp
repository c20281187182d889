#include "mica/kernel/kernel.h"

namespace mica {

Stmt Stmt::block(std::vector<Stmt> body) {
  Stmt s;
  s.kind = Kind::block;
  s.body = std::move(body);
  return s;
}

Stmt Stmt::loop(Expr var, Expr low, Expr high, Expr step, std::vector<Stmt> body, ForKind kind) {
  Stmt s;
  s.kind = Kind::loop;
  s.var = std::move(var);
  s.low = std::move(low);
  s.high = std::move(high);
  s.step = std::move(step);
  s.body = std::move(body);
  s.for_kind = kind;
  return s;
}

Stmt Stmt::store(uint32_t buffer, Expr index, Expr value, Expr mask) {
  Stmt s;
  s.kind = Kind::store;
  s.buffer = buffer;
  s.index = std::move(index);
  s.value = std::move(value);
  s.mask = std::move(mask);
  return s;
}

Stmt Stmt::let(Expr var, Expr value, std::vector<Stmt> body) {
  Stmt s;
  s.kind = Kind::let;
  s.var = std::move(var);
  s.value = std::move(value);
  s.body = std::move(body);
  return s;
}

Stmt Stmt::branch(Expr condition, std::vector<Stmt> then, std::vector<Stmt> otherwise) {
  Stmt s;
  s.kind = Kind::branch;
  s.condition = std::move(condition);
  s.body = std::move(then);
  s.otherwise = std::move(otherwise);
  return s;
}

Stmt Stmt::check(Expr condition, int32_t site, Expr value) {
  Stmt s;
  s.kind = Kind::check;
  s.condition = std::move(condition);
  s.site = site;
  s.value = std::move(value);
  return s;
}

Stmt Stmt::prefetch(uint32_t buffer, Expr index) {
  Stmt s;
  s.kind = Kind::prefetch;
  s.buffer = buffer;
  s.index = std::move(index);
  return s;
}

Stmt Stmt::tile_zero(uint32_t tile) {
  Stmt s;
  s.kind = Kind::tile_zero;
  s.tile = tile;
  return s;
}

namespace {
Stmt tile_access(Stmt::Kind kind, uint32_t tile, uint32_t buffer, Expr index, Expr row_step) {
  Stmt s;
  s.kind = kind;
  s.tile = tile;
  s.buffer = buffer;
  s.index = std::move(index);
  s.step = std::move(row_step);
  return s;
}
}  // namespace

Stmt Stmt::tile_load(uint32_t tile, uint32_t buffer, Expr index, Expr row_step) {
  return tile_access(Kind::tile_load, tile, buffer, std::move(index), std::move(row_step));
}

Stmt Stmt::tile_store(uint32_t tile, uint32_t buffer, Expr index, Expr row_step) {
  return tile_access(Kind::tile_store, tile, buffer, std::move(index), std::move(row_step));
}

Stmt Stmt::tile_dot(uint32_t tile, uint32_t left, uint32_t right) {
  Stmt s;
  s.kind = Kind::tile_dot;
  s.tile = tile;
  s.left = left;
  s.right = right;
  return s;
}

uint32_t Kernel::params() const {
  uint32_t count = 0;
  while (count < buffers.size() && buffers[count].memory == Memory::param) ++count;
  return count;
}

uint32_t Kernel::add_buffer(Buffer b) {
  buffers.push_back(std::move(b));
  return static_cast<uint32_t>(buffers.size() - 1);
}

}  // namespace mica
