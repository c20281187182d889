// torchvision's operators, which LibTorch alone does not know: their schemas, so that models that use them load, and plain implementations on the CPU
// for what compiled models are compared with. Written from the operators' documented meaning.
#include "torchvision.h"

#include <ATen/ATen.h>
#include <ATen/Dispatch.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <torch/library.h>

#include <algorithm>
#include <cmath>

namespace mica::frontend {
namespace {

/// Boxes by falling score; one that overlaps a better one by more than the threshold is left out.
at::Tensor nms(const at::Tensor& dets, const at::Tensor& scores, double iou_threshold) {
  TORCH_CHECK(dets.dim() == 2 && dets.size(1) == 4 && scores.dim() == 1 && scores.size(0) == dets.size(0), "nms takes boxes [N, 4] and scores [N]");
  const at::Tensor boxes = dets.contiguous(), order = std::get<1>(scores.sort(/*stable=*/true, 0, /*descending=*/true)).contiguous();
  std::vector<int64_t> keep;
  AT_DISPATCH_FLOATING_TYPES(boxes.scalar_type(), "nms", [&] {
    const scalar_t* box = boxes.const_data_ptr<scalar_t>();
    const auto area = [](const scalar_t* b) { return (b[2] - b[0]) * (b[3] - b[1]); };
    for (int64_t i = 0; i < order.size(0); ++i) {
      const int64_t at = order.const_data_ptr<int64_t>()[i];
      const scalar_t* b = box + 4 * at;
      const bool good = std::none_of(keep.begin(), keep.end(), [&](int64_t other) {
        const scalar_t* a = box + 4 * other;
        const scalar_t width = std::max<scalar_t>(0, std::min(a[2], b[2]) - std::max(a[0], b[0]));
        const scalar_t height = std::max<scalar_t>(0, std::min(a[3], b[3]) - std::max(a[1], b[1]));
        const scalar_t both = width * height;
        return both / (area(a) + area(b) - both) > static_cast<scalar_t>(iou_threshold);
      });
      if (good) keep.push_back(at);
    }
  });
  return at::tensor(keep, at::TensorOptions().dtype(at::kLong));
}

/// Bilinear value at (y, x) of a map of one channel; 0 more than a pixel outside.
template <class T> T bilinear(const T* map, int64_t height, int64_t width, T y, T x) {
  if (y < -1 || y > static_cast<T>(height) || x < -1 || x > static_cast<T>(width)) return 0;
  const auto split = [](T at, int64_t size, int64_t& low, int64_t& high) {
    at = std::max<T>(at, 0);
    low = std::min<int64_t>(static_cast<int64_t>(at), size - 1);
    high = std::min<int64_t>(low + 1, size - 1);
    return low == size - 1 ? T(0) : at - static_cast<T>(low);
  };
  int64_t top, bottom, left, right;
  const T v = split(y, height, top, bottom), u = split(x, width, left, right);
  return (1 - v) * (1 - u) * map[top * width + left] + (1 - v) * u * map[top * width + right] + v * (1 - u) * map[bottom * width + left] +
         v * u * map[bottom * width + right];
}

/// Where a region's cells lie on the map, and how many samples each has.
template <class T> struct Grid {
  T y, x, cell_height, cell_width;
  int64_t rows, columns;
  Grid(const T* roi, double scale, T offset, bool thin, int64_t height, int64_t width, int64_t sampling) {
    const T s = static_cast<T>(scale);
    x = roi[1] * s - offset, y = roi[2] * s - offset;
    T w = roi[3] * s - offset - x, h = roi[4] * s - offset - y;
    if (!thin) w = std::max<T>(w, 1), h = std::max<T>(h, 1);
    cell_height = h / static_cast<T>(height), cell_width = w / static_cast<T>(width);
    rows = sampling > 0 ? sampling : static_cast<int64_t>(std::ceil(cell_height));
    columns = sampling > 0 ? sampling : static_cast<int64_t>(std::ceil(cell_width));
  }
  T average(const T* map, int64_t map_height, int64_t map_width, int64_t i, int64_t j) const {
    T sum = 0;
    for (int64_t r = 0; r < rows; ++r) {
      const T at_y = y + static_cast<T>(i) * cell_height + (static_cast<T>(r) + T(0.5)) * cell_height / static_cast<T>(rows);
      for (int64_t c = 0; c < columns; ++c) {
        const T at_x = x + static_cast<T>(j) * cell_width + (static_cast<T>(c) + T(0.5)) * cell_width / static_cast<T>(columns);
        sum += bilinear(map, map_height, map_width, at_y, at_x);
      }
    }
    return sum / static_cast<T>(std::max<int64_t>(rows * columns, 1));
  }
};

at::Tensor roi_align(const at::Tensor& input, const at::Tensor& rois, double spatial_scale, int64_t pooled_height, int64_t pooled_width,
                     int64_t sampling_ratio, bool aligned) {
  TORCH_CHECK(input.dim() == 4 && rois.dim() == 2 && rois.size(1) == 5, "roi_align takes a map [N, C, H, W] and regions [K, 5]");
  TORCH_CHECK(input.scalar_type() == rois.scalar_type(), "roi_align takes a map and regions of one dtype");
  const at::Tensor map = input.contiguous(), regions = rois.contiguous();
  at::Tensor result = at::zeros({rois.size(0), input.size(1), pooled_height, pooled_width}, input.options());
  AT_DISPATCH_FLOATING_TYPES(input.scalar_type(), "roi_align", [&] {
    scalar_t* out = result.mutable_data_ptr<scalar_t>();
    for (int64_t k = 0; k < rois.size(0); ++k) {
      const scalar_t* roi = regions.const_data_ptr<scalar_t>() + 5 * k;
      const auto image = static_cast<int64_t>(roi[0]);
      TORCH_CHECK(image >= 0 && image < input.size(0), "roi_align: a region names an image that does not exist");
      const Grid<scalar_t> grid(roi, spatial_scale, static_cast<scalar_t>(aligned ? 0.5 : 0), aligned, pooled_height, pooled_width, sampling_ratio);
      for (int64_t c = 0; c < input.size(1); ++c) {
        const scalar_t* plane = map.const_data_ptr<scalar_t>() + (image * input.size(1) + c) * input.size(2) * input.size(3);
        for (int64_t i = 0; i < pooled_height; ++i)
          for (int64_t j = 0; j < pooled_width; ++j) *out++ = grid.average(plane, input.size(2), input.size(3), i, j);
      }
    }
  });
  return result;
}

}  // namespace

void register_torchvision() {
  // Where torchvision itself has been loaded into the process its operators stay.
  static torch::Library* library = [] {
    if (c10::Dispatcher::singleton().findSchema({"torchvision::nms", ""})) return static_cast<torch::Library*>(nullptr);
    auto* made = new torch::Library(torch::Library::FRAGMENT, "torchvision", std::nullopt, __FILE__, __LINE__);
    made->def("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor", &nms);
    made->def(
        "roi_align(Tensor input, Tensor rois, float spatial_scale, int pooled_height, int pooled_width, int sampling_ratio, bool aligned) -> Tensor",
        &roi_align);
    // Only its schema: scripted detection models name it in a branch that they do not take.
    made->def("box_iou_rotated(Tensor boxes1, Tensor boxes2) -> Tensor");
    return made;
  }();
  (void)library;
}

}  // namespace mica::frontend
