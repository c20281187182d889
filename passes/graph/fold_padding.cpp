/// Lets a convolution do the padding before it:
///   %0 = pad(%x, before=[0, 0, 1, 1], after=[0, 0, 2, 2])
///   %1 = conv(%0, w, padding=[0, 0])
///     =>
///   %1 = conv(%x, w, padding=[1, 1], padding_end=[2, 2])
/// Only zeros, only on spatial axes, and nothing cut off; the padded tensor has no other user.
#include "mica/ops/conv.h"
#include "mica/ops/view.h"
#include "mica/passes/graph.h"

namespace mica {

namespace {

bool fold_into_conv(Rewriter& rw, const Conv& op) {
  const auto pad = rw.producer<Pad>(op.x);
  if (!pad || pad->value != 0 || rw.uses(op.x) != 1 || rw.type(pad->x).dtype != rw.type(op.x).dtype) return false;
  const size_t rank = static_cast<size_t>(rw.type(op.x).rank());
  if (pad->before.size() != rank || pad->after.size() != rank) return false;
  Conv conv = op;
  conv.x = pad->x;
  conv.padding_end.items.resize(rank - 2);
  for (size_t axis = 0; axis < rank; ++axis) {
    const int64_t before = pad->before[axis], after = pad->after[axis];
    if (before < 0 || after < 0 || (axis < 2 && (before || after))) return false;
    if (axis < 2) continue;
    conv.padding_end.items[axis - 2] = op.pad_after(static_cast<int64_t>(axis) - 2) + after;
    conv.padding.items[axis - 2] += before;
  }
  if (conv.padding_end == conv.padding) conv.padding_end.items.clear();
  return rw.replace(rw.create(conv)), true;
}

}  // namespace

constinit const Pass fold_padding = {
    .name = "fold_padding", .summary = "Let a convolution do the padding before it", .run = rewrite_rules<fold_into_conv>};

}  // namespace mica
