// A `.pt` is a zip archive. LibTorch's reader answers a wrong file with a C++ stack trace, so the usual mistakes are told apart here.
#include "archive.h"

#include "pickle.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include <algorithm>
#include <cstring>
#include <optional>
#include <span>
#include <string_view>

namespace mica::frontend {
namespace {

namespace fs = std::filesystem;
using Bytes = std::span<const unsigned char>;

constexpr std::string_view save_traced = "torch.jit.trace(model.eval(), example).save(\"model.pt\")";
constexpr std::string_view save_scripted = "torch.jit.script(model.eval()).save(\"model.pt\")";

/// A file mapped read-only for as long as this lives.
class MappedFile {
 public:
  MappedFile(const fs::path& file) {
    fd_ = ::open(file.c_str(), O_RDONLY | O_CLOEXEC);
    struct stat info{};
    if (fd_ < 0 || fstat(fd_, &info) != 0) return;
    size_ = static_cast<size_t>(info.st_size);
    data_ = size_ ? mmap(nullptr, size_, PROT_READ, MAP_PRIVATE, fd_, 0) : MAP_FAILED;
  }
  ~MappedFile() {
    if (data_ != MAP_FAILED) munmap(data_, size_);
    if (fd_ >= 0) ::close(fd_);
  }
  MappedFile(const MappedFile&) = delete;
  bool ok() const { return data_ != MAP_FAILED; }
  Bytes bytes() const { return {static_cast<const unsigned char*>(data_), size_}; }

