#pragma once
// Programs made to compute in another floating dtype throughout: in fp64, the judge.
#include <torch/csrc/jit/ir/ir.h>

namespace mica::frontend {

bool narrow_float(at::ScalarType type);  ///< a floating dtype below f64

/// Whether a tensor of dtype `from` is converted where a program is made to compute in `to`: all below f64 become f64, f32 alone becomes narrower.
bool converts(at::ScalarType from, at::ScalarType to);

/// Constants of floating dtype become `to`, and so do dtypes that operators are told: the graph then computes in that throughout.
void convert_floats(torch::jit::Block& block, at::ScalarType to);

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
