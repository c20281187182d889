#pragma once
#include <span>
#include <string_view>

namespace mica {

enum class Architecture : unsigned char { x86_64, aarch64 };

struct Cpu {
  std::string_view name;      ///< LLVM's
  std::string_view base;      ///< another entry whose features it has too; empty: none
  std::string_view features;  ///< beyond the base's, separated by spaces
};

/// A CPU stands behind its base.
std::span<const Cpu> cpu_table(Architecture architecture);

}  // namespace mica
