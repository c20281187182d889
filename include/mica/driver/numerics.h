#pragma once
// The verdict of `mica verify`: one rule for every model and dtype (docs/tour.md, "Is it right?").
#include <span>
#include <string>
#include <vector>

#include "mica/frontend/eager.h"
#include "mica/pass/precision.h"

namespace mica {

/// How far one output is from the judge.
struct Deviation {
  double max_error = 0;  ///< largest |x - exact| over elements that are finite in both
  double rmse = 0;       ///< root of the mean of its square
};

struct OutputVerdict {
  std::string name;
  TensorType type;
  bool pass = false;
  Deviation mica, eager;
  double rms = 0;     ///< of the exact values, finite ones
  double limit = 0;   ///< what mica's rmse may be: k * rmse(eager) + 4 * u * rms
  double factor = 0;  ///< k
  int64_t elements = 0;
  int64_t wrong = 0;   ///< integers, bools: unequal elements; floats: NaN or infinity where the judge has none, or the reverse
  std::string reason;  ///< why it fails; empty when it passes
};

/// Rounding unit of a dtype: half the distance from 1 to the next number. 0 for integers.
double unit_roundoff(DType dtype);

/// Judges one output. `exact` is LibTorch in fp64, `eager` LibTorch in the working dtype (the yardstick): a float output passes when
///   rmse(mica) <= k * rmse(eager) + 4 * u * rms(exact)
/// and NaN and infinities stand where the judge's or the yardstick's stand. k is 2, but 3 for 16-bit types and under 1,000 elements, and
/// 8 when the plan has Winograd convolutions. Integers and bools must equal the yardstick's exactly.
/// With a lower precision floats of its wide dtype are held to what its narrow one can be, eager's outputs are in that, and an integer or bool may
/// be the judge's as well.
OutputVerdict judge_output(const std::string& name, const RawTensor& mica, const RawTensor& eager, const RawTensor& exact, bool winograd,
                           const std::optional<Precision>& precision = {});

}  // namespace mica
