// `--input [NAME:]SHAPE[:DTYPE]` and `--input NAME=NUMBER`; `--dim SYMBOL=LOW..HIGH`.
#include <algorithm>
#include <charconv>
#include <limits>

#include "mica/frontend/torchscript.h"

namespace mica {
namespace {

constexpr std::string_view forms =
    "write [NAME:]SHAPE[:DTYPE], as in x:1x3x224x224:f32, 1x128:i64, ids:BxS:i64 (with --dim) or x:scalar:f32; or NAME=NUMBER, as in sr=16000";

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

/// A capital, then capitals, digits and '_'.
bool is_symbol_name(std::string_view text) {
  const auto capital = [](char c) { return c >= 'A' && c <= 'Z'; };
  return !text.empty() && capital(text[0]) && std::ranges::all_of(text, [&](char c) { return capital(c) || (c >= '0' && c <= '9') || c == '_'; });
}

std::optional<int64_t> parse_size(std::string_view text) {
  int64_t size = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), size);
  if (text.empty() || error != std::errc() || end != text.data() + text.size() || size < 0) return std::nullopt;
  return size;
}

struct ParsedShape {
  std::vector<int64_t> sizes;        ///< 1 where a symbol stands
  std::vector<std::string> symbols;  ///< as in InputSpec
};
/// "1x3x224x224", "BxS" or "scalar"; none when `text` is not a shape.
std::optional<ParsedShape> parse_shape(std::string_view text) {
  ParsedShape shape;
  if (text == "scalar") return shape;
  bool symbolic = false;
  for (const std::string_view part : split(text, 'x')) {
    const auto size = parse_size(part);
    if (!size && !is_symbol_name(part)) return std::nullopt;
    symbolic |= !size;
    shape.sizes.push_back(size.value_or(1));
    shape.symbols.emplace_back(size ? "" : part);
  }
  if (!symbolic) shape.symbols.clear();
  return shape;
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
  if (!fits(sizes->sizes)) return complain(text, "the tensor would have more than 2^40 elements", diagnostics);
  spec.shape = Shape(sizes->sizes);
  spec.symbols = sizes->symbols;
  parts.pop_back();
  if (parts.size() > 1) return complain(text, "there is more than one name", diagnostics);
  if (!parts.empty()) spec.name = std::string(parts[0]);
  return spec;
}

Result<InputSpec> parse_state_spec(const std::string& text, Diagnostics& diagnostics) {
  Diagnostics quiet;
  auto spec = parse_input_spec(text, quiet);
  if (spec && !spec->name.empty() && !spec->number && !spec->dtype && spec->symbols.empty()) return spec;
  diagnostics.error("state-spec", "--state {}: it is not the name of an attribute and the most that it can become", text)
      .help("write NAME:SHAPE, as in cache:1x256x64");
  return Failure{};
}

Result<Symbol> parse_dim_spec(const std::string& text, Diagnostics& diagnostics) {
  constexpr std::string_view dim_forms = "write SYMBOL=LOW..HIGH or SYMBOL=SIZE, as in S=16..512; a symbol is of capitals, digits and `_`";
  const auto refuse = [&](std::string why) {
    diagnostics.error("dim-spec", "--dim {}: {}", text, why).help(std::string(dim_forms));
    return Failure{};
  };
  const size_t equals = text.find('=');
  Symbol symbol;
  symbol.name = text.substr(0, equals);
  if (equals == std::string::npos || !is_symbol_name(symbol.name)) return refuse(fmt::format("'{}' is not a symbol with a range", symbol.name));
  const std::string_view range = std::string_view(text).substr(equals + 1);
  const size_t dots = range.find("..");
  const auto low = parse_size(range.substr(0, dots)), high = dots == std::string_view::npos ? low : parse_size(range.substr(dots + 2));
  if (!low || !high) return refuse(fmt::format("'{}' is not a range of sizes", range));
  if (*low < 1 || *low > *high) return refuse("a range goes up, from 1 or more");
  if (*high > (int64_t{1} << 32)) return refuse("a size is at most 2^32");
  symbol.low = *low, symbol.high = *high;
  return symbol;
}

namespace {

/// Two specs of one name become one, with symbols where their sizes differ.
bool merge_samples(LoadOptions& options, Diagnostics& diagnostics) {
  std::vector<InputSpec> merged;
  for (InputSpec& spec : options.inputs) {
    const auto first = std::ranges::find_if(merged, [&](const InputSpec& s) { return !spec.name.empty() && s.name == spec.name; });
    if (first == merged.end() || spec.number || first->number) {
      merged.push_back(std::move(spec));
      continue;
    }
    if (first->shape.rank() != spec.shape.rank() || !first->symbols.empty() || !spec.symbols.empty()) {
      diagnostics
          .error("input-samples", "--input {} and --input {}: two samples of an input have the same rank, and numbers only", first->text, spec.text)
          .help("or name the sizes that vary: --input x:BxS --dim B=1..8 --dim S=16..512");
      return false;
    }
    first->symbols.assign(static_cast<size_t>(spec.shape.rank()), "");
    for (int64_t a = 0; a < spec.shape.rank(); ++a) {
      const int64_t low = std::min(first->shape[a].size(), spec.shape[a].size()), high = std::max(first->shape[a].size(), spec.shape[a].size());
      if (low == high) continue;
      auto symbol = std::ranges::find_if(options.symbols, [&](const Symbol& s) { return s.low == low && s.high == high; });
      if (symbol == options.symbols.end())
        symbol = options.symbols.insert(symbol, Symbol{fmt::format("D{}", options.symbols.size()), std::max<int64_t>(low, 1), high, {}});
      first->symbols[static_cast<size_t>(a)] = symbol->name;
    }
    first->text += " and " + spec.text;
  }
  options.inputs = std::move(merged);
  return true;
}

}  // namespace

Result<void> resolve_symbols(LoadOptions& options, Diagnostics& diagnostics) {
  const size_t errors = diagnostics.error_count();
  if (!merge_samples(options, diagnostics)) return Failure{};
  std::vector<bool> used(options.symbols.size());
  for (InputSpec& spec : options.inputs) {
    std::vector<Dim> dims = spec.shape.dims();
    for (size_t a = 0; a < spec.symbols.size(); ++a) {
      if (spec.symbols[a].empty()) continue;
      const auto found = std::ranges::find(options.symbols, spec.symbols[a], &Symbol::name);
      if (found == options.symbols.end()) {
        diagnostics.error("dim-missing", "--input {}: the range of {} is not given", spec.text, spec.symbols[a])
            .help(fmt::format("--dim {}=1..512", spec.symbols[a]));
        continue;
      }
      const size_t k = static_cast<size_t>(found - options.symbols.begin());
      used[k] = true;
      dims[a] = Dim::symbol(static_cast<int32_t>(k), found->name, found->low, found->high);
    }
    spec.shape = Shape(std::move(dims));
  }
  for (size_t k = 0; k < used.size(); ++k) {
    if (std::ranges::count(options.symbols, options.symbols[k].name, &Symbol::name) > 1)
      diagnostics.error("dim-twice", "--dim {} is given twice", options.symbols[k].name).help("give every symbol one range");
    else if (!used[k])
      diagnostics.error("dim-unused", "--dim {}: no --input has an axis of that name", options.symbols[k].name)
          .help(fmt::format("--input NAME:1x{}", options.symbols[k].name));
  }
  if (diagnostics.error_count() != errors) return Failure{};
  return {};
}

}  // namespace mica
