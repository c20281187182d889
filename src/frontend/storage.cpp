// Items from LibTorch's values, and contents that become graph values when they are needed.
#include <ATen/ATen.h>

#include "evaluator.h"

namespace mica::frontend {

Item Evaluator::fresh(ContentsRef contents) {
  auto storage = make<Storage>();
  storage->contents = std::move(contents);
  return Tensor{std::move(storage), nullptr};
}

Item Evaluator::fresh_constant(const at::Tensor& tensor, const std::string& name) {
  const auto type = type_of(tensor);
  if (!type) {
    diagnostics_
        .unsupported("tensor-kind", "{} cannot be compiled: {}", name.empty() ? "a constant tensor" : fmt::format("the tensor '{}'", name),
                     why_no_type(tensor))
        .at(here())
        .help("convert it to a dense tensor of a real dtype (float, half, bfloat16, integers, bool) before saving");
    if (++errors_here_ >= 20) throw Stop{};
    return {};
  }
  if (!has_data(tensor)) {
    diagnostics_.error("damaged-tensor", "the tensor '{}' is {} but the file holds fewer bytes for it", name, type->to_string())
        .at(here())
        .help("the file is damaged: save the model again");
    throw Stop{};
  }
  auto contents = std::make_shared<Contents>();
  contents->type = *type;
  contents->constant = tensor;
  contents->name = name;
  Item item = fresh(std::move(contents));
  item.tensor()->storage->row_major = tensor.is_contiguous();
  return item;
}

ContentsRef Evaluator::contents_of(Value value) {
  if (!value) throw Stop{};
  auto contents = std::make_shared<Contents>();
  contents->type = graph_.type(value);
  contents->value = value;
  return contents;
}

Item Evaluator::input_tensor(Value value) {
  Item item = fresh(contents_of(value));
  item.tensor()->storage->origin = Origin::input;
  item.tensor()->storage->born = 0;
  return item;
}

InstanceRef Evaluator::instance_of(const c10::intrusive_ptr<c10::ivalue::Object>& object, const std::string& path) {
  InstanceRef& instance = instances_[object.get()];
  if (!instance) {
    instance = std::make_shared<InstanceObject>();
    instance->object = object;
    instance->type = object->type();
    instance->path = path;
  }
  return instance;
}

Item Evaluator::from_ivalue(const c10::IValue& value, const std::string& name, Origin origin) {
  const auto part = [&](size_t i) { return name.empty() ? std::string() : fmt::format("{}.{}", name, i); };
  if (value.isTensor()) {
    const at::Tensor& tensor = value.toTensor();
    if (!tensor.defined()) return none_item();
    if (origin != Origin::module) return fresh_constant(tensor, name);
    if (const auto it = module_tensors_.find(tensor.unsafeGetTensorImpl()); it != module_tensors_.end()) return Tensor{it->second, nullptr};
    Item item = fresh_constant(tensor, name);
    if (item.is_unknown()) return item;
    item.tensor()->storage->origin = origin;
    item.tensor()->storage->born = 0;
    module_tensors_[tensor.unsafeGetTensorImpl()] = item.tensor()->storage;
    module_tensors_kept_.push_back(tensor);
    return item;
  }
  if (value.isList()) {
    auto list = make<ListObject>();
    if (origin == Origin::module) list->born = 0, list->name = name;
    const auto items = value.toList();
    list->element = items.elementType();
    for (size_t i = 0; i < items.size(); ++i) list->items.push_back(from_ivalue(items.get(i), part(i), origin));
    return list;
  }
  if (value.isTuple()) {
    auto tuple = std::make_shared<TupleObject>();
    tuple->type = value.type();
    const auto& items = value.toTupleRef().elements();
    for (size_t i = 0; i < items.size(); ++i) tuple->items.push_back(from_ivalue(items[i], part(i), origin));
    return tuple;
  }
  if (value.isGenericDict()) {
    auto dict = make<DictObject>();
    if (origin == Origin::module) dict->born = 0, dict->name = name;
    const auto entries = value.toGenericDict();
    dict->key = entries.keyType(), dict->value = entries.valueType();
    size_t i = 0;
    for (const auto& e : entries) dict->entries.emplace_back(from_ivalue(e.key(), {}, origin), from_ivalue(e.value(), part(i++), origin));
    return dict;
  }
  if (value.isObject()) return instance_of(value.toObject(), name);
  return value;
}

ContentsRef Evaluator::read(const Tensor& tensor) {
  if (tensor.storage->stale) {
    diagnostics_
        .unsupported("unclear-alias", "a tensor is read after an in-place operator wrote to one that may be the same, depending on the inputs")
        .at(here())
        .help("use the operator's form that is not in place, or clone() the tensor in each branch");
    throw Stop{};
  }
  if (tensor.view) return read_view(tensor.view);
  if (!tensor.storage->unclear_writes.empty()) {
    diagnostics_
        .unsupported("unclear-alias", "a tensor is read after an in-place operator wrote to a {} of it",
                     tensor.storage->unclear_writes.back().second.front()->op)
        .at(here())
        .note("whether that is a view or a copy depends on how PyTorch laid out the tensor's memory")
        .help("use .view() or .clone() in the model, or the operator's form that is not in place");
    throw Stop{};
  }
  return tensor.storage->contents;
}

Value Evaluator::materialise(const ContentsRef& contents) {
  if (!contents->value) contents->value = constants_.add(graph_, contents->constant, contents->type, contents->name);
  return contents->value;
}

}  // namespace mica::frontend
