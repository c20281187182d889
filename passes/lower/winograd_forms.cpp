#include "winograd_forms.h"

namespace mica::lower {

namespace {

using Vectors = std::vector<Expr>;

/// A factor for vectors like `x`.
struct Factors {
  ExprType type;
  Expr operator()(double value) const { return make_broadcast(imm(type.dtype, value), type.lanes); }
};

/// Rows for these points and for infinity.
std::vector<std::vector<double>> filter_at(const std::vector<double>& points, int64_t taps) {
  std::vector<std::vector<double>> rows;
  for (const double p : points) {
    double distances = 1, power = 1;
    for (const double other : points)
      if (other != p) distances *= p - other;
    std::vector<double> row;
    for (int64_t i = 0; i < taps; ++i, power *= p) row.push_back(power / distances);
    rows.push_back(std::move(row));
  }
  std::vector<double> last(static_cast<size_t>(taps), 0);
  last.back() = 1;
  rows.push_back(std::move(last));
  return rows;
}

Vectors unchanged(const Vectors& v) { return v; }

// ---- points 0, 1, -1, 1/2, -2 and infinity, of all small choices the one with the least error ----
/// M(x) = x (x^2 - 1) (x - 1/2) (x + 2).
Vectors input_of_six(const Vectors& d) {
  const Factors f{d[0]->type};
  const Expr even = d[4] - d[2], odd = d[3] - d[1];
  return {fma(f(1.5), odd, fma(f(-2), d[2], d[0] + d[4])),
          fma(f(2.5), d[3], fma(f(0.5), d[2], d[4] - d[1])),
          fma(f(0.5), d[3], fma(f(-2.5), d[2], d[4] + d[1])),
          fma(f(2), odd, even),
          fma(f(-0.5), odd, even),
          fma(f(1.5), even, fma(f(-2), d[3], d[1] + d[5]))};
}

/// F(4, 3)
Vectors four_of_six(const Vectors& m) {
  const Factors f{m[0]->type};
  const Expr sum = m[1] + m[2], difference = m[1] - m[2];
  return {m[0] + sum + (m[3] + m[4]), fma(f(-2), m[4], fma(f(0.5), m[3], difference)), fma(f(4), m[4], fma(f(0.25), m[3], sum)),
          fma(f(-8), m[4], fma(f(0.125), m[3], difference + m[5]))};
}

/// F(2, 5)
Vectors two_of_six(const Vectors& m) {
  const Factors f{m[0]->type};
  return {m[0] + (m[1] + m[2]) + (m[3] + m[4]), fma(f(-2), m[4], fma(f(0.5), m[3], m[1] - m[2] + m[5]))};
}

// ---- points 0, 1, -1, 2 and infinity ----
/// M(x) = x (x^2 - 1) (x - 2).
Vectors input_of_five(const Vectors& d) {
  const Factors f{d[0]->type};
  const Expr odd = d[3] - d[1];
  return {fma(f(2), d[0] - d[2], odd), fma(f(-2), d[1], d[3] - d[2]), fma(f(-3), d[2], fma(f(2), d[1], d[3])), odd, fma(f(-2), odd, d[4] - d[2])};
}

/// F(3, 3)
Vectors three_of_five(const Vectors& m) {
  const Factors f{m[0]->type};
  const Expr sum = m[1] + m[2];
  return {m[0] + sum + m[3], fma(f(2), m[3], m[1] - m[2]), fma(f(4), m[3], sum + m[4])};
}

// ---- points 0, 1, -1 and infinity ----
/// M(x) = x (x^2 - 1).
Vectors input_of_four(const Vectors& d) { return {d[2] - d[0], d[1] + d[2], d[2] - d[1], d[3] - d[1]}; }

/// F(2, 3)
Vectors two_of_four(const Vectors& m) { return {m[0] + (m[1] + m[2]), m[1] - m[2] + m[3]}; }

// ---- points 0, 1, -1, 1/2, -1/2, 2, -2 and infinity ----
/// M(x) = x (x^2 - 1) (x^2 - 1/4) (x^2 - 4). What remains of it without two opposite points is even.
Vectors input_of_eight(const Vectors& d) {
  const Factors f{d[0]->type};
  Vectors v = {fma(f(5.25), d[2] - d[4], d[6] - d[0])};
  const auto opposite = [&](double point, double constant, double square) {
    const Expr even = fma(f(square), d[4], fma(f(constant), d[2], d[6])), odd = fma(f(square), d[3], fma(f(constant), d[1], d[5]));
    v.push_back(fma(f(point), odd, even));
    v.push_back(fma(f(-point), odd, even));
  };
  opposite(1, 1, -4.25);
  opposite(0.5, 4, -5);
  opposite(2, 0.25, -1.25);
  v.push_back(fma(f(5.25), d[3] - d[5], d[7] - d[1]));
  return v;
}

/// F(2, 7)
Vectors two_of_eight(const Vectors& m) {
  const Factors f{m[0]->type};
  return {m[0] + (m[1] + m[2]) + ((m[3] + m[4]) + (m[5] + m[6])), fma(f(2), m[5] - m[6], fma(f(0.5), m[3] - m[4], m[1] - m[2] + m[7]))};
}

const std::vector<WinogradForm>& all_forms() {
  static const std::vector<WinogradForm> forms = {
      {1, 1, {{1}}, unchanged, unchanged},
      {4, 3, filter_at({0, 1, -1, 0.5, -2}, 3), input_of_six, four_of_six},
      {3, 3, filter_at({0, 1, -1, 2}, 3), input_of_five, three_of_five},
      {2, 3, filter_at({0, 1, -1}, 3), input_of_four, two_of_four},
      {2, 5, filter_at({0, 1, -1, 0.5, -2}, 5), input_of_six, two_of_six},
      {2, 7, filter_at({0, 1, -1, 0.5, -0.5, 2, -2}, 7), input_of_eight, two_of_eight},
  };
  return forms;
}

/// Of a tile, beyond which the errors of the transforms multiply to too much.
constexpr int64_t most_products = 36;

}  // namespace

std::vector<WinogradTile> winograd_tiles(int64_t taps_y, int64_t taps_x) {
  std::vector<WinogradTile> tiles;
  if (taps_y == 1 && taps_x == 1) return tiles;
  for (const WinogradForm& y : all_forms()) {
    for (const WinogradForm& x : all_forms()) {
      const bool fits = y.taps == taps_y && x.taps == taps_x && y.in() * x.in() <= most_products;
      if (fits && (taps_y != taps_x || y.out == x.out)) tiles.push_back({&y, &x});
    }
  }
  return tiles;
}

}  // namespace mica::lower
