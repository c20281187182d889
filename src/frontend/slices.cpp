// Slices between places that depend on data: x[:n], cache[:, p : p + 4] = y. The bounds are counted from the front and kept within the axis, as
// Python does; how many elements lie between them is measured when the model runs (ops/measure.h). A slice is a view: first of what stands from
// its start on, then of the front of that.
#include <algorithm>

#include "arguments.h"
#include "mica/ops/compare.h"
#include "mica/ops/control.h"
#include "mica/ops/factory.h"
#include "mica/ops/index.h"
#include "mica/ops/measure.h"
#include "mica/ops/pointwise.h"
#include "mica/ops/view.h"

namespace mica::frontend {
namespace {

/// An argument that is given; null: it is absent, or None.
const Item* given(const std::vector<NamedItem>& arguments, std::string_view name) {
  const Item* item = find(arguments, name);
  return item && !item->is_none() ? item : nullptr;
}

/// A number as one that the program computed and a constant that was added to it.
struct Sum {
  Value base;
  int64_t offset = 0;
};
Sum sum_of(const Graph& graph, Value v) {
  Sum sum{v, 0};
  const auto constant = [&](Value c) { return graph.is_constant(c) && graph.type(c).dtype == DType::i64 && !graph.type(c).rank(); };
  for (size_t i = graph.nodes.size(); i-- > 0;) {
    const Node& n = graph.nodes[i];
    if (n.results.size() != 1 || n.results[0] != sum.base) continue;
    const auto add = match<Add>(n);
    const auto sub = match<Sub>(n);
    if (add && constant(add->y)) sum = {add->x, sum.offset + graph.constant(add->y).as<int64_t>()[0]};
    else if (add && constant(add->x)) sum = {add->y, sum.offset + graph.constant(add->x).as<int64_t>()[0]};
    else if (sub && constant(sub->y)) sum = {sub->x, sum.offset - graph.constant(sub->y).as<int64_t>()[0]};
    else return sum;
  }
  return sum;
}

}  // namespace

/// The size that `count` is found to have, at most `bound`: the same for what is computed alike.
Dim Evaluator::measured(Value count, const Dim& bound) {
  for (const mica::Node& n : graph_.nodes) {
    const auto known = match<Measure>(n);
    if (known && computed_alike(graph_, known->count, count)) return known->size;
  }
  const Dim size = graph_.add_measured_symbol(bound);
  if (!size.is_static()) builder_.create_all(Measure{count, size});
  return size;
}

/// Where an axis of `size` elements is cut: `bound` counted from the front, between 0 and `size`.
Value Evaluator::place_on(const Item& bound, const Dim& size) {
  const Value most = number_value(size_item(size), DType::i64), none = number_value(c10::IValue(int64_t{0}), DType::i64);
  if (bound.is_int() && bound.integer() == INT64_MAX) return most;
  Value at = number_value(bound, DType::i64);
  if (!bound.size() || bound.size()->low() < 0) at = builder_.create(Where{builder_.create(Lt{at, none}), builder_.create(Add{at, most}), at});
  return builder_.create(Maximum{builder_.create(Minimum{at, most}), none});
}

/// The view of x from place `start` on, which is within the axis.
Item Evaluator::tail_view(const Tensor& x, const std::string& name, int64_t axis, const Dim& start) {
  const auto get = [=, this](const ContentsRef& p) { return slice_of(p, axis, start, INT64_MAX, 1); };
  const auto put = [=, this](const ContentsRef& p, const ContentsRef& n) { return slice_scatter(p, n, axis, start, INT64_MAX, 1); };
  return make_view(x, name, get(read(x)), get, put, false);
}

/// The view of the first `count` elements of an axis that has as many.
Item Evaluator::head_view(const Tensor& x, const std::string& name, int64_t axis, const Dim& count) {
  const auto get = [=, this](const ContentsRef& p) { return contents_of(builder_.create(Head{materialise(p), count, axis})); };
  const auto put = [=, this](const ContentsRef& p, const ContentsRef& n) {
    const TensorType type = p->type;
    std::vector<Dim> line(static_cast<size_t>(type.rank()), Dim(1));
    line[static_cast<size_t>(axis)] = type.shape[axis];
    const Value index = builder_.create(
        Reshape{builder_.create(Arange{.count = type.shape[axis], .start = Scalar(0), .step = Scalar(1), .dtype = DType::i64}), Dims(line)});
    const Value inside = builder_.create(Lt{index, number_value(size_item(count), DType::i64)});
    return contents_of(builder_.create(Where{inside, builder_.create(Grow{materialise(n), type.shape[axis], axis}), materialise(p)}));
  };
  return make_view(x, name, get(read(x)), get, put, false);
}

bool Evaluator::run_measured_slice(const std::string& op, const std::vector<NamedItem>& arguments, std::vector<Item>& results) {
  const bool narrow = op == "aten::narrow";
  if (op != "aten::slice" && !narrow) return false;
  const Item *first = given(arguments, "start"), *last = given(arguments, narrow ? "length" : "end"), *step = given(arguments, "step");
  const Item* dim = given(arguments, "dim");
  const Item zero = c10::IValue(int64_t{0}), open = c10::IValue(INT64_MAX);
  if (!(first && first->number()) && !(last && last->number())) return false;
  const Tensor& self = *arguments[0].item.tensor();
  const TensorType type = self.type();
  int64_t axis = dim ? dim->integer() : 0;
  if (axis < 0) axis += type.rank();
  if (axis < 0 || axis >= type.rank() || (step && (!step->is_int() || step->integer() < 1)) || (first && !number_kind(*first))) return false;
  const Dim size = type.shape[axis], most = greatest(size, graph_.symbols.all());
  if (!first) first = &zero;
  if (!last) last = &open;

  const Value from = place_on(*first, size);
  Value to;
  if (narrow) {
    to = builder_.create(Add{from, number_value(*last, DType::i64)});
    const Value fits = builder_.create(LogicalAnd{builder_.create(Le{from, to}), builder_.create(Le{to, number_value(size_item(size), DType::i64)})});
    builder_.create_all(Check{fits, "narrow: what it takes is not within the axis"});
    to = builder_.create(Maximum{from, builder_.create(Minimum{to, number_value(size_item(size), DType::i64)})});
  } else {
    to = place_on(*last, size);
  }
  Item part = arguments[0].item;
  const Dim start = first->number() ? measured(from, most) : slice_range(size, *size_of_item(*first), INT64_MAX, 1).start;
  if (start != 0) part = tail_view(*part.tensor(), op, axis, start);
  if (!last->is_int() || last->integer() != INT64_MAX) {
    Dim bound = most;
    if (narrow && !last->number()) bound = Dim::min(bound, size_of_item(*last).value_or(most));
    if (!narrow && first->number() && last->number()) {
      const Sum a = sum_of(graph_, number_value(*first, DType::i64)), b = sum_of(graph_, number_value(*last, DType::i64));
      if (a.base == b.base) bound = Dim::min(bound, std::max<int64_t>(b.offset - a.offset, 0));
    }
    const Value none = number_value(zero, DType::i64);
    part = head_view(*part.tensor(), op, axis, measured(builder_.create(Maximum{builder_.create(Sub{to, from}), none}), bound));
  }
  if (!step || step->integer() == 1) return results = {part}, true;
  const int64_t by = step->integer();
  const auto get = [=, this](const ContentsRef& p) { return slice_of(p, axis, 0, INT64_MAX, by); };
  const auto put = [=, this](const ContentsRef& p, const ContentsRef& n) { return slice_scatter(p, n, axis, 0, INT64_MAX, by); };
  return results = {make_view(*part.tensor(), op, get(read(*part.tensor())), get, put, false)}, true;
}

}  // namespace mica::frontend
