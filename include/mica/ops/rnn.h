#pragma once
// Recurrent layers, one direction of one layer an op: the part that must go step by step. What a layer does with its inputs alone,
// x[t] * w_ih + b, is a `linear` over all steps in front of it. `x` holds that: [steps, rows, gates * hidden].
//
// Weights may be in a narrower dtype than steps and states, which they then have when they are used.
// The meaning is a loop nest over the steps; where weights are constants passes/lower/recurrence.cpp has a faster one.
#include "mica/ops/rules.h"

namespace mica {

/// From step to step, with [in, forget, fresh, out] = x[t] + h * weight^T:
///   c = sigmoid(forget) * c + sigmoid(in) * tanh(fresh)
///   h = sigmoid(out) * tanh(c), times projection^T where there is one
/// Results: h after every step, [steps, rows, width], and c after the last. `reverse`: from the last step to the first.
struct LstmScan {
  static constexpr OpSpec spec = {
      .signature = "lstm_scan(x, h, c, weight, projection, reverse)",
      .samples = {"x=f32[5, 2, 28], h=f32[2, 7], c=f32[2, 7], weight=f32[28, 7]",
                  "x=f32[3, 1, 68], h=f32[1, 17], c=f32[1, 17], weight=f32[68, 17], reverse=true",
                  "x=f64[4, 3, 20], h=f64[3, 2], c=f64[3, 5], weight=f64[20, 2], projection=f64[2, 5]",
                  "x=f16[3, 2, 12], h=f16[2, 3], c=f16[2, 3], weight=f16[12, 3]", "x=f32[1, 2, 16], h=f32[2, 4], c=f32[2, 4], weight=f32[16, 4]"}};
  Value x;
  Value h;              ///< [rows, width]
  Value c;              ///< [rows, hidden]
  Value weight;         ///< [4 * hidden, width]
  OptValue projection;  ///< [width, hidden]; without it width is hidden
  bool reverse = false;
  static Result<std::vector<TensorType>> infer(const LstmScan& op, const Infer& ctx);
  static void kernel(const LstmScan& op, KernelBuilder& b);
};

/// From step to step, with [reset, keep, fresh] = h * weight^T + bias:
///   n = tanh(x[t].fresh + sigmoid(x[t].reset + reset) * fresh)
///   h = n + sigmoid(x[t].keep + keep) * (h - n)
/// Result: h after every step, [steps, rows, hidden].
struct GruScan {
  static constexpr OpSpec spec = {
      .signature = "gru_scan(x, h, weight, bias, reverse)",
      .samples = {"x=f32[5, 2, 21], h=f32[2, 7], weight=f32[21, 7], bias=f32[21]", "x=f32[3, 1, 51], h=f32[1, 17], weight=f32[51, 17], reverse=true",
                  "x=f64[4, 3, 15], h=f64[3, 5], weight=f64[15, 5]", "x=bf16[2, 2, 9], h=bf16[2, 3], weight=bf16[9, 3]"}};
  Value x;
  Value h;       ///< [rows, hidden]
  Value weight;  ///< [3 * hidden, hidden]
  OptValue bias;
  bool reverse = false;
  static Result<TensorType> infer(const GruScan& op, const Infer& ctx);
  static void kernel(const GruScan& op, KernelBuilder& b);
};

/// From step to step: h = tanh(x[t] + h * weight^T), or with `relu` the positive part of that sum.
/// Result: h after every step, [steps, rows, hidden].
struct RnnScan {
  static constexpr OpSpec spec = {
      .signature = "rnn_scan(x, h, weight, relu, reverse)",
      .samples = {"x=f32[5, 2, 7], h=f32[2, 7], weight=f32[7, 7]", "x=f32[3, 1, 33], h=f32[1, 33], weight=f32[33, 33], reverse=true",
                  "x=f64[4, 3, 5], h=f64[3, 5], weight=f64[5, 5], relu=true"}};
  Value x;
  Value h;       ///< [rows, hidden]
  Value weight;  ///< [hidden, hidden]
  bool relu = false;
  bool reverse = false;
  static Result<TensorType> infer(const RnnScan& op, const Infer& ctx);
  static void kernel(const RnnScan& op, KernelBuilder& b);
};

using RnnOps = OpList<LstmScan, GruScan, RnnScan>;

}  // namespace mica
