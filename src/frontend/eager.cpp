// Runs a `.pt` in LibTorch: judge, yardstick and contender.
#include "mica/frontend/eager.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <torch/csrc/jit/ir/constants.h>
#include <torch/csrc/jit/passes/inliner.h>
#include <torch/csrc/jit/runtime/graph_executor.h>
#include <torch/csrc/jit/runtime/operator.h>

#include <chrono>
#include <map>
#include <set>

#include "binding.h"
#include "module.h"
#include "widen.h"

namespace mica {
namespace {

using namespace frontend;
namespace jit = torch::jit;

/// Whether something is assigned or written to in place: to the module, perhaps.
bool may_change(const jit::Block& block) {
  for (const jit::Node* node : block.nodes()) {
    if (node->kind() == c10::prim::SetAttr) return true;
    const jit::Operator* op = node->maybeOperator();
    if (op && op->schema().is_mutable()) return true;
    for (const jit::Block* inner : node->blocks()) {
      if (may_change(*inner)) return true;
    }
  }
  return false;
}

/// Tensors of floating dtype become `to` (converts() says which), in a module and all below it; integers and tied tensors stay what they are.
class Converter {
 public:
  explicit Converter(at::ScalarType to) : to_(to) {}
  c10::IValue convert(const c10::IValue& value) {
    if (value.isTensor() && value.toTensor().defined() && converts(value.toTensor().scalar_type(), to_)) {
      at::Tensor& made = done_[value.toTensor().unsafeGetTensorImpl()];
      if (!made.defined()) made = value.toTensor().detach().to(to_);
      return made;
    }
    if (value.isObject() && seen_.insert(value.toObject().get()).second) {
      const auto object = value.toObject();
      for (size_t i = 0; i < object->slots().size(); ++i) object->setSlot(i, convert(object->getSlot(i)));
    } else if (value.isList() && !value.isIntList() && !value.isDoubleList() && !value.isBoolList()) {
      auto list = value.toList();
      for (size_t i = 0; i < list.size(); ++i) list.set(i, convert(list.get(i)));
    } else if (value.isTuple()) {
      std::vector<c10::IValue> items;
      for (const c10::IValue& i : value.toTupleRef().elements()) items.push_back(convert(i));
      return c10::ivalue::Tuple::create(std::move(items));
    } else if (value.isGenericDict()) {
      auto dict = value.toGenericDict();
      for (const auto& e : dict) dict.insert_or_assign(e.key(), convert(e.value()));
    }
    return value;
  }

 private:
  at::ScalarType to_;
  std::map<const void*, at::Tensor> done_;
  std::set<const void*> seen_;
};

/// What floats become in a mode; none: they stay.
std::optional<at::ScalarType> computed_in(EagerMode mode) {
  if (mode == EagerMode::fp64) return at::kDouble;
  if (mode == EagerMode::bf16) return at::kBFloat16;
  return std::nullopt;
}

}  // namespace

struct EagerModel::Impl {
  EagerMode mode = EagerMode::eager;
  Binding binding;
  jit::Module module;
  std::string method;
  bool changes = false;  ///< the method may change the module's attributes
  std::shared_ptr<jit::Graph> inlined;
  std::unique_ptr<jit::GraphExecutor> converted;  ///< the program with other dtypes in its text: fp64, and bf16 where it must
  std::vector<c10::IValue> arguments;             ///< set by set_inputs

