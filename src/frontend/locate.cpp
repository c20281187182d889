#include "locate.h"

#include <charconv>

namespace mica::frontend {
namespace {

using torch::jit::Node;
using torch::jit::SourceRange;

std::string printable(std::string text) {
  for (char& c : text) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = ' ';
  }
  return text;
}

/// "torch/nn/modules/conv.py" says as much as the whole path and does not depend on where Python is installed.
std::string shorten(const std::string& file) {
  for (const std::string_view root : {"site-packages/", "dist-packages/"}) {
    if (const size_t at = file.rfind(root); at != std::string::npos) return file.substr(at + root.size());
  }
  return file;
}

bool in_pytorch(const std::string& file) { return file.starts_with("torch/") || file.starts_with("<"); }

/// A trace records its Python stack as text, innermost first: "file(line): function" on each line.
bool from_stack(const std::string& text, Location& where) {
  bool any = false;
  for (size_t at = 0; at < text.size();) {
    const size_t end = std::min(text.find('\n', at), text.size());
    const std::string line = text.substr(at, end - at);
    at = end + 1;
    const size_t close = line.rfind("): "), open = close == std::string::npos ? close : line.rfind('(', close);
    if (open == std::string::npos) return any;
    int number = 0;
    if (std::from_chars(line.data() + open + 1, line.data() + close, number).ptr != line.data() + close) return any;
    const std::string file = shorten(line.substr(0, open));
    if (any && in_pytorch(file)) continue;
    if (any && line.ends_with("<module>")) return any;  // the script that saved the model says less than the model does
    where.file = printable(file);
    where.line = number;
    any = true;
    if (!in_pytorch(file)) return true;
  }
  return any;
}

Location locate_one(const Node& node) try {
  Location where;
  SourceRange range = node.sourceRange();
  if (const auto original = range.findSourceRangeThatGenerated()) range = *original;
  const auto place = range.file_line_col();
  if (!place) return where;
  where.file = printable(shorten(std::get<0>(*place)));
  where.line = static_cast<int>(std::get<1>(*place));
  const auto& source = range.source();
  if (from_stack(source->text_str().str(), where)) return where;
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
} catch (const std::exception&) {  // a damaged debug record: the model may be sound
  return {};
}

}  // namespace

Location locate(const Node& node, const std::string& module_path, const std::vector<const Node*>& callers) {
  Location where = locate_one(node);
  for (size_t i = callers.size(); i-- > 0 && in_pytorch(where.file);) {
    const Location caller = locate_one(*callers[i]);
    if (!caller.file.empty() && !in_pytorch(caller.file)) where = caller;
  }
  where.module_path = module_path;
  return where;
}

}  // namespace mica::frontend
