#include "mica/ops/conv.h"
#include "mica/ops/view.h"
#include "mica/pass/pass.h"
#include "mica/passes/layout.h"

namespace mica {

namespace {

/// Below this many channels a kernel row (columns x channels) is worth more as one run of memory than as a run per column.
constexpr int64_t narrow_channels = 16;

bool pad_first(Rewriter& rw, const Conv& conv) {
  const Shape& x = rw.type(conv.x).shape;
  const Shape& w = rw.type(conv.weight).shape;
  const int64_t spatial = x.rank() - 2;
  if (conv.groups != 1 || x[1] >= narrow_channels || w[-1] == 1) return false;
  bool padded = false;
  Ints before({0, 0}), after({0, 0});
  for (int64_t s = 0; s < spatial; ++s) {
    padded |= conv.padding[s] != 0 || conv.pad_after(s) != 0;
    before.items.push_back(conv.padding[s]);
    after.items.push_back(conv.pad_after(s));
  }
  if (!padded) return false;
  Conv inner = conv;
  inner.x = rw.create(Pad{.x = conv.x, .before = before, .after = after, .value = 0});
  inner.padding = Ints(std::vector<int64_t>(spatial, 0));
  inner.padding_end = {};
  rw.replace(rw.create(inner));
  return true;
}

}  // namespace

/// Gives a convolution over few channels (an image's first) an operand that is already padded:
///   %y = conv(%x, w, padding=[3, 3])      %x : f32[1, 3, 224, 224]
///     =>
///   %p = pad(%x, before=[0, 0, 3, 3], after=[0, 0, 3, 3])
///   %y = conv(%p, w, padding=[0, 0])
/// Channels-last, a row of the kernel then is one run of memory (columns x channels), which the contraction reads as one K. The
/// pad costs nothing extra: it is part of the copy that changes the input's layout.
constinit const Pass pad_narrow_convolutions = {
    .name = "pad_narrow_convolutions", .summary = "Pad before convolutions over few channels", .run = rewrite_rules<pad_first>};

}  // namespace mica
