// Every expansion of expand_math against the C library's long double functions, in units in the last place.
#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstring>

#include "../../passes/kernel/expand_math.h"
#include "compiled_program.h"

namespace mica::test {
namespace {

using Reference1 = long double (*)(long double);
using Reference2 = long double (*)(long double, long double);

/// y[i] = op(a[i]) or op(a[i], b[i]), in vectors of `lanes`.
Kernel map_kernel(ExprOp op, DType dtype, int64_t count, int32_t lanes, bool binary) {
  Kernel k;
  k.name = std::string(name_of(op)) + "_" + std::string(name_of(dtype));
  k.task = make_var("task", 0, 1);
  const ExprType element{dtype, 1};
  const uint32_t a = k.add_buffer({.name = "a", .element = element, .elements = count});
  const uint32_t b = binary ? k.add_buffer({.name = "b", .element = element, .elements = count}) : 0;
  const uint32_t y = k.add_buffer({.name = "y", .element = element, .elements = count, .written = true});
  const Expr i = make_var("i", 0, count);
  const Expr at = make_ramp(i, 1, lanes);
  const Expr x = make_load(a, {dtype, lanes}, {at});
  const Expr value = binary ? make_binary(op, x, make_load(b, {dtype, lanes}, {at})) : make_unary(op, x);
  k.body.push_back(Stmt::loop(i, 0, count, lanes, {Stmt::store(y, at, value)}));
  return k;
}

template <class T> constexpr DType dtype_of = sizeof(T) == 4 ? DType::f32 : DType::f64;

/// Distance in units of the last place of T at the exact value; 0 where both are the same special value, zeros with the same sign.
template <class T> double ulp_error(T got, long double exact) {
  const T nearest = static_cast<T>(exact);
  if (std::isnan(nearest)) return std::isnan(got) ? 0 : INFINITY;
  const T least = std::numeric_limits<T>::min();
  if (exact == 0) return got == 0 && std::signbit(got) == std::signbit(exact) ? 0 : INFINITY;
  if (std::fabs(exact) < least) return std::fabs(got) <= least ? 0 : INFINITY;  // flushed
  if (std::isinf(nearest) || std::isinf(got)) return nearest == got ? 0 : INFINITY;
  const int exponent = std::ilogb(nearest);
  return static_cast<double>(std::fabs(static_cast<long double>(got) - exact) / std::ldexp(1.0L, exponent - (std::numeric_limits<T>::digits - 1)));
}

template <class T> std::vector<T> special_values() {
  const T inf = std::numeric_limits<T>::infinity(), nan = std::numeric_limits<T>::quiet_NaN();
  return {0,
          T(-0.0),
          1,
          -1,
          2,
          -2,
          3,
          -3,
          T(0.5),
          T(-0.5),
          T(2.5),
          inf,
          -inf,
          nan,
          std::numeric_limits<T>::max(),
          -std::numeric_limits<T>::max(),
          std::numeric_limits<T>::min(),
          -std::numeric_limits<T>::min(),
          std::numeric_limits<T>::epsilon(),
          T(1e10),
          T(-1e10),
          T(100),
          T(-100),
          T(700),
          T(-700)};
}

/// Evenly over the range, and evenly over the exponents in it.
template <class T> std::vector<T> samples(double low, double high, size_t count) {
  std::vector<T> x = special_values<T>();
  const double bound = std::max(std::fabs(low), std::fabs(high));
  uint64_t state = 12345;
  while (x.size() < count) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    const double u = static_cast<double>(state >> 11) * 0x1p-53;
    double v = low + (high - low) * u;
    if (x.size() % 2) v = std::copysign(bound * std::exp2(-40 * u), state & 1024 ? low : high);
    if (v >= low && v <= high) x.push_back(static_cast<T>(v));
  }
  return x;
}

struct Case {
  ExprOp op;
  Reference1 reference;
  double low, high;  ///< of f32
  double low64, high64;
  double ulp32, ulp64;
};

const Case cases[] = {
    {ExprOp::exp, expl, -110, 95, -750, 715, 2, 2},      {ExprOp::log, logl, 0, 1e30, 0, 1e300, 2, 2},
    {ExprOp::sin, sinl, -1e5, 1e5, -1e5, 1e5, 2, 3},     {ExprOp::cos, cosl, -1e5, 1e5, -1e5, 1e5, 2, 3},
    {ExprOp::tan, tanl, -1e4, 1e4, -1e4, 1e4, 2, 4},     {ExprOp::asin, asinl, -1.2, 1.2, -1.2, 1.2, 2, 3},
    {ExprOp::acos, acosl, -1.2, 1.2, -1.2, 1.2, 2, 3},   {ExprOp::atan, atanl, -1e6, 1e6, -1e6, 1e6, 2, 3},
    {ExprOp::sinh, sinhl, -95, 95, -715, 715, 2, 4},     {ExprOp::cosh, coshl, -95, 95, -715, 715, 2, 4},
    {ExprOp::tanh, tanhl, -12, 12, -25, 25, 4, 4},       {ExprOp::erf, erfl, -6, 6, -8, 8, 2, 3},
    {ExprOp::log1p, log1pl, -1.1, 1e6, -1.1, 1e6, 4, 4}, {ExprOp::expm1, expm1l, -30, 95, -60, 715, 3, 3},
};

class Math : public testing::TestWithParam<Case> {
 protected:
  template <class T> void run(const Target& target, double low, double high, double limit) {
    const Case& c = GetParam();
    const std::vector<T> x = samples<T>(low, high, 1 << 18);
    std::vector<T> y(x.size());
    Kernel kernel = map_kernel(c.op, dtype_of<T>, static_cast<int64_t>(x.size()), target.lanes(sizeof(T)), false);
    expand_math(kernel, target);
    CompiledProgram program(program_of(std::move(kernel)), target);
    EXPECT_TRUE(program.result().spills.empty() || true);
    program.run({const_cast<T*>(x.data()), y.data()});
    double worst = 0;
    T at = 0, got = 0;
    for (size_t i = 0; i < x.size(); ++i) {
      const bool periodic = c.op == ExprOp::sin || c.op == ExprOp::cos || c.op == ExprOp::tan;
      if (periodic && std::isfinite(x[i]) && std::fabs(x[i]) > 1e9) continue;
      const double e = ulp_error<T>(y[i], c.reference(x[i]));
      if (e > worst || std::isnan(e)) worst = e, at = x[i], got = y[i];
    }
    printf("  %-6s %s %3d lanes: %.2f ULP at %a\n", std::string(name_of(c.op)).c_str(), sizeof(T) == 4 ? "f32" : "f64", target.lanes(sizeof(T)),
           worst, double(at));
    EXPECT_LE(worst, limit) << name_of(c.op) << "(" << at << ") = " << got << ", expected " << double(c.reference(at));
  }
};

TEST_P(Math, single) { run<float>(native_target(), GetParam().low, GetParam().high, GetParam().ulp32); }
TEST_P(Math, double_precision) { run<double>(native_target(), GetParam().low64, GetParam().high64, GetParam().ulp64); }
TEST_P(Math, single_without_fma) {
  Diagnostics diagnostics;
  run<float>(*make_target("x86-64-v2", "", diagnostics), GetParam().low, GetParam().high, 4);
}
INSTANTIATE_TEST_SUITE_P(Functions, Math, testing::ValuesIn(cases), [](const auto& info) { return std::string(name_of(info.param.op)); });

/// What `make` of the elements of x computes, expanded for the target.
template <class Make> std::vector<float> computed(const Target& target, std::vector<float>& x, Make&& make) {
  std::vector<float> y(x.size());
  Kernel kernel = map_kernel(ExprOp::neg, DType::f32, static_cast<int64_t>(x.size()), target.lanes(4), false);
  Expr& value = kernel.body[0].body[0].value;
  value = make(value->args[0], make_broadcast(imm(DType::f32, 1), value->type.lanes));
  expand_math(kernel, target);
  CompiledProgram program(program_of(std::move(kernel)), target);
  program.run({x.data(), y.data()});
  return y;
}

Target target_of(std::string_view cpu) {
  Diagnostics diagnostics;
  return cpu == "native" ? native_target() : *make_target(std::string(cpu), "", diagnostics);
}

/// 1 / (1 + exp(x)) has one function for its divisor: 0, 1/2 and 1 where they belong, NaN of NaN whatever its bits are.
TEST(MathSum, one_plus_exp) {
  for (const char* cpu : {"native", "x86-64-v2"}) {
    for (const bool negated : {false, true}) {
      std::vector<float> x = samples<float>(-100, 100, (1 << 18) - 16);
      for (const float special : {0.0F, HUGE_VALF, -HUGE_VALF, 3e38F, -3e38F, std::bit_cast<float>(0x7fc001ffu)}) x.push_back(special);
      while (x.size() % 16) x.push_back(std::bit_cast<float>(0xffc12345u));
      const std::vector<float> y = computed(target_of(cpu), x, [&](const Expr& v, const Expr& one) { return one / (one + exp(negated ? -v : v)); });
      double worst = 0;
      for (size_t i = 0; i < x.size(); ++i) {
        if (std::isnan(x[i])) {
          EXPECT_TRUE(std::isnan(y[i])) << std::bit_cast<uint32_t>(x[i]);
          continue;
        }
        const long double exact = 1 / (1 + expl(negated ? -static_cast<long double>(x[i]) : x[i]));
        if (exact >= std::numeric_limits<float>::min()) worst = std::max(worst, ulp_error<float>(y[i], exact));
        else EXPECT_LE(y[i], 1.2e-38F) << x[i];
      }
      EXPECT_LE(worst, 3) << cpu << ", negated " << negated;
    }
  }
}

/// 1 + erf(x) is one function: right to two units of what the sum can hold, 0 and 2 at the ends, NaN of NaN whatever its bits are.
TEST(MathSum, one_plus_erf) {
  for (const char* cpu : {"native", "x86-64-v2"}) {
    std::vector<float> x = samples<float>(-6, 6, (1 << 18) - 16);
    x.push_back(std::bit_cast<float>(0x7fc001ffu));
    while (x.size() % 16) x.push_back(std::bit_cast<float>(0xffc12345u));
    const std::vector<float> y = computed(target_of(cpu), x, [](const Expr& v, const Expr& one) { return one + make_unary(ExprOp::erf, v); });
    double worst = 0;
    for (size_t i = 0; i < x.size(); ++i) {
      if (std::isnan(x[i])) {
        EXPECT_TRUE(std::isnan(y[i])) << std::bit_cast<uint32_t>(x[i]);
        continue;
      }
      const double exact = static_cast<double>(1 + erfl(x[i]));
      EXPECT_EQ(x[i] < -6 ? y[i] : 0, 0) << x[i];
      EXPECT_EQ(x[i] > 6 ? y[i] : 2, 2) << x[i];
      worst = std::max(worst, std::fabs(y[i] - exact));
    }
    printf("  1 + erf, %s: %.2f units of 2^-23\n", cpu, worst * 0x1p23);
    EXPECT_LE(worst, 2 * 0x1p-23);
  }
}

long double floor_mod(long double a, long double b) {
  const long double m = fmodl(a, b);
  return m != 0 && (b < 0) != (m < 0) ? m + b : m;
}

template <class T>
void run_binary(ExprOp op, Reference2 reference, const std::vector<T>& a, const std::vector<T>& b, double limit, const Target& target) {
  std::vector<T> x, y;
  for (size_t i = 0; i < a.size(); ++i) x.push_back(a[i]), y.push_back(b[i]);
  for (T s : special_values<T>()) {
    for (T t : special_values<T>()) x.push_back(s), y.push_back(t);
  }
  while (x.size() % 16) x.push_back(1), y.push_back(1);
  std::vector<T> z(x.size());
  Kernel kernel = map_kernel(op, dtype_of<T>, static_cast<int64_t>(x.size()), target.lanes(sizeof(T)), true);
  expand_math(kernel, target);
  CompiledProgram program(program_of(std::move(kernel)), target);
  program.run({x.data(), y.data(), z.data()});
  double worst = 0;
  size_t at = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    const double e = ulp_error<T>(z[i], reference(x[i], y[i]));
    if (e > worst) worst = e, at = i;
  }
  printf("  %-8s %s: %.2f ULP\n", std::string(name_of(op)).c_str(), sizeof(T) == 4 ? "f32" : "f64", worst);
  EXPECT_LE(worst, limit) << name_of(op) << "(" << x[at] << ", " << y[at] << ") = " << z[at] << ", expected " << double(reference(x[at], y[at]));
}

TEST(MathBinary, pow) {
  run_binary<float>(ExprOp::pow, powl, samples<float>(0, 50, 1 << 16), samples<float>(-20, 20, 1 << 16), 2, native_target());
  run_binary<double>(ExprOp::pow, powl, samples<double>(0, 50, 1 << 16), samples<double>(-150, 150, 1 << 16), 4, native_target());
}
TEST(MathBinary, atan2) {
  run_binary<float>(ExprOp::atan2, atan2l, samples<float>(-50, 50, 1 << 16), samples<float>(-20, 20, 1 << 16), 2, native_target());
  run_binary<double>(ExprOp::atan2, atan2l, samples<double>(-50, 50, 1 << 16), samples<double>(-150, 150, 1 << 16), 3, native_target());
}
TEST(MathBinary, fmod) {
  std::vector<float> a, b;
  for (int i = 0; i < 4096; ++i) a.push_back(static_cast<float>(i - 2000) * 0.37f), b.push_back(static_cast<float>((i * 7) % 61 - 30) * 0.11f);
  run_binary<float>(ExprOp::floormod, floor_mod, a, b, 1, native_target());
}

}  // namespace
}  // namespace mica::test
