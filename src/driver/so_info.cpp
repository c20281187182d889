#include "mica/driver/so_info.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "mica/artifact/elf.h"
#include "mica/driver/file.h"

namespace mica {

namespace {

using nlohmann::json;

/// Sizes below zero are numbered: given symbols, measured ones, then what follows from them, as text.
Dim size_from(int64_t size, const SoInfo& info, const json& derived) {
  if (size >= 0) return size;
  auto k = static_cast<size_t>(-1 - size);
  const auto id = static_cast<int32_t>(k);
  for (const auto* list : {&info.symbols, &info.measured}) {
    if (k < list->size()) return Dim::symbol(id, (*list)[k].name, (*list)[k].low, (*list)[k].high);
    k -= list->size();
  }
  return Dim::symbol(id, k < derived.size() ? derived[k].get<std::string>() : "?", 0, int64_t{1} << 40);
}

std::vector<Symbol> symbols_from(const json& list) {
  std::vector<Symbol> symbols;
  for (const auto& s : list) {
    Symbol& symbol = symbols.emplace_back();
    symbol.name = s.at("name").get<std::string>();
    symbol.low = s.at("low").get<int64_t>();
    symbol.high = s.at("high").get<int64_t>();
  }
  return symbols;
}

SoValue value_from(const json& j, const SoInfo& info, const json& derived) {
  SoValue v{j.value("name", ""), {}};
  v.type.dtype = parse_dtype(j.value("dtype", "f32")).value_or(DType::f32);
  std::vector<Dim> dims;
  for (const auto& entry : j.at("shape")) dims.push_back(size_from(entry.get<int64_t>(), info, derived));
  v.type.shape = Shape(std::move(dims));
  return v;
}

/// One `--input` of the user's, taken apart.
struct Given {
  std::string name, file, key, number;
};
Given take_apart(const std::string& text) {
  Given g;
  std::string rest = text;
  const size_t equals = text.find('='), at = text.find('@');
  if (equals != std::string::npos && (at == std::string::npos || equals < at)) {
    g.name = text.substr(0, equals);
    rest = text.substr(equals + 1);
  }
  if (!rest.starts_with('@')) {
    g.number = rest;
    return g;
  }
  g.file = rest.substr(1);
  if (const size_t colon = g.file.rfind(".npz:"); colon != std::string::npos) {
    g.key = g.file.substr(colon + 5);
    g.file.resize(colon + 4);
  }
  return g;
}

class Collector {
 public:
  Collector(const SoInfo& info, Diagnostics& diagnostics) : info_(info), diagnostics_(diagnostics), found_(info.inputs.size()) {
    set_.tensors.resize(info.inputs.size());
    set_.origins.resize(info.inputs.size());
  }

  Result<void> take(const std::string& text) {
    const Given g = take_apart(text);
    if (!g.number.empty()) return take_number(g, text);
    if (g.file.empty()) {
      diagnostics_.error("input-argument", "--input {}: there is no file after `@`", text)
          .help("write NAME=@FILE.npy, or @FILE.npz for all inputs by name");
      return Failure{};
    }
    if (g.file.ends_with(".npz")) return take_archive(g);
    auto t = read_npy(g.file, diagnostics_);
    if (!t) return Failure{};
    return place(g.name, std::move(*t), g.file);
  }

  /// The type at the symbols' sizes: those that a given input has, else those that are asked for, else the greatest.
  TensorType fixed(const TensorType& type, std::vector<int64_t> sizes) const {
    for (size_t k = sizes.size(); k < info_.symbols.size(); ++k) sizes.push_back(info_.symbols[k].high);
    for (size_t i = 0; i < found_.size(); ++i) {
      if (!found_[i]) continue;
      for (int64_t a = 0; a < info_.inputs[i].type.rank(); ++a) {
        const int32_t k = info_.inputs[i].type.shape[a].symbol_id();
        if (k >= 0 && set_.tensors[i].type.rank() > a) sizes.at(static_cast<size_t>(k)) = set_.tensors[i].type.shape[a];
      }
    }
    TensorType out = type;
    std::vector<Dim> dims;
    for (const Dim& d : type.shape.dims()) dims.emplace_back(d.at(sizes));
    out.shape = Shape(std::move(dims));
    return out;
  }

  Result<InputSet> finish(const InputSource& source) {
    for (size_t i = 0; i < found_.size(); ++i) {
      if (found_[i]) continue;
      const SoValue& v = info_.inputs[i];
      const TensorType type = fixed(v.type, source.sizes);
      if (i < source.traced.size() && static_cast<int64_t>(source.traced[i].size()) == type.bytes()) {
        set_.tensors[i] = {type, source.traced[i]};
        set_.origins[i] = "traced";
      } else {
        const InputDraw draw = i < info_.draws.size() ? info_.draws[i] : InputDraw{};
        set_.tensors[i] = draw_input(type, draw, source.seed, i);
        set_.origins[i] = fmt::format("drawn ({})", to_string(draw));
      }
    }
    if (diagnostics_.has_errors()) return Failure{};
    return std::move(set_);
  }

