#include "mica/ir/type.h"

#include <fmt/format.h>

namespace mica {

bool Shape::is_static() const {
  for (const Dim& d : dims_)
    if (!d.is_static()) return false;
  return true;
}

Dim Shape::elements() const {
  Dim n = 1;
  for (const Dim& d : dims_) n *= d;
  return n;
}

std::vector<int64_t> Shape::sizes() const {
  std::vector<int64_t> out;
  out.reserve(dims_.size());
  for (const Dim& d : dims_) out.push_back(d.size());
  return out;
}

std::string Shape::to_string() const {
  std::string text = "[";
  for (size_t i = 0; i < dims_.size(); ++i) {
    if (i) text += ", ";
    text += dims_[i].to_string();
  }
  return text + "]";
}

bool Layout::is_identity() const {
  for (size_t i = 0; i < order.size(); ++i)
    if (order[i] != i) return false;
  return true;
}

bool Layout::operator==(const Layout& other) const {
  if (within != other.within) return false;
  if (is_identity() || other.is_identity()) return is_identity() && other.is_identity();
  return order == other.order;
}

std::vector<Dim> TensorType::strides() const {
  const int64_t n = rank();
  std::vector<Dim> out(n);
  Dim stride = 1;
  for (int64_t place = n - 1; place >= 0; --place) {
    const int64_t axis = layout.order.empty() ? place : layout.order[place];
    out[axis] = stride;
    stride *= layout.within.empty() ? shape[axis] : layout.within[axis];
  }
  return out;
}

std::string TensorType::to_string() const {
  std::string text = fmt::format("{}{}", name_of(dtype), shape.to_string());
  if (!layout.is_identity()) {
    text += '@';
    for (const uint8_t axis : layout.order) text += axis < 10 ? static_cast<char>('0' + axis) : static_cast<char>('a' + axis - 10);
  }
  return text;
}

}  // namespace mica
