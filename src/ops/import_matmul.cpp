// Products as TorchScript spells them, brought to matmul and linear.
#include <algorithm>

#include "import_families.h"
#include "mica/ops/matmul.h"
#include "mica/ops/pointwise.h"
#include "mica/ops/reduce.h"
#include "mica/ops/view.h"

namespace mica {

namespace {

/// torch.matmul: vectors are taken as a row on the left, a column on the right, and lose that axis again.
Value product(ImportContext& ctx, Value a, Value b) {
  const bool row = ctx.rank(a) == 1, column = ctx.rank(b) == 1;
  if (!ctx.rank(a) || !ctx.rank(b)) ctx.fail("needs-matrix", "takes tensors of rank 1 or more");
  if (row) a = unsqueeze_at(ctx, a, 0);
  if (column) b = unsqueeze_at(ctx, b, 1);
  Value y = ctx.create(Matmul{a, b});
  if (column) y = squeeze_at(ctx, y, ctx.rank(y) - 1);
  if (row) y = squeeze_at(ctx, y, ctx.rank(y) - (column ? 1 : 2));
  return y;
}
Imported matmul(ImportContext& ctx) {
  const Value a = ctx.tensor("self");
  return {product(ctx, a, ctx.tensor(ctx.has("mat2") ? "mat2" : ctx.has("vec") ? "vec" : ctx.has("tensor") ? "tensor" : "other"))};
}
Imported outer(ImportContext& ctx) {
  const Value a = ctx.tensor("self"), b = ctx.tensor("vec2");
  return {ctx.create(Mul{unsqueeze_at(ctx, a, 1), unsqueeze_at(ctx, b, 0)})};
}

/// The vector product along an axis of 3.
Imported cross(ImportContext& ctx) {
  const Value a = ctx.tensor("self"), b = ctx.tensor("other");
  int64_t axis = -1;
  if (ctx.has("dim")) axis = ctx.axis_of("dim", a);
  for (int64_t i = 0; axis < 0 && i < ctx.rank(a); ++i) axis = ctx.shape(a)[i] == 3 ? i : -1;
  if (axis < 0 || ctx.shape(a)[axis] != 3) ctx.fail("cross-axis", fmt::format("{} has no axis of 3 there", ctx.type(a).to_string()));
  const auto rolled = [&](Value v, int64_t by) { return ctx.create(Roll{v, Ints{-by}, Ints{axis}}); };
  return {ctx.create(Sub{ctx.create(Mul{rolled(a, 1), rolled(b, 2)}), ctx.create(Mul{rolled(a, 2), rolled(b, 1)})})};
}

/// beta * self + alpha * product
Value combined(ImportContext& ctx, Value y) {
  const double alpha = ctx.real_or("alpha", 1), beta = ctx.real_or("beta", 1);
  if (alpha != 1) y = ctx.create(Mul{y, number(ctx, ctx.scalar("alpha"), y)});
  if (beta == 0) return y;
  Value self = ctx.tensor("self");
  if (beta != 1) self = ctx.create(Mul{self, number(ctx, ctx.scalar("beta"), self)});
  return ctx.create(Add{y, self});
}

Imported addmm(ImportContext& ctx) {
  const Value a = ctx.tensor("mat1"), b = ctx.tensor("mat2"), self = ctx.tensor("self");
  const bool plain = ctx.real_or("alpha", 1) == 1 && ctx.real_or("beta", 1) == 1;
  // With a vector as bias this is a linear layer whose weight lies the other way round.
  if (plain && ctx.rank(a) == 2 && ctx.rank(b) == 2 && ctx.rank(self) == 1 && ctx.shape(self)[0] == ctx.shape(b)[1] && ctx.shape(self)[0] != 1) {
    return {ctx.create(Linear{a, swap_axes(ctx, b, 0, 1), self})};
  }
  return {combined(ctx, ctx.create(Matmul{a, b}))};
}
Imported baddbmm(ImportContext& ctx) { return {combined(ctx, ctx.create(Matmul{ctx.tensor("batch1"), ctx.tensor("batch2")}))}; }
Imported addbmm(ImportContext& ctx) {
  const Value y = ctx.create(Matmul{ctx.tensor("batch1"), ctx.tensor("batch2")});
  return {combined(ctx, ctx.create(Sum{y, Ints{0}, false}))};
}
Imported addmv(ImportContext& ctx) { return {combined(ctx, product(ctx, ctx.tensor("mat"), ctx.tensor("vec")))}; }
Imported chain_matmul(ImportContext& ctx) {
  const std::vector<Value> list = ctx.tensors(ctx.has("matrices") ? "matrices" : "tensors");
  if (list.empty()) ctx.fail("matmul-of-nothing", "needs at least one matrix");
  Value y = list[0];
  for (size_t i = 1; i < list.size(); ++i) y = product(ctx, y, list[i]);
  return {y};
}

// ---- einsum ----

/// A tensor whose axes carry labels; each label once.
struct Labelled {
  Value x;
  std::string labels;
};

/// Letters of one term; "..." becomes capital-free private labels \1, \2, ... counted from the right.
std::string labels_of(ImportContext& ctx, const std::string& term, int64_t rank) {
  std::string letters;
  size_t ellipsis = std::string::npos;
  for (size_t i = 0; i < term.size(); ++i) {
    if (term[i] == ' ') continue;
    if (term.compare(i, 3, "...") == 0) {
      ellipsis = letters.size();
      i += 2;
    } else if (std::isalpha(static_cast<unsigned char>(term[i]))) {
      letters += term[i];
    } else {
      ctx.fail("einsum-equation", fmt::format("`{}` is not a letter", term[i]));
    }
  }
  if (rank < 0) rank = static_cast<int64_t>(letters.size());
  const int64_t extra = rank - static_cast<int64_t>(letters.size());
  if (extra < 0 || (extra > 0 && ellipsis == std::string::npos))
    ctx.fail("einsum-equation", fmt::format("term `{}` does not fit a tensor of rank {}", term, rank));
  std::string hidden;
  for (int64_t i = extra; i > 0; --i) hidden += static_cast<char>(i);
  if (ellipsis != std::string::npos) letters.insert(ellipsis, hidden);
  return letters;
}

Labelled without_repeats(ImportContext& ctx, Labelled t) {
  for (size_t i = 0; i < t.labels.size(); ++i) {
    const size_t j = t.labels.find(t.labels[i], i + 1);
    if (j == std::string::npos) continue;
    const char label = t.labels[i];
    t.x = ctx.create(Diagonal{.x = t.x, .offset = 0, .axis1 = static_cast<int64_t>(i), .axis2 = static_cast<int64_t>(j)});
    t.labels.erase(j, 1);
    t.labels.erase(i, 1);
    t.labels += label;
    return without_repeats(ctx, t);
  }
  return t;
}

Labelled summed(ImportContext& ctx, Labelled t, const std::string& keep) {
  std::vector<int64_t> axes;
  std::string left;
  for (size_t i = 0; i < t.labels.size(); ++i) {
    if (keep.find(t.labels[i]) == std::string::npos) axes.push_back(static_cast<int64_t>(i));
    else left += t.labels[i];
  }
  if (axes.empty()) return t;
  return {ctx.create(Sum{t.x, Ints(axes), false}), left};
}

/// Axes brought into the order of `labels`; absent ones become size 1.
Value arranged(ImportContext& ctx, const Labelled& t, const std::string& labels) {
  std::vector<int64_t> axes;
  std::vector<Dim> sizes;
  for (char l : labels) {
    const size_t i = t.labels.find(l);
    if (i == std::string::npos) {
      sizes.push_back(Dim(1));
    } else {
      axes.push_back(static_cast<int64_t>(i));
      sizes.push_back(ctx.shape(t.x)[static_cast<int64_t>(i)]);
    }
  }
  return reshape_to(ctx, permute_to(ctx, t.x, axes), sizes);
}

/// Contracts a with b over the labels that `keep` (what is needed later) does not hold.
Labelled contracted(ImportContext& ctx, Labelled a, Labelled b, const std::string& keep) {
  a = summed(ctx, a, keep + b.labels);
  b = summed(ctx, b, keep + a.labels);
  std::string batch, rows, columns, inner;
  for (char l : a.labels) {
    const bool shared = b.labels.find(l) != std::string::npos;
    (shared ? keep.find(l) != std::string::npos ? batch : inner : rows) += l;
  }
  for (char l : b.labels) {
    if (a.labels.find(l) == std::string::npos) columns += l;
  }
  // A shared axis may be 1 on one side; a contracted one is widened so that both have the sum's length.
  for (char l : inner) {
    const int64_t ia = static_cast<int64_t>(a.labels.find(l)), ib = static_cast<int64_t>(b.labels.find(l));
    const Dim n = ctx.shape(a.x)[ia] == 1 ? ctx.shape(b.x)[ib] : ctx.shape(a.x)[ia];
    for (auto [t, i] : {std::pair<Labelled*, int64_t>{&a, ia}, {&b, ib}}) {
      std::vector<Dim> sizes = ctx.shape(t->x).dims();
      if (sizes[i] != n) {
        sizes[i] = n;
        t->x = ctx.create(Expand{t->x, sizes});
      }
    }
  }
  const std::string out = batch + rows + columns;
  if (inner.empty()) { return {ctx.create(Mul{arranged(ctx, a, out), arranged(ctx, b, out)}), out}; }
  const Value left = arranged(ctx, a, batch + rows + inner), right = arranged(ctx, b, batch + inner + columns);
  const std::vector<Dim> ls = ctx.shape(left).dims(), rs = ctx.shape(right).dims();
  const auto merge = [](const std::vector<Dim>& s, size_t from, size_t count) {
    Dim n = 1;
    for (size_t i = from; i < from + count; ++i) n *= s[i];
    return n;
  };
  const size_t nb = batch.size(), nr = rows.size(), ni = inner.size(), nc = columns.size();
  std::vector<Dim> lm(ls.begin(), ls.begin() + static_cast<int64_t>(nb)), rm(rs.begin(), rs.begin() + static_cast<int64_t>(nb)), sizes;
  for (size_t i = 0; i < nb; ++i) sizes.push_back(ls[i] == 1 ? rs[i] : ls[i]);
  lm.insert(lm.end(), {merge(ls, nb, nr), merge(ls, nb + nr, ni)});
  rm.insert(rm.end(), {merge(rs, nb, ni), merge(rs, nb + ni, nc)});
  const Value y = ctx.create(Matmul{reshape_to(ctx, left, lm), reshape_to(ctx, right, rm)});
  for (size_t i = 0; i < nr; ++i) sizes.push_back(ls[nb + i]);
  for (size_t i = 0; i < nc; ++i) sizes.push_back(rs[nb + ni + i]);
  return {reshape_to(ctx, y, sizes), out};
}

Imported einsum(ImportContext& ctx) {
  std::string equation = ctx.text("equation");
  std::erase(equation, ' ');
  const std::vector<Value> list = ctx.tensors("tensors");
  const size_t arrow = equation.find("->");
  std::string left = equation.substr(0, arrow);
  std::vector<Labelled> terms;
  std::string hidden, all;
  for (size_t i = 0; i < list.size(); ++i) {
    const size_t comma = left.find(',');
    if ((comma == std::string::npos) != (i + 1 == list.size()))
      ctx.fail("einsum-equation", fmt::format("`{}` does not have one term for each of the {} tensors", equation, list.size()));
    terms.push_back({list[i], labels_of(ctx, left.substr(0, comma), ctx.rank(list[i]))});
    left = comma == std::string::npos ? "" : left.substr(comma + 1);
    for (char l : terms.back().labels) {
      if (l < 32 && hidden.find(l) == std::string::npos) hidden += l;
      all += l;
    }
    terms.back() = without_repeats(ctx, terms.back());
  }
  if (terms.empty()) ctx.fail("einsum-equation", "needs at least one tensor");
  std::ranges::sort(hidden, std::greater<>());
  std::string out;
  if (arrow != std::string::npos) {
    const std::string right = equation.substr(arrow + 2);
    const size_t dots = right.find("...");
    out = dots == std::string::npos ? right : right.substr(0, dots) + hidden + right.substr(dots + 3);
    for (char l : out) {
      if (all.find(l) == std::string::npos || std::ranges::count(out, l) > 1)
        ctx.fail("einsum-equation", fmt::format("the result of `{}` has a label that no term has, or one twice", equation));
    }
  } else {
    // Implicit form: hidden axes, then every label that occurs once, in order.
    out = hidden;
    std::string once;
    for (char l : all) {
      if (l >= 32 && std::ranges::count(all, l) == 1) once += l;
    }
    std::ranges::sort(once);
    out += once;
  }
  Labelled result = terms[0];
  for (size_t i = 1; i < terms.size(); ++i) {
    std::string keep = out;
    for (size_t j = i + 1; j < terms.size(); ++j) keep += terms[j].labels;
    result = contracted(ctx, result, terms[i], keep);
  }
  return {arranged(ctx, summed(ctx, result, out), out)};
}

}  // namespace

std::span<const ImportEntry> import_matmul() {
  static constexpr ImportEntry entries[] = {
      {"aten::matmul", matmul},
      {"aten::mm", matmul},
      {"aten::bmm", matmul},
      {"aten::mv", matmul},
      {"aten::dot", matmul},
      {"aten::vdot", matmul},
      {"aten::linalg_matmul", matmul},
      {"aten::__matmul__", matmul},
      {"aten::outer", outer},
      {"aten::ger", outer},
      {"aten::cross", cross},
      {"aten::linalg_cross", cross},
      {"aten::addmm", addmm},
      {"aten::baddbmm", baddbmm},
      {"aten::addbmm", addbmm},
      {"aten::addmv", addmv},
      {"aten::linalg_multi_dot", chain_matmul},
      {"aten::chain_matmul", chain_matmul},
      {"aten::einsum", einsum},
  };
  return entries;
}

}  // namespace mica
