#pragma once
// Depthwise convolution, grouped convolution with few channels a group, and pooling over any number of spatial axes, channels last.
#include "emit.h"
#include "mica/ops/rules.h"

namespace mica::lower {

/// One spatial axis.
struct DepthwiseAxis {
  Dim outputs, inputs;
  Dim step;  ///< elements from one input position to the next
  int64_t taps = 1, stride = 1, padding = 0, dilation = 1;
  /// Some tap of some output lies outside.
  bool leaves() const {
    const Dim last = (outputs - 1) * stride + (taps - 1) * dilation - padding;
    return padding > 0 || !Dim::surely_less(last, inputs);
  }
};

struct Depthwise {
  DType dtype = DType::f32;  ///< of input, weight and result
  DType sums() const { return working(dtype); }
  Value a;
  OptValue b, bias;
  std::optional<ReduceOp> pools;  ///< without a filter: what it makes of the inputs of a window
  Dim images = 1;
  Dim image_step = 0, offset = 0;               ///< elements of `a`
  int64_t channels = 1;                         ///< of the result
  int64_t group_inputs = 1, group_outputs = 1;  ///< channels of a group
  std::vector<DepthwiseAxis> axes;              ///< outermost first
  int64_t taps() const {
    int64_t product = 1;
    for (const DepthwiseAxis& axis : axes) product *= axis.taps;
    return product;
  }
  bool grouped() const { return group_inputs * group_outputs > 1; }
  int64_t groups() const { return channels / group_outputs; }
  int64_t input_channels() const { return groups() * group_inputs; }
  /// Products of one result.
  int64_t products() const { return taps() * group_inputs; }
  /// Places of one channel.
  Dim inputs() const { return over_axes(&DepthwiseAxis::inputs); }
  Dim outputs() const { return over_axes(&DepthwiseAxis::outputs); }

 private:
  Dim over_axes(Dim DepthwiseAxis::* size) const {
    Dim product = 1;
    for (const DepthwiseAxis& axis : axes) product *= axis.*size;
    return product;
  }
};

/// The depthwise convolution or pooling that a node is, if its channels lie side by side in memory and its filter is constant; with a target, the
/// grouped convolution, too, where this schedule should be the fastest there.
std::optional<Depthwise> describe_depthwise(const Graph& graph, const Node& node, const Target* target);
/// Its kernel. False when the region's anchor is none.
bool lower_depthwise(PendingProgram& program, const Region& region);

}  // namespace mica::lower
