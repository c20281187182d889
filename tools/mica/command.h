#pragma once
// What the subcommands share. One file a subcommand: it declares its flags to CLI11 and returns what to do once they are read.
#include <CLI/CLI.hpp>
#include <chrono>
#include <functional>
#include <string>

#include "mica/support/diagnostic.h"

namespace mica::cli {

/// The work of a command; its exit code, 0 when the diagnostics decide.
using Action = std::function<int(Diagnostics&)>;

struct Command {
  const char* name;
  const char* summary;  ///< one line, for `mica --help`
  const char* help;     ///< all of `mica NAME --help`
  Action (*declare)(CLI::App& app);
};
extern const Command compile_command, run_command, verify_command, bench_command, analyze_command, inspect_command, check_command, opt_command,
    version_command;

/// Adds an option that may be given several times, one value each: `--input a --input b`.
CLI::Option* add_repeated(CLI::App& app, const std::string& flags, std::vector<std::string>& values);
/// Splits at commas.
std::vector<std::string> split_list(const std::vector<std::string>& texts);
/// Reports a positional argument that is missing; true when it is there.
bool require(const std::string& value, std::string_view what, std::string_view usage, Diagnostics& diagnostics);

/// One line on a terminal's stderr that is written over and over, and is gone at the end; nothing elsewhere.
class Progress {
 public:
  explicit Progress(bool wanted);
  ~Progress() { clear(); }
  void show(std::string_view text);
  void clear();

 private:
  bool active_ = false, shown_ = false;
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

/// Columns aligned, two spaces between them; those in `right` to the right.
std::string format_table(const std::vector<std::vector<std::string>>& rows, const std::vector<size_t>& right);

/// The usage error of the exit codes.
constexpr int exit_usage = 2, exit_accuracy = 4, exit_bug = 70;

}  // namespace mica::cli
