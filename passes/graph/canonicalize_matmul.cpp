/// Brings products with constant weights to one form, `linear(x, weight[N, K], bias[N])`, which the lowering packs:
///   %0 = matmul(%x, w[K, N])              =>  %0 = linear(%x, permute(w))
///   %0 = matmul(%x, permute(w[N, K]))     =>  %0 = linear(%x, w)
///   %0 = linear(%x, w)                        %1 = linear(%x, w, b)
///   %1 = add(%0, b[N])                    =>
///   %0 = conv(%x, w)                          %1 = conv(%x, w, b)
///   %1 = add(%0, b[O, 1, 1])              =>
///   %0 = reshape(%x, [6, K])                  %0 = reshape(%x, [2, 3, K])
///   %1 = linear(%0, w)                    =>  %1 = linear(%0, w)
///   %2 = reshape(%1, [2, 3, N])
/// so that the work behind a linear layer has the shape of the work before it. fold_constants then permutes the weights.
/// Only where w and b are constants, and the product has no other user.
#include "mica/ops/conv.h"
#include "mica/ops/matmul.h"
#include "mica/ops/pointwise.h"
#include "mica/ops/view.h"
#include "mica/passes/graph.h"

namespace mica {

namespace {

bool matmul_to_linear(Rewriter& rw, const Matmul& op) {
  if (rw.type(op.b).rank() != 2 || rw.type(op.a).dtype != rw.type(op.b).dtype || !is_float(rw.type(op.a).dtype)) return false;
  if (const auto permute = rw.producer<Permute>(op.b); permute && rw.is_constant(permute->x))
    return rw.replace(rw.create(Linear{op.a, permute->x, {}})), true;
  if (!rw.is_constant(op.b) || rw.is_constant(op.a)) return false;
  return rw.replace(rw.create(Linear{op.a, rw.create(Permute{op.b, {1, 0}}), {}})), true;
}

/// True when `b` is a constant of the result's dtype that varies along result axis `axis` at most, all of it given.
bool is_bias(const Rewriter& rw, Value b, int64_t axis) {
  const TensorType &type = rw.type(rw.at().result()), &t = rw.type(b);
  if (!rw.is_constant(b) || t.dtype != type.dtype || t.rank() > type.rank()) return false;
  const int64_t place = axis - (type.rank() - t.rank());
  for (int64_t i = 0; i < t.rank(); ++i)
    if (t.shape[i] != (i == place ? type.shape[axis] : Dim(1))) return false;
  return place >= 0;
}

/// The bias as [N], added to the one that is there.
OptValue joined_bias(Rewriter& rw, OptValue old, Value b) {
  const Value flat = rw.create(Reshape{b, {rw.type(b).shape.elements()}});
  return old ? rw.create(Add{*old, flat}) : flat;
}

bool add_to_bias(Rewriter& rw, Value product, Value b) {
  const TensorType &type = rw.type(rw.at().result()), &made = rw.type(product);
  if (rw.uses(product) != 1 || made.dtype != type.dtype || made.shape != type.shape) return false;
  if (auto linear = rw.producer<Linear>(product); linear && is_bias(rw, b, type.rank() - 1) && (!linear->bias || rw.is_constant(*linear->bias))) {
    linear->bias = joined_bias(rw, linear->bias, b);
    return rw.replace(rw.create(*linear)), true;
  }
  if (auto conv = rw.producer<Conv>(product); conv && is_bias(rw, b, 1) && (!conv->bias || rw.is_constant(*conv->bias))) {
    conv->bias = joined_bias(rw, conv->bias, b);
    return rw.replace(rw.create(*conv)), true;
  }
  return false;
}

bool add_to_product(Rewriter& rw, const Add& op) { return add_to_bias(rw, op.x, op.y) || add_to_bias(rw, op.y, op.x); }

/// A reshape of the rows of a linear layer's result is one of its operand's.
bool reshape_rows(Rewriter& rw, const Reshape& op) {
  const auto linear = rw.producer<Linear>(op.x);
  const Shape shape = rw.type(rw.at().result()).shape, made = rw.type(op.x).shape;
  if (!linear || rw.uses(op.x) != 1 || shape.rank() < 2 || made.rank() < 2 || shape[-1] != made[-1] || made[-1] == 0) return false;
  std::vector<Dim> sizes = shape.dims();
  sizes.back() = rw.type(linear->x).shape[-1];
  return rw.replace(rw.create(Linear{rw.create(Reshape{linear->x, sizes}), linear->weight, linear->bias})), true;
}

}  // namespace

constinit const Pass canonicalize_matmul = {.name = "canonicalize_matmul",
                                            .summary = "Bring products with constant weights to linear with a bias",
                                            .run = rewrite_rules<matmul_to_linear, add_to_product, reshape_rows>};

}  // namespace mica
