#include "mica/driver/bench.h"

#include <signal.h>

#include <algorithm>
#include <cmath>

#include "mica/driver/file.h"
#include "mica/driver/tensor_file.h"
#include "worker.h"

namespace mica {

std::string_view name_of(ContenderKind kind) {
  constexpr std::string_view names[] = {"mica", "eager", "frozen"};
  return names[static_cast<int>(kind)];
}

double quantile(std::vector<double> values, double p) {
  if (values.empty()) return 0;
  std::sort(values.begin(), values.end());
  const double at = p * static_cast<double>(values.size() - 1);
  const auto below = static_cast<size_t>(at);
  const size_t above = std::min(below + 1, values.size() - 1);
  return values[below] + (at - static_cast<double>(below)) * (values[above] - values[below]);
}

Result<std::vector<ContenderResult>> run_bench(const BenchOptions& options, Diagnostics& diagnostics) {
  ::signal(SIGPIPE, SIG_IGN);  // a worker that died is found by its missing reply
  const auto say = [&](const std::string& text) {
    if (options.progress) options.progress(text);
  };
  TemporaryFolder folder;
  if (!folder.make(diagnostics)) return Failure{};
  const std::filesystem::path inputs = folder.path() / "inputs.npz";
  if (!write_npz(inputs, options.inputs, diagnostics)) return Failure{};
  nlohmann::json dtypes = nlohmann::json::array();
  for (const NamedTensor& t : options.inputs) dtypes.push_back(name_of(t.tensor.type.dtype));

  std::vector<Worker> workers(options.contenders.size());
  std::vector<ContenderResult> results(options.contenders.size());
  int threads = options.threads;
  for (size_t i = 0; i < workers.size(); ++i) {
    const Contender& c = options.contenders[i];
    results[i].name = name_of(c.kind);
    say(fmt::format("loading {}", results[i].name));
    const nlohmann::json request = {{"kind", static_cast<int>(c.kind)},
                                    {"file", std::filesystem::absolute(c.file).string()},
                                    {"inputs", inputs.string()},
                                    {"dtypes", dtypes},
                                    {"specs", options.input_specs},
                                    {"method", options.method},
                                    {"threads", threads},
                                    {"copy_weights", options.copy_weights}};
    if (!workers[i].start(results[i].name, request, diagnostics)) return Failure{};
    auto ready = workers[i].ask("", diagnostics);
    if (!ready) return Failure{};
    results[i].load_ms = (*ready)["load_ms"];
    results[i].first_run_ms = (*ready)["first_run_ms"];
    results[i].threads = (*ready)["threads"];
    if (!threads) threads = results[i].threads;
  }
  for (size_t i = 0; i < workers.size(); ++i) {
    say(fmt::format("warming {} up", results[i].name));
    // LibTorch's profiling executor optimises in its second and third run.
    if (!workers[i].ask(fmt::format("run {} 3", options.warmup), diagnostics)) return Failure{};
  }
  for (int round = 0; round < options.rounds; ++round) {
    for (size_t i = 0; i < workers.size(); ++i) {
      say(fmt::format("round {} of {}: {}", round + 1, options.rounds, results[i].name));
      auto timed = workers[i].ask(fmt::format("run {} 1", options.duration / options.rounds), diagnostics);
      if (!timed) return Failure{};
      const auto ms = (*timed)["ms"].get<std::vector<double>>();
      results[i].ms.insert(results[i].ms.end(), ms.begin(), ms.end());
      results[i].round_medians.push_back(quantile(ms, 0.5));
    }
  }
  for (size_t i = 0; i < workers.size(); ++i) {
    auto end = workers[i].ask("quit", diagnostics);
    if (!end) return Failure{};
    results[i].peak_bytes = (*end)["peak_bytes"];
  }
  return results;
}

}  // namespace mica
