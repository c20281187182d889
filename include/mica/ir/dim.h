#pragma once
// A tensor dimension: an integer, or an integer expression over the model's symbols (`--dim S=16..512`).
//
// Arithmetic keeps a normal form, so that sizes which are equal for every value of the symbols compare equal. A symbol is an Expr
// variable with a reserved id; its range stands in the variable. Comparisons are decided when they have one answer over the whole
// range. What asks for one integer where there is none, or for an answer that differs within the range, raises SymbolicSize: code
// that knows integers only is refused with a message and never wrong.
#include <fmt/format.h>

#include <algorithm>
#include <concepts>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <vector>

#include "mica/ir/expr.h"

namespace mica {

/// Raised where a size that depends on symbols is asked for an integer, or a comparison has no single answer in their ranges.
/// Caught where an op is inferred, imported, rewritten or lowered, and reported there.
struct SymbolicSize : std::runtime_error {
  using std::runtime_error::runtime_error;  ///< what(): "S" or "S < 128", with the range
};

/// A size that is known when the model runs: given by the shapes of its inputs (`--dim S=16..512`), or measured on the way, where it depends on
/// data (ops/measure.h).
struct Symbol {
  std::string name;
  int64_t low = 1, high = 1;
  Expr bound = {};  ///< of a measured symbol: the greatest that it can be, a size of symbols before it; empty: the inputs give it
  bool is_measured() const { return static_cast<bool>(bound); }
};

class Dim {
 public:
  Dim(int64_t size = 0) : size_(size) {}
  /// The normal form of an integer expression over symbols.
  static Dim of(const Expr& e);
  /// Symbol number `id` of the module, of every size from low to high.
  static Dim symbol(int32_t id, std::string name, int64_t low, int64_t high);

  bool is_static() const { return !expr_; }
  /// The number of the symbol that this dimension is; -1 for integers and for expressions.
  int32_t symbol_id() const;
  /// The size; raises SymbolicSize unless it is static.
  int64_t size() const {
    if (expr_) refuse();
    return size_;
  }
  operator int64_t() const { return size(); }
  operator Expr() const { return expr_ ? expr_ : Expr(size_); }
  /// Least and greatest size in the symbols' ranges (bounds of them where the ranges are too large to try).
  int64_t low() const;
  int64_t high() const;
  /// The size that choices of speed are made for: every symbol at its greatest value.
  int64_t typical() const;
  /// The size with symbol k at values[k].
  int64_t at(const std::vector<int64_t>& values) const;
  std::string to_string() const;  ///< "12", "S", "(H / 2) + 1"

  /// Equal for all values of the symbols.
  friend bool operator==(const Dim& a, const Dim& b) { return !a.expr_ && !b.expr_ ? a.size_ == b.size_ : same(a, b); }
  friend bool operator<(const Dim& a, const Dim& b) { return !a.expr_ && !b.expr_ ? a.size_ < b.size_ : decide(ExprOp::lt, a, b); }
  friend bool operator<=(const Dim& a, const Dim& b) { return !a.expr_ && !b.expr_ ? a.size_ <= b.size_ : decide(ExprOp::le, a, b); }
  friend bool operator>(const Dim& a, const Dim& b) { return b < a; }
  friend bool operator>=(const Dim& a, const Dim& b) { return b <= a; }
  friend Dim operator+(const Dim& a, const Dim& b) { return !a.expr_ && !b.expr_ ? Dim(a.size_ + b.size_) : combine(ExprOp::add, a, b); }
  friend Dim operator-(const Dim& a, const Dim& b) { return !a.expr_ && !b.expr_ ? Dim(a.size_ - b.size_) : combine(ExprOp::sub, a, b); }
  friend Dim operator*(const Dim& a, const Dim& b) { return !a.expr_ && !b.expr_ ? Dim(a.size_ * b.size_) : combine(ExprOp::mul, a, b); }
  /// Rounded towards minus infinity where symbols are involved; sizes are not negative.
  friend Dim operator/(const Dim& a, const Dim& b) { return !a.expr_ && !b.expr_ ? Dim(a.size_ / b.size_) : combine(ExprOp::floordiv, a, b); }
  friend Dim operator%(const Dim& a, const Dim& b) { return !a.expr_ && !b.expr_ ? Dim(a.size_ % b.size_) : combine(ExprOp::floormod, a, b); }
  Dim& operator+=(const Dim& b) { return *this = *this + b; }
  Dim& operator-=(const Dim& b) { return *this = *this - b; }
  Dim& operator*=(const Dim& b) { return *this = *this * b; }
  Dim& operator/=(const Dim& b) { return *this = *this / b; }