  std::vector<c10::IValue> make_arguments(const std::vector<RawTensor>& inputs) const {
    std::vector<at::Tensor> tensors;
    for (const RawTensor& raw : inputs) {
      at::Tensor t = tensor_of(raw);
      if (const auto to = computed_in(mode); to && converts(t.scalar_type(), *to)) t = t.to(*to);
      tensors.push_back(std::move(t));
    }
    std::vector<c10::IValue> values;
    for (const Argument& a : binding.arguments) values.push_back(frontend::ivalue_of(a, tensors));
    return values;
  }
  void convert_text(at::ScalarType to) {
    convert_floats(*inlined->block(), to);
    const c10::InferenceMode inference;
    const jit::GraphOptimizerEnabledGuard plain(false);
    converted = std::make_unique<jit::GraphExecutor>(inlined, method);
  }
  /// call(); where operators do not take bf16 beside what the text makes in f32, the text is converted once and for all.
  c10::IValue call_or_convert(std::vector<c10::IValue> values) {
    if (mode != EagerMode::bf16 || converted) return call(std::move(values));
    try {
      return call(values);
    } catch (const std::exception&) {
      convert_text(at::kBFloat16);
      return call(std::move(values));
    }
  }
  c10::IValue call(std::vector<c10::IValue> values) {
    const c10::InferenceMode inference;
    const DefaultDouble widen_factories(mode == EagerMode::fp64);
    const jit::GraphOptimizerEnabledGuard optimise(mode == EagerMode::frozen);
    if (!converted) return module.get_method(method)(std::move(values));
    jit::Stack stack{module._ivalue()};
    stack.insert(stack.end(), values.begin(), values.end());
    converted->run(stack);
    return stack.size() == 1 ? stack[0] : c10::IValue(c10::ivalue::Tuple::create(std::move(stack)));
  }
};

EagerModel::EagerModel() : impl_(std::make_unique<Impl>()) {}
EagerModel::EagerModel(EagerModel&&) noexcept = default;
EagerModel::~EagerModel() = default;

Result<EagerModel> EagerModel::load(const std::filesystem::path& file, EagerMode mode, int threads, const LoadOptions& options,
                                    Diagnostics& diagnostics) {
  Diagnostics notes;  // the compiled side has said them
  auto module = open_module(file, notes);
  const auto give_up = [&] {
    for (const Diagnostic& d : notes.all()) {
      if (d.severity != Severity::error) continue;
      Diagnostic& copy = diagnostics.add(d.severity, d.error_class, d.name, d.message);
      copy = d;
    }
    return Failure{};
  };
  if (!module) return give_up();
  try {
    if (threads > 0) at::set_num_threads(threads);
    const auto method = find_method(*module, options.method, notes);
    if (!method) return give_up();
    auto binding = bind_inputs(*module, *method, options, notes);
    if (!binding) return give_up();
    EagerModel model;
    Impl& impl = *model.impl_;
    impl.mode = mode;
    impl.method = options.method;
    impl.binding = std::move(*binding);
    impl.inlined = jit::toGraphFunction(method->function()).graph()->copy();
    jit::Inline(*impl.inlined);
    impl.changes = may_change(*impl.inlined->block());
    if (const auto to = computed_in(mode)) Converter(*to).convert(module->_ivalue());
    if (mode == EagerMode::fp64) impl.convert_text(at::kDouble);
    impl.module = mode == EagerMode::frozen
                      ? jit::freeze(*module, options.method == "forward" ? std::nullopt : std::optional(std::vector<std::string>{options.method}))
                      : *module;
    return model;
  } catch (const std::exception& e) {
    diagnostics.error("eager-failed", "LibTorch cannot prepare {}: {}", file.string(), first_line(e))
        .help("check that the model runs in PyTorch on the CPU");
    return Failure{};
  }
}

Result<std::vector<RawTensor>> EagerModel::run(const std::vector<RawTensor>& inputs, Diagnostics& diagnostics) {
  try {
    std::vector<at::Tensor> tensors;
    // A run may change the module; the next one is to find it as it was loaded.
    const jit::Module loaded = impl_->module;
    if (impl_->changes) impl_->module = loaded.deepcopy();
    std::vector<c10::IValue> arguments = impl_->make_arguments(inputs);
    const c10::IValue result = impl_->call_or_convert(std::move(arguments));
    impl_->module = loaded;
    flatten(result, tensors);
    std::vector<RawTensor> results;
    for (const at::Tensor& tensor : tensors) {
      const auto type = type_of(tensor);
      if (!type) {
        diagnostics.error("eager-failed", "an output of LibTorch cannot be read: {}", why_no_type(tensor))
            .help("return dense tensors of a real dtype");
        return Failure{};
      }
      results.push_back(raw_of(tensor, *type));
    }
    return results;
  } catch (const std::exception& e) {
    diagnostics.error("eager-failed", "the model fails in LibTorch: {}", first_line(e)).help("pass inputs that the model accepts");
    return Failure{};
  }
}

Result<void> EagerModel::set_inputs(const std::vector<RawTensor>& inputs, Diagnostics& diagnostics) {
  try {
    impl_->arguments = impl_->make_arguments(inputs);
    for (int i = 0; i < 3; ++i) impl_->call(impl_->arguments);  // the executor records types first, then optimises, then runs
    return {};
  } catch (const std::exception& e) {
    diagnostics.error("eager-failed", "the model fails in LibTorch: {}", first_line(e)).help("pass inputs that the model accepts");
    return Failure{};
  }
}

double EagerModel::time_once() {
  const auto start = std::chrono::steady_clock::now();
  try {
    impl_->call(impl_->arguments);
  } catch (const std::exception&) {
    return -1;  // set_inputs ran the same call before
  }
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

}  // namespace mica
