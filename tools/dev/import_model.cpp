// For whoever works on the frontend: imports a `.pt`, prints the graph, and with --check compares the interpreter with LibTorch in fp64.
//   import_model MODEL.pt [--input SPEC]... [--quiet] [--check] [--summary] [--locations]
#include <fmt/format.h>

#include <chrono>
#include <cmath>
#include <cstring>
#include <random>

#include "mica/frontend/eager.h"
#include "mica/ir/interpret.h"
#include "mica/ir/text.h"
#include "mica/ir/verify.h"

using namespace mica;

namespace {

/// Bytes for an input: the traced ones, else floats in [0, 1) and integers 0 and 1.
std::vector<std::byte> fill(const TensorType& type, std::mt19937_64& random) {
  HostTensor t{.dtype = type.dtype, .shape = type.shape, .real = {}, .integer = {}};
  for (int64_t i = 0; i < type.shape.elements(); ++i) {
    if (is_float(type.dtype)) t.real.push_back(std::uniform_real_distribution<double>(0, 1)(random));
    else t.integer.push_back(static_cast<int64_t>(random() & 1));
  }
  return from_host(t, type);
}

int compare(const std::string& file, const LoadOptions& options, LoadedModel& model) {
  Diagnostics d;
  std::mt19937_64 random(1);
  std::vector<RawTensor> raw;
  std::vector<HostTensor> host;
  for (size_t i = 0; i < model.graph.inputs.size(); ++i) {
    const TensorType& type = model.graph.type(model.graph.inputs[i]);
    raw.push_back({type, model.traced_inputs.empty() ? fill(type, random) : model.traced_inputs[i]});
    host.push_back(to_host(type, raw.back().bytes));
  }
  auto eager = EagerModel::load(file, EagerMode::fp64, 2, options, d);
  const auto expected = eager ? eager->run(raw, d) : Result<std::vector<RawTensor>>(Failure{});
  const auto got = interpret(model.graph, host, d);
  fmt::print(stderr, "{}", d.to_string());
  if (!expected || !got) return 1;
  if (expected->size() != got->size()) return fmt::print("outputs: {} against {}\n", got->size(), expected->size()), 1;
  int bad = 0;
  for (size_t i = 0; i < got->size(); ++i) {
    const HostTensor want = to_host((*expected)[i].type, (*expected)[i].bytes);
    const HostTensor& have = (*got)[i];
    if (want.shape != have.shape) return fmt::print("{}: shape {} against {}\n", i, have.shape.to_string(), want.shape.to_string()), 1;
    double error = 0, scale = 0;
    for (size_t k = 0; k < want.real.size() && k < have.real.size(); ++k)
      error = std::max(error, std::abs(want.real[k] - have.real[k])), scale = std::max(scale, std::abs(want.real[k]));
    for (size_t k = 0; k < want.integer.size() && k < have.integer.size(); ++k) error = std::max<double>(error, want.integer[k] != have.integer[k]);
    const bool ok = error <= 1e-9 * std::max(scale, 1.0);
    bad += !ok;
    fmt::print("{} {} {}: max error {:.3g}, max {:.3g}\n", ok ? "ok  " : "FAIL", file, model.graph.output_names[i], error, scale);
  }
  return bad != 0;
}

}  // namespace

int main(int argc, char** argv) {
  Diagnostics d;
  LoadOptions options;
  std::string file;
  bool quiet = false, check = false, summary = false, locations = false;
  for (int i = 1; i < argc; ++i) {
    if (!std::strcmp(argv[i], "--input") && i + 1 < argc) {
      auto spec = parse_input_spec(argv[++i], d);
      if (spec) options.inputs.push_back(*spec);
    } else if (!std::strcmp(argv[i], "--quiet")) quiet = true;
    else if (!std::strcmp(argv[i], "--check")) check = true;
    else if (!std::strcmp(argv[i], "--summary")) summary = true;
    else if (!std::strcmp(argv[i], "--locations")) locations = true;
    else file = argv[i];
  }
  if (summary) {
    const auto s = summarize_torchscript(file, d);
    if (s) {
      fmt::print("{}\nparameters {} ({} bytes)\n", s->signature, s->parameters, s->parameter_bytes);
      for (const auto& [name, type] : s->traced_inputs) fmt::print("traced {}: {}\n", name, type);
      for (const auto& [op, n] : s->ops) fmt::print("{:6} {}\n", n, op);
      for (const std::string& u : s->unsupported) fmt::print("unsupported {}\n", u);
    }
    fmt::print(stderr, "{}", d.to_string());
    return d.exit_code();
  }
  const auto start = std::chrono::steady_clock::now();
  auto model = load_torchscript(file, options, d);
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  if (model && !verify(model->graph, d)) return fmt::print(stderr, "{}", d.to_string()), 1;
  fmt::print(stderr, "{}", d.to_string());
  if (!model) return d.exit_code();
  if (!quiet) fmt::print("{}", to_string(model->graph, {.elide_constants = true, .locations = locations}));
  fmt::print("{}: {} nodes, {} constants, in {:.2f} s; inputs {}; outputs {}\n", file, model->graph.nodes.size(), model->graph.constants.size(),
             seconds, model->graph.input_structure.text, model->graph.output_structure.text);
  return check ? compare(file, options, *model) : 0;
}
