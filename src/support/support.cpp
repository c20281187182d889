#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <utility>

#include "mica/support/check.h"
#include "mica/support/defect.h"
#include "mica/support/diagnostic.h"
#include "mica/support/dtype.h"

namespace mica {

void check_failed(const char* file, int line, const char* condition, std::string_view message) {
  fmt::print(stderr, "mica: internal error at {}:{}: {} does not hold{}{}\n", file, line, condition, message.empty() ? "" : ": ", message);
  fmt::print(stderr, "  = help: this is a bug of Mica's; please report it with the command line and, if you can, the model\n");
  std::fflush(stderr);
  _exit(70);
}

std::string Location::to_string() const {
  std::string text = file;
  if (line) text += fmt::format(":{}", line);
  if (line && column) text += fmt::format(":{}", column);
  if (!module_path.empty()) text += (text.empty() ? "in " : ", in ") + module_path;
  return text;
}

Diagnostic& Diagnostic::at(Location where, std::string label_text) {
  location = std::move(where);
  label = std::move(label_text);
  return *this;
}
Diagnostic& Diagnostic::note(std::string text) {
  notes.push_back(std::move(text));
  return *this;
}
Diagnostic& Diagnostic::help(std::string text) {
  helps.push_back(std::move(text));
  return *this;
}

std::string Diagnostic::to_string() const {
  constexpr std::string_view severities[] = {"error", "warning", "note"};
  std::string text = fmt::format("{}: {} [{}]\n", severities[static_cast<int>(severity)], message, name);
  if (location.known()) text += fmt::format("  --> {}\n", location.to_string());
  if (!location.source.empty()) {
    const std::string number = fmt::format("{}", location.line);
    const std::string pad(number.size() + 1, ' ');
    const size_t start = location.source.find_first_not_of(' ');
    text += fmt::format("{}|\n{} | {}\n{}| {}{} {}\n", pad, number, location.source, pad,
                        std::string(location.column > 0 ? location.column - 1 : (start == std::string::npos ? 0 : start), ' '),
                        std::string(std::max(location.length, 1), '^'), label);
  } else if (!label.empty()) {
    text += fmt::format("   = note: {}\n", label);
  }
  for (const std::string& n : notes) text += fmt::format("   = note: {}\n", n);
  for (const std::string& h : helps) text += fmt::format("   = help: {}\n", h);
  return text;
}

Diagnostic& Diagnostics::add(Severity severity, ErrorClass error_class, std::string_view name, std::string message) {
  if (severity == Severity::error) ++errors_;
  Diagnostic d;
  d.severity = severity;
  d.error_class = error_class;
  d.name = std::string(name);
  d.message = std::move(message);
  return all_.emplace_back(std::move(d));
}

int Diagnostics::exit_code() const {
  int code = 0;
  for (const Diagnostic& d : all_) {
    if (d.severity != Severity::error) continue;
    const int own = d.error_class == ErrorClass::user ? 1 : d.error_class == ErrorClass::unsupported ? 3 : 6;
    code = std::max(code, own);
  }
  return code;
}

std::string Diagnostics::to_string() const {
  std::string text;
  for (const Diagnostic& d : all_) text += d.to_string();
  return text;
}

void Diagnostics::clear() {
  all_.clear();
  errors_ = 0;
}

std::optional<DType> parse_dtype(std::string_view text) {
  if (text.starts_with("torch.")) text.remove_prefix(6);
  constexpr std::pair<std::string_view, DType> names[] = {
      {"f64", DType::f64},   {"float64", DType::f64}, {"double", DType::f64}, {"f32", DType::f32},   {"float32", DType::f32},   {"float", DType::f32},
      {"f16", DType::f16},   {"float16", DType::f16}, {"half", DType::f16},   {"bf16", DType::bf16}, {"bfloat16", DType::bf16}, {"i64", DType::i64},
      {"int64", DType::i64}, {"long", DType::i64},    {"i32", DType::i32},    {"int32", DType::i32}, {"int", DType::i32},       {"i16", DType::i16},
      {"int16", DType::i16}, {"short", DType::i16},   {"i8", DType::i8},      {"int8", DType::i8},   {"char", DType::i8},       {"u8", DType::u8},
      {"uint8", DType::u8},  {"byte", DType::u8},     {"bool", DType::b8},    {"b8", DType::b8},
  };
  for (const auto& [name, dtype] : names) {
    if (name == text) return dtype;
  }
  return std::nullopt;
}

DType promote(DType a, DType b) {
  if (a == b) return a;
  if (is_float(a) && is_float(b)) return (a == DType::f64 || b == DType::f64) ? DType::f64 : DType::f32;  // f16 + bf16 => f32
  if (is_float(a)) return a;
  if (is_float(b)) return b;
  if (is_bool(a)) return b;
  if (is_bool(b)) return a;
  if (a == DType::u8 || b == DType::u8) {
    const DType other = a == DType::u8 ? b : a;
    if (defect(Defect::promotion_pair) && other == DType::i32) return DType::u8;
    return other == DType::i8 ? DType::i16 : other;
  }
  return size_of(a) >= size_of(b) ? a : b;
}

}  // namespace mica
