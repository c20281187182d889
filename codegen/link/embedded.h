#pragma once
#include <string_view>

namespace mica {

/// What a .so of one architecture is linked with.
struct TargetFiles {
  std::string_view runtime;    ///< bytes of the runtime's relocatable object
  std::string_view libc_stub;  ///< bytes of the stub libc.so.6
  const char* emulation;       ///< LLD's -m
};

TargetFiles x86_64_files();
TargetFiles aarch64_files();

}  // namespace mica
