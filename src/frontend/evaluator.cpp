#include "evaluator.h"

#include <torch/csrc/jit/api/function_impl.h>
#include <torch/csrc/jit/ir/constants.h>

#include "locate.h"
#include "mica/ops/compare.h"
#include "mica/ops/control.h"

namespace mica::frontend {
namespace {

namespace prim = c10::prim;
using torch::jit::Block;
using torch::jit::Node;

constexpr int max_depth = 256;         // calls within calls
constexpr int max_splits = 4;          // within each other
constexpr size_t max_nodes = 2000000;  // nodes of the graph

std::string join(const std::string& path, const std::string& name) { return path.empty() ? name : path + "." + name; }

}  // namespace

std::string full_name(const c10::FunctionSchema& schema) {
  return schema.overload_name().empty() ? schema.name() : schema.name() + "." + schema.overload_name();
}

bool contains_unknown(const Item& item) {
  if (item.is_unknown() || item.is_uninitialized()) return true;
  if (const auto* list = item.list()) return std::any_of(list->items.begin(), list->items.end(), contains_unknown);
  if (const auto* tuple = item.tuple()) return std::any_of(tuple->items.begin(), tuple->items.end(), contains_unknown);
  if (const auto* dict = item.dict())
    return std::any_of(dict->entries.begin(), dict->entries.end(), [](const auto& e) { return contains_unknown(e.second); });
  return false;
}

// ---- messages ----

void Evaluator::enter(const Node& node) {
  node_ = &node;
  const auto [it, added] = locations_.try_emplace({&node, path_}, 0u);
  if (added) {
    Location where = locate(node, path_, callers_);
    if (where.known()) {
      it->second = static_cast<uint32_t>(graph_.locations.size());
      graph_.locations.push_back(std::move(where));
    }
  }
  builder_.location = it->second;
}

const Location& Evaluator::here() { return graph_.locations[builder_.location]; }

void Evaluator::count_unsupported(const std::string& op) {
  Unsupported& u = unsupported_[op];
  if (u.count++ == 0) u.first = here();
}

void Evaluator::data_dependent(const std::string& what, const std::string& why) {
  diagnostics_.unsupported("data-dependent", "{} depends on the values of the inputs", what)
      .at(here())
      .note(why)
      .help("compute it from sizes or constants, or use tensor operators such as torch.where instead");
  if (++errors_here_ >= 20) throw Stop{};
}

void Evaluator::report_lost() {
  if (!lost_ || diagnostics_.error_count() || !unsupported_.empty() || !in_training_.empty()) return;
  diagnostics_.unsupported("unsupported-use", "{} is not supported with these arguments", lost_->first)
      .at(lost_->second)
      .help("write it in another way, or save the part of the model before it");
  if (++errors_here_ >= 20) throw Stop{};
}

bool Evaluator::report_unsupported() {
  for (const auto& [what, u] : in_training_) {
    diagnostics_
        .error("training-mode-baked", "{} runs in training mode{}: that was recorded when the model was saved", what,
               u.count == 1 ? "" : fmt::format(" in {} places", u.count))
        .at(u.first, u.count == 1 ? "" : "the first of them")
        .note("its result would be random or depend on the other samples of the batch")
        .help("put the model into evaluation mode before tracing: torch.jit.trace(model.eval(), example).save(\"model.pt\")");
  }
  std::vector<std::pair<std::string, Unsupported>> ops(unsupported_.begin(), unsupported_.end());
  std::stable_sort(ops.begin(), ops.end(), [](const auto& a, const auto& b) { return a.second.count > b.second.count; });
  for (const auto& [op, u] : ops) {
    auto& d =
        diagnostics_.unsupported("unsupported-op", "{} is not supported (used {})", op, u.count == 1 ? "once" : fmt::format("{} times", u.count));
    d.at(u.first, u.count == 1 ? "" : "first use");
    if (op.find("mkldnn") != std::string::npos) d.help("save the model before torch.jit.optimize_for_inference");
    else if (op.starts_with("quantized::")) d.help("compile the unquantised model; Mica does its own quantisation");
    else d.help("replace it by operators that `mica check` lists as supported, or save the part of the model before it");
  }
  return !ops.empty() || !in_training_.empty();
}

// ---- walking ----

Item Evaluator::call(torch::jit::Function& function, std::vector<Item> arguments) {
  if (!function.isGraphFunction()) {
    count_unsupported(function.qualname().qualifiedName());
    return {};
  }
  if (++depth_ > max_depth) {
    diagnostics_.unsupported("call-depth", "calls are nested more than {} deep", max_depth)
        .at(here())
        .help("a module that calls itself cannot be unrolled");
    throw Stop{};
  }
  const auto graph = torch::jit::toGraphFunction(function).graph();
  Environment environment;
  environment.reserve(256);
  MICA_CHECK(graph->inputs().size() == arguments.size());
  for (size_t i = 0; i < arguments.size(); ++i) environment[graph->inputs()[i]] = std::move(arguments[i]);
  const std::string outer_path = path_;
  const Node* outer_node = node_;
  if (outer_node) callers_.push_back(outer_node);
  if (const auto self = graph->inputs().empty() ? nullptr : environment[graph->inputs()[0]].instance(); self && self->type->is_module())
    path_ = self->path;
  std::vector<Item> results = run_block(*graph->block(), environment);
  path_ = outer_path;
  if (outer_node) callers_.pop_back(), enter(*outer_node);
  --depth_;
  return results.empty() ? none_item() : std::move(results[0]);
}

std::vector<Item> Evaluator::run_block(const Block& block, Environment& environment) { return run_rest(block, block.nodes().begin(), environment); }

/// The nodes of a block from `at` on. Behind a value of two ranks or dtypes the rest is run for either.
std::vector<Item> Evaluator::run_rest(const Block& block, NodeIterator at, Environment& environment) {
  const auto end = block.nodes().end();
  while (at != end) {
    const Node& node = **at;
    run_node(const_cast<Node&>(node), environment);
    if (++at == end || splits_ == max_splits) continue;
    for (const torch::jit::Value* output : node.outputs()) {
      const Item item = environment[output];
      const Alternatives* ways = output->hasUses() ? item.alternatives() : nullptr;
      if (!ways) continue;
      const auto with = [&](const Item& way) {
        return [&, output, at] {
          environment[output] = way;
          return run_rest(block, at, environment);
        };
      };
      ++splits_;
      std::vector<Item> results = branch(*ways->condition.number(), with(ways->one), with(ways->other), {});
      --splits_;
      return results;
    }
  }
  std::vector<Item> results;
  for (const torch::jit::Value* output : block.outputs()) results.push_back(environment[output]);
  return results;
}

std::vector<Item> Evaluator::inputs_of(const Node& node, Environment& environment) {
  std::vector<Item> items;
  items.reserve(node.inputs().size());
  for (const torch::jit::Value* input : node.inputs()) {
    items.push_back(environment[input]);
    check_usable(items.back(), "", false);
  }
  return items;
}

void Evaluator::set_outputs(const Node& node, std::vector<Item> items, Environment& environment) {
  for (size_t i = 0; i < node.outputs().size(); ++i) environment[node.outputs()[i]] = i < items.size() ? std::move(items[i]) : Item();
}

void Evaluator::forget_outputs(const Node& node, Environment& environment) { set_outputs(node, {}, environment); }

void Evaluator::count_step() {
  constexpr int64_t max_steps = 20000000;  // TorchScript nodes run, loops unrolled
  if (++steps_ > max_steps || graph_.nodes.size() > max_nodes) {
    diagnostics_
        .unsupported("model-too-large", "the model unrolls to more than {} operations",
                     steps_ > max_steps ? max_steps : static_cast<int64_t>(max_nodes))
        .at(here())
        .help("loops are unrolled: give them fewer iterations");
    throw Stop{};
  }
}

/// True when nothing but a number that depends on data can be why a result is not known.
bool Evaluator::lacks_result(const std::vector<Item>& inputs, const std::vector<Item>& results) {
  const auto depends = [](const Item& i) {
    return i.number() || i.text() ||
           (i.list() && std::any_of(i.list()->items.begin(), i.list()->items.end(), [](const Item& e) { return e.number() != nullptr; }));
  };
  return std::any_of(inputs.begin(), inputs.end(), depends) && std::none_of(inputs.begin(), inputs.end(), contains_unknown) &&
         std::any_of(results.begin(), results.end(), [](const Item& i) { return i.is_unknown(); });
}

void Evaluator::check_usable(Item& item, const std::string& name, bool deep) {
  if (const Conflict conflict = item.conflict()) {
    diagnostics_.unsupported("branches-differ", "{}", conflict->why)
        .at(here(), "here it is used")
        .note(name.empty() ? "which of them is taken depends on the values of the inputs"
                           : fmt::format("'{}': which of them is taken depends on the values of the inputs", name))
        .help("give it one type, shape and number of elements on every way, or use torch.where");
    if (++errors_here_ >= 20) throw Stop{};
    item = Item();
    return;
  }
  if (!deep) return;
  if (item.list() && (item.list()->rows || item.list()->growing)) refuse_list("the result", *item.list());
  if (item.maybe()) return data_dependent("whether a result is None", "a compiled model returns the same tensors in every run");
  if (item.text()) return data_dependent("text that is returned", "a compiled model returns tensors and numbers only");
  // A number that is returned is a tensor of rank 0.
  if (const auto kind = number_kind(item)) item = fresh(contents_of(number_value(item, *kind)));
  const auto each = [&](std::vector<Item>& items) {
    for (Item& i : items) check_usable(i, name, true);
  };
  if (auto* list = item.list()) each(list->items);
  else if (auto* tuple = item.tuple()) each(tuple->items);
  else if (auto* dict = item.dict()) {
    for (auto& [key, value] : dict->entries) check_usable(value, name, true);
  }
}

void Evaluator::run_node(Node& node, Environment& environment) {
  count_step();
  if (node.kind() == prim::Constant) {
    if (const auto value = torch::jit::toIValue(node.output())) environment[node.output()] = from_ivalue(*value, {}, Origin::module);
    return;
  }
  enter(node);
  try {
    if (run_prim(node, environment)) return;
    const std::vector<Item> inputs = inputs_of(node, environment);
    std::vector<Item> results;
    const size_t errors = diagnostics_.error_count();
    if (run_maybe(node.kind().toQualString(), inputs, results)) return set_outputs(node, std::move(results), environment);
    if (!run_rows(node.kind().toQualString(), inputs, results) && !run_number(node, inputs, results) && !run_python(node, inputs, results) &&
        !run_fourier(node, inputs, results))
      results = run_operator(node, inputs);
    results.resize(node.outputs().size());
    if (lacks_result(inputs, results) && diagnostics_.error_count() == errors && unsupported_.empty())
      data_dependent(fmt::format("an operand of {}", node.kind().toQualString()), "it has to be known while compiling");
    if (!lost_ && std::none_of(inputs.begin(), inputs.end(), contains_unknown) && std::any_of(results.begin(), results.end(), contains_unknown))
      lost_ = {node.kind().toQualString(), here()};
    set_outputs(node, std::move(results), environment);
  } catch (const SymbolicSize& size) {
    report_symbolic(diagnostics_, node.kind().toQualString(), size).at(here());
    if (++errors_here_ >= 20) throw Stop{};
    forget_outputs(node, environment);
  }
}

/// What is there where the program takes it to be there; only one spelling of that asks.
Item Evaluator::unwrap(const Node& node, const MaybeObject& maybe) {
  if (node.output()->type()->kind() == c10::TypeKind::OptionalType) return std::make_shared<const MaybeObject>(maybe);
  if (node.output()->type()->kind() == c10::TypeKind::NoneType) return none_item();
  if (node.kind() == c10::aten::_unwrap_optional) builder_.create_all(Check{number_value(maybe.present, DType::b8), "Unwrapping null optional"});
  return maybe.value;
}

bool Evaluator::run_maybe(const std::string& name, const std::vector<Item>& in, std::vector<Item>& out) {
  const bool is = name == "aten::__is__", is_not = name == "aten::__isnot__";
  if ((is || is_not) && (in[0].is_none() || in[1].is_none()) && (in[0].maybe() || in[1].maybe())) {
    const Item& present = (in[0].maybe() ? in[0] : in[1]).maybe()->present;
    return out = {is_not ? present : number_item(builder_.create(LogicalNot{number_value(present, DType::b8)}))}, true;
  }
  return refuse_maybe(name, in);
}

/// Where one of the inputs may be None, depending on data; only questions whether it is are answered.
bool Evaluator::refuse_maybe(const std::string& what, const std::vector<Item>& in) {
  if (std::none_of(in.begin(), in.end(), [](const Item& i) { return i.maybe() != nullptr; })) return false;
  data_dependent(fmt::format("whether an operand of {} is None", what), "it is None on some ways through the program only");
  return true;
}

bool Evaluator::is_instance(const Item& item, const c10::TypePtr& type) {
  if (type->kind() == c10::TypeKind::AnyType) return true;
  if (const auto option = type->cast<c10::OptionalType>()) return item.is_none() || is_instance(item, option->getElementType());
  if (const auto any = type->cast<c10::UnionType>()) {
    const auto types = any->containedTypes();
    return std::any_of(types.begin(), types.end(), [&](const c10::TypePtr& t) { return is_instance(item, t); });
  }
  if (item.tensor()) return type->kind() == c10::TypeKind::TensorType;
  if (const Number* n = item.number()) {
    const auto own = n->dtype() == DType::i64   ? c10::TypePtr(c10::IntType::get())
                     : n->dtype() == DType::f64 ? c10::TypePtr(c10::FloatType::get())
                                                : c10::TypePtr(c10::BoolType::get());
    return own->isSubtypeOf(*type);
  }
  if (item.text()) return type->kind() == c10::TypeKind::StringType;
  if (const auto* list = item.list()) {
    if (type->kind() == c10::TypeKind::AnyListType) return true;
    const auto t = type->cast<c10::ListType>();
    return t && (!list->element || list->element->isSubtypeOf(*t->getElementType()));
  }
  if (const auto* tuple = item.tuple()) {
    if (type->kind() == c10::TypeKind::AnyTupleType) return true;
    const auto t = type->cast<c10::TupleType>();
    if (!t || t->elements().size() != tuple->items.size()) return false;
    for (size_t i = 0; i < tuple->items.size(); ++i) {
      if (!is_instance(tuple->items[i], t->elements()[i])) return false;
    }
    return true;
  }
  if (const auto* dict = item.dict()) {
    const auto t = type->cast<c10::DictType>();
    return t && (!dict->value || dict->value->isSubtypeOf(*t->getValueType()));
  }
  if (const auto instance = item.instance()) return instance->type->isSubtypeOf(*type);
  if (item.size()) return type->kind() == c10::TypeKind::IntType || type->kind() == c10::TypeKind::NumberType;
  return item.plain() && item.plain()->type()->isSubtypeOf(*type);
}

bool Evaluator::run_prim(Node& node, Environment& environment) {
  const auto kind = node.kind();
  if (kind == prim::GetAttr) return get_attribute(node, environment), true;
  if (kind == prim::SetAttr) return set_attribute(node, environment), true;
  if (kind == prim::CallMethod || kind == prim::CallFunction) return run_call(node, environment), true;
  if (kind == prim::If) return run_if(node, environment), true;
  if (kind == prim::Loop) return run_loop(node, environment), true;
  if (kind == prim::RaiseException) return raise_exception(node, environment), true;
  const std::vector<Item> in = inputs_of(node, environment);
  const auto set = [&](Item item) { environment[node.output()] = std::move(item); };
  if (kind == prim::ListConstruct) {
    auto list = make<ListObject>();
    list->items = in;
    list->element = node.output()->type()->expectRef<c10::ListType>().getElementType();
    set(std::move(list));
  } else if (kind == prim::TupleConstruct) {
    auto tuple = std::make_shared<TupleObject>();
    tuple->items = in;
    tuple->type = node.output()->type();
    set(std::move(tuple));
  } else if (kind == prim::DictConstruct) {
    auto dict = make<DictObject>();
    const auto& type = node.output()->type()->expectRef<c10::DictType>();
    dict->key = type.getKeyType(), dict->value = type.getValueType();
    for (size_t i = 0; i + 1 < in.size(); i += 2) dict->entries.emplace_back(in[i], in[i + 1]);
    set(std::move(dict));
  } else if (kind == prim::TupleUnpack || kind == prim::ListUnpack) {
    if (in[0].list() && (in[0].list()->rows || in[0].list()->growing)) refuse_list("unpacking", *in[0].list());
    const auto* items = in[0].tuple() ? &in[0].tuple()->items : in[0].list() ? &in[0].list()->items : nullptr;
    if (!items || items->size() != node.outputs().size()) forget_outputs(node, environment);
    else set_outputs(node, *items, environment);
  } else if (kind == prim::TupleIndex) {
    const auto* tuple = in[0].tuple();
    const int64_t size = tuple ? static_cast<int64_t>(tuple->items.size()) : 0;
    int64_t at = in[1].is_int() ? in[1].integer() : size;
    if (at < 0) at += size;
    set(at >= 0 && at < size ? tuple->items[at] : Item());
  } else if (kind == prim::TupleSlice) {
    auto part = std::make_shared<TupleObject>();
    part->type = node.output()->type();
    if (const auto* tuple = in[0].tuple())
      part->items.assign(tuple->items.begin() + node.i(c10::attr::beg), tuple->items.begin() + node.i(c10::attr::end));
    set(std::move(part));
  } else if (kind == prim::CreateObject) {
    auto object = make<InstanceObject>();
    object->type = node.output()->type()->expect<c10::ClassType>();
    set(std::move(object));
  } else if (kind == prim::isinstance && refuse_maybe("isinstance", in)) {
    set(Item());
  } else if (kind == prim::isinstance) {
    const auto& types = node.tys(c10::attr::types);
    if (in[0].is_unknown()) set(Item());
    else set(c10::IValue(std::any_of(types.begin(), types.end(), [&](const c10::TypePtr& t) { return is_instance(in[0], t); })));
  } else if (kind == prim::unchecked_cast || kind == c10::aten::_unwrap_optional || kind == prim::unchecked_unwrap_optional ||
             kind == c10::aten::wait) {
    if (in[0].maybe() && kind != c10::aten::wait) return set(unwrap(node, *in[0].maybe())), true;
    set(in[0]);
  } else if (kind == prim::Uninitialized) {
    set(Uninitialized{});
  } else if (kind == prim::fork) {
    const auto graph = node.g(c10::attr::Subgraph);
    Environment inner;
    for (size_t i = 0; i < in.size(); ++i) inner[graph->inputs()[i]] = in[i];
    auto results = run_block(*graph->block(), inner);
    enter(node);
    set(results.empty() ? Item() : results[0]);
  } else if (kind == prim::Enter || kind == prim::Exit || kind == prim::Print || kind == c10::aten::warn) {
    set_outputs(node, std::vector<Item>(node.outputs().size(), none_item()), environment);
  } else {
    return false;
  }
  return true;
}

Item Evaluator::initial_attribute(InstanceObject& instance, const std::string& name) {
  const auto it = instance.initial->find(name);
  if (it != instance.initial->end()) return it->second;
  Item item = from_ivalue(instance.object->getAttr(name), join(instance.path, name), Origin::module);
  return instance.initial->emplace(name, std::move(item)).first->second;
}

void Evaluator::get_attribute(Node& node, Environment& environment) {
  check_usable(environment[node.input()], "", false);
  const auto instance = environment[node.input()].instance();
  const std::string& name = node.s(c10::attr::name);
  if (!instance) return forget_outputs(node, environment);
  const auto it = instance->slots.find(name);
  environment[node.output()] = it != instance->slots.end() ? it->second : instance->object ? initial_attribute(*instance, name) : Item();
}

void Evaluator::set_attribute(Node& node, Environment& environment) {
  const auto instance = environment[node.inputs()[0]].instance();
  const std::string& name = node.s(c10::attr::name);
  if (!instance) return;
  if (instance->shared) return refuse_shared("an object");
  touch(*instance);
  instance->slots[name] = environment[node.inputs()[1]];
}

void Evaluator::refuse_shared(const char* what) {
  diagnostics_.unsupported("unclear-alias", "{} is changed that is one of several, depending on the values of the inputs", what)
      .at(here())
      .help("make a copy of it in each branch");
  throw Stop{};
}

void Evaluator::run_call(Node& node, Environment& environment) {
  std::vector<Item> in = inputs_of(node, environment);
  if (node.kind() == prim::CallFunction) {
    torch::jit::Function* function = node.inputs()[0]->type()->expectRef<c10::FunctionType>().function();
    in.erase(in.begin());
    environment[node.output()] = call(*function, std::move(in));
    return;
  }
  const auto instance = in[0].instance();
  torch::jit::Function* function = instance ? instance->type->findMethod(node.s(c10::attr::name)) : nullptr;
  if (!function) return forget_outputs(node, environment);
  environment[node.output()] = call(*function, std::move(in));
}

}  // namespace mica::frontend
