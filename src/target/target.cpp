// From --cpu and --cpu-features to the description that schedules ask.
#include "mica/target/target.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "cpu_table.h"
#include "host.h"

namespace mica {

bool Target::has(const std::string& feature) const { return std::binary_search(features.begin(), features.end(), feature); }

void Target::drop_tiles() {
  std::erase_if(features, [](const std::string& f) { return f.starts_with("amx-"); });
  tiles = {};
}

namespace {

using Features = std::set<std::string, std::less<>>;

struct Implication {
  std::string_view feature, needs;
};

/// What each feature builds upon, one step; both --cpu-features +x and -x follow it.
constexpr Implication implications[] = {{"ssse3", "sse3"},
                                        {"sse4.1", "ssse3"},
                                        {"sse4.2", "sse4.1"},
                                        {"avx", "sse4.2"},
                                        {"avx2", "avx"},
                                        {"fma", "avx"},
                                        {"f16c", "avx"},
                                        {"avx512f", "avx2"},
                                        {"avx512f", "fma"},
                                        {"avx512f", "f16c"},
                                        {"avx512bw", "avx512f"},
                                        {"avx512cd", "avx512f"},
                                        {"avx512dq", "avx512f"},
                                        {"avx512vl", "avx512f"},
                                        {"avx512ifma", "avx512f"},
                                        {"avx512vbmi", "avx512bw"},
                                        {"avx512vbmi2", "avx512bw"},
                                        {"avx512vnni", "avx512f"},
                                        {"avx512bitalg", "avx512bw"},
                                        {"avx512vpopcntdq", "avx512f"},
                                        {"avx512bf16", "avx512bw"},
                                        {"avx512fp16", "avx512bw"},
                                        {"avx512fp16", "avx512dq"},
                                        {"avx512fp16", "avx512vl"},
                                        {"amx-bf16", "amx-tile"},
                                        {"avxvnni", "avx2"},
                                        {"avxifma", "avx2"},
                                        {"avxvnniint8", "avx2"},
                                        {"gfni", "ssse3"},
                                        {"fullfp16", "neon"},
                                        {"dotprod", "neon"},
                                        {"i8mm", "neon"},
                                        {"bf16", "neon"}};

void split_words(std::string_view text, char separator, Features& into) {
  while (!text.empty()) {
    const size_t end = std::min(text.find(separator), text.size());
    if (end) into.emplace(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
}

const Cpu* find_cpu(Architecture architecture, std::string_view name) {
  for (const Cpu& cpu : cpu_table(architecture)) {
    if (cpu.name == name) return &cpu;
  }
  return nullptr;
}

Features features_of(Architecture architecture, std::string_view cpu) {
  Features features;
  for (const Cpu* c = find_cpu(architecture, cpu); c; c = find_cpu(architecture, c->base)) split_words(c->features, ' ', features);
  return features;
}

/// Every feature that the tables name: what generated code may be allowed to use.
Features known_features(Architecture architecture) {
  Features features;
  for (const Cpu& cpu : cpu_table(architecture)) split_words(cpu.features, ' ', features);
  return features;
}

size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<size_t> row(b.size() + 1);
  for (size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (size_t i = 1; i <= a.size(); ++i) {
    size_t diagonal = row[0];
    row[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t above = row[j];
      row[j] = std::min({row[j] + 1, row[j - 1] + 1, diagonal + (a[i - 1] != b[j - 1])});
      diagonal = above;
    }
  }
  return row[b.size()];
}

/// Up to three names nearest to what was written.
std::string nearest(std::string_view name, const std::vector<std::string>& names) {
  std::vector<std::pair<size_t, std::string>> ranked;
  for (const std::string& n : names) {
    const size_t distance = n.starts_with(name) && name.size() >= 2 ? 1 : edit_distance(name, n);
    if (distance <= std::max<size_t>(2, name.size() / 3)) ranked.emplace_back(distance, n);
  }
  std::sort(ranked.begin(), ranked.end());
  std::string text;
  for (size_t i = 0; i < std::min<size_t>(3, ranked.size()); ++i) text += (i ? ", " : "") + ranked[i].second;
  return text;
}

void add_feature(Features& features, std::string_view name) {
  if (!features.emplace(name).second) return;
  for (const Implication& i : implications) {
    if (i.feature == name) add_feature(features, i.needs);
  }
}

void remove_feature(Features& features, std::string_view name) {
  if (const auto found = features.find(name); found != features.end()) features.erase(found);
  for (const Implication& i : implications) {
    if (i.needs == name && features.contains(i.feature)) remove_feature(features, i.feature);
  }
}

Result<void> adjust(Features& features, Architecture architecture, const std::string& text, Diagnostics& diagnostics) {
  Features changes;
  const Features known = known_features(architecture);
  bool good = true;
  // In the order written: a later one wins.
  for (size_t at = 0; at < text.size();) {
    const size_t end = std::min(text.find(',', at), text.size());
    const std::string item = text.substr(at, end - at);
    at = end + 1;
    if (item.empty()) continue;
    const std::string name = item.substr(1);
    if (item[0] != '+' && item[0] != '-') {
      diagnostics.error("bad-cpu-features", "'{}' in --cpu-features '{}' begins with neither + nor -", item, text)
          .help(fmt::format("write +{} or -{}", item, item));
      good = false;
    } else if (!known.contains(name)) {
      Diagnostic& d = diagnostics.error("unknown-cpu-feature", "'{}' in --cpu-features is not a feature that Mica knows", name);
      const std::string near = nearest(name, {known.begin(), known.end()});
      d.help(near.empty() ? fmt::format("one of: {}", fmt::join(known, " ")) : fmt::format("did you mean {}?", near));
      good = false;
    } else if (item[0] == '+') {
      add_feature(features, name);
    } else {
      remove_feature(features, name);
    }
  }
  if (!good) return Failure{};
  return {};
}

/// The best generic level that a set of features reaches.
std::string level_of(const Features& features) {
  for (const char* level : {"x86-64-v4", "x86-64-v3"}) {
    const Features needed = features_of(Architecture::x86_64, level);
    if (std::includes(features.begin(), features.end(), needed.begin(), needed.end())) return level;
  }
  return "x86-64-v2";
}

void describe(Target& t, Architecture architecture) {
  if (architecture == Architecture::aarch64) {
    t.vector_bits = 128;
    t.vector_registers = 32;
    t.fma = true;
    t.dot_bf16 = t.has("bf16");
    t.dot_i8 = t.has("i8mm");
    t.l1_bytes = 64 << 10;
    return;
  }
  const bool wide = t.has("avx512f") && t.has("avx512vl") && t.has("avx512bw") && t.has("avx512dq");
  t.fma = t.has("fma");
  t.vector_bits = wide ? 512 : t.has("avx2") && t.fma ? 256 : 128;
  t.vector_registers = wide ? 32 : 16;
  t.masked_memory = t.vector_bits >= 256;
  t.dot_bf16 = wide && t.has("avx512bf16");
  // Epilogues read a tile's rows as vectors of the same length.
  if (wide && t.has("amx-bf16")) t.tiles = {.registers = 8, .rows = 16, .row_bytes = 64, .dot_bf16 = true};
  t.dot_i8 = wide ? t.has("avx512vnni") : t.has("avxvnni");
}

void unknown_cpu(const std::string& name, Diagnostics& diagnostics) {
  Diagnostic& d = diagnostics.error("unknown-cpu", "--cpu '{}' is not a CPU that Mica knows", name);
  const std::vector<std::string> names = known_cpus();
  if (const std::string near = nearest(name, names); !near.empty()) d.help(fmt::format("did you mean {}?", near));
  d.help("native, x86-64-v2, x86-64-v3, x86-64-v4, aarch64, or a CPU by LLVM's name (znver4, sapphirerapids, neoverse-n1, ...)");
}

}  // namespace

std::vector<std::string> known_cpus() {
  std::vector<std::string> names = {"native", "aarch64"};
  for (Architecture a : {Architecture::x86_64, Architecture::aarch64}) {
    for (const Cpu& cpu : cpu_table(a)) {
      if (cpu.name != "generic") names.emplace_back(cpu.name);
    }
  }
  return names;
}

Result<Target> make_target(const std::string& name, const std::string& features, Diagnostics& diagnostics) {
  Target target;
  Features chosen;
  Architecture architecture = Architecture::x86_64;
  if (name == "native") {
    const Host host = detect_host();
    architecture = host.architecture;
    // Only what generated code can use: the rest would be asked of the user's machine for nothing.
    const Features known = known_features(architecture);
    for (const std::string& f : host.features) {
      if (known.contains(f)) chosen.insert(f);
    }
    target.cpu = !host.cpu.empty() ? host.cpu : architecture == Architecture::aarch64 ? "generic" : level_of(chosen);
    if (host.l1_bytes > 0) target.l1_bytes = host.l1_bytes;
    if (host.l2_bytes > 0) target.l2_bytes = host.l2_bytes;
    if (host.l3_bytes > 0) target.l3_bytes = host.l3_bytes;
  } else if (name == "aarch64") {
    architecture = Architecture::aarch64;
    target.cpu = "generic";
    chosen = features_of(architecture, target.cpu);
  } else if (find_cpu(Architecture::x86_64, name)) {
    target.cpu = name;
    chosen = features_of(architecture, name);
  } else if (name != "generic" && find_cpu(Architecture::aarch64, name)) {
    architecture = Architecture::aarch64;
    target.cpu = name;
    chosen = features_of(architecture, name);
  } else {
    unknown_cpu(name, diagnostics);
    return Failure{};
  }
  if (!adjust(chosen, architecture, features, diagnostics)) return Failure{};
  const bool x86 = architecture == Architecture::x86_64;
  if (const char* least = x86 ? "sse4.1" : "neon"; !chosen.contains(least)) {
    diagnostics.error("cpu-too-old", "--cpu {} {} leaves no {}, which generated code needs", name, features, least)
        .help(fmt::format("the least target is {}", x86 ? "x86-64-v2" : "aarch64"));
    return Failure{};
  }
  target.triple = x86 ? "x86_64-unknown-linux-gnu" : "aarch64-unknown-linux-gnu";
  target.features.assign(chosen.begin(), chosen.end());
  describe(target, architecture);
  return target;
}

}  // namespace mica
