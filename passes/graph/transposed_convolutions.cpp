/// Makes convolutions of transposed ones. With a stride s the results at s places in a row are as many channels of one convolution, with every s-th
/// tap each, whose results then take their places:
///   %y = conv_transpose(%x, w, stride=[2, 2], padding=[1, 1])          %x : f32[1, 8, 7, 7], w : f32[8, 5, 4, 4]
///     =>
///   %z = conv(%x, v, padding=[1, 1])                                   v : f32[20, 8, 2, 2], %z : f32[1, 20, 8, 8]
///   %a = permute(reshape(%z, [1, 5, 2, 2, 8, 8]), [0, 1, 4, 2, 5, 3])
///   %y = the middle of reshape(%a, [1, 5, 16, 16])                     %y : f32[1, 5, 14, 14]
/// Only with constant weights, and where no axis has both a stride and a dilation.
#include "constants.h"
#include "mica/ops/conv.h"
#include "mica/ops/view.h"
#include "mica/passes/graph.h"

namespace mica {

namespace {

/// One spatial axis. Place q * stride + phase of what is made, from `first` on, is tap j * stride + phase times input q - j * dilation, over all j.
struct Axis {
  int64_t kernel = 1, stride = 1, taps = 1, before = 0, after = 0, first = 0;
};

std::optional<std::vector<Axis>> axes_of(const ConvTranspose& op, const Shape& weight) {
  std::vector<Axis> axes;
  for (int64_t a = 0; a + 2 < weight.rank(); ++a) {
    const int64_t k = weight[a + 2].size(), s = op.stride[a], d = op.dilation[a], p = op.padding[a];
    if (s != 1 && d != 1) return std::nullopt;
    Axis x{k, s, Dim::ceil_div(k, s).size()};
    x.first = p % s;
    x.before = d * (x.taps - 1) - p / s;
    x.after = Dim::ceil_div(d * (k - 1) + 1 - p + op.output_padding[a], s).size() - 1;
    if (x.before < 0 || x.after < 0) return std::nullopt;
    axes.push_back(x);
  }
  return axes;
}

int64_t product(const std::vector<Axis>& axes, int64_t Axis::* size) {
  int64_t all = 1;
  for (const Axis& a : axes) all *= a.*size;
  return all;
}

/// [channels, outputs of a group, kernel...] as [outputs of all groups, phases..., channels of a group, taps...], taps from the last to the first.
std::vector<double> rearranged(const HostTensor& from, int64_t channels, int64_t outputs, int64_t groups, const std::vector<Axis>& axes) {
  const int64_t in_group = channels / groups, phases = product(axes, &Axis::stride), taps = product(axes, &Axis::taps);
  std::vector<double> to(static_cast<size_t>(outputs * groups * phases * in_group * taps));
  for (int64_t i = 0; i < static_cast<int64_t>(to.size()); ++i) {
    int64_t tap = i % taps, phase = i / taps / in_group % phases, place = 0, unit = 1;
    bool inside = true;
    for (size_t a = axes.size(); a-- > 0;) {
      const Axis& x = axes[a];
      const int64_t at = (x.taps - 1 - tap % x.taps) * x.stride + phase % x.stride;
      inside = inside && at < x.kernel;
      place += at * unit;
      unit *= x.kernel, tap /= x.taps, phase /= x.stride;
    }
    const int64_t channel = i / taps % in_group, output = i / taps / in_group / phases;
    const int64_t row = (output / outputs * in_group + channel) * outputs + output % outputs;
    if (inside) to[static_cast<size_t>(i)] = from.real[static_cast<size_t>(row * unit + place)];
  }
  return to;
}

/// The results of each phase at their places: [N, O * phases, U...] as [N, O, U * stride...], cut to `shape`.
Value at_their_places(Rewriter& rw, Value z, const Shape& shape, const std::vector<Axis>& axes) {
  const Shape made = rw.type(z).shape;
  const auto count = static_cast<int64_t>(axes.size());
  Reshape apart{z, Dims{}};
  Permute in_place;
  Reshape together;
  for (int64_t i = 0; i < 2; ++i) apart.shape.items.push_back(shape[i]), together.shape.items.push_back(shape[i]), in_place.axes.items.push_back(i);
  for (const Axis& x : axes) apart.shape.items.push_back(x.stride);
  for (int64_t a = 0; a < count; ++a) {
    const Axis& x = axes[static_cast<size_t>(a)];
    apart.shape.items.push_back(made[a + 2]);
    together.shape.items.push_back(made[a + 2] * x.stride);
    in_place.axes.items.push_back(2 + count + a);
    in_place.axes.items.push_back(2 + a);
  }
  in_place.x = rw.create(apart);
  together.x = rw.create(in_place);
  Value y = rw.create(together);
  for (int64_t a = 0; a < count; ++a) {
    const int64_t first = axes[static_cast<size_t>(a)].first;
    if (rw.type(y).shape[a + 2] != shape[a + 2]) y = rw.create(Slice{.x = y, .axis = a + 2, .start = first, .end = shape[a + 2] + first});
  }
  return y;
}

bool transpose(Rewriter& rw, const ConvTranspose& op) {
  const TensorType x = rw.type(op.x), type = rw.type(rw.at().result()), weight = rw.type(op.weight);
  if (!rw.is_constant(op.weight) || (op.bias && !rw.is_constant(*op.bias)) || type.shape.elements() == 0) return false;
  const auto axes = axes_of(op, weight.shape);
  if (!axes) return false;
  const int64_t channels = weight.shape[0].size(), outputs = weight.shape[1].size(), phases = product(*axes, &Axis::stride);
  Conv conv;
  conv.x = op.x;
  conv.groups = op.groups;
  std::vector<Dim> shape = {outputs * op.groups * phases, channels / op.groups};
  for (size_t a = 0; a < axes->size(); ++a) {
    shape.push_back((*axes)[a].taps);
    conv.stride.items.push_back(1);
    conv.padding.items.push_back((*axes)[a].before);
    conv.padding_end.items.push_back((*axes)[a].after);
    conv.dilation.items.push_back(op.dilation[static_cast<int64_t>(a)]);
  }
  const auto constant = [&](Value from, std::vector<Dim> of, std::vector<double> elements) {
    return make_constant(rw, {weight.dtype, Shape(std::move(of)), {}}, std::move(elements), name_of_value(rw.graph(), from));
  };
  conv.weight = constant(op.weight, shape, rearranged(constant_tensor(rw.graph(), op.weight), channels, outputs, op.groups, *axes));
  if (op.bias) {
    std::vector<double> bias;
    for (const double b : constant_tensor(rw.graph(), *op.bias).real) bias.insert(bias.end(), static_cast<size_t>(phases), b);
    conv.bias = constant(*op.bias, {shape[0]}, std::move(bias));
  }
  const Value z = rw.create(conv);
  return rw.replace(phases == 1 ? z : at_their_places(rw, z, type.shape, *axes)), true;
}

}  // namespace

constinit const Pass transposed_convolutions = {
    .name = "transposed_convolutions", .summary = "Make convolutions of transposed ones", .run = rewrite_rules<transpose>};

}  // namespace mica
