// build/release/tests/bin/numerics --gtest_filter='All/Dims.*'
// Programs compiled once for a range of sizes, and run at its ends and between them, against LibTorch in fp64 at each.
#include <regex>

#include "judge.h"

namespace mica::numerics {
namespace {

/// `body` is lines of forward, separated by "; ", that use the inputs by name; `points` are the sizes of all symbols, in the order of `symbols`.
struct Ranged {
  std::string_view name, symbols, inputs, body;
  std::vector<std::vector<int64_t>> points;
  std::string_view weights = "";  ///< parameters of the module
};
void PrintTo(const Ranged& r, std::ostream* out) { *out << r.body; }

const std::vector<std::vector<int64_t>> to_40 = {{1}, {2}, {7}, {16}, {33}, {40}};

const Ranged all_ranged[] = {
    // ---- order ----
    {"sort", "S=1..40", "x=f32[3, S]", "a, b = torch.sort(x * 2, dim=1, stable=True); return a, b, torch.argsort(x, 1, True)", to_40},
    {"sort_rows", "S=1..40", "x=f32[S, 9]", "a, b = torch.sort(x, dim=1, descending=True); return a.relu(), b", to_40},
    {"sort_of_integers", "S=1..40", "x=i64[S, 2] in 0..5", "a, b = torch.sort(x, stable=True, dim=0); return a, b + 1", to_40},
    {"topk", "S=8..300", "x=f32[2, S]", "a, b = torch.topk(x, 5, 1); return a + 1, torch.gather(x, 1, b)", {{8}, {20}, {21}, {300}}},
    {"topk_of_a_share", "S=4..90", "x=f32[S, 3]", "a, b = torch.topk(x, x.size(0) // 2, 0); return a, torch.gather(x, 0, b)", {{4}, {5}, {31}, {90}}},
    {"topk_rows", "S=1..130", "x=f32[S, 70]", "a, b = torch.topk(x, 3, 1, False); return a, b", {{1}, {63}, {64}, {65}, {130}}},
    {"kthvalue", "S=4..40", "x=f32[2, S]", "a, b = torch.kthvalue(x, 3, 1); return a, torch.kthvalue(x, x.size(1), 1)[0]", {{4}, {5}, {40}}},
    {"median", "S=1..40", "x=f32[S, 3]", "return torch.median(x, 0)[0], torch.nanmedian(x, 0)[0], torch.median(x)", to_40},
    // ---- running sums ----
    {"cumsum", "S=1..40", "x=f32[3, S]", "return torch.cumsum(x * x, 1) - 1, torch.cumsum(x, 0)", to_40},
    {"cumprod", "S=1..40", "x=f32[S, 2]", "return torch.cumprod(x, 0), torch.logcumsumexp(x, 0)", to_40},
    {"cummax", "S=1..40", "x=f32[S, 2]", "a, b = torch.cummax(x, 0); c, d = torch.cummin(x, 1); return a, b, c, d", to_40},
    // ---- writing where data says ----
    {"scatter", "S=1..40", "x=f32[S, 5], i=i64[S, 5] in 0..1", "return torch.scatter(x, 0, i, x * 2), torch.scatter_add(x, 1, i, x.exp())", to_40},
    {"scatter_wide", "S=1..150", "x=f32[4, S], i=i64[2, S] in 0..4", "return torch.scatter_add(x, 0, i, x[:2] + 1)", {{1}, {63}, {64}, {65}, {150}}},
    {"scatter_reduce", "S=1..40", "x=f32[6, 3], i=i64[S, 3] in 0..6, s=f32[S, 3]",
     "return torch.scatter_reduce(x, 0, i, s, \"amax\", include_self=False), torch.scatter_reduce(x, 0, i, s, \"mean\")", to_40},
    {"index_put", "S=2..40", "x=f32[S, 3], v=f32[3]", "y = x * 2; y[torch.tensor([1, 0])] = v; y[:, 1] += 1; return y", {{2}, {9}, {40}}},
    {"index_put_many", "S=1..40", "x=f32[7, 3], i=i64[S] in 0..7, v=f32[S, 3]", "return x.index_put([i], v, True), x.index_add(0, i, v)", to_40},
    {"bincount_like", "S=1..40", "i=i64[S] in 0..7", "return torch.zeros(7).scatter_add(0, i, torch.ones_like(i).float())", to_40},
    {"index_copy_of_rows",
     "S=3..40",
     "x=f32[S, 3], v=f32[2, 3]",
     "return x.index_copy(0, torch.tensor([2, 0]), v), x.index_fill(0, torch.tensor([1]), 3.0)",
     {{3}, {4}, {40}}},
    // ---- views ----
    {"expand_of_at_most_one",
     "S=3..5",
     "x=f32[S, 7]",
     "y = x[3::2]; n = y.size(0); return y.unsqueeze(0).expand(n, -1, -1) + 1, y.t().diag_embed()",
     {{3}, {4}, {5}}},
    // ---- reading where data says ----
    {"index_select", "S=1..40", "x=f32[S, 5], i=i64[3] in 0..1", "return torch.index_select(x + 1, 0, i), x[i - 1]", to_40},
    {"gather_rows", "S=1..40", "x=f32[S, 6], i=i64[S, 2] in 0..6", "return torch.gather(x.exp(), 1, i).tanh()", to_40},
    {"gather_along", "S=1..40", "x=f32[2, S], i=i64[2, S] in 0..1", "return torch.gather(x, 1, i) * 2, torch.take_along_dim(x, i, 1)", to_40},
    {"embedding", "S=1..40", "t=f32[11, 8], i=i64[2, S] in 0..11", "return torch.layer_norm(torch.embedding(t, i), [8])", to_40},
    {"index_by_two", "S=1..40", "x=f32[4, 5, S], i=i64[S] in 0..4, j=i64[S] in -5..5", "return x[i, j] + 1", to_40},
    {"roi_align",
     "H=5..12, W=4..9",
     "x=f32[1, 3, H, W], r=f32[4, 5] in 0..0.9",
     "return torchvision.roi_align(x * 2, r * torch.tensor([0.0, 1.0, 1.0, 1.0, 1.0]), 4.0, 2, 3, 2, False)",
     {{5, 4}, {12, 9}, {7, 7}}},
    {"roi_align_of_regions",
     "K=1..20",
     "x=f32[2, 40, 8, 9], r=f32[K, 5] in 0..0.9",
     "return torchvision.roi_align(x, r, 6.0, 3, 2, 0, True)",
     {{1}, {2}, {20}}},
    // ---- parts ----
    {"split", "S=9..12", "x=f32[S, 2]", "a, b, c = torch.split(x, 4); return a, b * 2, c + 1", {{9}, {10}, {12}}},
    {"split_by_size", "S=2..40", "x=f32[2, S]", "a, b = torch.split(x, [1, x.size(1) - 1], 1); return b.relu() + a", {{2}, {3}, {40}}},
    {"chunk", "S=3..41", "x=f32[2, S]", "a, b = torch.chunk(x, 2, 1); return a.exp(), b * 3", {{3}, {4}, {40}, {41}}},
    {"tensor_split", "S=1..41", "x=f32[S, 2]", "a, b, c = torch.tensor_split(x, 3); return a, b, c", {{1}, {2}, {3}, {41}}},
    {"narrow_and_select", "S=3..40", "x=f32[S, 4]", "return x.narrow(0, 1, x.size(0) - 2) * 2, x[-1] + x[0], x[x.size(0) - 2]", {{3}, {4}, {40}}},
    {"unbind_of_others", "S=1..40", "x=f32[3, S]", "a, b, c = torch.unbind(x, 0); return torch.stack([a + b, c], 1), torch.cat([a, b * 2, c])",
     to_40},
    {"diff", "S=1..40", "x=f32[2, S]", "return torch.diff(x, dim=1)", to_40},
    // ---- elements that move ----
    {"flip_and_roll", "S=1..40", "x=f32[3, S]", "return torch.flip(x, [1]) + x, torch.roll(x, [3], [1]), torch.roll(x, [-50, 1], [1, 0])", to_40},
    {"repeat", "S=1..40", "x=f32[2, S]", "return x.repeat([2, 3]) * 2, torch.repeat_interleave(x, 3, 1), x.repeat([x.size(1), 1])", to_40},
    {"slice_to_a_bound_of_either_sign", "S=1..40", "x=f32[S, 4]", "return x[:x.size(0) - 3] * 2, x[x.size(0) - 2:] + 1", {{1}, {2}, {3}, {4}, {40}}},
    {"triangles", "S=1..40", "x=f32[S, S]",
     "return torch.tril(x, -1), torch.triu(x, 2), torch.diagonal(x, 1), x.masked_fill(torch.ones_like(x).tril() == 0, -1.0)", to_40},
    {"arange_and_grid", "S=1..40", "x=f32[S]", "n = torch.arange(x.size(0)); a, b = torch.meshgrid([n, n[:1]]); return x * n, a + b", to_40},
    {"one_hot", "S=1..40", "i=i64[S] in 0..5", "return torch.one_hot(i, 5)", to_40},
    {"shuffles", "H=1..9, W=1..9", "x=f32[2, 8, H, W]", "return torch.pixel_shuffle(x, 2), torch.channel_shuffle(x, 4)", {{1, 1}, {9, 9}, {3, 8}}},
    {"unfold", "S=5..40", "x=f32[2, S]", "return x.unfold(1, 4, 2).sum(2)", {{5}, {6}, {40}}},
    {"fills", "S=1..40", "x=f32[S, 3]", "y = torch.zeros_like(x); y[:, 0] = 2.0; y[1:].add_(x[1:]); return y, torch.full([x.size(0)], 3.5)", to_40},
    {"diagonals", "S=1..40", "x=f32[S]", "return torch.diag_embed(x)", to_40},
    {"pads",
     "S=3..40",
     "x=f32[1, 2, S]",
     "return torch.constant_pad_nd(x, [1, 2], 0.5), torch.reflection_pad1d(x, [2, 1]) * 2, torch.replication_pad1d(x, [3, 4]), torch.pad(x, [2, 1], "
     "\"circular\")",
     {{3}, {4}, {40}}},
    {"pad_to_a_length", "S=1..40", "x=f32[2, S]", "return torch.constant_pad_nd(x, [0, 64 - x.size(1)], -1.0).exp()", to_40},
    {"pad_to_a_multiple", "S=1..40", "x=f32[2, S]", "return torch.constant_pad_nd(x, [0, (8 - x.size(1) % 8) % 8], 0.0) + 1", to_40},
    // ---- images ----
    {"nearest_by_factor",
     "H=2..9, W=2..11",
     "x=f32[1, 3, H, W]",
     "return torch.upsample_nearest2d(x, None, [2.0, 3.0]) * 2, torch.upsample_nearest2d(x, None, [1.5, 0.5]), torch._upsample_nearest_exact2d(x, "
     "None, "
     "[1.5, 2.0])",
     {{2, 2}, {9, 11}, {5, 4}, {3, 7}}},
    {"nearest_by_size",
     "H=2..9, W=2..11",
     "x=f32[1, 3, H, W]",
     "return torch.upsample_nearest2d(x, [2 * x.size(2), x.size(3)]), torch.upsample_nearest2d(x, [7, x.size(3) + 3])",
     {{2, 2}, {9, 11}, {5, 4}}},
    {"bilinear",
     "H=1..9, W=2..11",
     "x=f32[1, 3, H, W]",
     "return torch.upsample_bilinear2d(x, [2 * x.size(2), 2 * x.size(3)], False), torch.upsample_bilinear2d(x, [5, 13], True), "
     "torch.upsample_bilinear2d(x, None, False, [2.0, 1.5]).relu()",
     {{1, 2}, {9, 11}, {5, 4}, {2, 7}}},
    {"bilinear_to_another",
     "H=2..9, W=2..11",
     "x=f32[1, 3, 4, 6], y=f32[1, 3, H, W]",
     "return torch.upsample_bilinear2d(x, [y.size(2), y.size(3)], False) + y, torch.upsample_bilinear2d(y, [4, 6], True) * x",
     {{2, 2}, {9, 11}, {4, 6}}},
    {"bicubic",
     "H=1..9, W=2..11",
     "x=f32[1, 2, H, W]",
     "return torch.upsample_bicubic2d(x, [2 * x.size(2), 7], False), torch.upsample_bicubic2d(x, [x.size(2) + 3, x.size(3)], True)",
     {{1, 2}, {9, 11}, {5, 4}}},
    {"grid_sample",
     "H=2..9, W=2..11",
     "x=f32[1, 2, H, W], g=f32[1, 3, 4, 2] in -1.3..1.3",
     "return torch.grid_sampler(x, g, 0, 0, False), torch.grid_sampler(x, g, 0, 1, True), torch.grid_sampler(x, g, 1, 2, False)",
     {{2, 2}, {9, 11}, {5, 4}}},
    {"adaptive_pooling",
     "H=3..14, W=3..14",
     "x=f32[1, 2, H, W]",
     "return torch.adaptive_avg_pool2d(x, [1, 1]), torch.adaptive_avg_pool2d(x, [3, 2]), torch.adaptive_max_pool2d(x, [2, 3])[0]",
     {{3, 3}, {14, 14}, {7, 9}, {6, 4}}},
    {"pooling",
     "H=4..14, W=4..14",
     "x=f32[1, 2, H, W]",
     "return torch.max_pool2d(x, [3, 3], [2, 2], [1, 1], [1, 1], True), torch.avg_pool2d(x, [2, 3], [2, 2], [0, 1], True, False), "
     "torch.avg_pool2d(x, [3, 3], [1, 2], [1, 1])",
     {{4, 4}, {14, 14}, {7, 9}, {6, 5}}},
    {"windows", "H=3..9, W=4..9", "x=f32[1, 2, H, W]", "return torch.im2col(x, [2, 3], [1, 1], [1, 0], [1, 1])", {{3, 4}, {9, 9}, {5, 8}}},
    // Few places are faster in the direct form, many in Winograd's: the run decides.
    {"convolution_in_two_forms",
     "H=1..40, W=1..40",
     "x=f32[1, 64, H, W]",
     "y = torch.conv2d(torch.tanh(x), w, b, [1, 1], [1, 1]); return torch.relu(y) + x, y.mean([2, 3])",
     {{1, 1}, {1, 7}, {4, 4}, {5, 9}, {13, 12}, {40, 40}},
     "w=f32[64, 64, 3, 3] in -0.1..0.1, b=f32[64]"},
    {"winograd_convolution",
     "H=3..70, W=4..60",
     "x=f32[1, 32, H, W]",
     "y = torch.conv2d(torch.tanh(x), w, None, [1, 1], [1, 1]); return torch.relu(y) + x",
     {{3, 4}, {9, 60}, {56, 17}, {70, 60}},
     "w=f32[32, 32, 3, 3]"},
    {"depthwise",
     "H=1..30, W=1..30",
     "x=f32[1, 24, H, W]",
     "return torch.silu(torch.conv2d(torch.tanh(x), w, b, [1, 1], [1, 1], [1, 1], 24))",
     {{1, 1}, {2, 3}, {7, 8}, {8, 9}, {9, 10}, {14, 13}, {30, 30}},
     "w=f32[24, 1, 3, 3], b=f32[24]"},
    {"squeeze_excite",
     "N=1..3, H=3..30",
     "x=f32[N, 24, H, 14]",
     "y = torch.conv2d(x, w, None, [1, 1], [1, 1], [1, 1], 24); return torch.conv2d(y * torch.sigmoid(y.mean([2, 3], True)), p)",
     {{1, 3}, {2, 14}, {3, 30}},
     "w=f32[24, 1, 3, 3], p=f32[8, 24, 1, 1]"},
    {"depthwise_strided",
     "N=1..3, W=5..50",
     "x=f32[N, 33, 9, W]",
     "return torch.conv2d(x, w, None, [1, 2], [0, 3], [1, 2], 33), torch.conv2d(x.relu(), w, None, [3, 3], [2, 0], [1, 1], 33)",
     {{1, 5}, {2, 6}, {3, 17}, {1, 33}, {1, 50}},
     "w=f32[33, 1, 5, 4]"},
    {"depthwise_of_one_axis",
     "S=1..70",
     "x=f32[2, 20, S]",
     "return torch.conv1d(x.tanh(), w, None, [1], [3], [1], 20) + x",
     {{1}, {2}, {6}, {7}, {8}, {31}, {70}},
     "w=f32[20, 1, 7]"},
    {"convolution",
     "B=1..3, W=5..30",
     "x=f32[B, 4, W], w=f32[6, 4, 3]",
     "return torch.conv1d(x, w, None, [2], [1]).relu(), torch.conv1d(x, w[:, :2], None, [1], [0], [1], 2)",
     {{1, 5}, {3, 30}, {2, 11}}},
    // ---- products, norms ----
    {"matmul", "S=1..40", "a=f32[S, 7], b=f32[7, S]", "return torch.matmul(a, b), torch.matmul(b, a) * 2, torch.matmul(b, a[:, 0])", to_40},
    {"attention", "S=1..40", "q=f32[2, 3, S, 8], m=bool[2, 1, 1, S]",
     "return torch.scaled_dot_product_attention(q, q, q, None, 0.0, True), torch.scaled_dot_product_attention(q, q * 2, q)", to_40},
    {"norms",
     "S=2..40",
     "x=f32[2, 4, S]",
     "return torch.softmax(x, 2), torch.log_softmax(x, 1), torch.instance_norm(x, None, None, None, None, True, 0.1, 1e-5, False), "
     "torch.group_norm(x, 2), "
     "torch.linalg_vector_norm(x, 2, [2])",
     {{2}, {17}, {40}}},
    {"reductions", "S=1..40", "x=f32[3, S]",
     "a, b = torch.max(x, 1); return a, b, torch.argmin(x, 0), torch.logsumexp(x, [1]), (x * x).sum() / x.size(1), torch.std(x, [0])", to_40},
    {"glu_and_joins",
     "S=1..20",
     "x=f32[2, 6, S], y=f32[2, S]",
     "return torch.glu(x, 1), torch.hstack([y, y * 2]), torch.vstack([y, y + 1]), torch.block_diag([y, y]), torch.tensordot(x, y, [2], [1])",
     {{1}, {2}, {20}}},
    // ---- recurrence ----
    {"lstm_of_any_length",
     "T=1..30",
     "x=f32[T, 2, 5]",
     "a, b, c = torch.lstm(x, [torch.zeros([1, 2, 6]).type_as(x), torch.zeros([1, 2, 6]).type_as(x)], [w, u], False, 1, 0.0, False, False, False); "
     "return a, b, c",
     {{1}, {2}, {17}, {30}},
     "w=f32[24, 5], u=f32[24, 6]"},
    {"gru_of_any_batch",
     "B=1..5, T=2..9",
     "x=f32[B, T, 5]",
     "a, b = torch.gru(x, torch.zeros([2, x.size(0), 6]).type_as(x), [w, u, w * 2, u * 2], False, 1, 0.0, False, True, True); return a * 2, b",
     {{1, 2}, {5, 9}, {3, 4}},
     "w=f32[18, 5], u=f32[18, 6]"},
};

/// "x=f32[S, 3]" with sizes for symbols.
std::string at_sizes(std::string text, const std::vector<Symbol>& symbols, const std::vector<int64_t>& sizes) {
  for (size_t k = 0; k < symbols.size(); ++k) text = std::regex_replace(text, std::regex("\\b" + symbols[k].name + "\\b"), std::to_string(sizes[k]));
  return text;
}

class Dims : public Judged, public testing::WithParamInterface<Ranged> {
 protected:
  void SetUp() override {
    std::string rest(GetParam().symbols);
    for (std::smatch m; std::regex_search(rest, m, std::regex("(\\w+)=(\\d+)\\.\\.(\\d+)")); rest = m.suffix())
      symbols_.push_back({m[1], std::stoll(m[2]), std::stoll(m[3])});
    // The symbols stand in the shapes of the inputs at the greatest sizes: they are put there by name.
    std::string text(GetParam().inputs);
    for (std::smatch m; std::regex_search(text, m, std::regex("(\\w+)=(\\w+)\\[([^\\]]*)\\]")); text = m.suffix()) {
      const std::string spec =
          fmt::format("{}:{}:{}", std::string(m[1]), std::regex_replace(std::string(m[3]), std::regex(", "), "x"), std::string(m[2]));
      const auto parsed = parse_input_spec(spec, diagnostics);
      ASSERT_TRUE(parsed) << diagnostics.to_string();
      ranged_.inputs.push_back(*parsed);
    }
    ranged_.symbols = symbols_;
    ASSERT_TRUE(resolve_symbols(ranged_, diagnostics)) << diagnostics.to_string();
  }

