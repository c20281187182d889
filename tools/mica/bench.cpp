// mica bench: how fast is a compiled model, and how fast beside PyTorch?
#include "mica/driver/bench.h"

#include <sched.h>

#include <cmath>
#include <nlohmann/json.hpp>
#include <numeric>

#include "command.h"
#include "mica/driver/compile.h"
#include "mica/driver/file.h"
#include "mica/driver/so_info.h"

namespace mica::cli {

namespace {

constexpr const char* usage = "mica bench LIB.so [--vs MODEL.pt]";
constexpr const char* help = R"(mica bench: measures a compiled model, alone or beside PyTorch.

usage: mica bench LIB.so [--vs MODEL.pt] [options]

Each contender (mica; with --vs also eager = the TorchScript model as it is, frozen = torch.jit.freeze + optimize_for_inference) runs in a
process of its own. They take turns, round by round, on identical inputs, and whoever is not running is stopped. The speed-up is the ratio
of the medians; with it stands its spread over the rounds. Cold start: loading and first run in a fresh process, with the file
in the page cache. Memory: the most that the process held beyond what it had before it loaded the model.

  --vs MODEL.pt         the model to compare with
  --threads N           threads of each contender (default: the CPUs that this process may use)
  --duration SECONDS    timed runs, each contender (default 3)
  --warmup SECONDS      untimed runs before, each contender (default 0.5)
  --rounds N            turns that the duration is cut into (default 10)
  --weights map|copy    weights where the file is mapped (default), or copied to huge pages
  --input NAME=@FILE    inputs as for `mica run`. Those not given: the inputs that the model was traced with (--vs), else drawn
  --dim S=128           the size of a symbol, for inputs that are drawn (default: the greatest of its range)
  --seed N              seed of inputs that are drawn (default 0)
  --json                the result as JSON
  -q, --quiet           no progress

examples:
  mica bench libresnet50.so --vs resnet50.pt --threads 2
  mica bench libbert.so --duration 10 --json
)";

struct Flags {
  std::string library, model, weights = "map";
  std::vector<std::string> inputs, dims;
  uint64_t seed = 0;
  int threads = 0, rounds = 10;
  double duration = 3, warmup = 0.5;
  bool json = false, quiet = false;
};

struct Speedup {
  std::string over;
  double ratio = 0;                      ///< of the medians of all runs
  double median = 0, low = 0, high = 0;  ///< over the rounds, of the ratio of their medians
};

/// Of the first contender over each other one.
std::vector<Speedup> speedups(const std::vector<ContenderResult>& results) {
  std::vector<Speedup> all;
  for (size_t i = 1; i < results.size(); ++i) {
    std::vector<double> ratios;
    for (size_t r = 0; r < results[i].round_medians.size(); ++r) ratios.push_back(results[i].round_medians[r] / results[0].round_medians[r]);
    all.push_back({results[i].name, quantile(results[i].ms, 0.5) / quantile(results[0].ms, 0.5), quantile(ratios, 0.5), quantile(ratios, 0),
                   quantile(ratios, 1)});
  }
  return all;
}

double mean(const std::vector<double>& x) { return x.empty() ? 0 : std::accumulate(x.begin(), x.end(), 0.0) / static_cast<double>(x.size()); }

/// What makes the figures doubtful.
std::vector<std::string> doubts(const std::vector<ContenderResult>& results) {
  std::vector<std::string> all;
  for (const ContenderResult& r : results) {
    const double m = mean(r.round_medians);
    double variance = 0;
    for (double x : r.round_medians) variance += (x - m) * (x - m);
    const double spread = std::sqrt(variance / static_cast<double>(std::max<size_t>(r.round_medians.size(), 1))) / m;
    if (spread > 0.1) all.push_back(fmt::format("{} varied by {:.0f} % between rounds: other work on this machine?", r.name, 100 * spread));
  }
  cpu_set_t set;
  if (::sched_getaffinity(0, sizeof set, &set) == 0 && !results.empty() && results[0].threads > CPU_COUNT(&set))
    all.push_back(fmt::format("{} threads on {} CPUs", results[0].threads, CPU_COUNT(&set)));
  return all;
}

void print_json(const Flags& f, const SoInfo& info, const InputSet& inputs, const std::vector<ContenderResult>& results) {
  nlohmann::ordered_json j = {{"schema", 1},        {"library", f.library},  {"model", f.model}, {"threads", results[0].threads},
                              {"rounds", f.rounds}, {"duration", f.duration}};
  j["inputs"] = nlohmann::ordered_json::array(), j["contenders"] = nlohmann::ordered_json::array(), j["speedup"] = nlohmann::ordered_json::array();
  for (size_t i = 0; i < info.inputs.size(); ++i)
    j["inputs"].push_back({{"name", info.inputs[i].name}, {"type", inputs.tensors[i].type.to_string()}, {"from", inputs.origins[i]}});
  for (const ContenderResult& r : results) {
    j["contenders"].push_back(
        {{"name", r.name},
         {"ms", {{"min", quantile(r.ms, 0)}, {"median", quantile(r.ms, 0.5)}, {"p90", quantile(r.ms, 0.9)}, {"mean", mean(r.ms)}}},
         {"runs", r.ms.size()},
         {"throughput", 1000 / mean(r.ms)},
         {"cold_start_ms", {{"load", r.load_ms}, {"first_run", r.first_run_ms}}},
         {"peak_memory_bytes", r.peak_bytes},
         {"round_median_ms", r.round_medians}});
  }
  for (const Speedup& s : speedups(results))
    j["speedup"].push_back({{"over", s.over}, {"ratio", s.ratio}, {"median", s.median}, {"min", s.low}, {"max", s.high}});
  j["warnings"] = doubts(results);
  fmt::print("{}\n", j.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace));
}