  // With integers of any type, so that neither side's conversion is in doubt.
  template <std::integral T> friend bool operator==(const Dim& a, T b) { return a == Dim(static_cast<int64_t>(b)); }
  template <std::integral T> friend bool operator<(const Dim& a, T b) { return a < Dim(static_cast<int64_t>(b)); }
  template <std::integral T> friend bool operator<=(const Dim& a, T b) { return a <= Dim(static_cast<int64_t>(b)); }
  template <std::integral T> friend bool operator>(const Dim& a, T b) { return a > Dim(static_cast<int64_t>(b)); }
  template <std::integral T> friend bool operator>=(const Dim& a, T b) { return a >= Dim(static_cast<int64_t>(b)); }
  template <std::integral T> friend bool operator<(T a, const Dim& b) { return Dim(static_cast<int64_t>(a)) < b; }
  template <std::integral T> friend bool operator<=(T a, const Dim& b) { return Dim(static_cast<int64_t>(a)) <= b; }
  template <std::integral T> friend bool operator>(T a, const Dim& b) { return Dim(static_cast<int64_t>(a)) > b; }
  template <std::integral T> friend bool operator>=(T a, const Dim& b) { return Dim(static_cast<int64_t>(a)) >= b; }
  template <std::integral T> friend Dim operator+(const Dim& a, T b) { return a + Dim(static_cast<int64_t>(b)); }
  template <std::integral T> friend Dim operator-(const Dim& a, T b) { return a - Dim(static_cast<int64_t>(b)); }
  template <std::integral T> friend Dim operator*(const Dim& a, T b) { return a * Dim(static_cast<int64_t>(b)); }
  template <std::integral T> friend Dim operator/(const Dim& a, T b) { return a / Dim(static_cast<int64_t>(b)); }
  template <std::integral T> friend Dim operator%(const Dim& a, T b) { return a % Dim(static_cast<int64_t>(b)); }
  template <std::integral T> friend Dim operator+(T a, const Dim& b) { return Dim(static_cast<int64_t>(a)) + b; }
  template <std::integral T> friend Dim operator-(T a, const Dim& b) { return Dim(static_cast<int64_t>(a)) - b; }
  template <std::integral T> friend Dim operator*(T a, const Dim& b) { return Dim(static_cast<int64_t>(a)) * b; }
  template <std::integral T> friend Dim operator/(T a, const Dim& b) { return Dim(static_cast<int64_t>(a)) / b; }

  /// True when a < b for every value of the symbols; never raises.
  static bool surely_less(const Dim& a, const Dim& b);
  /// The smaller and the larger of two sizes; an expression where neither always is.
  static Dim min(const Dim& a, const Dim& b) { return !a.expr_ && !b.expr_ ? Dim(std::min(a.size_, b.size_)) : combine(ExprOp::min, a, b); }
  static Dim max(const Dim& a, const Dim& b) { return !a.expr_ && !b.expr_ ? Dim(std::max(a.size_, b.size_)) : combine(ExprOp::max, a, b); }
  /// (a + b - 1) / b
  static Dim ceil_div(const Dim& a, const Dim& b) { return (a + b - Dim(1)) / b; }

 private:
  static bool same(const Dim& a, const Dim& b);
  static bool decide(ExprOp op, const Dim& a, const Dim& b);
  static Dim combine(ExprOp op, const Dim& a, const Dim& b);
  [[noreturn]] void refuse() const;
  int64_t size_ = 0;
  Expr expr_;  ///< empty when the size is static
};

/// Ids of symbols' variables: symbol k is symbol_base + k. All other variables have lower ids.
inline constexpr uint32_t symbol_base = 1u << 31;
inline bool is_symbol(const Expr& e) { return e->op == ExprOp::var && e->id >= symbol_base; }
/// True when e is made of symbols and integers alone.
bool is_size(const Expr& e);
/// The value of such an expression with symbol k at values[k].
int64_t evaluate_size(const Expr& e, const std::vector<int64_t>& values);
/// The greatest that a size can be whatever its measured symbols turn out to be: a size of given symbols alone.
Dim greatest(const Dim& size, const std::vector<Symbol>& symbols);
/// Calls f(number of the symbol) for every symbol of a size.
template <class F> void for_symbols(const Dim& size, F&& f) {
  if (size.is_static()) return;
  visit(Expr(size), [&](const Expr& e) {
    if (is_symbol(e)) f(e->id - symbol_base);
  });
}
/// "S + 2" of such an expression.
std::string size_text(const Expr& e);
/// A fresh variable over [0, extent).
Expr make_index(std::string name, const Dim& extent);
/// One past the greatest value of an index variable.
inline Dim extent_end(const Expr& var) { return var->extent ? Dim::of(var->extent) : Dim(var->limit); }

}  // namespace mica

template <> struct fmt::formatter<mica::Dim> : fmt::formatter<std::string> {
  auto format(const mica::Dim& d, fmt::format_context& ctx) const { return fmt::formatter<std::string>::format(d.to_string(), ctx); }
};
