#pragma once
#include "mica/ops/rules.h"

namespace mica {

/// softmax(query key^T * scale + mask) value over the last two axes; leading axes broadcast. query is [..., L, E], key [..., S, E], value [..., S,
/// V]. A bool mask keeps where it is true, any other is added; `causal` keeps key j for query i where j <= i. scale 0 stands for 1 / sqrt(E). With
/// `gqa`, axis -3 of key and value is repeated to query's size. A row that is masked out altogether gives 0.
struct ScaledDotProductAttention {
  static constexpr OpSpec spec = {.signature = "scaled_dot_product_attention(query, key, value, mask, causal, scale, gqa)",
                                  .samples = {"query=f32[2, 3, 4, 8], key=f32[2, 3, 6, 8], value=f32[2, 3, 6, 5]",
                                              "query=f32[1, 2, 5, 8], key=f32[1, 2, 5, 8], value=f32[1, 2, 5, 8], causal=true",
                                              "query=f32[1, 2, 4, 8], key=f32[1, 2, 6, 8], value=f32[1, 2, 6, 8], mask=bool[1, 1, 4, 6]",
                                              "query=f32[1, 2, 4, 8], key=f32[1, 2, 6, 8], value=f32[1, 2, 6, 8], mask=f32[4, 6], scale=0.5",
                                              "query=f32[1, 4, 3, 8], key=f32[1, 2, 3, 8], value=f32[1, 2, 3, 8], gqa=true",
                                              "query=f16[1, 1, 8, 64], key=f16[1, 1, 8, 64], value=f16[1, 1, 8, 64]"}};
  Value query;
  Value key;
  Value value;
  OptValue mask;
  bool causal = false;
  double scale = 0;
  bool gqa = false;
  static Result<TensorType> infer(const ScaledDotProductAttention& op, const Infer& ctx);
  static Value decompose(const ScaledDotProductAttention& op, Builder& b);
};

using AttentionOps = OpList<ScaledDotProductAttention>;

}  // namespace mica
