#pragma once
// What kind of file this is, found out before LibTorch sees it. No torch type appears here.
#include <filesystem>
#include <string>
#include <vector>

#include "mica/support/diagnostic.h"

namespace mica::frontend {

/// One record of a zip archive.
struct ArchiveEntry {
  std::string name;
  uint64_t offset = 0;  ///< of the local header
  uint64_t size = 0, packed_size = 0;
  uint32_t crc = 0;
  uint16_t method = 0;  ///< 0 stored, 8 deflate
};

/// Reads the zip's directory and checks that the file is a TorchScript archive; every other kind of file that people pass by mistake gets an error
/// that says what it is and which lines to write instead. Record lengths and checksums are verified, so a damaged file never reaches the loader.
Result<void> check_archive(const std::filesystem::path& file, Diagnostics& diagnostics);

}  // namespace mica::frontend
