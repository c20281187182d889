#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "cpu_table.h"

namespace mica {

/// This machine, as seen from user space.
struct Host {
  Architecture architecture = Architecture::x86_64;
  std::string cpu;                                   ///< LLVM's name; empty when it is not one that is known
  std::vector<std::string> features;                 ///< those of runtime/cpu_features.h that CPU and operating system both support
  int64_t l1_bytes = 0, l2_bytes = 0, l3_bytes = 0;  ///< data caches; 0 when unknown
};

Host detect_host();

}  // namespace mica
