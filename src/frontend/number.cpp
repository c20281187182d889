// Numbers that depend on data: Python's arithmetic as nodes on tensors of rank 0. ints are i64, floats f64, and an operator means what LibTorch's
// interpreter means by it, also where that is not what Python does (5 // 0.0 is inf).
#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>

#include "evaluator.h"
#include "mica/ops/compare.h"
#include "mica/ops/factory.h"
#include "mica/ops/index.h"
#include "mica/ops/math.h"
#include "mica/ops/view.h"

namespace mica::frontend {
namespace {

using torch::jit::Node;

/// How numbers are computed: each function makes nodes from operands of the operator's kind.
struct Maker {
  Builder& b;
  Value constant(DType kind, double value) { return b.scalar(kind, value); }
  Value cast(Value v, DType kind) { return b.type(v).dtype == kind ? v : b.create(Cast{v, kind}); }
  DType kind(Value v) const { return b.type(v).dtype; }
};
using Unary = Value (*)(Maker&, Value);
using Binary = Value (*)(Maker&, Value, Value);

/// What the operands are converted to before an operator: one kind for both, or always float.
enum class Common : uint8_t { same, real };

struct UnaryRule {
  std::string_view op;
  Common common;
  Unary make;
};
struct BinaryRule {
  std::string_view op;
  Common common;
  Binary make;
};

template <Op T> Value unary(Maker& m, Value x) { return m.b.create(T{x}); }
template <Op T> Value binary(Maker& m, Value x, Value y) { return m.b.create(T{x, y}); }
/// floor, ceil and round give an int for a float.
template <Op T> Value to_int(Maker& m, Value x) { return m.kind(x) == DType::i64 ? x : m.cast(m.b.create(T{x}), DType::i64); }
template <DType t> Value convert(Maker& m, Value x) { return m.cast(x, t); }
template <int numerator, int denominator> Value scaled_by_pi(Maker& m, Value x) {
  constexpr double pi = 3.14159265358979323846;
  return m.b.create(Mul{x, m.constant(DType::f64, numerator ? pi / denominator : denominator / pi)});
}

Value identity(Maker&, Value x) { return x; }
Value round_float(Maker& m, Value x) { return m.kind(x) == DType::i64 ? x : m.b.create(Round{x}); }
Value logical_not(Maker& m, Value x) { return m.b.create(LogicalNot{m.cast(x, DType::b8)}); }

/// Floats: std::floor(x / y).
Value floordiv(Maker& m, Value x, Value y) {
  return m.kind(x) == DType::f64 ? m.b.create(Floor{m.b.create(Div{x, y})}) : m.b.create(FloorDivide{x, y});
}
/// Floats: fmod(y + fmod(x, y), y).
Value remainder(Maker& m, Value x, Value y) {
  if (m.kind(x) != DType::f64) return m.b.create(Remainder{x, y});
  return m.b.create(Fmod{m.b.create(Add{y, m.b.create(Fmod{x, y})}), y});
}
Value least(Maker& m, Value x, Value y) { return m.b.create(Where{m.b.create(Lt{x, y}), x, y}); }
Value greatest(Maker& m, Value x, Value y) { return m.b.create(Where{m.b.create(Gt{x, y}), x, y}); }
template <Op Bits, Op Logic> Value bits(Maker& m, Value x, Value y) {
  return m.kind(x) == DType::b8 ? m.b.create(Logic{x, y}) : m.b.create(Bits{x, y});
}
Value log_to_base(Maker& m, Value x, Value base) { return m.b.create(Div{m.b.create(Log{x}), m.b.create(Log{base})}); }

constexpr UnaryRule unary_rules[] = {
    {"aten::neg", Common::same, unary<Neg>},
    {"aten::abs", Common::same, unary<Abs>},
    {"prim::abs", Common::same, unary<Abs>},
    {"aten::fabs", Common::real, unary<Abs>},
    {"aten::__not__", Common::same, logical_not},
    {"aten::floor", Common::same, to_int<Floor>},
    {"aten::ceil", Common::same, to_int<Ceil>},
    {"prim::ceil", Common::same, to_int<Ceil>},
    {"aten::trunc", Common::same, to_int<Trunc>},
    {"aten::round", Common::same, round_float},
    {"aten::Int", Common::same, convert<DType::i64>},
    {"aten::Float", Common::same, convert<DType::f64>},
    {"aten::Bool", Common::same, convert<DType::b8>},
    {"aten::IntImplicit", Common::same, convert<DType::i64>},
    {"aten::FloatImplicit", Common::same, convert<DType::f64>},
    {"aten::ScalarImplicit", Common::same, identity},
    {"aten::sqrt", Common::real, unary<Sqrt>},
    {"aten::exp", Common::real, unary<Exp>},
    {"aten::expm1", Common::real, unary<Expm1>},
    {"aten::log", Common::real, unary<Log>},
    {"aten::log1p", Common::real, unary<Log1p>},
    {"aten::log10", Common::real, unary<Log10>},
    {"aten::log2", Common::real, unary<Log2>},
    {"aten::sin", Common::real, unary<Sin>},
    {"aten::cos", Common::real, unary<Cos>},
    {"aten::tan", Common::real, unary<Tan>},
    {"aten::asin", Common::real, unary<Asin>},
    {"aten::acos", Common::real, unary<Acos>},
    {"aten::atan", Common::real, unary<Atan>},
    {"aten::sinh", Common::real, unary<Sinh>},
    {"aten::cosh", Common::real, unary<Cosh>},
    {"aten::tanh", Common::real, unary<Tanh>},
    {"aten::erf", Common::real, unary<Erf>},
    {"aten::radians", Common::real, scaled_by_pi<1, 180>},
    {"aten::degrees", Common::real, scaled_by_pi<0, 180>},
    {"aten::isnan", Common::real, unary<Isnan>},
    {"aten::isinf", Common::real, unary<Isinf>},
    {"aten::isfinite", Common::real, unary<Isfinite>},
};

constexpr BinaryRule binary_rules[] = {
    {"aten::add", Common::same, binary<Add>},
    {"aten::sub", Common::same, binary<Sub>},
    {"aten::mul", Common::same, binary<Mul>},
    {"aten::div", Common::real, binary<Div>},
    {"aten::floordiv", Common::same, floordiv},
    {"aten::remainder", Common::same, remainder},
    {"aten::mod", Common::same, remainder},
    {"aten::fmod", Common::real, binary<Fmod>},
    {"aten::pow", Common::real, binary<Pow>},
    {"aten::atan2", Common::real, binary<Atan2>},
    {"aten::log", Common::real, log_to_base},
    {"aten::eq", Common::same, binary<Eq>},
    {"aten::ne", Common::same, binary<Ne>},
    {"aten::lt", Common::same, binary<Lt>},
    {"aten::le", Common::same, binary<Le>},
    {"aten::gt", Common::same, binary<Gt>},
    {"aten::ge", Common::same, binary<Ge>},
    {"aten::__and__", Common::same, bits<BitwiseAnd, LogicalAnd>},
    {"aten::__or__", Common::same, bits<BitwiseOr, LogicalOr>},
    {"aten::__xor__", Common::same, bits<BitwiseXor, LogicalXor>},
    {"aten::__lshift__", Common::same, binary<ShiftLeft>},
    {"aten::__rshift__", Common::same, binary<ShiftRight>},
    {"prim::min", Common::same, least},
    {"prim::max", Common::same, greatest},
};

template <class Rule, size_t n> const Rule* find_rule(const Rule (&rules)[n], std::string_view op) {
  const auto it = std::find_if(std::begin(rules), std::end(rules), [&](const Rule& r) { return r.op == op; });
  return it == std::end(rules) ? nullptr : it;
}

/// What a schema says of its result: int, float or bool; none where it is a number of any kind.
std::optional<DType> result_kind(const Node& node) {
  const auto type = node.outputs().empty() ? nullptr : node.outputs()[0]->type();
  if (!type) return std::nullopt;
  switch (type->kind()) {
    case c10::TypeKind::IntType: return DType::i64;
    case c10::TypeKind::FloatType: return DType::f64;
    case c10::TypeKind::BoolType: return DType::b8;
    default: return std::nullopt;
  }
}

}  // namespace

std::optional<DType> number_kind(const Item& item) {
  if (const Number* n = item.number()) return n->dtype();
  if (item.size()) return DType::i64;
  const c10::IValue* v = item.plain();
  if (!v) return std::nullopt;
  if (v->isInt()) return DType::i64;
  if (v->isDouble()) return DType::f64;
  return v->isBool() ? std::optional(DType::b8) : std::nullopt;
}

namespace {

// ---- quotients of sizes ----

/// The quotient that an item is: a size, a small integer, or a float that remembers one.
std::optional<Ratio> ratio_in(const Item& item) {
  if (item.number()) return item.number()->ratio;
  if (item.size()) return Ratio{*item.size()};
  const c10::IValue* v = item.plain();
  if (v && v->isInt()) return Ratio{v->toInt()};
  if (!v || !v->isDouble()) return std::nullopt;
  // A fraction that floats hold exactly: 0.5, 0.125, 32.0.
  for (int64_t denominator = 1; denominator <= 4096; denominator *= 2) {
    const double scaled = v->toDouble() * static_cast<double>(denominator);
    if (scaled == std::floor(scaled) && std::abs(scaled) < 1e6) return Ratio{static_cast<int64_t>(scaled), denominator};
  }
  return std::nullopt;
}

/// Kept while both parts are so small that rounding the quotient to f64 crosses no integer.
std::optional<Ratio> exact(const Dim& numerator, int64_t denominator) {
  constexpr int64_t most = int64_t{1} << 40;
  if (denominator < 1 || denominator > 4096 || numerator.low() < -most || numerator.high() > most) return std::nullopt;
  return Ratio{numerator, denominator};
}

/// What `op` gives where it is a quotient rounded once: operands that are quotients have not been rounded, or nothing is lost by it.
std::optional<Ratio> ratio_of(std::string_view op, const std::vector<Item>& in) {
  if (in.empty() || in.size() > 2) return std::nullopt;
  const auto a = ratio_in(in[0]), b = in.size() == 2 ? ratio_in(in[1]) : Ratio{1};
  if (!a || !b) return std::nullopt;
  if (in.size() == 1) return op == "aten::Float" || op == "aten::FloatImplicit" || op == "aten::ScalarImplicit" ? a : std::nullopt;
  const auto unrounded = [](const Ratio& r) { return (r.denominator & (r.denominator - 1)) == 0; };
  if (!unrounded(*a) || !unrounded(*b)) return std::nullopt;
  if (op == "aten::mul") return exact(a->numerator * b->numerator, a->denominator * b->denominator);
  if (op == "aten::add") return exact(a->numerator * b->denominator + b->numerator * a->denominator, a->denominator * b->denominator);
  if (op == "aten::sub") return exact(a->numerator * b->denominator - b->numerator * a->denominator, a->denominator * b->denominator);
  if (op != "aten::div" || !b->numerator.is_static() || b->numerator.size() < 1) return std::nullopt;
  return exact(a->numerator * b->denominator, a->denominator * b->numerator.size());
}

}  // namespace

/// Where a float that is a quotient of sizes becomes an integer it is a size again: int(h / 2), math.ceil(h / 32).
bool Evaluator::run_ratio(const std::string& name, const std::vector<Item>& in, std::vector<Item>& out) {
  const Number* number = in.size() == 1 ? in[0].number() : nullptr;
  if (!number || !number->ratio) return false;
  const auto& [numerator, denominator] = *number->ratio;
  const bool truncates = name == "aten::Int" || name == "aten::IntImplicit" || name == "aten::trunc";
  if (name == "aten::floor" || (truncates && numerator.low() >= 0)) return out = {size_item(numerator / denominator)}, true;
  if (name == "aten::ceil" || name == "prim::ceil") return out = {size_item(Dim::ceil_div(numerator, denominator))}, true;
  return false;
}

Item Evaluator::number_item(Value value) { return Number{contents_of(value)}; }

Value Evaluator::number_value(const Item& item, DType dtype) {
  if (const Number* n = item.number()) {
    const Value v = materialise(n->contents);
    return n->dtype() == dtype ? v : builder_.create(Cast{v, dtype});
  }
  if (const Dim* size = item.size()) {
    const Value v = builder_.create(SizeValue{.size = *size, .dtype = DType::i64});
    return dtype == DType::i64 ? v : builder_.create(Cast{v, dtype});
  }
  const c10::IValue* v = item.plain();
  if (!v || !v->isScalar()) {
    // One that is not the same on all ways, or that an operator did not give: said where that happened, else here.
    const size_t errors = diagnostics_.error_count();
    Item unusable = item;
    check_usable(unusable, "", false);
    report_lost();
    if (diagnostics_.error_count() == errors) data_dependent("a number", "a loop or a branch needs it");
    throw Stop{};
  }
  return value_of(*fresh_constant(at::scalar_tensor(v->toScalar(), at::TensorOptions().dtype(scalar_type_of(dtype)))).tensor());
}

Item Evaluator::zeros_like(const Item& item) {
  if (const auto kind = number_kind(item))
    return *kind == DType::i64 ? c10::IValue(int64_t{0}) : *kind == DType::f64 ? c10::IValue(0.0) : c10::IValue(false);
  if (item.plain()) return item;
  if (item.maybe()) return none_item();
  if (const auto* dict = item.dict()) {
    auto zeros = make<DictObject>(*dict);
    for (auto& [key, value] : zeros->entries) value = zeros_like(value);
    return contains_unknown(zeros) ? Item() : Item(zeros);
  }
  const auto each = [&](const std::vector<Item>& items) {
    std::vector<Item> zeros;
    for (const Item& i : items) zeros.push_back(zeros_like(i));
    return zeros;
  };
  if (const auto* tuple = item.tuple()) {
    auto zeros = std::make_shared<TupleObject>();
    zeros->type = tuple->type, zeros->items = each(tuple->items);
    return std::any_of(zeros->items.begin(), zeros->items.end(), contains_unknown) ? Item() : Item(zeros);
  }
  if (const auto* list = item.list(); list && !list->growing) {
    auto zeros = make<ListObject>();  // none of rows
    zeros->element = list->element, zeros->items = each(list->items);
    return std::any_of(zeros->items.begin(), zeros->items.end(), contains_unknown) ? Item() : Item(zeros);
  }
  if (!item.tensor()) return {};
  const TensorType type = item.tensor()->type();
  // A constant where it can be one: what a state is before the first run has to be.
  if (type.shape.is_static()) return fresh_constant(at::zeros(type.shape.sizes(), at::TensorOptions().dtype(scalar_type_of(type.dtype))));
  // Of what is measured there is nothing: the size may be known on one way only.
  std::vector<Dim> dims = type.shape.dims();
  for (Dim& d : dims)
    if (greatest(d, graph_.symbols.all()) != d) d = 0;
  return fresh(contents_of(builder_.create(Full{.shape = Dims(dims), .value = Scalar(0), .dtype = type.dtype})));
}

Item Evaluator::dynamic_number_of(const Tensor& tensor, const std::string& op) {
  const TensorType type = tensor.type();
  if (type.shape.elements() != 1) {
    diagnostics_.error("not-one-element", "{} of a tensor {} that has not exactly one element", op, type.to_string())
        .at(here())
        .help("take one element of it first");
    throw Stop{};
  }
  Value v = value_of(tensor);
  if (type.rank()) v = builder_.create(Reshape{v, Ints{}});
  const DType kind = op == "aten::Int" || op == "aten::IntImplicit"       ? DType::i64
                     : op == "aten::Float" || op == "aten::FloatImplicit" ? DType::f64
                     : op == "aten::Bool" || is_bool(type.dtype)          ? DType::b8
                     : is_float(type.dtype)                               ? DType::f64
                                                                          : DType::i64;
  return number_item(type.dtype == kind ? v : builder_.create(Cast{v, kind}));
}

/// Messages are the only use of text with parts that depend on data.
bool Evaluator::run_text(Node& node, const std::vector<Item>& in, std::vector<Item>& out) {
  const std::string name = node.kind().toQualString();
  if (name == "aten::format") {
    const bool plain = in[0].plain() && in[0].plain()->isString();
    if (!plain && !in[0].text()) return false;
    const std::string pattern = plain ? in[0].plain()->toStringRef() : in[0].text()->known;
    std::string text;
    size_t next = 1;
    for (size_t i = 0; i < pattern.size(); ++i) {
      if (pattern[i] != '{') {
        text += pattern[i];
        continue;
      }
      const size_t close = std::min(pattern.find('}', i), pattern.size() - 1);
      const Item* item = next < in.size() ? &in[next] : nullptr;
      ++next;
      const c10::IValue* v = item ? item->plain() : nullptr;
      text += v && v->isString()     ? v->toStringRef()
              : v && v->isInt()      ? fmt::format("{}", v->toInt())
              : item && item->size() ? item->size()->to_string()
                                     : "{}";
      i = close;
    }
    return out = {Text{text}}, true;
  }
  if (name == "aten::str") return out = {Text{"{}"}}, true;
  const auto text_of = [](const Item& i) {
    return i.text() ? i.text()->known : i.plain() && i.plain()->isString() ? i.plain()->toStringRef() : "{}";
  };
  if (name == "aten::add" && in.size() == 2) return out = {Text{text_of(in[0]) + text_of(in[1])}}, true;
  if (name == "aten::percentFormat") return out = {Text{text_of(in[0])}}, true;
  return false;
}

/// torch.tensor of numbers: a number or a list of them.
bool Evaluator::run_factory(const std::string& name, Node& node, const std::vector<Item>& in, std::vector<Item>& out) {
  if (name != "aten::tensor" && name != "aten::as_tensor" && name != "aten::scalar_tensor") return false;
  std::optional<DType> wanted;
  const auto& schema = node.schema();
  for (size_t i = 0; i < in.size(); ++i) {
    if (schema.arguments()[i].name() == "dtype" && in[i].is_int()) wanted = dtype_from_torch(in[i].integer());
  }
  const auto element = [&](const Item& item) {
    const DType kind = *number_kind(item);
    return number_value(item, wanted.value_or(kind == DType::f64 ? DType::f32 : kind));
  };
  if (in[0].number() || in[0].size()) {
    Item made = fresh(contents_of(element(in[0])));
    if (in[0].size() && made.tensor()->type().dtype == DType::i64) read(*made.tensor())->size = *in[0].size();
    return out = {std::move(made)}, true;
  }
  const auto* list = in[0].list();
  if (!list || !std::all_of(list->items.begin(), list->items.end(), [](const Item& i) { return number_kind(i).has_value(); })) return false;
  Values parts;
  for (const Item& i : list->items) parts.items.push_back(element(i));
  return out = {fresh(import_one("aten::stack", {{"tensors", parts}, {"dim", int64_t{0}}}))}, true;
}

/// An element of a list at a place that depends on data, where all are of one type.
bool Evaluator::index_list(const ListObject& list, const Item& index, std::vector<Item>& out) {
  const bool tensors = !list.items.empty() && list.items[0].tensor();
  Values parts;
  for (const Item& i : list.items) {
    if (tensors ? !i.tensor() || i.tensor()->type() != list.items[0].tensor()->type()
                : !number_kind(i) || number_kind(i) != number_kind(list.items[0])) {
      data_dependent("an index of a list", "its elements are of several types or shapes");
      return out = {Item()}, true;
    }
    parts.items.push_back(tensors ? value_of(*i.tensor()) : number_value(i, *number_kind(i)));
  }
  if (parts.items.empty()) return data_dependent("an index of a list", "the list is empty"), out = {Item()}, true;
  const ContentsRef all = import_one("aten::stack", {{"tensors", parts}, {"dim", int64_t{0}}});
  const Item one = number_item(builder_.create(SelectAt{.x = all->value, .index = number_value(index, DType::i64), .axis = 0}));
  if (!tensors) return out = {one}, true;
  Item item = fresh(one.number()->contents);
  const StorageRef storage = item.tensor()->storage;
  for (const Item& i : list.items) may_be(storage, i.tensor()->storage);
  return out = {item}, true;
}

bool Evaluator::run_number_list(const std::string& name, const std::vector<Item>& in, std::vector<Item>& out) {
  if (in.size() != 1 || !in[0].list()) return false;
  const auto& items = in[0].list()->items;
  if (items.empty() || !std::all_of(items.begin(), items.end(), [](const Item& i) { return number_kind(i).has_value(); })) return false;
  const bool is_sum = name == "aten::sum", is_all = name == "aten::all", is_any = name == "aten::any";
  const BinaryRule* rule = find_rule(binary_rules, is_sum ? "aten::add" : is_all ? "aten::__and__" : is_any ? "aten::__or__" : name);
  if (!rule || (!is_sum && !is_all && !is_any && name != "prim::min" && name != "prim::max")) return false;
  const DType kind = is_all || is_any ? DType::b8 : *number_kind(items[0]);
  Maker m{builder_};
  Value total = number_value(items[0], kind);
  for (size_t i = 1; i < items.size(); ++i) total = rule->make(m, total, number_value(items[i], kind));
  return out = {number_item(total)}, true;
}

bool Evaluator::run_number(Node& node, const std::vector<Item>& in, std::vector<Item>& out) {
  const std::string name = node.kind().toQualString();
  const auto is_text = [](const Item& i) { return i.text() != nullptr; };
  if (std::any_of(in.begin(), in.end(), is_text)) return run_text(node, in, out);
  const auto holds_number = [](const Item& i) {
    return i.number() || (i.list() && std::any_of(i.list()->items.begin(), i.list()->items.end(), [](const Item& e) { return e.number(); }));
  };
  const bool numbers = std::any_of(in.begin(), in.end(), holds_number);
  const bool unknown_text =
      name == "aten::format" && std::any_of(in.begin() + 1, in.end(), [](const Item& i) { return i.tensor() || i.number() || i.size(); });
  const bool sizes = std::any_of(in.begin(), in.end(), [](const Item& i) { return i.size(); });
  if (unknown_text || ((numbers || sizes) && (name == "aten::str" || name == "aten::percentFormat"))) return run_text(node, in, out);
  if (!numbers) return false;
  return run_arithmetic(node, in, out);
}

bool Evaluator::run_arithmetic(Node& node, const std::vector<Item>& in, std::vector<Item>& out) {
  const std::string name = node.kind().toQualString();
  if (run_ratio(name, in, out) || run_factory(name, node, in, out)) return true;
  if (name == "prim::NumToTensor") return out = {fresh(in[0].number()->contents)}, true;
  Maker m{builder_};
  if (name == "aten::__derive_index" && in.size() == 3) {
    const Value offset = builder_.create(Mul{number_value(in[0], DType::i64), number_value(in[2], DType::i64)});
    return out = {number_item(builder_.create(Add{number_value(in[1], DType::i64), offset}))}, true;
  }
  if (name == "aten::__range_length" && in.size() == 3 && in[2].is_int() && in[2].integer()) {
    const auto first = size_of_item(in[0]), end = size_of_item(in[1]);
    if (first && end && in[2].integer() > 0) return out = {size_item(Dim::max(0, Dim::ceil_div(*end - *first, in[2].integer())))}, true;
    // The distance in whole steps, rounded up; none where the end lies the other way.
    const int64_t step = in[2].integer();
    const Value low = number_value(in[step > 0 ? 0 : 1], DType::i64), high = number_value(in[step > 0 ? 1 : 0], DType::i64);
    const Value size = number_value(c10::IValue(std::abs(step)), DType::i64), more = number_value(c10::IValue(std::abs(step) - 1), DType::i64);
    const Value steps = builder_.create(FloorDivide{builder_.create(Add{builder_.create(Sub{high, low}), more}), size});
    return out = {number_item(greatest(m, steps, number_value(c10::IValue(int64_t{0}), DType::i64)))}, true;
  }
  if (run_number_list(name, in, out)) return true;
  if (!std::all_of(in.begin(), in.end(), [](const Item& i) { return number_kind(i).has_value(); })) return false;
  Value result;
  if (in.size() == 1) {
    const UnaryRule* rule = find_rule(unary_rules, name);
    if (!rule) return false;
    result = rule->make(m, number_value(in[0], rule->common == Common::real ? DType::f64 : *number_kind(in[0])));
  } else if (in.size() == 2) {
    const BinaryRule* rule = find_rule(binary_rules, name);
    if (!rule) return false;
    const DType a = *number_kind(in[0]), b = *number_kind(in[1]);
    const DType kind = rule->common == Common::real || a == DType::f64 || b == DType::f64 ? DType::f64 : a == b ? a : DType::i64;
    result = rule->make(m, number_value(in[0], kind), number_value(in[1], kind));
    const bool ints = a != DType::f64 && b != DType::f64;
    if (name == "aten::pow" && ints && !result_kind(node)) result = m.cast(result, DType::i64);
  } else {
    return false;
  }
  if (!result) throw Stop{};
  if (const auto wanted = result_kind(node)) result = m.cast(result, *wanted);
  return out = {Number{contents_of(result), ratio_of(name, in)}}, true;
}

}  // namespace mica::frontend
