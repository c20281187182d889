#include <utility>

#include "../graph/constants.h"
#include "mica/ops/compare.h"
#include "mica/ops/control.h"
#include "mica/ops/conv.h"
#include "mica/ops/matmul.h"
#include "mica/ops/reduce.h"
#include "mica/passes/quant.h"
#include "mica/target/target.h"

namespace mica {

namespace {

/// A sum of products. One product alone is none: an outer product makes angles of positions, which need their digits.
bool is_contraction(const Graph& graph, const Node& n) {
  if (const auto matmul = match<Matmul>(n)) return graph.type(matmul->a).shape[-1] != 1;
  if (const auto linear = match<Linear>(n)) return graph.type(linear->x).shape[-1] != 1;
  return match<Conv>(n) || match<ConvTranspose>(n);
}

/// One number for many: rounding it is an error that all who read it share, and storing it wide costs little.
bool is_statistic(const Graph& graph, const Node& n) {
  const auto mean = match<Mean>(n);
  const auto sum = match<Sum>(n);
  if (!mean && !sum) return false;
  const auto elements = [&](Value v) { return graph.type(v).shape.elements().typical(); };
  return elements(n.results[0]) * 8 <= elements(mean ? mean->x : sum->x);
}

/// Writes the nodes of a graph anew, with the narrow dtype where it is to be.
class Narrower {
 public:
  Narrower(Graph& graph, const Precision& precision, bool weights)
      : graph_(graph), precision_(precision), weights_(weights), builder_(graph, scratch_) {
    for (uint32_t id = 0; id < graph.values.size(); ++id) now_.push_back(Value{id});
    narrowed_.resize(graph.values.size());
  }

  bool run() {
    const std::vector<Node> old = std::exchange(graph_.nodes, {});
    for (const Node& n : old) {
      builder_.location = n.location;
      if (weights_) round_weights(n);
      else if (is_contraction(graph_, n) && wide(n.results[0])) contract(n);
      else if (!reads_narrow(n)) copy(n, false);
      else if (!n.info->define || has_region(n)) copy(n, true);
      else if (is_statistic(graph_, n)) copy(n, true);
      else if (!compute_narrow(n)) compute_wide(n);
    }
    graph_.map_results([&](Value v) { return widened(v); });
    graph_.renumber();
    if (changed_) remove_dead_nodes(graph_);
    return changed_;
  }

 private:
  Graph& graph_;
  const Precision& precision_;
  bool weights_;         ///< and nothing else
  Diagnostics scratch_;  ///< what does not infer is computed in another way
  Builder builder_;
  std::vector<Value> now_;       ///< by a value's number in the old graph: what holds it now
  std::vector<Value> narrowed_;  ///< by the same: its narrow copy, where it stayed wide
  bool changed_ = false;

  bool wide(Value v) const { return graph_.type(v).dtype == precision_.wide; }
  bool is_narrow(Value v) const { return wide(v) && graph_.type(now_[v.id]).dtype == precision_.narrow; }
  bool reads_narrow(const Node& n) const {
    bool found = false;
    n.for_operands([&](Value v) { found |= is_narrow(v); });
    return found;
  }

  /// A value in the wide dtype. Every reader gets a cast of its own, which becomes part of its kernel: memory holds the narrow one.
  Value widened(Value v) { return is_narrow(v) ? builder_.create(Cast{now_[v.id], precision_.wide}) : now_[v.id]; }

  /// A value in the narrow dtype; a constant is rounded here and now.
  Value narrow(Value v) {
    if (!wide(v) || is_narrow(v)) return now_[v.id];
    Value& copy = narrowed_[v.id];
    if (copy) return copy;
    if (!graph_.is_constant(v)) return copy = builder_.create(Cast{now_[v.id], precision_.narrow});
    TensorType type = graph_.type(v);
    HostTensor elements = constant_tensor(graph_, v);
    type.dtype = precision_.narrow;
    return copy = graph_.add_constant(type, ConstantData::own(from_host(elements, type), graph_.constant(v).name));
  }

  /// The node as it is, its results in the wide dtype.
  void copy(Node n, bool widen) {
    n.map_operands([&](Value v) { return widen ? widened(v) : now_[v.id]; });
    graph_.nodes.push_back(std::move(n));
  }

