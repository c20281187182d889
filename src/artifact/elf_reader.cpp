// Sections of an ELF file, which may be damaged or hostile: every offset and size is checked against the file's size before
// it is used, and nothing of the file is executed.
#include <elf.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "mica/artifact/elf.h"

namespace mica::artifact {
namespace {

constexpr uint64_t max_section_bytes = 256 << 20;  ///< a manifest is a few hundred KiB

/// A file that is read at offsets; nothing past its end is ever asked for.
class Input {
 public:
  explicit Input(const std::filesystem::path& path) : fd_(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)) {
    struct stat status{};
    if (fd_ < 0 || fstat(fd_, &status) != 0) {
      error_ = errno;
    } else if (S_ISDIR(status.st_mode)) {
      error_ = EISDIR;
    } else if (!S_ISREG(status.st_mode)) {
      error_ = EINVAL;
    } else {
      size_ = static_cast<uint64_t>(status.st_size);
    }
  }
  ~Input() {
    if (fd_ >= 0) close(fd_);
  }
  Input(const Input&) = delete;
  Input& operator=(const Input&) = delete;
  int error() const { return error_; }

  bool read(uint64_t offset, void* to, uint64_t bytes) const {
    if (offset > size_ || bytes > size_ - offset) return false;
    char* at = static_cast<char*>(to);
    while (bytes) {
      const ssize_t got = pread(fd_, at, bytes, static_cast<off_t>(offset));
      if (got <= 0) return false;
      at += got;
      offset += static_cast<uint64_t>(got);
      bytes -= static_cast<uint64_t>(got);
    }
    return true;
  }
  std::optional<std::string> read_text(uint64_t offset, uint64_t bytes) const {
    if (offset > size_ || bytes > size_ - offset || bytes > max_section_bytes) return std::nullopt;
    std::string text(bytes, '\0');
    if (!read(offset, text.data(), bytes)) return std::nullopt;
    return text;
  }

 private:
  int fd_;
  int error_ = 0;
  uint64_t size_ = 0;
};

enum class Found : uint8_t { yes, not_elf, damaged, no_section };

Found find_section(const Input& file, std::string_view name, std::string& bytes) {
  Elf64_Ehdr header{};
  if (!file.read(0, &header, sizeof header) || std::memcmp(header.e_ident, ELFMAG, SELFMAG) != 0 || header.e_ident[EI_CLASS] != ELFCLASS64 ||
      header.e_ident[EI_DATA] != ELFDATA2LSB) {
    return Found::not_elf;
  }
  if (header.e_shentsize != sizeof(Elf64_Shdr) || header.e_shstrndx >= header.e_shnum) return Found::damaged;
  const auto read_header = [&](uint64_t i, Elf64_Shdr& s) {
    uint64_t at = 0;
    return !__builtin_add_overflow(header.e_shoff, i * sizeof(Elf64_Shdr), &at) && file.read(at, &s, sizeof s);
  };
  Elf64_Shdr names_header{};
  if (!read_header(header.e_shstrndx, names_header)) return Found::damaged;
  const auto names = file.read_text(names_header.sh_offset, names_header.sh_size);
  if (!names) return Found::damaged;
  for (uint64_t i = 0; i < header.e_shnum; ++i) {
    Elf64_Shdr s{};
    if (!read_header(i, s)) return Found::damaged;
    if (s.sh_name >= names->size() || s.sh_type == SHT_NOBITS) continue;
    const std::string_view rest = std::string_view(*names).substr(s.sh_name);
    if (rest.substr(0, rest.find('\0')) != name) continue;
    auto text = file.read_text(s.sh_offset, s.sh_size);
    if (!text) return Found::damaged;
    bytes = std::move(*text);
    return Found::yes;
  }
  return Found::no_section;
}

}  // namespace

Result<std::string> read_elf_section(const std::filesystem::path& path, std::string_view name, Diagnostics& diagnostics) {
  const Input file(path);
  if (file.error()) {
    diagnostics.error("read-failed", "cannot read '{}': {}", path.string(), std::strerror(file.error()));
    return Failure{};
  }
  std::string bytes;
  switch (find_section(file, name, bytes)) {
    case Found::yes: return bytes;
    case Found::not_elf: diagnostics.error("not-elf", "'{}' is not a 64-bit shared object", path.string()); break;
    case Found::damaged: diagnostics.error("elf-damaged", "'{}' is damaged: its section table is cut short", path.string()); break;
    case Found::no_section: diagnostics.error("elf-section-missing", "'{}' has no section {}", path.string(), name); break;
  }
  return Failure{};
}

Result<std::string> read_manifest(const std::filesystem::path& path, Diagnostics& diagnostics) {
  Diagnostics inner;
  auto text = read_elf_section(path, ".mica.manifest", inner);
  if (text) {
    while (!text->empty() && text->back() == '\0') text->pop_back();
    return std::move(*text);
  }
  for (const Diagnostic& d : inner.all()) {
    if (d.name == "elf-section-missing") {
      diagnostics.error("not-a-mica-library", "'{}' is not a library that Mica compiled", path.string())
          .note("it has no section .mica.manifest")
          .help("make one: mica compile MODEL.pt -o " + path.filename().string());
    } else {
      Diagnostic& copy = diagnostics.add(d.severity, d.error_class, d.name, d.message);
      if (d.name == "not-elf") copy.help("give the .so that `mica compile` wrote");
    }
  }
  return Failure{};
}

}  // namespace mica::artifact