void print_table(const Flags& f, const SoInfo& info, const InputSet& inputs, const std::vector<ContenderResult>& results) {
  std::vector<SoValue> shown;
  for (size_t i = 0; i < info.inputs.size(); ++i) shown.push_back({info.inputs[i].name, inputs.tensors[i].type});
  fmt::print("{}: {}; {} thread{}, {} rounds of {:.2g} s\n", info.name, signature_text(shown), results[0].threads, results[0].threads == 1 ? "" : "s",
             f.rounds, f.duration / f.rounds);
  for (size_t i = 0; i < info.inputs.size(); ++i)
    if (inputs.origins[i].starts_with("drawn")) fmt::print("  input {} is {}\n", info.inputs[i].name, inputs.origins[i]);
  std::vector<std::vector<std::string>> rows = {{"", "median", "p90", "min", "runs/s", "load", "first run", "memory"}};
  const auto ms = [](double x) { return fmt::format("{:.{}f} ms", x, x < 10 ? 3 : x < 100 ? 2 : 1); };
  for (const ContenderResult& r : results)
    rows.push_back({r.name, ms(quantile(r.ms, 0.5)), ms(quantile(r.ms, 0.9)), ms(quantile(r.ms, 0)), fmt::format("{:.1f}", 1000 / mean(r.ms)),
                    ms(r.load_ms), ms(r.first_run_ms), format_bytes(static_cast<double>(r.peak_bytes))});
  fmt::print("{}", format_table(rows, {1, 2, 3, 4, 5, 6, 7}));
  for (const Speedup& s : speedups(results))
    fmt::print("speed-up over {}: {:.2f}x (rounds: {:.2f} to {:.2f}, median {:.2f})\n", s.over, s.ratio, s.low, s.high, s.median);
  for (const std::string& doubt : doubts(results)) fmt::print(stderr, "warning: {}\n", doubt);
}

int bench(const Flags& f, Diagnostics& diagnostics) {
  if (!require(f.library, "the library", usage, diagnostics)) return 0;
  auto info = read_so_info(f.library, diagnostics);
  if (!info || (!f.model.empty() && !check_readable(f.model, "model", diagnostics))) return 0;
  Progress progress(!f.quiet);
  auto sizes = choose_sizes(*info, f.dims, [](const Symbol& s) { return s.high; }, diagnostics);
  if (!sizes) return 0;
  InputSource source{.given = f.inputs, .traced = {}, .seed = f.seed, .sizes = *sizes};
  BenchOptions options;
  options.contenders.push_back({ContenderKind::mica, f.library});
#if MICA_TORCH
  if (!f.model.empty()) {
    options.contenders.push_back({ContenderKind::eager, f.model});
    options.contenders.push_back({ContenderKind::frozen, f.model});
    if (f.inputs.size() < info->inputs.size() && info->symbols.empty()) {
      progress.show("reading the model");
      LoadOptions load;
      load.method = info->method;
      for (const std::string& text : info->input_specs)
        if (auto spec = parse_input_spec(text, diagnostics)) load.inputs.push_back(std::move(*spec));
      for (const std::string& text : info->state_specs)
        if (auto spec = parse_state_spec(text, diagnostics)) load.states.push_back(std::move(*spec));
      auto model = load_model(f.model, load, diagnostics);
      if (!model) return 0;
      source.traced = std::move(model->traced_inputs);
    }
  }
#endif
  auto inputs = collect_inputs(*info, source, diagnostics);
  if (!inputs) return 0;
  for (size_t i = 0; i < info->inputs.size(); ++i) options.inputs.push_back({fmt::format("{}", i), inputs->tensors[i]});
  options.input_specs = info->input_specs;
  options.method = info->method;
  options.threads = f.threads, options.rounds = f.rounds, options.duration = f.duration, options.warmup = f.warmup;
  options.copy_weights = f.weights == "copy";
  options.progress = [&](const std::string& text) { progress.show(text); };
  auto results = run_bench(options, diagnostics);
  progress.clear();
  if (!results) return 0;
  if (f.json) print_json(f, *info, *inputs, *results);
  else print_table(f, *info, *inputs, *results);
  return 0;
}

Action declare(CLI::App& app) {
  auto f = std::make_shared<Flags>();
  app.add_option("LIBRARY", f->library);
  app.add_option("--vs", f->model);
  add_repeated(app, "--input", f->inputs);
  add_repeated(app, "--dim", f->dims);
  app.add_option("--seed", f->seed);
  app.add_option("--threads", f->threads)->check(CLI::Range(0, 1024));
  app.add_option("--duration", f->duration)->check(CLI::Range(0.001, 86400.0));
  app.add_option("--warmup", f->warmup)->check(CLI::Range(0.0, 86400.0));
  app.add_option("--rounds", f->rounds)->check(CLI::Range(1, 100000));
  app.add_option("--weights", f->weights)->check(CLI::IsMember({"map", "copy"}));
  app.add_flag("--json", f->json);
  app.add_flag("-q,--quiet", f->quiet);
  return [f](Diagnostics& diagnostics) { return bench(*f, diagnostics); };
}

}  // namespace

const Command bench_command = {"bench", "measures a compiled model, alone or beside PyTorch", help, declare};

}  // namespace mica::cli
