// mica compile: a model in, a shared library (or any stage before it) out.
#include "mica/driver/compile.h"

#include <unistd.h>

#include <nlohmann/json.hpp>

#include "command.h"
#include "mica/driver/file.h"

namespace mica::cli {

namespace {

constexpr const char* usage = "mica compile MODEL.pt -o LIB.so [options]";
constexpr const char* help = R"(mica compile: compiles a TorchScript model into a shared library that needs nothing but libc.

usage: mica compile MODEL.pt -o LIB.so [options]

MODEL.pt is what torch.jit.trace(...).save or torch.jit.script(...).save wrote; a graph in text form (.mica) is taken as well.

inputs
  --input [NAME:]SHAPE[:DTYPE]  shape of an input: x:1x3x224x224:f32, 1x128:i64, x:scalar:f32; one flag an input. Without a name the
                                position counts. Without the flag: the shapes that the model was traced with
                                A size may be a symbol of capitals: ids:BxS:i64. One library serves its whole range:
  --dim SYMBOL=LOW..HIGH        range of a symbol; the same symbol in two inputs is the same size. Two --input of one name with numbers are
                                samples: where they differ, the size varies from one to the other
  --input NAME=NUMBER           value of a Python number that the model takes, as in sr=16000
  --method NAME                 method to compile (default: forward)
  --state NAME:SHAPE            the most that an attribute can become whose size differs from run to run: cache:1x256x64
target
  --cpu NAME                    native (default), x86-64-v2, x86-64-v3, x86-64-v4, or a CPU's name as LLVM spells it
  --cpu-features +A,-B          adds features to the CPU's and takes others away
  --precision f32|bf16          what to compute in (default: f32); inputs and outputs keep the model's dtypes. bf16: contractions multiply
                                bf16 and add up in f32, what lies between ops in memory is bf16. On a CPU without
                                instructions for that only weights are rounded to bf16 and held so
  --winograd auto|off           3x3 convolutions with a quarter of the products, where that is faster (default: auto). They round a few
                                times as much: such a library is verified with k = 8, one with `off` as any other
tuning
  --tune                        measures other forms of the kernels (tiles, orders, splits, Winograd or direct) in the whole model on this machine,
                                and takes those that are faster. What it finds is kept, and measured once
  --tune-cache FILE             where it is kept (default: $XDG_CACHE_HOME/mica/tune.jsonl, else ~/.cache/mica/tune.jsonl). Without --tune:
                                takes what the file knows of the model's kernels and measures nothing; the same library to the byte
  --tune-seconds N              after which no measurement begins (default: 60)
  --tune-threads N              threads of the runs that are measured (default: the CPUs that this process may use)
output
  -o, --output FILE             what to write (default: lib<MODEL>.so, or stdout for text)
  --emit KIND                   stop early and write that: graph, opt, kernel, scheduled, llvm, asm, obj; so (default)
  --bindings                    also write MODEL.h (typed), mica.h, and pkg-config and CMake files beside the library
  --json                        a report on stdout, as JSON
  -q, --quiet                   no summary, no progress
  -v, --verbose                 tell more
for developers of Mica
  --print-after PASS            print the graph after a pass (repeatable; `all`)
  --disable-pass PASS           leave a pass out (repeatable)
  --verify-each                 check the graph after every pass
  --no-schedules                the generic road for every op, no schedules
  --time-passes                 print how long each phase and pass took
  --jobs N                      threads that generate code (default: one a CPU)

examples:
  mica compile resnet50.pt -o libresnet50.so
  mica compile resnet50.pt -o libresnet50.so --input x:8x3x224x224 --cpu x86-64-v3
  mica compile bert.pt -o libbert.so --input ids:BxS:i64 --input mask:BxS:i64 --dim B=1..8 --dim S=16..512
  mica compile resnet50.pt -o libresnet50.so --tune
  mica compile bert.pt --emit opt -o bert.mica        the graph after all passes; bert.mica.weights beside it
  mica compile bert.pt --emit asm | less
)";

struct Flags {
  std::string model, output, method = "forward", cpu = "native", cpu_features, precision = "f32", emit = "so", winograd = "auto";
  std::vector<std::string> inputs, dims, states, print_after, disabled;
  std::string debug_defect, debug_memory;  // not in the help: libraries for tests, wrong ones and ones that guard their memory
  bool json = false, quiet = false, bindings = false, time_passes = false, verify_each = false, no_schedules = false;
  int verbose = 0, jobs = 0;
  std::string tune_cache;
  bool tune = false;
  double tune_seconds = 60;
  int tune_threads = 0;
};

Result<Options> make_options(const Flags& f, Diagnostics& diagnostics) {
  Options o;
  o.model = f.model;
  o.load.method = f.method;
  o.cpu = f.cpu, o.cpu_features = f.cpu_features, o.precision = f.precision;
  o.verify_each = f.verify_each, o.bindings = f.bindings, o.schedules = !f.no_schedules, o.jobs = f.jobs;
  o.tune = f.tune, o.tune_cache = f.tune_cache, o.tune_seconds = f.tune_seconds, o.tune_threads = f.tune_threads;
  o.disabled_passes = split_list(f.disabled);
  o.print_after = split_list(f.print_after);
  for (std::string& name : o.print_after)
    if (name == "all") name = "*";
  if (const auto kind = parse_emit_kind(f.emit)) {
    o.emit = *kind;
  } else {
    auto& d = diagnostics.error("unknown-emit", "--emit {}: there is nothing of that name to emit", f.emit);
    const std::vector<std::string> kinds = {"graph", "opt", "kernel", "scheduled", "llvm", "asm", "obj", "so"};
    if (const std::string near = nearest_spelling(f.emit, kinds); !near.empty()) d.help(fmt::format("did you mean `{}`?", near));
    d.help("one of graph, opt, kernel, scheduled, llvm, asm, obj, so");
  }
  if (f.winograd == "off") o.winograd = WinogradUse::off;
  else if (f.winograd == "always") o.winograd = WinogradUse::always;  // for tests
  else if (f.winograd != "auto") diagnostics.error("unknown-winograd", "--winograd {}: it is auto or off", f.winograd);
  if (f.debug_memory == "behind") o.debug_memory = DebugMemory::behind;
  else if (f.debug_memory == "before") o.debug_memory = DebugMemory::before;
  else if (!f.debug_memory.empty()) diagnostics.error("debug-memory", "--debug-memory {}: it is behind or before", f.debug_memory);
  if (!f.debug_defect.empty()) {
    if (const auto found = find_defect(f.debug_defect)) o.debug_defect = *found;
    else diagnostics.error("unknown-defect", "--debug-defect {}: there is no seeded defect of that name or number", f.debug_defect);
  }
  o.output = f.output == "-" ? "" : f.output;
  if (o.output.empty() && o.emit == EmitKind::so) o.output = "lib" + o.model.stem().string() + ".so";
  if (o.output.empty() && o.emit == EmitKind::object) o.output = o.model.stem().string() + ".o";
  if (o.output.extension() == ".pt")
    diagnostics.error("output-is-model", "the output `{}` has the name of a model", f.output).help("write -o lib" + o.output.stem().string() + ".so");
#if MICA_TORCH
  for (const std::string& text : f.inputs) {
    auto spec = parse_input_spec(text, diagnostics);
    if (spec) o.load.inputs.push_back(std::move(*spec));
  }
  for (const std::string& text : f.dims) {
    auto symbol = parse_dim_spec(text, diagnostics);
    if (symbol) o.load.symbols.push_back(std::move(*symbol));
  }
  for (const std::string& text : f.states) {
    auto spec = parse_state_spec(text, diagnostics);
    if (spec) o.load.states.push_back(std::move(*spec));
  }
  if (!diagnostics.has_errors()) (void)resolve_symbols(o.load, diagnostics);
#endif
  if (diagnostics.has_errors()) return Failure{};
  return o;
}

std::string in_words(std::string_view phase) {
  if (phase == "load") return "reading the model";
  if (phase == "optimise") return "optimising the graph";
  if (phase == "tune") return "tuning";
  if (phase == "lower") return "making kernels";
  if (phase == "codegen") return "generating machine code";
  return "linking";
}

double total_seconds(const CompileReport& r) {
  double total = 0;
  for (const auto& [name, seconds] : r.timings)
    if (name.find('/') == std::string::npos) total += seconds;
  return total;
}

void print_json(const Options& o, const CompileReport& r) {
  nlohmann::ordered_json j = {{"schema", 1}, {"model", o.model.string()}, {"output", o.output.string()}, {"emit", name_of(o.emit)}};
  j["target"] = {{"triple", r.target.triple}, {"cpu", r.target.cpu}, {"features", r.target.features}};
  for (const auto& [key, values] : {std::pair{"inputs", &r.inputs}, {"outputs", &r.outputs}}) {
    j[key] = nlohmann::ordered_json::array();
    for (const auto& [name, type] : *values) j[key].push_back({{"name", name}, {"type", type}});
  }
  j["nodes"] = r.nodes, j["kernels"] = r.kernels, j["steps"] = r.steps;
  j["bytes"] = {{"library", r.so_bytes},
                {"weights", r.weights_bytes},
                {"prepared", r.prepared_bytes},
                {"workspace", r.arena_bytes},
                {"workspace_lower_bound", r.arena_lower_bound}};
  if (!r.tune_cache.empty()) {
    j["tune"] = {{"cache", r.tune_cache.string()}, {"kernels", r.forms.asked}, {"measured", r.forms.answered}, {"changed", r.forms.changed}};
    if (o.tune) {
      const TuneReport& t = r.tune;
      j["tune"].update({{"known", t.known}, {"trials", t.trials}, {"lost", t.lost}, {"untried", t.untried}, {"seconds", t.seconds}});
      if (t.first_ms > 0) j["tune"].update({{"first_ms", t.first_ms}, {"tuned_ms", t.tuned_ms}, {"undone", t.undone}});
    }
  }
  j["spills"] = r.spills;
  j["seconds"] = nlohmann::ordered_json::object();
  j["seconds"]["total"] = total_seconds(r);
  for (const auto& [name, seconds] : r.timings) j["seconds"][name] = j["seconds"].value(name, 0.0) + seconds;
  fmt::print("{}\n", j.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace));
}