  void judge_at(const std::vector<int64_t>& sizes) {
    const auto inputs = parse_sample_inputs(at_sizes(std::string(GetParam().inputs), symbols_, sizes), diagnostics);
    ASSERT_TRUE(inputs) << diagnostics.to_string();
    raw_.clear();
    host_.clear();
    judged_.clear();
    eager_.clear();
    options_ = {};
    const auto weights = parse_sample_inputs(GetParam().weights, diagnostics);
    ASSERT_TRUE(weights) << diagnostics.to_string();
    judge_program(*inputs, *weights, GetParam().body, "dims_" + std::string(GetParam().name), 5);
  }

  std::vector<Symbol> symbols_;
  LoadOptions ranged_;
};

TEST_P(Dims, one_library_serves_the_range) {
  for (const std::vector<int64_t>& sizes : GetParam().points) {
    SCOPED_TRACE(fmt::format("sizes {}", fmt::join(sizes, ", ")));
    judge_at(sizes);
    if (HasFatalFailure()) return;
    if (library_.empty()) {
      options_ = ranged_;
      compile_library({});
      if (HasFatalFailure()) return;
    }
    expect_library({});
    if (HasFailure()) return;
  }
}

INSTANTIATE_TEST_SUITE_P(All, Dims, testing::ValuesIn(all_ranged), [](const auto& info) { return std::string(info.param.name); });

}  // namespace
}  // namespace mica::numerics
