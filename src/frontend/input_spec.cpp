// `--input [NAME:]SHAPE[:DTYPE]` and `--input NAME=NUMBER`.
#include <charconv>
#include <limits>

#include "mica/frontend/torchscript.h"

namespace mica {
namespace {

constexpr std::string_view forms = "write [NAME:]SHAPE[:DTYPE], as in x:1x3x224x224:f32, 1x128:i64 or x:scalar:f32; or NAME=NUMBER, as in sr=16000";

Failure complain(const std::string& text, std::string why, Diagnostics& diagnostics) {
  diagnostics.error("input-spec", "--input {}: {}", text, why).help(std::string(forms));
  return {};
}

std::vector<std::string_view> split(std::string_view text, char at) {
  std::vector<std::string_view> parts;
  while (true) {
    const size_t end = text.find(at);
    parts.push_back(text.substr(0, end));
    if (end == std::string_view::npos) return parts;
    text.remove_prefix(end + 1);
  }
}

/// "1x3x224x224" or "scalar"; none when `text` is not a shape.
std::optional<std::vector<int64_t>> parse_shape(std::string_view text) {
  if (text == "scalar") return std::vector<int64_t>{};
  std::vector<int64_t> sizes;
  for (const std::string_view part : split(text, 'x')) {
    int64_t size = 0;
    const auto [end, error] = std::from_chars(part.data(), part.data() + part.size(), size);
    if (part.empty() || error != std::errc() || end != part.data() + part.size() || size < 0) return std::nullopt;
    sizes.push_back(size);
  }
  return sizes;
}

std::optional<Scalar> parse_number(std::string_view text) {
  if (text == "True" || text == "true") return Scalar(true);
  if (text == "False" || text == "false") return Scalar(false);
  int64_t whole = 0;
  const char* last = text.data() + text.size();
  if (const auto [end, error] = std::from_chars(text.data(), last, whole); error == std::errc() && end == last) return Scalar(whole);
  double real = 0;
  if (const auto [end, error] = std::from_chars(text.data(), last, real); error == std::errc() && end == last) return Scalar(real);
  return std::nullopt;
}

bool fits(const std::vector<int64_t>& sizes) {
  int64_t elements = 1;
  for (const int64_t size : sizes) {
    if (size && elements > (int64_t{1} << 40) / size) return false;
    elements *= size ? size : 1;
  }
  return true;
}

}  // namespace

Result<InputSpec> parse_input_spec(const std::string& text, Diagnostics& diagnostics) {
  InputSpec spec;
  spec.text = text;
  if (text.empty()) return complain("''", "it is empty", diagnostics);
  if (const size_t equals = text.find('='); equals != std::string::npos) {
    spec.name = text.substr(0, equals);
    spec.number = parse_number(std::string_view(text).substr(equals + 1));
    if (spec.name.empty()) return complain(text, "there is no name before '='", diagnostics);
    if (!spec.number) return complain(text, fmt::format("'{}' is not a number", text.substr(equals + 1)), diagnostics);
    return spec;
  }
  std::vector<std::string_view> parts = split(text, ':');
  if (parts.size() > 3) return complain(text, "there are too many ':'", diagnostics);
  // A dtype stands last and a shape before it; what is left in front is the name.
  if (parts.size() > 1) {
    if (!parse_shape(parts.back())) {
      spec.dtype = parse_dtype(parts.back());
      if (!spec.dtype) return complain(text, fmt::format("'{}' is neither a shape nor a dtype", parts.back()), diagnostics);
      parts.pop_back();
    }
  }
  const auto sizes = parse_shape(parts.back());
  if (!sizes) return complain(text, fmt::format("'{}' is not a shape", parts.back()), diagnostics);
  if (!fits(*sizes)) return complain(text, "the tensor would have more than 2^40 elements", diagnostics);
  spec.shape = Shape(*sizes);
  parts.pop_back();
  if (parts.size() > 1) return complain(text, "there is more than one name", diagnostics);
  if (!parts.empty()) spec.name = std::string(parts[0]);
  return spec;
}

}  // namespace mica
