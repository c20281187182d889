#include "mica/driver/numerics.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "mica/driver/tensor_file.h"

namespace mica {

namespace {

enum class Class : uint8_t { finite, nan, positive_infinity, negative_infinity };
Class classify(double x) {
  if (std::isfinite(x)) return Class::finite;
  if (std::isnan(x)) return Class::nan;
  return x > 0 ? Class::positive_infinity : Class::negative_infinity;
}

std::vector<double> as_doubles(const RawTensor& t) {
  const RawTensor wide = convert(t, DType::f64);
  std::vector<double> values(wide.bytes.size() / sizeof(double));
  if (!values.empty()) std::memcpy(values.data(), wide.bytes.data(), wide.bytes.size());
  return values;
}

Deviation deviation(const std::vector<double>& x, const std::vector<double>& exact) {
  Deviation d;
  double sum = 0;
  int64_t count = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    if (!std::isfinite(x[i]) || !std::isfinite(exact[i])) continue;
    const double error = std::abs(x[i] - exact[i]);
    d.max_error = std::max(d.max_error, error);
    sum += error * error;
    ++count;
  }
  d.rmse = count ? std::sqrt(sum / static_cast<double>(count)) : 0;
  return d;
}

/// Every element must be one of the yardstick's, or of the `other`'s where there is one.
void judge_exactly(OutputVerdict& v, const RawTensor& mica, const RawTensor& eager, const RawTensor* other) {
  const auto size = static_cast<size_t>(size_of(v.type.dtype));
  int64_t first = -1;
  for (size_t i = 0; i < static_cast<size_t>(v.elements); ++i) {
    const auto equals = [&](const RawTensor& t) { return std::memcmp(mica.bytes.data() + i * size, t.bytes.data() + i * size, size) == 0; };
    if (equals(eager) || (other && equals(*other))) continue;
    if (first < 0) first = static_cast<int64_t>(i);
    ++v.wrong;
  }
  v.mica = deviation(as_doubles(mica), as_doubles(eager));
  v.pass = v.wrong == 0;
  if (!v.pass) v.reason = fmt::format("{} of {} elements differ from eager's, the first at {}", v.wrong, v.elements, first);
}

}  // namespace

double unit_roundoff(DType dtype) {
  switch (dtype) {
    case DType::f64: return 0x1p-53;
    case DType::f32: return 0x1p-24;
    case DType::f16: return 0x1p-11;
    case DType::bf16: return 0x1p-8;
    default: return 0;
  }
}

OutputVerdict judge_output(const std::string& name, const RawTensor& mica, const RawTensor& given, const RawTensor& exact, bool winograd,
                           const std::optional<Precision>& precision) {
  const bool lowered = precision && mica.type.dtype == precision->wide;
  const RawTensor eager = lowered && given.type.dtype == precision->narrow ? convert(given, precision->wide) : given;
  OutputVerdict v;
  v.name = name;
  v.type = mica.type;
  if (mica.type.shape.sizes() != eager.type.shape.sizes() || mica.type.dtype != eager.type.dtype ||
      exact.type.shape.sizes() != mica.type.shape.sizes()) {
    v.reason = fmt::format("it is {}, but eager gives {}", mica.type.to_string(), eager.type.to_string());
    return v;
  }
  v.elements = mica.type.shape.elements();
  if (!is_float(mica.type.dtype)) {
    judge_exactly(v, mica, eager, precision && exact.type.dtype == mica.type.dtype ? &exact : nullptr);
    return v;
  }
  const std::vector<double> got = as_doubles(mica), yardstick = as_doubles(eager), truth = as_doubles(exact);
  double sum = 0;
  int64_t finite = 0, first = -1;
  for (size_t i = 0; i < truth.size(); ++i) {
    const Class c = classify(got[i]);
    if (c != classify(truth[i]) && c != classify(yardstick[i])) {
      if (first < 0) first = static_cast<int64_t>(i);
      ++v.wrong;
    }
    if (std::isfinite(truth[i])) sum += truth[i] * truth[i], ++finite;
  }
  v.rms = finite ? std::sqrt(sum / static_cast<double>(finite)) : 0;
  v.mica = deviation(got, truth);
  v.eager = deviation(yardstick, truth);
  const DType working = lowered ? precision->narrow : v.type.dtype;
  v.factor = winograd ? 8 : (size_of(working) == 2 || v.elements < 1000) ? 3 : 2;
  v.limit = v.factor * v.eager.rmse + 4 * unit_roundoff(working) * v.rms;
  if (v.wrong) {
    v.reason = fmt::format("{} of {} elements are NaN or infinite where PyTorch's are not, or the reverse; the first at {}: {} instead of {}",
                           v.wrong, v.elements, first, got[static_cast<size_t>(first)], truth[static_cast<size_t>(first)]);
  } else if (!(v.mica.rmse <= v.limit)) {
    v.reason = fmt::format("rmse {:.3g} is above the limit {:.3g} = {} * eager's {:.3g} + 4u * rms {:.3g}", v.mica.rmse, v.limit, v.factor,
                           v.eager.rmse, v.rms);
  }
  v.pass = v.reason.empty();
  return v;
}

}  // namespace mica