void print_timings(const CompileReport& r) {
  std::vector<std::vector<std::string>> rows;
  const double total = total_seconds(r);
  for (const auto& [name, seconds] : r.timings) {
    const size_t slash = name.find('/');
    rows.push_back({slash == std::string::npos ? name : "  " + name.substr(slash + 1), fmt::format("{:.3f} s", seconds),
                    fmt::format("{:.1f} %", 100 * seconds / std::max(total, 1e-9))});
  }
  rows.push_back({"total", fmt::format("{:.3f} s", total), ""});
  fmt::print(stderr, "{}", format_table(rows, {1, 2}));
}

/// What was tried, what won, and what the whole model gains.
void print_tuning(const Options& o, const CompileReport& r) {
  const TuneReport& t = r.tune;
  std::string text;
  if (!o.tune || t.trials == 0) {
    text = fmt::format("nothing was measured; `{}` knows {} of {} kernels", r.tune_cache.string(), r.forms.answered, r.forms.asked);
  } else {
    text = fmt::format("{} kernels, of which {} were known; {} trials in {:.0f} s", t.kernels, t.known, t.trials, t.seconds);
    if (t.lost) text += fmt::format(", {} candidates failed", t.lost);
    if (t.untried) text += fmt::format(", {} candidates not tried (--tune-seconds)", t.untried);
    if (t.undone) text += "; the whole model was not faster with what won, so its kernels stay as they were";
    else if (t.first_ms > 0) text += fmt::format("; {:.3f} -> {:.3f} ms a run ({:.3f})", t.first_ms, t.tuned_ms, t.tuned_ms / t.first_ms);
    else text += "; no candidate was faster";
  }
  fmt::print(stderr, "  tuned {}; {} kernels are in another form than the first\n", text, r.forms.changed);
}

