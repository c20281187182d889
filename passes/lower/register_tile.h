#pragma once
// The sums of a register tile, which stay in vector registers while products are added to them.
#include "emit.h"

namespace mica::lower {

struct Accumulators {
  uint32_t buffer = 0;  ///< of registers
  int64_t rows = 1, vectors = 1;
  ExprType type;  ///< of a vector

  static Accumulators make(Emitter& emit, int64_t rows, int64_t vectors, ExprType type) {
    return {emit.local("acc", type, rows * vectors, Memory::registers), rows, vectors, type};
  }
  Expr load(int64_t i, int64_t j) const { return make_load(buffer, type, {Expr(i * vectors + j)}); }
  std::vector<Stmt> clear() const {
    std::vector<Stmt> out;
    const Expr zero = make_broadcast(imm(type.dtype, 0), type.lanes);
    for (int64_t i = 0; i < rows * vectors; ++i) out.push_back(Stmt::store(buffer, Expr(i), zero));
    return out;
  }
  /// Every sum (i, j) becomes `next(i, j, sum)`. Row by row: the vectors of the right operand and one element of the left one are alive at a time.
  /// Column by column it would be every row's element, which with 24 accumulators does not fit 32 registers.
  template <class Next> std::vector<Stmt> update(Next&& next) const {
    std::vector<Stmt> out;
    for (int64_t i = 0; i < rows; ++i) {
      for (int64_t j = 0; j < vectors; ++j) out.push_back(Stmt::store(buffer, Expr(i * vectors + j), next(i, j, load(i, j))));
    }
    return out;
  }
};

}  // namespace mica::lower
