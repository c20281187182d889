// The process of one contender. It loads its model, says how long that took, then runs on demand. Requests are lines on descriptor 3,
// replies lines of JSON on descriptor 4, so that whatever libraries print does not disturb them.
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <fstream>
#include <iostream>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>

#include "mica/driver/bench.h"
#include "mica/driver/so_model.h"

namespace mica {

namespace {

using Clock = std::chrono::steady_clock;
double ms_since(Clock::time_point start) { return std::chrono::duration<double, std::milli>(Clock::now() - start).count(); }

/// A field of /proc/self/status in bytes; 0 where there is none.
int64_t memory_status(const std::string& field) {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);)
    if (line.starts_with(field + ":")) return std::stoll(line.substr(field.size() + 1)) * 1024;
  return 0;
}

class Runner {
 public:
  /// Loads and runs once.
  Result<void> start(ContenderKind kind, const std::string& file, int threads, bool copy_weights, const LoadOptions& load,
                     std::vector<RawTensor> inputs, Diagnostics& diagnostics) {
    const auto begin = Clock::now();
    if (kind == ContenderKind::mica) {
      auto m = SoModel::load(file, {.threads = threads, .copy_weights = copy_weights}, diagnostics);
      if (!m) return Failure{};
      so_.emplace(std::move(*m));
      so_->bind(std::move(inputs));
    } else {
#if MICA_TORCH
      auto m = EagerModel::load(file, kind == ContenderKind::eager ? EagerMode::eager : EagerMode::frozen, threads, load, diagnostics);
      if (!m) return Failure{};
      eager_.emplace(std::move(*m));
      if (!eager_->set_inputs(inputs, diagnostics)) return Failure{};
#else
      (void)load;
      diagnostics.environment("no-libtorch", "this Mica was built without LibTorch, so there is no {} to compare with", name_of(kind));
      return Failure{};
#endif
    }
    load_ms = ms_since(begin);
    const auto first = Clock::now();
    if (so_) {
      if (const int status = so_->run_bound()) {
        diagnostics.error("run-failed", "the model refuses to run: {}", so_->last_error()).note(so_->status_name(status));
        return Failure{};
      }
    }
#if MICA_TORCH
    if (eager_ && !eager_->run(inputs, diagnostics)) return Failure{};
#endif
    first_run_ms = ms_since(first);
    threads_used = so_ ? so_->threads() : threads;
    return {};
  }
  double run_ms() {
#if MICA_TORCH
    if (eager_) return eager_->time_once() * 1000;
#endif
    const auto begin = Clock::now();
    failed |= so_->run_bound() != 0;
    return ms_since(begin);
  }
  /// Runs for so long, and at least so often: the least time of a run, and of each step of the plan in one.
  nlohmann::json step_minima(double seconds, int runs) {
    const auto manifest = nlohmann::json::parse(so_->manifest(), nullptr, false);
    const size_t count = manifest.contains("plan") ? manifest["plan"].size() : 0;
    std::vector<int64_t> least(count, std::numeric_limits<int64_t>::max());
    double ms = std::numeric_limits<double>::max();
    const auto begin = Clock::now();
    for (int i = 0; i < runs || ms_since(begin) < seconds * 1000; ++i) {
      failed |= count && !so_->measure(count);
      ms = std::min(ms, run_ms());
      for (size_t k = 0; k < count; ++k) least[k] = std::min(least[k], so_->step_times()[k].nanoseconds);
    }
    (void)so_->measure(0);
    return {{"ms", ms}, {"steps", least}};
  }
  double load_ms = 0, first_run_ms = 0;
  int threads_used = 0;
  bool failed = false;

 private:
  std::optional<SoModel> so_;
#if MICA_TORCH
  std::optional<EagerModel> eager_;
#endif
};

void reply(const nlohmann::json& j) {
  const std::string line = j.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
  for (size_t at = 0; at < line.size();) {
    const ssize_t n = ::write(4, line.data() + at, line.size() - at);
    if (n <= 0) _exit(1);
    at += static_cast<size_t>(n);
  }
}

bool read_line(std::string& line) {
  line.clear();
  for (char c; ::read(3, &c, 1) == 1; line += c)
    if (c == '\n') return true;
  return false;
}

int fail(const Diagnostics& diagnostics) {
  reply({{"error", diagnostics.to_string()}, {"exit", diagnostics.exit_code()}});
  return 1;
}

}  // namespace

int run_bench_worker(const std::vector<std::string>& arguments) {
  Diagnostics diagnostics;
  if (arguments.size() != 1) return 2;
  const auto request = nlohmann::json::parse(arguments[0], nullptr, false);
  if (!request.is_object()) return 2;
  auto tensors = read_npz(request.at("inputs").get<std::string>(), diagnostics);
  if (!tensors) return fail(diagnostics);
  std::vector<RawTensor> inputs;
  for (size_t i = 0; i < tensors->size(); ++i) {
    const auto dtype = parse_dtype(request.at("dtypes").at(i).get<std::string>());
    inputs.push_back(convert((*tensors)[i].tensor, dtype.value_or(DType::f32)));
  }
  LoadOptions load;
  load.method = request.at("method").get<std::string>();
#if MICA_TORCH
  for (const auto& text : request.at("specs")) {
    auto spec = parse_input_spec(text.get<std::string>(), diagnostics);
    if (!spec) return fail(diagnostics);
    load.inputs.push_back(std::move(*spec));
  }
#endif
  const int64_t before = memory_status("VmRSS");
  Runner runner;
  const auto kind = static_cast<ContenderKind>(request.at("kind").get<int>());
  if (!runner.start(kind, request.at("file").get<std::string>(), request.at("threads").get<int>(), request.at("copy_weights").get<bool>(), load,
                    std::move(inputs), diagnostics))
    return fail(diagnostics);
  reply({{"load_ms", runner.load_ms}, {"first_run_ms", runner.first_run_ms}, {"threads", runner.threads_used}});

  // "run SECONDS RUNS": that long and at least that often, after one run that brings the caches back; "steps SECONDS RUNS": likewise, what each step
  // of a library took; "quit".
  for (std::string line; read_line(line) && line != "quit";) {
    double seconds = 0;
    int runs = 0;
    const bool steps = kind == ContenderKind::mica && line.starts_with("steps");
    if (std::sscanf(line.c_str(), steps ? "steps %lf %d" : "run %lf %d", &seconds, &runs) != 2) return 2;
    runner.run_ms();
    std::vector<double> ms;
    nlohmann::json answer;
    const auto begin = Clock::now();
    if (steps) answer = runner.step_minima(seconds, runs);
    else {
      while (static_cast<int>(ms.size()) < runs || ms_since(begin) < seconds * 1000) ms.push_back(runner.run_ms());
      answer = {{"ms", ms}};
    }
    if (runner.failed) {
      diagnostics.error("run-failed", "the model refuses to run again on inputs that it ran on before");
      return fail(diagnostics);
    }
    reply(answer);
  }
  reply({{"peak_bytes", std::max<int64_t>(0, memory_status("VmHWM") - before)}});
  // LibTorch's own threads are not joined: leaving through exit handlers could wait for them.
  std::fflush(nullptr);
  _exit(0);
}

}  // namespace mica
