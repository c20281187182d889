#pragma once
#include <fmt/format.h>

#include <string>
#include <vector>

#include "mica/support/location.h"
#include "mica/support/result.h"

namespace mica {

enum class Severity : uint8_t { error, warning, note };

/// Which of the three classes an error belongs to; it decides the exit code (design: 1 user, 3 unsupported, 6 environment).
enum class ErrorClass : uint8_t { user, unsupported, environment };

/// One message: what is wrong, its stable name, where, and a way out.
struct Diagnostic {
  Severity severity = Severity::error;
  ErrorClass error_class = ErrorClass::user;
  std::string name;                ///< kebab-case, stable: "conv-channel-mismatch"
  std::string message;             ///< one sentence, lower case, no full stop
  Location location;               ///< may be unknown
  std::string label;               ///< stands behind the carets under the source line
  std::vector<std::string> notes;  ///< facts that explain
  std::vector<std::string> helps;  ///< ways out

  Diagnostic& at(Location where, std::string label_text = {});
  Diagnostic& note(std::string text);
  Diagnostic& help(std::string text);
  /// The form of design.md §9, several lines, ending in a newline.
  std::string to_string() const;
};

/// Collects what a phase has to say. Errors accumulate; the phase's end stops.
class Diagnostics {
 public:
  /// Reports an error of the user's; the returned reference takes `.at(...)`, `.note(...)`, `.help(...)` (valid until the next report).
  template <class... A> Diagnostic& error(std::string_view name, fmt::format_string<A...> format, A&&... args) {
    return add(Severity::error, ErrorClass::user, name, fmt::format(format, std::forward<A>(args)...));
  }
  /// Reports something that Mica does not support.
  template <class... A> Diagnostic& unsupported(std::string_view name, fmt::format_string<A...> format, A&&... args) {
    return add(Severity::error, ErrorClass::unsupported, name, fmt::format(format, std::forward<A>(args)...));
  }
  /// Reports a missing tool, file system trouble or device.
  template <class... A> Diagnostic& environment(std::string_view name, fmt::format_string<A...> format, A&&... args) {
    return add(Severity::error, ErrorClass::environment, name, fmt::format(format, std::forward<A>(args)...));
  }
  template <class... A> Diagnostic& warning(std::string_view name, fmt::format_string<A...> format, A&&... args) {
    return add(Severity::warning, ErrorClass::user, name, fmt::format(format, std::forward<A>(args)...));
  }
  template <class... A> Diagnostic& note(std::string_view name, fmt::format_string<A...> format, A&&... args) {
    return add(Severity::note, ErrorClass::user, name, fmt::format(format, std::forward<A>(args)...));
  }

  Diagnostic& add(Severity severity, ErrorClass error_class, std::string_view name, std::string message);
  bool has_errors() const { return errors_ != 0; }
  size_t error_count() const { return errors_; }
  const std::vector<Diagnostic>& all() const { return all_; }
  /// Exit code of design.md §9 that the errors call for: 0 none, 1 user, 3 unsupported, 6 environment.
  int exit_code() const;
  std::string to_string() const;
  void clear();

 private:
  std::vector<Diagnostic> all_;
  size_t errors_ = 0;
};

}  // namespace mica
