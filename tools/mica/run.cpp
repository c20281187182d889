// mica run: runs a compiled model once, through its C ABI alone.
#include <chrono>
#include <nlohmann/json.hpp>

#include "command.h"
#include "mica/driver/file.h"
#include "mica/driver/so_info.h"

namespace mica::cli {

namespace {

constexpr const char* usage = "mica run LIB.so [--input x=@x.npy] [--output y=@y.npy]";
constexpr const char* help = R"(mica run: runs a compiled model once on NumPy arrays.

usage: mica run LIB.so [--input NAME=@FILE] [--output NAME=@FILE] [options]

  --input NAME=@FILE.npy       an input from a file; without a name the position counts
  --input NAME=@FILE.npz[:KEY] from an archive (KEY: the array's name there, if it is another)
  --input @FILE.npz            all inputs by their names
  --input NAME=NUMBER          an input filled with one number
                               Inputs that are not given are drawn: floats normal(0, 1), integers inside the rows that they index,
                               masks of 0 and 1
  --dim S=128                  the size of a symbol, for inputs that are drawn (default: the greatest of its range)
  --output NAME=@FILE.npy      writes an output; without a name the position counts
  --output @FILE.npz           writes all outputs by their names
  --seed N                     seed of inputs that are drawn (default 0)
  --threads N                  threads of the run (default: the CPUs that this process may use)
  --weights map|copy           weights where the file is mapped (default), or copied to huge pages
  --json                       what was run, as JSON; without it a line an output on stdout
  -q, --quiet                  say nothing about inputs that were drawn

examples:
  mica run libresnet50.so --input x=@image.npy --output y=@logits.npy
  mica run libbert.so --input @tokens.npz --output @hidden.npz --threads 2
)";

struct Flags {
  std::string library, weights = "map";
  std::vector<std::string> inputs, outputs, dims;
  uint64_t seed = 0;
  int threads = 0;
  bool json = false, quiet = false;
};

/// Which output goes into which file: one file an output, or an archive of all.
struct OutputFiles {
  std::vector<std::string> files;  ///< one an output, may be empty
  std::vector<std::string> archives;
};

Result<OutputFiles> plan_outputs(const std::vector<std::string>& given, const SoInfo& info, Diagnostics& diagnostics) {
  OutputFiles plan;
  plan.files.resize(info.outputs.size());
  size_t next = 0;
  for (const std::string& text : given) {
    const size_t at = text.find('@');
    if (at == std::string::npos || at + 1 == text.size() || (at > 0 && text[at - 1] != '=')) {
      diagnostics.error("output-argument", "--output {}: there is no @FILE", text).help("write NAME=@FILE.npy, or @FILE.npz for all outputs");
      continue;
    }
    const std::string name = at ? text.substr(0, at - 1) : "", file = text.substr(at + 1);
    if (name.empty() && file.ends_with(".npz")) {
      plan.archives.push_back(file);
      continue;
    }
    std::vector<std::string> names;
    for (const SoValue& v : info.outputs) names.push_back(v.name);
    const size_t index = name.empty() ? next++ : static_cast<size_t>(std::find(names.begin(), names.end(), name) - names.begin());
    if (index < names.size()) {
      plan.files[index] = file;
      continue;
    }
    auto& d = diagnostics.error("unknown-output", "the model has no output `{}`", name.empty() ? std::to_string(index) : name);
    if (const std::string near = nearest_spelling(name, names); !near.empty()) d.help(fmt::format("did you mean `{}`?", near));
    d.help("its outputs: " + signature_text(info.outputs));
  }
  for (const std::string& file : plan.files)
    if (!file.empty()) (void)PendingFile::create(file, diagnostics);
  for (const std::string& file : plan.archives) (void)PendingFile::create(file, diagnostics);
  if (diagnostics.has_errors()) return Failure{};
  return plan;
}

void write_outputs(const OutputFiles& plan, const SoInfo& info, const std::vector<RawTensor>& outputs, Diagnostics& diagnostics) {
  std::vector<NamedTensor> all;
  for (size_t i = 0; i < outputs.size(); ++i) {
    all.push_back({info.outputs[i].name, outputs[i]});
    if (plan.files[i].ends_with(".npz")) (void)write_npz(plan.files[i], std::span(&all.back(), 1), diagnostics);
    else if (!plan.files[i].empty()) (void)write_npy(plan.files[i], outputs[i], diagnostics);
  }
  for (const std::string& file : plan.archives) (void)write_npz(file, all, diagnostics);
}

/// "mean 0.12, from -3.4 to 5.6": enough to see whether a result is sane.
std::string summarise(const RawTensor& t) {
  const RawTensor wide = convert(t, DType::f64);
  const auto* x = reinterpret_cast<const double*>(wide.bytes.data());
  const size_t n = wide.bytes.size() / sizeof(double);
  if (n == 0) return "empty";
  double low = x[0], high = x[0], sum = 0;
  size_t nan = 0;
  for (size_t i = 0; i < n; ++i) {
    if (std::isnan(x[i])) ++nan;
    low = std::min(low, x[i]), high = std::max(high, x[i]), sum += x[i];
  }
  if (nan) return fmt::format("{} of {} elements are NaN", nan, n);
  return fmt::format("mean {:.6g}, from {:.6g} to {:.6g}", sum / static_cast<double>(n), low, high);
}

int run_model(const Flags& f, Diagnostics& diagnostics) {
  if (!require(f.library, "the library", usage, diagnostics)) return 0;
  auto info = read_so_info(f.library, diagnostics);
  if (!info) return 0;
  auto plan = plan_outputs(f.outputs, *info, diagnostics);
  auto sizes = choose_sizes(*info, f.dims, [](const Symbol& s) { return s.high; }, diagnostics);
  if (!plan || !sizes) return 0;
  auto inputs = collect_inputs(*info, {.given = f.inputs, .traced = {}, .seed = f.seed, .sizes = *sizes}, diagnostics);
  if (!inputs) return 0;
  auto model = SoModel::load(f.library, {.threads = f.threads, .copy_weights = f.weights == "copy"}, diagnostics);
  if (!model) return 0;
  const auto start = std::chrono::steady_clock::now();
  auto outputs = model->run(inputs->tensors, diagnostics);
  const double ms = std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count();
  if (!outputs) return 0;
  write_outputs(*plan, *info, *outputs, diagnostics);

  nlohmann::ordered_json j = {{"schema", 1},
                              {"library", f.library},
                              {"threads", model->threads()},
                              {"ms", ms},
                              {"inputs", nlohmann::ordered_json::array()},
                              {"outputs", nlohmann::ordered_json::array()}};
  for (size_t i = 0; i < inputs->tensors.size(); ++i) {
    if (!f.json && !f.quiet && inputs->origins[i].starts_with("drawn"))
      fmt::print(stderr, "note: input `{}` is {}\n", info->inputs[i].name, inputs->origins[i]);
    j["inputs"].push_back({{"name", info->inputs[i].name}, {"type", inputs->tensors[i].type.to_string()}, {"from", inputs->origins[i]}});
  }
  for (size_t i = 0; i < outputs->size(); ++i) {
    j["outputs"].push_back({{"name", info->outputs[i].name}, {"type", (*outputs)[i].type.to_string()}});
    if (!f.json) fmt::print("{}: {}, {}\n", info->outputs[i].name, (*outputs)[i].type.to_string(), summarise((*outputs)[i]));
  }
  if (f.json) fmt::print("{}\n", j.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace));
  return 0;
}

Action declare(CLI::App& app) {
  auto f = std::make_shared<Flags>();
  app.add_option("LIBRARY", f->library);
  add_repeated(app, "--input", f->inputs);
  add_repeated(app, "--output", f->outputs);
  add_repeated(app, "--dim", f->dims);
  app.add_option("--seed", f->seed);
  app.add_option("--threads", f->threads)->check(CLI::Range(0, 1024));
  app.add_option("--weights", f->weights)->check(CLI::IsMember({"map", "copy"}));
  app.add_flag("--json", f->json);
  app.add_flag("-q,--quiet", f->quiet);
  return [f](Diagnostics& diagnostics) { return run_model(*f, diagnostics); };
}

}  // namespace

const Command run_command = {"run", "a compiled model once, on NumPy arrays", help, declare};

}  // namespace mica::cli
