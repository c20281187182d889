// The way through the house: every arrow of the picture in docs/tour.md is one call in compile().
//
//   load_model         .pt    => Graph     ops on tensors, shapes known
//   run_graph_pipeline Graph  => Graph     simplified, fused, laid out
//   lower_to_program   Graph  => Program   kernels (loops over buffers), and where every tensor lives
//   expand_math        Program => Program  exp, tanh, erf ... as arithmetic
//   generate_code      Program => objects  machine code for one target
//   link_shared_object objects => .so
#include "mica/driver/compile.h"

#include <algorithm>
#include <array>
#include <chrono>

#include "make_library.h"
#include "mica/artifact/bindings.h"
#include "mica/codegen/link.h"
#include "mica/codegen/llvm.h"
#include "mica/driver/file.h"
#include "mica/ir/text.h"
#include "mica/ir/verify.h"
#include "mica/kernel/verify.h"
#include "mica/pass/lower.h"
#include "mica/pass/pipeline.h"
#include "passes/kernel/expand_math.h"

namespace mica {

namespace {

constexpr std::array<std::string_view, 8> emit_names = {"graph", "opt", "kernel", "scheduled", "llvm", "asm", "obj", "so"};

/// Says which phase begins, and keeps how long the one before took.
class Phases {
 public:
  Phases(const Options& options, CompileReport& report) : options_(options), report_(report) {}
  void begin(std::string_view name) {
    end();
    name_ = name;
    start_ = std::chrono::steady_clock::now();
    if (options_.progress) options_.progress(name);
  }
  void end() {
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start_;
    if (!name_.empty()) report_.timings.emplace_back(name_, took.count());
    name_.clear();
  }