 private:
  /// The input of that name; without a name, the first one not given yet. -1: reported.
  int64_t index_of(const std::string& name) {
    if (name.empty()) {
      const auto free = std::find(found_.begin(), found_.end(), false);
      if (free != found_.end()) return free - found_.begin();
      diagnostics_.error("too-many-inputs", "the model has {} input{}, and more were given", found_.size(), found_.size() == 1 ? "" : "s")
          .help("its inputs: " + signature_text(info_.inputs));
      return -1;
    }
    std::vector<std::string> names;
    for (size_t i = 0; i < info_.inputs.size(); ++i) {
      if (info_.inputs[i].name == name) return static_cast<int64_t>(i);
      names.push_back(info_.inputs[i].name);
    }
    auto& d = diagnostics_.error("no-such-input", "the model has no input `{}`", name);
    if (const std::string near = nearest_spelling(name, names); !near.empty()) d.help(fmt::format("did you mean `{}`?", near));
    d.help("its inputs: " + signature_text(info_.inputs));
    return -1;
  }

  Result<void> place(const std::string& name, RawTensor t, const std::string& origin) {
    const int64_t at = index_of(name);
    if (at < 0) return Failure{};
    const auto i = static_cast<size_t>(at);
    const SoValue& v = info_.inputs[i];
    if (v.type.dtype == DType::bf16 && t.type.dtype == DType::f32) t = convert(t, DType::bf16);
    if (t.type.dtype != v.type.dtype) {
      diagnostics_.error("input-dtype", "input `{}` is {}, but `{}` holds {}", v.name, v.type.to_string(), origin, t.type.to_string())
          .help(fmt::format("save it with .astype(\"{}\")", numpy_name(v.type.dtype)));
      return Failure{};
    }
    if (v.type.shape.is_static() && t.type.shape.sizes() != v.type.shape.sizes()) {
      diagnostics_.error("input-shape", "input `{}` is {}, but `{}` holds {}", v.name, v.type.to_string(), origin, t.type.to_string())
          .help("compile the model for that shape: mica compile ... --input " + v.name + ":" + sizes_text(t.type.shape));
      return Failure{};
    }
    set_.tensors[i] = std::move(t);
    set_.origins[i] = origin;
    found_[i] = true;
    return {};
  }

  Result<void> take_number(const Given& g, const std::string& text) {
    const int64_t at = index_of(g.name);
    if (at < 0) return Failure{};
    const auto i = static_cast<size_t>(at);
    char* end = nullptr;
    const double value = std::strtod(g.number.c_str(), &end);
    if (*end || !info_.inputs[i].type.shape.is_static()) {
      diagnostics_.error("input-argument", "--input {}: `{}` is neither @FILE nor a number", text, g.number)
          .help("write NAME=@FILE.npy, NAME=@FILE.npz:KEY, @FILE.npz, or NAME=NUMBER to fill it");
      return Failure{};
    }
    RawTensor filled{{DType::f64, info_.inputs[i].type.shape, {}}, {}};
    const std::vector<double> all(static_cast<size_t>(filled.type.shape.elements()), value);
    const auto bytes = std::as_bytes(std::span(all));
    filled.bytes.assign(bytes.begin(), bytes.end());
    return place(g.name, convert(filled, info_.inputs[i].type.dtype), g.number);
  }

  Result<void> take_archive(const Given& g) {
    auto all = read_npz(g.file, diagnostics_);
    if (!all) return Failure{};
    if (g.name.empty() && g.key.empty()) {
      for (NamedTensor& t : *all)
        if (!place(t.name, std::move(t.tensor), g.file + ":" + t.name)) return Failure{};
      return {};
    }
    const std::string key = g.key.empty() ? g.name : g.key;
    std::string names;
    for (NamedTensor& t : *all) {
      if (t.name == key || (all->size() == 1 && g.key.empty())) return place(g.name, std::move(t.tensor), g.file);
      names += (names.empty() ? "" : ", ") + t.name;
    }
    diagnostics_.error("input-argument", "`{}` has no array `{}`", g.file, key)
        .help(fmt::format("it has: {}; write {}=@{}:KEY", names, g.name, g.file));
    return Failure{};
  }

  static std::string numpy_name(DType t) {
    constexpr std::string_view names[] = {"float64", "float32", "float16", "float32", "int64", "int32", "int16", "int8", "uint8", "bool"};
    return std::string(names[static_cast<int>(t)]);
  }
  static std::string sizes_text(const Shape& shape) {
    std::string text;
    for (int64_t n : shape.sizes()) text += (text.empty() ? "" : "x") + std::to_string(n);
    return text.empty() ? "scalar" : text;
  }

