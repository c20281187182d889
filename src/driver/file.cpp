#include "mica/driver/file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <numeric>
#include <utility>

#include "mica/support/hash.h"

namespace mica {

namespace {

namespace fs = std::filesystem;

std::string system_message(int code) { return std::strerror(code); }

Failure report_write(const fs::path& target, int code, Diagnostics& diagnostics) {
  auto& d = diagnostics.environment("write-failed", "cannot write `{}`: {}", target.string(), system_message(code));
  if (code == ENOSPC || code == EDQUOT) d.help("free some space, or write to another disk; what stood there before is untouched");
  return Failure{};
}

}  // namespace

int write_all(int descriptor, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t n = ::write(descriptor, bytes.data(), bytes.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return errno;
    bytes.remove_prefix(static_cast<size_t>(n));
  }
  return 0;
}

TemporaryFolder::~TemporaryFolder() {
  std::error_code ignored;
  if (!path_.empty()) fs::remove_all(path_, ignored);
}

Result<void> TemporaryFolder::make(Diagnostics& diagnostics) {
  std::error_code ignored;
  fs::path folder = fs::temp_directory_path(ignored);
  if (ignored) folder = ".";
  std::string pattern = folder / "mica.XXXXXX";
  if (!::mkdtemp(pattern.data())) {
    diagnostics.environment("output-not-writable", "cannot write into `{}`: {}", folder.string(), system_message(errno))
        .help("set TMPDIR to a folder that can be written");
    return Failure{};
  }
  path_ = pattern;
  return {};
}

Result<void> check_readable(const fs::path& file, std::string_view what, Diagnostics& diagnostics) {
  std::error_code ignored;
  const fs::file_status status = fs::status(file, ignored);
  if (!fs::exists(status)) {
    auto& d = diagnostics.error("no-such-file", "there is no {} `{}`", what, file.string());
    const fs::path folder = file.has_parent_path() ? file.parent_path() : fs::path(".");
    std::vector<std::string> names;
    if (fs::is_directory(folder, ignored)) {
      for (const auto& entry : fs::directory_iterator(folder, fs::directory_options::skip_permission_denied, ignored)) {
        if (names.size() < 1000) names.push_back(entry.path().filename().string());
      }
      const std::string near = nearest_spelling(file.filename().string(), names);
      if (!near.empty()) d.help(fmt::format("did you mean `{}`?", (file.has_parent_path() ? folder / near : fs::path(near)).string()));
    } else {
      d.note(fmt::format("there is no folder `{}` either", folder.string()));
    }
    return Failure{};
  }
  if (fs::is_directory(status)) {
    diagnostics.error("is-a-directory", "`{}` is a folder, not a {}", file.string(), what).help("name the file itself");
    return Failure{};
  }
  if (::access(file.c_str(), R_OK) != 0) {
    diagnostics.environment("cannot-read", "cannot read `{}`: {}", file.string(), system_message(errno));
    return Failure{};
  }
  return {};
}

Result<std::string> read_file(const fs::path& file, Diagnostics& diagnostics) {
  if (!check_readable(file, "file", diagnostics)) return Failure{};
  const int descriptor = ::open(file.c_str(), O_RDONLY | O_CLOEXEC);
  std::string bytes;
  int code = descriptor < 0 ? errno : 0;
  struct stat st{};
  if (!code && ::fstat(descriptor, &st) == 0 && S_ISREG(st.st_mode)) bytes.reserve(static_cast<size_t>(st.st_size));
  std::vector<char> chunk(1 << 20);
  while (!code) {
    const ssize_t n = ::read(descriptor, chunk.data(), chunk.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) code = errno;
    if (n <= 0) break;
    bytes.append(chunk.data(), static_cast<size_t>(n));
  }
  if (descriptor >= 0) ::close(descriptor);
  if (code) {
    diagnostics.environment("cannot-read", "cannot read `{}`: {}", file.string(), system_message(code));
    return Failure{};
  }
  return bytes;
}

Result<std::string> file_hash(const fs::path& file, Diagnostics& diagnostics) {
  if (!check_readable(file, "file", diagnostics)) return Failure{};
  const int descriptor = ::open(file.c_str(), O_RDONLY | O_CLOEXEC);
  struct stat st{};
  void* map = MAP_FAILED;
  if (descriptor >= 0 && ::fstat(descriptor, &st) == 0 && st.st_size > 0)
    map = ::mmap(nullptr, static_cast<size_t>(st.st_size), PROT_READ, MAP_PRIVATE, descriptor, 0);
  const int code = errno;
  if (descriptor >= 0) ::close(descriptor);
  if (map == MAP_FAILED) {
    diagnostics.environment("cannot-read", "cannot read `{}`: {}", file.string(), st.st_size ? system_message(code) : "it is empty");
    return Failure{};
  }
  std::string key = hash_key({static_cast<const std::byte*>(map), static_cast<size_t>(st.st_size)});
  ::munmap(map, static_cast<size_t>(st.st_size));
  return key;
}

PendingFile::PendingFile(fs::path target, fs::path temporary) : target_(std::move(target)), temporary_(std::move(temporary)) {}
PendingFile::PendingFile(PendingFile&& other) noexcept : target_(std::move(other.target_)), temporary_(std::exchange(other.temporary_, fs::path())) {}
PendingFile::~PendingFile() {
  std::error_code ignored;
  if (!temporary_.empty()) fs::remove(temporary_, ignored);
}

Result<PendingFile> PendingFile::create(const fs::path& target, Diagnostics& diagnostics) {
  std::error_code ignored;
  if (target.filename().empty() || fs::is_directory(target, ignored)) {
    diagnostics.error("output-is-folder", "the output `{}` is a folder", target.string()).help("name the file: -o FOLDER/libmodel.so");
    return Failure{};
  }
  // The rename in commit() would put a file where the device or pipe stood, for every program on the machine.
  if (fs::exists(target, ignored) && !fs::is_regular_file(target, ignored)) {
    diagnostics.error("output-not-a-file", "the output `{}` is a device, pipe or socket, not a file", target.string())
        .help("name a file; without -o, text goes to stdout");
    return Failure{};
  }
  const fs::path folder = target.has_parent_path() ? target.parent_path() : fs::path(".");
  if (!fs::is_directory(folder, ignored)) {
    diagnostics.environment("output-folder-missing", "there is no folder `{}` to write `{}` into", folder.string(), target.filename().string())
        .help(fmt::format("mkdir -p {}", folder.string()));
    return Failure{};
  }
  // Links are followed, so that the rename replaces the file that the link names and not the link.
  fs::path real = fs::weakly_canonical(target, ignored);
  if (ignored) real = target;
  std::string pattern = (real.has_parent_path() ? real.parent_path() : fs::path(".")) / ("." + real.filename().string() + ".XXXXXX");
  const int descriptor = ::mkstemp(pattern.data());
  if (descriptor < 0) {
    const int code = errno;
    auto& d = diagnostics.environment("output-not-writable", "cannot write into `{}`: {}", folder.string(), system_message(code));
    if (code == EACCES || code == EROFS) d.help("write somewhere else with -o, or change the folder's permissions");
    return Failure{};
  }
  const mode_t mask = ::umask(0);
  ::umask(mask);
  ::fchmod(descriptor, 0666 & ~mask);
  ::close(descriptor);
  return PendingFile(real, pattern);
}

Result<void> PendingFile::write(std::string_view bytes, Diagnostics& diagnostics) {
  const int descriptor = ::open(temporary_.c_str(), O_WRONLY | O_TRUNC | O_CLOEXEC);
  if (descriptor < 0) return report_write(target_, errno, diagnostics);
  int code = write_all(descriptor, bytes);
  if (::close(descriptor) != 0 && !code) code = errno;
  if (code) return report_write(target_, code, diagnostics);
  return {};
}

Result<void> PendingFile::commit(Diagnostics& diagnostics) {
  // Some file systems report a full disk only when data is flushed.
  const int descriptor = ::open(temporary_.c_str(), O_RDONLY | O_CLOEXEC);
  int code = descriptor < 0 ? errno : 0;
  if (!code && ::fsync(descriptor) != 0 && errno != EINVAL) code = errno;
  if (descriptor >= 0) ::close(descriptor);
  if (!code && ::rename(temporary_.c_str(), target_.c_str()) != 0) code = errno;
  if (code) return report_write(target_, code, diagnostics);
  temporary_.clear();
  return {};
}

std::string nearest_spelling(std::string_view word, const std::vector<std::string>& known) {
  const auto distance = [](std::string_view a, std::string_view b) {  // Damerau-Levenshtein, neighbours swapped once
    std::vector<size_t> before(b.size() + 1), row(b.size() + 1), two_before;
    std::iota(before.begin(), before.end(), size_t{0});
    for (size_t i = 1; i <= a.size(); ++i) {
      row[0] = i;
      for (size_t j = 1; j <= b.size(); ++j) {
        row[j] = std::min({before[j] + 1, row[j - 1] + 1, before[j - 1] + (a[i - 1] != b[j - 1])});
        if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) row[j] = std::min(row[j], two_before[j - 2] + 1);
      }
      two_before = before;
      before = row;
    }
    return before[b.size()];
  };
  std::string best;
  size_t best_distance = std::max<size_t>(word.size() / 3, 1) + 1;
  for (const std::string& k : known) {
    const size_t d = distance(word, k);
    if (d < best_distance) best = k, best_distance = d;
    // "--verb" for "--verbose": a prefix is a slip as well
    else if (best.empty() && word.size() >= 4 && k.starts_with(word)) best = k;
  }
  return best;
}

std::string format_bytes(double bytes) {
  constexpr const char* units[] = {"B", "kB", "MB", "GB", "TB"};
  int unit = 0;
  while (bytes >= 999.5 && unit < 4) bytes /= 1000, ++unit;
  if (unit == 0) return fmt::format("{:.0f} B", bytes);
  return fmt::format("{:.{}f} {}", bytes, bytes >= 99.95 ? 0 : bytes >= 9.995 ? 1 : 2, units[unit]);
}

}  // namespace mica
