#include "command.h"

#include <unistd.h>

#include <algorithm>

namespace mica::cli {

CLI::Option* add_repeated(CLI::App& app, const std::string& flags, std::vector<std::string>& values) {
  return app.add_option(flags, values)->take_all()->allow_extra_args(false);
}

std::vector<std::string> split_list(const std::vector<std::string>& texts) {
  std::vector<std::string> items;
  for (std::string_view text : texts) {
    while (!text.empty()) {
      const size_t comma = std::min(text.find(','), text.size());
      if (comma) items.emplace_back(text.substr(0, comma));
      text.remove_prefix(std::min(comma + 1, text.size()));
    }
  }
  return items;
}

bool require(const std::string& value, std::string_view what, std::string_view usage, Diagnostics& diagnostics) {
  if (!value.empty()) return true;
  diagnostics.error("missing-argument", "{} is missing", what).help(fmt::format("usage: {}", usage));
  return false;
}

Progress::Progress(bool wanted) : active_(wanted && ::isatty(STDERR_FILENO)) {}

void Progress::show(std::string_view text) {
  if (!active_) return;
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start_;
  fmt::print(stderr, "\r\x1b[K{} [{:.0f} s]", text, seconds.count());
  std::fflush(stderr);
  shown_ = true;
}

void Progress::clear() {
  if (!shown_) return;
  fmt::print(stderr, "\r\x1b[K");
  std::fflush(stderr);
  shown_ = false;
}

std::string format_table(const std::vector<std::vector<std::string>>& rows, const std::vector<size_t>& right) {
  std::vector<size_t> widths;
  for (const auto& row : rows) {
    widths.resize(std::max(widths.size(), row.size()));
    for (size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], row[i].size());
  }
  std::string text;
  for (const auto& row : rows) {
    std::string line;
    for (size_t i = 0; i < row.size(); ++i) {
      const bool to_right = std::find(right.begin(), right.end(), i) != right.end();
      line +=
          fmt::format("{}{:{}}", i ? "  " : "", fmt::format("{}{}", to_right ? std::string(widths[i] - row[i].size(), ' ') : "", row[i]), widths[i]);
    }
    line.erase(line.find_last_not_of(' ') + 1);
    text += line + "\n";
  }
  return text;
}

}  // namespace mica::cli
