/* Does this CPU have what the model was compiled for? Runs before any instruction of the model; the runtime itself is
 * compiled for the target's baseline. */
#include "mica/runtime/cpu_features.h"

#include "runtime.h"

#if defined(__x86_64__)
static void cpuid(uint32_t leaf, uint32_t subleaf, uint32_t regs[4]) {
  __asm__ volatile("cpuid" : "=a"(regs[0]), "=b"(regs[1]), "=c"(regs[2]), "=d"(regs[3]) : "a"(leaf), "c"(subleaf));
}

/* The register state that the operating system saves; 0 when it does not say. */
static uint32_t xcr0(void) {
  uint32_t regs[4], low, high;
  cpuid(1, 0, regs);
  if (!(regs[2] >> 27 & 1)) return 0; /* OSXSAVE */
  __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return low;
}

static int cpu_has(const char* name, size_t length) {
  for (size_t i = 0; i < sizeof mica_x86_features / sizeof mica_x86_features[0]; ++i) {
    const struct mica_x86_feature* f = &mica_x86_features[i];
    if (strlen(f->name) != length || memcmp(f->name, name, length) != 0) continue;
    uint32_t regs[4];
    cpuid(f->leaf & 0x80000000u, 0, regs); /* the highest leaf of the range */
    if (regs[0] < f->leaf) return 0;
    if (f->subleaf) {
      cpuid(f->leaf, 0, regs);
      if (regs[0] < f->subleaf) return 0;
    }
    cpuid(f->leaf, f->subleaf, regs);
    return (regs[f->reg] >> f->bit & 1) && (xcr0() & f->xcr0) == f->xcr0;
  }
  return 0;
}

/* Asks for the matrix registers, for all threads that this process has or will have; 0, or an error number. */
static int ask_for_tiles(void) {
  const int saved = *__errno_location();
  const int error = syscall(MICA_SYS_ARCH_PRCTL, MICA_ARCH_REQ_XCOMP_PERM, MICA_XFEATURE_XTILEDATA) ? *__errno_location() : 0;
  *__errno_location() = saved;
  return error;
}
#elif defined(__aarch64__)
static int cpu_has(const char* name, size_t length) {
  const unsigned long words[2] = {getauxval(AT_HWCAP), getauxval(AT_HWCAP2)};
  for (size_t i = 0; i < sizeof mica_aarch64_features / sizeof mica_aarch64_features[0]; ++i) {
    const struct mica_aarch64_feature* f = &mica_aarch64_features[i];
    if (strlen(f->name) == length && memcmp(f->name, name, length) == 0) return words[f->word] >> f->bit & 1;
  }
  return 0;
}

static int ask_for_tiles(void) { return 0; }
#endif

int mica_check_cpu(const char* features, char* error, size_t error_bytes) {
  char missing[160];
  size_t used = 0;
  int tiles = 0;
  while (*features) {
    size_t length = 0;
    while (features[length] && features[length] != ' ') ++length;
    if (length && !cpu_has(features, length) && used + length + 2 < sizeof missing) {
      if (used) missing[used++] = ' ';
      memcpy(missing + used, features, length);
      used += length;
    }
    tiles |= length == 8 && memcmp(features, "amx-tile", length) == 0;
    features += length;
    while (*features == ' ') ++features;
  }
  const int refused = tiles && !used ? ask_for_tiles() : 0;
  if (refused) {
    return mica_say(error, error_bytes, MICA_ERR_CPU,
                    "the system refuses this process the matrix registers that the model was compiled for (arch_prctl: error %d%s); compile it "
                    "with --cpu-features -amx-tile",
                    refused, refused == 28 ? ", a thread's alternate signal stack is too small" : "");
  }
  if (!used) return MICA_OK;
  missing[used] = 0;
  return mica_say(error, error_bytes, MICA_ERR_CPU, "this CPU lacks %s, which the model was compiled for; compile it with --cpu for this machine",
                  missing);
}
