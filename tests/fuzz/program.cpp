#include "program.h"

#include <algorithm>
#include <cstring>
#include <set>
#include <sstream>

#include "mica/driver/tensor_file.h"

namespace mica::fuzz {

namespace {

bool is_word(char c) { return std::isalnum(static_cast<unsigned char>(c)) || c == '_'; }

/// x0, w12, v3
bool is_variable(std::string_view word, std::string_view letters = "xwv") {
  return word.size() > 1 && letters.find(word[0]) != std::string_view::npos &&
         std::all_of(word.begin() + 1, word.end(), [](char c) { return std::isdigit(static_cast<unsigned char>(c)); });
}

/// Calls `f(word, start)` for every variable in the line, except those behind a dot.
template <class F> void for_variables(std::string_view line, std::string_view letters, F f) {
  for (size_t i = 0; i < line.size();) {
    if (!is_word(line[i])) {
      ++i;
      continue;
    }
    size_t end = i;
    while (end < line.size() && is_word(line[end])) ++end;
    const std::string_view word = line.substr(i, end - i);
    if (is_variable(word, letters) && (i == 0 || line[i - 1] != '.')) f(std::string(word), i);
    i = end;
  }
}

/// Where the names that a line assigns end: "v0, v1 = f(v2)" => 7; 0 when it assigns none.
size_t assigned_end(std::string_view line) {
  const size_t at = line.find(" = ");
  if (at == std::string_view::npos) return 0;
  const std::string_view left = line.substr(0, at);
  return left.find_first_not_of(" ,xwvt0123456789") == std::string_view::npos ? at : 0;
}

/// As the body of a function.
std::string indented(const std::string& text) {
  std::string out;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) out += "  " + line + "\n";
  return out;
}

std::string element_text(const RawTensor& wide, size_t i, bool real) {
  if (!real) {
    int64_t n = 0;
    std::memcpy(&n, wide.bytes.data() + i * 8, 8);
    return fmt::format("{}", n);
  }
  double d = 0;
  std::memcpy(&d, wide.bytes.data() + i * 8, 8);
  return fmt::format("{}", d);
}

std::optional<Leaf> parse_leaf(const std::string& line) {
  const size_t colon = line.find(": "), open = line.find('['), close = line.find(']'), equal = line.find(" =");
  if (colon == std::string::npos || open == std::string::npos || close == std::string::npos || equal == std::string::npos) return std::nullopt;
  Leaf leaf;
  leaf.name = line.substr(2, colon - 2);
  const auto dtype = parse_dtype(line.substr(colon + 2, open - colon - 2));
  if (!is_variable(leaf.name) || !dtype) return std::nullopt;
  std::vector<int64_t> sizes;
  std::istringstream dims(line.substr(open + 1, close - open - 1));
  for (std::string dim; std::getline(dims, dim, ',');) sizes.push_back(std::stoll(dim));
  const bool real = is_float(*dtype);
  RawTensor wide{{real ? DType::f64 : DType::i64, Shape(sizes), {}}, {}};
  std::istringstream values(line.substr(equal + 2));
  for (std::string word; values >> word;) {
    const double d = real ? std::stod(word) : 0;
    const int64_t n = real ? 0 : std::stoll(word);
    const auto* bytes = real ? reinterpret_cast<const std::byte*>(&d) : reinterpret_cast<const std::byte*>(&n);
    wide.bytes.insert(wide.bytes.end(), bytes, bytes + 8);
  }
  if (static_cast<int64_t>(wide.bytes.size()) != 8 * wide.type.shape.elements()) return std::nullopt;
  leaf.value = convert(wide, *dtype);
  return leaf;
}

}  // namespace

