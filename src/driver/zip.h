#pragma once
// The part of the zip format that .npz files use.
#include <string>
#include <string_view>
#include <vector>

#include "mica/support/diagnostic.h"

namespace mica {

struct ZipMember {
  std::string name;
  uint16_t method = 0;  ///< 0 stored, 8 deflated
  uint32_t crc = 0;
  uint64_t packed_size = 0, size = 0, header_at = 0;
};

/// The members that the archive's directory lists. `file_name` is for messages.
Result<std::vector<ZipMember>> list_zip(std::string_view archive, const std::string& file_name, Diagnostics& diagnostics);
/// The bytes of one member, checked against its CRC.
Result<std::string> read_zip_member(std::string_view archive, const ZipMember& member, const std::string& file_name, Diagnostics& diagnostics);

/// Builds an archive of stored members, dated 1980-01-01, so that the same content gives the same bytes.
class ZipWriter {
 public:
  void add(const std::string& name, std::string_view bytes);
  /// Appends the directory and gives the archive up.
  std::string finish();

 private:
  std::string archive_;
  std::vector<ZipMember> members_;
};

}  // namespace mica
