// Host detection by CPUID or the auxiliary vector; the features are the same table that a compiled model checks at run time.
#include "host.h"

#include <algorithm>
#include <fstream>

#include "mica/runtime/cpu_features.h"

#if defined(__x86_64__)
#include <cpuid.h>
#include <unistd.h>
#elif defined(__aarch64__)
#include <sys/auxv.h>
#endif

namespace mica {

namespace {

#if defined(__x86_64__)
struct Registers {
  uint32_t r[4] = {};
};

Registers cpuid(uint32_t leaf, uint32_t subleaf) {
  Registers x;
  // A leaf past the greatest one answers with another's bits on some CPUs.
  if (leaf > __get_cpuid_max(leaf & 0x80000000u, nullptr)) return x;
  __cpuid_count(leaf, subleaf, x.r[0], x.r[1], x.r[2], x.r[3]);
  return x;
}

uint64_t enabled_state() {
  if (!(cpuid(1, 0).r[2] >> 27 & 1)) return 0;  // OSXSAVE
  uint32_t low, high;
  __asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return (uint64_t{high} << 32) | low;
}

std::vector<std::string> host_features() {
  std::vector<std::string> features;
  const uint64_t state = enabled_state();
  for (const mica_x86_feature& f : mica_x86_features) {
    if ((cpuid(f.leaf, f.subleaf).r[f.reg] >> f.bit & 1) && (state & f.xcr0) == f.xcr0) features.emplace_back(f.name);
  }
  // What the system refuses is as good as not there.
  if (std::ranges::find(features, "amx-tile") != features.end() &&
      syscall(MICA_SYS_ARCH_PRCTL, MICA_ARCH_REQ_XCOMP_PERM, MICA_XFEATURE_XTILEDATA) != 0)
    std::erase_if(features, [](const std::string& f) { return f.starts_with("amx-"); });
  return features;
}

struct Model {
  uint32_t family, first, last;  ///< models, both inclusive
  std::string_view cpu;
};

// Families and models: AMD's processor programming references; Intel SDM vol. 4, table 2-1.
constexpr Model amd_models[] = {{0x17, 0x00, 0x2f, "znver1"}, {0x17, 0x30, 0xff, "znver2"}, {0x19, 0x00, 0x0f, "znver3"},
                                {0x19, 0x10, 0x1f, "znver4"}, {0x19, 0x20, 0x5f, "znver3"}, {0x19, 0x60, 0xaf, "znver4"},
                                {0x1a, 0x00, 0xff, "znver5"}};
constexpr Model intel_models[] = {
    {6, 0x2a, 0x2a, "sandybridge"},    {6, 0x2d, 0x2d, "sandybridge"},    {6, 0x3a, 0x3a, "ivybridge"},      {6, 0x3e, 0x3e, "ivybridge"},
    {6, 0x3c, 0x3c, "haswell"},        {6, 0x3f, 0x3f, "haswell"},        {6, 0x45, 0x46, "haswell"},        {6, 0x3d, 0x3d, "broadwell"},
    {6, 0x47, 0x47, "broadwell"},      {6, 0x4f, 0x4f, "broadwell"},      {6, 0x56, 0x56, "broadwell"},      {6, 0x4e, 0x4e, "skylake"},
    {6, 0x5e, 0x5e, "skylake"},        {6, 0x8e, 0x8e, "skylake"},        {6, 0x9e, 0x9e, "skylake"},        {6, 0xa5, 0xa6, "skylake"},
    {6, 0x55, 0x55, "skylake-avx512"}, {6, 0x7d, 0x7e, "icelake-client"}, {6, 0x6a, 0x6a, "icelake-server"}, {6, 0x6c, 0x6c, "icelake-server"},
    {6, 0x8c, 0x8d, "tigerlake"},      {6, 0xa7, 0xa7, "rocketlake"},     {6, 0x97, 0x97, "alderlake"},      {6, 0x9a, 0x9a, "alderlake"},
    {6, 0xb7, 0xb7, "raptorlake"},     {6, 0xba, 0xba, "raptorlake"},     {6, 0xbf, 0xbf, "raptorlake"},     {6, 0xaa, 0xaa, "meteorlake"},
    {6, 0xac, 0xac, "meteorlake"},     {6, 0x8f, 0x8f, "sapphirerapids"}, {6, 0xcf, 0xcf, "emeraldrapids"},  {6, 0xad, 0xae, "graniterapids"}};

std::string host_cpu() {
  const uint32_t vendor = cpuid(0, 0).r[1], signature = cpuid(1, 0).r[0];
  uint32_t family = signature >> 8 & 0xf, model = signature >> 4 & 0xf;
  if (family == 6 || family == 15) model |= (signature >> 16 & 0xf) << 4;
  if (family == 15) family += signature >> 20 & 0xff;
  constexpr uint32_t amd = 0x68747541, intel = 0x756e6547;  // "Auth", "Genu"
  const auto find = [&](std::span<const Model> models) -> std::string {
    for (const Model& m : models) {
      if (m.family == family && m.first <= model && model <= m.last) return std::string(m.cpu);
    }
    return {};
  };
  return vendor == amd ? find(amd_models) : vendor == intel ? find(intel_models) : std::string();
}
#elif defined(__aarch64__)
std::vector<std::string> host_features() {
  std::vector<std::string> features;
  const unsigned long words[] = {getauxval(AT_HWCAP), getauxval(AT_HWCAP2)};
  for (const mica_aarch64_feature& f : mica_aarch64_features) {
    if (words[f.word] >> f.bit & 1) features.emplace_back(f.name);
  }
  return features;
}

std::string host_cpu() { return {}; }
#endif

std::string first_line(const std::string& path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  return line;
}

/// "48K" of /sys/devices/system/cpu/cpu0/cache/index*/size.
void read_caches(Host& host) {
  for (int index = 0; index < 8; ++index) {
    const std::string folder = "/sys/devices/system/cpu/cpu0/cache/index" + std::to_string(index);
    const std::string level = first_line(folder + "/level"), type = first_line(folder + "/type"), size = first_line(folder + "/size");
    if (size.empty() || size.find_first_not_of("0123456789KMG") != std::string::npos || size.find_first_of("0123456789") != 0) continue;
    if (type == "Instruction") continue;
    int64_t bytes = std::strtoll(size.c_str(), nullptr, 10);
    bytes <<= size.back() == 'K' ? 10 : size.back() == 'M' ? 20 : size.back() == 'G' ? 30 : 0;
    (level == "1" ? host.l1_bytes : level == "2" ? host.l2_bytes : host.l3_bytes) = bytes;
  }
}

}  // namespace

Host detect_host() {
  Host host;
#if defined(__aarch64__)
  host.architecture = Architecture::aarch64;
#endif
  host.cpu = host_cpu();
  host.features = host_features();
  read_caches(host);
  return host;
}

}  // namespace mica