  void contract(Node n) {
    const Value result = n.results[0];
    size_t operand = 0;  // the third is a bias, which is added to sums that are wide
    n.map_operands([&](Value v) { return operand++ < 2 ? narrow(v) : widened(v); });
    now_[result.id] = builder_.append(n.info, std::move(n.fields)).at(0);
    changed_ = true;
  }

  /// The node as it is, its weights rounded.
  void round_weights(Node n) {
    size_t operand = 0;
    const bool sums = is_contraction(graph_, n);
    n.map_operands([&](Value v) { return operand++ == 1 && sums && wide(v) && graph_.is_constant(v) ? rounded(v) : now_[v.id]; });
    graph_.nodes.push_back(std::move(n));
  }

  /// A constant with the digits that the narrow dtype has, in the wide one.
  Value rounded(Value v) {
    Value& copy = narrowed_[v.id];
    if (copy) return copy;
    const TensorType& type = graph_.type(v);
    TensorType short_type = type;
    short_type.dtype = precision_.narrow;
    changed_ = true;
    const std::vector<std::byte> digits = from_host(constant_tensor(graph_, v), short_type);
    std::vector<std::byte> elements = from_host(to_host(short_type, digits), type);
    return copy = graph_.add_constant(type, ConstantData::own(std::move(elements), graph_.constant(v).name));
  }

  /// What the node makes of narrow operands: wide results are stored narrow. Nothing when it takes them not, or means something else then.
  bool compute_narrow(const Node& old) {
    Node n = old;
    n.map_operands([&](Value v) { return now_[v.id]; });
    const std::vector<Value> results = builder_.append(n.info, std::move(n.fields));
    bool same = results.size() == old.results.size();
    for (size_t i = 0; same && i < results.size(); ++i) {
      const TensorType &made = graph_.type(results[i]), &meant = graph_.type(old.results[i]);
      same = made.dtype == meant.dtype || (made.dtype == precision_.narrow && meant.dtype == precision_.wide);
    }
    if (same) adopt(old, results);
    return same;  // a node that nobody reads goes by itself
  }

  void compute_wide(const Node& old) {
    Node n = old;
    n.map_operands([&](Value v) { return widened(v); });
    adopt(old, builder_.append(n.info, std::move(n.fields)));
  }

  void adopt(const Node& old, const std::vector<Value>& results) {
    MICA_CHECK(results.size() == old.results.size(), old.info->name());
    for (size_t i = 0; i < results.size(); ++i) {
      const Value was = old.results[i];
      const bool store_narrow = wide(was) && graph_.type(results[i]).dtype == precision_.wide;
      now_[was.id] = store_narrow ? builder_.create(Cast{results[i], precision_.narrow}) : results[i];
    }
  }
};

bool run(Graph& graph, PassContext& context) {
  if (!context.precision) return false;
  return Narrower(graph, *context.precision, context.target && only_weights(*context.precision, *context.target)).run();
}

}  // namespace

bool only_weights(const Precision& precision, const Target& target) {
  return precision.narrow == DType::bf16 && !target.dot_bf16 && !target.tiles.dot_bf16;
}

/// Computes in a lower precision, where one was asked for (PassContext::precision; here f32 to bf16):
///   %0 = conv(%x, %w, %bias) : f32[1, 8, 16, 16]
///   %1 = relu(%0)            : f32[1, 8, 16, 16]
///   return %1
///     =>
///   %n = cast(%x, dtype=bf16)
///   %0 = conv(%n, %w', %bias) : bf16[1, 8, 16, 16]       %w' is %w rounded once, the bias stays as it is
///   %1 = relu(%0)             : bf16[1, 8, 16, 16]
///   %2 = cast(%1, dtype=f32)
///   return %2
/// Contractions multiply narrow operands and add up in f32. What is computed from their results is stored in the narrow dtype; nothing
/// else is: means and sums, masks, positions, scales and tables that no contraction has touched keep their digits. Every op computes in f32
/// (ops/rules.h), so norms, softmax and reductions do; an op in kernel form and a region get wide operands and give wide results. Inputs, outputs and
/// states keep their dtypes. Where the target multiplies no pairs of the narrow dtype, constants that contractions multiply by are rounded, in the
/// wide dtype, and nothing else changes (only_weights). Within a kernel nothing is rounded between two ops (LowerOptions::precision).
constinit const Pass lower_precision = {.name = "lower_precision", .summary = "Compute in a lower precision where one was asked for", .run = run};

}  // namespace mica
