// build/release/tests/bin/conformance --gtest_filter='*Values*'
// Functions of one tensor on every value: all 65,536 of f16 and bf16, and a sample of f32 over all its exponents. Mica computes with subnormal
// f32 numbers taken as zero and given as zero (src/runtime/cpu/fpenv.c): a subnormal f32 or bf16 may count as itself or as zero on both sides.
// f16 has no such numbers: its subnormals are ordinary in f32.
#include <unistd.h>

#include <cmath>
#include <cstring>

#include "conformance.h"
#include "mica/driver/compile.h"
#include "mica/driver/so_model.h"
#include "mica/driver/tensor_file.h"
#include "mica/support/narrow_float.h"
#include "programs.h"

namespace mica::numerics {
namespace {

constexpr double least_normal = 0x1p-126;  ///< of f32 and of bf16

/// An op with one tensor operand and nothing else, or its sample's attributes; as the expression that LibTorch runs.
struct Unary {
  const OpInfo* op;
  std::string expression;
};

std::vector<Unary> unary_ops(DType t) {
  std::vector<Unary> all;
  for (const OpInfo* op : all_ops()) {
    if (!op->is(Trait::pointwise)) continue;
    size_t operands = 0;
    for (const Attr& a : op->defaults()) operands += std::holds_alternative<Value>(a);
    Diagnostics ignored;
    const auto sample = operands == 1 ? parse_sample(*op, fmt::format("x={}[2]", name_of(t)), ignored) : Result<Sample>(Failure{});
    if (!sample || op->name() == "cast") continue;
    const std::string program = program_of(*sample);
    const size_t at = program.find("return ");
    if (at == std::string::npos) continue;
    std::string expression = program.substr(at + 7, program.size() - at - 8);
    if (const size_t open = expression.find("None, None"); open != std::string::npos) expression.replace(open, 10, "-0.5, 0.5");
    all.push_back({op, std::move(expression)});
  }
  return all;
}

/// Where an op is as good as its dtype, when that is not everywhere: known limits, each with its reason.
struct Limit {
  std::string_view op;
  double low, high;  ///< values outside are not asked for
};
constexpr Limit limits[] = {
    {"acosh", -6e7, HUGE_VAL},  // -inf in place of NaN below
    {"cos", -1e11, 1e11},       // the reduction of the argument has no digits left
    {"sin", -1e11, 1e11},
    {"tan", -1e11, 1e11},
    {"digamma", 0, HUGE_VAL},        // reflection cancels
    {"erfc", -HUGE_VAL, 3},          // 1 - erf(x)
    {"gelu", -4.7, HUGE_VAL},        // 1 + erf(x) of a negative x
    {"hardswish", -HUGE_VAL, 5e37},  // x * 6 overflows before it is divided
    {"lgamma", 1, 0},                // nowhere: a difference of numbers near each other at its zeros
    {"mish", -87, HUGE_VAL},         // exp(x) is subnormal before it is multiplied
    {"silu", -88, HUGE_VAL},
};
bool within_limits(std::string_view op, double x) {
  for (const Limit& l : limits)
    if (l.op == op && !(x >= l.low && x <= l.high)) return false;
  return true;
}

class Values : public Judged {
 protected:
  /// One program with an output an expression, run on `x`; what Mica and LibTorch in fp64 say.
  void run(const std::vector<std::string>& expressions, const RawTensor& x, const char* cpu) {
    std::string source = "def forward(self, x):\n  return (";
    for (const std::string& e : expressions) source += e + ", ";
    source += ")\n";
    file_ = std::filesystem::temp_directory_path() / fmt::format("mica_values_{}.pt", ::getpid());
    options_.inputs = {{"x", x.type.shape, x.type.dtype, std::nullopt, "x"}};
    raw_ = {x};
    ASSERT_TRUE(write_script(file_, {.source = source, .parameters = {}, .children = {}}, {}, diagnostics)) << diagnostics.to_string();
    auto judge = EagerModel::load(file_, EagerMode::fp64, 1, options_, diagnostics);
    auto exact = judge ? judge->run(raw_, diagnostics) : Result<std::vector<RawTensor>>(Failure{});
    ASSERT_TRUE(exact) << diagnostics.to_string();
    exact_ = std::move(*exact);
    Options options;
    options.model = file_;
    options.output = std::filesystem::path(file_).replace_extension(".so");
    options.load = options_;
    options.cpu = cpu;
    ASSERT_TRUE(compile(options, diagnostics)) << diagnostics.to_string();
    auto model = SoModel::load(options.output, {.threads = 2, .copy_weights = false}, diagnostics);
    std::filesystem::remove(options.output);
    ASSERT_TRUE(model) << diagnostics.to_string();
    auto outputs = model->run(raw_, diagnostics);
    ASSERT_TRUE(outputs) << diagnostics.to_string();
    got_ = std::move(*outputs);
  }
  std::vector<RawTensor> got_;
};

std::vector<double> doubles(const RawTensor& t) {
  const RawTensor wide = convert(t, DType::f64);
  std::vector<double> out(wide.bytes.size() / sizeof(double));
  std::memcpy(out.data(), wide.bytes.data(), wide.bytes.size());
  return out;
}

/// Places of a 16-bit float in order, so that neighbours differ by one.
int32_t place(uint16_t bits) { return bits & 0x8000 ? -static_cast<int32_t>(bits & 0x7fff) : bits; }

struct Narrow {
  DType dtype;
  const char* cpu;
};
void PrintTo(const Narrow& n, std::ostream* out) { *out << name_of(n.dtype) << " " << n.cpu; }
class NarrowValues : public Values, public testing::WithParamInterface<Narrow> {
 protected:
  uint16_t rounded(double v) const { return GetParam().dtype == DType::f16 ? to_f16(v) : to_bf16(v); }
  double value(uint16_t bits) const { return GetParam().dtype == DType::f16 ? from_f16(bits) : from_bf16(bits); }
  bool flushed(double v) const { return GetParam().dtype == DType::bf16 && std::abs(v) < least_normal; }
  /// A result below twice the least normal number, of which a half is computed on the way (expm1, exp2), may be zero as well.
  bool flushed_result(double v) const { return GetParam().dtype == DType::bf16 && std::abs(v) < 2 * least_normal; }
  /// Whether `got` is `exact` rounded once, or its neighbour.
  bool right(uint16_t got, double exact, int32_t apart) const {
    const double v = value(got);
    if (std::isnan(exact) || std::isnan(v)) return std::isnan(exact) && std::isnan(v);
    return std::abs(place(got) - place(rounded(exact))) <= apart || (flushed_result(exact) && v == 0);
  }
};

TEST_P(NarrowValues, EveryValueOfEveryUnaryOp) {
  const DType t = GetParam().dtype;
  RawTensor x{{t, {65536}, {}}, std::vector<std::byte>(2 * 65536)};
  for (int i = 0; i < 65536; ++i) {
    const auto bits = static_cast<uint16_t>(i);
    std::memcpy(&x.bytes[2 * static_cast<size_t>(i)], &bits, 2);
  }
  const auto ops = unary_ops(t);
  std::vector<std::string> expressions;
  for (const Unary& u : ops) expressions.push_back(u.expression);
  ASSERT_GT(ops.size(), 35u);
  run(expressions, x, GetParam().cpu);
  if (HasFatalFailure()) return;
  for (size_t o = 0; o < ops.size(); ++o) {
    const std::vector<double> exact = doubles(exact_[o]);
    size_t wrong = 0;
    std::string first;
    for (size_t i = 0; i < 65536; ++i) {
      if (!within_limits(ops[o].op->name(), value(static_cast<uint16_t>(i)))) continue;
      bool good;
      double v;
      if (is_float(got_[o].type.dtype)) {
        uint16_t bits;
        std::memcpy(&bits, &got_[o].bytes[2 * i], 2);
        v = value(bits);
        good = right(bits, exact[i], 1);
        // A subnormal operand may count as the zero of its sign.
        if (!good && flushed(value(static_cast<uint16_t>(i)))) good = right(bits, exact[i & 0x8000], 1);
      } else {
        v = std::to_integer<int>(got_[o].bytes[i]);
        good = v == exact[i] || (flushed(value(static_cast<uint16_t>(i))) && v == exact[i & 0x8000]);
      }
      if (good) continue;
      if (!wrong++) first = fmt::format("{}: {} instead of {}", value(static_cast<uint16_t>(i)), v, exact[i]);
    }
    EXPECT_EQ(wrong, 0u) << ops[o].expression << " of " << first;
  }
}
INSTANTIATE_TEST_SUITE_P(all, NarrowValues,
                         testing::Values(Narrow{DType::f16, "native"}, Narrow{DType::bf16, "native"}, Narrow{DType::f16, "x86-64-v2"},
                                         Narrow{DType::bf16, "x86-64-v2"}),
                         [](const auto& info) { return fmt::format("{}_{}", name_of(info.param.dtype), info.index); });

/// How far `got` is from `exact` in units of the last place of a f32.
double ulps(float got, double exact) {
  if (std::isnan(exact) || std::isnan(got)) return std::isnan(exact) && std::isnan(got) ? 0 : HUGE_VAL;
  const float nearest = static_cast<float>(exact);
  if (std::isinf(nearest) || std::isinf(got)) return nearest == got ? 0 : HUGE_VAL;
  if (std::abs(exact) < least_normal && (got == 0 || std::abs(got) <= least_normal)) return 0;  // given as zero, or as the least normal number
  return std::abs(got - exact) / std::ldexp(1.0, std::max(std::ilogb(exact), -126) - 23);
}

struct Dense {
  const char* cpu;
};
void PrintTo(const Dense& d, std::ostream* out) { *out << d.cpu; }
class DenseValues : public Values, public testing::WithParamInterface<Dense> {};

TEST_P(DenseValues, WithinFourUnitsInTheLastPlace) {
  constexpr size_t count = size_t{1} << 22;
  RawTensor x{{DType::f32, {static_cast<int64_t>(count)}, {}}, std::vector<std::byte>(4 * count)};
  for (size_t i = 0; i < count; ++i) {
    const auto bits = static_cast<uint32_t>(i * 1024 + (i * 2654435761u >> 7) % 1024);  // every exponent and sign, other fractions in each
    std::memcpy(&x.bytes[4 * i], &bits, 4);
  }
  const std::vector<std::string> functions = {"torch.exp(x)", "torch.log(x)", "torch.tanh(x)", "torch.erf(x)", "torch.sigmoid(x)"};
  run(functions, x, GetParam().cpu);
  if (HasFatalFailure()) return;
  for (size_t f = 0; f < functions.size(); ++f) {
    const std::vector<double> exact = doubles(exact_[f]);
    const double of_zero = f == 1 ? -HUGE_VAL : f == 0 ? 1 : f == 4 ? 0.5 : 0;
    double worst = 0;
    float at = 0;
    for (size_t i = 0; i < count; ++i) {
      float got, in;
      std::memcpy(&got, &got_[f].bytes[4 * i], 4);
      std::memcpy(&in, &x.bytes[4 * i], 4);
      double off = ulps(got, exact[i]);
      if (std::fpclassify(in) == FP_SUBNORMAL) off = std::min(off, ulps(got, of_zero));
      if (off > worst) worst = off, at = in;
    }
    EXPECT_LE(worst, 4) << functions[f] << " of " << at;
    std::cout << fmt::format("{}: at most {:.2f} units, at {}\n", functions[f], worst, at);
  }
}
INSTANTIATE_TEST_SUITE_P(all, DenseValues, testing::Values(Dense{"native"}, Dense{"x86-64-v3"}, Dense{"x86-64-v2"}),
                         [](const auto& info) { return fmt::format("plan_{}", info.index); });

}  // namespace
}  // namespace mica::numerics
