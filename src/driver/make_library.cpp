// The driver's part of a library: what its descriptor and its manifest say of the model and of the compilation.
#include "make_library.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "mica/driver/analyze.h"
#include "mica/driver/draw_inputs.h"
#include "mica/support/defect.h"

namespace mica {

namespace {

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

/// What multiplies in a kernel, for `mica analyze`.
Arithmetic arithmetic_of(const Kernel& kernel, const Target& target) {
  if (!kernel.tiles.empty()) return Arithmetic::tiles;
  if (!target.dot_bf16) return Arithmetic::vectors;
  bool pairs = false;
  const auto look = [&](const Expr& e) {
    if (e) visit(e, [&](const Expr& n) { pairs |= n->op == ExprOp::dot2; });
  };
  const auto walk = [&](const auto& self, const std::vector<Stmt>& body) -> void {
    for (const Stmt& s : body) {
      look(s.value);
      self(self, s.body);
      self(self, s.otherwise);
    }
  };
  walk(walk, kernel.body);
  return pairs ? Arithmetic::pairs : Arithmetic::vectors;
}

/// The driver's part of the manifest: enough to draw inputs, to verify against the right signature, and to build the same file again.
std::string manifest_json(const LibraryParts& parts) {
  const Options& options = parts.options;
  const Program& program = parts.program;
  nlohmann::ordered_json j;
  j["model"] = {{"file", options.model.filename().string()}, {"hash", parts.hash}, {"method", options.load.method}};
  auto inputs = nlohmann::ordered_json::array();
  for (const InputSpec& s : options.load.inputs) inputs.push_back(input_text(s));
  auto dims = nlohmann::ordered_json::array();
  for (const Symbol& s : options.load.symbols) dims.push_back(fmt::format("{}={}..{}", s.name, s.low, s.high));
  j["options"] = {{"cpu", options.cpu}, {"cpu_features", options.cpu_features}, {"precision", options.precision}, {"inputs", inputs}};
  if (!dims.empty()) j["options"]["dims"] = dims;
  for (const InputSpec& s : options.load.states) j["options"]["states"].push_back(s.text);
  j["cpu"] = parts.target.cpu;
  j["draw"] = nlohmann::ordered_json::array();
  for (const InputDraw& d : find_input_draws(parts.graph)) j["draw"].push_back(to_string(d));
  const bool winograd =
      std::any_of(program.kernels.begin(), program.kernels.end(), [](const Kernel& k) { return k.name.find("winograd") != std::string::npos; });
  j["winograd"] = winograd;
  if (detail::chosen_defect != Defect::none) j["debug_defect"] = all_defects()[static_cast<size_t>(detail::chosen_defect) - 1].name;
  if (options.debug_memory != DebugMemory::off) j["debug_memory"] = options.debug_memory == DebugMemory::behind ? "behind" : "before";
  if (const auto tuned = parts.chooser.count(); tuned.answered)
    j["tuned"] = {{"kernels", tuned.asked}, {"measured", tuned.answered}, {"changed", tuned.changed}};
  j["plan"] = nlohmann::ordered_json::array();  // calls of kernels, in the order of the text
  for_calls(program.steps, [&](const Step& s) { j["plan"].push_back({{"kernel", s.kernel}, {"label", s.label}}); });
  j["workspace_lower_bound"] = program.arena_lower_bound;
  j["kernels"] = nlohmann::ordered_json::array();
  for (const Kernel& k : program.kernels)
    j["kernels"].push_back({{"name", k.name},
                            {"tasks", k.tasks.typical()},
                            {"flops", k.flops},
                            {"bytes", k.bytes},
                            {"arithmetic", name_of(arithmetic_of(k, parts.target))}});
  return j.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
}

}  // namespace

artifact::Image make_image(const LibraryParts& parts, std::vector<std::string> objects) {
  const Graph& graph = parts.graph;
  const Program& program = parts.program;
  const Target& target = parts.target;
  artifact::Image image;
  image.objects = std::move(objects);
  for (const Weight& w : program.weights) image.weights.push_back({w.offset, w.bytes, w.data});
  std::sort(image.weights.begin(), image.weights.end(), [](const auto& a, const auto& b) { return a.offset < b.offset; });
  artifact::Descriptor& d = image.descriptor;
  d.name = model_name(parts.options.model);
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
  image.manifest = manifest_json(parts);
  return image;
}

}  // namespace mica
