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
A library of `mica compile --precision bf16` is held to the model in bf16: that is the yardstick then, and u bf16's unit.

A library for a range of sizes is tried at both ends of the range and at three places between them.

  --dim S=128          one size for a symbol, instead of its range
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
  std::vector<std::string> inputs, dims;
  std::optional<uint64_t> seed;
  int threads = 0;
  bool json = false;
};

/// One run: the sizes of the symbols, and what came of it.
struct Trial {
  std::vector<int64_t> sizes;
  InputSet inputs;
  std::vector<OutputVerdict> verdicts;
  bool pass() const {
    return std::all_of(verdicts.begin(), verdicts.end(), [](const OutputVerdict& v) { return v.pass; });
  }
};
struct Verification {
  SoInfo info;
  std::optional<Precision> precision = {};
  std::vector<Trial> trials;
  bool pass() const {
    return std::all_of(trials.begin(), trials.end(), [](const Trial& t) { return t.pass(); });
  }
};

/// Both ends of the range, and three places between where every symbol stands at another part of its own.
std::vector<std::vector<int64_t>> sizes_to_try(const SoInfo& info, const std::vector<int64_t>& low, const std::vector<int64_t>& high) {
  constexpr double parts[] = {0.31, 0.5, 0.83};
  std::vector<std::vector<int64_t>> all = {low};
  for (size_t i = 0; i < std::size(parts); ++i) {
    std::vector<int64_t> sizes;
    for (size_t k = 0; k < info.symbols.size(); ++k)
      sizes.push_back(low[k] + static_cast<int64_t>(parts[(i + k) % std::size(parts)] * static_cast<double>(high[k] - low[k])));
    if (std::find(all.begin(), all.end(), sizes) == all.end()) all.push_back(std::move(sizes));
  }
  if (std::find(all.begin(), all.end(), high) == all.end()) all.push_back(high);
  return all;
}

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
  for (const std::string& text : info.dim_specs) {
    auto symbol = parse_dim_spec(text, diagnostics);
    if (!symbol) return Failure{};
    load.symbols.push_back(std::move(*symbol));
  }
  for (const std::string& text : info.state_specs) {
    auto spec = parse_state_spec(text, diagnostics);
    if (!spec) return Failure{};
    load.states.push_back(std::move(*spec));
  }
  if (!resolve_symbols(load, diagnostics)) return Failure{};
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

/// The outputs of every trial.
using Outputs = std::vector<std::vector<RawTensor>>;

Result<Outputs> run_torch(const Flags& f, EagerMode mode, int threads, const LoadOptions& load, const std::vector<Trial>& trials,
                          Diagnostics& diagnostics) {
  auto model = EagerModel::load(f.model, mode, threads, load, diagnostics);
  if (!model) return Failure{};
  Outputs all;
  for (const Trial& trial : trials) {
    auto out = model->run(trial.inputs.tensors, diagnostics);
    if (!out) return Failure{};
    all.push_back(std::move(*out));
  }
  return all;
}

Result<Outputs> run_library(const Flags& f, const std::vector<Trial>& trials, int& threads, Diagnostics& diagnostics) {
  auto so = SoModel::load(f.library, {.threads = f.threads}, diagnostics);
  if (!so) return Failure{};
  threads = so->threads();
  Outputs all;
  for (const Trial& trial : trials) {
    auto out = so->run(trial.inputs.tensors, diagnostics);
    if (!out) return Failure{};
    all.push_back(std::move(*out));
  }
  return all;
}

