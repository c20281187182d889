#pragma once
// Between LibTorch's tensors and Mica's types and constants.
#include <ATen/core/Tensor.h>

#include <map>
#include <optional>
#include <tuple>

#include "mica/frontend/eager.h"
#include "mica/ir/graph.h"

namespace mica::frontend {

std::optional<DType> dtype_of(at::ScalarType type);
at::ScalarType scalar_type_of(DType dtype);
/// None when the dtype is one that Mica does not have, or the tensor is not dense and strided, on the CPU or without data on the meta device.
std::optional<TensorType> type_of(const at::Tensor& tensor);
/// False when the tensor's sizes and strides reach outside its storage: traced inputs are stored without their data, and files can be damaged.
bool has_data(const at::Tensor& tensor);
/// Why `type_of` gave none: "its dtype is complex64".
std::string why_no_type(const at::Tensor& tensor);

/// Dense row-major bytes; the tensor's storage itself where it is contiguous already.
ConstantData data_of(const at::Tensor& tensor, std::string name);
RawTensor raw_of(const at::Tensor& tensor, const TensorType& type);
/// A tensor of its own with the bytes of `raw`.
at::Tensor tensor_of(const RawTensor& raw);

/// Puts constants into a graph once each: by storage, offset, sizes, strides and dtype.
class ConstantPool {
 public:
  Value add(Graph& graph, const at::Tensor& tensor, const TensorType& type, const std::string& name);

 private:
  using Key = std::tuple<const void*, std::vector<int64_t>, std::vector<int64_t>, at::ScalarType>;
  std::map<Key, Value> known_;
  std::vector<at::Tensor> kept_;  ///< an address names a constant only while its memory is not given to another
};

}  // namespace mica::frontend
