// mica verify: is a compiled model right? LibTorch in fp64 is the judge, LibTorch in the working dtype the yardstick.
#include <algorithm>
#include <nlohmann/json.hpp>

#include "command.h"
#include "mica/driver/compile.h"
#include "mica/driver/file.h"
#include "mica/driver/numerics.h"
#include "mica/driver/so_info.h"

namespace mica::cli {

namespace {

constexpr const char* usage = "mica verify MODEL.pt LIB.so";
constexpr const char* help = R"(mica verify: compares a compiled model with PyTorch.

usage: mica verify MODEL.pt LIB.so [options]

Runs the library, and the model in PyTorch twice: in fp64 (the judge) and as it is (the yardstick). A float output passes when
  rmse(mica) <= k * rmse(eager) + 4 * u * rms(output)       both against fp64
with k = 2 (3 for 16-bit types and under 1,000 elements; 8 where the plan has Winograd convolutions), u the rounding unit of the dtype;
NaN and infinities must stand where PyTorch's stand. Integers and bools must be equal. Exit code 4 when an output fails.

  --input NAME=@FILE   inputs as for `mica run`. Those not given: the inputs that the model was traced with, else drawn
  --seed N             draw inputs with this seed, also where the model has traced ones
  --threads N          threads of each run (default: the CPUs that this process may use)
  --json               the verdict as JSON

examples:
  mica verify resnet50.pt libresnet50.so
  mica verify bert.pt libbert.so --seed 7 --json
)";

struct Flags {
  std::string model, library;
  std::vector<std::string> inputs;
  std::optional<uint64_t> seed;
  int threads = 0;
  bool json = false;
};

struct Verification {
  SoInfo info;
  InputSet inputs;
  std::vector<OutputVerdict> verdicts;
  bool pass() const {
    return std::all_of(verdicts.begin(), verdicts.end(), [](const OutputVerdict& v) { return v.pass; });
  }
};

#if MICA_TORCH
/// The flags that the library was compiled with, so that LibTorch sees the same signature.
Result<LoadOptions> load_options(const SoInfo& info, Diagnostics& diagnostics) {
  LoadOptions load;
  load.method = info.method;
  for (const std::string& text : info.input_specs) {
    auto spec = parse_input_spec(text, diagnostics);
    if (!spec) return Failure{};
    load.inputs.push_back(std::move(*spec));
  }
  return load;
}

/// The data that the model was traced with; also checks that model and library are of one signature.
Result<std::vector<std::vector<std::byte>>> traced_inputs(const Flags& f, const SoInfo& info, const LoadOptions& load, Diagnostics& diagnostics) {
  auto model = load_model(f.model, load, diagnostics);
  if (!model) return Failure{};
  const Graph& g = model->graph;
  bool same = g.inputs.size() == info.inputs.size() && g.outputs.size() == info.outputs.size();
  for (size_t i = 0; same && i < g.inputs.size(); ++i) {
    const TensorType& type = g.type(g.inputs[i]);
    same = type.dtype == info.inputs[i].type.dtype && type.shape == info.inputs[i].type.shape;
  }
  if (same) return std::move(model->traced_inputs);
  std::vector<SoValue> ours;
  for (Value v : g.inputs) ours.push_back({g.values[v.id].name, g.type(v)});
  diagnostics.error("model-mismatch", "`{}` was not compiled from `{}`, or for other inputs", f.library, f.model)
      .note("the model:   " + signature_text(ours))
      .note("the library: " + signature_text(info.inputs))
      .help(fmt::format("mica compile {} -o {}", f.model, f.library));
  return Failure{};
}

Result<std::vector<RawTensor>> run_torch(const Flags& f, EagerMode mode, int threads, const LoadOptions& load, const InputSet& inputs,
                                         Diagnostics& diagnostics) {
  auto model = EagerModel::load(f.model, mode, threads, load, diagnostics);
  if (!model) return Failure{};
  return model->run(inputs.tensors, diagnostics);
}

Result<Verification> verify_model(const Flags& f, Progress& progress, Diagnostics& diagnostics) {
  auto info = read_so_info(f.library, diagnostics);
  if (!info || !check_readable(f.model, "model", diagnostics)) return Failure{};
  auto load = load_options(*info, diagnostics);
  if (!load) return Failure{};
  InputSource source{.given = f.inputs, .traced = {}, .seed = f.seed.value_or(0)};
  progress.show("reading the model");
  auto traced = traced_inputs(f, *info, *load, diagnostics);
  if (!traced) return Failure{};
  if (!f.seed) source.traced = std::move(*traced);
  Verification v{.info = std::move(*info), .inputs = {}, .verdicts = {}};
  auto inputs = collect_inputs(v.info, source, diagnostics);
  if (!inputs) return Failure{};
  v.inputs = std::move(*inputs);

  progress.show("running the library");
  int threads = f.threads;
  std::vector<RawTensor> ours;
  {
    auto so = SoModel::load(f.library, {.threads = f.threads}, diagnostics);
    if (!so) return Failure{};
    threads = so->threads();
    auto out = so->run(v.inputs.tensors, diagnostics);
    if (!out) return Failure{};
    ours = std::move(*out);
  }
  progress.show("running PyTorch");
  auto eager = run_torch(f, EagerMode::eager, threads, *load, v.inputs, diagnostics);
  if (!eager) return Failure{};
  progress.show("running PyTorch in fp64");
  auto exact = run_torch(f, EagerMode::fp64, threads, *load, v.inputs, diagnostics);
  if (!exact) return Failure{};
  if (eager->size() != ours.size() || exact->size() != ours.size()) {
    diagnostics.error("model-mismatch", "the library has {} outputs, PyTorch gives {}", ours.size(), eager->size())
        .help(fmt::format("mica compile {} -o {}", f.model, f.library));
    return Failure{};
  }
  for (size_t i = 0; i < ours.size(); ++i)
    v.verdicts.push_back(judge_output(v.info.outputs[i].name, ours[i], (*eager)[i], (*exact)[i], v.info.winograd));
  return v;
}
#else
Result<Verification> verify_model(const Flags&, Progress&, Diagnostics& diagnostics) {
  diagnostics.environment("no-libtorch", "this Mica was built without LibTorch, so there is nothing to compare with")
      .help("build it with -DMICA_TORCH=ON");
  return Failure{};
}
#endif

void print_json(const Flags& f, const Verification& v) {
  nlohmann::ordered_json j = {
      {"schema", 1}, {"model", f.model}, {"library", f.library}, {"verdict", v.pass() ? "pass" : "fail"}, {"seed", f.seed.value_or(0)}};
  j["inputs"] = nlohmann::ordered_json::array(), j["outputs"] = nlohmann::ordered_json::array();
  for (size_t i = 0; i < v.info.inputs.size(); ++i)
    j["inputs"].push_back({{"name", v.info.inputs[i].name}, {"type", v.info.inputs[i].type.to_string()}, {"from", v.inputs.origins[i]}});
  for (const OutputVerdict& o : v.verdicts) {
    j["outputs"].push_back({{"name", o.name},
                            {"type", o.type.to_string()},
                            {"verdict", o.pass ? "pass" : "fail"},
                            {"max_error", o.mica.max_error},
                            {"rmse", o.mica.rmse},
                            {"eager", {{"max_error", o.eager.max_error}, {"rmse", o.eager.rmse}}},
                            {"limit", o.limit},
                            {"k", o.factor},
                            {"rms", o.rms},
                            {"wrong", o.wrong},
                            {"reason", o.reason}});
  }
  fmt::print("{}\n", j.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace));
}

