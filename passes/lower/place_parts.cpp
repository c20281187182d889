// A concatenation without copies: its operands are made where they stand in the result. What makes them stores with the result's pitch, what reads
// them reads with it, by the strides of their types (Layout::within).
//
//   %c = cat([%a, %b], axis=1)        a is channels [0, 64) of c's memory, b is [64, 96)
//
// A concatenation whose operands stand side by side in the memory of a longer one is nothing but a part of that: so a network that appends to what
// it has (Huang et al., "Densely connected convolutional networks", arXiv 1608.06993) writes every channel once.
//
// Which operands can be: those that a node makes for the graph alone, in the result's dtype and order of axes, and that nothing reads or makes which
// takes memory to be dense (kernels that ops bring with them, control flow, copies). An operand that has its place in another result is copied.
// A part keeps the memory of the whole from its first element on; where that would need much more of it, operands are copied as well.
#include "place_parts.h"

#include <algorithm>

#include "mica/ops/index.h"
#include "mica/ops/view.h"

namespace mica::lower {

namespace {

/// Of all that is alive at once; so much more than before is given for copies that fall away.
constexpr double more_memory = 1.1;

/// Sizes of the memory that a value lies in, by axis.
std::vector<Dim> sizes_within(const Graph& graph, const std::map<uint32_t, Part>& parts, Value v) {
  const auto part = parts.find(v.id);
  return part == parts.end() ? graph.type(v).shape.dims() : sizes_within(graph, parts, part->second.whole);
}

class Placer {
 public:
  explicit Placer(const Graph& graph) : graph_(graph), dense_(graph.values.size(), 0) {
    for (const Node& n : graph.nodes)
      if (!takes_strides(n)) {
        n.for_operands([&](Value v) { dense_[v.id] = 1; });
        for (const Value v : n.results) dense_[v.id] = 1;
      }
  }

  std::map<uint32_t, Part> run() {
    bool any = false;
    for (const Node& n : graph_.nodes) any |= match<Cat>(n).has_value();
    if (!any) return {};
    const double most = more_memory * most_alive().first;
    // The last first: it holds what those before it are parts of.
    for (size_t i = graph_.nodes.size(); i-- > 0;)
      if (const auto cat = match<Cat>(graph_.nodes[i])) place(*cat, graph_.nodes[i].result());
    while (shorten(most)) {}
    return std::move(parts_);
  }

 private:
  const Graph& graph_;
  std::vector<uint8_t> dense_;  ///< read or made by what takes memory to be dense
  std::map<uint32_t, Part> parts_;

  static bool takes_strides(const Node& n) {
    return n.info->define && !n.info->kernel && !has_region(n) && n.results.size() == 1 && !match<UpdateAt>(n);
  }

  void place(const Cat& cat, Value whole) {
    const TensorType& type = graph_.type(whole);
    const int64_t axis = cat.axis < 0 ? cat.axis + type.rank() : cat.axis;
    if (!has_own_place(graph_, whole) || dense_[whole.id] || type.shape.elements() == 0) return;
    const auto sized = [&](Value v) { return graph_.type(v).rank() == type.rank() && graph_.type(v).shape[axis].is_static(); };
    if (!std::ranges::all_of(cat.xs.items, sized) || becomes_part(cat, whole, axis)) return;
    int64_t first = 0;
    for (const Value v : cat.xs.items) {
      const int64_t count = graph_.type(v).shape[axis].size();
      const Dim offset = strides_within(whole)[axis] * first;
      if (can_be_part(v, type) && offset.is_static()) parts_.emplace(v.id, Part{whole, axis, first, count, offset.size()});
      first += count;
    }
  }

  /// Where more than `most` bytes are alive at once: of the parts that were made before, the first loses its place again.
  bool shorten(double most) {
    const auto [bytes, when] = most_alive();
    if (bytes <= most) return false;
    const Node* first = &graph_.nodes[when];
    for (const auto& [id, part] : parts_) first = std::min(first, graph_.producer(Value{id}));
    return first != &graph_.nodes[when] && parts_.erase(first->result().id) > 0;
  }

  /// True when all operands stand side by side in one memory, in which the result is from now on.
  bool becomes_part(const Cat& cat, Value whole, int64_t axis) {
    const auto begin = parts_.find(cat.xs.items.front().id);
    if (begin == parts_.end() || begin->second.axis != axis || !can_be_part(whole, graph_.type(begin->second.whole))) return false;
    Part all = begin->second;
    all.count = 0;
    for (const Value v : cat.xs.items) {
      const auto part = parts_.find(v.id);
      if (part == parts_.end() || part->second.whole != all.whole || part->second.axis != axis || part->second.first != all.first + all.count)
        return false;
      all.count += part->second.count;
    }
    return parts_.emplace(whole.id, all), true;
  }

  bool can_be_part(Value v, const TensorType& whole) const {
    const TensorType& type = graph_.type(v);
    const Node* maker = graph_.producer(v);
    if (!has_own_place(graph_, v) || dense_[v.id] || parts_.count(v.id) || type.shape.elements() == 0) return false;
    // A view is not made at all; only its copy is.
    if (maker->info->is(Trait::view) && !match<Cat>(*maker)) return false;
    return type.dtype == whole.dtype && type.layout == whole.layout;
  }

  /// Of a value as it lies by now.
  std::vector<Dim> strides_within(Value v) const {
    TensorType type = graph_.type(v);
    type.layout.within = sizes_within(graph_, parts_, v);
    return type.strides();
  }

  Value root(Value v) const {
    for (auto part = parts_.find(v.id); part != parts_.end(); part = parts_.find(v.id)) v = part->second.whole;
    return v;
  }

  /// Most bytes that are in use at a node, as if every result were in memory, and which node.
  std::pair<double, size_t> most_alive() const {
    struct Life {
      size_t first = ~size_t{0}, last = 0;
    };
    std::map<uint32_t, Life> lives;
    for (size_t i = 0; i < graph_.nodes.size(); ++i) {
      const auto touch = [&](Value v) {
        if (!graph_.producer(v)) return;
        Life& life = lives[root(v).id];
        life.first = std::min(life.first, i);
        life.last = i;
      };
      graph_.nodes[i].for_operands(touch);
      for (const Value v : graph_.nodes[i].results) touch(v);
    }
    std::vector<double> change(graph_.nodes.size() + 1, 0);
    for (const auto& [id, life] : lives) {
      const auto bytes = static_cast<double>(graph_.type(Value{id}).bytes().typical());
      change[life.first] += bytes;
      change[life.last + 1] -= bytes;
    }
    double now = 0;
    std::pair<double, size_t> most{0, 0};
    for (size_t i = 0; i < change.size(); ++i)
      if ((now += change[i]) > most.first) most = {now, i};
    return most;
  }
};

}  // namespace

std::map<uint32_t, Part> place_parts(const Graph& graph) { return Placer(graph).run(); }

Graph with_parts(const Graph& graph, const std::map<uint32_t, Part>& parts) {
  Graph placed = graph;
  for (const auto& [id, part] : parts) placed.values[id].type.layout.within = sizes_within(graph, parts, Value{id});
  return placed;
}

}  // namespace mica::lower
