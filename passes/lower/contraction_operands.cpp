#include "contraction_operands.h"

#include <algorithm>
#include <cstring>

#include "mica/passes/quant.h"

namespace mica::lower {

RowOffsets::RowOffsets(Emitter& emit, const Contraction& c) : emit_(emit), c_(c) {
  if (c_.padded) zero_row_ = emit_.program().zero_tail(c_.a, c_.k);
  if (!c_.rows.empty()) rows_ = table(c_.rows, "row offsets");
  if (!c_.tap_offsets.empty() && c_.taps > 1) taps_ = table(c_.tap_offsets, "tap offsets");
  for (const RowAxis& axis : c_.row_axes) axes_.push_back(table(axis.offsets, "axis offsets"));
}

uint32_t RowOffsets::table(const std::vector<int32_t>& entries, const char* name) {
  std::vector<std::byte> bytes(entries.size() * sizeof(int32_t));
  std::memcpy(bytes.data(), entries.data(), bytes.size());
  return emit_.weight_buffer(emit_.program().add_weight(std::move(bytes), name), DType::i32, static_cast<int64_t>(entries.size()));
}

Expr RowOffsets::at(const Expr& m, const std::vector<Expr>& places, const Expr& tap) const {
  if (!c_.spatial.empty()) return at_places(places, tap);
  if (!axes_.empty()) return sum_of_axes(m, tap);
  if (c_.padded) {
    const Expr entry = cast(DType::i64, make_load(rows_, {DType::i32, 1}, {simplify(m * Expr(c_.taps) + tap)}));
    const Expr inside = simplify(c_.a_base + entry);
    return select(entry < Expr(0), Expr(zero_row_), inside);
  }
  Expr offset = c_.rows.empty() ? m * Expr(c_.a_row) : cast(DType::i64, make_load(rows_, {DType::i32, 1}, {m}));
  if (c_.taps > 1) offset = offset + cast(DType::i64, make_load(taps_, {DType::i32, 1}, {tap}));
  return simplify(c_.a_base + offset);
}

std::vector<Expr> RowOffsets::places(const Expr& m) const {
  std::vector<Expr> places;
  for (size_t s = 0; s < c_.spatial.size(); ++s) {
    Dim inner = 1;
    for (size_t t = s + 1; t < c_.spatial.size(); ++t) inner *= c_.spatial[t].outputs;
    const Expr place = floordiv(m, inner);
    places.push_back(simplify(s == 0 ? place : floormod(place, c_.spatial[s].outputs)));
  }
  return places;
}

Expr RowOffsets::at_places(const std::vector<Expr>& places, const Expr& tap) const {
  Expr offset = c_.a_base, inside;
  int64_t taps = c_.taps;
  for (size_t s = 0; s < c_.spatial.size(); ++s) {
    const SpatialAxis& axis = c_.spatial[s];
    taps /= axis.taps;
    const Expr of_axis = simplify(floormod(floordiv(tap, taps), axis.taps));
    const Expr at = simplify(places[s] * Expr(axis.stride) + of_axis * Expr(axis.dilation) - Expr(axis.padding));
    offset = offset + at * Expr(axis.step);
    const Dim last = (axis.outputs - 1) * axis.stride + (axis.taps - 1) * axis.dilation - axis.padding;
    const auto require = [&](const Expr& e) { inside = inside ? inside && e : e; };
    if (axis.padding > 0) require(at >= Expr(0));
    if (!Dim::surely_less(last, axis.inputs)) require(at < Expr(axis.inputs));
  }
  offset = simplify(offset);
  return inside ? select(inside, offset, Expr(zero_row_)) : offset;
}

Expr RowOffsets::sum_of_axes(const Expr& m, const Expr& tap) const {
  Expr sum;
  int64_t outputs = c_.m.size(), taps = c_.taps;
  for (size_t s = 0; s < axes_.size(); ++s) {
    const RowAxis& axis = c_.row_axes[s];
    outputs /= axis.outputs;
    taps /= axis.taps;
    const Expr o = floormod(floordiv(m, outputs), axis.outputs), t = floormod(floordiv(tap, taps), axis.taps);
    const Expr entry = cast(DType::i64, make_load(axes_[s], {DType::i32, 1}, {simplify(o * Expr(axis.taps) + t)}));
    sum = sum ? sum + entry : entry;
  }
  if (!c_.padded) return simplify(c_.a_base + sum);
  return select(sum < Expr(0), Expr(zero_row_), simplify(c_.a_base + sum));
}

namespace {

/// Columns [first, end) of B.
template <class T> std::vector<std::byte> pack(const Contraction& c, const std::byte* from, const Packing& packing, int64_t first, int64_t end) {
  const T* source = reinterpret_cast<const T*>(from);
  const int64_t width = packing.width, group = packing.group, panels = ceil_div(end - first, width), tile = packing.tile_steps * packing.tile_width;
  std::vector<std::byte> bytes(static_cast<size_t>(c.groups * panels * c.taps * packing.steps * width * group) * sizeof(T));
  T* out = reinterpret_cast<T*>(bytes.data());
  for (int64_t g = 0; g < c.groups; ++g) {
    for (int64_t p = 0; p < panels; ++p) {
      for (int64_t t = 0; t < c.taps; ++t) {
        for (int64_t at = 0; at < packing.steps * width * group; ++at, ++out) {
          const int64_t place = at / group % tile, tiles = at / group / tile, across = width / packing.tile_width;
          const int64_t n = first + p * width + tiles % across * packing.tile_width + place % packing.tile_width;
          const int64_t k = (tiles / across * packing.tile_steps + place / packing.tile_width) * group + at % group;
          *out = n < end && k < c.k ? source[c.b_at(g, t, k, n)] : T(0);
        }
      }
    }
  }
  return bytes;
}

/// Those of f32 in bf16.
std::vector<std::byte> upper_halves(const std::vector<std::byte>& wide) {
  std::vector<std::byte> halves(wide.size() / 2);
  for (size_t i = 0; i < wide.size(); i += 4) std::memcpy(&halves[i / 2], &wide[i + 2], 2);
  return halves;
}

std::vector<std::byte> packed(const Contraction& c, const std::byte* source, const Packing& packing, int64_t first, int64_t end) {
  if (c.held) return upper_halves(pack<float>(c, source, packing, first, end));
  if (c.dtype == DType::f64) return pack<double>(c, source, packing, first, end);
  if (c.dtype == DType::f32) return pack<float>(c, source, packing, first, end);
  return pack<uint16_t>(c, source, packing, first, end);
}

}  // namespace

uint32_t pack_b(Emitter& emit, const Contraction& c, const Packing& packing, int64_t rest) {
  const ConstantData& constant = emit.graph().constant(c.b);
  const int64_t n = c.n.size(), vector = packing.group * emit.target().lanes(size_of(c.sums()));
  std::vector<std::byte> bytes = packed(c, constant.bytes.data(), packing, 0, n - rest);
  if (rest) {
    const std::vector<std::byte> more = packed(c, constant.bytes.data(), {1, 1, ceil_div(c.k, vector) * vector}, n - rest, n);
    bytes.insert(bytes.end(), more.begin(), more.end());
  }
  const int64_t elements = static_cast<int64_t>(bytes.size()) / size_of(c.held_in());
  return emit.weight_buffer(emit.program().add_weight(std::move(bytes), constant.name), c.held_in(), elements);
}

std::optional<DType> narrow_weights(const PendingProgram& program, const Contraction& c) {
  const std::optional<Precision>& precision = program.options.precision;
  if (!precision || !only_weights(*precision, *program.target) || !c.packed || c.inner || c.dtype != DType::f32) return std::nullopt;
  const std::span<const uint32_t> bits = program.graph->constant(c.b).as<uint32_t>();
  return std::ranges::all_of(bits, [](uint32_t b) { return (b & 0xffff) == 0; }) ? precision->narrow : std::optional<DType>();
}

int64_t last_vectors(const Dim& n, int64_t vectors, int32_t lanes) {
  const int64_t width = vectors * lanes;
  return n.is_static() ? ceil_div(n.size() - (ceil_div(n.size(), width) - 1) * width, lanes) : vectors;
}

double flops_of(const Contraction& c) {
  double products = static_cast<double>(c.m.typical()) * static_cast<double>(c.n.typical()) * static_cast<double>(c.k.typical() * c.taps);
  for (const Expr& v : c.batch) products *= static_cast<double>(extent_end(v).typical());
  return 2 * products;
}

Expr pair_bits(const Expr& first, const Expr& second) {
  const auto bits = [](const Expr& x) { return cast(DType::i32, bitcast(DType::i16, x)); };
  const auto number = [&](int64_t i) { return make_broadcast(imm_i(DType::i32, i), first->type.lanes); };
  const Expr low = make_binary(ExprOp::band, bits(first), number(0xffff));
  return second ? make_binary(ExprOp::bor, low, make_binary(ExprOp::shl, bits(second), number(16))) : low;
}

}  // namespace mica::lower
