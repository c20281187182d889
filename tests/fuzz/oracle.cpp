#include "oracle.h"

#include <algorithm>
#include <cmath>

#include "../numerics/guarded.h"
#include "mica/driver/compile.h"
#include "mica/driver/numerics.h"
#include "mica/driver/so_model.h"
#include "mica/driver/tensor_file.h"
#include "mica/target/target.h"

namespace mica::fuzz {

namespace {

/// Passes that only make programs faster: whatever subset runs, the answer is the same.
constexpr const char* optional_passes[] = {
    "canonicalize_matmul", "canonicalize_pooling", "eliminate_common_subexpressions", "eliminate_dead_code",     "fold_batch_norm",
    "fold_constants",      "fold_padding",         "merge_grouped_convolutions",      "pad_narrow_convolutions", "recognize_activations",
    "simplify_algebra",    "simplify_views",       "transposed_convolutions"};

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

/// The yardsticks of a program that LibTorch's own error is not enough for.
class Judge {
 public:
  Judge(const Program& program, const std::vector<Expected>& expected, const Config& config)
      : program_(program), expected_(expected), values_(config.precision == "f32") {}

  Verdict verdict;

  /// Outputs of one run, one after the other, until one fails.
  void judge_run(size_t run, const std::vector<RawTensor>& got) {
    if (got.size() != expected_[run].working.size()) verdict = failure("number of outputs", fmt::format("{}", got.size()));
    for (size_t i = 0; i < got.size() && verdict.outcome == Outcome::passed; ++i) judge_one(run, i, got[i]);
  }

 private:
  /// One output by the rule of numerics.h. LibTorch's error in one run is a sample: where it is below what rounding explains (one element; f64,
  /// where the judge is no better than the yardstick) the spread of disturbed runs is the yardstick, with the same factor.
  void judge_one(size_t run, size_t i, const RawTensor& got) {
    const RawTensor &working = expected_[run].working[i], &exact = expected_[run].exact[i];
    if (!values_) {
      if (got.type.to_string() != working.type.to_string()) verdict = failure("type differs", fmt::format("output {}: {}", i, got.type.to_string()));
      return;
    }
    const OutputVerdict v = judge_output(fmt::format("output {}", i), got, working, exact, false);
    const std::vector<double> numbers = doubles_of(got), truth = doubles_of(exact);
    const auto fail = [&](std::string kind) {
      verdict = failure(std::move(kind), fmt::format("{}output {} ({}): {}; {}", run ? fmt::format("run {}, ", run) : "", i, got.type.to_string(),
                                                     v.reason, first_difference(numbers, truth)));
    };
    if (program_.whole && v.pass && numbers != truth) return fail("whole numbers differ");
    if (v.pass) return;
    if (got.type.to_string() != working.type.to_string()) return fail("type differs");
    if (!is_float(got.type.dtype)) return fail("integers differ");
    if (v.wrong) return fail("NaN or infinity");
    const double spread = spread_at(run, i);
    if (v.mica.rmse <= v.factor * spread + 4 * unit_roundoff(got.type.dtype) * v.rms) {
      ++verdict.weak;
      return;
    }
    fail("inaccurate");
    verdict.detail += fmt::format("; rounding explains {:.3g}", spread);
  }

  double spread_at(size_t run, size_t i) {
    if (!spread_) spread_ = spread_of(program_);
    return run < spread_->size() ? (*spread_)[run][i] : 0;
  }

