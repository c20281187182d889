#include "conformance.h"

#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>

#include "guarded.h"
#include "mica/driver/compile.h"
#include "mica/driver/numerics.h"
#include "mica/driver/tensor_file.h"

namespace mica::numerics {

namespace {

using Cases = std::span<const Case>;

/// What Mica may say no to though LibTorch has a kernel: averages and softmax of integers, and u8 images resized by fixed-point arithmetic.
constexpr std::string_view may_decline[] = {"[needs-float]", "[resample-integers]"};

std::string method_of(const Case& c, size_t number) {
  std::string text = fmt::format("def c{}(self", number);
  for (const SampleInput& in : c.inputs) text += ", " + in.name;
  text += "):\n";
  std::string_view rest = c.body;
  for (size_t end = 0; end != std::string_view::npos;) {
    end = rest.find("; ");
    text += fmt::format("  {}\n", rest.substr(0, end));
    if (end != std::string_view::npos) rest.remove_prefix(end + 2);
  }
  return text;
}

/// The cases as one module whose forward calls each of them.
struct Program {
  explicit Program(Cases cases) {
    static std::atomic<int> count = 0;
    file = std::filesystem::temp_directory_path() / fmt::format("mica_conformance_{}_{}.pt", ::getpid(), count++);
    std::string forward = "def forward(self", calls;
    for (size_t i = 0; i < cases.size(); ++i) {
      source += method_of(cases[i], i);
      std::string arguments;
      const auto bytes = draw_inputs(cases[i].inputs, 5 + i);
      for (size_t k = 0; k < bytes.size(); ++k) {
        const SampleInput& in = cases[i].inputs[k];
        const std::string name = fmt::format("{}{}", in.name, i);
        forward += ", " + name;
        arguments += (k ? ", " : "") + name;
        load.inputs.push_back({name, in.type.shape, in.type.dtype, std::nullopt, name});
        inputs.push_back({in.type, bytes[k]});
      }
      calls += fmt::format("{}self.c{}({})", i ? ", " : "", i, arguments);
    }
    source += fmt::format("{}):\n  return ({},)\n", forward, calls);
  }
  ~Program() {
    std::error_code ignored;
    for (const char* extension : {".pt", ".so"}) std::filesystem::remove(std::filesystem::path(file).replace_extension(extension), ignored);
  }
  Program(const Program&) = delete;
  Program& operator=(const Program&) = delete;