  const SoInfo& info_;
  Diagnostics& diagnostics_;
  std::vector<bool> found_;
  InputSet set_;
};

}  // namespace

std::string signature_text(const std::vector<SoValue>& values) {
  std::string text;
  for (const SoValue& v : values) text += fmt::format("{}{}: {}", text.empty() ? "" : ", ", v.name, v.type.to_string());
  return text;
}

Result<SoInfo> read_so_info(const std::filesystem::path& file, Diagnostics& diagnostics) {
  if (!check_readable(file, "library", diagnostics)) return Failure{};
  if (!is_elf(file)) {
    auto& d = diagnostics.error("not-a-library", "`{}` is not a shared library", file.string());
    if (file.extension() == ".pt") d.help(fmt::format("compile it first: mica compile {} -o lib{}.so", file.string(), file.stem().string()));
    return Failure{};
  }
  auto text = artifact::read_manifest(file, diagnostics);
  if (!text) return Failure{};
  SoInfo info;
  info.manifest = std::move(*text);
  try {
    const json j = json::parse(info.manifest);
    info.name = j.value("name", "");
    info.symbols = symbols_from(j.value("symbols", json::array()));
    info.measured = symbols_from(j.value("measured", json::array()));
    const json derived = j.value("derived", json::array());
    for (const auto& v : j.at("inputs")) info.inputs.push_back(value_from(v, info, derived));
    for (const auto& v : j.at("outputs")) info.outputs.push_back(value_from(v, info, derived));
    for (const auto& d : j.value("draw", json::array())) info.draws.push_back(parse_input_draw(d.get<std::string>()));
    info.winograd = j.value("winograd", false);
    if (j.contains("options")) info.precision = j["options"].value("precision", "");
    if (j.contains("options")) info.dim_specs = j["options"].value("dims", std::vector<std::string>{});
    if (j.contains("options")) info.state_specs = j["options"].value("states", std::vector<std::string>{});
    if (j.contains("options")) info.input_specs = j["options"].value("inputs", std::vector<std::string>{});
    if (j.contains("model")) info.method = j["model"].value("method", "forward"), info.model_hash = j["model"].value("hash", "");
  } catch (const json::exception& e) {
    diagnostics.error("manifest-broken", "the manifest of `{}` cannot be read: {}", file.string(), e.what())
        .help("compile the model again with this Mica");
    return Failure{};
  }
  return info;
}

Result<std::vector<int64_t>> choose_sizes(const SoInfo& info, const std::vector<std::string>& flags, int64_t (*otherwise)(const Symbol&),
                                          Diagnostics& diagnostics) {
  const size_t errors = diagnostics.error_count();
  std::vector<int64_t> sizes;
  std::string known;
  for (const Symbol& s : info.symbols) {
    sizes.push_back(otherwise(s));
    known += fmt::format("{}{}={}..{}", known.empty() ? "" : ", ", s.name, s.low, s.high);
  }
  for (const std::string& text : flags) {
    const size_t equals = std::min(text.find('='), text.size());
    const auto found = std::ranges::find(info.symbols, text.substr(0, equals), &Symbol::name);
    char* end = nullptr;
    const int64_t size = equals < text.size() ? std::strtoll(text.c_str() + equals + 1, &end, 10) : 0;
    if (found == info.symbols.end() || !end || *end || size < found->low || size > found->high) {
      diagnostics
          .error("dim-value", "--dim {}: {}", text,
                 info.symbols.empty()          ? "the model has no symbolic sizes"
                 : found == info.symbols.end() ? "the model has no such symbol"
                 : !end || *end                ? "this is not SYMBOL=SIZE"
                                               : "the size is outside the range that the model was compiled for")
          .help(info.symbols.empty() ? "compile it for a range: mica compile --input ids:1xS --dim S=16..512" : "its symbols: " + known);
      continue;
    }
    sizes[static_cast<size_t>(found - info.symbols.begin())] = size;
  }
  if (diagnostics.error_count() != errors) return Failure{};
  return sizes;
}

std::string sizes_text(const std::vector<Symbol>& symbols, const std::vector<int64_t>& sizes) {
  std::string text;
  for (size_t k = 0; k < symbols.size(); ++k) text += fmt::format("{}{}={}", k ? ", " : "", symbols[k].name, sizes[k]);
  return text;
}

Result<InputSet> collect_inputs(const SoInfo& info, const InputSource& source, Diagnostics& diagnostics) {
  Collector collector(info, diagnostics);
  for (const std::string& text : source.given)
    if (!collector.take(text)) return Failure{};
  return collector.finish(source);
}

}  // namespace mica