void print_summary(const Flags& f, const Options& o, const CompileReport& r) {
  const std::string cpu = f.cpu == "native" ? fmt::format("the native CPU ({})", r.target.cpu) : r.target.cpu;
  const auto list = [](const auto& values) {
    std::string text;
    for (const auto& [name, type] : values) text += fmt::format("{}{}: {}", text.empty() ? "" : ", ", name, type);
    return text;
  };
  fmt::print(stderr, "{}: {}, {} kernels, {} workspace, for {}, in {:.1f} s\n", o.output.string(), format_bytes(static_cast<double>(r.so_bytes)),
             r.kernels, format_bytes(static_cast<double>(r.arena_bytes)), cpu, total_seconds(r));
  fmt::print(stderr, "  in  {}\n  out {}\n", list(r.inputs), list(r.outputs));
  if (!r.tune_cache.empty()) print_tuning(o, r);
  if (f.verbose == 0) return;
  fmt::print(stderr, "  weights {}, workspace {} (at least {} are alive at once), {} steps\n", format_bytes(static_cast<double>(r.weights_bytes)),
             format_bytes(static_cast<double>(r.arena_bytes)), format_bytes(static_cast<double>(r.arena_lower_bound)), r.steps);
  std::string features;
  for (const std::string& name : r.target.features) features += " " + name;
  fmt::print(stderr, "  {}:{}\n", r.target.triple, features);
  for (const std::string& spill : r.spills) fmt::print(stderr, "  spills: {}\n", spill);
}

