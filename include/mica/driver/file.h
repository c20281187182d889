#pragma once
// Files as the commands need them: read whole, and written so that a reader never sees half of one.
#include <filesystem>
#include <string>
#include <string_view>

#include "mica/support/diagnostic.h"

namespace mica {

/// The bytes of a file. Names what is wrong: not there, a folder, not readable.
Result<std::string> read_file(const std::filesystem::path& file, Diagnostics& diagnostics);

/// 32 hexadecimal digits of the file's bytes (XXH64 twice), to tell models apart.
Result<std::string> file_hash(const std::filesystem::path& file, Diagnostics& diagnostics);

/// That `file` is there and a regular file that can be opened. `what` is what the user calls it: "model".
Result<void> check_readable(const std::filesystem::path& file, std::string_view what, Diagnostics& diagnostics);

/// A file that appears under its name only when it is complete: written as a temporary file in the same folder, then renamed.
/// What stood there before stays until then, and for good when writing fails.
class PendingFile {
 public:
  /// Checks that the folder exists and can be written, before any long work.
  static Result<PendingFile> create(const std::filesystem::path& target, Diagnostics& diagnostics);
  /// Where to write.
  const std::filesystem::path& temporary() const { return temporary_; }
  /// Writes `bytes` as the whole content.
  Result<void> write(std::string_view bytes, Diagnostics& diagnostics);
  /// Flushes to the disk and renames.
  Result<void> commit(Diagnostics& diagnostics);
  PendingFile(PendingFile&& other) noexcept;
  PendingFile& operator=(PendingFile&&) = delete;
  ~PendingFile();

 private:
  PendingFile(std::filesystem::path target, std::filesystem::path temporary);
  std::filesystem::path target_, temporary_;
};

/// A new folder for files that nobody needs later; it goes away with all that is in it.
class TemporaryFolder {
 public:
  TemporaryFolder() = default;
  TemporaryFolder(const TemporaryFolder&) = delete;
  ~TemporaryFolder();
  Result<void> make(Diagnostics& diagnostics);
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

/// Writes all bytes to a descriptor: 0, or the errno of the write that failed.
int write_all(int descriptor, std::string_view bytes);

/// The nearest of `known` to `word` by edit distance, or empty when none is near enough to be a slip of the finger.
std::string nearest_spelling(std::string_view word, const std::vector<std::string>& known);

/// "97.8 MB": powers of 1000, three digits.
std::string format_bytes(double bytes);

}  // namespace mica
