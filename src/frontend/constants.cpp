#include "constants.h"

#include <ATen/ATen.h>

#include <cstring>

namespace mica::frontend {

std::optional<DType> dtype_of(at::ScalarType type) {
  switch (type) {
    case at::kDouble: return DType::f64;
    case at::kFloat: return DType::f32;
    case at::kHalf: return DType::f16;
    case at::kBFloat16: return DType::bf16;
    case at::kLong: return DType::i64;
    case at::kInt: return DType::i32;
    case at::kShort: return DType::i16;
    case at::kChar: return DType::i8;
    case at::kByte: return DType::u8;
    case at::kBool: return DType::b8;
    default: return std::nullopt;
  }
}

at::ScalarType scalar_type_of(DType dtype) {
  constexpr at::ScalarType types[] = {at::kDouble, at::kFloat, at::kHalf, at::kBFloat16, at::kLong,
                                      at::kInt,    at::kShort, at::kChar, at::kByte,     at::kBool};
  return types[static_cast<int>(dtype)];
}

std::optional<TensorType> type_of(const at::Tensor& tensor) {
  if (!tensor.defined() || tensor.layout() != at::kStrided || !(tensor.device().is_cpu() || tensor.is_meta()) || tensor.is_quantized())
    return std::nullopt;
  const auto dtype = dtype_of(tensor.scalar_type());
  if (!dtype) return std::nullopt;
  return TensorType{.dtype = *dtype, .shape = Shape(tensor.sizes().vec()), .layout = {}};
}

bool has_data(const at::Tensor& tensor) {
  if (!tensor.has_storage() || tensor.is_meta()) return false;
  if (tensor.numel() == 0) return true;
  // In elements; every product is checked, since sizes and strides come from the file.
  const int64_t available = static_cast<int64_t>(tensor.storage().nbytes() / tensor.itemsize());
  int64_t last = tensor.storage_offset();
  if (last < 0 || last >= available) return false;
  for (int64_t i = 0; i < tensor.dim(); ++i) {
    int64_t reach = 0;
    if (tensor.stride(i) < 0 || __builtin_mul_overflow(tensor.size(i) - 1, tensor.stride(i), &reach) || __builtin_add_overflow(last, reach, &last) ||
        last >= available)
      return false;
  }
  return true;
}

std::string why_no_type(const at::Tensor& tensor) {
  if (!tensor.defined()) return "it is undefined";
  if (tensor.is_quantized()) return "it is quantised";
  if (tensor.layout() != at::kStrided) return "it is sparse";
  if (!tensor.device().is_cpu()) return "it is on " + tensor.device().str();
  return fmt::format("its dtype is {}", c10::toString(tensor.scalar_type()));
}

ConstantData data_of(const at::Tensor& tensor, std::string name) {
  auto dense = std::make_shared<const at::Tensor>(tensor.detach().resolve_conj().resolve_neg().contiguous());
  ConstantData data;
  data.bytes = {static_cast<const std::byte*>(dense->const_data_ptr()), static_cast<size_t>(dense->nbytes())};
  data.keep = std::move(dense);
  data.name = std::move(name);
  return data;
}

RawTensor raw_of(const at::Tensor& tensor, const TensorType& type) {
  const at::Tensor dense = tensor.detach().contiguous();
  RawTensor raw{.type = type, .bytes = std::vector<std::byte>(dense.nbytes())};
  if (!raw.bytes.empty()) std::memcpy(raw.bytes.data(), dense.const_data_ptr(), raw.bytes.size());
  return raw;
}

at::Tensor tensor_of(const RawTensor& raw) {
  const auto sizes = raw.type.shape.sizes();
  at::Tensor tensor = at::empty(sizes, at::TensorOptions().dtype(scalar_type_of(raw.type.dtype)));
  MICA_CHECK(tensor.nbytes() == raw.bytes.size());
  if (!raw.bytes.empty()) std::memcpy(tensor.mutable_data_ptr(), raw.bytes.data(), raw.bytes.size());
  return tensor;
}

Value ConstantPool::add(Graph& graph, const at::Tensor& tensor, const TensorType& type, const std::string& name) {
  const Key key{tensor.const_data_ptr(), tensor.sizes().vec(), tensor.strides().vec(), tensor.scalar_type()};
  // Tensors without elements have no address to tell them apart; the type is all there is to them.
  if (const auto it = known_.find(key); it != known_.end()) return it->second;
  const Value value = graph.add_constant(type, data_of(tensor, name));
  graph.constants[graph.values[value.id].constant].name = name;
  known_.emplace(key, value);
  kept_.push_back(tensor);
  return value;
}

}  // namespace mica::frontend
