/// Makes one grouped convolution of convolutions on the parts of a tensor, whose results are put together again:
///   %a = slice(%x, axis=1, end=8)                    %x : f32[1, 16, 56, 56]
///   %b = slice(%x, axis=1, start=8, end=16)
///   %c = conv(%a, v)
///   %d = conv(%b, w)
///   %y = cat([%c, %d], axis=1)
///     =>
///   %y = conv(%x, [v; w], groups=2)
/// Only when the parts are all of %x, in order and of one size, the convolutions are alike but for their constant weights, and
/// their results have no other user.
#include "constants.h"
#include "mica/ops/conv.h"
#include "mica/ops/view.h"
#include "mica/passes/graph.h"

namespace mica {

namespace {

bool alike(const Rewriter& rw, const Conv& a, const Conv& b) {
  return a.stride == b.stride && a.padding == b.padding && a.padding_end == b.padding_end && a.dilation == b.dilation && a.groups == b.groups &&
         rw.type(a.weight) == rw.type(b.weight) && static_cast<bool>(a.bias) == static_cast<bool>(b.bias);
}

bool merge(Rewriter& rw, const Cat& op) {
  const TensorType type = rw.type(rw.at().result());
  if (op.xs.size() < 2 || type.rank() < 3 || from_front(op.axis, type.rank()) != 1) return false;
  std::vector<Value> weights, biases;
  std::optional<Conv> first;
  Value base;
  int64_t start = 0;
  for (const Value v : op.xs.items) {
    const auto conv = rw.producer<Conv>(v);
    if (!conv || rw.uses(v) != 1 || !rw.is_constant(conv->weight) || (conv->bias && !rw.is_constant(*conv->bias))) return false;
    const auto slice = rw.producer<Slice>(conv->x);
    if (!slice || from_front(slice->axis, type.rank()) != 1 || slice->step != 1) return false;
    const int64_t channels = rw.type(slice->x).shape[1];
    const SliceRange range = slice_range(channels, slice->start, slice->end, 1);
    if (!first) first = conv, base = slice->x;
    if (slice->x != base || range.start != start || range.count * static_cast<int64_t>(op.xs.size()) != channels || !alike(rw, *first, *conv))
      return false;
    start += range.count;
    weights.push_back(conv->weight);
    if (conv->bias) biases.push_back(*conv->bias);
  }
  Conv conv = *first;
  conv.x = base;
  conv.groups = first->groups * static_cast<int64_t>(op.xs.size());
  conv.weight = joined_constant(rw, weights);
  if (!biases.empty()) conv.bias = joined_constant(rw, biases);
  return rw.replace(rw.create(conv)), true;
}

}  // namespace

constinit const Pass merge_grouped_convolutions = {.name = "merge_grouped_convolutions",
                                                   .summary = "Make one grouped convolution of convolutions on the parts of a tensor",
                                                   .run = rewrite_rules<merge>};

}  // namespace mica