void print_table(const Verification& v) {
  std::vector<std::vector<std::string>> rows = {{"output", "type", "max error", "rmse", "eager max", "eager rmse", "limit", "verdict"}};
  const auto number = [](double x) { return fmt::format("{:.2e}", x); };
  for (const OutputVerdict& o : v.verdicts) {
    const bool exact = !is_float(o.type.dtype);
    rows.push_back({o.name, o.type.to_string(), number(o.mica.max_error), number(o.mica.rmse), exact ? "" : number(o.eager.max_error),
                    exact ? "" : number(o.eager.rmse), exact ? "equal" : number(o.limit), o.pass ? "pass" : "FAIL"});
  }
  fmt::print("{}", format_table(rows, {2, 3, 4, 5, 6}));
  for (const OutputVerdict& o : v.verdicts)
    if (!o.pass) fmt::print("{}: {}\n", o.name, o.reason);
  std::string from;
  for (size_t i = 0; i < v.inputs.origins.size(); ++i) from += fmt::format("{}{} {}", i ? ", " : "", v.info.inputs[i].name, v.inputs.origins[i]);
  const auto passed = std::count_if(v.verdicts.begin(), v.verdicts.end(), [](const OutputVerdict& o) { return o.pass; });
  fmt::print("{}: {} of {} outputs agree with PyTorch (inputs: {})\n", v.pass() ? "pass" : "FAIL", passed, v.verdicts.size(), from);
}

int verify(Flags f, Diagnostics& diagnostics) {
  if (!require(f.model, "the model", usage, diagnostics) || !require(f.library, "the library", usage, diagnostics)) return 0;
  if (is_elf(f.model) && !is_elf(f.library)) std::swap(f.model, f.library);  // either order is clear
  Progress progress(true);
  auto v = verify_model(f, progress, diagnostics);
  progress.clear();
  if (!v) return 0;
  if (f.json) print_json(f, *v);
  else print_table(*v);
  return v->pass() ? 0 : exit_accuracy;
}

Action declare(CLI::App& app) {
  auto f = std::make_shared<Flags>();
  app.add_option("MODEL", f->model);
  app.add_option("LIBRARY", f->library);
  add_repeated(app, "--input", f->inputs);
  app.add_option("--seed", f->seed);
  app.add_option("--threads", f->threads)->check(CLI::Range(0, 1024));
  app.add_flag("--json", f->json);
  return [f](Diagnostics& diagnostics) { return verify(*f, diagnostics); };
}

}  // namespace

const Command verify_command = {"verify", "compares a compiled model with PyTorch, in fp64", help, declare};

}  // namespace mica::cli