void find_variables(Statement& s, bool inside_block) {
  const std::string_view letters = inside_block ? "xwvt" : "xwv";
  s.reads.clear();
  s.defines.clear();
  const auto add = [](std::vector<std::string>& list, const std::string& name) {
    if (std::find(list.begin(), list.end(), name) == list.end()) list.push_back(name);
  };
  std::istringstream lines(s.text);
  for (std::string line; std::getline(lines, line);) {
    const size_t end = assigned_end(line);
    for_variables(line, letters, [&](const std::string& name, size_t at) {
      // What the statement made before is no reading.
      if (at >= end && std::find(s.defines.begin(), s.defines.end(), name) == s.defines.end()) add(s.reads, name);
    });
    for_variables(line, letters, [&](const std::string& name, size_t at) {
      if (at < end) add(s.defines, name);
    });
  }
}

std::string Program::source() const {
  std::string out = "def forward(self";
  for (const Leaf& leaf : leaves)
    if (!leaf.parameter()) out += ", " + leaf.name;
  out += "):\n";
  for (const Leaf& leaf : leaves)
    if (leaf.parameter()) out += fmt::format("  {0} = self.{0}\n", leaf.name);
  for (const Statement& s : statements) out += indented(s.text);
  out += "  return ";
  for (size_t i = 0; i < outputs.size(); ++i) out += (i ? ", " : "") + outputs[i];
  return out + "\n";
}

ScriptModule Program::module() const {
  ScriptModule m;
  m.source = source();
  for (const Leaf& leaf : leaves)
    if (leaf.parameter()) m.parameters.emplace_back(leaf.name, leaf.value);
  return m;
}

LoadOptions Program::load_options() const {
  LoadOptions options;
  for (const Leaf& leaf : leaves)
    if (!leaf.parameter()) options.inputs.push_back({leaf.name, leaf.value.type.shape, leaf.value.type.dtype, std::nullopt, leaf.name});
  return options;
}

std::vector<RawTensor> Program::inputs() const {
  std::vector<RawTensor> values;
  for (const Leaf& leaf : leaves)
    if (!leaf.parameter()) values.push_back(leaf.value);
  return values;
}

std::string leaf_text(const Leaf& leaf) {
  const bool real = is_float(leaf.value.type.dtype);
  const RawTensor wide = convert(leaf.value, real ? DType::f64 : DType::i64);
  std::string out = leaf.value.type.to_string() + " =";
  for (size_t i = 0; i < wide.bytes.size() / 8; ++i) out += " " + element_text(wide, i, real);
  return out;
}

std::string case_text(const Program& program, const std::string& comment) {
  std::string out;
  std::istringstream lines(comment);
  for (std::string line; std::getline(lines, line);) out += "# " + line + "\n";
  if (program.whole) out += "# whole\n";
  if (program.special) out += "# special\n";
  for (const Leaf& leaf : program.leaves) out += fmt::format("# {}: {}\n", leaf.name, leaf_text(leaf));
  return out + program.source();
}

std::optional<Program> parse_case(const std::string& text) {
  Program p;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    if (line == "# whole") p.whole = true;
    if (line == "# special") p.special = true;
    if (line.starts_with("# "))
      if (auto leaf = parse_leaf(line)) p.leaves.push_back(std::move(*leaf));
    if (!line.starts_with("  ") || line.find(" = self.") != std::string::npos) continue;
    if (line.starts_with("  return ")) {
      std::istringstream names(line.substr(9));
      for (std::string name; std::getline(names, name, ',');) p.outputs.push_back(name.substr(name.find_first_not_of(' ')));
    } else if (const std::string body = line.substr(2); body.starts_with(' ') || body.starts_with("else") || body.starts_with("elif")) {
      if (p.statements.empty()) return std::nullopt;
      p.statements.back().text += "\n" + body;
    } else {
      p.statements.push_back({.text = body, .flags = 0, .reads = {}, .defines = {}, .op = {}});
    }
  }
  for (Statement& s : p.statements) find_variables(s);
  if (p.outputs.empty()) return std::nullopt;
  return p;
}

}  // namespace mica::fuzz
