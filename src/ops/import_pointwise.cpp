// Pointwise operators whose TorchScript arguments do not map field by field: Python numbers as operands, alpha, rounding modes, dtypes.
#include <cmath>

#include "import_families.h"
#include "mica/ops/activation.h"
#include "mica/ops/compare.h"
#include "mica/ops/factory.h"
#include "mica/ops/math.h"
#include "mica/ops/reduce.h"
#include "mica/ops/special.h"
#include "mica/ops/view.h"

namespace mica {

namespace {

/// self and other, either of which may be a Python number.
struct Pair {
  Value x, y;
};
Pair operands(ImportContext& ctx, std::string_view first = "self", std::string_view second = "other") {
  if (ctx.is_tensor(first)) {
    const Value x = ctx.tensor(first);
    return {x, operand(ctx, second, x)};
  }
  const Value y = ctx.tensor(second);
  return {operand(ctx, first, y), y};
}

/// For operators whose result is floating: a number beside integers is not made one of them (u8 / -3 is no division by 253).
Pair float_operands(ImportContext& ctx) {
  const auto one = [&](std::string_view name, std::string_view beside) {
    if (ctx.is_tensor(name)) return ctx.tensor(name);
    const Value other = ctx.tensor(beside);
    return is_float(ctx.type(other).dtype) ? number(ctx, ctx.scalar(name), other) : constant(ctx, DType::f32, Scalar(ctx.real(name)));
  };
  return {one("self", "other"), one("other", "self")};
}
template <Op T> Imported float_binary(ImportContext& ctx) {
  const Pair p = float_operands(ctx);
  return {ctx.create(T{p.x, p.y})};
}

template <Op T> Imported binary(ImportContext& ctx) {
  const Pair p = operands(ctx);
  return {ctx.create(T{p.x, p.y})};
}

/// alpha * v, computed in `dtype`, that of the whole operator.
Value scaled(ImportContext& ctx, Value v, std::string_view alpha, DType dtype) {
  if (ctx.is_tensor(alpha)) return ctx.create(Mul{cast_to(ctx, v, dtype), cast_to(ctx, ctx.tensor(alpha), dtype)});  // a number that depends on data
  if (!ctx.has(alpha) || ctx.real(alpha) == 1) return v;
  const Value wide = cast_to(ctx, v, dtype);
  if (!is_bool(dtype)) return ctx.create(Mul{wide, number(ctx, ctx.scalar(alpha), wide)});
  return ctx.create(Mul{wide, constant(ctx, dtype, Scalar(ctx.real(alpha) != 0))});
}
DType common_dtype(ImportContext& ctx, std::initializer_list<Value> operands) {
  std::vector<TensorType> types;
  for (const Value v : operands) types.push_back(ctx.type(v));
  return promote_types(types);
}

/// x and a multiple of y, combined: f16 and bf16 in f32, and rounded once, as PyTorch's kernels do.
template <Op T> Value with_multiple(ImportContext& ctx, Value x, Value y) {
  const DType t = common_dtype(ctx, {x, y});
  const Value multiple = scaled(ctx, y, "alpha", working(t));
  return multiple == y ? ctx.create(T{x, y}) : cast_to(ctx, ctx.create(T{cast_to(ctx, x, working(t)), multiple}), t);
}
Imported add(ImportContext& ctx) {
  const Pair p = operands(ctx);
  return {with_multiple<Add>(ctx, p.x, p.y)};
}
Imported sub(ImportContext& ctx) {
  const Pair p = operands(ctx);
  return {with_multiple<Sub>(ctx, p.x, p.y)};
}
Imported rsub(ImportContext& ctx) {
  const Pair p = operands(ctx);
  return {with_multiple<Sub>(ctx, p.y, p.x)};
}

Imported div(ImportContext& ctx) {
  if (!ctx.has("rounding_mode")) return float_binary<Div>(ctx);
  const Pair p = operands(ctx);
  const std::string mode = ctx.text("rounding_mode");
  if (mode == "floor") return {ctx.create(FloorDivide{p.x, p.y})};
  if (mode == "trunc") return {ctx.create(TruncDivide{p.x, p.y})};
  ctx.fail("rounding-mode", fmt::format("rounding mode `{}` is neither floor nor trunc", mode));
}

/// x to a constant power by multiplications; also what integers need to stay exact.
Value multiplied(ImportContext& ctx, Value x, int64_t exponent) {
  Value result, square = x;
  for (int64_t e = exponent; e; e >>= 1) {
    if (e & 1) result = result ? ctx.create(Mul{result, square}) : square;
    if (e > 1) square = ctx.create(Mul{square, square});
  }
  return result;
}

Imported pow(ImportContext& ctx) {
  if (ctx.is_tensor("self") && ctx.is_number("exponent")) {
    const Value x = ctx.tensor("self");
    const Scalar e = ctx.scalar("exponent");
    const bool real = is_float(ctx.type(x).dtype);
    if (real || !is_float(e.dtype)) {
      if (real && e.real == 0.5) return {ctx.create(Sqrt{x})};
      if (real && e.real == -0.5) return {ctx.create(Rsqrt{x})};
      if (real && e.real == -1) return {ctx.create(Reciprocal{x})};
      const bool narrow = real && working(ctx.type(x).dtype) != ctx.type(x).dtype;  // would round at every step
      if (e.real >= 1 && e.real <= (real ? 4 : 62) && e.real == std::floor(e.real) && !(narrow && e.real > 2) && !is_bool(ctx.type(x).dtype)) {
        return {multiplied(ctx, x, static_cast<int64_t>(e.real))};
      }
    }
  }
  const Pair p = operands(ctx, "self", "exponent");
  return {ctx.create(Pow{p.x, p.y})};
}

Imported square(ImportContext& ctx) {
  Value x = ctx.tensor("self");
  if (is_bool(ctx.type(x).dtype)) x = cast_to(ctx, x, DType::i64);
  return {ctx.create(Mul{x, x})};
}

Imported frac(ImportContext& ctx) {
  const Value x = ctx.tensor("self");
  return {ctx.create(Sub{x, ctx.create(Trunc{x})})};
}

Imported clamp_between(ImportContext& ctx, std::string_view low, std::string_view high) {
  Value x = ctx.tensor("self");
  if (ctx.is_tensor(low) || ctx.is_tensor(high)) {
    // All three are promoted together: one after the other, the first two may meet in a narrower dtype and round.
    const Value from = ctx.has(low) ? operand(ctx, low, x) : x, to = ctx.has(high) ? operand(ctx, high, x) : x;
    const DType t = common_dtype(ctx, {x, from, to});
    x = cast_to(ctx, x, t);
    if (ctx.has(low)) x = ctx.create(Maximum{x, cast_to(ctx, from, t)});
    if (ctx.has(high)) x = ctx.create(Minimum{x, cast_to(ctx, to, t)});
    return {x};
  }
  if (is_bool(ctx.type(x).dtype)) x = cast_to(ctx, x, DType::i64);
  // A float bound on an integer tensor makes the result floating.
  for (std::string_view bound : {low, high}) {
    if (ctx.has(bound) && is_float(ctx.scalar(bound).dtype) && !is_float(ctx.type(x).dtype)) x = cast_to(ctx, x, DType::f32);
  }
  Clamp op{.x = x};
  if (ctx.has(low)) op.low = ctx.real(low);
  if (ctx.has(high)) op.high = ctx.real(high);
  if (std::isnan(op.low) || std::isnan(op.high)) ctx.unsupported("clamp-nan", "a bound is NaN");
  return {ctx.create(op)};
}
Imported clamp(ImportContext& ctx) { return clamp_between(ctx, "min", "max"); }
/// Unlike clamp it keeps integers, and makes its bounds such.
Imported hardtanh(ImportContext& ctx) {
  const Value x = ctx.tensor("self");
  double low = ctx.real_or("min_val", -1), high = ctx.real_or("max_val", 1);
  if (!is_float(ctx.type(x).dtype)) low = std::trunc(low), high = std::trunc(high);
  if (std::isnan(low) || std::isnan(high)) ctx.unsupported("clamp-nan", "a bound is NaN");
  return {ctx.create(Clamp{x, low, high})};
}
Imported relu6(ImportContext& ctx) { return {ctx.create(Clamp{ctx.tensor("self"), 0, 6})}; }

Imported gelu(ImportContext& ctx) {
  const std::string form = ctx.text_or("approximate", "none");
  if (form != "none" && form != "tanh") ctx.fail("gelu-form", fmt::format("approximate=`{}` is neither none nor tanh", form));
  return {ctx.create(Gelu{ctx.tensor("self"), form == "tanh"})};
}
Imported celu(ImportContext& ctx) {
  const double alpha = ctx.real_or("alpha", 1);
  return {ctx.create(Elu{.x = ctx.tensor("self"), .alpha = alpha, .scale = 1, .input_scale = 1 / alpha})};
}
Imported selu(ImportContext& ctx) {
  return {ctx.create(
      Elu{.x = ctx.tensor("self"), .alpha = 1.6732632423543772848170429916717, .scale = 1.0507009873554804934193349852946, .input_scale = 1})};
}

Imported prelu(ImportContext& ctx) {
  const Value x = ctx.tensor("self");
  Value weight = ctx.tensor("weight");
  // One slope per channel (axis 1): as many axes of 1 behind it as x has.
  if (ctx.shape(weight).elements() > 1 && ctx.rank(weight) <= 1) {
    std::vector<int64_t> sizes(static_cast<size_t>(std::max<int64_t>(1, ctx.rank(x) - 1)), 1);
    sizes[0] = ctx.shape(weight).elements();
    weight = reshape_to(ctx, weight, sizes);
  } else if (ctx.shape(weight).elements() == 1) {
    weight = reshape_to(ctx, weight, std::vector<int64_t>(static_cast<size_t>(ctx.rank(x)), 1));
  }
  return {ctx.create(Prelu{x, weight})};
}

Imported glu(ImportContext& ctx) {
  const Value x = ctx.tensor("self");
  const int64_t axis = ctx.normal_axis(ctx.integer_or("dim", -1), ctx.rank(x));
  if (!ctx.rank(x) || ctx.shape(x)[axis] % 2 != 0) ctx.fail("glu-odd", fmt::format("axis {} of {} cannot be halved", axis, ctx.type(x).to_string()));
  const Dim half = ctx.shape(x)[axis] / 2;
  const Value a = ctx.create(Slice{.x = x, .axis = axis, .start = 0, .end = half, .step = 1});
  const Value b = ctx.create(Slice{.x = x, .axis = axis, .start = half, .end = 2 * half, .step = 1});
  return {ctx.create(Mul{a, ctx.create(Sigmoid{b})})};
}

Imported threshold(ImportContext& ctx) {
  const Value x = ctx.tensor("self");
  const Value above = ctx.create(Gt{x, number(ctx, ctx.scalar("threshold"), x)});
  return {cast_to(ctx, ctx.create(Where{above, x, constant(ctx, ctx.type(x).dtype, ctx.scalar("value"))}), ctx.type(x).dtype)};
}

Imported hardshrink(ImportContext& ctx) {
  const Value x = ctx.tensor("self");
  const Value inside = ctx.create(Le{ctx.create(Abs{x}), number(ctx, Scalar(ctx.real_or("lambd", 0.5)), x)});
  return {ctx.create(Where{inside, constant(ctx, ctx.type(x).dtype, Scalar(0)), x})};
}
Imported softshrink(ImportContext& ctx) {
  const Value x = ctx.tensor("self");
  const double lambda = ctx.real_or("lambd", 0.5);
  // x less its part within [-lambda, lambda].
  return {ctx.create(Sub{x, ctx.create(Clamp{x, -lambda, lambda})})};
}

Imported bitwise_and(ImportContext& ctx) { return binary<BitwiseAnd>(ctx); }
Imported bitwise_or(ImportContext& ctx) { return binary<BitwiseOr>(ctx); }
Imported bitwise_xor(ImportContext& ctx) { return binary<BitwiseXor>(ctx); }

Imported where(ImportContext& ctx) {
  const Value condition = ctx.tensor("condition");
  if (!ctx.has("self")) {
    if (!ctx.rank(condition)) ctx.unsupported("data-dependent-size", "with one argument it takes a tensor of rank 1 or more");
    return {Values(nonzero_columns(ctx, condition))};
  }
  if (ctx.is_number("self") && ctx.is_number("other")) return {ctx.create(Where{condition, ctx.tensor("self"), ctx.tensor("other")})};
  const Pair p = operands(ctx);
  return {ctx.create(Where{condition, p.x, p.y})};
}

Imported masked_fill(ImportContext& ctx) {
  const Value x = ctx.tensor("self"), mask = ctx.tensor("mask");
  const DType dtype = ctx.type(x).dtype;
  const Value value = ctx.is_tensor("value") ? cast_to(ctx, ctx.tensor("value"), dtype) : constant(ctx, dtype, ctx.scalar("value"));
  return {ctx.create(Where{mask, value, x})};
}

Imported lerp(ImportContext& ctx) {
  const Value a = ctx.tensor("self"), b = ctx.tensor("end");
  const DType t = common_dtype(ctx, {a, b}), w = working(t);
  const Value weight = operand(ctx, "weight", a), low = cast_to(ctx, a, w), difference = ctx.create(Sub{cast_to(ctx, b, w), low});
  return {cast_to(ctx, ctx.create(Add{low, ctx.create(Mul{cast_to(ctx, weight, w), difference})}), t)};
}
/// self + value * tensor1 (* or /) tensor2, all of it in one dtype: f16 and bf16 in f32, and rounded once, as PyTorch's kernels do.
template <Op T> Imported add_combined(ImportContext& ctx) {
  const Value self = ctx.tensor("self"), a = ctx.tensor("tensor1"), b = ctx.tensor("tensor2");
  const DType t = common_dtype(ctx, {self, a, b});
  if (!is_float(t) && std::is_same_v<T, Div>) ctx.fail("needs-float", "does not divide integers");
  const DType w = working(t);
  const Value combined = ctx.create(T{cast_to(ctx, a, w), cast_to(ctx, b, w)});
  return {cast_to(ctx, ctx.create(Add{cast_to(ctx, self, w), scaled(ctx, combined, "value", w)}), t)};
}

Imported nan_to_num(ImportContext& ctx) {
  const Value x = ctx.tensor("self");
  const DType t = ctx.type(x).dtype;
  if (!is_float(t)) return {x};
  const double greatest = t == DType::f64    ? 1.7976931348623157e308
                          : t == DType::f16  ? 65504.0
                          : t == DType::bf16 ? 3.38953138925153547e38
                                             : 3.40282346638528860e38;
  Value y = ctx.create(Where{ctx.create(Isnan{x}), constant(ctx, t, Scalar(ctx.real_or("nan", 0))), x});
  const Value up = constant(ctx, t, Scalar(HUGE_VAL)), down = constant(ctx, t, Scalar(-HUGE_VAL));
  y = ctx.create(Where{ctx.create(Eq{x, up}), constant(ctx, t, Scalar(ctx.real_or("posinf", greatest))), y});
  return {ctx.create(Where{ctx.create(Eq{x, down}), constant(ctx, t, Scalar(ctx.real_or("neginf", -greatest))), y})};
}

template <bool base2> Imported logaddexp(ImportContext& ctx) {
  const Pair p = operands(ctx);
  return {ctx.create(Logaddexp{p.x, p.y, base2})};
}

Imported log_sigmoid_forward(ImportContext& ctx) {
  const Value x = ctx.tensor("self");
  return {ctx.create(LogSigmoid{x}), x};
}

/// aten::to and its relatives: only the dtype matters, there is one device and one layout.
Imported to(ImportContext& ctx) {
  const Value x = ctx.tensor("self");
  if (ctx.is_tensor("other")) return {cast_to(ctx, x, ctx.type(ctx.tensor("other")).dtype)};
  const auto dtype = ctx.dtype("dtype");
  return {dtype ? cast_to(ctx, x, *dtype) : x};
}
template <DType t> Imported to_fixed(ImportContext& ctx) { return {cast_to(ctx, ctx.tensor("self"), t)}; }

Imported round(ImportContext& ctx) {
  const Value x = ctx.tensor("self");
  const int64_t decimals = ctx.integer_or("decimals", 0);
  if (!decimals) return {ctx.create(Round{x})};
  // Scaled in the working dtype: a product rounded to 16 bits may fall on a half.
  const DType t = ctx.type(x).dtype, wide = working(t);
  const Value scale = constant(ctx, wide, Scalar(std::pow(10.0, static_cast<double>(decimals))));
  return {cast_to(ctx, ctx.create(Div{ctx.create(Round{ctx.create(Mul{cast_to(ctx, x, wide), scale})}), scale}), t)};
}

Imported logit(ImportContext& ctx) {
  Value x = ctx.tensor("self");
  if (ctx.has("eps")) x = ctx.create(Clamp{x, ctx.real("eps"), 1 - ctx.real("eps")});
  return {ctx.create(Log{ctx.create(Div{x, ctx.create(Sub{number(ctx, Scalar(1.0), x), x})})})};
}
Imported float_power(ImportContext& ctx) {
  const Value x = ctx.is_tensor("self") ? cast_to(ctx, ctx.tensor("self"), DType::f64) : constant(ctx, DType::f64, ctx.scalar("self"));
  const Value e = ctx.is_tensor("exponent") ? cast_to(ctx, ctx.tensor("exponent"), DType::f64) : constant(ctx, DType::f64, ctx.scalar("exponent"));
  return {ctx.create(Pow{x, e})};
}
/// |x - y| <= atol + rtol |y|, or equal.
Imported isclose(ImportContext& ctx) {
  Pair p = operands(ctx);
  if (is_bool(ctx.type(p.x).dtype)) p = {cast_to(ctx, p.x, DType::i64), cast_to(ctx, p.y, DType::i64)};
  if (ctx.boolean_or("equal_nan", false)) ctx.unsupported("unsupported-argument", "equal_nan=True is not supported");
  const Value same = ctx.create(Eq{p.x, p.y});
  const Value limit = ctx.create(Add{ctx.create(Mul{ctx.create(Abs{p.y}), number(ctx, Scalar(ctx.real_or("rtol", 1e-5)), p.y)}),
                                     number(ctx, Scalar(ctx.real_or("atol", 1e-8)), p.y)});
  const Value distance = ctx.create(Abs{ctx.create(Sub{p.x, p.y})});
  return {ctx.create(LogicalOr{same, ctx.create(LogicalAnd{ctx.create(Le{distance, limit}), ctx.create(Isfinite{distance})})})};
}

Imported isclose_to_infinity(ImportContext& ctx, double value) {
  const Value x = ctx.tensor("self");
  return {ctx.create(Eq{x, constant(ctx, is_float(ctx.type(x).dtype) ? ctx.type(x).dtype : DType::f32, Scalar(value))})};
}
Imported isposinf(ImportContext& ctx) { return isclose_to_infinity(ctx, HUGE_VAL); }
Imported isneginf(ImportContext& ctx) { return isclose_to_infinity(ctx, -HUGE_VAL); }

/// Which elements are among the others.
Imported isin(ImportContext& ctx) {
  const auto tensor_or_number = [&](std::string_view name, std::string_view other) {
    return ctx.is_tensor(name) ? ctx.tensor(name) : number(ctx, ctx.scalar(name), ctx.tensor(other));
  };
  const std::string_view one = ctx.has("elements") ? "elements" : "element", many = ctx.has("test_elements") ? "test_elements" : "test_element";
  const Value x = tensor_or_number(one, many), among = tensor_or_number(many, one);
  const Value line = reshape_to(ctx, among, {ctx.shape(among).elements()});
  const Value found = ctx.create(Any{ctx.create(Eq{unsqueeze_at(ctx, x, ctx.rank(x)), line}), Ints{ctx.rank(x)}, false});
  return {ctx.boolean_or("invert", false) ? ctx.create(LogicalNot{found}) : found};
}
Imported same(ImportContext& ctx) { return {ctx.tensor("self")}; }
Imported isreal(ImportContext& ctx) { return {ctx.create(Full{ctx.shape(ctx.tensor("self")).dims(), Scalar(true), DType::b8})}; }
/// values where x is 0, else 0 or 1 by the sign.
Imported heaviside(ImportContext& ctx) {
  const Value x = ctx.tensor("self"), at_zero = ctx.tensor("values");
  const DType t = ctx.type(x).dtype;
  const Value zero = constant(ctx, t, Scalar(0)), one = constant(ctx, t, Scalar(1));
  return {ctx.create(Where{ctx.create(Eq{x, zero}), at_zero, ctx.create(Where{ctx.create(Lt{x, zero}), zero, one})})};
}
/// x in the dtype in which functions of it are computed: f32 for f16, bf16 and everything that is not floating.
struct Widened {
  Value x;
  DType result;
};
Widened widened(ImportContext& ctx) {
  const Value x = ctx.tensor("self");
  const DType t = ctx.type(x).dtype, result = is_float(t) ? t : DType::f32;
  return {cast_to(ctx, x, working(result)), result};
}
template <bool to_degrees> Imported degrees(ImportContext& ctx) {
  const auto [x, t] = widened(ctx);
  constexpr double degree = 57.295779513082320876798;
  return {cast_to(ctx, ctx.create(Mul{x, constant(ctx, ctx.type(x).dtype, Scalar(to_degrees ? degree : 1 / degree))}), t)};
}
/// sin(pi x) / (pi x), and 1 at 0.
Imported sinc(ImportContext& ctx) {
  const auto [x, t] = widened(ctx);
  const DType w = ctx.type(x).dtype;
  const Value angle = ctx.create(Mul{x, constant(ctx, w, Scalar(3.14159265358979323846))});
  const Value zero = ctx.create(Eq{x, constant(ctx, w, Scalar(0))}), one = constant(ctx, w, Scalar(1));
  return {cast_to(ctx, ctx.create(Where{zero, one, ctx.create(Div{ctx.create(Sin{angle}), angle})}), t)};
}
/// -x log(x); 0 at 0 and -inf below.
Imported entropy(ImportContext& ctx) {
  const auto [x, t] = widened(ctx);
  const DType w = ctx.type(x).dtype;
  const Value zero = constant(ctx, w, Scalar(0));
  const Value y = ctx.create(Where{ctx.create(Lt{x, zero}), constant(ctx, w, Scalar(-HUGE_VAL)), ctx.create(Neg{ctx.create(Xlogy{x, x})})});
  return {cast_to(ctx, y, t)};
}
Imported normal_cdf(ImportContext& ctx) {
  const auto [x, t] = widened(ctx);
  const DType w = ctx.type(x).dtype;
  const Value tail = ctx.create(Erfc{ctx.create(Mul{x, constant(ctx, w, Scalar(-0.70710678118654752440))})});
  return {cast_to(ctx, ctx.create(Mul{tail, constant(ctx, w, Scalar(0.5))}), t)};
}
/// x * 2^other
Imported ldexp(ImportContext& ctx) {
  const Value x = ctx.tensor("self"), exponent = ctx.tensor("other");
  const Value power = ctx.create(Pow{number(ctx, Scalar(2.0), exponent), exponent});
  return {ctx.create(Mul{x, power})};
}

constexpr ImportEntry entries[] = {
    {"aten::add", add},
    {"aten::sub", sub},
    {"aten::subtract", sub},
    {"aten::rsub", rsub},
    {"aten::mul", binary<Mul>},
    {"aten::multiply", binary<Mul>},
    {"aten::div", div},
    {"aten::divide", div},
    {"aten::true_divide", div},
    {"aten::floor_divide", binary<FloorDivide>},
    {"aten::remainder", binary<Remainder>},
    {"aten::fmod", binary<Fmod>},
    {"aten::pow", pow},
    {"aten::square", square},
    {"aten::frac", frac},
    {"aten::minimum", binary<Minimum>},
    {"aten::maximum", binary<Maximum>},
    {"aten::fmin", binary<Minimum>},
    {"aten::fmax", binary<Maximum>},
    {"aten::min.other", binary<Minimum>},
    {"aten::max.other", binary<Maximum>},
    {"aten::clamp", clamp},
    {"aten::clip", clamp},
    {"aten::clamp_min", clamp},
    {"aten::clamp_max", clamp},
    {"aten::hardtanh", hardtanh},
    {"aten::relu6", relu6},
    {"aten::gelu", gelu},
    {"aten::celu", celu},
    {"aten::selu", selu},
    {"aten::prelu", prelu},
    {"aten::_prelu_kernel", prelu},
    {"aten::glu", glu},
    {"aten::threshold", threshold},
    {"aten::hardshrink", hardshrink},
    {"aten::softshrink", softshrink},
    {"aten::log_sigmoid_forward", log_sigmoid_forward},
    {"aten::round.decimals", round},
    {"aten::eq", binary<Eq>},
    {"aten::ne", binary<Ne>},
    {"aten::not_equal", binary<Ne>},
    {"aten::lt", binary<Lt>},
    {"aten::less", binary<Lt>},
    {"aten::le", binary<Le>},
    {"aten::less_equal", binary<Le>},
    {"aten::gt", binary<Gt>},
    {"aten::greater", binary<Gt>},
    {"aten::ge", binary<Ge>},
    {"aten::greater_equal", binary<Ge>},
    {"aten::isposinf", isposinf},
    {"aten::isneginf", isneginf},
    {"aten::hypot", binary<Hypot>},
    {"aten::copysign", float_binary<Copysign>},
    {"aten::xlogy", float_binary<Xlogy>},
    {"aten::special_xlogy", float_binary<Xlogy>},
    {"aten::heaviside", heaviside},
    {"aten::deg2rad", degrees<false>},
    {"aten::rad2deg", degrees<true>},
    {"aten::isin", isin},
    {"aten::positive", same},
    {"aten::real", same},
    {"aten::conj", same},
    {"aten::isreal", isreal},
    {"aten::sinc", sinc},
    {"aten::special_sinc", sinc},
    {"aten::special_entr", entropy},
    {"aten::special_ndtr", normal_cdf},
    {"aten::ldexp", ldexp},
    {"aten::logit", logit},
    {"aten::special_logit", logit},
    {"aten::float_power", float_power},
    {"aten::isclose", isclose},
    {"aten::bitwise_and", bitwise_and},
    {"aten::__and__", bitwise_and},
    {"aten::bitwise_or", bitwise_or},
    {"aten::__or__", bitwise_or},
    {"aten::bitwise_xor", bitwise_xor},
    {"aten::__xor__", bitwise_xor},
    {"aten::bitwise_left_shift", binary<ShiftLeft>},
    {"aten::__lshift__", binary<ShiftLeft>},
    {"aten::bitwise_right_shift", binary<ShiftRight>},
    {"aten::__rshift__", binary<ShiftRight>},
    {"aten::where", where},
    {"aten::masked_fill", masked_fill},
    {"aten::lerp", lerp},
    {"aten::addcmul", add_combined<Mul>},
    {"aten::addcdiv", add_combined<Div>},
    {"aten::nan_to_num", nan_to_num},
    {"aten::logaddexp", logaddexp<false>},
    {"aten::logaddexp2", logaddexp<true>},
    {"aten::to", to},
    {"aten::_to_copy", to},
    {"aten::type_as", to},
    {"aten::float", to_fixed<DType::f32>},
    {"aten::double", to_fixed<DType::f64>},
    {"aten::half", to_fixed<DType::f16>},
    {"aten::bfloat16", to_fixed<DType::bf16>},
    {"aten::long", to_fixed<DType::i64>},
    {"aten::int", to_fixed<DType::i32>},
    {"aten::bool", to_fixed<DType::b8>},
    {"aten::_cast_Float", to_fixed<DType::f32>},
    {"aten::_cast_Long", to_fixed<DType::i64>},
    {"aten::_cast_Half", to_fixed<DType::f16>},
    {"aten::_cast_Int", to_fixed<DType::i32>},
};

}  // namespace

std::span<const ImportEntry> import_pointwise() { return entries; }

}  // namespace mica
