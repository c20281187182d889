#pragma once
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdint>
#include <filesystem>

#include "mica/support/check.h"

namespace mica::artifact {

/// A file that is written from front to back, or at its end. The first error sticks; close() tells it.
class Output {
 public:
  enum class Mode : uint8_t { create, existing };
  explicit Output(const std::filesystem::path& path, Mode mode = Mode::create)
      : fd_(open(path.c_str(), mode == Mode::create ? O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC : O_RDWR | O_CLOEXEC, 0644)) {
    if (fd_ < 0) error_ = errno;
  }
  ~Output() { close(); }
  Output(const Output&) = delete;
  Output& operator=(const Output&) = delete;

  bool failed() const { return error_ != 0; }

  void write(const void* data, size_t bytes) {
    const char* from = static_cast<const char*>(data);
    at_ += bytes;
    while (bytes && !error_) {
      const ssize_t done = ::write(fd_, from, std::min<size_t>(bytes, 1 << 30));
      if (done < 0 && errno == EINTR) continue;
      if (done <= 0) error_ = errno ? errno : EIO;
      if (done <= 0) return;
      from += done;
      bytes -= static_cast<size_t>(done);
    }
  }
  void pad_to(uint64_t offset) {
    static constexpr std::array<char, 4096> zeros{};
    MICA_CHECK(offset >= at_);
    while (at_ < offset) write(zeros.data(), std::min<uint64_t>(zeros.size(), offset - at_));
  }

  /// Of an existing file: small parts at known places; all or an error.
  void read_at(uint64_t offset, void* to, size_t bytes) {
    if (!error_ && pread(fd_, to, bytes, static_cast<off_t>(offset)) != static_cast<ssize_t>(bytes)) error_ = errno ? errno : EIO;
  }
  void write_at(uint64_t offset, const void* from, size_t bytes) {
    if (!error_ && pwrite(fd_, from, bytes, static_cast<off_t>(offset)) != static_cast<ssize_t>(bytes)) error_ = errno ? errno : EIO;
  }
  uint64_t size() {
    struct stat status{};
    if (!error_ && fstat(fd_, &status) != 0) error_ = errno;
    return static_cast<uint64_t>(status.st_size);
  }
  /// From here on write() appends.
  void seek_end() {
    at_ = size();
    if (!error_ && lseek(fd_, 0, SEEK_END) < 0) error_ = errno;
  }

  /// 0, or the errno of the first thing that failed.
  int close() {
    if (fd_ >= 0 && ::close(fd_) != 0 && !error_) error_ = errno;
    fd_ = -1;
    return error_;
  }

 private:
  int fd_;
  int error_ = 0;
  uint64_t at_ = 0;
};

}  // namespace mica::artifact
