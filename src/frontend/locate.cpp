#include "locate.h"

namespace mica::frontend {
namespace {

using torch::jit::SourceRange;

std::string printable(std::string text) {
  for (char& c : text) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = ' ';
  }
  return text;
}

/// "site-packages/torch/nn/modules/conv.py" says as much as the whole path and does not depend on where Python is installed.
std::string shorten(const std::string& file) {
  for (const char* root : {"site-packages/", "dist-packages/"}) {
    if (const size_t at = file.rfind(root); at != std::string::npos) return file.substr(at + std::string_view(root).size());
  }
  return file;
}

}  // namespace

Location locate(const torch::jit::Node& node, const std::string& module_path) {
  Location where;
  where.module_path = module_path;
  SourceRange range = node.sourceRange();
  if (const auto original = range.findSourceRangeThatGenerated()) range = *original;
  const auto place = range.file_line_col();
  if (!place) return where;
  where.file = printable(shorten(std::get<0>(*place)));
  where.line = static_cast<int>(std::get<1>(*place));
  const auto& source = range.source();
  const std::string text = source->text_str().str();
  // A trace records "file(line): function" for each frame instead of source text.
  if (text.find("): ") != std::string::npos && text.find(std::get<0>(*place) + "(") != std::string::npos) return where;
  const size_t line = source->lineno_for_offset(range.start());
  std::string code = source->get_line(line).str();
  while (!code.empty() && (code.back() == '\n' || code.back() == '\r')) code.pop_back();
  if (code.size() > 400) return where;
  const size_t column = range.start() - source->offset_for_line(line);
  const size_t length = range.end() > range.start() ? range.end() - range.start() : 1;
  where.column = static_cast<int>(column) + 1;
  where.source = printable(code);
  where.length = static_cast<int>(std::min(length, column < code.size() ? code.size() - column : size_t{1}));
  return where;
}

}  // namespace mica::frontend
