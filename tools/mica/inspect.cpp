// mica inspect: what a file holds, without running it.
#include <nlohmann/json.hpp>

#include "command.h"
#include "mica/driver/compile.h"
#include "mica/driver/file.h"
#include "mica/driver/so_info.h"
#include "mica/ir/text.h"

namespace mica::cli {

namespace {

using nlohmann::ordered_json;

constexpr const char* usage = "mica inspect FILE";
constexpr const char* help = R"(mica inspect: says what a model or a compiled library holds. Nothing of it is run.

usage: mica inspect FILE [--json]

FILE is a TorchScript model (.pt): signature, traced inputs, parameters, operators, and those that are not supported; or a library that
Mica made (.so, for any machine): inputs, outputs, target, memory, kernels; or a graph in text form (.mica).

  --kernels    also list the kernels of a library
  --json       as JSON

examples:
  mica inspect resnet50.pt
  mica inspect libresnet50.so --kernels
)";

struct Flags {
  std::string file;
  bool json = false, kernels = false;
};

void print(const ordered_json& j) { fmt::print("{}\n", j.dump(2, ' ', false, ordered_json::error_handler_t::replace)); }
std::string bytes(const ordered_json& j, const char* key) { return format_bytes(j.value(key, 0.0)); }

void inspect_library(const Flags& f, Diagnostics& diagnostics) {
  auto info = read_so_info(f.file, diagnostics);
  if (!info) return;
  ordered_json j = ordered_json::parse(info->manifest);
  std::error_code ignored;
  j["file_bytes"] = std::filesystem::file_size(f.file, ignored);
  if (f.json) return print(j);
  const auto lines = [](const char* what, const std::vector<SoValue>& values) {
    for (const SoValue& v : values) fmt::print("  {:<10} {}: {}\n", what, v.name, v.type.to_string()), what = "";
  };
  fmt::print("{}: model {}, compiled by mica {} (ABI {})\n", f.file, info->name, j.value("mica", "?"), j.value("abi", 0));
  lines("inputs", info->inputs);
  lines("outputs", info->outputs);
  std::map<uint32_t, std::string> sizes;  // those of the outputs that the inputs' shapes do not give
  for (const SoValue& v : info->outputs)
    for (const Dim& d : v.type.shape.dims())
      for_symbols(d, [&](uint32_t k) {
        if (k < info->symbols.size() || k - info->symbols.size() >= info->measured.size()) return;
        const Symbol& s = info->measured[k - info->symbols.size()];
        sizes[k] = fmt::format("{} up to {}, depending on data", s.name, s.high);
      });
  const char* what = "sizes";
  for (const auto& [k, text] : sizes) fmt::print("  {:<10} {}\n", what, text), what = "";
  if (const auto structure = j.value("structure", ""); !structure.empty()) fmt::print("  {:<10} {}\n", "structure", structure);
  const auto& target = j["target"];
  std::string features;
  for (const auto& name : target.value("features", std::vector<std::string>{})) features += " " + name;
  fmt::print("  {:<10} {}, {}\n  {:<10}{}\n", "target", target.value("triple", ""), j.value("cpu", ""), "needs", features);
  const auto& memory = j["bytes"];
  fmt::print("  {:<10} file {}, weights {}, workspace {}, state {}\n", "memory", bytes(j, "file_bytes"), bytes(memory, "weights"),
             bytes(memory, "workspace"), bytes(memory, "state"));
  if (memory.value("prepared", int64_t{0}))
    fmt::print("  {:<10} {} of weights are transformed into memory of the model's\n", "loading", bytes(memory, "prepared"));
  if (!info->precision.empty()) fmt::print("  {:<10} {}\n", "precision", info->precision);
  if (j.contains("kernels"))
    fmt::print("  {:<10} {} in {} steps{}\n", "kernels", j["kernels"].size(), j.contains("plan") ? j["plan"].size() : 0,
               info->winograd ? ", Winograd convolutions (verify with k = 8)" : "");
  if (j.contains("tuned"))
    fmt::print("  {:<10} {} of {} kernels with several forms were measured, {} are not in the first\n", "tuned", j["tuned"].value("measured", 0),
               j["tuned"].value("kernels", 0), j["tuned"].value("changed", 0));
  if (j.contains("model")) fmt::print("  {:<10} {}, hash {}, method {}\n", "from", j["model"].value("file", ""), info->model_hash, info->method);
  if (!f.kernels || !j.contains("kernels")) return;
  std::vector<std::vector<std::string>> rows = {{"kernel", "tasks", "MFLOP", "bytes"}};
  for (const auto& k : j["kernels"])
    rows.push_back(
        {k.value("name", ""), std::to_string(k.value("tasks", int64_t{0})), fmt::format("{:.3f}", k.value("flops", 0.0) / 1e6), bytes(k, "bytes")});
  fmt::print("{}", format_table(rows, {1, 2, 3}));
}

void inspect_graph(const Flags& f, Diagnostics& diagnostics) {
  auto graph = read_graph(f.file, diagnostics);
  if (!graph) return;
  std::map<std::string, int64_t> ops;
  for (const Node& n : graph->nodes) ++ops[std::string(n.info->name())];
  ordered_json j = {
      {"schema", 1}, {"file", f.file}, {"inputs", ordered_json::array()}, {"nodes", graph->nodes.size()}, {"constants", graph->constants.size()},
      {"ops", ops}};
  for (Value v : graph->inputs) j["inputs"].push_back({{"name", graph->values[v.id].name}, {"type", graph->type(v).to_string()}});
  if (f.json) return print(j);
  fmt::print("{}: a graph of {} nodes, {} constants\n", f.file, graph->nodes.size(), graph->constants.size());
  for (Value v : graph->inputs) fmt::print("  input  {}: {}\n", graph->values[v.id].name, graph->type(v).to_string());
  for (Value v : graph->outputs) fmt::print("  output {}\n", graph->type(v).to_string());
  for (const auto& [name, count] : ops) fmt::print("  {:>6} {}\n", count, name);
}

#if MICA_TORCH
void inspect_model(const Flags& f, Diagnostics& diagnostics) {
  auto summary = summarize_torchscript(f.file, diagnostics);
  if (!summary) return;
  if (f.json) {
    ordered_json j = {{"schema", 1},
                      {"file", f.file},
                      {"signature", summary->signature},
                      {"parameters", summary->parameters},
                      {"parameter_bytes", summary->parameter_bytes}};
    j["traced_inputs"] = ordered_json::array(), j["ops"] = ordered_json::object();
    for (const auto& [name, type] : summary->traced_inputs) j["traced_inputs"].push_back({{"name", name}, {"type", type}});
    for (const auto& [name, count] : summary->ops) j["ops"][name] = count;
    j["unsupported"] = summary->unsupported;
    return print(j);
  }
  fmt::print("{}: {}\n", f.file, summary->signature);
  fmt::print("  parameters {} ({})\n", summary->parameters, format_bytes(static_cast<double>(summary->parameter_bytes)));
  if (summary->traced_inputs.empty()) fmt::print("  traced     no: give shapes with --input when compiling\n");
  for (const auto& [name, type] : summary->traced_inputs) fmt::print("  traced     {}: {}\n", name, type);
  std::vector<std::vector<std::string>> rows;
  for (const auto& [name, count] : summary->ops) {
    const bool missing = std::find(summary->unsupported.begin(), summary->unsupported.end(), name) != summary->unsupported.end();
    rows.push_back({"", std::to_string(count), name, missing ? "not supported" : ""});
  }
  fmt::print("{}", format_table(rows, {1}));
}
#else
void inspect_model(const Flags& f, Diagnostics& diagnostics) {
  diagnostics.environment("no-libtorch", "this Mica was built without LibTorch and cannot read `{}`", f.file).help("build it with -DMICA_TORCH=ON");
}
#endif

int inspect(const Flags& f, Diagnostics& diagnostics) {
  if (!require(f.file, "the file", usage, diagnostics) || !check_readable(f.file, "file", diagnostics)) return 0;
  if (is_elf(f.file)) inspect_library(f, diagnostics);
  else if (f.file.ends_with(".mica")) inspect_graph(f, diagnostics);
  else inspect_model(f, diagnostics);
  return 0;
}

Action declare(CLI::App& app) {
  auto f = std::make_shared<Flags>();
  app.add_option("FILE", f->file);
  app.add_flag("--kernels", f->kernels);
  app.add_flag("--json", f->json);
  return [f](Diagnostics& diagnostics) { return inspect(*f, diagnostics); };
}

}  // namespace

const Command inspect_command = {"inspect", "what a model or a compiled library holds", help, declare};

}  // namespace mica::cli
