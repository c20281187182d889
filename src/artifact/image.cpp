#include "mica/artifact/image.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <nlohmann/json.hpp>

#include "mica/runtime/cpu_features.h"
#include "mica/runtime/descriptor.h"
#include "mica/runtime/mica.h"
#include "mica/support/check.h"

namespace mica::artifact {
namespace {

bool is_x86_64(const Descriptor& d) { return d.triple.starts_with("x86_64-"); }
bool is_aarch64(const Descriptor& d) { return d.triple.starts_with("aarch64-"); }

bool runtime_checks(const Descriptor& d, std::string_view feature) {
  const auto same = [&](const auto& known) { return feature == known.name; };
  return is_x86_64(d) ? std::ranges::any_of(mica_x86_features, same) : std::ranges::any_of(mica_aarch64_features, same);
}

/// Features of the host that LLVM lists but that code made from kernels cannot contain: instructions for operating
/// systems, for caches and persistence, random numbers, transactions.
bool never_generated(std::string_view feature) {
  static constexpr std::array names = {
      "cldemote", "clflushopt", "clwb",     "clzero", "enqcmd",    "fsgsbase", "hreset",   "invpcid", "kl",     "lwp",      "movdir64b",
      "movdiri",  "mwaitx",     "pconfig",  "pku",    "prefetchi", "ptwrite",  "rdpid",    "rdpru",   "rdseed", "rtm",      "serialize",
      "sgx",      "shstk",      "tsxldtrk", "uintr",  "usermsr",   "waitpkg",  "wbnoinvd", "widekl",  "xsavec", "xsaveopt", "xsaves",
  };
  return std::ranges::find(names, feature) != names.end();
}

int32_t abi_dtype(DType t) {
  constexpr std::array<int32_t, 10> codes = {MICA_F64, MICA_F32, MICA_F16, MICA_BF16, MICA_I64, MICA_I32, MICA_I16, MICA_I8, MICA_U8, MICA_BOOL};
  return codes.at(static_cast<size_t>(t));
}

/// Appends to one growing string and hands out offsets.
class Bytes {
 public:
  template <class T> uint32_t add(const T* data, size_t count) {
    bytes_.resize((bytes_.size() + alignof(T) - 1) / alignof(T) * alignof(T));
    const size_t at = bytes_.size();
    if (count) bytes_.append(reinterpret_cast<const char*>(data), count * sizeof(T));
    MICA_CHECK(bytes_.size() <= UINT32_MAX);
    return static_cast<uint32_t>(at);
  }
  uint32_t add_text(std::string_view text) {
    const uint32_t at = add(text.data(), text.size());
    bytes_ += '\0';
    return at;
  }
  size_t size() const { return bytes_.size(); }
  template <class T> void set(size_t at, const T& value) { std::memcpy(bytes_.data() + at, &value, sizeof value); }
  std::string take() { return std::move(bytes_); }