 private:
  int fd_ = -1;
  void* data_ = MAP_FAILED;
  size_t size_ = 0;
};

template <class T> T read(Bytes b, size_t at) {
  T value{};
  if (at <= b.size() && b.size() - at >= sizeof(T)) std::memcpy(&value, b.data() + at, sizeof(T));
  return value;
}

bool starts_with(Bytes b, std::string_view text, size_t at = 0) {
  return b.size() >= at + text.size() && std::memcmp(b.data() + at, text.data(), text.size()) == 0;
}

/// Position of the end record, searched from the back; npos when there is none.
size_t find_end_record(Bytes b) {
  const size_t last = b.size() < 22 ? 0 : b.size() - 22;
  const size_t first = last > 65557 ? last - 65557 : 0;
  for (size_t at = last + 1; at-- > first;) {
    if (starts_with(b, "PK\5\6", at)) return at;
  }
  return std::string_view::npos;
}

/// Reads the central directory (with the 64-bit extension); the text says what is wrong, empty when nothing is.
std::string read_directory(Bytes b, std::vector<ArchiveEntry>& entries) {
  const size_t end = find_end_record(b);
  if (end == std::string_view::npos) return "the end of the archive is missing";
  uint64_t count = read<uint16_t>(b, end + 10), size = read<uint32_t>(b, end + 12), start = read<uint32_t>(b, end + 16);
  if (end >= 20 && starts_with(b, "PK\6\7", end - 20)) {
    const uint64_t at = read<uint64_t>(b, end - 12);
    if (at > b.size() || !starts_with(b, "PK\6\6", at)) return "its 64-bit end record is damaged";
    count = read<uint64_t>(b, at + 32), size = read<uint64_t>(b, at + 40), start = read<uint64_t>(b, at + 48);
  }
  if (start > b.size() || size > b.size() - start) return "its directory lies outside the file";
  if (count > 1000000) return "it claims more than a million records";
  size_t at = start;
  for (uint64_t i = 0; i < count; ++i) {
    if (!starts_with(b, "PK\1\2", at)) return "its directory is damaged";
    ArchiveEntry e;
    e.method = read<uint16_t>(b, at + 10), e.crc = read<uint32_t>(b, at + 16);
    e.packed_size = read<uint32_t>(b, at + 20), e.size = read<uint32_t>(b, at + 24), e.offset = read<uint32_t>(b, at + 42);
    const size_t name = read<uint16_t>(b, at + 28), extra = read<uint16_t>(b, at + 30), comment = read<uint16_t>(b, at + 32);
    if (b.size() - at < 46 + name + extra + comment) return "its directory is cut off";
    e.name.assign(reinterpret_cast<const char*>(b.data()) + at + 46, name);
    for (size_t x = at + 46 + name, stop = x + extra; x + 4 <= stop;) {  // sizes of 64 bits stand in an extra field, in this order
      const size_t length = read<uint16_t>(b, x + 2);
      if (x + 4 + length > stop) break;
      if (read<uint16_t>(b, x) == 1) {
        size_t field = x + 4;
        for (uint64_t* v : {&e.size, &e.packed_size, &e.offset}) {
          if (*v == 0xffffffffu) *v = read<uint64_t>(b, field), field += 8;
        }
      }
      x += 4 + length;
    }
    at += 46 + name + extra + comment;
    entries.push_back(std::move(e));
  }
  return {};
}

/// Lengths, names and checksums of all records.
std::string check_records(Bytes b, const std::vector<ArchiveEntry>& entries) {
  std::vector<std::string_view> names;
  for (const ArchiveEntry& e : entries) {
    if (e.name.starts_with('/') || e.name.find("..") != std::string::npos || e.name.find('\0') != std::string::npos)
      return fmt::format("record '{}' has a name that is not allowed", e.name);
    if (e.offset > b.size() || b.size() - e.offset < 30 || !starts_with(b, "PK\3\4", e.offset)) return fmt::format("record '{}' is cut off", e.name);
    const size_t data = e.offset + 30 + read<uint16_t>(b, e.offset + 26) + read<uint16_t>(b, e.offset + 28);
    if (data > b.size() || e.packed_size > b.size() - data) return fmt::format("record '{}' is cut off", e.name);
    if (e.method != 0 && e.method != 8) return fmt::format("record '{}' is packed by a method that PyTorch does not use", e.name);
    if (e.method == 0) {
      if (e.size != e.packed_size) return fmt::format("record '{}' has two lengths", e.name);
      if (crc32_z(0, b.data() + data, e.size) != e.crc) return fmt::format("the bytes of record '{}' do not match their checksum", e.name);
    } else if (e.size > (uint64_t{64} << 20) && e.size / 100 > e.packed_size) {
      return fmt::format("record '{}' unpacks to more than 100 times its size", e.name);
    }
    names.push_back(e.name);
  }
  std::sort(names.begin(), names.end());
  const auto twice = std::adjacent_find(names.begin(), names.end());
  return twice == names.end() ? std::string() : fmt::format("record '{}' stands in it twice", *twice);
}

/// The record's bytes when stored without compression.
Bytes contents(Bytes b, const ArchiveEntry& e) {
  const size_t data = e.offset + 30 + read<uint16_t>(b, e.offset + 26) + read<uint16_t>(b, e.offset + 28);
  if (e.method != 0 || data > b.size() || e.size > b.size() - data) return {};
  return b.subspan(data, e.size);
}

/// The record's bytes, inflated when need be; none when they do not unpack to the length that they claim.
std::optional<std::vector<unsigned char>> unpack(Bytes b, const ArchiveEntry& e) {
  const size_t data = e.offset + 30 + read<uint16_t>(b, e.offset + 26) + read<uint16_t>(b, e.offset + 28);
  if (e.method == 0) return std::vector<unsigned char>(b.begin() + data, b.begin() + data + e.size);
  std::vector<unsigned char> out(e.size);
  z_stream z{};
  if (e.size > (uint64_t{1} << 31) || inflateInit2(&z, -MAX_WBITS) != Z_OK) return std::nullopt;
  z.next_in = const_cast<unsigned char*>(b.data() + data), z.avail_in = static_cast<uInt>(e.packed_size);
  z.next_out = out.data(), z.avail_out = static_cast<uInt>(e.size);
  const int result = inflate(&z, Z_FINISH);
  inflateEnd(&z);
  return result == Z_STREAM_END && z.total_out == e.size ? std::optional(std::move(out)) : std::nullopt;
}

/// Every tensor of the model's pickles lies within its record: LibTorch believes the pickle and would read past the record's end.
std::string check_storages(Bytes b, const std::vector<ArchiveEntry>& entries) {
  for (const ArchiveEntry& e : entries) {
    const size_t slash = e.name.find('/');
    const std::string top = e.name.substr(0, slash + 1), rest = slash == std::string::npos ? e.name : e.name.substr(slash + 1);
    const bool debug = rest.ends_with(".debug_pkl");
    if (!debug && rest != "data.pkl" && rest != "constants.pkl") continue;
    const auto pickle = unpack(b, e);
    if (!pickle) return fmt::format("record '{}' does not unpack", e.name);
    std::vector<PickledStorage> storages;
    if (const std::string trouble = read_storages(*pickle, storages); !trouble.empty()) return fmt::format("record '{}': {}", e.name, trouble);
    if (debug && !storages.empty()) return fmt::format("record '{}' holds tensors", e.name);
    const std::string folder = top + (rest == "data.pkl" ? "data/" : "constants/");
    for (const PickledStorage& s : storages) {
      const auto record = std::find_if(entries.begin(), entries.end(), [&](const ArchiveEntry& r) { return r.name == folder + s.key; });
      if (record == entries.end()) return fmt::format("it has no record '{}'", folder + s.key);
      if (s.bytes > record->size) return fmt::format("record '{}' has {} bytes where the model reads {}", record->name, record->size, s.bytes);
    }
  }
  return {};
}

/// The loader runs `__setstate__` of the file's own code while loading, with any operator that PyTorch has: such files are not loaded.
Result<void> check_code(const fs::path& file, Bytes b, const std::vector<ArchiveEntry>& entries, Diagnostics& diagnostics) {
  uint64_t total = 0;
  for (const ArchiveEntry& e : entries) {
    if (!e.name.ends_with(".py") || e.name.find("/code/") == std::string::npos) continue;
    total += e.size;
    if (total > (uint64_t{64} << 20)) {
      diagnostics.error("damaged-archive", "{} holds more than 64 MiB of code", file.string()).help("save a smaller part of the model");
      return Failure{};
    }
    const auto code = unpack(b, e);
    if (!code) {
      diagnostics.error("damaged-archive", "{} is damaged: record '{}' does not unpack", file.string(), e.name)
          .help("copy or download it again, or save the model again");
      return Failure{};
    }
    if (std::string_view(reinterpret_cast<const char*>(code->data()), code->size()).find("def __setstate__") == std::string_view::npos) continue;
    diagnostics
        .unsupported("setstate", "{} has code that runs while it is loaded (__setstate__ in {}), as quantised modules do", file.string(), e.name)
        .note("such code may read and write files, so it is not run")
        .help("save the model before quantising it, or without __getstate__ and __setstate__");
    return Failure{};
  }
  return {};
}

/// The first GLOBAL of a pickle ("c<module>\n<name>\n"), which names the class of what was saved: "collections.OrderedDict".
std::string first_global(Bytes pickle) {
  for (size_t i = 0; i < pickle.size() && i < 64; ++i) {
    if (pickle[i] != 'c') continue;
    const std::string_view text(reinterpret_cast<const char*>(pickle.data()) + i + 1, std::min<size_t>(pickle.size() - i - 1, 300));
    const size_t a = text.find('\n');
    const size_t b = a == std::string_view::npos ? a : text.find('\n', a + 1);
    if (b == std::string_view::npos) return {};
    return std::string(text.substr(0, a)) + "." + std::string(text.substr(a + 1, b - a - 1));
  }
  return {};
}

void explain_torch_save(const fs::path& file, Bytes pickle, Diagnostics& diagnostics) {
  const std::string what = first_global(pickle);
  const bool whole = !what.empty() && !what.starts_with("collections.") && !what.starts_with("torch._utils.") && !what.starts_with("torch.storage");
  if (whole) {
    diagnostics.error("pickled-module", "{} is a pickled Python object ({}) written by torch.save, not a TorchScript model", file.string(), what)
        .note("a pickle needs the model's Python code to run; TorchScript carries its own")
        .help(fmt::format("model = torch.load(\"{}\", weights_only=False)", file.string()))
        .help(std::string(save_traced));
  } else {
    diagnostics.error("state-dict", "{} holds only weights (a state_dict written by torch.save), not a TorchScript model", file.string())
        .note("weights alone do not say what to compute")
        .help(fmt::format("model.load_state_dict(torch.load(\"{}\"))", file.string()))
        .help(std::string(save_traced));
  }
}

void explain_not_a_zip(const fs::path& file, Bytes b, Diagnostics& diagnostics) {
  if (b.size() > 2 && b[0] == 0x80 && b[1] >= 2 && b[1] <= 5)
    return explain_torch_save(file, b.size() > 40 && b[2] == 0x8a ? b.subspan(40) : b, diagnostics);
  std::string_view kind;
  if (starts_with(b, "PTMF", 4)) kind = "a PyTorch Mobile file (flatbuffer)";
  else if (starts_with(b, "GGUF")) kind = "a GGUF file";
  else if (starts_with(b, "\x89HDF")) kind = "an HDF5 file";
  else if (starts_with(b,
                       "\x7f"
                       "ELF"))
    kind = "an ELF file";
  else if (b.size() > 9 && read<uint64_t>(b, 0) < b.size() && b[8] == '{') kind = "a safetensors file, which holds only weights";
  else if (b.size() > 4 && b[0] == 0x08 && b[1] < 16) kind = "perhaps an ONNX file";
  auto& d = diagnostics.error("not-torchscript", "{} is not a TorchScript model{}{}", file.string(), kind.empty() ? "" : ": it is ", kind);
  d.help(std::string(save_traced)).help(std::string(save_scripted));
}

bool has_suffix(const std::vector<ArchiveEntry>& entries, std::string_view suffix) {
  return std::any_of(entries.begin(), entries.end(), [&](const ArchiveEntry& e) { return e.name.ends_with(suffix); });
}
bool has_part(const std::vector<ArchiveEntry>& entries, std::string_view part) {
  return std::any_of(entries.begin(), entries.end(), [&](const ArchiveEntry& e) { return e.name.find(part) != std::string::npos; });
}

/// Tells TorchScript from the other things that PyTorch writes as zip files.
Result<void> check_kind(const fs::path& file, Bytes b, const std::vector<ArchiveEntry>& entries, Diagnostics& diagnostics) {
  if (has_suffix(entries, "/constants.pkl") && has_part(entries, "/code/")) return {};
  if (has_suffix(entries, "archive_format") || has_suffix(entries, "serialized_exported_program.json") || has_part(entries, "/models/")) {
    diagnostics.unsupported("exported-program", "{} is an exported program (torch.export, `.pt2`); Mica reads TorchScript so far", file.string())
        .note("a frontend for `.pt2` is planned")
        .help("from the same nn.Module: " + std::string(save_traced));
    return Failure{};
  }
  if (has_suffix(entries, "/bytecode.pkl")) {
    diagnostics.unsupported("mobile-model", "{} is a PyTorch Mobile model without TorchScript code", file.string())
        .help("keep the model from before _save_for_lite_interpreter: " + std::string(save_scripted));
    return Failure{};
  }
  for (const ArchiveEntry& e : entries) {
    if (e.name == "data.pkl" || e.name.ends_with("/data.pkl")) {
      explain_torch_save(file, contents(b, e), diagnostics);
      return Failure{};
    }
  }
  diagnostics.error("not-torchscript", "{} is a zip archive without a TorchScript model in it", file.string())
      .help(std::string(save_traced))
      .help(std::string(save_scripted));
  return Failure{};
}

}  // namespace

Result<void> check_archive(const fs::path& file, Diagnostics& diagnostics) {
  std::error_code error;
  const fs::file_status status = fs::status(file, error);
  if (!fs::exists(status)) {
    diagnostics.error("no-such-file", "{}: no such file", file.string())
        .help(fmt::format("the current folder is {}", fs::current_path(error).string()));
    return Failure{};
  }
  if (fs::is_directory(status)) {
    diagnostics.error("is-a-directory", "{} is a directory, not a `.pt` file", file.string())
        .help("name the file that " + std::string(save_traced) + " wrote");
    return Failure{};
  }
  if (!fs::is_regular_file(status)) {
    diagnostics.error("not-a-file", "{} is not a regular file", file.string()).help("copy the model into a file first");
    return Failure{};
  }
  if (fs::file_size(file, error) == 0) {
    diagnostics.error("empty-file", "{} is empty", file.string()).help("save the model again: " + std::string(save_traced));
    return Failure{};
  }
  const MappedFile mapped(file);
  if (!mapped.ok()) {
    diagnostics.environment("cannot-read", "{} cannot be read: {}", file.string(), std::strerror(errno)).help("check the file's permissions");
    return Failure{};
  }
  const Bytes b = mapped.bytes();
  if (!starts_with(b, "PK\3\4")) {
    explain_not_a_zip(file, b, diagnostics);
    return Failure{};
  }
  std::vector<ArchiveEntry> entries;
  std::string trouble = read_directory(b, entries);
  if (trouble.empty()) trouble = check_records(b, entries);
  if (!trouble.empty()) {
    diagnostics.error("damaged-archive", "{} is damaged or cut off: {}", file.string(), trouble)
        .note(fmt::format("it has {} bytes", b.size()))
        .help("copy or download it again, or save the model again");
    return Failure{};
  }
  if (!check_kind(file, b, entries, diagnostics) || !check_code(file, b, entries, diagnostics)) return Failure{};
  trouble = check_storages(b, entries);
  if (!trouble.empty()) {
    diagnostics.error("damaged-archive", "{} is damaged: {}", file.string(), trouble).help("copy or download it again, or save the model again");
    return Failure{};
  }
  return {};
}

}  // namespace mica::frontend
