// Tensors out of nothing, as TorchScript spells them.
#include <cmath>

#include "import_families.h"
#include "mica/ops/compare.h"
#include "mica/ops/factory.h"
#include "mica/ops/pointwise.h"

namespace mica {

namespace {

Value filled(ImportContext& ctx, const std::vector<Dim>& sizes, const Scalar& value, DType dtype) { return ctx.create(Full{sizes, value, dtype}); }

template <int value> Imported constant_of(ImportContext& ctx) {
  return {filled(ctx, ctx.sizes("size"), Scalar(value), ctx.dtype("dtype").value_or(DType::f32))};
}
template <int value> Imported constant_like(ImportContext& ctx) {
  const TensorType t = ctx.type(ctx.tensor("self"));
  return {filled(ctx, ctx.has("size") ? ctx.sizes("size") : t.shape.dims(), Scalar(value), ctx.dtype("dtype").value_or(t.dtype))};
}
DType natural(const Scalar& s) { return is_float(s.dtype) ? DType::f32 : s.dtype; }

Imported full(ImportContext& ctx) {
  if (ctx.is_tensor("fill_value")) {
    const Value v = ctx.tensor("fill_value");
    return {expand_to(ctx, cast_to(ctx, v, ctx.dtype("dtype").value_or(ctx.type(v).dtype)), Shape(ctx.sizes("size")))};
  }
  const Scalar value = ctx.scalar("fill_value");
  return {filled(ctx, ctx.sizes("size"), value, ctx.dtype("dtype").value_or(natural(value)))};
}
Imported full_like(ImportContext& ctx) {
  const TensorType t = ctx.type(ctx.tensor("self"));
  const std::vector<Dim> sizes = ctx.has("size") ? ctx.sizes("size") : t.shape.dims();
  const DType dtype = ctx.dtype("dtype").value_or(t.dtype);
  if (ctx.is_tensor("fill_value")) return {expand_to(ctx, cast_to(ctx, ctx.tensor("fill_value"), dtype), Shape(sizes))};
  return {filled(ctx, sizes, ctx.scalar("fill_value"), dtype)};
}
Imported scalar_tensor(ImportContext& ctx) {
  if (const Dim* size = std::get_if<Dim>(&ctx.arg("s"))) return {ctx.create(SizeValue{*size, ctx.dtype("dtype").value_or(DType::i64)})};
  const Scalar s = ctx.scalar(ctx.has("s") ? "s" : "t");
  return {constant(ctx, ctx.dtype("dtype").value_or(natural(s)), s)};
}

/// A range to a size that depends on symbols: from an integer, in integer steps.
Imported symbolic_arange(ImportContext& ctx) {
  const int64_t start = ctx.integer_or("start", 0), step = ctx.integer_or("step", 1);
  if (step < 1) ctx.unsupported("arange-step", "a range down to a symbolic size is not supported");
  const Dim count = Dim::max(Dim::ceil_div(ctx.size("end") - start, step), 0);
  return {ctx.create(Arange{.count = count, .start = Scalar(start), .step = Scalar(step), .dtype = ctx.dtype("dtype").value_or(DType::i64)})};
}
Imported arange(ImportContext& ctx) {
  if (std::holds_alternative<Dim>(ctx.arg("end"))) return symbolic_arange(ctx);
  const Scalar start = ctx.has("start") ? ctx.scalar("start") : Scalar(0), end = ctx.scalar("end"),
               step = ctx.has("step") ? ctx.scalar("step") : Scalar(1);
  const bool real = is_float(start.dtype) || is_float(end.dtype) || is_float(step.dtype);
  const DType dtype = ctx.dtype("dtype").value_or(real ? DType::f32 : DType::i64);
  if (step.real == 0) ctx.fail("arange-step", "the step must not be 0");
  if ((step.real > 0) != (end.real >= start.real) && end.real != start.real)
    ctx.fail("arange-bounds", fmt::format("{} is not reached from {} by steps of {}", end.real, start.real, step.real));
  const auto count = static_cast<int64_t>(std::ceil((end.real - start.real) / step.real));
  return {ctx.create(Arange{.count = count, .start = start, .step = step, .dtype = dtype})};
}
Imported linspace(ImportContext& ctx) {
  const double start = ctx.real("start"), end = ctx.real("end");
  const int64_t steps = ctx.integer("steps");
  const DType dtype = ctx.dtype("dtype").value_or(DType::f32);
  if (steps < 0) ctx.fail("negative-size", fmt::format("{} steps are not possible", steps));
  std::vector<double> values;
  const double step = steps > 1 ? (end - start) / static_cast<double>(steps - 1) : 0;
  // From both ends, as torch does, so that the last is `end` exactly.
  for (int64_t i = 0; i < steps; ++i)
    values.push_back(i < steps / 2 || steps == 1 ? start + step * static_cast<double>(i) : end - step * static_cast<double>(steps - 1 - i));
  return {constant_tensor(ctx, dtype, Shape({steps}), values)};
}

Imported eye(ImportContext& ctx) {
  const int64_t n = ctx.integer("n"), m = ctx.integer_or("m", n);
  const Value rows = ctx.create(Arange{.count = n, .start = Scalar(0), .step = Scalar(1), .dtype = DType::i64}),
              columns = ctx.create(Arange{.count = m, .start = Scalar(0), .step = Scalar(1), .dtype = DType::i64});
  return {ctx.create(Cast{ctx.create(Eq{unsqueeze_at(ctx, rows, 1), columns}), ctx.dtype("dtype").value_or(DType::f32)})};
}

/// Rows and columns of the elements on and below (or above) a diagonal, as [2, count].
template <bool lower> Imported triangle_indices(ImportContext& ctx) {
  const int64_t rows = ctx.integer("row"), columns = ctx.integer("col"), offset = ctx.integer_or("offset", 0);
  std::vector<double> places, second;
  for (int64_t i = 0; i < rows; ++i) {
    for (int64_t j = 0; j < columns; ++j) {
      if (lower ? j - i > offset : j - i < offset) continue;
      places.push_back(static_cast<double>(i));
      second.push_back(static_cast<double>(j));
    }
  }
  const auto count = static_cast<int64_t>(places.size());
  places.insert(places.end(), second.begin(), second.end());
  return {constant_tensor(ctx, ctx.dtype("dtype").value_or(DType::i64), Shape({2, count}), places)};
}

Imported random(ImportContext& ctx) {
  ctx.unsupported("random-op",
                  "draws random numbers, which a compiled model does not; export the model after model.eval(), or pass them in as an input");
}

}  // namespace

std::span<const ImportEntry> import_factory() {
  static constexpr ImportEntry entries[] = {
      {"aten::zeros", constant_of<0>},
      {"aten::ones", constant_of<1>},
      {"aten::empty", constant_of<0>},
      {"aten::zeros_like", constant_like<0>},
      {"aten::ones_like", constant_like<1>},
      {"aten::empty_like", constant_like<0>},
      {"aten::new_zeros", constant_like<0>},
      {"aten::new_ones", constant_like<1>},
      {"aten::new_empty", constant_like<0>},
      {"aten::full", full},
      {"aten::full_like", full_like},
      {"aten::new_full", full_like},
      {"aten::scalar_tensor", scalar_tensor},
      {"aten::arange", arange},
      {"aten::linspace", linspace},
      {"aten::eye", eye},
      {"aten::tril_indices", triangle_indices<true>},
      {"aten::triu_indices", triangle_indices<false>},
      {"aten::rand", random},
      {"aten::randn", random},
      {"aten::randint", random},
      {"aten::randperm", random},
      {"aten::rand_like", random},
      {"aten::randn_like", random},
      {"aten::randint_like", random},
      {"aten::bernoulli", random},
      {"aten::multinomial", random},
      {"aten::normal", random},
      {"aten::uniform", random},
      {"aten::normal_", random},
      {"aten::uniform_", random},
      {"aten::bernoulli_", random},
  };
  return entries;
}

}  // namespace mica
