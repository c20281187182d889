#include "winograd_forms.h"

namespace mica::lower {

namespace {

using Vectors = std::vector<Expr>;

/// A factor for vectors like `x`.
struct Factors {
  ExprType type;
  Expr operator()(double value) const { return make_broadcast(imm(type.dtype, value), type.lanes); }
};

// ---- F(4, 3): points 0, 1, -1, 1/2, -2 and infinity, of all small choices the one with the least error ----
/// M(x) = x (x^2 - 1) (x - 1/2) (x + 2).
Vectors input_of_4(const Vectors& d) {
  const Factors f{d[0]->type};
  const Expr even = d[4] - d[2], odd = d[3] - d[1];
  return {fma(f(1.5), odd, fma(f(-2), d[2], d[0] + d[4])),
          fma(f(2.5), d[3], fma(f(0.5), d[2], d[4] - d[1])),
          fma(f(0.5), d[3], fma(f(-2.5), d[2], d[4] + d[1])),
          fma(f(2), odd, even),
          fma(f(-0.5), odd, even),
          fma(f(1.5), even, fma(f(-2), d[3], d[1] + d[5]))};
}

Vectors output_of_4(const Vectors& m) {
  const Factors f{m[0]->type};
  const Expr sum = m[1] + m[2], difference = m[1] - m[2];
  return {m[0] + sum + (m[3] + m[4]), fma(f(-2), m[4], fma(f(0.5), m[3], difference)), fma(f(4), m[4], fma(f(0.25), m[3], sum)),
          fma(f(-8), m[4], fma(f(0.125), m[3], difference + m[5]))};
}

// ---- F(3, 3): points 0, 1, -1, 2 and infinity ----
/// M(x) = x (x^2 - 1) (x - 2).
Vectors input_of_3(const Vectors& d) {
  const Factors f{d[0]->type};
  const Expr odd = d[3] - d[1];
  return {fma(f(2), d[0] - d[2], odd), fma(f(-2), d[1], d[3] - d[2]), fma(f(-3), d[2], fma(f(2), d[1], d[3])), odd, fma(f(-2), odd, d[4] - d[2])};
}

Vectors output_of_3(const Vectors& m) {
  const Factors f{m[0]->type};
  const Expr sum = m[1] + m[2];
  return {m[0] + sum + m[3], fma(f(2), m[3], m[1] - m[2]), fma(f(4), m[3], sum + m[4])};
}

// ---- F(2, 3): points 0, 1, -1 and infinity ----
/// M(x) = x (x^2 - 1); the first row and its filter's have changed their signs.
Vectors input_of_2(const Vectors& d) { return {d[0] - d[2], d[1] + d[2], d[2] - d[1], d[3] - d[1]}; }

Vectors output_of_2(const Vectors& m) { return {m[0] + (m[1] + m[2]), m[1] - m[2] + m[3]}; }

}  // namespace

const std::vector<WinogradForm>& winograd_forms() {
  static const std::vector<WinogradForm> forms = {
      {4,
       {{1, 0, 0},
        {1 / 3.0, 1 / 3.0, 1 / 3.0},
        {-1 / 3.0, 1 / 3.0, -1 / 3.0},
        {-16 / 15.0, -8 / 15.0, -4 / 15.0},
        {1 / 15.0, -2 / 15.0, 4 / 15.0},
        {0, 0, 1}},
       input_of_4,
       output_of_4},
      {3,
       {{1 / 2.0, 0, 0}, {-1 / 2.0, -1 / 2.0, -1 / 2.0}, {-1 / 6.0, 1 / 6.0, -1 / 6.0}, {1 / 6.0, 1 / 3.0, 2 / 3.0}, {0, 0, 1}},
       input_of_3,
       output_of_3},
      {2, {{1, 0, 0}, {1 / 2.0, 1 / 2.0, 1 / 2.0}, {1 / 2.0, -1 / 2.0, 1 / 2.0}, {0, 0, 1}}, input_of_2, output_of_2},
  };
  return forms;
}

}  // namespace mica::lower
