#pragma once
// Convolutions over any number of spatial axes (the rank of x less two). Lists hold one number per spatial axis.
#include "mica/ops/rules.h"

namespace mica {

/// result[n, o, p...] = bias[o] + sum over c, k... of weight[o, c, k...] * x[n, g * C/groups + c, p * stride - padding + k * dilation ...],
/// where g = o / (O/groups) and x is 0 outside. x is [N, C, spatial...], weight [O, C/groups, kernel...].
struct Conv {
  static constexpr OpSpec spec = {
      .signature = "conv(x, weight, bias, stride, padding, padding_end, dilation, groups)",
      .samples = {"x=f32[1, 3, 8, 8], weight=f32[4, 3, 3, 3], bias=f32[4], stride=[1, 1], padding=[1, 1], dilation=[1, 1]",
                  "x=f32[2, 4, 9, 7], weight=f32[6, 4, 3, 2], stride=[2, 1], padding=[0, 1], dilation=[2, 1]",
                  "x=f32[1, 6, 5, 5], weight=f32[6, 1, 3, 3], bias=f32[6], stride=[1, 1], padding=[1, 1], dilation=[1, 1], groups=6",
                  "x=f32[1, 4, 5, 5], weight=f32[8, 2, 1, 1], stride=[1, 1], padding=[0, 0], dilation=[1, 1], groups=2",
                  "x=f32[2, 3, 20], weight=f32[5, 3, 4], bias=f32[5], stride=[3], padding=[2], dilation=[1]",
                  "x=f32[1, 2, 4, 4, 4], weight=f32[3, 2, 2, 2, 2], stride=[1, 1, 1], padding=[0, 1, 0], dilation=[1, 1, 1]",
                  "x=f16[1, 16, 6, 6], weight=f16[4, 16, 3, 3], bias=f16[4], stride=[1, 1], padding=[1, 1], dilation=[1, 1]",
                  "x=f32[1, 3, 6, 6], weight=f32[2, 3, 3, 3], stride=[2, 2], padding=[0, 0], padding_end=[1, 1], dilation=[1, 1]",
                  "x=f32[0, 3, 6, 6], weight=f32[2, 3, 3, 3], stride=[1, 1], padding=[0, 0], dilation=[1, 1]"}};
  Value x;
  Value weight;
  OptValue bias;
  Ints stride;
  Ints padding;      ///< before each spatial axis, and after it unless padding_end says otherwise
  Ints padding_end;  ///< after each spatial axis; empty: as padding
  Ints dilation;
  int64_t groups = 1;
  int64_t pad_after(int64_t axis) const { return padding_end.items.empty() ? padding[axis] : padding_end[axis]; }
  static Result<TensorType> infer(const Conv& op, const Infer& ctx);
  static Expr define(const Conv& op, Define& d);
};

/// The transpose of a convolution: x[n, c, q...] * weight[c, o, k...] is added to result[n, o, q * stride - padding + k * dilation ...].
/// x is [N, C, spatial...], weight [C, O/groups, kernel...]; output_padding makes the result longer at its end.
struct ConvTranspose {
  static constexpr OpSpec spec = {
      .signature = "conv_transpose(x, weight, bias, stride, padding, output_padding, dilation, groups)",
      .samples = {"x=f32[1, 3, 5, 5], weight=f32[3, 4, 3, 3], bias=f32[4], stride=[2, 2], padding=[1, 1], output_padding=[1, 1], dilation=[1, 1]",
                  "x=f32[2, 4, 4, 3], weight=f32[4, 1, 2, 2], stride=[2, 2], padding=[0, 0], output_padding=[0, 0], dilation=[1, 1], groups=2",
                  "x=f32[1, 2, 6], weight=f32[2, 3, 4], bias=f32[3], stride=[1], padding=[2], output_padding=[0], dilation=[2]"}};
  Value x;
  Value weight;
  OptValue bias;
  Ints stride;
  Ints padding;
  Ints output_padding;
  Ints dilation;
  int64_t groups = 1;
  static Result<TensorType> infer(const ConvTranspose& op, const Infer& ctx);
  static Expr define(const ConvTranspose& op, Define& d);
};

using ConvOps = OpList<Conv, ConvTranspose>;

}  // namespace mica
