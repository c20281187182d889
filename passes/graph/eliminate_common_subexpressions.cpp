/// Computes the same thing once: of nodes with the same op, operands and attributes the first stays; of constants with the same
/// type and bytes, too.
///   %0 = exp(%x)
///   %1 = exp(%x)
///   %2 = add(%0, %1)
///     =>
///   %0 = exp(%x)
///   %2 = add(%0, %0)
/// Only ops without effect and without regions. Every merged pair has equal bits: 0.0 and -0.0 stay apart.
#include <bit>
#include <cstring>
#include <functional>

#include "mica/passes/graph.h"
#include "mica/support/defect.h"
#include "mica/support/hash.h"

namespace mica {

namespace {

constexpr size_t compared_bytes = 4096;  // longer constants are the same only if they share their storage

size_t mix(size_t seed, size_t v) { return seed ^ (v + 0x9e3779b97f4a7c15ull + (seed << 6) + (seed >> 2)); }

size_t hash_of(const Attr& a) {
  return std::visit(
      [](const auto& x) -> size_t {
        using T = std::decay_t<decltype(x)>;
        if constexpr (std::is_same_v<T, Value>) return x.id;
        else if constexpr (std::is_same_v<T, OptValue>) return x.value.id;
        else if constexpr (std::is_same_v<T, double>) return std::bit_cast<uint64_t>(x);
        else if constexpr (std::is_same_v<T, Scalar>) return mix(std::bit_cast<uint64_t>(x.real), static_cast<size_t>(x.integer));
        else if constexpr (std::is_same_v<T, Region>) return reinterpret_cast<size_t>(x.graph.get());
        else if constexpr (std::is_same_v<T, std::string>) return std::hash<std::string>{}(x);
        else if constexpr (std::is_same_v<T, Values> || std::is_same_v<T, Ints>) {
          size_t h = x.items.size();
          for (const auto& i : x.items) {
            if constexpr (std::is_same_v<T, Values>) h = mix(h, i.id);
            else h = mix(h, static_cast<size_t>(i));
          }
          return h;
        } else if constexpr (std::is_same_v<T, Dim>) return structural_hash(x);
        else if constexpr (std::is_same_v<T, Dims>) {
          size_t h = x.items.size();
          for (const Dim& d : x.items) h = mix(h, structural_hash(d));
          return h;
        } else return static_cast<size_t>(x);
      },
      a);
}

bool same(const Attr& a, const Attr& b) {
  if (a.index() != b.index()) return false;
  if (auto x = std::get_if<double>(&a)) return std::bit_cast<uint64_t>(*x) == std::bit_cast<uint64_t>(std::get<double>(b));
  if (auto x = std::get_if<Scalar>(&a)) {
    const Scalar& y = std::get<Scalar>(b);
    return x->dtype == y.dtype && x->integer == y.integer && std::bit_cast<uint64_t>(x->real) == std::bit_cast<uint64_t>(y.real);
  }
  return a == b;
}

bool counts(const Node& n, size_t field) { return !defect(Defect::merged_axis) || n.info->spec->signature.params[field] != "axis"; }

bool same(const Node& a, const Node& b) {
  if (a.info != b.info) return false;
  for (size_t i = 0; i < a.fields.size(); ++i)
    if (!same(a.fields[i], b.fields[i]) && counts(a, i)) return false;
  return true;
}

bool mergeable(const Node& n) { return n.info->is(Trait::pure) && !has_region(n); }

/// For every constant the first one that is the same.
void merge_constants(const Graph& graph, std::vector<Value>& forward) {
  std::unordered_multimap<size_t, Value> seen;
  for (uint32_t id = 0; id < graph.values.size(); ++id) {
    const Value v{id};
    if (!graph.is_constant(v)) continue;
    const auto bytes = graph.constant(v).bytes;
    const bool small = bytes.size() <= compared_bytes;
    const size_t key = mix(bytes.size(), small ? hash64(bytes) : reinterpret_cast<size_t>(bytes.data()));
    const auto [from, to] = seen.equal_range(key);
    for (auto it = from; it != to && !forward[id]; ++it) {
      const auto other = graph.constant(it->second).bytes;
      if (graph.type(v) == graph.type(it->second) && other.size() == bytes.size() &&
          (other.data() == bytes.data() || (small && std::memcmp(other.data(), bytes.data(), bytes.size()) == 0)))
        forward[id] = it->second;
    }
    if (!forward[id]) seen.emplace(key, v);
  }
}

bool eliminate(Graph& graph, PassContext&) {
  bool changed = false;
  std::vector<Value> forward(graph.values.size());
  merge_constants(graph, forward);
  const auto resolve = [&](Value v) { return forward[v.id] ? forward[v.id] : v; };
  std::unordered_multimap<size_t, size_t> seen;
  std::vector<bool> gone(graph.nodes.size());
  for (size_t i = 0; i < graph.nodes.size(); ++i) {
    Node& n = graph.nodes[i];
    n.map_operands([&](Value v) {
      changed |= static_cast<bool>(forward[v.id]);
      return resolve(v);
    });
    if (!mergeable(n)) continue;
    size_t key = reinterpret_cast<size_t>(n.info);
    for (size_t k = 0; k < n.fields.size(); ++k) key = counts(n, k) ? mix(key, hash_of(n.fields[k])) : key;
    const auto [from, to] = seen.equal_range(key);
    for (auto it = from; it != to && !gone[i]; ++it) {
      const Node& first = graph.nodes[it->second];
      if (!same(first, n)) continue;
      for (size_t r = 0; r < n.results.size(); ++r) forward[n.results[r].id] = first.results[r];
      gone[i] = true;
    }
    if (!gone[i]) seen.emplace(key, i);
  }
  graph.map_results(resolve);
  for (State& s : graph.states) s.initial = resolve(s.initial);
  std::vector<Node> kept;
  for (size_t i = 0; i < graph.nodes.size(); ++i)
    if (!gone[i]) kept.push_back(std::move(graph.nodes[i]));
  changed |= kept.size() != graph.nodes.size();
  graph.nodes = std::move(kept);
  graph.renumber();
  return changed;
}

}  // namespace

constinit const Pass eliminate_common_subexpressions = {
    .name = "eliminate_common_subexpressions", .summary = "Compute equal nodes once, hold equal constants once", .run = eliminate};

}  // namespace mica
