#pragma once
// Programs made to compute in fp64 throughout: the judge.
#include <torch/csrc/jit/ir/ir.h>

namespace mica::frontend {

bool narrow_float(at::ScalarType type);  ///< a floating dtype below f64

/// Constants of floating dtype become f64, and so do dtypes that operators are told: the graph then computes in fp64 throughout.
void widen(torch::jit::Block& block);

/// Makes f64 the dtype that factories give while it lives.
class DefaultDouble {
 public:
  explicit DefaultDouble(bool on);
  ~DefaultDouble();
  DefaultDouble(const DefaultDouble&) = delete;
  DefaultDouble& operator=(const DefaultDouble&) = delete;

 private:
  caffe2::TypeMeta before_;
  bool on_;
};

}  // namespace mica::frontend