 private:
  const Options& options_;
  CompileReport& report_;
  std::string name_;
  std::chrono::steady_clock::time_point start_;
};

PipelineOptions pipeline_options(const Options& options, CompileReport& report) {
  PipelineOptions p;
  p.disabled = options.disabled_passes;
  p.print_after = options.print_after;
  p.verify_each = options.verify_each;
  p.timing = [&report](std::string_view pass, double seconds) { report.timings.emplace_back(fmt::format("optimise/{}", pass), seconds); };
  return p;
}

/// What can be refused before any long work.
Result<Target> check_options(const Options& options, const PipelineOptions& pipeline, Diagnostics& diagnostics) {
  const size_t errors = diagnostics.error_count();
  if (options.precision != full_precision && !find_precision(options.precision)) {
    constexpr std::array<std::string_view, 6> planned = {"f16", "tf32", "int8", "int8w", "int4w", "fp8"};
    if (std::find(planned.begin(), planned.end(), options.precision) != planned.end())
      diagnostics.unsupported("precision-not-built", "--precision {} is not built yet", options.precision)
          .help("this Mica builds: " + built_precisions());
    else diagnostics.error("unknown-precision", "there is no precision `{}`", options.precision).help("this Mica builds: " + built_precisions());
  }
  (void)check_pass_names(pipeline, diagnostics);
  if (!options.output.empty()) (void)PendingFile::create(options.output, diagnostics);
  if (options.tune && options.emit != EmitKind::so)
    diagnostics.error("tune-emit", "--tune measures libraries, and there is none with --emit {}", name_of(options.emit))
        .help("--tune-cache FILE without --tune makes the kernels that an earlier --tune found");
  auto target = make_target(options.cpu, options.cpu_features, diagnostics);
  if (target && options.tune) check_runs_here(*target, diagnostics);
  if (!target || diagnostics.error_count() != errors) return Failure{};
  return target;
}

void describe_signature(const Graph& graph, CompileReport& report) {
  report.nodes = graph.nodes.size();
  for (Value v : graph.inputs) report.inputs.emplace_back(graph.values[v.id].name, graph.type(v).to_string());
  for (size_t i = 0; i < graph.outputs.size(); ++i)
    report.outputs.emplace_back(i < graph.output_names.size() ? graph.output_names[i] : "", graph.type(graph.outputs[i]).to_string());
}

void describe_program(const Program& program, CompileReport& report) {
  report.kernels = program.kernels.size();
  for_calls(program.steps, [&](const Step&) { ++report.steps; });
  report.weights_bytes = program.weights_bytes;
  report.prepared_bytes = program.prepared_bytes;
  report.arena_bytes = program.arena_bytes;
  report.arena_lower_bound = program.arena_lower_bound;
}

/// Text into the output file, or into the report when there is none.
Result<void> deliver(const Options& options, std::string text, CompileReport& report, Diagnostics& diagnostics) {
  if (options.output.empty()) {
    report.text = std::move(text);
    return {};
  }
  auto file = PendingFile::create(options.output, diagnostics);
  if (!file || !file->write(text, diagnostics)) return Failure{};
  return file->commit(diagnostics);
}

/// One object a file: model.o, then model.1.o, model.2.o ... where the program was cut into several.
Result<void> deliver_objects(const Options& options, const std::vector<std::string>& objects, Diagnostics& diagnostics) {
  for (size_t i = 0; i < objects.size(); ++i) {
    std::filesystem::path name = options.output;
    if (i) name.replace_extension(fmt::format(".{}{}", i, options.output.extension().string()));
    auto file = PendingFile::create(name, diagnostics);
    if (!file || !file->write(objects[i], diagnostics) || !file->commit(diagnostics)) return Failure{};
  }
  if (objects.size() > 1)
    diagnostics.note("several-objects", "the code is in {} objects, `{}` is the first", objects.size(), options.output.string());
  return {};
}

Result<void> deliver_graph(const Options& options, const Graph& graph, CompileReport& report, Diagnostics& diagnostics) {
  if (!options.output.empty()) return write_graph(graph, options.output, diagnostics);
  report.text = to_string(graph);
  return {};
}

/// Kernels as codegen takes them (or before expand_math, where they are to be shown). `target` loses features that no kernel uses.
Result<Program> make_program(const Options& options, const Graph& graph, Target& target, Chooser& chooser, Diagnostics& diagnostics) {
  auto program = lower_to_program(graph, target,
                                  {.schedules = options.schedules,
                                   .precision = find_precision(options.precision),
                                   .winograd = options.winograd,
                                   .debug_memory = options.debug_memory,
                                   .chooser = &chooser},
                                  diagnostics);
  if (!program) return Failure{};
  if (std::ranges::all_of(program->kernels, [](const Kernel& k) { return k.tiles.empty(); })) target.drop_tiles();
  if (options.emit != EmitKind::kernel) expand_math(*program, target);
  if (options.verify_each) {
    Diagnostics found;
    MICA_CHECK(bool(verify_program(*program, found)), found.to_string());
  }
  return program;
}

#if MICA_LLVM
/// A library to be measured.
Result<TuneBuild> build_to_measure(const Options& options, const Graph& graph, Target target, const Answers& answers,
                                   const std::filesystem::path& library, Diagnostics& diagnostics) {
  Chooser chooser(answers);
  const auto program = make_program(options, graph, target, chooser, diagnostics);
  if (!program) return Failure{};
  auto code = generate_code(*program, target, {.jobs = options.jobs}, diagnostics);
  if (!code) return Failure{};
  const artifact::Image image = make_image({options, graph, *program, target, {}, chooser}, std::move(code->objects));
  if (!link_shared_object(image, library, diagnostics)) return Failure{};
  TuneBuild build{chooser.subjects(), {}};
  for_calls(program->steps, [&](const Step& s) { build.plan.push_back(s.subject); });
  return build;
}
#else
Result<TuneBuild> build_to_measure(const Options&, const Graph&, const Target&, const Answers&, const std::filesystem::path&, Diagnostics&) {
  return Failure{};  // compile() tells why
}
#endif

/// Reads what is known of the model's kernels, measures the others if it is to, and answers with that.
Result<void> choose_forms(const Options& options, const Graph& graph, const Target& target, Phases& phases, Chooser& chooser, CompileReport& report,
                          Diagnostics& diagnostics) {
  if (!options.tune && options.tune_cache.empty()) return {};
  phases.begin("tune");
  std::filesystem::path file = options.tune_cache;
  if (file.empty()) {
    auto found = default_tune_cache(diagnostics);
    if (!found) return Failure{};
    file = *found;
  }
  TuneTask task;
  task.threads = options.tune_threads ? options.tune_threads : allowed_cpus();
  task.seconds = options.tune_seconds;
  task.progress = options.tune_progress;
  const std::string where = tune_where(target, options.winograd, task.threads);
  auto known = read_tune_cache(file, where, !options.tune, diagnostics);
  if (!known) return Failure{};
  Answers answers = known->answers();
  if (options.tune) {
    task.known = std::move(*known);
    task.build = [&](const Answers& a, const std::filesystem::path& library, Diagnostics& d) {
      return build_to_measure(options, graph, target, a, library, d);
    };
    const auto entries = tune(task, report.tune, diagnostics);
    if (!entries || !append_tune_cache(file, where, *entries, diagnostics)) return Failure{};
    for (const TuneEntry& e : *entries) answers[e.kernel] = e.choices;
  }
  chooser = Chooser(std::move(answers));
  report.tune_cache = file;
  return {};
}

}  // namespace

std::string_view name_of(EmitKind kind) { return emit_names[static_cast<size_t>(kind)]; }
std::optional<EmitKind> parse_emit_kind(std::string_view text) {
  const auto* found = std::find(emit_names.begin(), emit_names.end(), text);
  if (found == emit_names.end()) return std::nullopt;
  return static_cast<EmitKind>(found - emit_names.begin());
}
std::string built_precisions() {
  std::string list(full_precision);
  for (const NamedPrecision& p : lower_precisions) list += ", " + std::string(p.name);
  return list;
}

Result<LoadedModel> load_model(const std::filesystem::path& file, const LoadOptions& options, Diagnostics& diagnostics) {
  if (!check_readable(file, "model", diagnostics)) return Failure{};
  if (file.extension() == ".mica") {
    auto graph = read_graph(file, diagnostics);
    if (!graph || !verify(*graph, diagnostics)) return Failure{};
    return LoadedModel{std::move(*graph), {}};
  }
#if MICA_TORCH
  return load_torchscript(file, options, diagnostics);
#else
  (void)options;
  diagnostics.environment("no-libtorch", "this Mica was built without LibTorch and cannot read `{}`", file.string())
      .help("build it with -DMICA_TORCH=ON, or give a graph in text form (.mica)");
  return Failure{};
#endif
}

Result<CompileReport> compile(const Options& options, Diagnostics& diagnostics) {
  const DefectScope scope(options.debug_defect);
  CompileReport report;
  Phases phases(options, report);
  const PipelineOptions pipeline = pipeline_options(options, report);
  auto target = check_options(options, pipeline, diagnostics);
  if (!target) return Failure{};
  report.target = *target;

  phases.begin("load");
  auto model = load_model(options.model, options.load, diagnostics);
  if (!model) return Failure{};
  Graph& graph = model->graph;
  describe_signature(graph, report);
  if (options.emit == EmitKind::graph) {
    if (!deliver_graph(options, graph, report, diagnostics)) return Failure{};
    return report;
  }

  phases.begin("optimise");
  PassContext context{.target = &*target, .diagnostics = &diagnostics, .precision = find_precision(options.precision)};
  if (!run_graph_pipeline(graph, context, pipeline)) return Failure{};
  if (options.emit == EmitKind::opt) {
    if (!deliver_graph(options, graph, report, diagnostics)) return Failure{};
    return report;
  }

  Chooser chooser;
  if (!choose_forms(options, graph, *target, phases, chooser, report, diagnostics)) return Failure{};

  phases.begin("lower");
  auto program = make_program(options, graph, *target, chooser, diagnostics);
  if (!program) return Failure{};
  report.target = *target;
  report.forms = chooser.count();
  describe_program(*program, report);
  if (options.emit == EmitKind::kernel || options.emit == EmitKind::scheduled) {
    if (!deliver(options, to_string(*program), report, diagnostics)) return Failure{};
    return report;
  }

#if MICA_LLVM
  phases.begin("codegen");
  auto code =
      generate_code(*program, *target,
                    {.emit_llvm = options.emit == EmitKind::llvm, .emit_asm = options.emit == EmitKind::assembly, .jobs = options.jobs}, diagnostics);
  if (!code) return Failure{};
  report.spills = code->spills;
  if (options.emit == EmitKind::object) {
    if (!deliver_objects(options, code->objects, diagnostics)) return Failure{};
    return report;
  }
  if (options.emit != EmitKind::so) {
    if (!deliver(options, std::move(options.emit == EmitKind::llvm ? code->llvm : code->assembly), report, diagnostics)) return Failure{};
    return report;
  }

  phases.begin("link");
  auto hash = file_hash(options.model, diagnostics);
  if (!hash) return Failure{};
  const artifact::Image image = make_image({options, graph, *program, *target, *hash, chooser}, std::move(code->objects));
  if (!link_shared_object(image, options.output, diagnostics)) return Failure{};
  if (options.bindings && !artifact::write_bindings(image.descriptor, options.output, diagnostics)) return Failure{};
  phases.end();
  std::error_code ignored;
  report.so_bytes = static_cast<int64_t>(std::filesystem::file_size(options.output, ignored));
  return report;
#else
  diagnostics.environment("no-llvm", "this Mica was built without LLVM: it can emit graph, opt, kernel and scheduled, but no machine code")
      .help("build it with -DMICA_LLVM=ON");
  return Failure{};
#endif
}

}  // namespace mica