  const Program& program_;
  const std::vector<Expected>& expected_;
  const bool values_;  ///< in a lower precision what a comparison or an index says may be another than LibTorch's: tests/numerics judges values there
  std::optional<std::vector<std::vector<double>>> spread_;
};

/// Every run in turn in one context, on 3 threads and on 1: the same bits. A single run that keeps nothing is made twice.
Verdict run_library(const Program& program, const std::vector<Expected>& expected, const Config& config, const std::filesystem::path& library) {
  Judge judge(program, expected, config);
  std::vector<std::vector<RawTensor>> first;
  const size_t turns = expected.size() == 1 && !program.stateful() ? 2 : expected.size();
  for (const int threads : {3, 1}) {
    Diagnostics diagnostics;
    auto model = SoModel::load(library, {.threads = threads, .copy_weights = false}, diagnostics);
    if (!model) return failure("library not loadable", diagnostics.to_string());
    for (size_t turn = 0; turn < turns; ++turn) {
      const size_t run = std::min(turn, expected.size() - 1);
      const std::vector<RawTensor> inputs = program.inputs(run);
      auto outputs = model->run(inputs, diagnostics);
      if (!outputs) return failure("run fails", diagnostics.to_string());
      const std::vector<RawTensor>& after = model->bound_inputs();
      for (size_t i = 0; i < inputs.size(); ++i)
        if (inputs[i].bytes != after[i].bytes) return failure("input written to", fmt::format("input {}", i));
      if (threads == 3 && turn == run) {
        judge.judge_run(run, *outputs);
        if (judge.verdict.outcome != Outcome::passed) return judge.verdict;
        first.push_back(std::move(*outputs));
        continue;
      }
      for (size_t i = 0; i < first[run].size(); ++i)
        if (first[run][i].bytes != (*outputs)[i].bytes)
          return failure(threads == 3 ? "the second run differs" : "depends on threads",
                         first_difference(doubles_of(first[run][i]), doubles_of((*outputs)[i])));
    }
  }
  return judge.verdict;
}

/// Between pages that cannot be touched.
Verdict run_guarded(const Program& program, const std::vector<Expected>& expected, const Config& config, const std::filesystem::path& library) {
  Judge judge(program, expected, config);
  for (const int threads : {3, 1}) {
    Diagnostics diagnostics;
    const auto outputs = numerics::run_library(library, program.inputs(), threads, config.debug_memory, diagnostics);
    if (!outputs) return failure("between guards", diagnostics.to_string());
    judge.judge_run(0, *outputs);
    if (judge.verdict.outcome != Outcome::passed) break;
  }
  return judge.verdict;
}

}  // namespace

std::string_view name_of(Outcome o) {
  constexpr std::string_view names[] = {"passed", "refused", "wrong", "crashed"};
  return names[static_cast<size_t>(o)];
}

std::string Config::text() const {
  std::string out = fmt::format("--cpu {} --precision {}{}", cpu, precision, schedules ? "" : " --schedules=off");
  if (debug_memory != DebugMemory::off) out += debug_memory == DebugMemory::behind ? " --debug-memory behind" : " --debug-memory before";
  for (const std::string& p : disabled_passes) out += " --disable-pass " + p;
  return out;
}

namespace {

/// Whether this machine's CPU has what code for `cpu` needs.
bool runs_here(const std::string& cpu) {
  Diagnostics ignored;
  const auto other = make_target(cpu, "", ignored), host = make_target("native", "", ignored);
  return other && host && std::ranges::all_of(other->features, [&](const std::string& feature) { return host->has(feature); });
}

}  // namespace

std::optional<Config> make_config(const std::string& name, uint64_t seed) {
  Config c;
  c.name = name;
  if (name == "plain") return c;
  if (name == "generic") c.schedules = false;
  else if (name == "v3") c.cpu = "x86-64-v3";
  else if (name == "v4") c.cpu = "x86-64-v4";
  else if (name == "guard") {
    c.debug_memory = seed % 2 ? DebugMemory::behind : DebugMemory::before;
    c.cpu = seed % 4 < 2 ? "native" : "x86-64-v3";
  } else if (name == "lowered") {
    c.precision = "bf16";
    c.cpu = seed % 3 ? "native" : "x86-64-v3";
    if (seed % 4 == 0) c.debug_memory = DebugMemory::behind;
  } else if (name == "mixed") {
    Random r(seed ^ 0xc0f19);
    c.cpu = r.one_of({"x86-64-v3", "x86-64-v4", "native"});
    if (!runs_here(c.cpu)) c.cpu = "native";
    c.schedules = r.chance(0.5);
    const double p = r.one_of({0.0, 0.2, 0.5, 0.8});
    for (const char* pass : optional_passes)
      if (r.chance(p)) c.disabled_passes.emplace_back(pass);
  } else return std::nullopt;
  return c;
}

namespace {

/// Compiles for the sizes or symbols of `load`; the diagnostic's name when Mica refuses.
std::optional<Verdict> compile_program(const Config& config, LoadOptions load, const Files& files) {
  Diagnostics diagnostics;
  Options options;
  options.model = files.model;
  options.output = files.library;
  options.load = std::move(load);
  options.cpu = config.cpu;
  options.precision = config.precision;
  options.schedules = config.schedules;
  options.winograd = WinogradUse::off;  // rounds more than the rule for all others allows; tests/numerics/winograd_test.cpp has its own
  options.disabled_passes = config.disabled_passes;
  options.debug_memory = config.debug_memory;
  options.debug_defect = config.debug_defect;
  options.jobs = 1;
  if (resolve_symbols(options.load, diagnostics) && compile(options, diagnostics)) return std::nullopt;
  for (const Diagnostic& d : diagnostics.all()) {
    if (d.severity != Severity::error) continue;
    std::string what = d.name;
    if (d.name == "unsupported-op") what += " " + d.message.substr(0, 60);
    return Verdict{Outcome::refused, what, diagnostics.to_string(), 0};
  }
  return failure("compile fails without a word", {});
}

}  // namespace

Verdict judge(const Program& program, const std::vector<Expected>& expected, const Config& config, const std::filesystem::path& folder) {
  const Files files(folder);
  Diagnostics diagnostics;
  if (!write_script(files.model, program.module(), {}, diagnostics)) return {Outcome::refused, "not saved by LibTorch", diagnostics.to_string(), 0};
  const bool guarded = config.debug_memory != DebugMemory::off;
  if (!program.symbols.empty() && !guarded) {
    const auto no = compile_program(config, program.symbolic_options(), files);
    if (!no) return run_library(program, expected, config, files.library);
    if (no->outcome != Outcome::refused) return *no;
    Verdict v = judge(program.first_run(), {expected[0]}, config, folder);
    v.symbols_refused = no->kind;
    return v;
  }
  if (!program.symbols.empty()) return judge(program.first_run(), {expected[0]}, config, folder);
  if (const auto no = compile_program(config, program.load_options(), files)) return *no;
  if (guarded && expected.size() == 1 && !program.stateful()) return run_guarded(program, expected, config, files.library);
  return run_library(program, expected, config, files.library);
}

std::optional<std::vector<Expected>> run_eager(const Program& program, const std::filesystem::path& folder, std::string& why) {
  const Files files(folder);
  Diagnostics diagnostics;
  std::vector<Expected> expected(program.runs());
  const LoadOptions options = program.load_options();
  const auto run = [&](EagerMode mode, std::vector<RawTensor> Expected::* out) {
    auto model = EagerModel::load(files.model, mode, 1, options, diagnostics);
    if (!model) return false;
    for (size_t i = 0; i < expected.size(); ++i) {
      auto results = model->run(program.inputs(i), diagnostics);
      if (!results) return false;
      expected[i].*out = std::move(*results);
    }
    return true;
  };
  if (!write_script(files.model, program.module(), {}, diagnostics) || !run(EagerMode::eager, &Expected::working) ||
      !run(EagerMode::fp64, &Expected::exact)) {
    why = diagnostics.to_string();
    return std::nullopt;
  }
  return expected;
}

}  // namespace mica::fuzz
