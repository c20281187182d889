/* The CPU features that a model can ask for, by LLVM's names, and how to see whether a CPU has them. Used by the runtime
 * (to check) and by the artifact writer (to refuse a name that could not be checked). */
#ifndef MICA_RUNTIME_CPU_FEATURES_H
#define MICA_RUNTIME_CPU_FEATURES_H

#include <stdint.h>

/* Where CPUID answers: leaf and subleaf, register (0 eax, 1 ebx, 2 ecx, 3 edx), bit; and the XCR0 bits that say that the
 * operating system saves the registers. Source: Intel SDM vol. 2A, CPUID; AMD APM vol. 3, appendix E. */
struct mica_x86_feature {
  const char name[20];
  uint32_t leaf, subleaf;
  uint8_t reg, bit;
  uint32_t xcr0;
};

#define MICA_XCR0_AVX 0x6u
#define MICA_XCR0_AVX512 0xE6u
#define MICA_XCR0_AMX 0x60000u
/* Of these registers Linux gives a process the large ones on request only: arch_prctl(ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA). */
#define MICA_SYS_ARCH_PRCTL 158
#define MICA_ARCH_REQ_XCOMP_PERM 0x1023
#define MICA_XFEATURE_XTILEDATA 18

static const struct mica_x86_feature mica_x86_features[] = {
    {"cmov", 1, 0, 3, 15, 0},
    {"cx8", 1, 0, 3, 8, 0},
    {"fxsr", 1, 0, 3, 24, 0},
    {"mmx", 1, 0, 3, 23, 0},
    {"x87", 1, 0, 3, 0, 0},
    {"sse", 1, 0, 3, 25, 0},
    {"sse2", 1, 0, 3, 26, 0},
    {"sse3", 1, 0, 2, 0, 0},
    {"pclmul", 1, 0, 2, 1, 0},
    {"ssse3", 1, 0, 2, 9, 0},
    {"fma", 1, 0, 2, 12, MICA_XCR0_AVX},
    {"cx16", 1, 0, 2, 13, 0},
    {"sse4.1", 1, 0, 2, 19, 0},
    {"sse4.2", 1, 0, 2, 20, 0},
    {"crc32", 1, 0, 2, 20, 0},
    {"movbe", 1, 0, 2, 22, 0},
    {"popcnt", 1, 0, 2, 23, 0},
    {"aes", 1, 0, 2, 25, 0},
    {"xsave", 1, 0, 2, 26, 0},
    {"avx", 1, 0, 2, 28, MICA_XCR0_AVX},
    {"f16c", 1, 0, 2, 29, MICA_XCR0_AVX},
    {"rdrnd", 1, 0, 2, 30, 0},
    {"bmi", 7, 0, 1, 3, 0},
    {"avx2", 7, 0, 1, 5, MICA_XCR0_AVX},
    {"bmi2", 7, 0, 1, 8, 0},
    {"avx512f", 7, 0, 1, 16, MICA_XCR0_AVX512},
    {"avx512dq", 7, 0, 1, 17, MICA_XCR0_AVX512},
    {"adx", 7, 0, 1, 19, 0},
    {"avx512ifma", 7, 0, 1, 21, MICA_XCR0_AVX512},
    {"avx512cd", 7, 0, 1, 28, MICA_XCR0_AVX512},
    {"sha", 7, 0, 1, 29, 0},
    {"avx512bw", 7, 0, 1, 30, MICA_XCR0_AVX512},
    {"avx512vl", 7, 0, 1, 31, MICA_XCR0_AVX512},
    {"avx512vbmi", 7, 0, 2, 1, MICA_XCR0_AVX512},
    {"avx512vbmi2", 7, 0, 2, 6, MICA_XCR0_AVX512},
    {"gfni", 7, 0, 2, 8, 0},
    {"vaes", 7, 0, 2, 9, MICA_XCR0_AVX},
    {"vpclmulqdq", 7, 0, 2, 10, MICA_XCR0_AVX},
    {"avx512vnni", 7, 0, 2, 11, MICA_XCR0_AVX512},
    {"avx512bitalg", 7, 0, 2, 12, MICA_XCR0_AVX512},
    {"avx512vpopcntdq", 7, 0, 2, 14, MICA_XCR0_AVX512},
    {"avx512vp2intersect", 7, 0, 3, 8, MICA_XCR0_AVX512},
    {"amx-bf16", 7, 0, 3, 22, MICA_XCR0_AMX},
    {"avx512fp16", 7, 0, 3, 23, MICA_XCR0_AVX512},
    {"amx-tile", 7, 0, 3, 24, MICA_XCR0_AMX},
    {"amx-int8", 7, 0, 3, 25, MICA_XCR0_AMX},
    {"avxvnni", 7, 1, 0, 4, MICA_XCR0_AVX},
    {"avx512bf16", 7, 1, 0, 5, MICA_XCR0_AVX512},
    {"avxifma", 7, 1, 0, 23, MICA_XCR0_AVX},
    {"avxvnniint8", 7, 1, 3, 4, MICA_XCR0_AVX},
    {"avxneconvert", 7, 1, 3, 5, MICA_XCR0_AVX},
    {"sahf", 0x80000001u, 0, 2, 0, 0},
    {"lzcnt", 0x80000001u, 0, 2, 5, 0},
    {"sse4a", 0x80000001u, 0, 2, 6, 0},
    {"prfchw", 0x80000001u, 0, 2, 8, 0},
    {"64bit", 0x80000001u, 0, 3, 29, 0},
};

/* Which bit of the auxiliary vector's AT_HWCAP (word 0) or AT_HWCAP2 (word 1). Source: Linux, arm64 uapi hwcap.h. */
struct mica_aarch64_feature {
  const char name[20];
  uint8_t word, bit;
};

static const struct mica_aarch64_feature mica_aarch64_features[] = {
    {"fp-armv8", 0, 0}, {"neon", 0, 1},     {"aes", 0, 3},      {"sha2", 0, 6}, {"crc", 0, 7},  {"lse", 0, 8},   {"fullfp16", 0, 10}, {"rdm", 0, 12},
    {"rcpc", 0, 15},    {"dotprod", 0, 20}, {"fp16fml", 0, 23}, {"sve", 0, 22}, {"sve2", 1, 1}, {"i8mm", 1, 13}, {"bf16", 1, 14},
};

#endif
