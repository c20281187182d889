// Pointwise operators whose TorchScript arguments do not map field by field: Python numbers as operands, alpha, rounding modes, dtypes.
#include <cmath>

#include "import_families.h"
#include "mica/ops/activation.h"
#include "mica/ops/compare.h"
#include "mica/ops/math.h"
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

template <Op T> Imported binary(ImportContext& ctx) {
  const Pair p = operands(ctx);
  return {ctx.create(T{p.x, p.y})};
}

Value scaled(ImportContext& ctx, Value v, std::string_view alpha) {
  if (!ctx.has(alpha) || ctx.real(alpha) == 1) return v;
  return ctx.create(Mul{v, number(ctx, ctx.scalar(alpha), v)});
}

Imported add(ImportContext& ctx) {
  const Pair p = operands(ctx);
  return {ctx.create(Add{p.x, scaled(ctx, p.y, "alpha")})};
}
Imported sub(ImportContext& ctx) {
  const Pair p = operands(ctx);
  return {ctx.create(Sub{p.x, scaled(ctx, p.y, "alpha")})};
}
Imported rsub(ImportContext& ctx) {
  const Pair p = operands(ctx);
  return {ctx.create(Sub{p.y, scaled(ctx, p.x, "alpha")})};
}

Imported div(ImportContext& ctx) {
  const Pair p = operands(ctx);
  if (!ctx.has("rounding_mode")) return {ctx.create(Div{p.x, p.y})};
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
  const Value x = ctx.tensor("self");
  return {ctx.create(Mul{x, x})};
}

Imported frac(ImportContext& ctx) {
  const Value x = ctx.tensor("self");
  return {ctx.create(Sub{x, ctx.create(Trunc{x})})};
}

Imported clamp_between(ImportContext& ctx, std::string_view low, std::string_view high) {
  Value x = ctx.tensor("self");
  if (ctx.is_tensor(low) || ctx.is_tensor(high)) {
    if (ctx.has(low)) x = ctx.create(Maximum{x, operand(ctx, low, x)});
    if (ctx.has(high)) x = ctx.create(Minimum{x, operand(ctx, high, x)});
    return {x};
  }
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
Imported hardtanh(ImportContext& ctx) { return clamp_between(ctx, "min_val", "max_val"); }
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
  if (!ctx.rank(x) || ctx.shape(x)[axis] % 2) ctx.fail("glu-odd", fmt::format("axis {} of {} cannot be halved", axis, ctx.type(x).to_string()));
  const int64_t half = ctx.shape(x)[axis] / 2;
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
  if (!ctx.has("self")) ctx.unsupported("data-dependent-size", "with one argument has a result whose size depends on data");
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
  const Value weight = operand(ctx, "weight", a), difference = ctx.create(Sub{b, a});
  return {ctx.create(Add{a, ctx.create(Mul{weight, difference})})};
}
Imported addcmul(ImportContext& ctx) {
  const Value product = ctx.create(Mul{ctx.tensor("tensor1"), ctx.tensor("tensor2")});
  return {ctx.create(Add{ctx.tensor("self"), scaled(ctx, product, "value")})};
}
Imported addcdiv(ImportContext& ctx) {
  const Value quotient = ctx.create(Div{ctx.tensor("tensor1"), ctx.tensor("tensor2")});
  return {ctx.create(Add{ctx.tensor("self"), scaled(ctx, quotient, "value")})};
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

Imported logaddexp(ImportContext& ctx) {
  const Pair p = operands(ctx);
  const Value top = ctx.create(Maximum{p.x, p.y}), distance = ctx.create(Abs{ctx.create(Sub{p.x, p.y})});
  const Value sum = ctx.create(Add{top, ctx.create(Log1p{ctx.create(Exp{ctx.create(Neg{distance})})})});
  // Two equal infinities differ by NaN; their result is themselves.
  return {ctx.create(
      Where{ctx.create(Eq{p.x, p.y}), ctx.create(Add{top, constant(ctx, working(ctx.type(top).dtype), Scalar(0.69314718055994530942))}), sum})};
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
  const Value scale = constant(ctx, working(ctx.type(x).dtype), Scalar(std::pow(10.0, static_cast<double>(decimals))));
  return {ctx.create(Div{ctx.create(Round{ctx.create(Mul{x, scale})}), scale})};
}

Imported hypot(ImportContext& ctx) {
  const Pair p = operands(ctx);
  return {ctx.create(Sqrt{ctx.create(Add{ctx.create(Mul{p.x, p.x}), ctx.create(Mul{p.y, p.y})})})};
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
  const Pair p = operands(ctx);
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
    {"aten::hypot", hypot},
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
    {"aten::addcmul", addcmul},
    {"aten::addcdiv", addcdiv},
    {"aten::nan_to_num", nan_to_num},
    {"aten::logaddexp", logaddexp},
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
