#pragma once
#include <cstdint>
#include <initializer_list>
#include <string>
#include <vector>

#include "mica/ir/dim.h"
#include "mica/support/check.h"
#include "mica/support/dtype.h"

namespace mica {

/// Sizes of a tensor, outermost first.
class Shape {
 public:
  Shape() = default;
  Shape(std::initializer_list<Dim> sizes) : dims_(sizes) {}
  explicit Shape(const std::vector<int64_t>& sizes) : dims_(sizes.begin(), sizes.end()) {}
  explicit Shape(std::vector<Dim> dims) : dims_(std::move(dims)) {}
  int64_t rank() const { return static_cast<int64_t>(dims_.size()); }
  const Dim& dim(int64_t axis) const { return dims_.at(axis < 0 ? axis + rank() : axis); }
  /// Size along `axis` (negative counts from the end).
  const Dim& operator[](int64_t axis) const { return dim(axis); }
  bool is_static() const;
  Dim elements() const;
  std::vector<int64_t> sizes() const;  ///< of a static shape
  const std::vector<Dim>& dims() const { return dims_; }
  bool operator==(const Shape&) const = default;
  std::string to_string() const;  ///< "[1, 3, 224, 224]", "[B, 3, H, W]"

 private:
  std::vector<Dim> dims_;
};

/// Physical order of a tensor's logical axes in memory, outermost first; empty means the logical order (row-major).
/// {0, 2, 3, 1} on an image tensor is channels-last. It never changes the logical shape; only the layout pass sets it.
struct Layout {
  std::vector<uint8_t> order;
  /// Sizes, by logical axis, of the tensor whose memory the value is a part of; empty where it has memory of its own. Only the lowering
  /// sets it (place_parts.cpp).
  std::vector<Dim> within = {};
  bool is_identity() const;                    ///< of the order
  bool operator==(const Layout& other) const;  ///< empty equals 0, 1, 2, ...
};

struct TensorType {
  DType dtype = DType::f32;
  Shape shape;
  Layout layout;

  int64_t rank() const { return shape.rank(); }
  bool has_axis(int64_t axis) const { return -rank() <= axis && axis < rank(); }
  /// Element strides of the logical axes under the layout: dense, or those of the tensor that this one lies within.
  std::vector<Dim> strides() const;
  Dim bytes() const { return shape.elements() * size_of(dtype); }
  bool operator==(const TensorType&) const = default;
  std::string to_string() const;  ///< "f32[1, 3, 224, 224]", with "@0231" behind it when the layout is not the identity
};

}  // namespace mica
