#include "oracle.h"

#include <algorithm>
#include <cmath>

#include "mica/driver/compile.h"
#include "mica/driver/numerics.h"
#include "mica/driver/so_model.h"
#include "mica/driver/tensor_file.h"
#include "mica/support/hash.h"

namespace mica::fuzz {

namespace {

/// Passes that only make programs faster: whatever subset runs, the answer is the same.
constexpr const char* optional_passes[] = {
    "canonicalize_matmul", "canonicalize_pooling", "eliminate_common_subexpressions", "eliminate_dead_code",     "fold_batch_norm",
    "fold_constants",      "fold_padding",         "merge_grouped_convolutions",      "pad_narrow_convolutions", "recognize_activations",
    "simplify_algebra",    "simplify_views"};

/// Files of one judgement, removed at its end.
struct Files {
  std::filesystem::path model, library;
  explicit Files(const std::filesystem::path& folder) : model(folder / "program.pt"), library(folder / "program.so") {}
  ~Files() {
    std::error_code ignored;
    std::filesystem::remove(model, ignored);
    std::filesystem::remove(library, ignored);
  }
};

Verdict failure(std::string kind, std::string detail) { return {Outcome::wrong, std::move(kind), std::move(detail), 0}; }

/// Where the two first differ: "element 3: 1.5, but LibTorch has 2".
std::string first_difference(const std::vector<double>& got, const std::vector<double>& want) {
  size_t worst = 0;
  double error = -1;
  for (size_t i = 0; i < std::min(got.size(), want.size()); ++i) {
    const double e = std::isfinite(got[i]) ? std::abs(got[i] - want[i]) : HUGE_VAL;
    if (e > error) error = e, worst = i;
  }
  return got.empty() ? std::string() : fmt::format("element {}: {}, but LibTorch has {}", worst, got[worst], want[worst]);
}

/// One output by the rule of numerics.h; beyond it, where rounding alone explains more than the yardstick's error, by the scene's bound.
void judge_one(size_t i, const RawTensor& got, const Expected& e, bool whole, Verdict& verdict) {
  const OutputVerdict v = judge_output(fmt::format("output {}", i), got, e.working[i], e.exact[i], false);
  const std::vector<double> numbers = doubles_of(got), truth = doubles_of(e.exact[i]);
  const auto fail = [&](std::string kind) {
    verdict = failure(std::move(kind), fmt::format("output {} ({}): {}; {}", i, got.type.to_string(), v.reason, first_difference(numbers, truth)));
  };
  if (whole && v.pass && numbers != truth) return fail("whole numbers differ");
  if (v.pass) return;
  if (got.type.to_string() != e.working[i].type.to_string()) return fail("type differs");
  if (!is_float(got.type.dtype)) return fail("integers differ");
  if (v.wrong) return fail("NaN or infinity");
  // Few elements, and eager was lucky: its error is far below what one rounding an operation gives.
  if (v.limit < 2 * e.slack[i] && v.mica.rmse <= 16 * e.slack[i]) {
    ++verdict.weak;
    return;
  }
  fail("inaccurate");
}

Verdict run_library(const Program& program, const Expected& expected, const std::filesystem::path& library) {
  Verdict verdict;
  std::vector<RawTensor> first;
  const std::vector<RawTensor> inputs = program.inputs();
  for (const int threads : {3, 1}) {
    Diagnostics diagnostics;
    auto model = SoModel::load(library, {.threads = threads, .copy_weights = false}, diagnostics);
    if (!model) return failure("library not loadable", diagnostics.to_string());
    auto outputs = model->run(inputs, diagnostics);
    if (!outputs) return failure("run fails", diagnostics.to_string());
    const std::vector<RawTensor>& after = model->bound_inputs();
    for (size_t i = 0; i < inputs.size(); ++i)
      if (inputs[i].bytes != after[i].bytes) return failure("input written to", fmt::format("input {}", i));
    if (outputs->size() != expected.working.size()) return failure("number of outputs", fmt::format("{}", outputs->size()));
    if (threads == 3) {
      first = std::move(*outputs);
      continue;
    }
    for (size_t i = 0; i < first.size(); ++i)
      if (first[i].bytes != (*outputs)[i].bytes)
        return failure("depends on threads", first_difference(doubles_of(first[i]), doubles_of((*outputs)[i])));
  }
  for (size_t i = 0; i < first.size() && verdict.outcome == Outcome::passed; ++i) judge_one(i, first[i], expected, program.whole, verdict);
  return verdict;
}

}  // namespace

std::string_view name_of(Outcome o) {
  constexpr std::string_view names[] = {"passed", "refused", "wrong", "crashed"};
  return names[static_cast<size_t>(o)];
}

std::string Config::text() const {
  std::string out = "--cpu " + cpu + (schedules ? "" : " --schedules=off");
  for (const std::string& p : disabled_passes) out += " --disable-pass " + p;
  return out;
}

std::optional<Config> make_config(const std::string& name, uint64_t seed) {
  Config c;
  c.name = name;
  if (name == "plain") return c;
  if (name == "generic") c.schedules = false;
  else if (name == "v3") c.cpu = "x86-64-v3";
  else if (name == "v4") c.cpu = "x86-64-v4";
  else if (name == "mixed") {
    Random r(seed ^ 0xc0f19);
    c.cpu = r.one_of({"x86-64-v3", "x86-64-v4", "native"});
    c.schedules = r.chance(0.5);
    const double p = r.one_of({0.0, 0.2, 0.5, 0.8});
    for (const char* pass : optional_passes)
      if (r.chance(p)) c.disabled_passes.emplace_back(pass);
  } else return std::nullopt;
  return c;
}

Verdict judge(const Program& program, const Expected& expected, const Config& config, const std::filesystem::path& folder) {
  const Files files(folder);
  Diagnostics diagnostics;
  if (!write_script(files.model, program.module(), {}, diagnostics)) return {Outcome::refused, "not saved by LibTorch", diagnostics.to_string(), 0};
  Options options;
  options.model = files.model;
  options.output = files.library;
  options.load = program.load_options();
  options.cpu = config.cpu;
  options.schedules = config.schedules;
  options.disabled_passes = config.disabled_passes;
  options.debug_defect = config.debug_defect;
  options.jobs = 1;
  if (!compile(options, diagnostics)) {
    for (const Diagnostic& d : diagnostics.all()) {
      if (d.severity != Severity::error) continue;
      std::string what = d.name;
      if (d.name == "unsupported-op") what += " " + d.message.substr(0, 60);
      return {Outcome::refused, what, diagnostics.to_string(), 0};
    }
    return failure("compile fails without a word", {});
  }
  return run_library(program, expected, files.library);
}

std::optional<Expected> run_eager(const Program& program, const std::filesystem::path& folder, std::string& why) {
  const Files files(folder);
  Diagnostics diagnostics;
  Expected e;
  const LoadOptions options = program.load_options();
  const auto run = [&](EagerMode mode, std::vector<RawTensor>& out) {
    auto model = EagerModel::load(files.model, mode, 1, options, diagnostics);
    if (!model) return false;
    auto results = model->run(program.inputs(), diagnostics);
    if (results) out = std::move(*results);
    return bool(results);
  };
  if (!write_script(files.model, program.module(), {}, diagnostics) || !run(EagerMode::eager, e.working) || !run(EagerMode::fp64, e.exact)) {
    why = diagnostics.to_string();
    return std::nullopt;
  }
  e.slack.assign(e.working.size(), 0.0);
  return e;
}

}  // namespace mica::fuzz
