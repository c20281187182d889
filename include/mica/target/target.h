#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "mica/support/diagnostic.h"
#include "mica/support/result.h"

namespace mica {

/// Registers that hold small matrices, of `rows` rows of `row_bytes` bytes at most; none where `registers` is 0.
struct MatrixTiles {
  int32_t registers = 0, rows = 0, row_bytes = 0;
  bool dot_bf16 = false;  ///< products of pairs of bf16 are added up in f32
};

/// A machine described by what it can do; passes and schedules ask this, never a CPU's name.
struct Target {
  std::string triple;                 ///< "x86_64-unknown-linux-gnu"
  std::string cpu;                    ///< LLVM's name, for scheduling models ("znver4", "x86-64-v3")
  std::vector<std::string> features;  ///< LLVM feature names that the code may use, sorted ("avx512f", ...); the artifact checks them
  int32_t vector_bits = 128;          ///< preferred vector register
  int32_t vector_registers = 16;
  bool masked_memory = false;  ///< masked loads and stores are instructions
  /// A store under a mask costs what any other does. AVX2 has none for 16 bits, and on a Zen 3 eight stores of single lanes took less than half the
  /// time of three vectors under masks.
  bool stores_by_mask() const { return has("avx512vl") && has("avx512bw"); }
  /// Elements from one lane of a store to the next up to which masked vectors, or stores of single lanes, are faster than a scatter.
  int64_t widest_stored_stride() const { return masked_memory ? 4 : 1; }
  bool fma = false;
  bool dot_bf16 = false;  ///< dpbf16ps or bfdot
  bool dot_i8 = false;    ///< VNNI u8s8
  MatrixTiles tiles;
  int64_t l1_bytes = 32 << 10, l2_bytes = 1 << 20, l3_bytes = 16 << 20;
  int32_t lanes(int64_t element_bytes) const { return static_cast<int32_t>(vector_bits / 8 / element_bytes); }
  bool has(const std::string& feature) const;
  /// Without the features that only kernels with matrix tiles need: code that uses none asks the machine for none.
  void drop_tiles();
};

/// `name` is "native", an x86-64 level, "aarch64", or an LLVM CPU name; `features` "+avx512f,-fma" adjusts it.
Result<Target> make_target(const std::string& name, const std::string& features, Diagnostics& diagnostics);

/// Every name that make_target takes.
std::vector<std::string> known_cpus();

}  // namespace mica
