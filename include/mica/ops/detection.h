#pragma once
// What detection models add: torchvision's operators. What survives suppression is padded.
#include "mica/ops/rules.h"

namespace mica {

/// Bilinear samples of x [N, C, H, W] within each region [batch, x1, y1, x2, y2] of rois, averaged over the cells of a height x width grid. Without
/// `samples` each cell has as many a side as it has pixels, rounded up. `aligned` shifts by half a pixel and lets regions be thinner than one.
struct RoiAlign {
  static constexpr OpSpec spec = {
      .signature = "roi_align(x, rois, scale, height, width, samples, aligned)",
      .torch =
          "torchvision::roi_align(input=x, rois=rois, spatial_scale=scale, pooled_height=height, pooled_width=width, sampling_ratio=samples, "
          "aligned=aligned)",
      .samples = {"x=f32[1, 3, 8, 9], rois=f32[4, 5] in 0..0.9, height=2, width=3, samples=2, scale=4",
                  "x=f32[1, 40, 6, 5], rois=f32[2, 5] in 0..0.9, height=3, width=1, samples=0, scale=6, aligned=true",
                  "x=f32[1, 2, 4, 4], rois=f32[0, 5] in 0..1, height=2, width=2",
                  "x=f64[1, 1, 5, 5], rois=f64[3, 5] in -0.9..0.9, height=2, width=2, scale=7"}};
  Value x;
  Value rois;
  double scale = 1;
  int64_t height = 1;
  int64_t width = 1;
  int64_t samples = 0;
  bool aligned = false;
  static Result<TensorType> infer(const RoiAlign& op, const Infer& ctx);
  static void kernel(const RoiAlign& op, KernelBuilder& b);
};

/// Of boxes [n, 4] (x1, y1, x2, y2), gone through in the given order, those that overlap none that was kept before by more than `threshold` (area of
/// the intersection over that of the union): their numbers, then -1, and how many they are.
struct Nms {
  static constexpr OpSpec spec = {.signature = "nms(boxes, order, threshold)"};
  Value boxes;
  Value order;
  double threshold = 0.5;
  static Result<std::vector<TensorType>> infer(const Nms& op, const Infer& ctx);
  static void kernel(const Nms& op, KernelBuilder& b);
};

using DetectionOps = OpList<RoiAlign, Nms>;

}  // namespace mica