int compile_model(const Flags& f, Diagnostics& diagnostics) {
  if (!require(f.model, "the model", usage, diagnostics)) return 0;
  auto options = make_options(f, diagnostics);
  if (!options) return 0;
  Progress progress(!f.quiet);
  options->progress = [&](std::string_view phase) { progress.show(fmt::format("{}: {}", options->model.filename().string(), in_words(phase))); };
  options->tune_progress = [&](const std::string& text) { progress.show(fmt::format("{}: tuning: {}", options->model.filename().string(), text)); };
  auto report = compile(*options, diagnostics);
  progress.clear();
  if (!report) return 0;
  if (f.json) print_json(*options, *report);
  else if (options->output.empty()) fmt::print("{}", report->text);
  if (f.time_passes) print_timings(*report);
  if (!f.quiet && !f.json && options->emit == EmitKind::so) print_summary(f, *options, *report);
  return 0;
}

Action declare(CLI::App& app) {
  auto f = std::make_shared<Flags>();
  app.add_option("MODEL", f->model);
  app.add_option("-o,--output", f->output);
  add_repeated(app, "--input", f->inputs);
  add_repeated(app, "--dim", f->dims);
  add_repeated(app, "--state", f->states);
  app.add_option("--method", f->method);
  app.add_option("--cpu", f->cpu);
  app.add_option("--cpu-features", f->cpu_features);
  app.add_option("--precision", f->precision);
  app.add_option("--winograd", f->winograd);
  app.add_option("--emit", f->emit);
  add_repeated(app, "--print-after", f->print_after);
  add_repeated(app, "--disable-pass", f->disabled);
  app.add_flag("--verify-each", f->verify_each);
  app.add_flag("--no-schedules", f->no_schedules);
  app.add_flag("--time-passes", f->time_passes);
  app.add_flag("--tune", f->tune);
  app.add_option("--tune-cache", f->tune_cache);
  app.add_option("--tune-seconds", f->tune_seconds)->check(CLI::Range(0.0, 1e6));
  app.add_option("--tune-threads", f->tune_threads)->check(CLI::Range(0, 1024));
  app.add_option("--debug-defect", f->debug_defect);
  app.add_option("--debug-memory", f->debug_memory);
  app.add_option("--jobs", f->jobs)->check(CLI::Range(0, 1024));
  app.add_flag("--bindings", f->bindings);
  app.add_flag("--json", f->json);
  app.add_flag("-q,--quiet", f->quiet);
  app.add_flag("-v,--verbose", f->verbose);
  return [f](Diagnostics& diagnostics) { return compile_model(*f, diagnostics); };
}

}  // namespace

const Command compile_command = {"compile", "a TorchScript model into a shared library", help, declare};

}  // namespace mica::cli