  std::filesystem::path file;
  std::string source;
  LoadOptions load;
  std::vector<RawTensor> inputs;
};

/// What LibTorch says; false when it refuses the program. No yardstick where it has no kernel in a working dtype.
struct Reference {
  std::vector<RawTensor> exact, eager;
  bool judge(const Program& p) {
    Diagnostics refused;
    if (!write_script(p.file, {.source = p.source, .parameters = {}, .children = {}}, {}, refused)) return false;
    const auto run = [&](EagerMode mode, std::vector<RawTensor>& to) {
      auto model = EagerModel::load(p.file, mode, 1, p.load, refused);
      auto outputs = model ? model->run(p.inputs, refused) : Result<std::vector<RawTensor>>(Failure{});
      if (outputs) to = std::move(*outputs);
      return static_cast<bool>(outputs);
    };
    if (!run(EagerMode::fp64, exact)) return false;
    run(EagerMode::eager, eager);
    return true;
  }
};

bool same_bits(const RawTensor& a, const RawTensor& b, size_t i) {
  const auto size = static_cast<size_t>(size_of(a.type.dtype));
  return std::memcmp(a.bytes.data() + i * size, b.bytes.data() + i * size, size) == 0;
}

/// The first element that has neither the yardstick's bits nor those of the judge rounded once (where LibTorch itself is off by a unit); NaNs are
/// one.
std::optional<size_t> first_difference(const RawTensor& got, const RawTensor& eager, const RawTensor& exact) {
  const RawTensor rounded = convert(exact, got.type.dtype), wide = convert(got, DType::f64), wanted = convert(eager, DType::f64);
  for (size_t i = 0; i < static_cast<size_t>(got.type.shape.elements()); ++i) {
    if (same_bits(got, eager, i) || same_bits(got, rounded, i)) continue;
    double x = 0, y = 0;
    std::memcpy(&x, wide.bytes.data() + i * sizeof(double), sizeof x);
    std::memcpy(&y, wanted.bytes.data() + i * sizeof(double), sizeof y);
    if (!(std::isnan(x) && std::isnan(y))) return i;
  }
  return std::nullopt;
}

std::string verdict(const Case& c, const RawTensor& got, const RawTensor& eager, const RawTensor& exact) {
  const OutputVerdict v = judge_output("output", got, eager, exact, false);
  if (!v.pass || !c.exact) return v.reason;
  const auto at = first_difference(got, eager, exact);
  return at ? fmt::format("element {} has other bits than LibTorch's", *at) : std::string();
}

/// Compiles and runs; why it could not be, or a reason a case.
Result<std::vector<std::string>> run_compiled(Cases cases, const Program& p, const Reference& reference, const Plan& plan, std::string& why) {
  Diagnostics diagnostics;
  Options options;
  options.model = p.file;
  options.output = std::filesystem::path(p.file).replace_extension(".so");
  options.load = p.load;
  options.cpu = plan.cpu;
  options.schedules = plan.schedules;
  options.winograd = WinogradUse::off;  // judged by tests/numerics/winograd_test.cpp
  options.debug_memory = plan.memory;
  options.debug_defect = plan.defect;
  options.jobs = 1;
  const auto give_up = [&] {
    why = diagnostics.to_string();
    return Failure{};
  };
  if (!compile(options, diagnostics)) return give_up();
  const auto outputs = run_library(options.output, p.inputs, 3, plan.memory, diagnostics),
             alone = run_library(options.output, p.inputs, 1, plan.memory, diagnostics);
  if (!outputs || !alone) return give_up();
  std::vector<std::string> reasons;
  for (size_t i = 0; i < cases.size(); ++i) {
    const RawTensor& got = (*outputs)[i];
    const RawTensor yardstick = reference.eager.empty() ? convert(reference.exact[i], got.type.dtype) : reference.eager[i];
    reasons.push_back(verdict(cases[i], got, yardstick, reference.exact[i]));
    if (got.bytes != (*alone)[i].bytes) reasons.back() += " (and depends on the number of threads)";
  }
  return reasons;
}

void run_cases(Cases cases, const Plan& plan, Outcome& out) {
  const auto halves = [&] {
    run_cases(cases.first(cases.size() / 2), plan, out);
    run_cases(cases.subspan(cases.size() / 2), plan, out);
  };
  const Program program(cases);
  Reference reference;
  if (!reference.judge(program)) {
    if (cases.size() > 1) return halves();
    ++out.refused;
    return;
  }
  // A dtype without a kernel in one case would leave all of them without a yardstick.
  if (reference.eager.empty() && cases.size() > 1) return halves();
  std::string why;
  const auto reasons = run_compiled(cases, program, reference, plan, why);
  if (!reasons && cases.size() > 1) return halves();
  if (!reasons && std::ranges::any_of(may_decline, [&](std::string_view name) { return why.find(name) != std::string::npos; })) {
    ++out.declined;
    return;
  }
  out.judged += cases.size();
  for (size_t i = 0; i < cases.size(); ++i) {
    const std::string& reason = reasons ? (*reasons)[i] : why;
    if (!reason.empty()) out.failures.push_back(fmt::format("{}\n    {}", cases[i].text(), reason));
  }
}

}  // namespace

std::string Case::text() const {
  std::string text;
  for (const SampleInput& in : inputs)
    text += fmt::format("{}{}={} in {}..{}", text.empty() ? "" : ", ", in.name, in.type.to_string(), in.low, in.high);
  return text + ": " + body;
}

std::string usual_range(DType t) {
  if (is_float(t)) return " in -2..2";
  if (is_bool(t)) return " in 0..2";
  return t == DType::u8 ? " in 0..256" : " in -50..50";
}

Outcome run_group(const Group& group, const Plan& plan) {
  Outcome out;
  if (group.cases.empty()) return out;
  const Cases cases(group.cases);
  Reference first;
  if (group.one_dtype && !first.judge(Program(cases.first(1)))) {
    out.refused = cases.size();
    return out;
  }
  constexpr size_t at_once = 64;
  for (size_t i = 0; i < cases.size(); i += at_once) run_cases(cases.subspan(i, std::min(at_once, cases.size() - i)), plan, out);
  return out;
}

}  // namespace mica::numerics
