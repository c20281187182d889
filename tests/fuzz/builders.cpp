#include "builders.h"

#include "generator.h"

namespace mica::fuzz {

namespace {

using Sizes = std::vector<int64_t>;

DType dtype_of(Generator& g, const std::string& name) { return g.scene().at(name).type.dtype; }
const Shape& shape_of(Generator& g, const std::string& name) { return g.scene().at(name).type.shape; }
std::string flag(Generator& g) { return g.random().chance(0.5) ? "True" : "False"; }
/// A bias in `dtype`, or None.
std::string bias(Generator& g, DType dtype, int64_t n) { return g.random().chance(0.6) ? g.parameter(dtype, {n}) : "None"; }

std::string repeated(int64_t value, int64_t count) {
  std::string out = "[";
  for (int64_t i = 0; i < count; ++i) out += fmt::format("{}{}", i ? ", " : "", value);
  return out + "]";
}
std::string drawn(Generator& g, int64_t low, int64_t high, int64_t count) {
  std::string out = "[";
  for (int64_t i = 0; i < count; ++i) out += fmt::format("{}{}", i ? ", " : "", g.random().between(low, high));
  return out + "]";
}
/// Rank 3 to 5 with spatial axes of at least `least`, moderately large.
std::string image(Generator& g, int64_t axes, int64_t least, DType* dtype = nullptr) {
  const auto fits = [&](const Variable& v) {
    if (!is_float(v.type.dtype) || v.type.rank() != axes + 2 || v.type.shape.elements() == 0) return false;
    for (int64_t i = 2; i < axes + 2; ++i)
      if (v.type.shape[i] < least) return false;
    return true;
  };
  std::string x = g.random().chance(0.5) ? g.pick(fits) : std::string();
  if (x.empty()) {
    Sizes s = {g.random().between(1, 3), g.random().one_of({1, 2, 3, 4, 5, 8, 16, 17, 32})};
    const int64_t most = axes == 1 ? 40 : axes == 2 ? 18 : 7;
    for (int64_t i = 0; i < axes; ++i) s.push_back(g.random().between(least, std::max(least, most)));
    x = g.leaf(g.floating_dtype(), s);
  }
  if (dtype) *dtype = dtype_of(g, x);
  return x;
}

}  // namespace

std::string build_matmul(Generator& g) {
  Random& r = g.random();
  const std::string a = g.pick([](const Variable& v) { return !is_bool(v.type.dtype) && v.type.rank() >= 1; });
  const std::string left = !a.empty() && r.chance(0.6) ? a : g.leaf(g.floating_dtype(), g.sizes(r.between(1, 4)));
  const Shape s = shape_of(g, left);
  const int64_t k = s[-1], n = r.one_of({1, 2, 3, 5, 7, 8, 15, 16, 17, 31, 32, 33, 48, 63, 64, 65});
  Sizes b;
  const int64_t kind = r.between(0, 5);
  if (kind == 0) b = {k};
  else if (kind == 1 && s.rank() >= 3) {
    b = s.sizes();
    b.back() = n, b[b.size() - 2] = k;
    if (r.chance(0.3)) b[0] = 1;
  } else b = {k, n};
  const bool flipped = b.size() == 2 && r.chance(0.4);
  if (flipped) std::swap(b[0], b[1]);
  std::string right = r.chance(0.5) ? g.parameter(dtype_of(g, left), b) : g.tensor(dtype_of(g, left), b);
  if (flipped) right += ".t()";
  const std::string d = g.fresh();
  if (s.rank() == 2 && b.size() == 2 && r.chance(0.2)) {
    const std::string c = g.tensor(dtype_of(g, left), {r.chance(0.5) ? 1 : s[0].size(), n});
    return fmt::format("{} = torch.addmm({}, {}, {})", d, c, left, right);
  }
  if (s.rank() == 3 && b.size() == 3 && b[0] == s[0] && r.chance(0.4)) return fmt::format("{} = torch.bmm({}, {})", d, left, right);
  return fmt::format("{} = torch.matmul({}, {})", d, left, right);
}

std::string build_linear(Generator& g) {
  const std::string x = g.floating(g.random().between(1, 4));
  const DType t = dtype_of(g, x);
  const int64_t k = shape_of(g, x)[-1], n = g.random().one_of({1, 3, 5, 8, 16, 17, 33, 64});
  const std::string w = g.parameter(t, {n, k});
  return fmt::format("{} = torch.linear({}, {}, {})", g.fresh(), x, w, bias(g, t, n));
}

std::string build_einsum(Generator& g) {
  const std::string x = g.floating(3);
  const Shape s = shape_of(g, x);
  const DType t = dtype_of(g, x);
  const int64_t n = g.random().between(1, 9);
  switch (g.random().between(0, 3)) {
    case 0: return fmt::format("{} = torch.einsum(\"bij,bjk->bik\", {}, {})", g.fresh(), x, g.tensor(t, {s[0], s[2], n}));
    case 1: return fmt::format("{} = torch.einsum(\"bij,kj->kbi\", {}, {})", g.fresh(), x, g.tensor(t, {n, s[2]}));
    case 2: return fmt::format("{} = torch.einsum(\"bij,bij->b\", {}, {})", g.fresh(), x, g.tensor(t, s.sizes()));
    default: return fmt::format("{} = torch.einsum(\"bij->jb\", {})", g.fresh(), x);
  }
}

std::string build_conv(Generator& g) {
  Random& r = g.random();
  const int64_t axes = r.one_of({1, 2, 2, 2, 2, 3}), kernel = r.one_of({1, 1, 2, 3, 3, 3, 5}), dilation = r.one_of({1, 1, 1, 2});
  DType t{};
  const std::string x = image(g, axes, 3, &t);
  const int64_t channels = shape_of(g, x)[1];
  const int64_t groups = r.chance(0.3) ? channels : channels % 2 == 0 && r.chance(0.2) ? 2 : 1;
  const int64_t out = groups * r.one_of({1, 1, 2, 3, 4, 8, 16, 17});
  Sizes w = {out, channels / groups};
  for (int64_t i = 0; i < axes; ++i) w.push_back(r.chance(0.15) ? r.between(1, 3) : kernel);
  const std::string weight = g.parameter(t, w), b = bias(g, t, out), d = g.fresh();
  const std::string padding = r.chance(0.15) ? "\"same\"" : drawn(g, 0, kernel / 2 + 1, axes);
  return fmt::format("{} = torch.conv{}d({}, {}, {}, {}, {}, {}, {})", d, axes, x, weight, b,
                     padding[0] == '"' ? repeated(1, axes)
                     : r.chance(0.6)   ? repeated(1, axes)
                                       : drawn(g, 1, 3, axes),
                     padding, repeated(dilation, axes), groups);
}

std::string build_conv_transpose(Generator& g) {
  Random& r = g.random();
  const int64_t axes = r.one_of({1, 2, 2});
  DType t{};
  const std::string x = image(g, axes, 1, &t);
  const int64_t channels = shape_of(g, x)[1], groups = channels % 2 == 0 && r.chance(0.3) ? 2 : 1, out = r.between(1, 5), kernel = r.between(1, 4);
  Sizes w = {channels, out};
  for (int64_t i = 0; i < axes; ++i) w.push_back(kernel);
  const int64_t stride = r.between(1, 3);
  return fmt::format("{} = torch.conv_transpose{}d({}, {}, {}, {}, {}, {}, {}, {})", g.fresh(), axes, x, g.parameter(t, w), bias(g, t, out * groups),
                     repeated(stride, axes), drawn(g, 0, kernel - 1, axes), drawn(g, 0, stride - 1, axes), groups, repeated(1, axes));
}

std::string build_attention(Generator& g) {
  Random& r = g.random();
  const DType t = g.floating_dtype();
  const int64_t batch = r.between(1, 2), heads = r.between(1, 3), l = r.one_of({1, 3, 7, 16, 17, 33}), s = r.one_of({1, 4, 8, 15, 17, 40}),
                e = r.one_of({1, 4, 8, 16, 17, 32});
  const std::string q = g.tensor(t, {batch, heads, l, e}), k = g.tensor(t, {batch, heads, s, e}), v = g.tensor(t, {batch, heads, s, e});
  const bool causal = r.chance(0.3);
  std::string mask = "None";
  if (!causal && r.chance(0.4)) mask = r.chance(0.5) ? g.leaf(DType::b8, {l, s}) : g.leaf(t, {r.chance(0.5) ? 1 : batch, 1, l, s});
  return fmt::format("{} = torch.scaled_dot_product_attention({}, {}, {}, attn_mask={}, is_causal={})", g.fresh(), q, k, v, mask,
                     causal ? "True" : "False");
}

std::string build_max_pool(Generator& g) {
  Random& r = g.random();
  const int64_t axes = r.one_of({1, 2, 2, 3}), kernel = r.between(1, 3);
  const std::string x = image(g, axes, 3);
  const std::string arguments = fmt::format("{}, {}, {}, {}, {}", repeated(kernel, axes), drawn(g, 1, 3, axes),
                                            repeated(r.between(0, kernel / 2), axes), repeated(r.one_of({1, 1, 2}), axes), flag(g));
  if (r.chance(0.3)) {
    const std::string d = g.fresh(), e = g.fresh();
    return fmt::format("{}, {} = torch.max_pool{}d_with_indices({}, {})", d, e, axes, x, arguments);
  }
  return fmt::format("{} = torch.max_pool{}d({}, {})", g.fresh(), axes, x, arguments);
}

std::string build_avg_pool(Generator& g) {
  Random& r = g.random();
  const int64_t axes = r.one_of({1, 2, 2, 3}), kernel = r.between(1, 3);
  const std::string x = image(g, axes, 3);
  return fmt::format("{} = torch.avg_pool{}d({}, {}, {}, {}, {}, {})", g.fresh(), axes, x, repeated(kernel, axes), drawn(g, 1, 3, axes),
                     repeated(r.between(0, kernel / 2), axes), flag(g), flag(g));
}

std::string build_adaptive_pool(Generator& g) {
  const int64_t axes = g.random().one_of({1, 2, 2});
  const std::string x = image(g, axes, 1);
  if (axes == 2 && g.random().chance(0.3)) return fmt::format("{} = torch.adaptive_max_pool2d({}, {})[0]", g.fresh(), x, drawn(g, 1, 4, axes));
  return fmt::format("{} = torch.adaptive_avg_pool{}d({}, {})", g.fresh(), axes, x, drawn(g, 1, 5, axes));
}

std::string build_batch_norm(Generator& g) {
  Random& r = g.random();
  const std::string x = g.floating(r.between(2, 5));
  const int64_t c = shape_of(g, x)[1];
  const DType t = dtype_of(g, x);
  const auto maybe = [&] { return r.chance(0.8) ? g.parameter(t, {c}) : std::string("None"); };
  const std::string weight = maybe(), b = maybe(), mean = g.parameter(t, {c}), var = g.parameter(t, {c});
  return fmt::format("{} = torch.batch_norm({}, {}, {}, {}, torch.abs({}) + 0.5, False, 0.1, 0.001, False)", g.fresh(), x, weight, b, mean, var);
}

std::string build_layer_norm(Generator& g) {
  Random& r = g.random();
  const std::string x = g.floating(r.between(1, 4));
  const Shape s = shape_of(g, x);
  const DType t = dtype_of(g, x);
  Sizes tail(1, s[-1]);
  if (s.rank() > 1 && r.chance(0.3)) tail.insert(tail.begin(), s[-2]);
  std::string list = "[";
  for (size_t i = 0; i < tail.size(); ++i) list += fmt::format("{}{}", i ? ", " : "", tail[i]);
  const std::string weight = r.chance(0.7) ? g.parameter(t, tail) : "None", b = r.chance(0.6) ? g.parameter(t, tail) : "None";
  if (r.chance(0.2)) return fmt::format("{} = torch.rms_norm({}, {}], {}, 0.001)", g.fresh(), x, list, weight);
  return fmt::format("{} = torch.layer_norm({}, {}], {}, {}, 0.001)", g.fresh(), x, list, weight, b);
}

std::string build_group_norm(Generator& g) {
  Random& r = g.random();
  const std::string x = g.floating(r.between(3, 4));
  const int64_t c = shape_of(g, x)[1];
  const DType t = dtype_of(g, x);
  if (r.chance(0.3)) return fmt::format("{} = torch.instance_norm({}, None, None, None, None, True, 0.1, 0.01, False)", g.fresh(), x);
  const int64_t groups = c % 2 == 0 && r.chance(0.5) ? 2 : r.chance(0.5) ? c : 1;
  return fmt::format("{} = torch.group_norm({}, {}, {}, {}, 0.001)", g.fresh(), x, groups, g.parameter(t, {c}), g.parameter(t, {c}));
}

std::string build_upsample(Generator& g) {
  Random& r = g.random();
  const int64_t axes = r.one_of({1, 2, 2});
  const std::string x = image(g, axes, 1), size = drawn(g, 1, 12, axes);
  if (r.chance(0.5)) return fmt::format("{} = torch.upsample_nearest{}d({}, {})", g.fresh(), axes, x, size);
  const char* mode = axes == 1 ? "linear1d" : r.chance(0.7) ? "bilinear2d" : "bicubic2d";
  return fmt::format("{} = torch.upsample_{}({}, {}, {})", g.fresh(), mode, x, size, flag(g));
}

std::string build_rnn_cell(Generator& g) {
  Random& r = g.random();
  const std::string x = g.floating(2);
  const DType t = dtype_of(g, x);
  const int64_t n = shape_of(g, x)[0], k = shape_of(g, x)[1], h = r.between(1, 9), gates = r.one_of({1, 3, 4});
  const std::string state = g.tensor(t, {n, h}), wi = g.parameter(t, {gates * h, k}), wh = g.parameter(t, {gates * h, h}),
                    bi = g.parameter(t, {gates * h}), bh = g.parameter(t, {gates * h});
  if (gates == 4) {
    const std::string d = g.fresh(), e = g.fresh();
    return fmt::format("{}, {} = torch.lstm_cell({}, [{}, {}], {}, {}, {}, {})", d, e, x, state, g.tensor(t, {n, h}), wi, wh, bi, bh);
  }
  return fmt::format("{} = torch.{}({}, {}, {}, {}, {}, {})", g.fresh(), gates == 3 ? "gru_cell" : "rnn_tanh_cell", x, state, wi, wh, bi, bh);
}

namespace {

/// "v3[1:, ::2]", and something that fits in it; empty when there is nothing to write into.
bool part_and_value(Generator& g, std::string& part, std::string& value) {
  const std::string a = g.target([](const Variable& v) { return v.type.rank() >= 1; });
  if (a.empty()) return false;
  const TensorType type = g.scene().at(a).type;
  part = fmt::format("{}[{}]", a, g.subscript_of(type));
  Statement look{.text = "v999999 = " + part, .flags = 0, .reads = {}, .defines = {}, .op = {}};
  find_variables(look, true);
  const auto types = g.scene().probe(look);
  if (!types) return false;
  const Shape shape = (*types)[0].shape;
  if (g.random().chance(0.3)) {
    value = g.number_for(type.dtype);
    return true;
  }
  Sizes s = shape.sizes();
  for (int64_t& d : s)
    if (g.random().chance(0.2)) d = 1;
  if (!s.empty() && g.random().chance(0.2)) s.erase(s.begin());
  value = g.tensor(g.random().chance(0.8) ? type.dtype : g.floating_dtype(), s);
  return true;
}

std::string indented(const std::vector<std::string>& lines) {
  std::string out;
  for (const std::string& statement : lines) {
    out += "\n  ";
    for (char c : statement) out += c == '\n' ? std::string("\n  ") : std::string(1, c);
  }
  return out;
}

/// A tensor that a block changes, and the name that it has in there and afterwards.
bool carried(Generator& g, std::string& from, std::string& name) {
  from = g.pick([](const Variable& v) { return !is_bool(v.type.dtype); });
  name = g.fresh();
  return !from.empty() && name[0] == 'v';
}

std::string condition(Generator& g, const std::string& v) {
  Random& r = g.random();
  if (g.options().data_dependent && r.chance(0.6))
    return r.one_of({fmt::format("bool({}.sum() > 0)", v), fmt::format("bool(({} > 0).any())", v), fmt::format("int({}.sum()) % 2 == 0", v)});
  return r.one_of({fmt::format("{}.dim() > {}", v, r.between(0, 3)), fmt::format("{}.numel() % 2 == 0", v), std::string("True"),
                   fmt::format("{}.size(-1) > 4 and {}.dim() < 4", v, v), fmt::format("len({}.shape) != 2", v)});
}

}  // namespace

std::string build_set_subscript(Generator& g) {
  std::string part, value;
  return part_and_value(g, part, value) ? fmt::format("{} = {}", part, value) : std::string();
}
std::string build_add_subscript(Generator& g) {
  std::string part, value;
  return part_and_value(g, part, value) ? fmt::format("{} {} {}", part, g.random().one_of({"+=", "-=", "*="}), value) : std::string();
}

std::string build_if(Generator& g) {
  std::string from, v;
  if (!carried(g, from, v)) return {};
  std::string text = fmt::format("if {}:", condition(g, from));
  for (int branch = 0; branch < 2; ++branch) {
    g.enter();
    const std::string start = fmt::format("{} = {}{}", v, from, g.random().chance(0.6) ? ".clone()" : "");
    std::vector<std::string> lines;
    if (g.apply(start, exact | whole, "block")) lines = g.inner_lines(v, static_cast<int>(g.random().between(0, 3)));
    g.leave();
    if (lines.empty()) lines = {start};
    text += (branch ? "\nelse:" : "") + indented(lines);
  }
  return text;
}

namespace {

/// The lines of a loop whose count is `i0`.
std::string loop_body(Generator& g, const std::string& from, const std::string& v) {
  Random& r = g.random();
  g.enter();
  std::vector<std::string> lines;
  if (g.apply(fmt::format("{} = {}.clone()", v, from), exact | whole, "block")) {
    lines = g.inner_lines(v, static_cast<int>(r.between(1, 5)));
    lines.erase(lines.begin(), lines.begin() + (lines.empty() ? 0 : 1));
  }
  const TensorType type = g.scene().at(from).type;
  g.leave();
  if (r.chance(0.5)) lines.push_back(fmt::format("{0} = {0} + i0", v));
  if (type.rank() > 0 && type.shape[0] >= 4 && r.chance(0.5))
    lines.push_back(fmt::format("{}[i0] {} {}", v, r.one_of({"=", "+=", "*="}), g.number_for(type.dtype)));
  if (type.rank() > 1 && type.shape[-1] >= 5 && r.chance(0.3)) lines.push_back(fmt::format("{0}[..., i0 + 1] = {0}[..., i0]", v));
  if (r.chance(0.2)) lines.push_back(fmt::format("if i0 == 1:\n  {0} = -{0}", v));
  if (lines.empty()) lines.push_back(fmt::format("{0} = {0} * 2", v));
  return indented(lines);
}

}  // namespace

std::string build_for(Generator& g) {
  std::string from, v;
  if (!carried(g, from, v)) return {};
  const std::string trips = g.options().data_dependent && g.random().chance(0.7) ? fmt::format("int(({} > 0).sum()) % 5", from)
                                                                                 : fmt::format("{}", g.random().between(0, 3));
  return fmt::format("{} = {}.clone()\nfor i0 in range({}):{}", v, from, trips, loop_body(g, from, v));
}

std::string build_while(Generator& g) {
  std::string from, v;
  if (!carried(g, from, v)) return {};
  const std::string more = g.options().data_dependent && g.random().chance(0.5) ? fmt::format(" and bool({}.sum() < 100)", v) : "";
  return fmt::format("{} = {}.clone()\ni0 = 0\nwhile i0 < {}{}:{}\n  i0 += 1", v, from, g.random().between(1, 3), more, loop_body(g, from, v));
}

/// A loop that carries two tensors which change places, as a recurrence of second order does.
std::string build_recurrence(Generator& g) {
  Random& r = g.random();
  const std::string a = g.pick([](const Variable& v) { return !is_bool(v.type.dtype); });
  if (a.empty()) return {};
  const TensorType type = g.scene().at(a).type;
  const std::string b = g.tensor(type.dtype, type.shape.sizes()), v = g.fresh(), w = g.fresh();
  if (v[0] != 'v') return {};
  const std::string next = fmt::format("y{}", v.substr(1));
  const std::string trips = g.options().data_dependent ? fmt::format("int(({} > 0).sum()) % 5", a) : fmt::format("{}", r.between(1, 5));
  const std::string step = is_float(type.dtype) && r.chance(0.5) ? fmt::format("{} * 0.5 + {}", v, w) : fmt::format("{} - {}", v, w);
  std::string text = fmt::format("{} = {}.clone()\n{} = {}.clone()\nfor i0 in range({}):\n", v, a, w, b, trips);
  if (r.chance(0.4)) return text + fmt::format("  {0}, {1} = {1}, {2}", v, w, step);
  text += fmt::format("  {} = {}\n  {} = {}\n  {} = {}", next, step, v, w, w, next);
  if (r.chance(0.3)) text += fmt::format("\n  if {}:\n    break", g.options().data_dependent ? fmt::format("bool({}.sum() > 3)", w) : "i0 == 1");
  return text;
}

/// A loop as scripted models have them: a state goes through layers, a step at a time, beside what was made of the inputs before the loop.
std::string build_scan(Generator& g) {
  Random& r = g.random();
  const std::string x = g.floating(2);
  const Shape shape = shape_of(g, x);
  const DType t = dtype_of(g, x);
  const std::string w = g.parameter(t, {shape[-1], shape[-1]}), v = g.fresh();
  if (v[0] != 'v') return {};
  const std::string u = "y" + v.substr(1), z = "z" + v.substr(1);
  const auto layer = [&](const std::string& of) {
    return r.one_of({fmt::format("torch.tanh(torch.matmul({}, {}))", of, w), fmt::format("torch.softmax({}, {})", of, r.between(0, 1)),
                     fmt::format("torch.softmax({}.t(), {}).t()", of, r.between(0, 1)), fmt::format("torch.layer_norm({}, [{}])", of, shape[-1]),
                     fmt::format("{0} - {0}.mean({1}, True)", of, r.between(0, 1)), fmt::format("torch.sigmoid({}) * {}", of, u)});
  };
  const std::string trips = r.one_of(
      {fmt::format("int(({} > 0).sum()) % 5", x), fmt::format("min({}.size({}), 4)", x, r.between(0, 1)), fmt::format("{}", r.between(1, 4))});
  std::string text =
      fmt::format("{0} = torch.softmax({1}, {2})\n{3} = {1}.clone()\nfor i0 in range({4}):\n  {5} = {3} + {0}", u, x, r.between(0, 1), v, trips, z);
  for (int64_t i = r.between(1, 4); i > 0; --i) text += fmt::format("\n  {} = {}", z, layer(z));
  return text + fmt::format("\n  {} = {}", v, r.one_of({z, fmt::format("{} + {}", z, v), fmt::format("torch.tanh({} + {})", v, z)}));
}

/// Python numbers that branches and loops set.
std::string build_number(Generator& g) {
  Random& r = g.random();
  std::string x, v;
  if (!carried(g, x, v)) return {};
  const DType dtype = g.scene().at(x).type.dtype;
  const std::string y = fmt::format("y{}", v.substr(1)), use = fmt::format("\n{} = {} {} {}", v, x, r.one_of({"*", "+"}), y);
  const bool real = is_float(dtype) && r.chance(0.5);
  const auto number = [&] { return real ? r.one_of({"0.5", "1.5", "2.0", "-1.0"}) : r.one_of({"1", "2", "3"}); };
  if (r.chance(0.5))
    return fmt::format("{0} = {1}\nif {2}:\n  {0} = {3}\nelse:\n  {0} = {4}", y, number(), condition(g, x), number(), number()) + use;
  const std::string trips = g.options().data_dependent ? fmt::format("int(({} > 0).sum()) % 5", x) : "3";
  return fmt::format("{0} = {1}\nfor i0 in range({2}):\n  {0} = {0} + {3}", y, number(), trips, number()) + use;
}

}  // namespace mica::fuzz
