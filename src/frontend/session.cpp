#include "mica/frontend/session.h"

#include <ATen/ATen.h>
#include <ATen/MemoryOverlap.h>
#include <ATen/Parallel.h>
#include <torch/csrc/jit/frontend/resolver.h>
#include <torch/csrc/jit/passes/inliner.h>
#include <torch/csrc/jit/runtime/graph_executor.h>

#include <set>

#include "constants.h"
#include "module.h"
#include "widen.h"

namespace mica {

using namespace frontend;
namespace jit = torch::jit;

namespace {

std::string_view script_type(const c10::IValue& value) {
  if (value.isTensor()) return "Tensor";
  if (value.isBool()) return "bool";
  return value.isInt() ? "int" : "float";
}

/// "def f(a: Tensor, n: int):\n  TEXT\n  return a, b\n"
std::string function_of(const std::string& text, std::span<const std::string> reads, const std::map<std::string, c10::IValue>& values,
                        std::span<const std::string> defines) {
  std::string source = "def f(";
  for (size_t i = 0; i < reads.size(); ++i) source += fmt::format("{}{}: {}", i ? ", " : "", reads[i], script_type(values.at(reads[i])));
  source += "):\n";
  for (size_t from = 0; from <= text.size();) {
    const size_t end = std::min(text.find('\n', from), text.size());
    source += "  " + text.substr(from, end - from) + "\n";
    from = end + 1;
  }
  source += "  return (";
  for (const std::string& d : defines) source += d + ", ";
  return source + (defines.empty() ? "0, 0)\n" : "0)\n");  // a tuple also where nothing is defined
}

at::Tensor widened(const RawTensor& raw, bool wide) {
  at::Tensor t = tensor_of(raw);
  return wide && narrow_float(t.scalar_type()) ? t.to(at::kDouble) : t;
}

}  // namespace

struct ScriptStatement::Impl {
  std::vector<std::string> reads, defines;
  std::unique_ptr<jit::GraphExecutor> plain, wide;
  std::shared_ptr<jit::Graph> wide_graph;  ///< until the first run in fp64
};
ScriptStatement::ScriptStatement() : impl_(std::make_unique<Impl>()) {}
ScriptStatement::ScriptStatement(ScriptStatement&&) noexcept = default;
ScriptStatement::~ScriptStatement() = default;

struct ScriptSession::Impl {
  EagerMode mode = EagerMode::eager;
  std::map<std::string, c10::IValue> values, shadowed;
};
ScriptSession::ScriptSession(EagerMode mode) : impl_(std::make_unique<Impl>()) {
  impl_->mode = mode;
  at::set_num_threads(1);  // no thread pool, so that a process that had a session can fork
}
ScriptSession::ScriptSession(ScriptSession&&) noexcept = default;
ScriptSession& ScriptSession::operator=(ScriptSession&&) noexcept = default;
ScriptSession::~ScriptSession() = default;

void ScriptSession::set(const std::string& name, const RawTensor& value) { impl_->values[name] = widened(value, impl_->mode == EagerMode::fp64); }

Result<ScriptStatement> ScriptSession::compile(const std::string& text, std::span<const std::string> reads, std::span<const std::string> defines,
                                               Diagnostics& diagnostics) const {
  try {
    jit::CompilationUnit unit;
    unit.define(std::nullopt, function_of(text, reads, impl_->values, defines), jit::nativeResolver(), nullptr);
    const auto graph = jit::toGraphFunction(unit.get_function(c10::QualifiedName("f"))).graph()->copy();
    jit::Inline(*graph);
    ScriptStatement statement;
    ScriptStatement::Impl& s = *statement.impl_;
    s.reads.assign(reads.begin(), reads.end());
    s.defines.assign(defines.begin(), defines.end());
    s.wide_graph = graph->copy();
    frontend::convert_floats(*s.wide_graph->block(), at::kDouble);
    const c10::InferenceMode inference;
    const jit::GraphOptimizerEnabledGuard plain(false);
    s.plain = std::make_unique<jit::GraphExecutor>(graph, "f");
    s.wide = std::make_unique<jit::GraphExecutor>(s.wide_graph, "f");
    return statement;
  } catch (const std::exception& e) {
    diagnostics.error("script", "{}", std::string(e.what()).substr(0, 400));
    return Failure{};
  }
}

Result<void> ScriptSession::run(const ScriptStatement& statement, Diagnostics& diagnostics) {
  const ScriptStatement::Impl& s = *statement.impl_;
  const bool wide = impl_->mode == EagerMode::fp64;
  try {
    const c10::InferenceMode inference;
    const DefaultDouble widen_factories(wide);
    const jit::GraphOptimizerEnabledGuard plain(false);
    jit::Stack stack;
    for (const std::string& name : s.reads) stack.push_back(impl_->values.at(name));
    (wide ? *s.wide : *s.plain).run(stack);
    const auto& results = stack.at(0).toTupleRef().elements();
    for (size_t i = 0; i < s.defines.size(); ++i) impl_->values[s.defines[i]] = results[i];
    return {};
  } catch (const std::exception& e) {
    diagnostics.error("eager-failed", "{}", first_line(e));
    return Failure{};
  }
}

std::optional<TensorType> ScriptSession::type(const std::string& name) const {
  const auto found = impl_->values.find(name);
  if (found == impl_->values.end() || !found->second.isTensor()) return std::nullopt;
  return type_of(found->second.toTensor());
}

std::optional<RawTensor> ScriptSession::tensor(const std::string& name) const {
  const auto t = type(name);
  if (!t) return std::nullopt;
  return raw_of(impl_->values.at(name).toTensor(), *t);
}

void ScriptSession::overwrite(const std::string& name, const RawTensor& value) {
  const c10::InferenceMode inference;
  const at::Tensor& t = impl_->values.at(name).toTensor();
  if (at::has_internal_overlap(t) == at::MemOverlap::No) t.copy_(tensor_of(value));
}

void ScriptSession::shadow(const std::string& name, const RawTensor& value) {
  impl_->shadowed.emplace(name, impl_->values.at(name));
  set(name, value);
}

void ScriptSession::unshadow() {
  for (auto& [name, value] : impl_->shadowed) impl_->values[name] = std::move(value);
  impl_->shadowed.clear();
}

bool ScriptSession::share_storage(const std::string& a, const std::string& b) const {
  const c10::IValue &x = impl_->values.at(a), &y = impl_->values.at(b);
  return x.isTensor() && y.isTensor() && x.toTensor().is_alias_of(y.toTensor());
}

bool ScriptSession::overlap(const std::string& a, const std::string& b) const {
  if (!share_storage(a, b)) return false;
  const c10::InferenceMode inference;
  const at::Tensor &x = impl_->values.at(a).toTensor(), &y = impl_->values.at(b).toTensor();
  if (x.storage_offset() == y.storage_offset() && x.sizes() == y.sizes() && x.strides() == y.strides()) return false;
  const auto elements = static_cast<int64_t>(x.storage().nbytes() / x.element_size());
  at::Tensor marks = at::zeros({elements}, at::kBool);
  marks.index_fill_(0, at::arange(elements).as_strided(x.sizes(), x.strides(), x.storage_offset()).flatten(), true);
  return marks.as_strided(y.sizes(), y.strides(), y.storage_offset()).any().item<bool>();
}

void ScriptSession::forget(const std::string& name) { impl_->values.erase(name); }

ScriptSession ScriptSession::copy() const {
  ScriptSession other(impl_->mode);
  std::map<const void*, at::Tensor> storages;  // by the original's address: a flat copy
  const c10::InferenceMode inference;
  for (const auto& [name, value] : impl_->values) {
    if (!value.isTensor()) {
      other.impl_->values[name] = value;
      continue;
    }
    const at::Tensor& t = value.toTensor();
    at::Tensor& flat = storages[t.storage().unsafeGetStorageImpl()];
    if (!flat.defined()) {
      const auto elements = static_cast<int64_t>(t.storage().nbytes() / t.element_size());
      flat = at::empty({0}, t.options()).set_(t.storage(), 0, {elements}, {1}).clone();
    }
    at::Tensor twin = at::empty({0}, t.options());
    twin.set_(flat.storage(), t.storage_offset(), t.sizes(), t.strides());
    other.impl_->values[name] = twin;
  }
  return other;
}

}  // namespace mica
