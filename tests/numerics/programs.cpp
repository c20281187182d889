#include "programs.h"

#include <fmt/format.h>

#include <cmath>

#include "../fill.h"
#include "mica/ops/import.h"

namespace mica::numerics {

namespace {

/// One op in TorchScript. {field} stands for the field's value; {field0} for a list's first number, {n} for the number of pooled axes;
/// {tail} for the sizes that a norm covers, {pads} for before and after in torch's order.
struct Program {
  std::string_view op, text;
};

constexpr Program programs[] = {
    {"add", "torch.add({x}, {y})"},
    {"sub", "torch.sub({x}, {y})"},
    {"mul", "torch.mul({x}, {y})"},
    {"div", "torch.div({x}, {y})"},
    {"floor_divide", "torch.floor_divide({x}, {y})"},
    {"trunc_divide", "torch.div({x}, {y}, rounding_mode=\"trunc\")"},
    {"remainder", "torch.remainder({x}, {y})"},
    {"fmod", "torch.fmod({x}, {y})"},
    {"pow", "torch.pow({x}, {y})"},
    {"atan2", "torch.atan2({y}, {x})"},
    {"copysign", "torch.copysign({x}, {y})"},
    {"xlogy", "torch.xlogy({x}, {y})"},
    {"hypot", "torch.hypot({x}, {y})"},
    {"logaddexp", "torch.logaddexp{two}({x}, {y})"},
    {"minimum", "torch.minimum({x}, {y})"},
    {"maximum", "torch.maximum({x}, {y})"},
    {"clamp", "torch.clamp({x}, {low}, {high})"},
    {"gelu", "torch.gelu({x}, approximate={tanh_form})"},
    {"elu", "torch.elu({x}, {alpha}, {scale}, {input_scale})"},
    {"leaky_relu", "torch.leaky_relu({x}, {slope})"},
    {"softplus", "torch.softplus({x}, {beta}, {threshold})"},
    {"prelu", "torch.where({x} > 0, {x}, {x} * {weight})"},
    {"eq", "torch.eq({x}, {y})"},
    {"ne", "torch.ne({x}, {y})"},
    {"lt", "torch.lt({x}, {y})"},
    {"le", "torch.le({x}, {y})"},
    {"gt", "torch.gt({x}, {y})"},
    {"ge", "torch.ge({x}, {y})"},
    {"logical_and", "torch.logical_and({x}, {y})"},
    {"logical_or", "torch.logical_or({x}, {y})"},
    {"logical_xor", "torch.logical_xor({x}, {y})"},
    {"bitwise_and", "torch.bitwise_and({x}, {y})"},
    {"bitwise_or", "torch.bitwise_or({x}, {y})"},
    {"bitwise_xor", "torch.bitwise_xor({x}, {y})"},
    {"shift_left", "torch.bitwise_left_shift({x}, {y})"},
    {"shift_right", "torch.bitwise_right_shift({x}, {y})"},
    {"where", "torch.where({condition}, {x}, {y})"},
    {"cast", "{x}.to(dtype={dtype})"},
    {"sum", "torch.sum({x}, {axes}, {keepdim})"},
    {"mean", "torch.mean({x}, {axes}, {keepdim})"},
    {"prod", "torch.prod({x}, {axes0}, {keepdim})"},
    {"amax", "torch.amax({x}, {axes}, {keepdim})"},
    {"amin", "torch.amin({x}, {axes}, {keepdim})"},
    {"any", "torch.any({x}, {axes0}, {keepdim})"},
    {"all", "torch.all({x}, {axes0}, {keepdim})"},
    {"var", "torch.var({x}, {axes}, correction={correction}, keepdim={keepdim})"},
    {"logsumexp", "torch.logsumexp({x}, {axes}, {keepdim})"},
    {"argmax", "torch.argmax({x}, {axis}, {keepdim})"},
    {"argmin", "torch.argmin({x}, {axis}, {keepdim})"},
    {"cumsum", "torch.cumsum({x}, {axis})"},
    {"cumprod", "torch.cumprod({x}, {axis})"},
    {"matmul", "torch.matmul({a}, {b})"},
    {"linear", "torch.linear({x}, {weight}, {bias})"},
    {"conv", "torch.convolution({padded}, {weight}, {bias}, {stride}, {padding}, {dilation}, False, {zeros}, {groups})"},
    {"conv_transpose", "torch.convolution({x}, {weight}, {bias}, {stride}, {padding}, {dilation}, True, {output_padding}, {groups})"},
    {"max_pool", "torch.max_pool{n}d({x}, {kernel}, {stride}, {padding}, {dilation}, {ceil_mode})"},
    {"max_pool_indices", "torch.max_pool{n}d_with_indices({x}, {kernel}, {stride}, {padding}, {dilation}, {ceil_mode})[1]"},
    {"avg_pool", "torch.avg_pool{n}d({x}, {kernel}, {stride}, {padding}, {ceil_mode}, {include_pad}{divisor_argument})"},
    {"adaptive_avg_pool", "torch.adaptive_avg_pool{n}d({x}, {size})"},
    {"adaptive_max_pool", "torch.adaptive_max_pool{n}d({x}, {size})[0]"},
    {"adaptive_max_pool_indices", "torch.adaptive_max_pool{n}d({x}, {size})[1]"},
    {"batch_norm", "torch.batch_norm({x}, {weight}, {bias}, {mean}, {var}, False, 0.1, {eps}, False)"},
    {"layer_norm", "torch.layer_norm({x}, {tail}, {weight}, {bias}, {eps})"},
    {"rms_norm", "torch.rms_norm({x}, {tail}, {weight}, {eps})"},
    {"group_norm", "torch.group_norm({x}, {groups}, {weight}, {bias}, {eps})"},
    {"lstm_scan", "{scanned}"},
    {"gru_scan", "{scanned}"},
    {"rnn_scan", "{scanned}"},
    {"softmax", "torch.softmax({x}, {axis})"},
    {"log_softmax", "torch.log_softmax({x}, {axis})"},
    {"scaled_dot_product_attention",
     "torch.scaled_dot_product_attention({query}, {key}, {value}, {mask}, 0.0, {causal}, scale={scale_or_none}, enable_gqa={gqa})"},
    {"reshape", "torch.reshape({x}, {shape})"},
    {"permute", "torch.permute({x}, {axes})"},
    {"expand", "{x}.expand({shape})"},
    {"slice", "torch.slice({x}, {axis}, {start}, {end}, {step})"},
    {"cat", "torch.cat({xs}, {axis})"},
    {"pad", "torch.constant_pad_nd({x}, {pads}, {value})"},
    {"reflection_pad", "torch.pad({x}, {pads}, \"reflect\")"},
    {"replication_pad", "torch.pad({x}, {pads}, \"replicate\")"},
    {"circular_pad", "torch.pad({x}, {pads}, \"circular\")"},
    {"flip", "torch.flip({x}, {axes})"},
    {"roll", "torch.roll({x}, {shifts}, {axes})"},
    {"tril", "torch.where(torch.tril(torch.ones_like({x}), {diagonal}) != 0, {x}, {fill})"},
    {"triu", "torch.where(torch.triu(torch.ones_like({x}), {diagonal}) != 0, {x}, {fill})"},
    {"unfold", "torch.slice({x}.unfold({axis}, ({size} - 1) * {dilation} + 1, {step}), -1, 0, None, {dilation})"},
    {"diagonal", "torch.diagonal({x}, {offset}, {axis1}, {axis2})"},
    {"slice_scatter",
     "torch.slice_scatter({x}, {source}.expand_as(torch.slice({x}, {axis}, {start}, {end}, {step})), {axis}, {start}, {end}, {step})"},
    {"embedding", "torch.embedding({weight}, {indices})"},
    {"index_select", "torch.index_select({x}, {axis}, {index})"},
    {"gather", "torch.gather({x}, {axis}, {index})"},
    {"select_at", "torch.index_select({x}, {axis}, {from_front}.reshape(1)).squeeze({axis})"},
    {"update_at", "torch.scatter({x}, {axis}, {from_front}.to(dtype=4).expand_as({row}.unsqueeze({axis})), {row}.unsqueeze({axis}))"},
    {"index", "{x}[{subscript}]"},
    {"scatter", "{scattered}"},
    {"sort", "{sorted}"},
    {"logcumsumexp", "torch.logcumsumexp({x}, {axis})"},
    {"cummax", "torch.cummax({x}, {axis})"},
    {"cummin", "torch.cummin({x}, {axis})"},
    {"full", "torch.full({shape}, {value}, dtype={dtype})"},
    {"head", "torch.slice({x}, {axis}, 0, {size})"},
    {"grow", "torch.constant_pad_nd({x}.transpose({axis}, -1), [0, {size} - {x}.size({axis})], 0).transpose({axis}, -1)"},
    {"size_value", "torch.scalar_tensor({size}, dtype={dtype})"},
    {"arange", "torch.arange({start}, {start} + {count} * {step}, {step}, dtype={dtype})"},
    {"resample", "({taps_sum}).type_as({x})"},
    {"grid_sample", "torch.grid_sampler({x}, {grid}, {mode}, {outside}, {corners})"},
    {"overlap_add", "{overlapped}"},
    {"roi_align", "torchvision.roi_align({x}, {rois}, {scale}, {height}, {width}, {samples}, {aligned})"},
    {"relayout", "torch.clone({x})"},
};

/// A sample's node, looked at by field name.
class Fields {
 public:
  explicit Fields(const Sample& sample) : sample_(sample), node_(sample.graph.nodes[0]) {}
  const Attr* find(std::string_view name) const {
    const auto& s = node_.info->spec->signature;
    for (size_t i = 0; i < s.count; ++i) {
      if (s.params[i] == name) return &node_.fields[i];
    }
    return nullptr;
  }
  const Ints& ints(std::string_view name) const { return std::get<Ints>(*find(name)); }
  int64_t integer(std::string_view name) const { return std::get<int64_t>(*find(name)); }
  const Shape& shape(std::string_view name) const { return sample_.graph.type(std::get<Value>(*find(name))).shape; }
  std::string name(Value v) const { return v ? sample_.graph.values[v.id].name : "None"; }

