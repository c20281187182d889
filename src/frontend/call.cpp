// Tensor operators: by LibTorch where all tensors are small constants, else as nodes through the op table.
#include <ATen/ATen.h>
#include <torch/csrc/jit/runtime/operator.h>

#include <algorithm>

#include "arguments.h"
#include "module.h"

namespace mica::frontend {
namespace {

using torch::jit::Node;
using torch::jit::Operator;

constexpr int64_t max_constant = 1 << 20;  // elements of a constant computed while importing
constexpr int64_t max_inexact = 4096;      // the same where only a Python number can come of it

/// Operators whose results are elements of their operands or given numbers: computing them while importing rounds nothing.
/// Besides what the op table imports, these and no others are ever run on constants.
constexpr std::string_view exact_operators[] = {
    "aten::_cast_Float",
    "aten::alias",
    "aten::arange",
    "aten::as_tensor",
    "aten::broadcast_tensors",
    "aten::broadcast_to",
    "aten::cat",
    "aten::chunk",
    "aten::clone",
    "aten::concat",
    "aten::contiguous",
    "aten::copy_",
    "aten::detach",
    "aten::diag",
    "aten::diagonal",
    "aten::empty",
    "aten::empty_like",
    "aten::expand",
    "aten::expand_as",
    "aten::eye",
    "aten::fill_",
    "aten::flatten",
    "aten::flip",
    "aten::full",
    "aten::full_like",
    "aten::gather",
    "aten::index",
    "aten::index_put",
    "aten::index_put_",
    "aten::index_select",
    "aten::lift_fresh",
    "aten::masked_fill",
    "aten::masked_fill_",
    "aten::masked_select",
    "aten::meshgrid",
    "aten::movedim",
    "aten::narrow",
    "aten::new_empty",
    "aten::new_full",
    "aten::new_ones",
    "aten::new_zeros",
    "aten::nonzero",
    "aten::numpy_T",
    "aten::ones",
    "aten::ones_like",
    "aten::pad",
    "aten::permute",
    "aten::repeat",
    "aten::repeat_interleave",
    "aten::reshape",
    "aten::roll",
    "aten::scalar_tensor",
    "aten::scatter",
    "aten::select",
    "aten::select_scatter",
    "aten::slice",
    "aten::slice_scatter",
    "aten::split",
    "aten::split_with_sizes",
    "aten::squeeze",
    "aten::stack",
    "aten::t",
    "aten::tensor",
    "aten::tensor_split",
    "aten::tile",
    "aten::to",
    "aten::transpose",
    "aten::tril",
    "aten::triu",
    "aten::type_as",
    "aten::unbind",
    "aten::unflatten",
    "aten::unsqueeze",
    "aten::view",
    "aten::view_as",
    "aten::where",
    "aten::zero_",
    "aten::zeros",
    "aten::zeros_like",
};

bool is_exact(const std::string& base) {
  return std::find(std::begin(exact_operators), std::end(exact_operators), base) != std::end(exact_operators);
}

/// Dropouts: identities in evaluation mode, and then the very same tensor.
bool is_dropout(const std::string& base) {
  return base == "aten::dropout" || base == "aten::dropout_" || base == "aten::feature_dropout" || base == "aten::feature_dropout_" ||
         base == "aten::alpha_dropout" || base == "aten::alpha_dropout_" || base == "aten::feature_alpha_dropout" ||
         base == "aten::feature_alpha_dropout_";
}

bool is_true(const std::vector<NamedItem>& arguments, std::string_view name) {
  const Item* item = find(arguments, name);
  return item && item->is_bool() && item->plain()->toBool();
}

/// False when an argument that says how large a result is asks for too much.
bool sizes_fit(const std::string& base, const std::vector<NamedItem>& arguments) {
  for (const NamedItem& a : arguments) {
    // Of a slice the end is no size: 2^63 - 1 is how `x[1:]` ends.
    if (a.name == "end" && base == "aten::arange" && a.item.is_int() && a.item.integer() > max_constant) return false;
    if ((a.name == "n" || a.name == "m" || a.name == "steps") && a.item.is_int() && a.item.integer() > 1024) return false;
    if (const auto* list = a.item.list(); list && (a.name == "size" || a.name == "repeats" || a.name == "dims" || a.name == "pad")) {
      int64_t product = 1;
      for (const Item& i : list->items) {
        if (!i.is_int()) continue;
        if (i.integer() > max_constant) return false;
        product *= std::max<int64_t>(i.integer(), 1);
        if (product > max_constant) return false;
      }
    }
  }
  return true;
}

c10::TypePtr without_option(c10::TypePtr type) {
  while (const auto option = type ? type->cast<c10::OptionalType>() : nullptr) type = option->getElementType();
  return type;
}

bool is_number(const NamedItem& argument) { return without_option(argument.schema->type())->kind() == c10::TypeKind::NumberType; }

/// Whether numbers of any kind are sizes to the operator: how long its result is.
bool takes_size(const std::string& op) { return op.starts_with("aten::arange") || op.starts_with("aten::scalar_tensor"); }

bool holds_float(const Item& item) {
  if (item.tensor()) return is_float(item.tensor()->type().dtype);
  return item.list() && std::any_of(item.list()->items.begin(), item.list()->items.end(), holds_float);
}

}  // namespace

// ---- to and from LibTorch's values ----

std::optional<c10::IValue> Evaluator::ivalue_of(const Item& item, const c10::TypePtr& wanted, bool with_tensors) {
  if (item.plain()) return *item.plain();
  if (const auto* tensor = item.tensor()) {
    if (!with_tensors) return std::nullopt;
    const ContentsRef contents = read(*tensor);
    if (!contents->constant.defined()) return std::nullopt;
    return contents->constant;
  }
  if (const auto* list = item.list()) {
    const auto type = without_option(wanted);
    const auto as_list = type ? type->cast<c10::ListType>() : nullptr;
    c10::TypePtr element = as_list ? as_list->getElementType() : list->element ? list->element : c10::TypePtr(c10::IntType::get());
    if (element->hasFreeVariables()) element = list->element ? list->element : c10::TypePtr(c10::IntType::get());
    if (element->kind() == c10::TypeKind::NumberType)
      element = !list->items.empty() && list->items[0].plain() && list->items[0].plain()->isDouble() ? c10::TypePtr(c10::FloatType::get())
                                                                                                     : c10::IntType::get();
    if (element->kind() == c10::TypeKind::SymIntType) element = c10::IntType::get();
    c10::impl::GenericList values(element);
    for (const Item& i : list->items) {
      auto v = ivalue_of(i, element, with_tensors);
      if (!v) return std::nullopt;
      if (element->kind() == c10::TypeKind::FloatType && v->isInt()) v = c10::IValue(static_cast<double>(v->toInt()));
      values.push_back(std::move(*v));
    }
    return c10::IValue(std::move(values));
  }
  if (const auto* tuple = item.tuple()) {
    std::vector<c10::IValue> values;
    for (const Item& i : tuple->items) {
      auto v = ivalue_of(i, {}, with_tensors);
      if (!v) return std::nullopt;
      values.push_back(std::move(*v));
    }
    return c10::IValue(c10::ivalue::Tuple::create(std::move(values)));
  }
  return std::nullopt;
}

/// The argument as the op table takes it; false when it has no counterpart there.
bool Evaluator::import_value(const NamedItem& argument, ImportValue& value) {
  const Item& item = argument.item;
  if (const auto* tensor = item.tensor()) return value = value_of(*tensor), true;
  if (const auto* size = item.size()) return value = *size, true;
  if (const auto* v = item.plain()) {
    if (v->isInt()) value = v->toInt();
    else if (v->isDouble()) value = v->toDouble();
    else if (v->isBool()) value = v->toBool();
    else if (v->isString()) value = v->toStringRef();
    return !v->isComplexDouble();  // what is left is None, devices, generators: nothing
  }
  const auto* list = item.list();
  if (!list) return false;
  const auto type = without_option(argument.schema ? argument.schema->type() : nullptr);
  const auto wanted = type ? type->cast<c10::ListType>() : nullptr;
  const bool tensors = wanted && without_option(wanted->getElementType())->kind() == c10::TypeKind::TensorType;
  Values values;
  std::vector<int64_t> ints;
  std::vector<double> reals;
  bool real = false;
  if (std::any_of(list->items.begin(), list->items.end(), [](const Item& i) { return i.size() != nullptr; })) {
    Dims sizes;
    for (const Item& i : list->items) {
      const auto size = size_of_item(i);
      if (!size) return false;
      sizes.items.push_back(*size);
    }
    return value = std::move(sizes), true;
  }
  for (const Item& i : list->items) {
    if (i.tensor()) values.items.push_back(value_of(*i.tensor()));
    else if (i.is_none()) values.items.emplace_back();
    else if (i.plain() && i.plain()->isDouble()) real = true, reals.push_back(i.plain()->toDouble());
    else if (i.plain() && (i.is_int() || i.is_bool()))
      ints.push_back(i.is_int() ? i.integer() : i.plain()->toBool()), reals.push_back(static_cast<double>(ints.back()));
    else return false;
  }
  if (tensors || !values.items.empty()) {
    const bool all = values.items.size() == list->items.size();
    return value = std::move(values), all;
  }
  if (real) value = std::move(reals);
  else value = std::move(ints);
  return true;
}

Item Evaluator::item_of(const ImportValue& value) {
  if (const auto* v = std::get_if<Value>(&value)) return fresh(contents_of(*v));
  const auto list_of = [this](c10::TypePtr element) {
    auto list = make<ListObject>();
    list->element = std::move(element);
    return list;
  };
  if (const auto* vs = std::get_if<Values>(&value)) {
    auto list = list_of(c10::TensorType::get());
    for (const Value v : vs->items) list->items.push_back(item_of(ImportValue(v)));
    return list;
  }
  if (const auto* vs = std::get_if<std::vector<int64_t>>(&value)) {
    auto list = list_of(c10::IntType::get());
    for (const int64_t v : *vs) list->items.emplace_back(c10::IValue(v));
    return list;
  }
  if (const auto* vs = std::get_if<std::vector<double>>(&value)) {
    auto list = list_of(c10::FloatType::get());
    for (const double v : *vs) list->items.emplace_back(c10::IValue(v));
    return list;
  }
  if (const auto* v = std::get_if<Dim>(&value)) return size_item(*v);
  if (const auto* vs = std::get_if<Dims>(&value)) {
    auto list = list_of(c10::IntType::get());
    for (const Dim& v : vs->items) list->items.push_back(size_item(v));
    return list;
  }
  if (const auto* v = std::get_if<int64_t>(&value)) return c10::IValue(*v);
  if (const auto* v = std::get_if<double>(&value)) return c10::IValue(*v);
  if (const auto* v = std::get_if<bool>(&value)) return c10::IValue(*v);
  if (const auto* v = std::get_if<std::string>(&value)) return c10::IValue(*v);
  return none_item();
}

// ---- the two ways to run an operator ----

std::optional<std::vector<Item>> Evaluator::run_constant(const Operator& op, const std::vector<NamedItem>& arguments, bool in_place) {
  const std::string& base = op.schema().name();
  const bool exact = is_exact(base);
  if ((!exact && !is_importable(full_name(op.schema()))) || !sizes_fit(base, arguments) || !op.hasOperation()) return std::nullopt;
  torch::jit::Stack stack;
  bool any_tensor = false;
  const auto fits = [&](const Item& item) {
    if (!item.tensor()) return true;
    any_tensor = true;
    const ContentsRef contents = read(*item.tensor());
    return contents->constant.defined() && contents->constant.numel() <= (exact ? max_constant : max_inexact);
  };
  for (const NamedItem& a : arguments) {
    if (!fits(a.item)) return std::nullopt;
    if (const auto* list = a.item.list(); list && !std::all_of(list->items.begin(), list->items.end(), fits)) return std::nullopt;
    auto value = ivalue_of(a.item, a.schema->type(), true);
    if (!value) return std::nullopt;
    // The traced device means nothing here.
    if (a.schema->type()->kind() == c10::TypeKind::DeviceObjType) value = c10::IValue(at::Device(at::kCPU));
    else if (a.name == "device") value = c10::IValue();
    stack.push_back(std::move(*value));
  }
  if (!any_tensor && !exact) return std::nullopt;
  if (in_place) stack[0] = stack[0].toTensor().clone();
  try {
    const at::NoGradGuard no_grad;
    op.getOperation()(stack);
  } catch (const std::exception&) {
    return std::nullopt;  // the op table words the error
  }
  // Memory that eager leaves uninitialised is zero here, so that a compilation does not depend on chance.
  if (base == "aten::empty" || base == "aten::empty_like" || base == "aten::new_empty") stack[0].toTensor().zero_();
  std::vector<Item> results;
  for (const c10::IValue& value : stack) results.push_back(from_ivalue(value, {}, Origin::fresh));
  return results;
}

std::vector<Item> Evaluator::run_import(const std::string& op, const std::vector<NamedItem>& arguments, Diagnostics& diagnostics) {
  std::vector<ImportArg> args;
  for (const NamedItem& a : arguments) {
    ImportArg& arg = args.emplace_back(ImportArg{.name = a.name, .value = {}});
    if (a.item.number() || (a.item.size() && is_number(a) && !takes_size(op))) {
      if (!wrap_number(op, a, arguments, arg.value)) return {};
      continue;
    }
    if (const auto* list = a.item.list(); list && std::any_of(list->items.begin(), list->items.end(), [](const Item& i) { return i.number(); })) {
      data_dependent(fmt::format("{}: its argument '{}'", op, a.name), "it has to be known while compiling");
      return {};
    }
    if (!import_value(a, arg.value)) {
      diagnostics.unsupported("argument-kind", "{}: its argument '{}' is of a kind that is not supported", op, a.name)
          .at(here())
          .help("complex numbers and lists of text have no counterpart in compiled code");
      return {};
    }
  }
  Builder builder(graph_, diagnostics);
  builder.location = builder_.location;
  ImportContext context(op, std::move(args), builder, here());
  auto results = import_op(context);
  if (!results) return {};
  std::vector<Item> items;
  for (const ImportValue& value : *results) items.push_back(item_of(value));
  return items;
}

/// A number that is not known as a tensor of rank 0 that promotes as a Python number does: it takes the dtype of the tensor beside it unless it
/// is of a higher category.
bool Evaluator::wrap_number(const std::string& op, const NamedItem& number, const std::vector<NamedItem>& arguments, ImportValue& value) {
  if (!is_number(number)) {
    data_dependent(fmt::format("{}: its argument '{}'", op, number.name), "it has to be known while compiling");
    return false;
  }
  const Item* beside = find(arguments, "self");
  if (!beside || !beside->tensor()) beside = find(arguments, "other");
  for (const NamedItem& a : arguments) {
    if (!beside || !beside->tensor()) beside = &a.item;
  }
  const DType own = number.item.number() ? number.item.number()->dtype() : DType::i64;
  DType dtype = own == DType::f64 ? DType::f32 : own;
  if (beside->tensor()) {
    const TensorType type = beside->tensor()->type();
    const bool higher = (own == DType::f64 && !is_float(type.dtype)) || (own == DType::i64 && is_bool(type.dtype));
    if (!higher) dtype = type.rank() && (type.dtype == DType::f16 || type.dtype == DType::bf16) ? DType::f32 : type.dtype;
  }
  value = number_value(number.item, dtype);
  return true;
}

ContentsRef Evaluator::import_one(const std::string& op, std::vector<ImportArg> arguments) {
  ImportContext context(op, std::move(arguments), builder_, here());
  auto results = import_op(context);
  if (!results || results->empty() || !std::holds_alternative<Value>((*results)[0])) throw Stop{};
  return contents_of(std::get<Value>((*results)[0]));
}

std::vector<Item> Evaluator::both(const Operator& op, const std::string& name, const std::vector<NamedItem>& arguments, bool in_place) {
  auto constant = run_constant(op, arguments, in_place);
  const auto is_computed = [&](const Item& item) {  // a constant that the graph computes more exactly
    if (!item.tensor()) return false;
    const ContentsRef c = read(*item.tensor());
    return c->value && !graph_.is_constant(c->value);
  };
  if (constant) {
    const bool floats = std::any_of(constant->begin(), constant->end(), holds_float);
    const bool computed = std::any_of(arguments.begin(), arguments.end(), [&](const NamedItem& a) {
      return is_computed(a.item) || (a.item.list() && std::any_of(a.item.list()->items.begin(), a.item.list()->items.end(), is_computed));
    });
    if (!floats || (is_exact(op.schema().name()) && !computed)) return *constant;
  }
  if (!is_importable(name)) {
    if (constant) return *constant;
    count_unsupported(name);
    return {};
  }
  if (!constant) {
    auto results = run_import(name, arguments, diagnostics_);
    if (results.empty() && !op.schema().returns().empty() && ++errors_here_ >= 20) throw Stop{};
    return results;
  }
  // Both: the constant for where a Python number is read from it, the nodes so that nothing is rounded twice.
  Diagnostics quiet;
  const std::vector<Item> nodes = run_import(name, arguments, quiet);
  const auto merge = [&](const Item& known, const Item& node) {
    if (!known.tensor() || !node.tensor()) return;
    const ContentsRef a = read(*known.tensor()), b = read(*node.tensor());
    if (a->type == b->type) a->value = b->value;
  };
  for (size_t i = 0; i < constant->size() && i < nodes.size(); ++i) {
    const auto *a = (*constant)[i].list(), *b = nodes[i].list();
    if (!a || !b) merge((*constant)[i], nodes[i]);
    else
      for (size_t k = 0; k < a->items.size() && k < b->items.size(); ++k) merge(a->items[k], b->items[k]);
  }
  return *constant;
}

// ---- one operator ----

/// A trace computes with sizes as rank-0 tensors: the result of arithmetic on two is remembered as a size too.
void Evaluator::keep_size(const std::string& base, const std::vector<Item>& in, Item& result) {
  if (!result.tensor() || result.tensor()->type().rank() || result.tensor()->type().dtype != DType::i64 || in.size() < 2) return;
  const auto a = size_of_item(in[0]), b = size_of_item(in[1]);
  if (!a || !b || (a->is_static() && b->is_static())) return;
  const bool scaled =
      (base == "aten::add" || base == "aten::sub" || base == "aten::rsub") && in.size() > 2 && !(in[2].is_int() && in[2].integer() == 1);
  if (scaled) return;
  std::string op = base;
  if (base == "aten::div" && in.size() > 2 && in[2].plain() && in[2].plain()->isString())
    op = in[2].plain()->toStringRef() == "floor" ? "aten::floordiv" : "aten::__round_to_zero_floordiv";
  if (const auto size = size_arithmetic(op, *a, *b)) read(*result.tensor())->size = *size;
}

bool Evaluator::check_training(const Node& node, const std::vector<NamedItem>& arguments) {
  const std::string base = node.kind().toQualString();
  const auto rate = [&](std::string_view name) {
    const Item* p = find(arguments, name);
    return p && p->plain() && p->plain()->isDouble() ? p->plain()->toDouble() : 0.0;
  };
  // Without running statistics the batch's own are all there is, also in evaluation (and of a weight they are constants).
  const Item* mean = find(arguments, "running_mean");
  const bool has_statistics = mean && !mean->is_none();
  std::string what;
  if (is_dropout(base) && is_true(arguments, "train") && rate("p") > 0) what = "dropout";
  else if ((base == "aten::batch_norm" || base == "aten::native_batch_norm") && is_true(arguments, "training") && has_statistics) what = "batch_norm";
  else if (base == "aten::scaled_dot_product_attention" && rate("dropout_p") > 0) what = "dropout";
  else if ((base == "aten::lstm" || base == "aten::gru") && is_true(arguments, "train") && rate("dropout") > 0) what = "dropout";
  else if (base.starts_with("aten::rrelu") && is_true(arguments, "training")) what = "rrelu";
  if (what.empty()) return true;
  Unsupported& u = in_training_[what];
  if (u.count++ == 0) u.first = here();
  return false;
}

std::vector<Item> Evaluator::run_operator(Node& node, const std::vector<Item>& in) {
  const Operator* op = node.maybeOperator();
  if (!op) {
    count_unsupported(node.kind().toQualString());
    return {};
  }
  const auto& schema = op->schema();
  const std::string name = full_name(schema);
  const std::string& base = schema.name();
  if (schema.arguments().size() != in.size()) {
    count_unsupported(name);
    return {};
  }
  std::vector<NamedItem> arguments;
  const NamedItem* written = nullptr;
  bool unknown = false;
  for (size_t i = 0; i < in.size(); ++i) {
    const c10::Argument& argument = schema.arguments()[i];
    arguments.push_back({argument.name(), in[i], &argument});
    unknown = unknown || contains_unknown(in[i]);
  }
  for (size_t i = 0; i < in.size(); ++i) {
    if (const auto* alias = arguments[i].schema->alias_info(); alias && alias->isWrite()) written = written ? &arguments.back() : &arguments[i];
  }
  if (!check_training(node, arguments)) return {};
  if (is_dropout(base) || base == "aten::requires_grad_" || base == "aten::detach_") return {in[0]};
  if (unknown || (written && written != &arguments[0])) {
    // What reads a result that is not known has its reason already; only operators that would fail anyway are worth telling.
    if (!unknown || !(is_importable(name) || is_exact(base) || is_python_operator(base))) count_unsupported(name);
    if (written) report_lost();
    return {};
  }
  std::vector<Item> results;
  if (!written && run_view(*op, name, arguments, results)) return results;
  results = both(*op, name, arguments, written != nullptr);
  if (results.size() == 1) keep_size(base, in, results[0]);
  if (!written) note_placement(base, in, results), note_sharing(base, in, results);
  if (!written || results.empty()) return results;
  const Tensor* self = in[0].tensor();
  const Tensor* value = results[0].tensor();
  if (!self || !value) {
    count_unsupported(name);
    return {};
  }
  write(*self, read(*value));
  return {in[0]};
}

}  // namespace mica::frontend
