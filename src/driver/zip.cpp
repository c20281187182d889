// Source of offsets and signatures: PKWARE APPNOTE.TXT 6.3.10, sections 4.3 and 4.5.3 (Zip64). Little-endian, as the machine is.
#include "zip.h"

#include <zlib.h>

#include <cstring>

namespace mica {

namespace {

constexpr uint32_t local_signature = 0x04034b50, central_signature = 0x02014b50, end_signature = 0x06054b50, end64_signature = 0x06064b50,
                   locator64_signature = 0x07064b50;
constexpr uint64_t limit32 = 0xffffffff;

template <class T> T load(std::string_view bytes, uint64_t at) {
  T value{};
  if (at <= bytes.size() && bytes.size() - at >= sizeof(T)) std::memcpy(&value, bytes.data() + at, sizeof(T));
  return value;
}
template <class T> void put(std::string& out, T value) { out.append(reinterpret_cast<const char*>(&value), sizeof(T)); }

Failure report(const std::string& file_name, const std::string& what, Diagnostics& diagnostics) {
  diagnostics.error("zip-broken", "`{}` is not a whole zip archive: {}", file_name, what).help("write the file again, for example with numpy.savez");
  return Failure{};
}

/// Fields that hold 0xffffffff stand in the Zip64 extra field instead, in this order.
void apply_zip64(std::string_view extra, ZipMember& m) {
  for (uint64_t at = 0; at + 4 <= extra.size();) {
    const auto id = load<uint16_t>(extra, at), size = load<uint16_t>(extra, at + 2);
    at += 4;
    if (id == 1) {
      uint64_t field = at;
      for (uint64_t* value : {&m.size, &m.packed_size, &m.header_at}) {
        if (*value == limit32) *value = load<uint64_t>(extra, field), field += 8;
      }
    }
    at += size;
  }
}

}  // namespace

Result<std::vector<ZipMember>> list_zip(std::string_view archive, const std::string& file_name, Diagnostics& diagnostics) {
  const std::string mark("PK\5\6", 4);
  const size_t end = archive.rfind(mark);
  if (end == std::string_view::npos || archive.size() - end < 22)
    return report(file_name, "its directory is missing (a truncated file?)", diagnostics);
  uint64_t count = load<uint16_t>(archive, end + 10), at = load<uint32_t>(archive, end + 16);
  if (end >= 20 && load<uint32_t>(archive, end - 20) == locator64_signature) {
    const auto end64 = load<uint64_t>(archive, end - 20 + 8);
    if (load<uint32_t>(archive, end64) == end64_signature) {
      count = load<uint64_t>(archive, end64 + 32);
      at = load<uint64_t>(archive, end64 + 48);
    }
  }
  std::vector<ZipMember> members;
  for (uint64_t i = 0; i < count; ++i) {
    if (at > archive.size() || archive.size() - at < 46 || load<uint32_t>(archive, at) != central_signature)
      return report(file_name, "its directory is damaged", diagnostics);
    ZipMember m;
    m.method = load<uint16_t>(archive, at + 10);
    m.crc = load<uint32_t>(archive, at + 16);
    m.packed_size = load<uint32_t>(archive, at + 20);
    m.size = load<uint32_t>(archive, at + 24);
    m.header_at = load<uint32_t>(archive, at + 42);
    const uint64_t name = load<uint16_t>(archive, at + 28), extra = load<uint16_t>(archive, at + 30), comment = load<uint16_t>(archive, at + 32);
    if (archive.size() - at - 46 < name + extra + comment) return report(file_name, "its directory is damaged", diagnostics);
    m.name = archive.substr(at + 46, name);
    apply_zip64(archive.substr(at + 46 + name, extra), m);
    members.push_back(std::move(m));
    at += 46 + name + extra + comment;
  }
  return members;
}

Result<std::string> read_zip_member(std::string_view archive, const ZipMember& m, const std::string& file_name, Diagnostics& diagnostics) {
  const uint64_t h = m.header_at;
  if (h > archive.size() || archive.size() - h < 30 || load<uint32_t>(archive, h) != local_signature)
    return report(file_name, fmt::format("member `{}` is not where the directory says", m.name), diagnostics);
  const uint64_t data = h + 30 + load<uint16_t>(archive, h + 26) + load<uint16_t>(archive, h + 28);
  if (data > archive.size() || archive.size() - data < m.packed_size)
    return report(file_name, fmt::format("member `{}` is cut off", m.name), diagnostics);
  const std::string_view packed = archive.substr(data, m.packed_size);
  std::string bytes;
  if (m.method == 0) {
    bytes = packed;
  } else if (m.method == 8) {
    // Deflate packs at most 1032 to 1, so a size beyond that is a lie that must not be allocated.
    if (m.size / 1032 > packed.size() + 1) return report(file_name, fmt::format("member `{}` has an impossible size", m.name), diagnostics);
    bytes.resize(m.size);
    z_stream z{};
    if (inflateInit2(&z, -MAX_WBITS) != Z_OK) return report(file_name, "zlib could not start", diagnostics);
    uint64_t in = 0, out = 0;
    int status = Z_OK;
    constexpr uint64_t chunk = uint64_t{1} << 30;  // zlib counts in 32 bits
    while (status == Z_OK) {
      const uint64_t give = std::min(chunk, packed.size() - in), room = std::min(chunk, bytes.size() - out);
      z.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(packed.data() + in));
      z.next_out = reinterpret_cast<Bytef*>(bytes.data() + out);
      z.avail_in = static_cast<uInt>(give), z.avail_out = static_cast<uInt>(room);
      status = inflate(&z, Z_NO_FLUSH);
      const uint64_t used = give - z.avail_in, made = room - z.avail_out;
      in += used, out += made;
      if (status == Z_OK && !used && !made) break;
    }
    inflateEnd(&z);
    if (status != Z_STREAM_END || out != m.size) return report(file_name, fmt::format("member `{}` does not inflate", m.name), diagnostics);
  } else {
    return report(file_name, fmt::format("member `{}` is packed by method {}, which .npz files do not use", m.name, m.method), diagnostics);
  }
  if (bytes.size() != m.size || crc32_z(0, reinterpret_cast<const Bytef*>(bytes.data()), bytes.size()) != m.crc)
    return report(file_name, fmt::format("the check sum of member `{}` does not match", m.name), diagnostics);
  return bytes;
}