Result<Verification> verify_model(const Flags& f, Progress& progress, Diagnostics& diagnostics) {
  auto info = read_so_info(f.library, diagnostics);
  if (!info || !check_readable(f.model, "model", diagnostics)) return Failure{};
  auto load = load_options(*info, diagnostics);
  if (!load) return Failure{};
  auto low = choose_sizes(*info, f.dims, [](const Symbol& s) { return s.low; }, diagnostics);
  if (!low) return Failure{};
  auto high = choose_sizes(*info, f.dims, [](const Symbol& s) { return s.high; }, diagnostics);
  InputSource source{.given = f.inputs, .traced = {}, .seed = f.seed.value_or(0), .sizes = {}};
  progress.show("reading the model");
  auto traced = traced_inputs(f, *info, *load, diagnostics);
  if (!traced) return Failure{};
  if (!f.seed) source.traced = std::move(*traced);
  const std::optional<Precision> precision = find_precision(info->precision);
  Verification v{.info = std::move(*info), .precision = precision, .trials = {}};
  for (const std::vector<int64_t>& sizes : f.inputs.empty() ? sizes_to_try(v.info, *low, *high) : std::vector<std::vector<int64_t>>(1, *high)) {
    source.sizes = sizes;
    auto inputs = collect_inputs(v.info, source, diagnostics);
    if (!inputs) return Failure{};
    v.trials.push_back({sizes, std::move(*inputs), {}});
  }

  progress.show("running the library");
  int threads = f.threads;
  auto ours = run_library(f, v.trials, threads, diagnostics);
  if (!ours) return Failure{};
  progress.show("running PyTorch");
  auto eager = run_torch(f, v.precision ? EagerMode::bf16 : EagerMode::eager, threads, *load, v.trials, diagnostics);
  if (!eager) return Failure{};
  progress.show("running PyTorch in fp64");
  auto exact = run_torch(f, EagerMode::fp64, threads, *load, v.trials, diagnostics);
  if (!exact) return Failure{};
  for (size_t t = 0; t < v.trials.size(); ++t) {
    const std::vector<RawTensor>&a = (*ours)[t], &b = (*eager)[t], &c = (*exact)[t];
    if (a.size() != b.size() || a.size() != c.size()) {
      diagnostics.error("model-mismatch", "the library has {} outputs, PyTorch gives {}", a.size(), b.size())
          .help(fmt::format("mica compile {} -o {}", f.model, f.library));
      return Failure{};
    }
    for (size_t i = 0; i < a.size(); ++i)
      v.trials[t].verdicts.push_back(judge_output(v.info.outputs[i].name, a[i], b[i], c[i], v.info.winograd, v.precision));
  }
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
  const InputSet& first = v.trials[0].inputs;
  for (size_t i = 0; i < v.info.inputs.size(); ++i)
    j["inputs"].push_back({{"name", v.info.inputs[i].name}, {"type", v.info.inputs[i].type.to_string()}, {"from", first.origins[i]}});
  for (const Trial& trial : v.trials) {
    for (const OutputVerdict& o : trial.verdicts) {
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
      if (!trial.sizes.empty()) j["outputs"].back()["sizes"] = sizes_text(v.info.symbols, trial.sizes);
    }
  }
  fmt::print("{}\n", j.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace));
}

void print_table(const Verification& v) {
  std::vector<std::vector<std::string>> rows = {{"output", "type", "max error", "rmse", "eager max", "eager rmse", "limit", "verdict"}};
  const auto number = [](double x) { return fmt::format("{:.2e}", x); };
  std::vector<OutputVerdict> all;
  for (const Trial& trial : v.trials) all.insert(all.end(), trial.verdicts.begin(), trial.verdicts.end());
  for (const OutputVerdict& o : all) {
    const bool exact = !is_float(o.type.dtype);
    rows.push_back({o.name, o.type.to_string(), number(o.mica.max_error), number(o.mica.rmse), exact ? "" : number(o.eager.max_error),
                    exact ? "" : number(o.eager.rmse), exact ? "equal" : number(o.limit), o.pass ? "pass" : "FAIL"});
  }
  fmt::print("{}", format_table(rows, {2, 3, 4, 5, 6}));
  for (const OutputVerdict& o : all)
    if (!o.pass) fmt::print("{}: {}\n", o.name, o.reason);
  std::string from;
  const std::vector<std::string>& origins = v.trials[0].inputs.origins;
  for (size_t i = 0; i < origins.size(); ++i) from += fmt::format("{}{} {}", i ? ", " : "", v.info.inputs[i].name, origins[i]);
  if (!v.info.symbols.empty()) {
    from += "; tried";
    for (size_t t = 0; t < v.trials.size(); ++t) from += (t ? "; " : " ") + sizes_text(v.info.symbols, v.trials[t].sizes);
  }
  const auto passed = std::count_if(all.begin(), all.end(), [](const OutputVerdict& o) { return o.pass; });
  fmt::print("{}: {} of {} outputs agree with PyTorch (inputs: {})\n", v.pass() ? "pass" : "FAIL", passed, all.size(), from);
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
  add_repeated(app, "--dim", f->dims);
  app.add_option("--seed", f->seed);
  app.add_option("--threads", f->threads)->check(CLI::Range(0, 1024));
  app.add_flag("--json", f->json);
  return [f](Diagnostics& diagnostics) { return verify(*f, diagnostics); };
}

}  // namespace

const Command verify_command = {"verify", "compares a compiled model with PyTorch, in fp64", help, declare};

}  // namespace mica::cli