 private:
  std::string bytes_;
};

std::string joined(const std::vector<std::string>& words) {
  std::string text;
  for (const std::string& w : words) text += (text.empty() ? "" : " ") + w;
  return text;
}

nlohmann::ordered_json value_json(const Value& v) { return {{"name", v.name}, {"dtype", name_of(v.dtype)}, {"shape", v.shape}}; }

}  // namespace

Result<void> check_image(const Image& image, Diagnostics& diagnostics) {
  const Descriptor& d = image.descriptor;
  if (!is_x86_64(d) && !is_aarch64(d)) {
    diagnostics.unsupported("link-target", "no runtime for target '{}'", d.triple).help("targets are x86_64 and aarch64 Linux");
    return Failure{};
  }
  for (const std::string& f : d.features) {
    if (runtime_checks(d, f) || never_generated(f)) continue;
    diagnostics.unsupported("link-feature", "the runtime cannot check whether a CPU has '{}'", f).help("leave it out: --cpu-features -" + f);
  }
  MICA_CHECK(d.arena_bytes >= 0 && d.state_bytes >= 0 && d.weights_bytes >= 0 && d.prepared_bytes >= 0);
  MICA_CHECK(d.state_init_at < 0 || d.state_init_at + d.state_bytes <= d.weights_bytes);
  for (const auto* values : {&d.inputs, &d.outputs}) {
    for (const Value& v : *values) {
      MICA_CHECK(v.shape.size() <= MICA_MAX_RANK);
      MICA_CHECK(std::ranges::all_of(
          v.shape, [&](int64_t size) { return size >= -static_cast<int64_t>(d.symbols.size() + d.measured.size() + d.derived.size()); }));
    }
  }
  int64_t end = 0;
  for (const Blob& b : image.weights) {
    MICA_CHECK(b.offset >= end && b.offset % 64 == 0 && b.bytes >= 0 && (b.data || !b.bytes));
    end = b.offset + b.bytes;
  }
  MICA_CHECK(end <= d.weights_bytes);
  if (diagnostics.has_errors()) return Failure{};
  return {};
}

std::vector<std::string> checked_features(const Descriptor& d) {
  std::vector<std::string> checked;
  std::ranges::copy_if(d.features, std::back_inserter(checked), [&](const std::string& f) { return runtime_checks(d, f); });
  return checked;
}

std::string descriptor_bytes(const Descriptor& d, size_t manifest_bytes) {
  Bytes bytes;
  mica_descriptor head{};
  bytes.add(reinterpret_cast<const uint64_t*>(&head), sizeof head / 8);
  static_assert(sizeof head % 8 == 0);

  std::vector<mica_descriptor_value> values;
  for (const auto* side : {&d.inputs, &d.outputs}) {
    for (const Value& v : *side) {
      values.push_back({.name_at = bytes.add_text(v.name),
                        .dtype = abi_dtype(v.dtype),
                        .rank = static_cast<int32_t>(v.shape.size()),
                        .dims_at = bytes.add(v.shape.data(), v.shape.size())});
    }
  }
  std::vector<uint32_t> sites;
  for (const std::string& site : d.fault_sites) sites.push_back(bytes.add_text(site));

  std::vector<mica_descriptor_symbol> symbols;
  for (const SymbolRange& s : d.symbols) symbols.push_back({.low = s.low, .high = s.high, .name_at = bytes.add_text(s.name)});

  head.arena_bytes = static_cast<uint64_t>(d.arena_bytes);
  head.state_bytes = static_cast<uint64_t>(d.state_bytes);
  head.weights_bytes = static_cast<uint64_t>(d.weights_bytes);
  head.prepared_bytes = static_cast<uint64_t>(d.prepared_bytes);
  head.state_init_at = d.state_init_at < 0 ? UINT64_MAX : static_cast<uint64_t>(d.state_init_at);
  head.manifest_bytes = manifest_bytes;
  head.name_at = bytes.add_text(d.name);
  head.structure_at = bytes.add_text(d.structure);
  head.target_at = bytes.add_text(d.triple);
  head.features_at = bytes.add_text(joined(checked_features(d)));
  head.inputs = static_cast<uint32_t>(d.inputs.size());
  head.outputs = static_cast<uint32_t>(d.outputs.size());
  head.symbols = static_cast<uint32_t>(d.symbols.size());
  head.measured = static_cast<uint32_t>(d.measured.size());
  head.derived = static_cast<uint32_t>(d.derived.size());
  head.slots = static_cast<uint32_t>(d.slots);
  head.symbols_at = bytes.add(symbols.data(), symbols.size());
  head.sites = static_cast<uint32_t>(sites.size());
  head.guards = static_cast<uint32_t>(d.guard_pages.size());
  head.guards_at = bytes.add(d.guard_pages.data(), d.guard_pages.size());
  head.debug_defect = d.debug_defect;
  head.values_at = bytes.add(values.data(), values.size());
  head.sites_at = bytes.add(sites.data(), sites.size());
  head.bytes = bytes.size();
  bytes.set(0, head);
  return bytes.take();
}

std::string query_symbol(const Descriptor& d) {
  std::string name;
  for (const char c : d.name) {
    const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
    name += plain ? c : '_';
  }
  return name.empty() ? name : "mica_model_query_" + name;
}

std::string make_manifest(const Descriptor& d, std::string_view more) {
  nlohmann::ordered_json json = {{"schema", 1}, {"mica", MICA_VERSION}, {"abi", MICA_ABI_VERSION}, {"name", d.name}};
  for (const auto& [key, values] : {std::pair{"inputs", &d.inputs}, {"outputs", &d.outputs}}) {
    json[key] = nlohmann::ordered_json::array();
    for (const Value& v : *values) json[key].push_back(value_json(v));
  }
  if (!d.symbols.empty() || !d.measured.empty()) {
    for (const auto& [key, list] : {std::pair{"symbols", &d.symbols}, {"measured", &d.measured}}) {
      if (list->empty()) continue;
      json[key] = nlohmann::ordered_json::array();
      for (const SymbolRange& s : *list) json[key].push_back({{"name", s.name}, {"low", s.low}, {"high", s.high}});
    }
    json["derived"] = d.derived;
  }
  json["structure"] = d.structure;
  json["target"] = {{"triple", d.triple}, {"features", checked_features(d)}};
  json["bytes"] = {{"weights", d.weights_bytes}, {"workspace", d.arena_bytes}, {"state", d.state_bytes}, {"prepared", d.prepared_bytes}};
  if (!more.empty()) {
    const auto extra = nlohmann::ordered_json::parse(more, nullptr, /*allow_exceptions=*/false);
    MICA_CHECK(extra.is_object(), "the driver's part of the manifest is not a JSON object");
    json.update(extra);
  }
  // Names come from the model and may be any bytes: what is not UTF-8 is replaced.
  return json.dump(1, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n";
}

}  // namespace mica::artifact
