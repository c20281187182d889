#include "binding.h"

#include <ATen/ATen.h>

#include <algorithm>

namespace mica::frontend {
namespace {

using Kind = Argument::Kind;

/// What goes through the arguments once, giving each what was asked for.
class Binder {
 public:
  Binder(const LoadOptions& options, Binding& binding, Diagnostics& diagnostics)
      : options_(options), binding_(binding), diagnostics_(diagnostics), used_(options.inputs.size()) {}

  void bind(const c10::Argument& parameter, const c10::IValue* traced) {
    binding_.arguments.push_back(
        argument(parameter.type(), parameter.name(), traced, parameter.default_value() ? &*parameter.default_value() : nullptr));
    if (!binding_.structure.empty()) binding_.structure += ", ";
    binding_.structure += text_of(binding_.arguments.back());
  }
  bool finish(const std::string& signature);

 private:
  const InputSpec* named(const std::string& name) {
    for (size_t i = 0; i < used_.size(); ++i) {
      if (options_.inputs[i].name == name) return used_[i] = true, &options_.inputs[i];
    }
    return nullptr;
  }
  const InputSpec* positional() {
    for (size_t i = 0; i < used_.size(); ++i) {
      if (!used_[i] && options_.inputs[i].name.empty()) return used_[i] = true, &options_.inputs[i];
    }
    return nullptr;
  }
  bool has_prefix(const std::string& prefix) const {
    return std::any_of(options_.inputs.begin(), options_.inputs.end(),
                       [&](const InputSpec& s) { return s.name == prefix || s.name.starts_with(prefix + "."); });
  }
  Argument argument(const c10::TypePtr& type, const std::string& name, const c10::IValue* traced, const c10::IValue* otherwise);
  Argument tensor(const std::string& name, const c10::IValue* traced);
  Argument literal(const c10::TypePtr& type, const std::string& name, const c10::IValue* traced, const c10::IValue* otherwise);
  Argument list(const c10::ListType& type, const std::string& name, const c10::IValue* traced);
  Argument dict(const c10::DictType& type, const std::string& name, const c10::IValue* traced);
  Argument missing(const std::string& name, const std::string& what) {
    missing_.push_back(fmt::format("{} ({})", name, what));
    return {};
  }
  std::string text_of(const Argument& a) const;

