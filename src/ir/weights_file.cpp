#include "weights_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <fstream>

#include "mica/ir/text.h"
#include "mica/support/hash.h"

namespace mica {

namespace {

constexpr char magic[] = "MICAWGT1";
constexpr size_t key_size = 32, entry_size = key_size + 16, header_size = 16, alignment = 64;

void collect(const Graph& graph, std::map<std::string, std::span<const std::byte>>& out) {
  for (const GraphValue& v : graph.values)
    if (v.constant >= 0) {
      const auto bytes = graph.constants[v.constant].bytes;
      if (is_external(v.type, bytes)) out.emplace(hash_key(bytes), bytes);
    }
  for (const Node& n : graph.nodes)
    for (const Attr& a : n.fields)
      if (auto r = std::get_if<Region>(&a); r && r->graph) collect(*r->graph, out);
}

/// Writes through a temporary file, so that a full disk leaves the old file whole.
template <class F> Result<void> write_file(const std::filesystem::path& file, Diagnostics& diagnostics, F&& body) {
  std::filesystem::path temporary = file;
  temporary += ".tmp";
  {
    std::ofstream out(temporary, std::ios::binary | std::ios::trunc);
    if (out) body(out);
    out.close();
    if (!out) {
      const std::string why = std::strerror(errno);
      std::error_code ignored;
      std::filesystem::remove(temporary, ignored);
      diagnostics.environment("cannot-write", "cannot write {}: {}", file.string(), why)
          .help("choose a folder that you can write to and that has room");
      return Failure{};
    }
  }
  std::error_code error;
  std::filesystem::rename(temporary, file, error);
  if (!error) return {};
  diagnostics.environment("cannot-write", "cannot write {}: {}", file.string(), error.message());
  return Failure{};
}

}  // namespace

bool is_splat(const TensorType& type, std::span<const std::byte> bytes) {
  const size_t size = size_of(type.dtype);
  return bytes.size() >= size && std::memcmp(bytes.data(), bytes.data() + size, bytes.size() - size) == 0;
}

bool is_external(const TensorType& type, std::span<const std::byte> bytes) {
  return type.shape.elements() > inline_elements && !is_splat(type, bytes);
}

Result<WeightsFile> WeightsFile::open(const std::filesystem::path& file, Diagnostics& diagnostics) {
  const int fd = ::open(file.c_str(), O_RDONLY | O_CLOEXEC);
  struct stat info{};
  if (fd < 0 || fstat(fd, &info) != 0) {
    diagnostics.environment("cannot-read", "cannot read {}: {}", file.string(), std::strerror(errno));
    if (fd >= 0) close(fd);
    return Failure{};
  }
  const size_t size = static_cast<size_t>(info.st_size);
  void* address = size ? mmap(nullptr, size, PROT_READ, MAP_PRIVATE, fd, 0) : MAP_FAILED;
  close(fd);
  const auto broken = [&] {
    diagnostics.error("bad-weights-file", "{} is not a weights file of Mica, or it is cut short", file.string())
        .help("write it anew with `mica compile --emit=graph`");
    return Failure{};
  };
  if (address == MAP_FAILED) return broken();
  WeightsFile out;
  out.mapping_ = std::shared_ptr<const void>(address, [size](const void* p) { munmap(const_cast<void*>(p), size); });
  const auto* data = static_cast<const std::byte*>(address);
  if (size < header_size || std::memcmp(data, magic, 8) != 0) return broken();
  uint64_t count;
  std::memcpy(&count, data + 8, 8);
  if (count > (size - header_size) / entry_size) return broken();
  for (uint64_t i = 0; i < count; ++i) {
    const std::byte* entry = data + header_size + i * entry_size;
    uint64_t at, length;
    std::memcpy(&at, entry + key_size, 8);
    std::memcpy(&length, entry + key_size + 8, 8);
    if (at > size || length > size - at) return broken();
    out.index_.emplace(std::string(reinterpret_cast<const char*>(entry), key_size), std::span(data + at, length));
  }
  return out;
}

ConstantData WeightsFile::find(const std::string& key) const {
  ConstantData out;
  const auto found = index_.find(key);
  if (found == index_.end()) return out;
  out.keep = mapping_;
  out.bytes = found->second;
  return out;
}

Result<void> write_weights(const Graph& graph, const std::filesystem::path& file, Diagnostics& diagnostics) {
  std::map<std::string, std::span<const std::byte>> all;
  collect(graph, all);
  if (all.empty()) {
    std::error_code ignored;
    std::filesystem::remove(file, ignored);
    return {};
  }
  return write_file(file, diagnostics, [&](std::ofstream& out) {
    const auto put = [&](uint64_t v) { out.write(reinterpret_cast<const char*>(&v), 8); };
    const auto up = [](uint64_t v) { return (v + alignment - 1) / alignment * alignment; };
    out.write(magic, 8);
    put(all.size());
    const uint64_t first = up(header_size + all.size() * entry_size);
    uint64_t at = first;
    for (const auto& [key, bytes] : all) {
      out.write(key.data(), key_size);
      put(at);
      put(bytes.size());
      at = up(at + bytes.size());
    }
    const std::string zeros(alignment, '\0');
    uint64_t written = header_size + all.size() * entry_size;
    for (const auto& [key, bytes] : all) {
      out.write(zeros.data(), static_cast<std::streamsize>(up(written) - written));
      out.write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
      written = up(written) + bytes.size();
    }
  });
}

Result<void> write_graph(const Graph& graph, const std::filesystem::path& file, Diagnostics& diagnostics) {
  std::filesystem::path weights = file;
  weights += ".weights";
  if (!write_weights(graph, weights, diagnostics)) return Failure{};
  const std::string text = to_string(graph, {.elide_constants = false, .locations = true});
  return write_file(file, diagnostics, [&](std::ofstream& out) { out << text; });
}

Result<Graph> read_graph(const std::filesystem::path& file, Diagnostics& diagnostics) {
  std::ifstream in(file, std::ios::binary);
  std::error_code error;
  if (!in || std::filesystem::is_directory(file, error)) {
    diagnostics.environment("cannot-read", "cannot read {}: {}", file.string(),
                            std::filesystem::is_directory(file, error) ? "it is a directory" : std::strerror(errno));
    return Failure{};
  }
  const std::string text(std::istreambuf_iterator<char>(in), {});
  std::filesystem::path beside = file;
  beside += ".weights";
  if (!std::filesystem::exists(beside, error)) return parse_graph_with(text, file.string(), nullptr, diagnostics);
  auto weights = WeightsFile::open(beside, diagnostics);
  if (!weights) return Failure{};
  return parse_graph_with(text, file.string(), &*weights, diagnostics);
}

}  // namespace mica
