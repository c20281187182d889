// mica check: can Mica compile this model?
#include <nlohmann/json.hpp>
#include <numeric>

#include "command.h"
#include "mica/driver/compile.h"
#include "mica/driver/file.h"

namespace mica::cli {

namespace {

constexpr const char* usage = "mica check MODEL.pt";
constexpr const char* help = R"(mica check: says whether a model can be compiled, without compiling it.

usage: mica check MODEL.pt [--input ...] [--json]

Lists every operator that is not supported, with how often it occurs. When the shapes are known (the model was traced, or --input is given)
the model is read as far as `mica compile` reads it, so that wrong shapes and operators in unusual uses are found as well, each with its
place in the Python source. Exit code 3 when something is not supported.

  --input, --dim, --method    as for `mica compile`
  --json                      as JSON

examples:
  mica check model.pt
  mica check scripted.pt --input x:1x3x224x224:f32
)";

struct Flags {
  std::string model, method = "forward";
  std::vector<std::string> inputs, dims, states;
  bool json = false;
};

#if MICA_TORCH
int check(const Flags& f, Diagnostics& diagnostics) {
  if (!require(f.model, "the model", usage, diagnostics) || !check_readable(f.model, "model", diagnostics)) return 0;
  auto summary = summarize_torchscript(f.model, diagnostics);
  if (!summary) return 0;
  LoadOptions load;
  load.method = f.method;
  for (const std::string& text : f.inputs)
    if (auto spec = parse_input_spec(text, diagnostics)) load.inputs.push_back(std::move(*spec));
  for (const std::string& text : f.dims)
    if (auto symbol = parse_dim_spec(text, diagnostics)) load.symbols.push_back(std::move(*symbol));
  for (const std::string& text : f.states)
    if (auto spec = parse_state_spec(text, diagnostics)) load.states.push_back(std::move(*spec));
  if (!diagnostics.has_errors()) (void)resolve_symbols(load, diagnostics);
  const bool shapes_known = !load.inputs.empty() || !summary->traced_inputs.empty();
  const bool read = !diagnostics.has_errors() && shapes_known && load_model(f.model, load, diagnostics);

  const auto total = std::accumulate(summary->ops.begin(), summary->ops.end(), int64_t{0}, [](int64_t n, const auto& op) { return n + op.second; });
  int64_t missing = 0;
  std::vector<std::vector<std::string>> rows;
  for (const auto& [name, count] : summary->ops) {
    // What was read as a whole is supported, whatever stands in branches that these shapes do not take, or is computed while reading.
    if (read || std::find(summary->unsupported.begin(), summary->unsupported.end(), name) == summary->unsupported.end()) continue;
    missing += count;
    rows.push_back({"", std::to_string(count), name});
  }
  const bool good = rows.empty() && !diagnostics.has_errors();
  if (f.json) {
    nlohmann::ordered_json j = {{"schema", 1},
                                {"model", f.model},
                                {"supported", good},
                                {"ops", total},
                                {"unsupported", nlohmann::ordered_json::array()},
                                {"shapes_checked", shapes_known}};
    for (const auto& row : rows) j["unsupported"].push_back({{"op", row[2]}, {"count", std::stoll(row[1])}});
    fmt::print("{}\n", j.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace));
  } else if (rows.empty()) {
    fmt::print("{}: all {} operators are supported{}\n", f.model, total, shapes_known ? "" : "; with --input the shapes are checked as well");
  } else {
    fmt::print("{}: {} of {} operators are not supported:\n{}", f.model, missing, total, format_table(rows, {1}));
  }
  if (!rows.empty() && !diagnostics.has_errors())
    diagnostics.unsupported("unsupported-op", "`{}` uses {} operator{} that Mica does not support", f.model, rows.size(), rows.size() == 1 ? "" : "s")
        .help("docs/adding-an-op.md says how one is added");
  return 0;
}
#else
int check(const Flags& f, Diagnostics& diagnostics) {
  diagnostics.environment("no-libtorch", "this Mica was built without LibTorch and cannot read `{}`", f.model).help("build it with -DMICA_TORCH=ON");
  return 0;
}
#endif

Action declare(CLI::App& app) {
  auto f = std::make_shared<Flags>();
  app.add_option("MODEL", f->model);
  add_repeated(app, "--input", f->inputs);
  add_repeated(app, "--dim", f->dims);
  add_repeated(app, "--state", f->states);
  app.add_option("--method", f->method);
  app.add_flag("--json", f->json);
  return [f](Diagnostics& diagnostics) { return check(*f, diagnostics); };
}

}  // namespace

const Command check_command = {"check", "whether a model can be compiled, and what is missing", help, declare};

}  // namespace mica::cli
