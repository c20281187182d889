// Fourier transforms as products with matrices of cosines and sines. Complex tensors have no counterpart in compiled code: the result is a pair of
// real and imaginary part that nothing but real, imag and view_as_real may look at, which is checked where the transform stands.
#include <ATen/ATen.h>

#include <cmath>
#include <numbers>

#include "evaluator.h"

namespace mica::frontend {
namespace {

struct Transform {
  std::string_view op;
  bool inverse, half, several;  ///< half: of real numbers, the second half of the last axis left out
};
constexpr Transform transforms[] = {
    {"aten::fft_fft", false, false, false}, {"aten::fft_ifft", true, false, false}, {"aten::fft_rfft", false, true, false},
    {"aten::fft_fft2", false, false, true}, {"aten::fft_ifft2", true, false, true}, {"aten::fft_rfft2", false, true, true},
    {"aten::fft_fftn", false, false, true}, {"aten::fft_ifftn", true, false, true}, {"aten::fft_rfftn", false, true, true},
};

constexpr int64_t greatest_transform = 4096;  ///< elements of an axis: the matrix has their square

bool only_parts_are_used(const torch::jit::Node& node) {
  for (const auto& use : node.output()->uses()) {
    const auto kind = use.user->kind();
    if (kind != c10::aten::real && kind != c10::aten::imag && kind != c10::aten::view_as_real) return false;
  }
  return true;
}

/// Cosines and sines of 2 pi j k / n, n rows and so many columns, times the factor.
std::pair<at::Tensor, at::Tensor> matrices(int64_t n, int64_t columns, double factor, at::ScalarType type) {
  at::Tensor cosines = at::empty({n, columns}, at::TensorOptions().dtype(at::kDouble)), sines = at::empty_like(cosines);
  auto *c = cosines.mutable_data_ptr<double>(), *s = sines.mutable_data_ptr<double>();
  for (int64_t j = 0; j < n; ++j)
    for (int64_t k = 0; k < columns; ++k, ++c, ++s) {
      const double angle = 2 * std::numbers::pi * static_cast<double>(j * k % n) / static_cast<double>(n);
      *c = std::cos(angle) * factor;
      *s = std::sin(angle) * factor;
    }
  return {cosines.to(type), sines.to(type)};
}

}  // namespace

bool Evaluator::run_fourier(const torch::jit::Node& node, const std::vector<Item>& in, std::vector<Item>& out) {
  const std::string name = node.kind().toQualString();
  const bool real = name == "aten::real", imaginary = name == "aten::imag";
  if (!in.empty() && in[0].tuple() && (real || imaginary)) return out = {in[0].tuple()->items.at(real ? 0 : 1)}, true;
  if (!in.empty() && in[0].tuple() && name == "aten::view_as_real") {
    const auto& parts = in[0].tuple()->items;
    const Values both({value_of(*parts.at(0).tensor()), value_of(*parts.at(1).tensor())});
    return out = {fresh(import_one("aten::stack", {{"tensors", both}, {"dim", int64_t{-1}}}))}, true;
  }
  const auto* t = std::find_if(std::begin(transforms), std::end(transforms), [&](const Transform& x) { return x.op == name; });
  if (t == std::end(transforms) || in.size() != 4 || !in[0].tensor() || !in[1].is_none()) return false;
  const TensorType type = in[0].tensor()->type();
  const bool norm_known = in[3].is_none() || (in[3].plain() && in[3].plain()->isString());
  std::vector<int64_t> axes;
  if (in[2].is_int()) axes = {in[2].integer()};
  else if (in[2].list())
    for (const Item& i : in[2].list()->items) axes.push_back(i.is_int() ? i.integer() : type.rank());
  else if (in[2].is_none())
    for (int64_t a = 0; a < type.rank(); ++a) axes.push_back(a);
  for (int64_t& a : axes) a += a < 0 ? type.rank() : 0;
  const auto fits = [&](int64_t a) {
    return a >= 0 && a < type.rank() && type.shape[a].is_static() && type.shape[a].size() >= 1 && type.shape[a].size() <= greatest_transform;
  };
  if (!norm_known || !only_parts_are_used(node) || (type.dtype != DType::f32 && type.dtype != DType::f64) ||
      !std::all_of(axes.begin(), axes.end(), fits))
    return false;
  const std::string norm = in[3].is_none() ? "backward" : in[3].plain()->toStringRef();
  Value re = value_of(*in[0].tensor()), im;
  const auto multiply = [&](Value x, const at::Tensor& matrix, int64_t axis) {
    const int64_t last = type.rank() - 1;
    const auto move = [&](Value v, int64_t from, int64_t to) {
      return from == to ? v : import_one("aten::movedim.int", {{"self", v}, {"source", from}, {"destination", to}})->value;
    };
    return move(import_one("aten::matmul", {{"self", move(x, axis, last)}, {"other", value_of(*fresh_constant(matrix).tensor())}})->value, last,
                axis);
  };
  const auto sum = [&](const char* op, Value a, Value b) { return import_one(op, {{"self", a}, {"other", b}, {"alpha", int64_t{1}}})->value; };
  for (size_t i = axes.size(); i-- > 0;) {
    const int64_t n = type.shape[axes[i]].size();
    const bool halved = t->half && i + 1 == axes.size(), divided = norm == (t->inverse ? "backward" : "forward");
    const double factor = norm == "ortho" ? 1 / std::sqrt(static_cast<double>(n)) : divided ? 1 / static_cast<double>(n) : 1;
    auto [c, s] = matrices(n, halved ? n / 2 + 1 : n, factor, scalar_type_of(type.dtype));
    if (t->inverse) s = -s;
    const Value real_part = multiply(re, c, axes[i]), imaginary_part = multiply(re, -s, axes[i]);
    const Value more = im ? multiply(im, s, axes[i]) : Value(), other = im ? multiply(im, c, axes[i]) : Value();
    re = im ? sum("aten::add.Tensor", real_part, more) : real_part;
    im = im ? sum("aten::add.Tensor", imaginary_part, other) : imaginary_part;
  }
  if (!im) im = import_one("aten::zeros_like", {{"self", re}})->value;
  auto pair = std::make_shared<TupleObject>();
  pair->items = {fresh(contents_of(re)), fresh(contents_of(im))};
  return out = {std::move(pair)}, true;
}

}  // namespace mica::frontend
