#pragma once
// What LibTorch runs to judge an op: each sample of each op as TorchScript source.
#include <string>

#include "mica/ops/sample.h"

namespace mica::numerics {

/// "def forward(self, x):\n  return torch.softmax(x, 1)\n"; empty when the table has no program for the op.
std::string program_of(const Sample& sample);

}  // namespace mica::numerics
