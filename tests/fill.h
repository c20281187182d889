#pragma once
// Programs of tests are written as text with {names} in it.
#include <string>
#include <string_view>

namespace mica {

/// `text` with every "{name}" replaced by what value_of(name) gives.
template <class F> std::string fill(std::string_view text, F&& value_of) {
  std::string out;
  while (!text.empty()) {
    const size_t open = text.find('{');
    out += text.substr(0, open);
    if (open == std::string_view::npos) break;
    const size_t close = text.find('}', open);
    out += value_of(text.substr(open + 1, close - open - 1));
    text.remove_prefix(close + 1);
  }
  return out;
}

}  // namespace mica
