#include "mica/driver/draw_inputs.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstring>
#include <limits>
#include <numbers>

#include "mica/driver/tensor_file.h"
#include "mica/ops/op.h"

namespace mica {

namespace {

/// What is known of a value that holds an input's elements, moved and shifted by a constant: input + offset.
struct Trace {
  int32_t input = -1;
  int64_t offset = 0;
};

/// The value of an integer constant whose elements are all equal.
bool uniform_constant(const Graph& g, Value v, int64_t& value) {
  if (!g.is_constant(v) || !is_integer(g.type(v).dtype) || g.type(v).shape.elements() == 0) return false;
  const RawTensor wide = convert({g.type(v), {g.constant(v).bytes.begin(), g.constant(v).bytes.end()}}, DType::i64);
  std::vector<int64_t> all(wide.bytes.size() / sizeof(int64_t));
  std::memcpy(all.data(), wide.bytes.data(), wide.bytes.size());
  value = all[0];
  return std::all_of(all.begin(), all.end(), [&](int64_t x) { return x == value; });
}

/// The trace of a node's results from those of its operands: views and casts to integers carry it on, adding a constant shifts it.
Trace carry(const Graph& g, const Node& n, const std::vector<Trace>& traces) {
  const std::string_view op = n.info->name();
  if (n.info->is(Trait::view) || op == "cast") {
    Trace found;
    n.for_operands([&](Value v) {
      if (found.input < 0) found = traces[v.id];
    });
    return is_integer(g.type(n.results[0]).dtype) ? found : Trace{};
  }
  if (op == "add" || op == "sub") {
    const Value x = std::get<Value>(n.fields[0]), y = std::get<Value>(n.fields[1]);
    int64_t shift = 0;
    if (traces[x.id].input >= 0 && uniform_constant(g, y, shift)) return {traces[x.id].input, traces[x.id].offset + (op == "add" ? shift : -shift)};
    if (op == "add" && traces[y.id].input >= 0 && uniform_constant(g, x, shift)) return {traces[y.id].input, traces[y.id].offset + shift};
  }
  return {};
}

/// Rows that operand `k` of field `field` selects from, or -1 when it is no index: by convention of the op table, indices stand in a field
/// named `index` or `indices`; what they select from is the first tensor, along `axis`, or `axes[k]`, or the first axis.
int64_t rows_selected(const Graph& g, const Node& n, size_t field, size_t k) {
  const auto& params = n.info->spec->signature.params;
  const auto* table = std::get_if<Value>(&n.fields[0]);
  if ((params[field] != "index" && params[field] != "indices") || !table) return -1;
  int64_t axis = 0;
  for (size_t i = 0; i < n.fields.size(); ++i) {
    if (auto one = std::get_if<int64_t>(&n.fields[i]); one && params[i] == "axis") axis = *one;
    if (auto all = std::get_if<Ints>(&n.fields[i]); all && params[i] == "axes" && k < all->size()) axis = (*all)[k];
  }
  const TensorType& type = g.type(*table);
  if (!type.has_axis(axis) || !type.shape.dim(axis).is_static()) return -1;
  return type.shape[axis];
}

uint64_t mix(uint64_t x) {  // the finaliser of SplitMix64 (Steele, Lea, Flood, 2014)
  x += 0x9e3779b97f4a7c15;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9;
  x = (x ^ (x >> 27)) * 0x94d049bb133111eb;
  return x ^ (x >> 31);
}
double uniform(uint64_t bits) { return static_cast<double>(bits >> 11) * 0x1p-53; }

}  // namespace

std::string to_string(const InputDraw& d) {
  if (d.kind == InputDraw::Kind::index) return fmt::format("index {}..{}", d.low, d.high);
  return d.kind == InputDraw::Kind::mask ? "mask" : "normal";
}

InputDraw parse_input_draw(const std::string& text) {
  InputDraw d;
  if (text == "mask") d.kind = InputDraw::Kind::mask;
  if (text.starts_with("index ")) {
    d.kind = InputDraw::Kind::index;
    const char* const end = text.data() + text.size();
    const auto [dots, code] = std::from_chars(text.data() + 6, end, d.low);
    if (code == std::errc() && end - dots > 2) std::from_chars(dots + 2, end, d.high);
  }
  return d;
}

std::vector<InputDraw> find_input_draws(const Graph& g) {
  constexpr int64_t unbounded = std::numeric_limits<int64_t>::max();
  std::vector<Trace> traces(g.values.size());
  std::vector<int64_t> low(g.inputs.size(), 0), high(g.inputs.size(), unbounded);
  for (size_t i = 0; i < g.inputs.size(); ++i)
    if (is_integer(g.type(g.inputs[i]).dtype)) traces[g.inputs[i].id] = {static_cast<int32_t>(i), 0};
  for (const Node& n : g.nodes) {
    for (size_t f = 0; f < n.fields.size(); ++f) {
      const auto narrow = [&](Value v, size_t k) {
        const Trace t = traces[v.id];
        const int64_t rows = t.input >= 0 ? rows_selected(g, n, f, k) : -1;
        if (rows < 0) return;
        const auto i = static_cast<size_t>(t.input);
        high[i] = std::min(high[i], rows - t.offset);
        low[i] = std::max(low[i], -t.offset);
      };
      if (auto v = std::get_if<Value>(&n.fields[f])) narrow(*v, 0);
      else if (auto vs = std::get_if<Values>(&n.fields[f]))
        for (size_t k = 0; k < vs->size(); ++k)
          if ((*vs)[k]) narrow((*vs)[k], k);
    }
    const Trace t = n.results.empty() ? Trace{} : carry(g, n, traces);
    for (Value r : n.results) traces[r.id] = t;
  }
  std::vector<InputDraw> draws;
  for (size_t i = 0; i < g.inputs.size(); ++i) {
    InputDraw d;
    if (!is_float(g.type(g.inputs[i]).dtype)) {
      d.kind = high[i] == unbounded ? InputDraw::Kind::mask : InputDraw::Kind::index;
      if (d.kind == InputDraw::Kind::index) d.low = low[i], d.high = std::max(high[i], low[i] + 1);
    }
    draws.push_back(d);
  }
  return draws;
}

RawTensor draw_input(const TensorType& type, const InputDraw& draw, uint64_t seed, size_t position) {
  const uint64_t key = mix(mix(seed) + position);
  const int64_t n = type.shape.elements();
  const bool real = is_float(type.dtype);
  RawTensor wide;
  wide.type = {real ? DType::f64 : DType::i64, type.shape, {}};
  wide.bytes.resize(static_cast<size_t>(n) * 8);
  const int64_t last = type.rank() ? std::max<int64_t>(type.shape[-1], 1) : 1;
  const auto put = [&](int64_t i, auto value) { std::memcpy(wide.bytes.data() + i * 8, &value, 8); };
  for (int64_t i = 0; i < n; ++i) {
    const uint64_t a = mix(key ^ mix(static_cast<uint64_t>(2 * i))), b = mix(key ^ mix(static_cast<uint64_t>(2 * i + 1)));
    if (real) {  // Box and Muller, 1958
      put(i, std::sqrt(-2 * std::log(1 - uniform(a))) * std::cos(2 * std::numbers::pi * uniform(b)));
    } else if (draw.kind == InputDraw::Kind::index) {
      const auto range = static_cast<uint64_t>(std::max<int64_t>(draw.high - draw.low, 1));
      put(i, draw.low + static_cast<int64_t>(a % range));
    } else {
      const int64_t row = i / last, half = (last + 1) / 2;
      const auto ones = half + static_cast<int64_t>(mix(key + static_cast<uint64_t>(row)) % static_cast<uint64_t>(last - half + 1));
      put(i, static_cast<int64_t>(i % last < ones));
    }
  }
  return convert(wide, type.dtype);
}

}  // namespace mica