 private:
  const Sample& sample_;
  const Node& node_;
};

std::string list_text(const std::vector<int64_t>& items) { return fmt::format("[{}]", fmt::join(items, ", ")); }
std::string real_text(double v) {
  if (std::isinf(v)) return v > 0 ? "float(\"inf\")" : "-float(\"inf\")";
  std::string s = fmt::format("{}", v);
  return s.find_first_of(".e") == std::string::npos ? s + ".0" : s;
}

std::string attribute_text(const Fields& f, const Attr& a) {
  if (auto v = std::get_if<Value>(&a)) return f.name(*v);
  if (auto v = std::get_if<OptValue>(&a)) return f.name(v->value);
  if (auto v = std::get_if<Values>(&a)) {
    std::vector<std::string> names;
    for (Value item : v->items) names.push_back(f.name(item));
    return fmt::format("[{}]", fmt::join(names, ", "));
  }
  if (auto v = std::get_if<int64_t>(&a)) return fmt::format("{}", *v);
  if (auto v = std::get_if<double>(&a)) return real_text(*v);
  if (auto v = std::get_if<bool>(&a)) return *v ? "True" : "False";
  if (auto v = std::get_if<DType>(&a)) return fmt::format("{}", dtype_to_torch(*v));
  if (auto v = std::get_if<Ints>(&a)) return v->items.empty() ? "[0][0:0]" : list_text(v->items);
  if (auto v = std::get_if<Dims>(&a)) return v->items.empty() ? "[0][0:0]" : fmt::format("[{}]", fmt::join(v->items, ", "));
  if (auto v = std::get_if<Dim>(&a)) return v->to_string();
  if (auto v = std::get_if<Scalar>(&a)) return is_float(v->dtype) ? real_text(v->real) : fmt::format("{}", v->integer);
  return "?";
}

/// torch's pad list: the last axis first, and no axes that are left alone in front.
std::string pads_text(const Fields& f) {
  const Dims &before = std::get<Dims>(*f.find("before")), &after = std::get<Dims>(*f.find("after"));
  size_t first = 0;
  while (first + 1 < before.size() && before[first] == 0 && after[first] == 0) ++first;
  std::vector<int64_t> list;
  for (size_t i = before.size(); i-- > first;) list.insert(list.end(), {before[i].size(), after[i].size()});
  return list_text(list);
}

/// x[:, i0, :, i1]
std::string subscript_text(const Fields& f) {
  const Ints& axes = f.ints("axes");
  const Values& indices = std::get<Values>(*f.find("indices"));
  std::vector<std::string> parts;
  for (int64_t i = 0; i <= axes.items.back(); ++i) {
    size_t k = 0;
    while (k < axes.size() && axes[k] != i) ++k;
    parts.push_back(k < axes.size() ? f.name(indices[k]) : ":");
  }
  return fmt::format("{}", fmt::join(parts, ", "));
}

std::string taps_sum_text(const Fields& f) {
  const Shape &x = f.shape("x"), &taps = f.shape("taps");
  const int64_t axis = f.integer("axis") < 0 ? f.integer("axis") + x.rank() : f.integer("axis");
  std::vector<int64_t> column(static_cast<size_t>(x.rank()), 1);
  column[axis] = taps[0];
  const bool weighted = static_cast<bool>(std::get<OptValue>(*f.find("weight")));
  std::string sum;
  for (int64_t t = 0; t < taps[1]; ++t) {
    sum += fmt::format("{}torch.index_select(x, {}, taps[:, {}])", t ? " + " : "", axis, t);
    if (weighted) sum += fmt::format(" * torch.reshape(weight[:, {}], {})", t, list_text(column));
  }
  return sum;
}

/// Each element of the windows added where it belongs: zeros.index_add for every place within the window.
std::string overlapped_text(const Fields& f) {
  const Shape& x = f.shape("x");
  const int64_t axis = f.integer("axis"), step = f.integer("step");
  std::vector<int64_t> sizes = x.sizes();
  sizes.pop_back();
  const int64_t windows = sizes[axis];
  sizes[axis] = std::get<Dim>(*f.find("size"));
  std::string sum = fmt::format("torch.zeros({}).type_as(x)", list_text(sizes));
  for (int64_t k = 0; k < x[-1]; ++k) {
    const int64_t start = k * f.integer("dilation");
    sum = fmt::format("torch.index_add({}, {}, torch.arange({}, {}, {}), x[..., {}])", sum, axis, start, start + windows * step, step, k);
  }
  return sum;
}

std::string scattered_text(const Fields& f) {
  const std::string reduce = std::get<std::string>(*f.find("reduce"));
  const std::string args = fmt::format("x, {}, index, source", f.integer("axis"));
  if (reduce == "set") return fmt::format("torch.scatter({})", args);
  return fmt::format("torch.scatter_reduce({}, \"{}\", include_self={})", args, reduce, std::get<bool>(*f.find("include_self")) ? "True" : "False");
}

/// Of equal elements topk may take any, so its places are those of a stable sort.
std::string sorted_text(const Fields& f) {
  const int64_t count = std::get<Dim>(*f.find("count")), axis = f.integer("axis");
  const char* descending = std::get<bool>(*f.find("descending")) ? "True" : "False";
  const std::string sort = fmt::format("torch.sort(x, stable=True, dim={}, descending={})", axis, descending);
  if (count < 0) return sort;
  return fmt::format("(torch.slice({0}[0], {1}, 0, {2}), torch.slice({0}[1], {1}, 0, {2}))", sort, axis, count);
}

/// A scan is a layer whose own product with x is one with the identity. LibTorch takes one dtype, and has no single direction backwards.
std::string scanned_text(const Fields& f, std::string_view op) {
  const bool reverse = std::get<bool>(*f.find("reverse"));
  const std::string x = reverse ? "torch.flip(x, [0])" : "x";
  const std::string identity = fmt::format("torch.eye({}).type_as(x)", f.shape("x")[-1]);
  const auto optional = [&](std::string_view name) { return f.find(name) && std::get<OptValue>(*f.find(name)); };
  std::string weights = identity + ", weight", rest;
  if (optional("bias")) weights += ", torch.zeros_like(bias), bias";
  if (optional("projection")) weights += ", projection";
  std::string states = "torch.unsqueeze(h, 0)";
  if (op == "lstm_scan") states = fmt::format("[{}, torch.unsqueeze(c, 0)]", states);
  std::string call = op == "lstm_scan" ? "lstm" : op == "gru_scan" ? "gru" : std::get<bool>(*f.find("relu")) ? "rnn_relu" : "rnn_tanh";
  call = fmt::format("torch.{}({}, {}, [{}], {}, 1, 0.0, False, False, False)", call, x, states, weights, optional("bias") ? "True" : "False");
  const std::string all = reverse ? fmt::format("torch.flip({}[0], [0])", call) : call + "[0]";
  return op == "lstm_scan" ? fmt::format("({}, torch.squeeze({}[2], 0))", all, call) : all;
}

/// Placeholders that are not a field.
std::string derived_text(const Fields& f, std::string_view op, std::string_view name) {
  if (name == "scanned") return scanned_text(f, op);
  if (name == "n") return fmt::format("{}", f.ints(f.find("kernel") ? "kernel" : "size").size());
  if (name == "tanh_form") return std::get<bool>(*f.find("tanh")) ? "\"tanh\"" : "\"none\"";
  if (name == "pads") return pads_text(f);
  if (name == "subscript") return subscript_text(f);
  if (name == "taps_sum") return taps_sum_text(f);
  if (name == "from_front") {  // an index that may count from the end
    const std::string index = f.name(std::get<Value>(*f.find("index")));
    return fmt::format("torch.where({} < 0, {} + {}, {})", index, index, f.shape("x")[f.integer("axis")], index);
  }
  if (name == "two") return std::get<bool>(*f.find("base2")) ? "2" : "";
  if (name == "scattered") return scattered_text(f);
  if (name == "sorted") return sorted_text(f);
  if (name == "overlapped") return overlapped_text(f);
  if (name == "zeros") return list_text(std::vector<int64_t>(f.ints("stride").size()));
  if (name == "divisor_argument") return f.integer("divisor") ? fmt::format(", {}", f.integer("divisor")) : "";
  if (name == "scale_or_none") {
    const double scale = std::get<double>(*f.find("scale"));
    return scale == 0 ? "None" : real_text(scale);
  }
  if (name == "tail") {
    std::vector<int64_t> sizes = f.shape("x").sizes();
    sizes.erase(sizes.begin(), sizes.end() - f.integer("axes"));
    return list_text(sizes);
  }
  if (name == "padded") {
    const Ints &before = f.ints("padding"), &end = f.ints("padding_end");
    if (end.items.empty()) return "x";
    std::vector<int64_t> list;
    for (size_t i = end.size(); i-- > 0;) list.insert(list.end(), {0, end[i] - before[i]});
    return fmt::format("torch.constant_pad_nd(x, {}, 0)", list_text(list));
  }
  if (name.ends_with("0")) return fmt::format("{}", f.ints(name.substr(0, name.size() - 1))[0]);
  return "?";
}

std::string filled(const Sample& sample, std::string_view text) {
  const Fields f(sample);
  const bool whole = !sample.inputs.empty() && !is_float(sample.inputs[0].type.dtype);
  return fill(text, [&](std::string_view name) -> std::string {
    const Attr* a = f.find(name);
    const double* real = a ? std::get_if<double>(a) : nullptr;
    // An infinite bound is none, and beside integers numbers are integers.
    if (real && (name == "low" || name == "high") && std::isinf(*real)) return "None";
    if (real && whole) return fmt::format("{}", static_cast<int64_t>(*real));
    return a ? attribute_text(f, *a) : derived_text(f, sample.graph.nodes[0].info->name(), name);
  });
}

}  // namespace

std::string program_of(const Sample& sample) {
  const OpInfo& op = *sample.graph.nodes[0].info;
  std::string expression;
  for (const Program& p : programs) {
    if (p.op == op.name()) expression = filled(sample, p.text);
  }
  // Functions of one tensor are spelt as their first TorchScript name.
  if (expression.empty() && !op.spec->torch.empty() && op.spec->signature.count == 1) {
    const std::string_view name = parse_spellings(op.spec->torch)[0].op;
    expression = fmt::format("torch.{}({})", name.substr(name.find("::") + 2), sample.inputs[0].name);
  }
  if (expression.empty()) return {};
  std::string parameters = "self";
  for (const SampleInput& in : sample.inputs) parameters += ", " + in.name;
  return fmt::format("def forward({}):\n  return {}\n", parameters, expression);
}

}  // namespace mica::numerics
