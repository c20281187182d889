// Cases of everything but pointwise ops: rows of TorchScript with the shapes that their axes, windows and products make interesting.
#include "conformance.h"

namespace mica::numerics {

namespace {

using Sizes = std::vector<int64_t>;

std::string list(const Sizes& items) { return fmt::format("[{}]", fmt::join(items, ", ")); }
std::string tensor(std::string_view name, DType t, const Sizes& shape, std::string_view range = {}) {
  return fmt::format("{}={}{}{}", name, name_of(t), list(shape), range.empty() ? usual_range(t) : range);
}

void add(Group& g, const std::string& inputs, std::string body, bool exact = false) {
  Diagnostics diagnostics;
  auto parsed = parse_sample_inputs(inputs, diagnostics);
  ASSERT_TRUE(parsed) << diagnostics.to_string();
  g.cases.push_back({std::move(*parsed), std::move(body), exact});
}

/// LibTorch's f64 is the judge itself, which says nothing of the last bits of its own sums. There operands are whole numbers, small enough that
/// every order of additions and multiplications gives the same.
std::string whole_in_f64(DType t, std::initializer_list<std::string_view> names, double factor = 4) {
  std::string lines;
  if (t == DType::f64)
    for (const std::string_view n : names) lines += fmt::format("{0} = torch.round({0} * {1}); ", n, factor);
  return lines;
}

constexpr DType narrow_range[] = {DType::f32, DType::f64, DType::f16, DType::bf16};

/// A row's expression with {x}; `dtypes` it is meant for, and whether it copies or counts (bits equal).
struct Row {
  std::string_view name, text;
  bool exact = false;
};

// ---- reductions ----

/// {d}: the axis, or the axes as a list where the operator takes one.
constexpr Row reductions[] = {
    {"sum", "torch.sum(x, [{d}])"},
    {"sum_keep", "torch.sum(x, [{d}], True)"},
    {"mean", "torch.mean(x, [{d}])"},
    {"prod", "torch.prod(x, {d})"},
    {"amax", "torch.amax(x, [{d}])", true},
    {"amin", "torch.amin(x, [{d}], True)", true},
    {"max_values", "torch.max(x, {d})[0]", true},
    {"min_indices", "torch.min(x, {d})[1]", true},
    {"any", "torch.any(x, {d})", true},
    {"all", "torch.all(x, {d}, True)", true},
    {"var", "torch.var(x, [{d}], False)"},
    {"std", "torch.std(x, [{d}])"},
    {"logsumexp", "torch.logsumexp(x, [{d}])"},
    {"argmax", "torch.argmax(x, {d})", true},
    {"argmin", "torch.argmin(x, {d}, True)", true},
    {"cumsum", "torch.cumsum(x, {d})"},
    {"cumprod", "torch.cumprod(x, {d})"},
    {"softmax", "torch.softmax(x, {d})"},
    {"log_softmax", "torch.log_softmax(x, {d})"},
    {"norm", "torch.linalg_vector_norm(x, 2, [{d}])"},
    {"norm_1", "torch.linalg_vector_norm(x, 1, [{d}], True)"},
    {"count_nonzero", "torch.count_nonzero(x, {d})", true},
    {"flip_sum", "torch.sum(torch.flip(x, [{d}]), [{d}])"},
};

struct Reduced {
  Sizes shape;
  int64_t axis;
  std::string_view before;
};

std::vector<Reduced> reduced_shapes(bool full) {
  std::vector<Reduced> all;
  for (const int64_t n : boundary_sizes) {
    if (!full && n % 8 != 1 && n % 8 != 0) continue;
    all.push_back({{n}, 0, ""});
    all.push_back({{3, n}, 1, ""});
    all.push_back({{n, 3}, 0, ""});
  }
  for (const int64_t axis : {0, 1, 2, -1}) all.push_back({{4, 5, 9}, axis, ""});
  all.push_back({{2, 3, 1, 5, 2, 3}, 3, ""});
  all.push_back({{17, 5}, 1, "x = x.transpose(0, 1); "});
  all.push_back({{5, 66}, 1, "x = x[:, ::2]; "});
  return all;
}

std::string filled(std::string_view text, int64_t axis) {
  std::string out(text);
  for (size_t at; (at = out.find("{d}")) != std::string::npos;) out.replace(at, 3, fmt::format("{}", axis));
  return out;
}

std::vector<Group> reduction_groups() {
  std::vector<Group> groups;
  for (const Row& row : reductions) {
    for (const DType t : every_dtype) {
      Group g{fmt::format("{} {}", row.name, name_of(t)), {}};
      const bool product = row.name == "prod" || row.name == "cumprod", sum = row.text.starts_with("torch.sum") || row.name == "mean";
      // A single sum that cancels to nearly nothing tells of luck, not of kernels: these are drawn on one side of zero.
      const std::string_view range = product              ? (is_float(t)  ? " in 0.5..1.5"
                                                             : is_bool(t) ? ""
                                                                          : " in 1..3")
                                     : sum && is_float(t) ? " in 0.25..2"
                                                          : "";
      const std::string whole = product ? whole_in_f64(t, {"x"}, 1.2) : sum || row.name == "cumsum" ? whole_in_f64(t, {"x"}) : "";
      // An empty axis has no extremum; torch and Mica both say so, which is not a case.
      for (const Reduced& r : reduced_shapes(t == DType::f32 || t == DType::i64))
        add(g, tensor("x", t, r.shape, range), fmt::format("{}{}return {}", whole, r.before, filled(row.text, r.axis)), row.exact);
      g.one_dtype = false;
      groups.push_back(std::move(g));
    }
  }
  return groups;
}

// ---- views and copies ----

struct View {
  Sizes shape;
  std::string_view text;
};
std::vector<View> view_rows() {
  std::vector<View> all = {{{6, 35}, "x.reshape(5, 42)"},
                           {{6, 35}, "x.reshape(2, 3, 5, 7)"},
                           {{5, 17}, "x.transpose(0, 1).reshape(85)"},
                           {{2, 3, 4, 5}, "x.permute(3, 1, 0, 2)"},
                           {{2, 3, 1, 2, 2, 3}, "x.permute(5, 0, 4, 1, 3, 2)"},
                           {{1, 9, 1}, "x.expand(3, 9, 4)"},
                           {{4}, "x.expand(0, 4)"},
                           {{3, 7}, "x.repeat(2, 1, 2)"},
                           {{3, 7}, "torch.repeat_interleave(x, 3, 1)"},
                           {{33}, "x[1:-1:3]"},
                           {{9, 17}, "x[:, 3:12:2]"},
                           {{9, 17}, "x[-1]"},
                           {{9, 17}, "x[2:2]"},
                           {{4, 9, 5}, "torch.select(x, 1, -2)"},
                           {{65}, "x[64:]"},
                           {{5, 17}, "torch.flip(x, [0, 1])"},
                           {{33}, "torch.flip(x, [0])"},
                           {{5, 17}, "torch.roll(x, [2, -3], [0, 1])"},
                           {{17}, "torch.roll(x, 40)"},
                           {{9, 16}, "torch.tril(x, -1)"},
                           {{16, 9}, "torch.triu(x, 2)"},
                           {{3, 7, 9}, "torch.diagonal(x, 1, 1, 2)"},
                           {{17}, "torch.diag_embed(x)"},
                           {{3, 33}, "x.unfold(1, 5, 3)"},
                           {{3, 5}, "torch.constant_pad_nd(x, [1, 2, 0, 3], 1)"},
                           {{3, 9}, "torch.constant_pad_nd(x, [-2, 3], 0)"},
                           {{2, 3, 5}, "torch.pad(x, [2, 1], \"reflect\")"},
                           {{2, 3, 5}, "torch.pad(x, [2, 1], \"replicate\")"},
                           {{2, 3, 5}, "torch.pad(x, [2, 1], \"circular\")"},
                           {{7, 9}, "torch.cat([x, x[:3], x[6:]], 0)"},
                           {{7, 9}, "torch.cat([x[:, :1], x, x[:, 8:]], 1)"},
                           {{7, 9}, "torch.cat([x[:0], x], 0)"},
                           {{5}, "torch.stack([x, x, x], 1)"},
                           {{13, 2}, "torch.chunk(x, 4)[3]"},
                           {{13, 2}, "torch.split(x, 5)[2]"},
                           {{7, 9}, "torch.unbind(x, 1)[8]"},
                           {{2, 8, 3, 5}, "torch.pixel_shuffle(x, 2)"},
                           {{1, 2, 6, 4}, "torch.pixel_unshuffle(x, 2)"},
                           {{1, 6, 3, 2}, "torch.channel_shuffle(x, 3)"},
                           {{3, 1, 5, 1}, "torch.squeeze(x)"},
                           {{3, 5}, "x.unsqueeze(-1).unsqueeze(0)"},
                           {{4, 4}, "torch.rot90(x, 3, [0, 1])"},
                           {{17}, "torch.meshgrid([x, x], indexing=\"xy\")[0]"},
                           {{2, 3, 4}, "torch.movedim(x, 0, -1)"},
                           {{9}, "torch.index_select(x, 0, torch.arange(0, 9, 3))"},
                           {{5, 9}, "torch.gather(x, 1, torch.zeros([5, 4], dtype=4))"},
                           {{5, 9}, "x[torch.arange(3)]"},
                           {{5, 9}, "x[:, torch.arange(4, 9)]"},
                           {{5, 9}, "torch.masked_fill(x, x == x, 1)"},
                           {{5, 9}, "torch.slice_scatter(x, x[:2], 0, 1, 3, 1)"},
                           {{5, 9}, "torch.select_scatter(x, x[:, 0], 1, -2)"},
                           {{5, 9}, "torch.index_put(x, [torch.arange(2)], x[3])"},
                           {{5, 9}, "torch.scatter(x, 1, torch.zeros([5, 1], dtype=4), x)"},
                           {{5, 9}, "torch.index_fill(x, 1, torch.arange(3), 1)"},
                           {{5, 9}, "torch.index_copy(x, 0, torch.arange(2), x[2:4])"},
                           {{4, 9}, "torch.sort(x, 1)[0]"},
                           {{4, 9}, "torch.sort(x, 0, True)[0]"},
                           {{4, 17}, "torch.topk(x, 3, 1)[0]"}};
  for (const int64_t n : boundary_sizes) {
    all.push_back({{n, 3}, "x.transpose(0, 1).contiguous()"});
    all.push_back({{3, n}, "torch.flip(x, [1])"});
    all.push_back({{2, n}, "torch.cat([x, x], 1)"});
    all.push_back({{2, n}, "torch.constant_pad_nd(x, [1, 1], 0)"});
  }
  return all;
}

std::vector<Group> view_groups() {
  std::vector<Group> groups;
  for (const DType t : every_dtype) {
    Group g{fmt::format("views {}", name_of(t)), {}, false};
    for (const View& v : view_rows()) add(g, tensor("x", t, v.shape), fmt::format("return {}", v.text), true);
    groups.push_back(std::move(g));
  }
  return groups;
}

/// In-place operators on views of a copy: the whole is what counts.
constexpr std::string_view writes[] = {
    "y = x.clone(); y[1:3].add_(1); return y",
    "y = x.clone(); y[:, ::2].mul_(2); return y",
    "y = x.clone(); y.transpose(0, 1)[2].copy_(y[:, 1]); return y",
    "y = x.clone(); y.view(-1)[5:17].zero_(); return y",
    "y = x.clone(); torch.unbind(y, 1)[3].fill_(1); return y",
    "y = x.clone(); torch.split(y, 2)[1].add_(y[0]); return y",
    "y = x.clone(); z = y.t(); y.add_(1); return z",
    "y = x.clone(); y.select(0, -1).copy_(y.select(0, 0)); return y",
    "y = x.clone(); y.unsqueeze(0).squeeze(0).narrow(1, 2, 4).sub_(1); return y",
    "y = x.clone(); y[0] = y[1]; y[1] = y[0]; return y",
    "y = x.clone(); y.permute(1, 0).masked_fill_(y.permute(1, 0) > 0, 1); return y",
    "y = x.clone(); y.copy_(x[0]); return y",
};
std::vector<Group> write_groups() {
  std::vector<Group> groups;
  for (const DType t : every_dtype) {
    Group g{fmt::format("in place {}", name_of(t)), {}, false};
    for (const std::string_view w : writes)
      for (const Sizes& shape : {Sizes{4, 9}, Sizes{5, 33}}) add(g, tensor("x", t, shape, is_float(t) ? "" : " in 0..2"), std::string(w), true);
    groups.push_back(std::move(g));
  }
  return groups;
}

// ---- conversions, Python numbers ----

constexpr int torch_code[] = {7, 6, 5, 15, 4, 3, 2, 1, 0, 11};  // f64, f32, f16, bf16, i64 ... bool, as torch.dtype's numbers

std::vector<Group> cast_groups() {
  std::vector<Group> groups;
  for (const DType from : every_dtype) {
    Group g{fmt::format("cast {}", name_of(from)), {}};
    for (const DType to : every_dtype)
      for (const int64_t n : {0, 1, 7, 17, 33}) {
        // Out of the target's range the result is not defined; floats beyond its fractions are.
        const std::string_view range = is_float(from) && !is_float(to) ? (to == DType::u8 ? " in 0..200" : " in -100..100") : "";
        add(g, tensor("x", from, {n}, range), fmt::format("return x.to(dtype={})", torch_code[static_cast<int>(to)]), true);
      }
    groups.push_back(std::move(g));
  }
  return groups;
}

constexpr std::string_view with_numbers[] = {"x + 2",
                                             "x + 1.5",
                                             "2 - x",
                                             "x - True",
                                             "x * 3",
                                             "x * 0.5",
                                             "x / 2",
                                             "1 / (x * x + 1)",
                                             "x // 3",
                                             "x // 2.0",
                                             "x % 3",
                                             "x % -3",
                                             "x ** 2",
                                             "x ** 3",
                                             "x ** 0.5",
                                             "2 ** x",
                                             "x == 1",
                                             "x != 1.5",
                                             "x < 1",
                                             "x >= 0.5",
                                             "x & 3",
                                             "x | 5",
                                             "x ^ 1",
                                             "-x",
                                             "torch.clamp(x, 0, 1)",
                                             "torch.clamp(x, -0.5, None)",
                                             "torch.where(x > 0, x, 2)",
                                             "torch.where(x > 0, 1.5, x)",
                                             "torch.add(x, 1, alpha=2)",
                                             "torch.sub(x, x, alpha=3)",
                                             "torch.rsub(x, 1, alpha=2)",
                                             "torch.div(x, 3, rounding_mode=\"floor\")",
                                             "torch.div(x, 3, rounding_mode=\"trunc\")",
                                             "torch.remainder(x, 4)",
                                             "torch.fmod(x, 3)",
                                             "torch.masked_fill(x, x > 0, 3)",
                                             "torch.full_like(x, 1)",
                                             "x + torch.tensor(2)",
                                             "x * torch.tensor(1.5)",
                                             "torch.maximum(x, torch.tensor(1))",
                                             "x.float() + x",
                                             "x + x.long()",
                                             "x.bool() + x",
                                             "torch.lerp(x, x + 1, 0.25)",
                                             "torch.cat([x, x.float()])",
                                             "torch.bitwise_left_shift(x, 2)"};
std::vector<Group> number_groups() {
  std::vector<Group> groups;
  for (const DType t : every_dtype) {
    Group g{fmt::format("numbers {}", name_of(t)), {}, false};
    for (const std::string_view e : with_numbers)
      for (const Sizes& shape : {Sizes{17}, Sizes{}, Sizes{3, 8}})
        add(g, tensor("x", t, shape, is_float(t) ? " in 0.25..3" : is_bool(t) ? "" : " in 0..5"), fmt::format("return {}", e));
    groups.push_back(std::move(g));
  }
  return groups;
}

// ---- products ----

std::vector<Group> product_groups() {
  std::vector<Group> groups;
  for (const DType t : {DType::f32, DType::f64, DType::f16, DType::bf16, DType::i64, DType::i32}) {
    Group g{fmt::format("products {}", name_of(t)), {}, false};
    const std::string_view range = is_float(t) ? " in -1..1" : " in -9..9";
    const auto two = [&](const Sizes& a, const Sizes& b, std::string_view text) {
      const std::string_view own = a.size() + b.size() == 2 && is_float(t) ? " in 0.25..1" : range;
      add(g, tensor("x", t, a, own) + ", " + tensor("y", t, b, own), fmt::format("{}return {}", whole_in_f64(t, {"x", "y"}), text));
    };
    for (const int64_t n : boundary_sizes) {
      two({n, 5}, {5, 3}, "torch.mm(x, y)");
      two({3, n}, {n, 4}, "torch.matmul(x, y)");
      two({4, 7}, {7, n}, "torch.matmul(x, y)");
      two({n}, {n}, "torch.matmul(x, y)");
      two({2, 3, n}, {5, n}, "torch.matmul(x, y.t())");
    }
    two({2, 1, 3, 5}, {4, 5, 6}, "torch.matmul(x, y)");
    two({1, 3, 5}, {4, 5, 6}, "torch.matmul(x, y)");
    two({4, 3, 5}, {1, 5, 6}, "torch.matmul(x, y)");
    two({5}, {3, 5, 2}, "torch.matmul(x, y)");
    two({3, 2, 5}, {5}, "torch.matmul(x, y)");
    two({9, 17}, {9, 5}, "torch.mm(x.t(), y)");
    two({3, 9, 17}, {3, 17, 8}, "torch.bmm(x, y)");
    two({3, 300}, {300, 5}, "torch.mm(x, y)");
    two({2, 3, 4, 5}, {2, 6, 4, 5}, "torch.einsum(\"bqhd,bkhd->bhqk\", [x, y])");
    two({9}, {17}, "torch.outer(x, y)");
    add(g, fmt::format("{}, {}, {}", tensor("x", t, {5, 9}, range), tensor("y", t, {9, 7}, range), tensor("z", t, {7}, range)),
        whole_in_f64(t, {"x", "y", "z"}) + "return torch.addmm(z, x, y)");
    groups.push_back(std::move(g));
  }
  return groups;
}

// ---- windows ----

struct Window {
  Sizes x, w;
  std::string_view text;
};

std::vector<Group> convolution_groups() {
  std::vector<Window> rows = {{{1, 3, 9, 7}, {4, 3, 3, 3}, "torch.conv2d(x, w, None, [1, 1], [1, 1])"},
                              {{2, 4, 9, 8}, {6, 2, 3, 2}, "torch.conv2d(x, w, None, [2, 1], [1, 0], [1, 2], 2)"},
                              {{1, 5, 9, 9}, {5, 1, 3, 3}, "torch.conv2d(x, w, None, [1, 1], [1, 1], [1, 1], 5)"},
                              {{1, 5, 9, 9}, {10, 1, 5, 5}, "torch.conv2d(x, w, None, [2, 2], [4, 4], [2, 2], 5)"},
                              {{1, 3, 8, 8}, {4, 3, 3, 3}, "torch.conv2d(x, w, None, [1, 1], \"same\", [2, 3])"},
                              {{2, 3, 17}, {4, 3, 3}, "torch.conv1d(x, w, None, [2], [1])"},
                              {{1, 2, 4, 5, 6}, {3, 2, 2, 3, 2}, "torch.conv3d(x, w, None, [1, 2, 1], [1, 0, 1])"},
                              {{3, 9, 9}, {4, 3, 3, 3}, "torch.conv2d(x, w)"},
                              {{1, 3, 5, 4}, {3, 2, 3, 3}, "torch.conv_transpose2d(x, w, None, [2, 2], [1, 1], [1, 0])"},
                              {{1, 4, 5, 4}, {4, 2, 3, 3}, "torch.conv_transpose2d(x, w, None, [1, 2], [0, 1], [0, 0], 2, [2, 1])"},
                              {{2, 3, 9}, {3, 2, 4}, "torch.conv_transpose1d(x, w, None, [3])"},
                              {{1, 3, 1, 1}, {2, 3, 1, 1}, "torch.conv2d(x, w)"},
                              {{1, 3, 2, 2}, {2, 3, 3, 3}, "torch.conv2d(x, w, None, [1, 1], [1, 1])"}};
  for (const int64_t n : boundary_sizes)
    if (n) {
      rows.push_back({{1, n, 5, 5}, {3, n, 3, 3}, "torch.conv2d(x, w, None, [1, 1], [1, 1])"});
      rows.push_back({{1, 3, 4, 5}, {n, 3, 1, 1}, "torch.conv2d(x, w)"});
      rows.push_back({{1, 2, 4, n}, {3, 2, 3, 1}, "torch.conv2d(x, w)"});
    }
  std::vector<Group> groups;
  for (const DType t : narrow_range) {
    Group g{fmt::format("convolutions {}", name_of(t)), {}, false};
    for (const Window& r : rows)
      add(g, tensor("x", t, r.x, " in -1..1") + ", " + tensor("w", t, r.w, " in -1..1"),
          fmt::format("{}return {}", whole_in_f64(t, {"x", "w"}), r.text));
    groups.push_back(std::move(g));
  }
  return groups;
}

std::vector<Group> pool_groups() {
  std::vector<View> rows = {{{1, 2, 9, 7}, "torch.max_pool2d(x, [3, 3], [2, 2], [1, 1])"},
                            {{1, 2, 9, 7}, "torch.max_pool2d(x, [3, 2], [2, 3], [1, 0], [1, 2], True)"},
                            {{2, 3, 17}, "torch.max_pool1d(x, [4], [3], [2])"},
                            {{1, 2, 5, 6, 7}, "torch.max_pool3d(x, [2, 2, 2], [1, 2, 2], [0, 0, 1])"},
                            {{1, 2, 9, 7}, "torch.max_pool2d_with_indices(x, [3, 3], [2, 2], [1, 1])[1]"},
                            {{1, 2, 9, 7}, "torch.avg_pool2d(x, [3, 3], [2, 2], [1, 1])"},
                            {{1, 2, 9, 7}, "torch.avg_pool2d(x, [3, 3], [2, 2], [1, 1], False, False)"},
                            {{1, 2, 9, 8}, "torch.avg_pool2d(x, [3, 2], [2, 2], [1, 1], True, False)"},
                            {{1, 2, 9, 8}, "torch.avg_pool2d(x, [3, 2], [2, 2], [1, 1], True, True)"},
                            {{1, 2, 9, 8}, "torch.avg_pool2d(x, [2, 2], [2, 2], [0, 0], False, True, 3)"},
                            {{2, 3, 17}, "torch.avg_pool1d(x, [4], [3], [2])"},
                            {{1, 2, 5, 6, 7}, "torch.avg_pool3d(x, [2, 2, 2], [1, 2, 2], [0, 0, 1])"},
                            {{1, 2, 9, 7}, "torch.adaptive_avg_pool2d(x, [4, 3])"},
                            {{1, 2, 9, 7}, "torch.adaptive_avg_pool2d(x, [1, 1])"},
                            {{1, 2, 3, 2}, "torch.adaptive_avg_pool2d(x, [7, 5])"},
                            {{1, 2, 9, 7}, "torch.adaptive_max_pool2d(x, [4, 3])[0]"},
                            {{2, 3, 17}, "torch.adaptive_avg_pool1d(x, [5])"},
                            {{1, 2, 3, 4}, "torch.upsample_nearest2d(x, [7, 5], None)"},
                            {{1, 2, 3, 4}, "torch.upsample_bilinear2d(x, [7, 5], False)"},
                            {{1, 2, 3, 4}, "torch.upsample_bilinear2d(x, [7, 5], True)"},
                            {{1, 2, 5, 4}, "torch.upsample_bicubic2d(x, [7, 9], False)"}};
  for (const int64_t n : boundary_sizes)
    if (n > 2) {
      rows.push_back({{1, 2, 4, n}, "torch.max_pool2d(x, [3, 3], [1, 1], [1, 1])"});
      rows.push_back({{1, 2, n, 4}, "torch.avg_pool2d(x, [3, 3], [1, 1], [1, 1])"});
    }
  std::vector<Group> groups;
  for (const DType t : every_dtype) {
    Group g{fmt::format("pools {}", name_of(t)), {}, false};
    for (const View& r : rows) {
      if (r.text.find("bi") != std::string_view::npos && t == DType::f64) continue;  // several roundings, of which the judge has as many
      add(g, tensor("x", t, r.shape, is_float(t) || is_bool(t) ? "" : " in 0..50"), fmt::format("{}return {}", whole_in_f64(t, {"x"}), r.text));
    }
    groups.push_back(std::move(g));
  }
  return groups;
}

std::vector<Group> norm_groups() {
  std::vector<Group> groups;
  for (const DType t : narrow_range) {
    Group g{fmt::format("norms {}", name_of(t)), {}, false};
    for (const int64_t n : boundary_sizes) {
      if (!n) continue;
      const std::string three = fmt::format("{}, {}, {}", tensor("x", t, {3, n}), tensor("w", t, {n}), tensor("b", t, {n}));
      add(g, three, fmt::format("return torch.layer_norm(x, [{}], w, b, 1e-5)", n));
      add(g, three, fmt::format("return torch.rms_norm(x, [{}], w, 1e-6)", n));
      add(g, tensor("x", t, {2, 6, n}), "return torch.group_norm(x, 3, None, None, 1e-5)");
      add(g, fmt::format("{}, {}, {}", tensor("x", t, {2, n, 4}), tensor("m", t, {n}), tensor("v", t, {n}, " in 0.5..2")),
          "return torch.batch_norm(x, None, None, m, v, False, 0.1, 1e-3, False)");
      add(g, fmt::format("{}, {}, {}", tensor("q", t, {1, 2, 3, n}), tensor("k", t, {1, 2, 5, n}), tensor("v", t, {1, 2, 5, n})),
          "return torch.scaled_dot_product_attention(q, k, v)");
    }
    groups.push_back(std::move(g));
  }
  return groups;
}

std::vector<Group> index_groups() {
  std::vector<Group> groups;
  for (const DType t : every_dtype) {
    Group g{fmt::format("indices {}", name_of(t)), {}, false};
    for (const int64_t n : boundary_sizes) {
      if (!n) continue;
      const std::string x = tensor("x", t, {n, 3}), i = fmt::format(", i=i64[7] in 0..{}", n);
      add(g, x + i, "return torch.index_select(x, 0, i)", true);
      add(g, x + i, "return x[i]", true);
      add(g, x + fmt::format(", i=i64[7, 3] in 0..{}", n), "return torch.gather(x, 0, i)", true);
      add(g, x + fmt::format(", i=i64[2, 2] in -{}..{}", n, n), "return x[i]", true);
      add(g, x + fmt::format(", i=i64[1, 3] in 0..{}, s={}[1, 3]{}", n, name_of(t), usual_range(t)), "return torch.scatter(x, 0, i, s)", true);
      add(g, fmt::format("{}, i=i64[4, 3] in 0..{}, s={}", x, n, tensor("s", t, {4, 3}, is_float(t) || is_bool(t) ? "" : " in 0..9").substr(2)),
          "return torch.scatter_add(x, 0, i, s)");
      add(g, fmt::format("w={}[{}, 5]{}, i=i32[2, 3] in 0..{}", name_of(t), n, usual_range(t), n), "return torch.embedding(w, i)", true);
    }
    groups.push_back(std::move(g));
  }
  return groups;
}

constexpr Family families[] = {
    {"reductions", reduction_groups}, {"views", view_groups},       {"in_place", write_groups},           {"casts", cast_groups},
    {"numbers", number_groups},       {"products", product_groups}, {"convolutions", convolution_groups}, {"pools", pool_groups},
    {"norms", norm_groups},           {"indices", index_groups}};

}  // namespace

std::span<const Family> other_families() { return families; }

}  // namespace mica::numerics
