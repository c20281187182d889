// Interpolation as TorchScript spells it, with the tables of taps and weights that torch computes while running.
#include <algorithm>
#include <cmath>

#include "import_families.h"
#include "mica/ops/activation.h"
#include "mica/ops/compare.h"
#include "mica/ops/factory.h"
#include "mica/ops/math.h"
#include "mica/ops/matmul.h"
#include "mica/ops/pointwise.h"
#include "mica/ops/resample.h"
#include "mica/ops/view.h"

namespace mica {

namespace {

enum class Filter { nearest, nearest_exact, linear, cubic };

/// What one axis is resampled by.
struct Axis {
  int64_t in, out;
  double scale;  ///< input steps per output step
};

/// torch's area_pixel_compute_scale: a given scale factor counts, unless corners are aligned.
double step_of(int64_t in, int64_t out, bool align_corners, double factor) {
  if (align_corners) return out > 1 ? static_cast<double>(in - 1) / static_cast<double>(out - 1) : 0;
  return factor > 0 ? 1 / factor : static_cast<double>(in) / static_cast<double>(out);
}

/// Keys' cubic convolution weight with a = -0.75 (or -0.5 where antialiased).
double cubic_weight(double x, double a) {
  x = std::fabs(x);
  if (x < 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
  return x < 2 ? (((x - 5) * x + 8) * x - 4) * a : 0;
}

struct Table {
  int64_t count = 1;  ///< taps per output
  std::vector<int64_t> taps;
  std::vector<double> weights;  ///< empty for nearest
};

Table table_of(const Axis& a, Filter filter, bool align_corners) {
  Table t;
  const auto clamped = [&](int64_t i) { return std::clamp<int64_t>(i, 0, a.in - 1); };
  t.count = filter == Filter::linear ? 2 : filter == Filter::cubic ? 4 : 1;
  for (int64_t o = 0; o < a.out; ++o) {
    if (filter == Filter::nearest || filter == Filter::nearest_exact) {
      const double at = (static_cast<double>(o) + (filter == Filter::nearest_exact ? 0.5 : 0)) * a.scale;
      // torch computes this product in f32; where it lands just below an integer in f64 the f32 one decides.
      t.taps.push_back(clamped(static_cast<int64_t>(std::floor(static_cast<float>(at)))));
      continue;
    }
    double at = align_corners ? static_cast<double>(o) * a.scale : (static_cast<double>(o) + 0.5) * a.scale - 0.5;
    if (filter == Filter::linear) {
      at = std::max(at, 0.0);
      const int64_t low = clamped(static_cast<int64_t>(at));
      const double high_weight = std::clamp(at - static_cast<double>(low), 0.0, 1.0);
      t.taps.insert(t.taps.end(), {low, clamped(low + 1)});
      t.weights.insert(t.weights.end(), {1 - high_weight, high_weight});
    } else {
      const auto base = static_cast<int64_t>(std::floor(at));
      for (int64_t k = -1; k <= 2; ++k) {
        t.taps.push_back(clamped(base + k));
        t.weights.push_back(cubic_weight(at - static_cast<double>(base + k), -0.75));
      }
    }
  }
  return t;
}

/// Antialiased: the filter is stretched by the step where that is above 1, and normalised.
Table antialiased_table(const Axis& a, Filter filter) {
  const double stretch = std::max(a.scale, 1.0), support = (filter == Filter::cubic ? 2 : 1) * stretch;
  Table t;
  t.count = std::min<int64_t>(a.in, static_cast<int64_t>(std::ceil(support)) * 2 + 1);
  for (int64_t o = 0; o < a.out; ++o) {
    const double center = a.scale * (static_cast<double>(o) + 0.5);
    const int64_t first = std::max<int64_t>(static_cast<int64_t>(center - support + 0.5), 0),
                  last = std::min<int64_t>(static_cast<int64_t>(center + support + 0.5), a.in);
    std::vector<double> w;
    double sum = 0;
    for (int64_t i = first; i < last; ++i) {
      const double x = (static_cast<double>(i) - center + 0.5) / stretch;
      w.push_back(filter == Filter::cubic ? cubic_weight(x, -0.5) : std::max(0.0, 1 - std::fabs(x)));
      sum += w.back();
    }
    for (int64_t k = 0; k < t.count; ++k) {
      const bool there = k < static_cast<int64_t>(w.size());
      t.taps.push_back(std::clamp<int64_t>(first + k, 0, a.in - 1));
      t.weights.push_back(there && sum != 0 ? w[k] / sum : 0);
    }
  }
  return t;
}

Value resampled(ImportContext& ctx, Value x, int64_t axis, const Table& t, int64_t out) {
  const std::vector<double> taps(t.taps.begin(), t.taps.end());
  OptValue weight;
  if (!t.weights.empty()) weight = constant_tensor(ctx, working(ctx.type(x).dtype), Shape({out, t.count}), t.weights);
  return ctx.create(Resample{x, constant_tensor(ctx, DType::i64, Shape({out, t.count}), taps), weight, axis});
}

/// The same tables where sizes depend on symbols: arithmetic of the model, in f64 as above.
class TableBuilder {
 public:
  TableBuilder(ImportContext& ctx, const Dim& in, const Dim& out, double factor, Filter filter, bool align_corners)
      : ctx_(ctx), filter_(filter), out_(out), last_(whole(in - 1)) {
    // Of one element the place is 0 whatever the step is.
    step_ = factor > 0 && !align_corners ? real(1 / factor) : align_corners ? ratio(in - 1, Dim::max(out - 1, 1)) : ratio(in, out);
    const Value o = ctx.create(Arange{.count = out, .start = Scalar(0.0), .step = Scalar(1.0), .dtype = DType::f64});
    const bool centres = filter == Filter::nearest_exact || (!align_corners && filter != Filter::nearest);
    at_ = mul(centres ? add(o, real(0.5)) : o, step_);
    if (centres && filter != Filter::nearest_exact) at_ = add(at_, real(-0.5));
  }

  /// x along the axis at the places of the table.
  Value read(Value x, int64_t axis) {
    if (filter_ == Filter::nearest || filter_ == Filter::nearest_exact) {
      return ctx_.create(Resample{x, column(clamped(cast_to(ctx_, ctx_.create(Floor{cast_to(ctx_, at_, DType::f32)}), DType::i64))), {}, axis});
    }
    std::vector<Value> taps, weights;
    if (filter_ == Filter::linear) linear(taps, weights);
    else cubic(taps, weights);
    const Value weight = cast_to(ctx_, ctx_.create(Cat{Values(weights), 1}), working(ctx_.type(x).dtype));
    return ctx_.create(Resample{x, ctx_.create(Cat{Values(taps), 1}), weight, axis});
  }

 private:
  Value real(double v) { return constant(ctx_, DType::f64, Scalar(v)); }
  Value size(const Dim& d, DType t) {
    return d.is_static() ? constant(ctx_, t, is_float(t) ? Scalar(static_cast<double>(d.size())) : Scalar(d.size())) : ctx_.create(SizeValue{d, t});
  }
  Value whole(const Dim& d) { return size(d, DType::i64); }
  Value ratio(const Dim& a, const Dim& b) { return ctx_.create(Div{size(a, DType::f64), size(b, DType::f64)}); }
  Value add(Value a, Value b) { return ctx_.create(Add{a, b}); }
  Value mul(Value a, Value b) { return ctx_.create(Mul{a, b}); }
  Value minus(Value a, Value b) { return ctx_.create(Sub{a, b}); }
  Value clamped(Value tap) { return ctx_.create(Minimum{ctx_.create(Maximum{tap, whole(0)}), last_}); }
  Value column(Value v) { return unsqueeze_at(ctx_, v, 1); }

  void linear(std::vector<Value>& taps, std::vector<Value>& weights) {
    const Value at = ctx_.create(Maximum{at_, real(0)}), low = clamped(cast_to(ctx_, at, DType::i64));
    const Value above = ctx_.create(Minimum{ctx_.create(Maximum{minus(at, cast_to(ctx_, low, DType::f64)), real(0)}), real(1)});
    taps = {column(low), column(clamped(add(low, whole(1))))};
    weights = {column(minus(real(1), above)), column(above)};
  }
  /// cubic_weight() at 1 + t, t, 1 - t and 2 - t, for a place that is t above its lower neighbour.
  void cubic(std::vector<Value>& taps, std::vector<Value>& weights) {
    constexpr double a = -0.75;
    const Value base = ctx_.create(Floor{at_}), t = minus(at_, base), rest = minus(real(1), t), first = cast_to(ctx_, base, DType::i64);
    const auto polynomial = [&](Value x, std::initializer_list<double> coefficients) {
      Value sum;
      for (const double c : coefficients) sum = sum ? add(mul(sum, x), real(c)) : real(c);
      return column(sum);
    };
    const auto near = [&](Value x) { return polynomial(x, {a + 2, -(a + 3), 0, 1}); };
    const auto far = [&](Value x) { return polynomial(add(x, real(1)), {a, -5 * a, 8 * a, -4 * a}); };
    weights = {far(t), near(t), near(rest), far(rest)};
    for (int64_t k = -1; k <= 2; ++k) taps.push_back(column(clamped(add(first, whole(k)))));
  }

  ImportContext& ctx_;
  Filter filter_;
  Dim out_;
  Value last_, step_, at_;
};

/// Nearest by a whole factor is repetition, which stays affine; 0 where it is none.
int64_t repetition(const Dim& in, const Dim& out, double factor, Filter filter) {
  if (filter != Filter::nearest || in.low() < 1) return 0;
  const Dim times = out / in;
  if (!times.is_static() || times * in != out || times == 0) return 0;
  return factor > 0 && 1 / factor != 1 / static_cast<double>(times.size()) ? 0 : times.size();
}
Value repeated(ImportContext& ctx, Value x, int64_t axis, int64_t count) {
  std::vector<Dim> sizes = ctx.shape(x).dims(), apart = sizes;
  apart.insert(apart.begin() + axis + 1, Dim(1));
  std::vector<Dim> wide = apart;
  wide[axis + 1] = count;
  sizes[axis] *= count;
  return reshape_to(ctx, expand_to(ctx, reshape_to(ctx, x, apart), Shape(wide)), sizes);
}

/// floor(size * factor), as torch counts in floating point. With a size that depends on symbols the factor is taken as a fraction, which must
/// give the same for every value.
Dim scaled_size(ImportContext& ctx, const Dim& size, double factor) {
  const auto exact = [&](int64_t n) { return static_cast<int64_t>(std::floor(static_cast<double>(n) * factor)); };
  if (size.is_static()) return exact(size.size());
  for (int64_t q = 1; q <= 1024; ++q) {
    const auto p = static_cast<int64_t>(std::round(factor * static_cast<double>(q)));
    bool same = p > 0;
    for (int64_t n = size.low(); same && n <= size.high(); ++n) same = n * p / q == exact(n);
    if (same) return size * p / q;
  }
  ctx.unsupported("upsample-size", fmt::format("no fraction gives what factor {} makes of every size {}; give the size of the result", factor, size));
}

/// One axis.
template <Filter filter, bool antialias> Value resized(ImportContext& ctx, Value x, int64_t axis, const Dim& out, double factor, bool align) {
  const Dim in = ctx.shape(x)[axis];
  if (out.low() < 1 || in.low() < 1) ctx.fail("upsample-size", fmt::format("{} elements cannot be resampled to {}", in, out));
  if (in == out && (align || factor <= 0 || factor == 1)) return x;
  if (const int64_t times = align ? 0 : repetition(in, out, factor, filter)) return repeated(ctx, x, axis, times);
  if (!in.is_static() || !out.is_static()) {
    if (antialias) ctx.unsupported("resample-antialias", fmt::format("from {} to {} elements: how many are averaged depends on the size", in, out));
    return TableBuilder(ctx, in, out, factor, filter, align).read(x, axis);
  }
  const Axis a{in.size(), out.size(), step_of(in.size(), out.size(), align, factor)};
  return resampled(ctx, x, axis, antialias ? antialiased_table(a, filter) : table_of(a, filter, align), a.out);
}

/// Both forms of upsample: (input, output_size or None, align_corners, scale_factors or None) and (self, output_size, align_corners, scales_h,
/// scales_w).
template <int64_t n, Filter filter, bool antialias> Imported upsample(ImportContext& ctx) {
  Value x = ctx.tensor(ctx.is_tensor("input") ? "input" : "self");
  const std::vector<Dim> sizes = ctx.shape(x).dims();
  if (static_cast<int64_t>(sizes.size()) != n + 2)
    ctx.fail("upsample-rank", fmt::format("takes a tensor of rank {}, not {}", n + 2, ctx.type(x).to_string()));
  if (!is_float(ctx.type(x).dtype) && (filter == Filter::linear || filter == Filter::cubic))
    ctx.unsupported("resample-integers", fmt::format("{} is resized by fixed-point weights, which are not supported; convert it to a float first",
                                                     ctx.type(x).to_string()));
  std::vector<double> factors = ctx.reals("scale_factors");
  if (factors.empty()) {
    constexpr std::string_view names[] = {"scales_d", "scales_h", "scales_w"};
    for (int64_t i = 0; i < n; ++i) {
      const std::string_view name = n == 1 ? "scales" : names[3 - n + i];
      factors.push_back(ctx.real_or(name, 0));
    }
  }
  if (static_cast<int64_t>(factors.size()) != n) ctx.fail("upsample-factors", fmt::format("needs {} scale factors, not {}", n, factors.size()));
  const bool align = ctx.boolean_or("align_corners", false);
  std::vector<Dim> out = ctx.sizes("output_size");
  if (out.size() == 1) out.resize(n, out[0]);
  for (int64_t k = 0; !ctx.has("output_size") && k < n; ++k) out.push_back(scaled_size(ctx, sizes[k + 2], factors[k]));
  if (static_cast<int64_t>(out.size()) != n) ctx.fail("upsample-size", fmt::format("needs {} output sizes, not {}", n, out.size()));
  for (int64_t i = 0; i < n; ++i) x = resized<filter, antialias>(ctx, x, i + 2, out[i], factors[i], align);
  return {x};
}

Imported grid_sampler(ImportContext& ctx) {
  if (ctx.integer("interpolation_mode") > 1) ctx.unsupported("grid-mode", "bicubic interpolation is not supported");
  return {ctx.create(GridSample{ctx.tensor("input"), ctx.tensor("grid"), ctx.integer("interpolation_mode"), ctx.integer("padding_mode"),
                                ctx.boolean("align_corners")})};
}

/// theta [N, n, n + 1] applied to the centres of an image's elements, in [-1, 1]: a grid for grid_sampler.
Imported affine_grid(ImportContext& ctx) {
  const Value theta = ctx.tensor("theta");
  const std::vector<int64_t> size = ctx.ints("size");
  const bool corners = ctx.boolean("align_corners");
  const int64_t n = static_cast<int64_t>(size.size()) - 2;
  if (n < 2 || n > 3 || ctx.shape(theta) != Shape({size[0], n, n + 1}))
    ctx.fail("affine-grid", fmt::format("{} does not fit {} output sizes", ctx.type(theta).to_string(), size.size()));
  int64_t points = 1;
  for (int64_t i = 0; i < n; ++i) points *= size[i + 2];
  std::vector<double> base;
  for (int64_t p = 0; p < points; ++p) {
    std::vector<double> place;
    int64_t rest = p;
    for (int64_t i = n - 1; i >= 0; --i) {
      const int64_t m = size[i + 2], at = rest % m;
      rest /= m;
      const double unit = m > 1 ? -1 + 2 * static_cast<double>(at) / static_cast<double>(m - 1) : 0;
      place.push_back(corners ? unit : unit * static_cast<double>(m - 1) / static_cast<double>(m));
    }
    base.insert(base.end(), place.begin(), place.end());
    base.push_back(1);
  }
  const Value points_table = constant_tensor(ctx, ctx.type(theta).dtype, Shape({points, n + 1}), base);
  const Value grid = ctx.create(Matmul{points_table, swap_axes(ctx, theta, 1, 2)});
  std::vector<int64_t> sizes = {size[0]};
  sizes.insert(sizes.end(), size.begin() + 2, size.end());
  sizes.push_back(n);
  return {reshape_to(ctx, grid, sizes)};
}

}  // namespace

std::span<const ImportEntry> import_resample() {
  static constexpr ImportEntry entries[] = {
      {"aten::upsample_nearest1d", upsample<1, Filter::nearest, false>},
      {"aten::upsample_nearest2d", upsample<2, Filter::nearest, false>},
      {"aten::upsample_nearest3d", upsample<3, Filter::nearest, false>},
      {"aten::_upsample_nearest_exact1d", upsample<1, Filter::nearest_exact, false>},
      {"aten::_upsample_nearest_exact2d", upsample<2, Filter::nearest_exact, false>},
      {"aten::_upsample_nearest_exact3d", upsample<3, Filter::nearest_exact, false>},
      {"aten::upsample_linear1d", upsample<1, Filter::linear, false>},
      {"aten::upsample_bilinear2d", upsample<2, Filter::linear, false>},
      {"aten::upsample_trilinear3d", upsample<3, Filter::linear, false>},
      {"aten::upsample_bicubic2d", upsample<2, Filter::cubic, false>},
      {"aten::_upsample_bilinear2d_aa", upsample<2, Filter::linear, true>},
      {"aten::_upsample_bicubic2d_aa", upsample<2, Filter::cubic, true>},
      {"aten::grid_sampler", grid_sampler},
      {"aten::grid_sampler_2d", grid_sampler},
      {"aten::grid_sampler_3d", grid_sampler},
      {"aten::affine_grid_generator", affine_grid},
  };
  return entries;
}

}  // namespace mica
