// Python values: lists, dicts, numbers, text, and questions about tensors. All of it is known while importing.
#include <ATen/ATen.h>
#include <torch/csrc/jit/runtime/operator.h>

#include <algorithm>
#include <array>

#include "evaluator.h"
#include "mica/ops/compare.h"
#include "mica/ops/control.h"
#include "sizes.h"

namespace mica::frontend {
namespace {

using torch::jit::Node;

/// Operators on numbers, text and lists of them that are pure functions: LibTorch's own implementation runs them.
constexpr std::string_view scalar_operators[] = {
    "aten::Bool",
    "aten::Complex",
    "aten::Float",
    "aten::FloatImplicit",
    "aten::Int",
    "aten::IntImplicit",
    "aten::ScalarImplicit",
    "aten::__and__",
    "aten::__contains__",
    "aten::__derive_index",
    "aten::__getitem__",
    "aten::__is__",
    "aten::__isnot__",
    "aten::__lshift__",
    "aten::__not__",
    "aten::__or__",
    "aten::__range_length",
    "aten::__round_to_zero_floordiv",
    "aten::__rshift__",
    "aten::__xor__",
    "aten::abs",
    "aten::acos",
    "aten::add",
    "aten::all",
    "aten::any",
    "aten::asin",
    "aten::atan",
    "aten::atan2",
    "aten::bin",
    "aten::capitalize",
    "aten::ceil",
    "aten::chr",
    "aten::copysign",
    "aten::cos",
    "aten::cosh",
    "aten::count",
    "aten::degrees",
    "aten::div",
    "aten::divmod",
    "aten::endswith",
    "aten::eq",
    "aten::erf",
    "aten::exp",
    "aten::expm1",
    "aten::fabs",
    "aten::find",
    "aten::floor",
    "aten::floordiv",
    "aten::fmod",
    "aten::format",
    "aten::gcd",
    "aten::ge",
    "aten::gt",
    "aten::hash",
    "aten::hex",
    "aten::index",
    "aten::isalpha",
    "aten::isdigit",
    "aten::isfinite",
    "aten::isinf",
    "aten::isnan",
    "aten::join",
    "aten::le",
    "aten::len",
    "aten::log",
    "aten::log10",
    "aten::log1p",
    "aten::lower",
    "aten::lstrip",
    "aten::lt",
    "aten::mathremainder",
    "aten::max",
    "aten::min",
    "aten::mod",
    "aten::modf",
    "aten::mul",
    "aten::ne",
    "aten::neg",
    "aten::oct",
    "aten::ord",
    "aten::partition",
    "aten::percentFormat",
    "aten::pow",
    "aten::radians",
    "aten::remainder",
    "aten::replace",
    "aten::rfind",
    "aten::round",
    "aten::rsplit",
    "aten::rstrip",
    "aten::sin",
    "aten::sinh",
    "aten::slice",
    "aten::split",
    "aten::splitlines",
    "aten::sqrt",
    "aten::startswith",
    "aten::str",
    "aten::strip",
    "aten::sub",
    "aten::sum",
    "aten::sorted",
    "aten::tan",
    "aten::tanh",
    "aten::title",
    "aten::trunc",
    "aten::upper",
    "aten::device",
    "aten::get_device",
    "prim::abs",
    "prim::ceil",
    "prim::device",
    "prim::dtype",
    "prim::layout",
    "prim::max",
    "prim::min",
    "prim::name",
    "prim::rangelist",
    "prim::str",
    "prim::StringIndex",
    "prim::type",
};

bool is_sortable(const Item& item) { return item.plain() && (item.plain()->isInt() || item.plain()->isDouble() || item.plain()->isString()); }
bool is_less(const Item& a, const Item& b) {
  if (a.plain()->isString()) return a.plain()->toStringRef() < b.plain()->toStringRef();
  return a.plain()->isInt() ? a.integer() < b.integer() : a.plain()->toDouble() < b.plain()->toDouble();
}

/// A Python index into `size` elements; -1 when out of range.
int64_t normal_index(int64_t at, int64_t size) {
  if (at < 0) at += size;
  return at >= 0 && at < size ? at : -1;
}

bool same_key(const Item& a, const Item& b) { return a.plain() && b.plain() && *a.plain() == *b.plain(); }

constexpr std::string_view list_changes[] = {"aten::append", "aten::extend", "aten::insert", "aten::_set_item", "aten::reverse", "aten::clear",
                                             "aten::pop",    "aten::Delete", "aten::add_",   "aten::remove",    "aten::sort"};

/// One of these; `popped` becomes what `pop` gives. False when it cannot be done.
bool change_list(const std::string& name, ListObject& list, const std::vector<Item>& in, std::vector<Item>& popped) {
  const int64_t size = static_cast<int64_t>(list.items.size());
  const auto index = [&](size_t i) { return in.size() > i && in[i].is_int() ? normal_index(in[i].integer(), size) : -1; };
  if (name == "aten::append") return list.items.push_back(in[1]), true;
  if ((name == "aten::extend" || name == "aten::add_") && in[1].list()) {
    const std::vector<Item> more = in[1].list()->items;
    list.items.insert(list.items.end(), more.begin(), more.end());
    return true;
  }
  if (name == "aten::insert" && in[1].is_int()) {
    int64_t at = in[1].integer();
    at = std::clamp<int64_t>(at < 0 ? at + size : at, 0, size);
    list.items.insert(list.items.begin() + at, in[2]);
    return true;
  }
  if (name == "aten::_set_item" && index(1) >= 0) return list.items[index(1)] = in[2], true;
  if (name == "aten::remove" && in[1].plain()) {
    const auto it = std::find_if(list.items.begin(), list.items.end(), [&](const Item& i) { return same_key(i, in[1]); });
    if (it == list.items.end() || !std::all_of(list.items.begin(), it, [](const Item& i) { return i.plain(); })) return false;
    return list.items.erase(it), true;
  }
  if (name == "aten::sort" && std::all_of(list.items.begin(), list.items.end(), [](const Item& i) { return is_sortable(i); })) {
    const bool backwards = in.size() > 1 && in[1].is_bool() && in[1].plain()->toBool();
    std::stable_sort(list.items.begin(), list.items.end(), [&](const Item& a, const Item& b) { return backwards ? is_less(b, a) : is_less(a, b); });
    return true;
  }
  if (name == "aten::reverse") return std::reverse(list.items.begin(), list.items.end()), true;
  if (name == "aten::clear") return list.items.clear(), true;
  if (name != "aten::pop" && name != "aten::Delete") return false;
  const int64_t at = in.size() > 1 ? index(1) : size - 1;
  if (at < 0) return false;
  popped = {list.items[at]};
  list.items.erase(list.items.begin() + at);
  return true;
}

/// Whether two names stand for one object; nothing where that depends on data, or where Python numbers are compared.
std::optional<bool> same_object(const Item& a, const Item& b) {
  if (a.tensor() && b.tensor()) {
    const Tensor &x = *a.tensor(), &y = *b.tensor();
    if (x.storage != y.storage && (!x.storage->origins.empty() || !y.storage->origins.empty())) return std::nullopt;
    return x.storage == y.storage && x.view == y.view;
  }
  if (a.list() && b.list()) return a.list() == b.list();
  if (a.dict() && b.dict()) return a.dict() == b.dict();
  if (a.instance() && b.instance()) return a.instance() == b.instance();
  return std::nullopt;
}

}  // namespace

bool is_python_operator(const std::string& base_name) {
  return std::find(std::begin(scalar_operators), std::end(scalar_operators), base_name) != std::end(scalar_operators) || base_name == "aten::item" ||
         base_name == "aten::size" || base_name == "aten::numel";
}

bool Evaluator::run_python(Node& node, const std::vector<Item>& in, std::vector<Item>& out) {
  const std::string name = node.kind().toQualString();
  if (name == "prim::NumToTensor" && in[0].size()) {
    const ContentsRef contents = import_one("aten::scalar_tensor", {{"s", *in[0].size()}});
    contents->size = *in[0].size();
    return out = {fresh(contents)}, true;
  }
  if (name == "prim::NumToTensor") {
    const auto value = in[0].plain();
    if (!value || !value->isScalar()) return out = {Item()}, true;
    out = {fresh_constant(at::scalar_tensor(value->toScalar(), at::TensorOptions().dtype(value->isDouble() ? at::kDouble
                                                                                         : value->isBool() ? at::kBool
                                                                                                           : at::kLong)))};
    return true;
  }
  // Compiled code runs without gradients and autocast, and is neither tracing nor in Python.
  for (const std::string_view no :
       {"aten::is_grad_enabled", "aten::is_autocast_enabled", "aten::is_autocast_cpu_enabled", "prim::is_tracing", "prim::is_compiling"}) {
    if (name == no) return out = {c10::IValue(false)}, true;
  }
  if (name == "aten::is_scripting" || name == "prim::is_scripting") return out = {c10::IValue(true)}, true;
  if (name == "aten::__is__" || name == "aten::__isnot__") {
    const bool yes = name == "aten::__is__";
    if (in[0].is_unknown() || in[1].is_unknown()) return out = {Item()}, true;
    if (in[0].is_none() || in[1].is_none()) return out = {c10::IValue((in[0].is_none() && in[1].is_none()) == yes)}, true;
    if (const auto same = same_object(in[0], in[1])) return out = {c10::IValue(*same == yes)}, true;
  }
  if (run_size(node, in, out)) return true;
  if (!in.empty() && in[0].tensor() && run_question(name, in, out)) return true;
  if (!in.empty() && in[0].list() && run_list(name, node, in, out)) return true;
  if (!in.empty() && in[0].dict() && run_dict(name, in, out)) return true;
  if (!in.empty() && in[0].tuple() && name == "aten::len") return out = {c10::IValue(static_cast<int64_t>(in[0].tuple()->items.size()))}, true;
  if (name == "aten::dict" && in.empty()) return out = {make<DictObject>()}, true;
  return run_scalar(node, in, out);
}

Item Evaluator::number_of(const Tensor& tensor, const std::string& op) {
  const ContentsRef contents = read(tensor);
  find_size(*contents);
  if (contents->size) {
    if (op == "aten::Int" || op == "aten::IntImplicit" || op == "aten::ScalarImplicit" || op == "aten::item") return *contents->size;
    (void)contents->size->size();  // raises
  }
  if (!contents->constant.defined()) return dynamic_number_of(tensor, op);
  if (contents->constant.numel() != 1) return {};
  const at::Scalar value = contents->constant.item();
  if (op == "aten::Int" || op == "aten::IntImplicit")
    return c10::IValue(value.isFloatingPoint() ? static_cast<int64_t>(value.toDouble()) : value.toLong());
  if (op == "aten::Float" || op == "aten::FloatImplicit") return c10::IValue(value.toDouble());
  if (op == "aten::Bool") return c10::IValue(contents->constant.is_nonzero());
  return c10::IValue(value);
}

/// Where a tensor's element follows from symbols alone, that is noted.
void Evaluator::find_size(Contents& contents) {
  if (contents.size || contents.constant.defined() || !contents.value) return;
  if (const auto size = held_size(graph_, contents.value); size && !size->is_static()) contents.size = *size;
}

/// The size that an item is: an integer, a size, or a rank-0 tensor that holds one.
std::optional<Dim> Evaluator::size_of_item(const Item& item) {
  if (item.size()) return *item.size();
  if (item.is_int()) return Dim(item.integer());
  if (!item.tensor() || item.tensor()->type().rank() || item.tensor()->type().dtype != DType::i64) return std::nullopt;
  const ContentsRef contents = read(*item.tensor());
  find_size(*contents);
  if (contents->size) return contents->size;
  if (contents->constant.defined()) return Dim(contents->constant.item<int64_t>());
  return std::nullopt;
}

/// Division rounds towards minus infinity, as Python's // does.
std::optional<Dim> size_arithmetic(std::string_view op, const Dim& a, const Dim& b) {
  if (op == "aten::add") return a + b;
  if (op == "aten::sub") return a - b;
  if (op == "aten::rsub") return b - a;
  if (op == "aten::mul") return a * b;
  if (op == "prim::min" || op == "aten::min" || op == "aten::minimum") return Dim::min(a, b);
  if (op == "prim::max" || op == "aten::max" || op == "aten::maximum") return Dim::max(a, b);
  const bool divides = b.low() > 0;
  if (divides && (op == "aten::floordiv" || op == "aten::floor_divide")) return a / b;
  if (divides && (op == "aten::remainder" || op == "aten::mod")) return a % b;
  if (divides && a.low() >= 0 && (op == "aten::__round_to_zero_floordiv" || op == "aten::fmod")) return op == "aten::fmod" ? a % b : a / b;
  return std::nullopt;
}

namespace {

/// Nothing where the answer differs within the symbols' ranges, or the operator is no comparison.
std::optional<bool> size_comparison(std::string_view op, const Dim& a, const Dim& b) {
  try {
    if (op == "aten::lt") return a < b;
    if (op == "aten::le") return a <= b;
    if (op == "aten::gt") return a > b;
    if (op == "aten::ge") return a >= b;
    if (op != "aten::eq" && op != "aten::ne") return std::nullopt;
    // Equal for all values, or for none: else `a <= b` and `a >= b` differ within the range, and one of them raises.
    const bool same = a == b || (a <= b && a >= b);
    return same == (op == "aten::eq");
  } catch (const SymbolicSize&) { return std::nullopt; }
}

bool holds_size(const Item& item) {
  return item.size() || (item.list() && std::any_of(item.list()->items.begin(), item.list()->items.end(), holds_size));
}

}  // namespace

/// Lists of sizes: whether two are equal, what one sums up to.
bool Evaluator::run_size_lists(const std::string& name, const std::vector<Item>& in, std::vector<Item>& out) {
  const auto sizes_of = [this](const Item& item) {
    std::optional<std::vector<Dim>> sizes(std::in_place);
    for (const Item& i : item.list()->items) {
      const auto size = i.tensor() ? std::nullopt : size_of_item(i);
      if (!size) return std::optional<std::vector<Dim>>();
      sizes->push_back(*size);
    }
    return sizes;
  };
  if (in.size() == 1 && (name == "aten::sum" || name == "prim::min" || name == "prim::max")) {
    const auto sizes = sizes_of(in[0]);
    if (!sizes || sizes->empty()) return false;
    Dim total = sizes->front();
    for (size_t i = 1; i < sizes->size(); ++i) total = size_arithmetic(name == "aten::sum" ? "aten::add" : name, total, (*sizes)[i]).value();
    return out = {size_item(total)}, true;
  }
  if (in.size() != 2 || !in[1].list() || (name != "aten::eq" && name != "aten::ne")) return false;
  const auto a = sizes_of(in[0]), b = sizes_of(in[1]);
  if (!a || !b) return false;
  const bool eq = name == "aten::eq";
  if (a->size() != b->size()) return out = {c10::IValue(!eq)}, true;
  Value all;
  for (size_t i = 0; i < a->size(); ++i) {
    const auto same = size_comparison("aten::eq", (*a)[i], (*b)[i]);
    if (same && !*same) return out = {c10::IValue(!eq)}, true;
    if (same) continue;
    const Value one = builder_.create(Eq{number_value(size_item((*a)[i]), DType::i64), number_value(size_item((*b)[i]), DType::i64)});
    all = all ? builder_.create(LogicalAnd{all, one}) : one;
  }
  if (!all) return out = {c10::IValue(eq)}, true;
  return out = {number_item(eq ? all : builder_.create(LogicalNot{all}))}, true;
}

bool Evaluator::run_size(Node& node, const std::vector<Item>& in, std::vector<Item>& out) {
  const std::string name = node.kind().toQualString();
  if (std::none_of(in.begin(), in.end(), holds_size)) return false;
  if (run_factory(name, node, in, out)) return true;
  if (in[0].list()) return run_size_lists(name, in, out);
  if (in.size() == 1) {
    const Dim& size = *in[0].size();
    if (name == "aten::Int" || name == "aten::IntImplicit" || name == "aten::ScalarImplicit" || (name == "prim::abs" && size.low() >= 0))
      return out = {in[0]}, true;
    if (name == "aten::neg") return out = {size_item(0 - size)}, true;
    if (name == "aten::Bool") {
      if (const auto truth = size_comparison("aten::ne", size, 0)) return out = {c10::IValue(*truth)}, true;
    }
  }
  const auto a = in.size() == 2 ? size_of_item(in[0]) : std::nullopt, b = in.size() == 2 ? size_of_item(in[1]) : std::nullopt;
  if (a && b && !in[0].tensor() && !in[1].tensor()) {
    if (const auto size = size_arithmetic(name, *a, *b)) return out = {size_item(*size)}, true;
    if (const auto truth = size_comparison(name, *a, *b)) return out = {c10::IValue(*truth)}, true;
  }
  const bool of_numbers = std::find(std::begin(scalar_operators), std::end(scalar_operators), name) != std::end(scalar_operators) &&
                          std::none_of(in.begin(), in.end(), [](const Item& i) { return i.tensor() || i.list() || i.dict(); });
  if (!of_numbers) return false;
  if (run_arithmetic(node, in, out)) return true;
  for (const Item& i : in) {
    if (i.size()) (void)i.size()->size();  // raises: no number is known
  }
  return false;
}

bool Evaluator::run_question(const std::string& name, const std::vector<Item>& in, std::vector<Item>& out) {
  const Tensor& tensor = *in[0].tensor();
  const TensorType type = tensor.type();
  const auto answer = [&](c10::IValue value) { return out = {std::move(value)}, true; };
  const auto size_answer = [&](const Dim& size) { return out = {size_item(size)}, true; };
  const auto int_list = [&](const std::vector<Dim>& values) {
    auto list = make<ListObject>();
    list->element = c10::IntType::get();
    for (const Dim& v : values) list->items.push_back(size_item(v));
    out = {std::move(list)};
    return true;
  };
  if (name == "aten::size" || name == "prim::shape") {
    if (in.size() < 2) return int_list(type.shape.dims());
    if (!in[1].is_int()) return out = {Item()}, true;
    const int64_t axis = normal_index(in[1].integer(), type.rank());
    if (axis >= 0) return size_answer(type.shape[axis]);
    diagnostics_.error("axis-out-of-range", "size({}) of a tensor {} has no such axis", in[1].integer(), type.to_string())
        .at(here())
        .help("pass an input of the rank that the model expects: --input NAME:SHAPE");
    throw Stop{};
  }
  if (run_layout_question(name, in, out)) return true;
  if (name == "aten::_shape_as_tensor") {
    if (type.shape.is_static()) return out = {fresh_constant(at::tensor(type.shape.sizes(), at::TensorOptions().dtype(at::kLong)))}, true;
    Values sizes;
    for (const Dim& size : type.shape.dims()) sizes.items.push_back(number_value(size_item(size), DType::i64));
    return out = {fresh(import_one("aten::stack", {{"tensors", sizes}, {"dim", int64_t{0}}}))}, true;
  }
  if (name == "aten::dim" || name == "aten::ndimension" || name == "prim::ndim") return answer(type.rank());
  if (name == "aten::numel") return size_answer(type.shape.elements());
  if (name == "aten::len") return size_answer(type.rank() ? type.shape[0] : Dim(0));
  if (name == "prim::dtype") return answer(static_cast<int64_t>(scalar_type_of(type.dtype)));
  if (name == "prim::device") return answer(at::Device(at::kCPU));
  if (name == "prim::layout") return answer(static_cast<int64_t>(at::kStrided));
  if (name == "aten::is_floating_point") return answer(is_float(type.dtype));
  if (name == "aten::is_complex" || name == "aten::is_sparse" || name == "aten::is_quantized" || name == "prim::is_cuda" ||
      name == "prim::is_sparse" || name == "prim::is_quantized" || name == "prim::is_mkldnn" || name == "prim::is_mps" || name == "prim::is_xpu" ||
      name == "prim::is_vulkan" || name == "prim::is_meta" || name == "prim::is_nested" || name == "prim::requires_grad" || name == "aten::is_conj" ||
      name == "aten::is_neg" || name == "aten::is_inference") {
    return answer(false);
  }
  if (name == "prim::data") return out = {in[0]}, true;
  if (name == "prim::is_cpu") return answer(true);
  if (name == "prim::itemsize" || name == "aten::element_size") return answer(size_of(type.dtype));
  if (name == "aten::get_device") return answer(int64_t{-1});
  if (name == "aten::Int" || name == "aten::Float" || name == "aten::Bool" || name == "aten::item" || name == "aten::ScalarImplicit" ||
      name == "aten::IntImplicit" || name == "aten::FloatImplicit") {
    out = {number_of(tensor, name)};
    return true;
  }
  if (name == "aten::is_nonzero") return out = {number_of(tensor, "aten::Bool")}, true;
  if (name == "aten::equal" && in[1].tensor()) {
    if (in[1].tensor()->type().shape != type.shape) return answer(false);
    const ContentsRef same = import_one("aten::eq.Tensor", {{"self", value_of(tensor)}, {"other", value_of(*in[1].tensor())}});
    return out = {dynamic_number_of(*fresh(import_one("aten::all", {{"self", same->value}})).tensor(), "aten::Bool")}, true;
  }
  return false;
}

bool Evaluator::run_list(const std::string& name, Node& node, const std::vector<Item>& in, std::vector<Item>& out) {
  ListObject& list = *in[0].list();
  const int64_t size = static_cast<int64_t>(list.items.size());
  const auto index = [&](size_t i) { return in.size() > i && in[i].is_int() ? normal_index(in[i].integer(), size) : -1; };
  if (name == "aten::len") return out = {c10::IValue(size)}, true;
  if (name == "aten::__getitem__" || name == "aten::select") {
    const int64_t at = index(1);
    if (at >= 0) return out = {list.items[at]}, true;
    if (in[1].number()) return index_list(list, in[1], out);
    if (in[1].is_int()) {
      diagnostics_.error("index-out-of-range", "index {} of a list of {} elements is out of range", in[1].integer(), size)
          .at(here())
          .help("pass inputs of the rank and sizes that the model expects: --input NAME:SHAPE");
      throw Stop{};
    }
    return out = {Item()}, true;
  }
  if (std::find(std::begin(list_changes), std::end(list_changes), name) != std::end(list_changes)) {
    if (list.shared) refuse_shared("a list");
    touch(list);
    out = node.outputs().empty() ? std::vector<Item>{} : std::vector<Item>{in[0]};
    return change_list(name, list, in, out);
  }
  if (name == "aten::dict") return dict_of(list, node, out);
  if (name == "aten::list" || name == "aten::copy") return out = {make<ListObject>(list)}, true;
  if (name == "aten::add" && in[1].list()) {
    auto sum = make<ListObject>(list);
    sum->items.insert(sum->items.end(), in[1].list()->items.begin(), in[1].list()->items.end());
    return out = {std::move(sum)}, true;
  }
  if (name == "aten::mul" && in[1].is_int()) {
    auto product = make<ListObject>();
    product->element = list.element;
    if (in[1].integer() > 0 && size * in[1].integer() > (1 << 20)) return false;
    for (int64_t i = 0; i < in[1].integer(); ++i) product->items.insert(product->items.end(), list.items.begin(), list.items.end());
    return out = {std::move(product)}, true;
  }
  if (name == "aten::slice" && in.size() == 4) {
    const int64_t step = in[3].is_int() ? in[3].integer() : 1;
    if (step == 0 || in[1].number() || in[2].number() || in[3].number()) return false;
    // As in Python: backwards, places run from the last element to one before the first.
    const int64_t low = step < 0 ? -1 : 0, high = step < 0 ? size - 1 : size;
    const auto bound = [&](const Item& i, int64_t otherwise) {
      return i.is_int() ? std::clamp<int64_t>(i.integer() < 0 ? i.integer() + size : i.integer(), low, high) : otherwise;
    };
    auto part = make<ListObject>();
    part->element = list.element;
    const int64_t begin = bound(in[1], step < 0 ? high : low), end = bound(in[2], step < 0 ? low : high);
    for (int64_t i = begin; step < 0 ? i > end : i < end; i += step) part->items.push_back(list.items[i]);
    return out = {std::move(part)}, true;
  }
  const bool known = std::none_of(list.items.begin(), list.items.end(), [](const Item& i) { return i.tensor() || i.number(); });
  if (name == "aten::__contains__" && known && in[1].plain()) {
    return out = {c10::IValue(std::any_of(list.items.begin(), list.items.end(), [&](const Item& i) { return same_key(i, in[1]); }))}, true;
  }
  return false;
}

/// dict([(key, value), ...]); a later pair of the same key takes the earlier one's place.
bool Evaluator::dict_of(const ListObject& pairs, const Node& node, std::vector<Item>& out) {
  auto dict = make<DictObject>();
  const auto& type = node.output()->type()->expectRef<c10::DictType>();
  dict->key = type.getKeyType(), dict->value = type.getValueType();
  for (const Item& pair : pairs.items) {
    const auto* tuple = pair.tuple();
    if (!tuple || tuple->items.size() != 2 || !tuple->items[0].plain()) return false;
    const auto it = std::find_if(dict->entries.begin(), dict->entries.end(), [&](const auto& e) { return same_key(e.first, tuple->items[0]); });
    if (it != dict->entries.end()) it->second = tuple->items[1];
    else dict->entries.emplace_back(tuple->items[0], tuple->items[1]);
  }
  return out = {std::move(dict)}, true;
}

/// Of a dict that has some of its keys on some ways only: an entry that may be None, where none can be None by itself. False where the operator has
/// nothing to do with that.
bool Evaluator::run_absent(const std::string& name, DictObject& dict, const std::vector<Item>& in, std::vector<Item>& out) {
  const bool plain = dict.value && dict.value->kind() != c10::TypeKind::OptionalType && dict.value->kind() != c10::TypeKind::AnyType;
  const auto absent = [&](const auto& entry) { return plain && entry.second.maybe(); };
  if (name == "aten::clear" || name == "aten::copy" || name == "aten::dict") return false;
  if (std::none_of(dict.entries.begin(), dict.entries.end(), absent)) return false;
  const auto it = std::find_if(dict.entries.begin(), dict.entries.end(), [&](const auto& e) { return in.size() > 1 && same_key(e.first, in[1]); });
  const bool one = name == "aten::__contains__" || name == "aten::__getitem__" || name == "aten::get" || name == "aten::_set_item";
  if (one && (it == dict.entries.end() || !absent(*it))) return false;
  if (one) {
    const MaybeObject& maybe = *it->second.maybe();
    if (name == "aten::__contains__") return out = {maybe.present}, true;
    if (name == "aten::__getitem__") {
      builder_.create_all(Check{number_value(maybe.present, DType::b8), "KeyError: the dict has no such key"});
      return out = {maybe.value}, true;
    }
    if (name == "aten::get" && (in.size() < 3 || in[2].is_none())) return out = {it->second}, true;
    // It takes its place only where those behind it are absent with it: else it would be the last one.
    const ContentsRef with = maybe.present.number()->contents;
    const auto follows = [&](const auto& e) { return absent(e) && e.second.maybe()->present.number()->contents == with; };
    if (name == "aten::_set_item" && std::all_of(it, dict.entries.end(), follows)) return false;
  }
  data_dependent("which keys a dict has", fmt::format("{} depends on all of them", name));
  return out.assign(1, Item()), true;
}

bool Evaluator::run_dict(const std::string& name, const std::vector<Item>& in, std::vector<Item>& out) {
  DictObject& dict = *in[0].dict();
  constexpr std::string_view changing[] = {"aten::_set_item", "aten::update", "aten::pop",       "aten::Delete",
                                           "aten::popitem",   "aten::clear",  "aten::setdefault"};
  if (std::find(std::begin(changing), std::end(changing), name) != std::end(changing)) {
    if (dict.shared) refuse_shared("a dict");
    touch(dict);
  }
  const auto find = [&](const Item& key) {
    return std::find_if(dict.entries.begin(), dict.entries.end(), [&](const auto& e) { return same_key(e.first, key); });
  };
  if (run_absent(name, dict, in, out)) return true;
  if (name == "aten::len") return out = {c10::IValue(static_cast<int64_t>(dict.entries.size()))}, true;
  if (in.size() > 1 && in[1].number()) {
    data_dependent("a key of a dict", "it has to be known while compiling");
    return out.assign(1, Item()), true;
  }
  if (name == "aten::clear") return dict.entries.clear(), true;
  if (name == "aten::setdefault" && in.size() > 2) {
    const auto it = find(in[1]);
    if (it != dict.entries.end()) return out = {it->second}, true;
    dict.entries.emplace_back(in[1], in[2]);
    return out = {in[2]}, true;
  }
  if (name == "aten::__contains__") return out = {c10::IValue(find(in[1]) != dict.entries.end())}, true;
  if (name == "aten::__getitem__" || name == "aten::get") {
    const auto it = find(in[1]);
    if (it != dict.entries.end()) return out = {it->second}, true;
    if (name == "aten::get") return out = {in.size() > 2 ? in[2] : none_item()}, true;
    diagnostics_.error("no-such-key", "the model reads a key that its dict does not have")
        .at(here())
        .help("pass the dict entries that the model expects: --input NAME.KEY:SHAPE");
    throw Stop{};
  }
  if (name == "aten::_set_item") {
    const auto it = find(in[1]);
    if (it != dict.entries.end()) it->second = in[2];
    else dict.entries.emplace_back(in[1], in[2]);
    return true;
  }
  if (name == "aten::keys" || name == "aten::values" || name == "aten::items") {
    auto list = make<ListObject>();
    list->element = name == "aten::keys" ? dict.key : name == "aten::values" ? dict.value : c10::TypePtr();
    for (const auto& [key, value] : dict.entries) {
      if (name != "aten::items") list->items.push_back(name == "aten::keys" ? key : value);
      else {
        auto pair = std::make_shared<TupleObject>();
        pair->items = {key, value};
        list->items.emplace_back(std::move(pair));
      }
    }
    return out = {std::move(list)}, true;
  }
  if (name == "aten::update" && in[1].dict()) {
    for (const auto& [key, value] : std::vector(in[1].dict()->entries)) {
      const auto it = find(key);
      if (it != dict.entries.end()) it->second = value;
      else dict.entries.emplace_back(key, value);
    }
    return true;
  }
  if (name == "aten::copy" || name == "aten::dict") return out = {make<DictObject>(dict)}, true;
  if (name == "aten::pop" || name == "aten::Delete") {
    const auto it = find(in[1]);
    if (it == dict.entries.end()) return false;
    out = {it->second};
    dict.entries.erase(it);
    return true;
  }
  return false;
}

bool Evaluator::run_scalar(Node& node, const std::vector<Item>& in, std::vector<Item>& out) {
  const std::string name = node.kind().toQualString();
  if (std::find(std::begin(scalar_operators), std::end(scalar_operators), name) == std::end(scalar_operators)) return false;
  const torch::jit::Operator* op = node.maybeOperator();
  if (!op || !op->hasOperation()) return false;
  const auto has_tensor = [](const c10::Argument& a) { return a.type()->str().find("Tensor") != std::string::npos; };
  const auto& schema = op->schema();
  if (std::any_of(schema.arguments().begin(), schema.arguments().end(), has_tensor) ||
      std::any_of(schema.returns().begin(), schema.returns().end(), has_tensor))
    return false;
  torch::jit::Stack stack;
  for (size_t i = 0; i < in.size(); ++i) {
    auto value = contains_unknown(in[i]) ? std::nullopt : ivalue_of(in[i], node.inputs()[i]->type(), false);
    if (!value) return out.assign(node.outputs().size(), Item()), true;
    stack.push_back(std::move(*value));
  }
  if (schema.is_vararg()) stack.emplace_back(static_cast<int64_t>(in.size()));  // as the interpreter hands it to those: "...".format(a, b)
  try {
    op->getOperation (&node)(stack);
  } catch (const std::exception& e) {
    diagnostics_.error("python-error", "{}: {}", name, std::string(e.what()).substr(0, std::string(e.what()).find('\n')))
        .at(here())
        .help("pass inputs that the model accepts: --input NAME:SHAPE:DTYPE");
    throw Stop{};
  }
  for (const c10::IValue& value : stack) out.push_back(from_ivalue(value, {}, Origin::fresh));
  return true;
}

}  // namespace mica::frontend
