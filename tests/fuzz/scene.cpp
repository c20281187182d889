#include "scene.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <regex>

#include "mica/driver/numerics.h"
#include "mica/driver/tensor_file.h"

namespace mica::fuzz {

namespace {

constexpr size_t working = 0, exact_run = 1, first_disturbed = 2;
constexpr int far_runs = 2, near_runs = 32;
constexpr double far_roundings = 16;
constexpr int64_t max_elements = 65536;

/// Largest number that a program may reach, and the least but 0: what is summed or squared later stays in range, and nothing is denormal.
double greatest(DType t) { return t == DType::f16 ? 2e4 : 1e6; }
double least(DType t) { return t == DType::f16 ? 1e-4 : t == DType::f64 ? 1e-100 : 1e-25; }

/// How far a far run may be from the judge, relative to the element and the tensor.
double tolerated(DType t) { return std::min(2000 * unit_roundoff(t), t == DType::bf16 ? 1.0 : 0.5); }

}  // namespace

std::vector<double> doubles_of(const RawTensor& tensor) {
  const RawTensor wide = convert(tensor, DType::f64);
  std::vector<double> values(wide.bytes.size() / sizeof(double));
  if (!values.empty()) std::memcpy(values.data(), wide.bytes.data(), wide.bytes.size());
  return values;
}

/// Of the finite ones.
double rms_of(const std::vector<double>& values) {
  double sum = 0;
  size_t finite = 0;
  for (double v : values)
    if (std::isfinite(v)) sum += v * v, ++finite;
  return finite ? std::sqrt(sum / static_cast<double>(finite)) : 0;
}

Scene::Scene(uint64_t seed, bool whole, bool special, Disturbed disturbed) : random_(seed), whole_(whole), special_(special), disturbed_(disturbed) {
  sessions_.emplace_back(EagerMode::eager);
  const int others = whole ? 0 : disturbed == Disturbed::near ? near_runs : far_runs;
  for (int i = 0; i < 1 + others; ++i) sessions_.emplace_back(EagerMode::fp64);
}

Scene Scene::next_run(const Program& program, const Run& run) const {
  Scene next(program, disturbed_);
  next.random_ = random_;
  for (const Leaf& leaf : program.leaves) {
    if (!leaf.parameter()) next.add_leaf({leaf.name, run.at(leaf.name)});
    else if (!leaf.state()) next.add_leaf(leaf);
    else {
      next.variables_[leaf.name] = variables_.at(leaf.name);
      for (size_t k = 0; k < sessions_.size(); ++k) next.sessions_[k].set(leaf.name, *sessions_[k].tensor(leaf.name));
    }
  }
  return next;
}

Scene Scene::copy() const {
  Scene other(0, true, special_, disturbed_);
  other.random_ = random_;
  other.whole_ = whole_;
  other.sessions_.clear();
  for (const ScriptSession& s : sessions_) other.sessions_.push_back(s.copy());
  other.variables_ = variables_;
  return other;
}

bool Scene::refuse(std::string why) {
  why_ = std::move(why);
  return false;
}

void Scene::add_leaf(const Leaf& leaf) {
  for (ScriptSession& s : sessions_) s.set(leaf.name, leaf.value);
  Variable v{leaf.value.type, 0, 0};
  const std::vector<double> values = doubles_of(leaf.value);
  if (!values.empty()) {
    v.low = *std::min_element(values.begin(), values.end());
    v.high = *std::max_element(values.begin(), values.end());
  }
  variables_[leaf.name] = v;
}

/// Every element off by up to `roundings` of its dtype.
void Scene::disturb(ScriptSession& session, const std::string& name, DType type, double roundings) {
  auto tensor = session.tensor(name);
  if (!tensor || !is_float(tensor->type.dtype)) return;
  std::vector<double> values = doubles_of(*tensor);
  for (double& v : values) v *= 1 + roundings * unit_roundoff(type) * (2 * random_.unit() - 1);
  RawTensor changed{{DType::f64, tensor->type.shape, {}}, std::vector<std::byte>(values.size() * sizeof(double))};
  if (!values.empty()) std::memcpy(changed.bytes.data(), values.data(), changed.bytes.size());
  session.overwrite(name, changed);
}

/// Whether no partial sum of the statement can need rounding: the largest product, as often as there are elements, in 24 bits.
bool Scene::sums_are_exact(const Statement& s) const {
  double bound = 1;
  int64_t terms = 1;
  for (const std::string& name : s.reads) {
    const Variable& v = variables_.at(name);
    bound *= std::max({1.0, std::abs(v.low), std::abs(v.high)});
    terms = std::max<int64_t>(terms, v.type.shape.elements());
  }
  return bound * static_cast<double>(terms) < 0x1p24;
}

namespace {
/// What is written: "v1[0:2]" of "v1[0:2] += v3", the variable itself of "v1.add_(v3)".
std::string written_by(const Statement& s) {
  static const std::regex assignment("^(.+?) [-+*]?= ");
  std::smatch found;
  return std::regex_search(s.text, found, assignment) ? found[1].str() : s.reads[0];
}
}  // namespace

/// Whether the statement writes to elements that it reads at another place, so that the result depends on the order in which LibTorch happens to go.
bool Scene::reads_what_it_writes(const Statement& s) {
  if (!(s.flags & writes)) return false;
  ScriptSession& session = sessions_[working];
  const auto shares = [&](const std::string& r) { return r != s.reads[0] && session.share_storage(s.reads[0], r); };
  if (std::ranges::none_of(s.reads, shares)) return false;
  const std::vector<std::string> view = {"v999999"};
  Diagnostics diagnostics;
  const auto compiled = session.compile(fmt::format("{} = {}", view[0], written_by(s)), s.reads, view, diagnostics);
  if (!compiled || !session.run(*compiled, diagnostics)) return true;
  const bool found = std::ranges::any_of(s.reads, [&](const std::string& r) { return shares(r) && session.overlap(view[0], r); });
  session.forget(view[0]);
  return found;
}

bool Scene::run_all(std::vector<ScriptSession>& sessions, const Statement& s, const ScriptStatement& compiled) {
  const bool rounds = !whole_ && !(s.flags & exact);
  for (size_t k = 0; k < sessions.size(); ++k) {
    const bool noisy = rounds && k >= first_disturbed;
    const double unit = disturbed_ == Disturbed::far ? far_roundings : 1, roundings = unit * (s.flags & function ? 4 : 1);
    // What is summed is as uncertain as its largest term: the operands are disturbed for this statement alone. 16-bit terms are added in f32.
    if (noisy && (s.flags & sums) && !(s.flags & (writes | block)))
      for (const std::string& name : s.reads) {
        auto value = sessions[k].tensor(name);
        if (!value || !is_float(value->type.dtype)) continue;
        sessions[k].shadow(name, *value);
        disturb(sessions[k], name, variables_.at(name).type.dtype == DType::f64 ? DType::f64 : DType::f32, 4 * unit);
      }
    Diagnostics diagnostics;
    const bool ran = bool(sessions[k].run(compiled, diagnostics));
    sessions[k].unshadow();
    if (!ran) return refuse(diagnostics.all()[0].message);
    if (k == working) {
      for (const std::string& name : s.defines) {
        const auto type = sessions[k].type(name);
        if (!type) return refuse("a result is no tensor of Mica's dtypes");
        if (type->shape.elements() > max_elements || type->rank() > 6) return refuse("too large");
      }
    }
    if (!noisy) continue;
    const std::vector<std::string> first(s.reads.begin(), s.reads.begin() + (s.flags & writes && !s.reads.empty() ? 1 : 0));
    for (const auto* list : {&s.defines, &first})
      for (const std::string& name : *list)
        if (const auto type = sessions[working].type(name)) disturb(sessions[k], name, type->dtype, roundings);
  }
  return true;
}

/// Whether NaN and infinities stand at the same places in all runs.
bool Scene::same_specials(const std::vector<std::vector<double>>& runs) const {
  for (const std::vector<double>& run : runs)
    for (size_t i = 0; i < run.size(); ++i) {
      const double x = run[i], first = runs[0][i];
      if (std::isnan(x) != std::isnan(first) || (std::isinf(x) || std::isinf(first) ? x != first && !std::isnan(x) : false)) return false;
    }
  return true;
}

bool Scene::accept_values(const std::string& name, const std::vector<RawTensor>& values, Variable& v) {
  v.type = values[working].type;
  if (is_float(v.type.dtype) != is_float(values[exact_run].type.dtype)) return refuse("LibTorch's types differ");
  std::vector<std::vector<double>> runs;
  for (const RawTensor& value : values) {
    runs.push_back(doubles_of(value));
    if (runs.back().size() != runs[0].size()) return refuse(name + " has a size that hangs on rounding");
  }
  const std::vector<double>&got = runs[working], &truth = runs[exact_run];
  if (!got.empty()) {
    v.low = *std::min_element(got.begin(), got.end());
    v.high = *std::max_element(got.begin(), got.end());
  }
  if (!is_float(v.type.dtype)) {
    for (const RawTensor& other : values)
      if (disturbed_ == Disturbed::far && other.bytes != values[working].bytes) return refuse(name + " hangs on rounding");
    return true;
  }
  if (disturbed_ == Disturbed::far && !same_specials(runs)) return refuse(name + " is finite or not by rounding");
  for (const double x : got) {
    if (!std::isfinite(x) ? !special_ : std::abs(x) > greatest(v.type.dtype)) return refuse(name + " is too large or not finite");
    if (x != 0 && std::abs(x) < least(v.type.dtype)) return refuse(name + " is tiny");
  }
  const double allowed = whole_ ? 0 : tolerated(v.type.dtype), rms = rms_of(truth);
  for (size_t k = 0; k < runs.size(); ++k) {
    if (k >= first_disturbed && disturbed_ == Disturbed::near) continue;
    for (size_t i = 0; i < truth.size(); ++i)
      if (std::isfinite(truth[i]) && !(std::abs(runs[k][i] - truth[i]) <= allowed * (std::abs(truth[i]) + rms)))
        return refuse(name + " hangs on rounding");
  }
  return true;
}

bool Scene::accept(const std::vector<ScriptSession>& sessions, const Statement& s, std::map<std::string, Variable>& found) {
  std::vector<std::string> changed = s.defines;
  for (const auto& [name, v] : variables_) {
    if (!(s.flags & (writes | block))) break;
    const auto shares = [&](size_t session) {
      return std::ranges::any_of(s.reads, [&](const std::string& r) { return sessions_[session].share_storage(name, r); });
    };
    // In fp64 a conversion between floats is no copy: the judge would see a write that the program does not make.
    if (shares(working) != shares(exact_run)) return refuse("writes to what fp64 takes for the same tensor");
    if (shares(working)) changed.push_back(name);
  }
  const bool from_special = special_ && std::any_of(s.reads.begin(), s.reads.end(), [&](const std::string& r) {
                              const RawTensor value = *sessions_[working].tensor(r);
                              return is_float(value.type.dtype) && !std::ranges::all_of(doubles_of(value), [](double x) { return std::isfinite(x); });
                            });
  for (const std::string& name : changed) {
    // What NaN and infinity are as integers, C++ does not say.
    const auto type = sessions[working].type(name);
    if (from_special && type && is_integer(type->dtype)) return refuse("an integer made of NaN or infinity");
    std::vector<RawTensor> values;
    for (const ScriptSession& session : sessions) {
      auto value = session.tensor(name);
      if (!value) return refuse("a result is no tensor of Mica's dtypes");
      values.push_back(std::move(*value));
    }
    if (!accept_values(name, values, found[name])) return false;
  }
  return true;
}

bool Scene::apply(const Statement& s) {
  for (const std::string& name : s.reads)
    if (!variables_.count(name)) return refuse("reads " + name + ", which is not there");
  if (whole_ && !(s.flags & (whole | exact))) return refuse("not for whole numbers");
  if (whole_ && (s.flags & sums) && !sums_are_exact(s)) return refuse("sums may round");
  Diagnostics diagnostics;
  const auto compiled = sessions_[working].compile(s.text, s.reads, s.defines, diagnostics);
  if (!compiled) return refuse(diagnostics.all()[0].message);
  if (reads_what_it_writes(s)) return refuse("writes to what it reads at another place");
  // What writes may have written before it is refused: it works on copies.
  std::vector<ScriptSession> copies;
  if (s.flags & (writes | block))
    for (const ScriptSession& session : sessions_) copies.push_back(session.copy());
  std::vector<ScriptSession>& sessions = copies.empty() ? sessions_ : copies;
  std::map<std::string, Variable> found;
  if (!run_all(sessions, s, *compiled) || !accept(sessions, s, found)) {
    if (copies.empty())
      for (ScriptSession& session : sessions_)
        for (const std::string& name : s.defines)
          if (!variables_.count(name)) session.forget(name);
    return false;
  }
  if (!copies.empty()) sessions_ = std::move(copies);
  for (auto& [name, v] : found) variables_[name] = v;
  return true;
}

std::optional<std::vector<TensorType>> Scene::probe(const Statement& s) {
  Diagnostics diagnostics;
  for (const std::string& name : s.reads)
    if (!variables_.count(name)) return std::nullopt;
  const auto compiled = sessions_[working].compile(s.text, s.reads, s.defines, diagnostics);
  if (!compiled || !sessions_[working].run(*compiled, diagnostics)) return std::nullopt;
  std::vector<TensorType> types;
  for (const std::string& name : s.defines) {
    const auto type = sessions_[working].type(name);
    sessions_[working].forget(name);
    if (!type) return std::nullopt;
    types.push_back(*type);
  }
  return types;
}

Expected Scene::expect(const std::vector<std::string>& outputs) const {
  Expected e;
  for (const std::string& name : outputs) {
    e.working.push_back(*sessions_[working].tensor(name));
    e.exact.push_back(*sessions_[exact_run].tensor(name));
  }
  return e;
}

std::vector<double> Scene::spread(const std::vector<std::string>& outputs) const {
  std::vector<double> spread;
  for (const std::string& name : outputs) {
    const std::vector<double> truth = doubles_of(*sessions_[exact_run].tensor(name));
    double greatest = 0;
    for (size_t k = first_disturbed; k < sessions_.size(); ++k) {
      std::vector<double> run = doubles_of(*sessions_[k].tensor(name));
      if (run.size() != truth.size()) continue;
      for (size_t i = 0; i < run.size(); ++i) run[i] -= truth[i];  // not finite: left out below
      greatest = std::max(greatest, rms_of(run));
    }
    spread.push_back(greatest);
  }
  return spread;
}

bool perform(Scene& scene, const Program& program) {
  for (const Statement& s : program.statements)
    if (!scene.apply(s)) return false;
  return std::ranges::all_of(program.outputs, [&](const std::string& name) { return scene.variables().count(name) > 0; });
}

std::optional<std::vector<Scene>> stage_runs(const Program& program, Disturbed disturbed) {
  std::vector<Scene> scenes;
  scenes.emplace_back(program, disturbed);
  for (const Leaf& leaf : program.leaves) scenes[0].add_leaf(leaf);
  if (!perform(scenes[0], program)) return std::nullopt;
  for (const Run& run : program.more_runs) {
    scenes.push_back(scenes.back().next_run(program, run));
    if (!perform(scenes.back(), program)) return std::nullopt;
  }
  return scenes;
}

std::optional<Scene> stage(const Program& program) {
  auto scenes = stage_runs(program.first_run());
  if (!scenes) return std::nullopt;
  return std::move(scenes->front());
}

std::vector<std::vector<double>> spread_of(const Program& program) {
  // Statements that were read from a file do not say what they are.
  if (program.whole || std::ranges::any_of(program.statements, [](const Statement& s) { return s.op.empty(); })) return {};
  const auto scenes = stage_runs(program, Disturbed::near);
  std::vector<std::vector<double>> spread;
  if (scenes)
    for (const Scene& scene : *scenes) spread.push_back(scene.spread(program.outputs));
  return spread;
}

}  // namespace mica::fuzz
