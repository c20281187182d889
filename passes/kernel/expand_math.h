#pragma once
#include "mica/kernel/kernel.h"
#include "mica/target/target.h"

namespace mica {

/// Rewrites exp, log, sin, cos, tan, asin, acos, atan, sinh, cosh, tanh, erf, log1p, expm1, pow, atan2, fmod, and floordiv
/// and floormod of floats, into arithmetic, comparisons, selects and operations on bits:
///   store y[i], exp(x)
///     =>
///   store y[i], select((x < lowest), 0, bitcast<f32>(... + shl(...)))
///   1 + erf(x) in f32
///     =>
///   one function of x, for about half of what erf takes: the sum needs no relative precision near 0; so for a / (1 + exp(x))
/// From here on no expression needs a library; vectors stay vectors. f32 and f64 are within 4 ULP (f32 exp, log, tanh, erf
/// within 2); f16 and bf16 are computed in f32. Results below the smallest normal number may be flushed to zero. sin, cos
/// and tan lose accuracy where |x| > 2^31.
void expand_math(Kernel& kernel, const Target& target);
void expand_math(Program& program, const Target& target);

/// The same for one expression.
Expr expand_math(const Expr& e, const Target& target);

}  // namespace mica