  const LoadOptions& options_;
  Binding& binding_;
  Diagnostics& diagnostics_;
  std::vector<bool> used_;
  std::vector<std::string> names_, missing_;
};

Argument literal_of(const c10::IValue& value) {
  Argument a;
  a.literal = value;
  return a;
}

Argument Binder::tensor(const std::string& name, const c10::IValue* traced) {
  names_.push_back(name);
  const at::Tensor data = traced && traced->isTensor() ? traced->toTensor() : at::Tensor();
  const InputSpec* spec = named(name);
  if (!spec) spec = positional();
  if (!spec && !data.defined()) return missing(name, "a tensor");
  const auto traced_type = data.defined() ? type_of(data) : std::nullopt;
  TensorType type;
  if (spec) {
    if (spec->number) {
      diagnostics_.error("input-kind", "--input {}: '{}' is a tensor, not a number", spec->text, name)
          .help(fmt::format("--input {}:SHAPE:DTYPE", name));
      return {};
    }
    type.shape = spec->shape;
    type.dtype = spec->dtype ? *spec->dtype : traced_type ? traced_type->dtype : DType::f32;
  } else if (traced_type) {
    type = *traced_type;
  } else {
    diagnostics_.unsupported("input-kind", "the traced input '{}' cannot be compiled: {}", name, why_no_type(data))
        .help(fmt::format("give its shape and dtype: --input {}:SHAPE:DTYPE", name));
    return {};
  }
  Argument a;
  a.kind = Kind::input;
  a.input = binding_.inputs.size();
  binding_.inputs.push_back({name, type, traced_type && *traced_type == type && has_data(data) ? data : at::Tensor(),
                             data.defined() ? data.sizes().vec() : std::vector<int64_t>{}});
  return a;
}

Argument Binder::literal(const c10::TypePtr& type, const std::string& name, const c10::IValue* traced, const c10::IValue* otherwise) {
  names_.push_back(name);
  const InputSpec* spec = named(name);
  const auto kind = type->kind();
  const bool is_number =
      kind == c10::TypeKind::IntType || kind == c10::TypeKind::FloatType || kind == c10::TypeKind::BoolType || kind == c10::TypeKind::NumberType;
  if (spec && (!spec->number || !is_number)) {
    diagnostics_.error("input-kind", "--input {}: '{}' is a {}, not a tensor", spec->text, name, type->annotation_str())
        .help(fmt::format("--input {}=VALUE", name));
    return {};
  }
  if (spec) {
    const Scalar& n = *spec->number;
    if (kind == c10::TypeKind::FloatType) return literal_of(n.real);
    if (kind == c10::TypeKind::BoolType) return literal_of(n.integer != 0);
    if (kind == c10::TypeKind::IntType || n.dtype == DType::i64) return literal_of(n.integer);
    return literal_of(n.dtype == DType::b8 ? c10::IValue(n.integer != 0) : c10::IValue(n.real));
  }
  if (traced && !traced->isTensor()) return literal_of(*traced);
  if (otherwise) return literal_of(*otherwise);
  return missing(name, type->annotation_str());
}

Argument Binder::list(const c10::ListType& type, const std::string& name, const c10::IValue* traced) {
  Argument a;
  a.kind = Kind::list;
  a.type = type.getElementType();
  const size_t known = traced && traced->isList() ? traced->toList().size() : 0;
  for (size_t i = 0; i < known || has_prefix(fmt::format("{}.{}", name, i)); ++i) {
    const c10::IValue element = i < known ? c10::IValue(traced->toList().get(i)) : c10::IValue();
    a.children.push_back(argument(a.type, fmt::format("{}.{}", name, i), i < known ? &element : nullptr, nullptr));
  }
  return a.children.empty() ? missing(name + ".0", "the first element of a list; then " + name + ".1 and so on") : a;
}

Argument Binder::dict(const c10::DictType& type, const std::string& name, const c10::IValue* traced) {
  Argument a;
  a.kind = Kind::dict;
  a.type = c10::DictType::create(type.getKeyType(), type.getValueType());
  if (traced && traced->isGenericDict()) {
    for (const auto& e : traced->toGenericDict()) {
      const std::string key = e.key().isString() ? e.key().toStringRef() : fmt::format("{}", a.keys.size());
      a.keys.push_back(e.key());
      a.children.push_back(argument(type.getValueType(), name + "." + key, &e.value(), nullptr));
    }
    return a;
  }
  if (type.getKeyType()->kind() != c10::TypeKind::StringType) return missing(name, "a dict whose keys are not text");
  for (const InputSpec& spec : options_.inputs) {
    if (!spec.name.starts_with(name + ".")) continue;
    const std::string key = spec.name.substr(name.size() + 1);
    a.keys.emplace_back(key);
    a.children.push_back(argument(type.getValueType(), spec.name, nullptr, nullptr));
  }
  return a.children.empty() ? missing(name + ".KEY", "the entries of a dict") : a;
}

Argument Binder::argument(const c10::TypePtr& type, const std::string& name, const c10::IValue* traced, const c10::IValue* otherwise) {
  if (const auto option = type->cast<c10::OptionalType>()) {
    if (has_prefix(name)) return argument(option->getElementType(), name, traced && traced->isNone() ? nullptr : traced, nullptr);
    if (traced && !traced->isNone()) return argument(option->getElementType(), name, traced, otherwise);
    names_.push_back(name);
    const bool is_tensor = option->getElementType()->kind() == c10::TypeKind::TensorType;
    if (is_tensor && !traced && std::any_of(options_.inputs.begin(), options_.inputs.end(), [&](const InputSpec& s) {
          return s.name.empty() && !used_[&s - options_.inputs.data()];
        })) {
      names_.pop_back();
      return tensor(name, nullptr);
    }
    return literal_of(otherwise ? *otherwise : c10::IValue());
  }
  if (type->kind() == c10::TypeKind::TensorType) return tensor(name, traced);
  if (const auto t = type->cast<c10::ListType>()) {
    if (otherwise && !traced && !has_prefix(name)) return literal_of(*otherwise);
    return list(*t, name, traced);
  }
  if (const auto t = type->cast<c10::DictType>()) return dict(*t, name, traced);
  if (const auto t = type->cast<c10::TupleType>()) {
    Argument a;
    a.kind = Kind::tuple;
    a.type = type;
    for (size_t i = 0; i < t->elements().size(); ++i) {
      const c10::IValue* element =
          traced && traced->isTuple() && i < traced->toTupleRef().elements().size() ? &traced->toTupleRef().elements()[i] : nullptr;
      a.children.push_back(argument(t->elements()[i], fmt::format("{}.{}", name, i), element, nullptr));
    }
    return a;
  }
  return literal(type, name, traced, otherwise);
}

std::string Binder::text_of(const Argument& a) const {
  if (a.kind == Kind::input) return a.input < binding_.inputs.size() ? binding_.inputs[a.input].name : "?";
  if (a.kind == Kind::literal) {
    if (a.literal.isNone()) return "None";
    if (a.literal.isInt()) return fmt::format("{}", a.literal.toInt());
    if (a.literal.isDouble()) return fmt::format("{}", a.literal.toDouble());
    if (a.literal.isBool()) return a.literal.toBool() ? "True" : "False";
    return "...";
  }
  std::string text;
  for (size_t i = 0; i < a.children.size(); ++i) {
    if (i) text += ", ";
    if (a.kind == Kind::dict) text += a.keys[i].isString() ? fmt::format("'{}': ", a.keys[i].toStringRef()) : "...: ";
    text += text_of(a.children[i]);
  }
  return a.kind == Kind::dict ? "{" + text + "}" : a.kind == Kind::list ? "[" + text + "]" : "(" + text + ")";
}

bool Binder::finish(const std::string& signature) {
  const size_t before = diagnostics_.error_count();
  for (size_t i = 0; i < used_.size(); ++i) {
    if (used_[i]) continue;
    const InputSpec& spec = options_.inputs[i];
    std::string names;
    for (const std::string& n : names_) names += (names.empty() ? "" : ", ") + n;
    if (spec.name.empty())
      diagnostics_.error("too-many-inputs", "--input {}: the model takes only {} input{}", spec.text, names_.size(), names_.size() == 1 ? "" : "s")
          .note(signature)
          .help("its inputs are: " + names);
    else
      diagnostics_.error("no-such-input", "--input {}: the model has no input '{}'", spec.text, spec.name)
          .note(signature)
          .help("its inputs are: " + names);
  }
  if (!missing_.empty() && diagnostics_.error_count() == before) {
    std::string what, line;
    for (const std::string& m : missing_) {
      what += (what.empty() ? "" : ", ") + m;
      const std::string name = m.substr(0, m.find(' '));
      line += (line.empty() ? "" : " ") +
              (m.find("(a tensor)") != std::string::npos || m.find("list") != std::string::npos || m.find("dict") != std::string::npos
                   ? fmt::format("--input {}:SHAPE:DTYPE", name)
                   : fmt::format("--input {}=VALUE", name));
    }
    diagnostics_.error("missing-input", "the shape of {} is not known: the file does not record what the model was traced with", what)
        .note(signature)
        .help("fill in: " + line)
        .help("for example --input x:1x3x224x224:f32, --input ids:1x128:i64, --input sr=16000");
  }
  return diagnostics_.error_count() == before;
}

}  // namespace

std::string describe(const at::Tensor& tensor) {
  const auto type = type_of(tensor);
  return type ? type->to_string() : why_no_type(tensor);
}

std::string signature_of(const torch::jit::Method& method) {
  const auto& schema = method.function().getSchema();
  std::string text;
  for (size_t i = 1; i < schema.arguments().size(); ++i) {
    const c10::Argument& a = schema.arguments()[i];
    text += fmt::format("{}{}: {}", i > 1 ? ", " : "", a.name(), a.type()->annotation_str());
    if (a.default_value()) {
      const c10::IValue& v = *a.default_value();
      text += v.isNone()     ? " = None"
              : v.isInt()    ? fmt::format(" = {}", v.toInt())
              : v.isDouble() ? fmt::format(" = {}", v.toDouble())
              : v.isBool()   ? (v.toBool() ? " = True" : " = False")
                             : " = ...";
    }
  }
  const std::string result = schema.returns().empty() ? "None" : schema.returns()[0].type()->annotation_str();
  return fmt::format("{}({}) -> {}", method.name(), text, result);
}

Result<Binding> bind_inputs(const torch::jit::Module& module, const torch::jit::Method& method, const LoadOptions& options,
                            Diagnostics& diagnostics) {
  const size_t errors = diagnostics.error_count();
  Binding binding;
  Binder binder(options, binding, diagnostics);
  const auto& parameters = method.function().getSchema().arguments();
  const auto recorded = module.retrieve_traced_inputs();
  std::vector<c10::IValue> traced;
  if (const auto it = recorded.find(method.name()); it != recorded.end()) {
    for (size_t i = 0; i < it->value().size(); ++i) traced.push_back(it->value().get(i));
  }
  for (size_t i = 1; i < parameters.size(); ++i) binder.bind(parameters[i], i - 1 < traced.size() ? &traced[i - 1] : nullptr);
  if (!binder.finish(signature_of(method)) || diagnostics.error_count() != errors) return Failure{};
  binding.structure = "(" + binding.structure + (parameters.size() == 2 ? ",)" : ")");
  binding.has_traced_data =
      !binding.inputs.empty() && std::all_of(binding.inputs.begin(), binding.inputs.end(), [](const BoundInput& i) { return i.traced.defined(); });
  return binding;
}

Item item_of(const Argument& a, const std::vector<Item>& inputs) {
  if (a.kind == Kind::input) return inputs.at(a.input);
  if (a.kind == Kind::tuple) {
    auto tuple = std::make_shared<TupleObject>();
    tuple->type = a.type;
    for (const Argument& c : a.children) tuple->items.push_back(item_of(c, inputs));
    return tuple;
  }
  if (a.kind == Kind::list) {
    auto list = std::make_shared<ListObject>();
    list->element = a.type;
    for (const Argument& c : a.children) list->items.push_back(item_of(c, inputs));
    return list;
  }
  if (a.kind == Kind::dict) {
    auto dict = std::make_shared<DictObject>();
    const auto& type = a.type->expectRef<c10::DictType>();
    dict->key = type.getKeyType(), dict->value = type.getValueType();
    for (size_t i = 0; i < a.children.size(); ++i) dict->entries.emplace_back(Item(a.keys[i]), item_of(a.children[i], inputs));
    return dict;
  }
  return a.literal;  // numbers, text, None; a default list is turned into an Item by the caller
}

c10::IValue ivalue_of(const Argument& a, const std::vector<at::Tensor>& inputs) {
  if (a.kind == Kind::input) return inputs.at(a.input);
  if (a.kind == Kind::tuple) {
    std::vector<c10::IValue> items;
    for (const Argument& c : a.children) items.push_back(ivalue_of(c, inputs));
    return c10::ivalue::Tuple::create(std::move(items));
  }
  if (a.kind == Kind::list) {
    c10::impl::GenericList items(a.type);
    for (const Argument& c : a.children) items.push_back(ivalue_of(c, inputs));
    return items;
  }
  if (a.kind == Kind::dict) {
    const auto& type = a.type->expectRef<c10::DictType>();
    c10::impl::GenericDict items(type.getKeyType(), type.getValueType());
    for (size_t i = 0; i < a.children.size(); ++i) items.insert(a.keys[i], ivalue_of(a.children[i], inputs));
    return items;
  }
  return a.literal;
}

// ---- results ----

namespace {

std::string key_text(const Item& key, size_t position) {
  if (const auto* v = key.plain()) {
    if (v->isString()) return v->toStringRef();
    if (v->isInt()) return fmt::format("{}", v->toInt());
  }
  return fmt::format("{}", position);
}

void flatten_item(const Item& item, const std::string& name, std::vector<NamedTensor>& out, std::string& text) {
  if (const auto* tensor = item.tensor()) {
    text += fmt::format("{}", out.size());
    out.push_back({name, *tensor});
    return;
  }
  const auto each = [&](const std::vector<Item>& items, const std::vector<std::string>& names) {
    for (size_t i = 0; i < items.size(); ++i) {
      if (i) text += ", ";
      flatten_item(items[i], name + "." + (names.empty() ? fmt::format("{}", i) : names[i]), out, text);
    }
  };
  if (const auto* tuple = item.tuple()) {
    std::vector<std::string> names;
    if (const auto type = tuple->type ? tuple->type->cast<c10::TupleType>() : nullptr) {
      if (const auto given = type->names()) names.assign(given->begin(), given->end());
    }
    if (names.size() != tuple->items.size()) names.clear();
    text += "(";
    each(tuple->items, names);
    text += tuple->items.size() == 1 ? ",)" : ")";
  } else if (const auto* list = item.list()) {
    text += "[";
    each(list->items, {});
    text += "]";
  } else if (const auto* dict = item.dict()) {
    text += "{";
    for (size_t i = 0; i < dict->entries.size(); ++i) {
      const std::string key = key_text(dict->entries[i].first, i);
      text += fmt::format("{}'{}': ", i ? ", " : "", key);
      flatten_item(dict->entries[i].second, name + "." + key, out, text);
    }
    text += "}";
  } else if (const auto* v = item.plain()) {
    text += v->isString() ? fmt::format("'{}'", v->toStringRef()) : "None";
  } else {
    text += "None";
  }
}

}  // namespace

std::vector<NamedTensor> flatten(const Item& result, std::string& structure) {
  std::vector<NamedTensor> out;
  flatten_item(result, "out", out, structure);
  return out;
}

void flatten(const c10::IValue& value, std::vector<at::Tensor>& out) {
  if (value.isTensor()) {
    if (value.toTensor().defined()) out.push_back(value.toTensor());
  } else if (value.isInt() || value.isDouble() || value.isBool()) {
    out.push_back(at::scalar_tensor(value.toScalar(), at::TensorOptions().dtype(value.isInt()    ? at::kLong
                                                                                : value.isBool() ? at::kBool
                                                                                                 : at::kDouble)));
  } else if (value.isTuple()) {
    for (const c10::IValue& v : value.toTupleRef().elements()) flatten(v, out);
  } else if (value.isList()) {
    const auto items = value.toList();
    for (size_t i = 0; i < items.size(); ++i) flatten(items.get(i), out);
  } else if (value.isGenericDict()) {
    for (const auto& e : value.toGenericDict()) flatten(e.value(), out);
  }
}

}  // namespace mica::frontend
