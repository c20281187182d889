// Convolution, pooling, normalisation, softmax and attention as TorchScript spells them.
#include <cmath>
#include <numeric>

#include "import_families.h"
#include "mica/ops/activation.h"
#include "mica/ops/attention.h"
#include "mica/ops/compare.h"
#include "mica/ops/conv.h"
#include "mica/ops/matmul.h"
#include "mica/ops/norm.h"
#include "mica/ops/pointwise.h"
#include "mica/ops/pool.h"
#include "mica/ops/reduce.h"
#include "mica/ops/softmax.h"
#include "mica/ops/view.h"
#include "mica/support/defect.h"

namespace mica {

namespace {

// ---- convolution ----

/// An input without a batch axis gets one; the result loses it again.
struct Batched {
  Value x;
  bool added;
  Imported finish(ImportContext& ctx, Value y) const { return {added ? squeeze_at(ctx, y, 0) : y}; }
};
Batched batched(ImportContext& ctx, Value x, int64_t rank) {
  const bool add = ctx.rank(x) == rank - 1;
  return {add ? unsqueeze_at(ctx, x, 0) : x, add};
}

Imported conv_of(ImportContext& ctx, bool transposed) {
  const Value weight = ctx.tensor("weight");
  const int64_t n = ctx.rank(weight) - 2;
  if (n < 1) ctx.fail("conv-rank", fmt::format("weight {} has no spatial axes", ctx.type(weight).to_string()));
  const Batched in = batched(ctx, ctx.tensor("input"), n + 2);
  const OptValue bias = defect(Defect::group_bias) && ctx.integer_or("groups", 1) > 1 ? OptValue() : ctx.optional_tensor("bias");
  const Ints stride(ctx.ints("stride", n)), dilation(ctx.ints("dilation", n));
  const int64_t groups = ctx.integer_or("groups", 1);
  if (transposed) {
    const Ints extra(ctx.has("output_padding") ? ctx.ints("output_padding", n) : std::vector<int64_t>(static_cast<size_t>(n)));
    return in.finish(ctx, ctx.create(ConvTranspose{in.x, weight, bias, stride, Ints(ctx.ints("padding", n)), extra, dilation, groups}));
  }
  Conv op{.x = in.x, .weight = weight, .bias = bias, .stride = stride, .padding = {}, .padding_end = {}, .dilation = dilation, .groups = groups};
  if (std::holds_alternative<std::string>(ctx.arg("padding"))) {
    const std::string mode = ctx.text("padding");
    if (mode != "same" && mode != "valid") ctx.fail("conv-padding", fmt::format("padding `{}` is neither same nor valid", mode));
    bool uneven = false;
    for (int64_t i = 0; i < n; ++i) {
      const int64_t total = mode == "same" ? dilation[i] * (ctx.shape(weight)[i + 2].size() - 1) : 0;
      op.padding.items.push_back(total / 2);
      op.padding_end.items.push_back(total - total / 2);
      uneven = uneven || total % 2;
    }
    if (!uneven) op.padding_end = {};
  } else {
    op.padding = Ints(ctx.ints("padding", n));
  }
  return in.finish(ctx, ctx.create(op));
}
Imported conv(ImportContext& ctx) { return conv_of(ctx, false); }
Imported conv_transpose(ImportContext& ctx) { return conv_of(ctx, true); }
Imported convolution(ImportContext& ctx) { return conv_of(ctx, ctx.boolean_or("transposed", false)); }

// ---- pooling ----

Ints stride_or_kernel(ImportContext& ctx, const Ints& kernel) {
  const std::vector<int64_t> stride = ctx.ints("stride");
  return stride.empty() ? kernel : Ints(ctx.ints("stride", static_cast<int64_t>(kernel.size())));
}

/// MaxPool and MaxPoolIndices have the same fields.
template <int64_t n, Op T> T max_pool_op(ImportContext& ctx) {
  const Ints kernel(ctx.ints("kernel_size", n));
  return T{.x = ctx.tensor("self"),
           .kernel = kernel,
           .stride = stride_or_kernel(ctx, kernel),
           .padding = Ints(ctx.ints("padding", n)),
           .dilation = Ints(ctx.ints("dilation", n)),
           .ceil_mode = ctx.boolean_or("ceil_mode", false)};
}
template <int64_t n> Imported max_pool(ImportContext& ctx) { return {ctx.create(max_pool_op<n, MaxPool>(ctx))}; }
template <int64_t n> Imported max_pool_with_indices(ImportContext& ctx) {
  return {ctx.create(max_pool_op<n, MaxPool>(ctx)), ctx.create(max_pool_op<n, MaxPoolIndices>(ctx))};
}
template <int64_t n> Imported avg_pool(ImportContext& ctx) {
  const Ints kernel(ctx.ints("kernel_size", n));
  return {ctx.create(AvgPool{.x = ctx.tensor("self"),
                             .kernel = kernel,
                             .stride = stride_or_kernel(ctx, kernel),
                             .padding = Ints(ctx.ints("padding", n)),
                             .ceil_mode = ctx.boolean_or("ceil_mode", false),
                             .include_pad = ctx.boolean_or("count_include_pad", true),
                             .divisor = ctx.integer_or("divisor_override", 0)})};
}

/// Output sizes of adaptive pooling; None keeps a size. (TorchScript writes None as the input's own size.)
Ints adaptive_size(ImportContext& ctx, int64_t n) { return Ints(ctx.ints("output_size", n)); }
template <int64_t n> Imported adaptive_avg_pool(ImportContext& ctx) {
  return {ctx.create(AdaptiveAvgPool{ctx.tensor("self"), adaptive_size(ctx, n)})};
}
template <int64_t n> Imported adaptive_max_pool(ImportContext& ctx) {
  const Value x = ctx.tensor("self");
  return {ctx.create(AdaptiveMaxPool{x, adaptive_size(ctx, n)}), ctx.create(AdaptiveMaxPoolIndices{x, adaptive_size(ctx, n)})};
}

// ---- normalisation ----

/// Batch-norm by the statistics of `x` itself, which are kept nowhere: per channel (axis 1), over the batch and all axes behind.
/// With one sample that is a group_norm of one channel a group; more samples are laid side by side first.
Imported batch_norm_of_input(ImportContext& ctx, Value x) {
  const Shape shape = ctx.shape(x);
  if (shape.rank() < 2) ctx.fail("norm-rank", fmt::format("takes a tensor with channels in axis 1, not {}", ctx.type(x).to_string()));
  const int64_t channels = shape[1];
  const Dim samples = shape[0], each = channels ? shape.elements() / channels : Dim(0);
  std::vector<int64_t> order(static_cast<size_t>(shape.rank()));
  std::iota(order.begin(), order.end(), 0);
  std::swap(order[0], order[1]);
  const Value apart = samples == 1 ? x : permute_to(ctx, x, order);
  const Shape swapped = ctx.shape(apart);
  const Value flat = reshape_to(ctx, apart, {1, channels, each});
  const Value y = ctx.create(GroupNorm{flat, ctx.optional_tensor("weight"), ctx.optional_tensor("bias"), channels, ctx.real_or("eps", 1e-5)});
  const Value back = reshape_to(ctx, y, swapped.dims());
  return {samples == 1 ? back : permute_to(ctx, back, order)};
}

Imported batch_norm(ImportContext& ctx) {
  const Value x = ctx.tensor("input");
  if (ctx.boolean_or("training", false)) {
    if (!ctx.has("running_mean") && !ctx.has("running_var")) return batch_norm_of_input(ctx, x);
    ctx.unsupported("batch-norm-training", "updates its running statistics, as in training; export the model after model.eval()");
  }
  if (!ctx.has("running_mean") || !ctx.has("running_var"))
    ctx.unsupported("batch-norm-statistics", "has no running statistics and is told not to use the batch's own");
  return {ctx.create(BatchNorm{x, ctx.optional_tensor("weight"), ctx.optional_tensor("bias"), ctx.tensor("running_mean"), ctx.tensor("running_var"),
                               ctx.real_or("eps", 1e-5)})};
}

Imported instance_norm(ImportContext& ctx) {
  const Value x = ctx.tensor("input");
  if (!ctx.boolean_or("use_input_stats", true)) return batch_norm(ctx);
  if (ctx.rank(x) < 2) ctx.fail("norm-rank", fmt::format("takes a tensor with channels in axis 1, not {}", ctx.type(x).to_string()));
  const int64_t channels = ctx.shape(x)[1];
  return {ctx.create(GroupNorm{x, ctx.optional_tensor("weight"), ctx.optional_tensor("bias"), channels, ctx.real_or("eps", 1e-5)})};
}

int64_t normalized_axes(ImportContext& ctx, Value x) {
  const std::vector<Dim> shape = ctx.sizes("normalized_shape"), sizes = ctx.shape(x).dims();
  if (shape.empty() || shape.size() > sizes.size() || !std::equal(shape.begin(), shape.end(), sizes.end() - static_cast<int64_t>(shape.size()))) {
    ctx.fail("norm-shape", fmt::format("normalised shape {} is not the end of input {}", Shape(shape).to_string(), ctx.type(x).to_string()));
  }
  return static_cast<int64_t>(shape.size());
}
Imported layer_norm(ImportContext& ctx) {
  const Value x = ctx.tensor("input");
  return {ctx.create(LayerNorm{x, ctx.optional_tensor("weight"), ctx.optional_tensor("bias"), normalized_axes(ctx, x), ctx.real_or("eps", 1e-5)})};
}
Imported native_layer_norm(ImportContext& ctx) { return {layer_norm(ctx)[0], std::monostate{}, std::monostate{}}; }
Imported rms_norm(ImportContext& ctx) {
  const Value x = ctx.tensor("input");
  // Without eps torch takes the least e with 1 + e > 1 of the dtype.
  const DType t = ctx.type(x).dtype;
  const double epsilon = t == DType::f64 ? 0x1p-52 : t == DType::f16 ? 0x1p-10 : t == DType::bf16 ? 0x1p-7 : 0x1p-23;
  return {ctx.create(RmsNorm{x, ctx.optional_tensor("weight"), normalized_axes(ctx, x), ctx.real_or("eps", epsilon)})};
}
Imported group_norm(ImportContext& ctx) {
  return {ctx.create(GroupNorm{ctx.tensor("input"), ctx.optional_tensor("weight"), ctx.optional_tensor("bias"), ctx.integer("num_groups"),
                               ctx.real_or("eps", 1e-5)})};
}

// ---- softmax ----

Value softmax_input(ImportContext& ctx) {
  const Value x = ctx.tensor("self");
  if (const auto dtype = ctx.dtype("dtype")) return cast_to(ctx, x, *dtype);
  return ctx.boolean_or("half_to_float", false) ? cast_to(ctx, x, DType::f32) : x;
}
Imported softmax(ImportContext& ctx) {
  const Value x = softmax_input(ctx);
  return {ctx.create(Softmax{.x = x, .axis = ctx.axis_of("dim", x), .safe = false})};
}
Imported safe_softmax(ImportContext& ctx) {
  const Value x = softmax_input(ctx);
  return {ctx.create(Softmax{.x = x, .axis = ctx.axis_of("dim", x), .safe = true})};
}
Imported log_softmax(ImportContext& ctx) {
  const Value x = softmax_input(ctx);
  return {ctx.create(LogSoftmax{x, ctx.axis_of("dim", x)})};
}

// ---- attention ----

Imported scaled_dot_product_attention(ImportContext& ctx) {
  if (ctx.real_or("dropout_p", 0) != 0)
    ctx.unsupported("dropout-training", "drops attention weights at random, as in training; export the model after model.eval()");
  return {ctx.create(ScaledDotProductAttention{ctx.tensor("query"), ctx.tensor("key"), ctx.tensor("value"), ctx.optional_tensor("attn_mask"),
                                               ctx.boolean_or("is_causal", false), ctx.real_or("scale", 0), ctx.boolean_or("enable_gqa", false)})};
}

/// [B, L, heads * E] to [B, heads, L, E].
Value split_heads(ImportContext& ctx, Value x, int64_t heads) {
  const Shape s = ctx.shape(x);
  return permute_to(ctx, reshape_to(ctx, x, {s[0], s[1], Dim(heads), s[2] / heads}), {0, 2, 1, 3});
}

/// The fused multi-head self-attention of nn.MultiheadAttention's fast path: one projection for query, key and value, batch first.
Value self_attention(ImportContext& ctx, Value query, Value key, Value value, int64_t heads, std::string_view prefix, OptValue mask) {
  const auto named = [&](std::string_view name) { return std::string(prefix) + std::string(name); };
  const Value weight = ctx.tensor(named("qkv_weight")), bias = ctx.tensor(named("qkv_bias"));
  const int64_t width = ctx.shape(query)[-1];
  Value parts[3];
  const Value inputs[] = {query, key, value};
  if (query == key && key == value) {
    const Value all = ctx.create(Linear{query, weight, bias});
    for (int64_t i = 0; i < 3; ++i) parts[i] = ctx.create(Slice{.x = all, .axis = 2, .start = i * width, .end = (i + 1) * width, .step = 1});
  } else {
    for (int64_t i = 0; i < 3; ++i) {
      const auto rows = [&](Value v) { return ctx.create(Slice{.x = v, .axis = 0, .start = i * width, .end = (i + 1) * width, .step = 1}); };
      parts[i] = ctx.create(Linear{inputs[i], rows(weight), rows(bias)});
    }
  }
  const Value y = ctx.create(ScaledDotProductAttention{.query = split_heads(ctx, parts[0], heads),
                                                       .key = split_heads(ctx, parts[1], heads),
                                                       .value = split_heads(ctx, parts[2], heads),
                                                       .mask = mask,
                                                       .causal = false,
                                                       .scale = 0,
                                                       .gqa = false});
  const Shape s = ctx.shape(y);
  return reshape_to(ctx, permute_to(ctx, y, {0, 2, 1, 3}), {s[0], s[2], s[1] * s[3]});
}

/// mask_type 0: [L, L]; 1: key padding [B, L]; 2: [B, heads, L, L]. True hides, so it is turned round.
OptValue attention_mask(ImportContext& ctx, std::string_view name) {
  if (!ctx.has(name)) return {};
  Value mask = ctx.tensor(name);
  if (ctx.integer_or("mask_type", 0) == 1) {
    const Shape s = ctx.shape(mask);
    mask = reshape_to(ctx, mask, {s[0], 1, 1, s[1]});
  }
  return is_bool(ctx.type(mask).dtype) ? ctx.create(LogicalNot{mask}) : mask;
}

Imported native_multi_head_attention(ImportContext& ctx) {
  if (ctx.boolean_or("need_weights", false))
    ctx.unsupported("attention-weights", "returning attention weights is not supported; call the layer with need_weights=False");
  const Value query = ctx.tensor("query");
  if (ctx.rank(query) != 3) ctx.fail("attention-rank", fmt::format("query must be [batch, length, width], not {}", ctx.type(query).to_string()));
  const Value y = self_attention(ctx, query, ctx.tensor("key"), ctx.tensor("value"), ctx.integer("num_head"), "", attention_mask(ctx, "mask"));
  return {ctx.create(Linear{y, ctx.tensor("proj_weight"), ctx.tensor("proj_bias")}), std::monostate{}};
}

Imported transformer_encoder_layer(ImportContext& ctx) {
  const Value src = ctx.tensor("src");
  const bool norm_first = ctx.boolean("norm_first");
  const double eps = ctx.real("eps");
  const auto norm = [&](Value x, std::string_view i) {
    return ctx.create(LayerNorm{x, ctx.tensor(fmt::format("norm_weight_{}", i)), ctx.tensor(fmt::format("norm_bias_{}", i)), 1, eps});
  };
  const Value in = norm_first ? norm(src, "1") : src;
  Value y = self_attention(ctx, in, in, in, ctx.integer("num_heads"), "", attention_mask(ctx, "mask"));
  Value x = ctx.create(Add{src, ctx.create(Linear{y, ctx.tensor("proj_weight"), ctx.tensor("proj_bias")})});
  if (!norm_first) x = norm(x, "1");
  y = ctx.create(Linear{norm_first ? norm(x, "2") : x, ctx.tensor("ffn_weight_1"), ctx.tensor("ffn_bias_1")});
  y = ctx.boolean("use_gelu") ? ctx.create(Gelu{y, false}) : ctx.create(Relu{y});
  x = ctx.create(Add{x, ctx.create(Linear{y, ctx.tensor("ffn_weight_2"), ctx.tensor("ffn_bias_2")})});
  return {norm_first ? x : norm(x, "2")};
}

}  // namespace

std::span<const ImportEntry> import_nn() {
  static constexpr ImportEntry entries[] = {
      {"aten::_convolution", convolution},
      {"aten::convolution", convolution},
      {"aten::_convolution_mode", conv},
      {"aten::conv1d", conv},
      {"aten::conv2d", conv},
      {"aten::conv3d", conv},
      {"aten::conv_transpose1d", conv_transpose},
      {"aten::conv_transpose2d", conv_transpose},
      {"aten::conv_transpose3d", conv_transpose},
      {"aten::max_pool1d", max_pool<1>},
      {"aten::max_pool2d", max_pool<2>},
      {"aten::max_pool3d", max_pool<3>},
      {"aten::max_pool1d_with_indices", max_pool_with_indices<1>},
      {"aten::max_pool2d_with_indices", max_pool_with_indices<2>},
      {"aten::max_pool3d_with_indices", max_pool_with_indices<3>},
      {"aten::avg_pool1d", avg_pool<1>},
      {"aten::avg_pool2d", avg_pool<2>},
      {"aten::avg_pool3d", avg_pool<3>},
      {"aten::adaptive_avg_pool1d", adaptive_avg_pool<1>},
      {"aten::adaptive_avg_pool2d", adaptive_avg_pool<2>},
      {"aten::_adaptive_avg_pool2d", adaptive_avg_pool<2>},
      {"aten::adaptive_avg_pool3d", adaptive_avg_pool<3>},
      {"aten::adaptive_max_pool1d", adaptive_max_pool<1>},
      {"aten::adaptive_max_pool2d", adaptive_max_pool<2>},
      {"aten::adaptive_max_pool3d", adaptive_max_pool<3>},
      {"aten::batch_norm", batch_norm},
      {"aten::instance_norm", instance_norm},
      {"aten::layer_norm", layer_norm},
      {"aten::native_layer_norm", native_layer_norm},
      {"aten::rms_norm", rms_norm},
      {"aten::group_norm", group_norm},
      {"aten::softmax", softmax},
      {"aten::_softmax", softmax},
      {"aten::_safe_softmax", safe_softmax},
      {"aten::log_softmax", log_softmax},
      {"aten::_log_softmax", log_softmax},
      {"aten::scaled_dot_product_attention", scaled_dot_product_attention},
      {"aten::_native_multi_head_attention", native_multi_head_attention},
      {"aten::_transformer_encoder_layer_fwd", transformer_encoder_layer},
  };
  return entries;
}

}  // namespace mica
