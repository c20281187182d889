// mica analyze: where a compiled model's time goes, and what limits it.
#include <nlohmann/json.hpp>

#include "command.h"
#include "mica/driver/analyze.h"

namespace mica::cli {

namespace {

using nlohmann::ordered_json;

constexpr const char* usage = "mica analyze LIB.so";
constexpr const char* help = R"(mica analyze: says where a compiled model's time goes, and what limits it.

usage: mica analyze LIB.so [options]

Runs the library as it is and takes the least time of each step of its plan: what is above it the machine did for others. Beside a step's time stands what it computes and moves a second, and how much that is of
the roofline: the time that this machine's peaks, measured for 75 ms before and behind the runs, would allow for its arithmetic and its bytes. The peak is that of the kernel's kind: multiply-adds in fp32, bf16 in pairs (an
instruction of AVX512_BF16), bf16 in tiles (AMX).
  compute    arithmetic bounds the step: fewer or narrower operations would make it faster
  memory     bytes bound it: fusion, smaller weights, a narrower dtype
  overhead   calls of less than 20 us far from both peaks: their number counts
Work is counted for the typical size where sizes are symbols. Bytes are those of all buffers of a step, so what stays in a cache counts too.

  --top N              lines of the table (default 20; 0: all)
  --threads N          threads of a run (default: the CPUs that this process may use)
  --duration SECONDS   timed runs (default 2)
  --weights map|copy   weights where the file is mapped (default), or copied to huge pages
  --input NAME=@FILE   inputs as for `mica run`. Those not given are drawn
  --dim S=128          the size of a symbol, for inputs that are drawn (default: the greatest of its range)
  --seed N             seed of inputs that are drawn (default 0)
  --json               all steps, as JSON

examples:
  mica analyze libresnet50.so
  mica analyze libbert.so --dim S=128 --threads 1 --top 0
)";

struct Flags {
  std::string library, weights = "map";
  std::vector<std::string> inputs, dims;
  uint64_t seed = 0;
  int threads = 0, top = 20;
  double duration = 2;
  bool json = false;
};

void print_json(const Flags& f, const Analysis& a) {
  ordered_json j = {{"schema", 1},
                    {"library", f.library},
                    {"threads", a.threads},
                    {"runs", a.runs},
                    {"ms", a.ms},
                    {"mean_ms", a.mean_ms},
                    {"peak", {{"gflops", ordered_json::object()}, {"gbytes_per_s", a.peak.bytes / 1e9}}},
                    {"share", ordered_json::object()},
                    {"steps", ordered_json::array()}};
  for (size_t i = 0; i < arithmetics; ++i) j["peak"]["gflops"][std::string(name_of(static_cast<Arithmetic>(i)))] = a.peak.flops[i] / 1e9;
  for (const Limit limit : {Limit::compute, Limit::memory, Limit::overhead}) j["share"][std::string(name_of(limit))] = a.share(limit);
  for (const StepCost& s : a.steps)
    j["steps"].push_back({{"step", s.step},
                          {"kernel", s.kernel},
                          {"label", s.label},
                          {"arithmetic", name_of(s.arithmetic)},
                          {"ms", s.ms},
                          {"mean_ms", s.mean_ms},
                          {"calls", s.calls},
                          {"flops", s.flops},
                          {"bytes", s.bytes},
                          {"roofline_ms", s.roofline_ms},
                          {"limit", name_of(s.limit)}});
  fmt::print("{}\n", j.dump(2, ' ', false, ordered_json::error_handler_t::replace));
}

void print_table(const Flags& f, const Analysis& a) {
  double roofline = 0;
  for (const StepCost& s : a.steps) roofline += s.roofline_ms;
  std::string peaks = fmt::format("{:.0f} GFLOP/s in fp32", a.peak.of(Arithmetic::vectors) / 1e9);
  for (const Arithmetic kind : {Arithmetic::pairs, Arithmetic::tiles}) {
    const double flops = a.peak.flops[static_cast<size_t>(kind)];
    if (flops > 0) peaks += fmt::format(", {:.0f} in bf16 {}", flops / 1e9, name_of(kind));
  }
  fmt::print("{}: {:.3f} ms a run on {} thread{} (the steps' least times in {} runs; mean {:.3f}); this machine: {}, {:.1f} GB/s\n", f.library, a.ms,
             a.threads, a.threads == 1 ? "" : "s", a.runs, a.mean_ms, peaks, a.peak.bytes / 1e9);
  fmt::print("limits: compute {:.0f} % of the time, memory {:.0f} %, overhead {:.0f} %; {:.0f} % of the roofline\n\n", 100 * a.share(Limit::compute),
             100 * a.share(Limit::memory), 100 * a.share(Limit::overhead), a.ms > 0 ? 100 * roofline / a.ms : 0);
  std::vector<std::vector<std::string>> rows = {{"ms", "share", "calls", "GFLOP/s", "GB/s", "roofline", "limit", "step", "what"}};
  const size_t count = f.top ? std::min(static_cast<size_t>(f.top), a.steps.size()) : a.steps.size();
  for (size_t i = 0; i < count; ++i) {
    const StepCost& s = a.steps[i];
    const double seconds = s.ms * 1e-3;
    const auto rate = [&](double work, int digits) { return seconds > 0 && work > 0 ? fmt::format("{:.{}f}", work / seconds / 1e9, digits) : ""; };
    rows.push_back({fmt::format("{:.3f}", s.ms), fmt::format("{:.1f} %", a.ms > 0 ? 100 * s.ms / a.ms : 0), fmt::format("{:.0f}", s.calls),
                    rate(s.flops, 0), rate(s.bytes, 1), s.ms > 0 ? fmt::format("{:.0f} %", 100 * s.roofline_ms / s.ms) : "",
                    std::string(name_of(s.limit)), std::to_string(s.step), s.kernel == s.label ? s.kernel : s.kernel + "  " + s.label});
  }
  fmt::print("{}", format_table(rows, {0, 1, 2, 3, 4, 5, 7}));
  if (count < a.steps.size()) fmt::print("... and {} more steps (--top 0 lists all)\n", a.steps.size() - count);
}

int analyze_library(const Flags& f, Diagnostics& diagnostics) {
  if (!require(f.library, "the library", usage, diagnostics)) return 0;
  auto info = read_so_info(f.library, diagnostics);
  if (!info) return 0;
  auto sizes = choose_sizes(*info, f.dims, [](const Symbol& s) { return s.high; }, diagnostics);
  if (!sizes) return 0;
  auto inputs = collect_inputs(*info, {.given = f.inputs, .traced = {}, .seed = f.seed, .sizes = *sizes}, diagnostics);
  if (!inputs) return 0;
  const AnalyzeOptions options{.library = {.threads = f.threads, .copy_weights = f.weights == "copy"}, .seconds = f.duration};
  auto analysis = analyze(f.library, *info, std::move(inputs->tensors), options, diagnostics);
  if (!analysis) return 0;
  if (f.json) print_json(f, *analysis);
  else print_table(f, *analysis);
  return 0;
}

Action declare(CLI::App& app) {
  auto f = std::make_shared<Flags>();
  app.add_option("LIBRARY", f->library);
  app.add_option("--top", f->top)->check(CLI::Range(0, 1 << 20));
  app.add_option("--threads", f->threads)->check(CLI::Range(0, 1024));
  app.add_option("--duration", f->duration)->check(CLI::Range(0.01, 3600.0));
  app.add_option("--weights", f->weights)->check(CLI::IsMember({"map", "copy"}));
  add_repeated(app, "--input", f->inputs);
  add_repeated(app, "--dim", f->dims);
  app.add_option("--seed", f->seed);
  app.add_flag("--json", f->json);
  return [f](Diagnostics& diagnostics) { return analyze_library(*f, diagnostics); };
}

}  // namespace

const Command analyze_command = {"analyze", "where a compiled model's time goes, and what limits it", help, declare};

}  // namespace mica::cli
