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
bool is_variable(std::string_view word, std::string_view letters = "xwsv") {
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
  return left.find_first_not_of(" ,xwsvt0123456789") == std::string_view::npos ? at : 0;
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
  const std::string_view letters = inside_block ? "xwsvt" : "xwsv";
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

namespace {

std::string joined(const std::vector<std::string>& names) {
  std::string out;
  for (const std::string& name : names) out += (out.empty() ? "" : ", ") + name;
  return out;
}

/// A method: what it is handed, what of the module it reads, its lines, what it returns.
std::string method_text(const std::string& name, std::vector<std::string> handed, const std::vector<std::string>& own, const std::string& body,
                        const std::vector<std::string>& results) {
  handed.insert(handed.begin(), "self");
  std::string out = fmt::format("def {}({}):\n", name, joined(handed));
  for (const std::string& leaf : own) out += fmt::format("  {0} = self.{0}\n", leaf);
  out += body;
  return results.empty() ? out : out + "  return " + joined(results) + "\n";
}

/// Turns statements of one group into a call.
class Grouped {
 public:
  explicit Grouped(const Program& program) : program_(program) {}

  ScriptModule module() {
    std::string body, methods;
    for (size_t i = 0; i < program_.statements.size();) {
      const int group = program_.statements[i].group;
      size_t end = i + 1;
      while (group >= 0 && end < program_.statements.size() && program_.statements[end].group == group) ++end;
      body += indented(group < 0 ? program_.statements[i].text : call(i, end, methods));
      i = end;
    }
    std::vector<std::string> inputs, own;
    for (const Leaf& leaf : program_.leaves) {
      if (!leaf.parameter()) inputs.push_back(leaf.name);
      else if (!moved_.count(leaf.name)) own.push_back(leaf.name), module_.parameters.emplace_back(leaf.name, leaf.value);
    }
    module_.source = methods + method_text("forward", inputs, own, body, program_.outputs);
    return std::move(module_);
  }

 private:
  bool used_outside(const std::string& name, size_t first, size_t end) const {
    const auto reads = [&](const Statement& s) { return std::ranges::find(s.reads, name) != s.reads.end(); };
    for (size_t i = 0; i < program_.statements.size(); ++i)
      if ((i < first || i >= end) && reads(program_.statements[i])) return true;
    return std::ranges::find(program_.outputs, name) != program_.outputs.end();
  }

  std::string call(size_t first, size_t end, std::string& methods) {
    std::vector<std::string> handed, own, results;
    std::set<std::string> seen, made;
    std::string body;
    const bool child = program_.statements[first].group % 2;
    ScriptModule part;
    for (size_t i = first; i < end; ++i) {
      const Statement& s = program_.statements[i];
      for (const std::string& name : s.reads) {
        if (made.count(name) || !seen.insert(name).second) continue;
        const auto leaf = std::ranges::find(program_.leaves, name, &Leaf::name);
        // A parameter that nobody else reads is the submodule's.
        if (child && leaf != program_.leaves.end() && leaf->parameter() && !used_outside(name, first, end))
          own.push_back(name), moved_.insert(name), part.parameters.emplace_back(name, leaf->value);
        else handed.push_back(name);
      }
      made.insert(s.defines.begin(), s.defines.end());
      body += indented(s.text);
    }
    for (const std::string& name : made)
      if (used_outside(name, first, end)) results.push_back(name);
    const std::string name = fmt::format("m{}", program_.statements[first].group);
    part.source = method_text(child ? "forward" : name, handed, own, body, results);
    if (child) module_.children.emplace_back(name, std::move(part));
    else methods += part.source;
    return fmt::format("{}{}self.{}{}({})", joined(results), results.empty() ? "" : " = ", name, child ? ".forward" : "", joined(handed));
  }

  const Program& program_;
  ScriptModule module_;
  std::set<std::string> moved_;  ///< leaves that submodules have
};

}  // namespace

std::string Program::source() const {
  std::vector<std::string> inputs, own;
  for (const Leaf& leaf : leaves) (leaf.parameter() ? own : inputs).push_back(leaf.name);
  std::string body;
  for (const Statement& s : statements) body += indented(s.text);
  return method_text("forward", inputs, own, body, outputs);
}

ScriptModule Program::module() const { return Grouped(*this).module(); }

bool Program::stateful() const {
  return std::ranges::any_of(leaves, [](const Leaf& l) { return l.state(); });
}

LoadOptions Program::load_options() const {
  LoadOptions options;
  for (const Leaf& leaf : leaves)
    if (!leaf.parameter()) options.inputs.push_back({leaf.name, leaf.value.type.shape, leaf.value.type.dtype, std::nullopt, leaf.name});
  return options;
}

LoadOptions Program::symbolic_options() const {
  LoadOptions options = load_options();
  for (InputSpec& input : options.inputs) {
    const auto found = symbols.find(input.name);
    if (found == symbols.end()) continue;
    input.symbols = found->second;
    for (size_t axis = 0; axis < input.symbols.size(); ++axis) {
      if (input.symbols[axis] == "-") {
        input.symbols[axis].clear();
        continue;
      }
      auto symbol = std::ranges::find(options.symbols, input.symbols[axis], &Symbol::name);
      if (symbol == options.symbols.end()) symbol = options.symbols.insert(symbol, {input.symbols[axis], int64_t{1} << 32, 1, {}});
      for (size_t run = 0; run < runs(); ++run) {
        const Leaf& leaf = *std::ranges::find(leaves, input.name, &Leaf::name);
        const RawTensor& value = run ? more_runs[run - 1].at(input.name) : leaf.value;
        const int64_t size = value.type.shape[static_cast<int64_t>(axis)].size();
        symbol->low = std::min(symbol->low, size);
        symbol->high = std::max(symbol->high, size);
      }
    }
  }
  return options;
}

std::vector<RawTensor> Program::inputs(size_t run) const {
  std::vector<RawTensor> values;
  for (const Leaf& leaf : leaves)
    if (!leaf.parameter()) values.push_back(run ? more_runs[run - 1].at(leaf.name) : leaf.value);
  return values;
}

Program Program::first_run() const {
  Program p = *this;
  p.more_runs.clear();
  p.symbols.clear();
  return p;
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
  for (const auto& [name, axes] : program.symbols) out += fmt::format("# symbols of {}: {}\n", name, fmt::join(axes, " "));
  for (const Run& run : program.more_runs) {
    out += "# then\n";
    for (const auto& [name, value] : run) out += fmt::format("# {}: {}\n", name, leaf_text({name, value}));
  }
  if (std::ranges::any_of(program.statements, [](const Statement& s) { return s.group >= 0; })) {
    out += "# groups:";
    for (const Statement& s : program.statements) out += fmt::format(" {}", s.group);
    out += "\n";
  }
  return out + program.source();
}

namespace {
/// "# symbols of x0: - A"
void read_symbols(const std::string& line, Program& p) {
  const size_t colon = line.find(':');
  std::vector<std::string>& axes = p.symbols[line.substr(13, colon - 13)];
  std::istringstream list(line.substr(colon + 1));
  for (std::string axis; list >> axis;) axes.push_back(axis);
}
}  // namespace

std::optional<Program> parse_case(const std::string& text) {
  Program p;
  std::string groups;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    if (line == "# whole") p.whole = true;
    if (line == "# special") p.special = true;
    if (line == "# then") p.more_runs.emplace_back();
    if (line.starts_with("# symbols of ")) read_symbols(line, p);
    if (line.starts_with("# groups:")) groups = line.substr(9);
    if (line.starts_with("# "))
      if (auto leaf = parse_leaf(line)) {
        if (p.more_runs.empty()) p.leaves.push_back(std::move(*leaf));
        else p.more_runs.back()[leaf->name] = leaf->value;
      }
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
  std::istringstream numbers(groups);
  for (Statement& s : p.statements)
    if (!(numbers >> s.group)) s.group = -1;
  for (Statement& s : p.statements) find_variables(s);
  if (p.outputs.empty()) return std::nullopt;
  return p;
}

}  // namespace mica::fuzz
