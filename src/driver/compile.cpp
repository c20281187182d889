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
#include <nlohmann/json.hpp>

#include "mica/artifact/bindings.h"
#include "mica/codegen/link.h"
#include "mica/codegen/llvm.h"
#include "mica/driver/draw_inputs.h"
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
  auto target = make_target(options.cpu, options.cpu_features, diagnostics);
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

/// Letters, digits and '_': the model's name in symbols and in the manifest.
std::string model_name(const std::filesystem::path& model) {
  std::string name = model.stem().string();
  for (char& c : name)
    if (!std::isalnum(static_cast<unsigned char>(c))) c = '_';
  return name;
}

/// Sizes that are not fixed are numbered: the symbols, given and measured, then the program's derived sizes.
artifact::Value artifact_value(const Graph& graph, const Program& program, Value v, const std::string& name) {
  artifact::Value a{name, graph.type(v).dtype, {}};
  for (const Dim& d : graph.type(v).shape.dims()) {
    const auto place = std::find(program.derived.begin(), program.derived.end(), d) - program.derived.begin();
    if (d.is_static()) a.shape.push_back(d);
    else if (d.symbol_id() >= 0) a.shape.push_back(-1 - d.symbol_id());
    else a.shape.push_back(-1 - static_cast<int64_t>(graph.symbols.size()) - place);
  }
  return a;
}

/// The flag's text again, with symbols where two samples gave a range.
std::string input_text(const InputSpec& s) {
  if (s.symbols.empty()) return s.text;
  std::string text;
  for (size_t a = 0; a < s.symbols.size(); ++a)
    text += (a ? "x" : "") + (s.symbols[a].empty() ? s.shape[static_cast<int64_t>(a)].to_string() : s.symbols[a]);
  return (s.name.empty() ? "" : s.name + ":") + text + (s.dtype ? fmt::format(":{}", name_of(*s.dtype)) : "");
}

/// The driver's part of the manifest: enough to draw inputs, to verify against the right signature, and to build the same file again.
std::string manifest_json(const Options& options, const Graph& graph, const Program& program, const Target& target, const std::string& hash) {
  nlohmann::ordered_json j;
  j["model"] = {{"file", options.model.filename().string()}, {"hash", hash}, {"method", options.load.method}};
  auto inputs = nlohmann::ordered_json::array();
  for (const InputSpec& s : options.load.inputs) inputs.push_back(input_text(s));
  auto dims = nlohmann::ordered_json::array();
  for (const Symbol& s : options.load.symbols) dims.push_back(fmt::format("{}={}..{}", s.name, s.low, s.high));
  j["options"] = {{"cpu", options.cpu}, {"cpu_features", options.cpu_features}, {"precision", options.precision}, {"inputs", inputs}};
  if (!dims.empty()) j["options"]["dims"] = dims;
  for (const InputSpec& s : options.load.states) j["options"]["states"].push_back(s.text);
  j["cpu"] = target.cpu;
  j["draw"] = nlohmann::ordered_json::array();
  for (const InputDraw& d : find_input_draws(graph)) j["draw"].push_back(to_string(d));
  const bool winograd =
      std::any_of(program.kernels.begin(), program.kernels.end(), [](const Kernel& k) { return k.name.find("winograd") != std::string::npos; });
  j["winograd"] = winograd;
  if (detail::chosen_defect != Defect::none) j["debug_defect"] = all_defects()[static_cast<size_t>(detail::chosen_defect) - 1].name;
  if (options.debug_memory != DebugMemory::off) j["debug_memory"] = options.debug_memory == DebugMemory::behind ? "behind" : "before";
  j["plan"] = nlohmann::ordered_json::array();  // calls of kernels, in the order of the text
  for_calls(program.steps, [&](const Step& s) { j["plan"].push_back({{"kernel", s.kernel}, {"label", s.label}}); });
  j["workspace_lower_bound"] = program.arena_lower_bound;
  j["kernels"] = nlohmann::ordered_json::array();
  for (const Kernel& k : program.kernels)
    j["kernels"].push_back({{"name", k.name}, {"tasks", k.tasks.typical()}, {"flops", k.flops}, {"bytes", k.bytes}});
  return j.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
}

artifact::Image make_image(const Options& options, const Graph& graph, const Program& program, const Target& target, CodegenResult code,
                           const std::string& hash) {
  artifact::Image image;
  image.objects = std::move(code.objects);
  for (const Weight& w : program.weights) image.weights.push_back({w.offset, w.bytes, w.data});
  std::sort(image.weights.begin(), image.weights.end(), [](const auto& a, const auto& b) { return a.offset < b.offset; });
  artifact::Descriptor& d = image.descriptor;
  d.name = model_name(options.model);
  for (Value v : graph.inputs) d.inputs.push_back(artifact_value(graph, program, v, graph.values[v.id].name));
  for (size_t i = 0; i < graph.outputs.size(); ++i)
    d.outputs.push_back(
        artifact_value(graph, program, graph.outputs[i], i < graph.output_names.size() ? graph.output_names[i] : fmt::format("output{}", i)));
  d.structure = graph.output_structure.text;
  for (const Symbol& s : graph.symbols) (s.is_measured() ? d.measured : d.symbols).push_back({s.name, s.low, s.high});
  for (const Dim& size : program.derived) d.derived.push_back(size.to_string());
  d.slots = static_cast<int64_t>(program.slots.size());
  d.arena_bytes = program.arena_bytes;
  d.weights_bytes = program.weights_bytes;
  d.prepared_bytes = program.prepared_bytes;
  d.state_bytes = program.state_bytes;
  d.state_init_at = program.state_init_at;
  d.triple = target.triple;
  d.features = target.features;
  d.fault_sites = program.fault_sites;
  d.guard_pages = program.guard_pages;
  d.debug_defect = defect(Defect::empty_tensor);
  image.manifest = manifest_json(options, graph, program, target, hash);
  return image;
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

  phases.begin("lower");
  auto program = lower_to_program(graph, *target,
                                  {.schedules = options.schedules,
                                   .precision = find_precision(options.precision),
                                   .winograd = options.winograd,
                                   .debug_memory = options.debug_memory},
                                  diagnostics);
  if (!program) return Failure{};
  if (std::ranges::all_of(program->kernels, [](const Kernel& k) { return k.tiles.empty(); })) target->drop_tiles();
  report.target = *target;
  if (options.emit != EmitKind::kernel) expand_math(*program, *target);
  if (options.verify_each) {
    Diagnostics found;
    MICA_CHECK(bool(verify_program(*program, found)), found.to_string());
  }
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
  const artifact::Image image = make_image(options, graph, *program, *target, std::move(*code), *hash);
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
