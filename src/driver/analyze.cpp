#include "mica/driver/analyze.h"

#include <algorithm>
#include <chrono>
#include <limits>
#include <nlohmann/json.hpp>

namespace mica {

namespace {

/// Below this a call's time says more of the call than of its work.
constexpr double short_call_ms = 0.02;

StepCost describe_step(const nlohmann::json& manifest, size_t k) {
  const nlohmann::json& step = manifest["plan"][k];
  const nlohmann::json& kernel = manifest["kernels"].at(step.value("kernel", size_t{0}));
  StepCost cost;
  cost.step = k;
  cost.kernel = kernel.value("name", "");
  cost.label = step.value("label", "");
  cost.flops = kernel.value("flops", 0.0);
  cost.bytes = kernel.value("bytes", 0.0);
  const std::string arithmetic = kernel.value("arithmetic", "");
  for (size_t a = 0; a < arithmetics; ++a)
    if (arithmetic == name_of(static_cast<Arithmetic>(a))) cost.arithmetic = static_cast<Arithmetic>(a);
  return cost;
}

void weigh(StepCost& cost, const StepTime& time, int64_t least, int64_t runs, const MachinePeak& peak) {
  const auto count = static_cast<double>(runs);
  cost.ms = static_cast<double>(least) * 1e-6;
  cost.mean_ms = static_cast<double>(time.nanoseconds) * 1e-6 / count;
  cost.calls = static_cast<double>(time.calls) / count;
  cost.flops *= cost.calls;
  cost.bytes *= cost.calls;
  const double compute_ms = cost.flops / peak.of(cost.arithmetic) * 1e3, memory_ms = cost.bytes / peak.bytes * 1e3;
  cost.roofline_ms = std::max(compute_ms, memory_ms);
  const bool brief = cost.calls > 0 && cost.ms / cost.calls < short_call_ms && cost.roofline_ms < 0.5 * cost.ms;
  cost.limit = brief ? Limit::overhead : compute_ms >= memory_ms ? Limit::compute : Limit::memory;
}

}  // namespace

std::string_view name_of(Limit limit) {
  constexpr std::string_view names[] = {"compute", "memory", "overhead"};
  return names[static_cast<size_t>(limit)];
}

std::string_view name_of(Arithmetic arithmetic) {
  constexpr std::string_view names[arithmetics] = {"vectors", "pairs", "tiles"};
  return names[static_cast<size_t>(arithmetic)];
}

double Analysis::share(Limit limit) const {
  double sum = 0;
  for (const StepCost& s : steps)
    if (s.limit == limit) sum += s.ms;
  return ms > 0 ? sum / ms : 0;
}

Result<Analysis> analyze(const std::filesystem::path& library, const SoInfo& info, std::vector<RawTensor> inputs, const AnalyzeOptions& options,
                         Diagnostics& diagnostics) {
  const auto manifest = nlohmann::json::parse(info.manifest);
  auto model = SoModel::load(library, options.library, diagnostics);
  if (!model) return Failure{};
  const size_t steps = manifest.contains("plan") ? manifest["plan"].size() : 0;
  if (!steps || !model->measure(0)) {
    diagnostics.error("not-measurable", "`{}` does not tell what its steps take", library.string()).help("compile the model again with this Mica");
    return Failure{};
  }
  Analysis a;
  a.threads = model->threads();
  // Before and behind the runs: clocks rise, and other work comes and goes.
  const MachinePeak before = probe_machine(a.threads);
  if (!model->run(inputs, diagnostics)) return Failure{};
  using Clock = std::chrono::steady_clock;
  const auto run_for = [&](double seconds, auto&& behind_run) {
    int64_t runs = 0;
    for (const auto start = Clock::now(); runs < 2 || std::chrono::duration<double>(Clock::now() - start).count() < seconds; ++runs) {
      (void)model->run_bound();
      behind_run();
    }
    return runs;
  };
  run_for(std::min(0.2, options.seconds / 4), [] {});
  (void)model->measure(steps);
  std::vector<int64_t> least(steps, std::numeric_limits<int64_t>::max());
  std::vector<StepTime> last(steps);
  a.runs = run_for(options.seconds, [&] {
    const std::vector<StepTime>& now = model->step_times();
    for (size_t k = 0; k < steps; ++k) least[k] = std::min(least[k], now[k].nanoseconds - last[k].nanoseconds);
    last = now;
  });
  const MachinePeak behind = probe_machine(a.threads);
  a.peak.bytes = std::max(before.bytes, behind.bytes);
  for (size_t i = 0; i < arithmetics; ++i) a.peak.flops[i] = std::max(before.flops[i], behind.flops[i]);
  for (size_t k = 0; k < steps; ++k) {
    StepCost cost = describe_step(manifest, k);
    weigh(cost, model->step_times()[k], least[k], a.runs, a.peak);
    a.ms += cost.ms;
    a.mean_ms += cost.mean_ms;
    a.steps.push_back(std::move(cost));
  }
  std::ranges::stable_sort(a.steps, [](const StepCost& x, const StepCost& y) { return x.ms > y.ms; });
  return a;
}

}  // namespace mica
