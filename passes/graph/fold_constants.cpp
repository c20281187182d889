/// Computes what does not depend on the inputs:
///   %w = constant dense<1.0, 2.0> : f32[2]
///   %0 = mul(%w, %w)
///   %1 = add(%x, %0)
///     =>
///   %0 = constant dense<1.0, 4.0> : f32[2]
///   %1 = add(%x, %0)
/// by the interpreter, in fp64, rounded once to the result's dtype. Not folded: what makes the weights grow (an expanded bias),
/// what takes very long, and what fails (the error belongs to the run).
#include <algorithm>

#include "mica/ir/interpret.h"
#include "mica/ops/factory.h"
#include "mica/ops/view.h"
#include "mica/passes/graph.h"

namespace mica {

namespace {

// Up to here a result may be larger than the operands: what only repeats elements costs nothing to leave to the consumer, while a
// computed table (a relative position bias) would be computed in every run.
constexpr int64_t small_repeated_bytes = 64 << 10;
constexpr int64_t small_computed_bytes = 1 << 20;
constexpr double kernel_steps = 1024;                  // the kernel interpreter is slow
constexpr double greatest_work = 256.0 * 1024 * 1024;  // points times reduction steps: about ten seconds of the interpreter

bool is_foldable(const Rewriter& rw) {
  const Node& n = rw.at();
  if (!n.info->is(Trait::pure) || (!n.info->define && !n.info->decompose && !n.info->kernel)) return false;
  bool constant = true;
  int64_t operands = 0;
  n.for_operands([&](Value v) {
    constant &= rw.is_constant(v);
    if (constant) operands += rw.type(v).bytes();
  });
  for (const Attr& a : n.fields) constant &= !std::holds_alternative<Region>(a);
  for_mentions(const_cast<Rewriter&>(rw).graph(), n, [&](uint32_t) { constant = false; });
  if (!constant) return false;
  int64_t results = 0;
  for (const Value r : n.results) {
    if (!rw.type(r).shape.is_static() || !rw.type(r).layout.is_identity()) return false;
    results += rw.type(r).bytes();
  }
  const bool repeats = n.info->is(Trait::view) || n.info == &op_info<Full>;
  return results <= std::max(operands, repeats ? small_repeated_bytes : small_computed_bytes);
}

/// Points of the results times steps of the reductions over them.
double work_of(const Graph& graph, const Node& n) {
  double work = 0;
  for (size_t r = 0; r < n.results.size(); ++r) {
    double steps = n.info->kernel ? kernel_steps : 1;
    if (n.info->define) {
      Define d(graph, n, r);
      visit(n.info->define(n, d), [&](const Expr& e) {
        if (e->op != ExprOp::reduce) return;
        double own = 1;
        for (const Expr& v : e->vars) own *= static_cast<double>(v->limit - v->int_value);
        steps += own;
      });
    }
    work += steps * static_cast<double>(graph.type(n.results[r]).shape.elements());
  }
  return work;
}

std::string folded_name(const Rewriter& rw) {
  std::string name;
  rw.at().for_operands([&](Value v) {
    if (name.empty()) name = const_cast<Rewriter&>(rw).graph().values[v.id].name;
  });
  return name.empty() ? "" : fmt::format("{}.{}", name, rw.at().info->name());
}

/// A reshape moves no bytes: the new constant shares them.
bool fold_reshape(Rewriter& rw) {
  const auto reshape = match<Reshape>(rw.at());
  if (!reshape || !rw.type(reshape->x).layout.is_identity()) return false;
  rw.replace(rw.constant(rw.type(rw.at().result()), rw.graph().constant(reshape->x)));
  return true;
}

/// Copies elements of one size in result order; `strides` are those of the result's axes in the operand, in elements.
template <class T>
void copy_permuted(const std::byte* from, std::byte* to, const std::vector<int64_t>& sizes, const std::vector<int64_t>& strides, size_t unit) {
  const auto* source = reinterpret_cast<const T*>(from);
  auto* out = reinterpret_cast<T*>(to);
  // The last axis and the one that is innermost in the operand go in tiles, so that both sides stay in the cache.
  constexpr int64_t tile = 32;
  const size_t last = sizes.size() - 1;
  std::vector<int64_t> steps(sizes.size(), 1);
  for (size_t a = last; a-- > 0;) steps[a] = steps[a + 1] * sizes[a + 1];
  std::vector<int64_t> index(sizes.size(), 0);
  for (bool more = true; more;) {
    int64_t place = 0, target = 0;
    for (size_t a = 0; a < last; ++a)
      if (a != unit) place += index[a] * strides[a], target += index[a] * steps[a];
    const int64_t rows = unit == last ? 1 : sizes[unit];
    for (int64_t r0 = 0; r0 < rows; r0 += tile)
      for (int64_t c0 = 0; c0 < sizes[last]; c0 += tile)
        for (int64_t r = r0; r < std::min(rows, r0 + tile); ++r)
          for (int64_t c = c0; c < std::min(sizes[last], c0 + tile); ++c)
            out[target + (unit == last ? 0 : r * steps[unit]) + c] = source[place + (unit == last ? 0 : r * strides[unit]) + c * strides[last]];
    more = false;
    for (size_t a = last; a-- > 0 && !more;) {
      if (a == unit) continue;
      more = ++index[a] < sizes[a];
      if (!more) index[a] = 0;
    }
  }
}

/// A permutation of large weights: bytes are moved, nothing is computed.
bool fold_permute(Rewriter& rw) {
  const auto permute = match<Permute>(rw.at());
  if (!permute || !rw.type(permute->x).layout.is_identity() || rw.type(permute->x).rank() < 2) return false;
  const TensorType from = rw.type(permute->x), type = rw.type(rw.at().result());
  if (type.shape.elements() == 0) return false;
  const std::vector<Dim> operand_strides = from.strides();
  std::vector<int64_t> strides;
  size_t unit = 0;
  for (size_t i = 0; i < permute->axes.size(); ++i) {
    const int64_t axis = from_front(permute->axes[i], from.rank());
    strides.push_back(operand_strides[axis]);
    if (axis == from.rank() - 1) unit = i;
  }
  std::vector<std::byte> bytes(type.bytes());
  const std::byte* source = rw.graph().constant(permute->x).bytes.data();
  const std::vector<int64_t> sizes = type.shape.sizes();
  switch (size_of(type.dtype)) {
    case 8: copy_permuted<uint64_t>(source, bytes.data(), sizes, strides, unit); break;
    case 4: copy_permuted<uint32_t>(source, bytes.data(), sizes, strides, unit); break;
    case 2: copy_permuted<uint16_t>(source, bytes.data(), sizes, strides, unit); break;
    default: copy_permuted<uint8_t>(source, bytes.data(), sizes, strides, unit);
  }
  rw.replace(rw.constant(type, ConstantData::own(std::move(bytes), folded_name(rw))));
  return true;
}

bool fold(Rewriter& rw) {
  if (!is_foldable(rw)) return false;
  if (fold_reshape(rw) || fold_permute(rw)) return true;
  Graph& graph = rw.graph();
  const Node& n = rw.at();
  if (work_of(graph, n) > greatest_work) return false;
  std::vector<HostTensor> held;
  n.for_operands([&](Value v) { held.push_back(to_host(graph.type(v), graph.constant(v).bytes)); });
  std::vector<const HostTensor*> operands;
  for (const HostTensor& t : held) operands.push_back(&t);
  Diagnostics ignored;
  const auto results = interpret_node(graph, n, operands, ignored);
  if (!results) return false;
  const std::string name = folded_name(rw);
  std::vector<Value> with;
  for (size_t r = 0; r < results->size(); ++r) {
    const TensorType type = graph.type(n.results[r]);
    with.push_back(rw.constant(type, ConstantData::own(from_host((*results)[r], type), name)));
  }
  rw.replace(std::move(with));
  return true;
}

bool fold_all(Graph& graph, PassContext& context) { return run_rewrite(graph, context, fold); }

}  // namespace

constinit const Pass fold_constants = {.name = "fold_constants", .summary = "Compute what does not depend on the inputs", .run = fold_all};

}  // namespace mica