void ZipWriter::add(const std::string& name, std::string_view bytes) {
  ZipMember m;
  m.name = name;
  m.crc = static_cast<uint32_t>(crc32_z(0, reinterpret_cast<const Bytef*>(bytes.data()), bytes.size()));
  m.size = m.packed_size = bytes.size();
  m.header_at = archive_.size();
  const bool large = m.size >= limit32;
  put<uint32_t>(archive_, local_signature);
  put<uint16_t>(archive_, large ? 45 : 20);  // version needed
  put<uint16_t>(archive_, 0);                // flags
  put<uint16_t>(archive_, 0);                // stored
  put<uint16_t>(archive_, 0);                // time
  put<uint16_t>(archive_, 0x21);             // 1980-01-01
  put<uint32_t>(archive_, m.crc);
  for (int i = 0; i < 2; ++i) put<uint32_t>(archive_, static_cast<uint32_t>(large ? limit32 : m.size));
  put<uint16_t>(archive_, static_cast<uint16_t>(name.size()));
  put<uint16_t>(archive_, large ? 20 : 0);
  archive_ += name;
  if (large) {
    put<uint16_t>(archive_, 1);
    put<uint16_t>(archive_, 16);
    for (int i = 0; i < 2; ++i) put<uint64_t>(archive_, m.size);
  }
  archive_ += bytes;
  members_.push_back(std::move(m));
}

std::string ZipWriter::finish() {
  const uint64_t directory = archive_.size();
  for (const ZipMember& m : members_) {
    const bool large = m.size >= limit32 || m.header_at >= limit32;
    put<uint32_t>(archive_, central_signature);
    put<uint16_t>(archive_, large ? 45 : 20);  // made by
    put<uint16_t>(archive_, large ? 45 : 20);  // needed
    put<uint16_t>(archive_, 0);
    put<uint16_t>(archive_, 0);
    put<uint16_t>(archive_, 0);
    put<uint16_t>(archive_, 0x21);
    put<uint32_t>(archive_, m.crc);
    for (int i = 0; i < 2; ++i) put<uint32_t>(archive_, static_cast<uint32_t>(large ? limit32 : m.size));
    put<uint16_t>(archive_, static_cast<uint16_t>(m.name.size()));
    put<uint16_t>(archive_, large ? 28 : 0);
    put<uint16_t>(archive_, 0);  // comment
    put<uint16_t>(archive_, 0);  // disk
    put<uint16_t>(archive_, 0);  // attributes
    put<uint32_t>(archive_, 0);
    put<uint32_t>(archive_, static_cast<uint32_t>(large ? limit32 : m.header_at));
    archive_ += m.name;
    if (large) {
      put<uint16_t>(archive_, 1);
      put<uint16_t>(archive_, 24);
      for (int i = 0; i < 2; ++i) put<uint64_t>(archive_, m.size);
      put<uint64_t>(archive_, m.header_at);
    }
  }
  const uint64_t end64 = archive_.size(), size = end64 - directory, count = members_.size();
  if (directory >= limit32 || count >= 0xffff) {
    put<uint32_t>(archive_, end64_signature);
    put<uint64_t>(archive_, 44);
    for (int i = 0; i < 2; ++i) put<uint16_t>(archive_, 45);
    for (int i = 0; i < 2; ++i) put<uint32_t>(archive_, 0);
    for (int i = 0; i < 2; ++i) put<uint64_t>(archive_, count);
    put<uint64_t>(archive_, size);
    put<uint64_t>(archive_, directory);
    put<uint32_t>(archive_, locator64_signature);
    put<uint32_t>(archive_, 0);
    put<uint64_t>(archive_, end64);
    put<uint32_t>(archive_, 1);
  }
  put<uint32_t>(archive_, end_signature);
  for (int i = 0; i < 2; ++i) put<uint16_t>(archive_, 0);
  for (int i = 0; i < 2; ++i) put<uint16_t>(archive_, static_cast<uint16_t>(std::min<uint64_t>(count, 0xffff)));
  put<uint32_t>(archive_, static_cast<uint32_t>(std::min(size, limit32)));
  put<uint32_t>(archive_, static_cast<uint32_t>(std::min(directory, limit32)));
  put<uint16_t>(archive_, 0);
  members_.clear();
  return std::move(archive_);
}

}  // namespace mica
