#include "mica/driver/tensor_file.h"

#include <algorithm>
#include <bit>
#include <charconv>
#include <cstring>

#include "mica/driver/file.h"
#include "mica/support/narrow_float.h"
#include "zip.h"

namespace mica {

namespace {

static_assert(std::endian::native == std::endian::little);
constexpr std::string_view npy_magic("\x93NUMPY", 6);

struct NumpyDType {
  std::string_view text;  ///< kind and size, without the byte order
  DType dtype;
};
constexpr NumpyDType numpy_dtypes[] = {{"f8", DType::f64}, {"f4", DType::f32}, {"f2", DType::f16}, {"i8", DType::i64}, {"i4", DType::i32},
                                       {"i2", DType::i16}, {"i1", DType::i8},  {"u1", DType::u8},  {"b1", DType::b8}};

Failure report(const std::string& name, const std::string& what, Diagnostics& diagnostics) {
  diagnostics.error("npy-broken", "`{}` is not a NumPy array file that can be read: {}", name, what)
      .help("write it with numpy.save(\"x.npy\", array), or several with numpy.savez(\"x.npz\", x=array, ...)");
  return Failure{};
}

struct NpyHeader {
  DType dtype = DType::f32;
  bool swapped = false, fortran = false;
  std::vector<int64_t> shape;
  size_t data_at = 0;
};

/// The text behind `'key':` in the header's Python dict.
std::string_view dict_value(std::string_view dict, std::string_view key) {
  for (const char quote : {'\'', '"'}) {
    const size_t at = dict.find(fmt::format("{0}{1}{0}", quote, key));
    if (at == std::string_view::npos) continue;
    dict.remove_prefix(at + key.size() + 2);
    const size_t start = dict.find_first_not_of(" :");
    return start == std::string_view::npos ? std::string_view() : dict.substr(start);
  }
  return {};
}

Result<std::vector<int64_t>> parse_tuple(std::string_view text) {
  std::vector<int64_t> sizes;
  const size_t close = text.find(')');
  if (text.empty() || text[0] != '(' || close == std::string_view::npos) return Failure{};
  const char* p = text.data() + 1;
  const char* const end = text.data() + close;
  while (p < end) {
    if (*p == ' ' || *p == ',' || *p == 'L') {
      ++p;
      continue;
    }
    int64_t size = 0;
    const auto [next, code] = std::from_chars(p, end, size);
    if (code != std::errc() || size < 0) return Failure{};
    sizes.push_back(size);
    p = next;
  }
  return sizes;
}

Result<NpyHeader> parse_header(std::string_view bytes, const std::string& name, Diagnostics& diagnostics) {
  if (bytes.size() < 10 || !bytes.starts_with(npy_magic)) return report(name, "it does not start with \\x93NUMPY", diagnostics);
  NpyHeader h;
  uint32_t length = 0;
  const bool wide = bytes[6] >= 2;
  std::memcpy(&length, bytes.data() + 8, wide ? 4 : 2);
  h.data_at = (wide ? 12 : 10) + static_cast<size_t>(length);
  if (h.data_at > bytes.size()) return report(name, "its header is cut off", diagnostics);
  const std::string_view dict = bytes.substr(wide ? 12 : 10, length);
  const std::string_view descr = dict_value(dict, "descr");
  if (descr.size() < 4) return report(name, "its header has no dtype", diagnostics);
  const char order = descr[1];
  std::string_view kind = descr.substr(2, descr.find(descr[0], 1) - 2);
  const auto* found = std::find_if(std::begin(numpy_dtypes), std::end(numpy_dtypes), [&](const NumpyDType& d) { return d.text == kind; });
  if (found == std::end(numpy_dtypes) || descr[0] == '[') {
    diagnostics.error("npy-dtype", "`{}` holds elements of NumPy's type {}, which no input can take", name, descr.substr(0, descr.find(',')))
        .help("convert it: array.astype(numpy.float32), or int64, int32, int16, int8, uint8, bool, float16, float64");
    return Failure{};
  }
  h.dtype = found->dtype;
  h.swapped = order == '>';
  h.fortran = dict_value(dict, "fortran_order").starts_with("True");
  auto shape = parse_tuple(dict_value(dict, "shape"));
  if (!shape) return report(name, "its shape cannot be read", diagnostics);
  h.shape = std::move(*shape);
  return h;
}

/// Column-major elements to row-major.
std::vector<std::byte> from_fortran(std::span<const std::byte> data, const std::vector<int64_t>& shape, size_t size) {
  std::vector<std::byte> out(data.size());
  std::vector<int64_t> index(shape.size(), 0);
  for (size_t at = 0; at + size <= data.size(); at += size) {
    int64_t from = 0;
    for (size_t axis = shape.size(); axis-- > 0;) from = from * shape[axis] + index[axis];
    std::memcpy(out.data() + at, data.data() + static_cast<size_t>(from) * size, size);
    for (size_t axis = shape.size(); axis-- > 0;) {
      if (++index[axis] < shape[axis]) break;
      index[axis] = 0;
    }
  }
  return out;
}

Result<RawTensor> parse_npy(std::string_view bytes, const std::string& name, Diagnostics& diagnostics) {
  auto h = parse_header(bytes, name, diagnostics);
  if (!h) return Failure{};
  const auto size = static_cast<size_t>(size_of(h->dtype));
  size_t expected = size;
  for (int64_t n : h->shape) {
    if (__builtin_mul_overflow(expected, static_cast<size_t>(n), &expected)) return report(name, "its shape is too large", diagnostics);
  }
  if (bytes.size() - h->data_at < expected)
    return report(name, fmt::format("it ends after {} of {} bytes of data", bytes.size() - h->data_at, expected), diagnostics);
  RawTensor t;
  t.type.dtype = h->dtype;
  t.type.shape = Shape(h->shape);
  t.bytes.resize(expected);
  if (expected) std::memcpy(t.bytes.data(), bytes.data() + h->data_at, expected);
  if (h->swapped)
    for (size_t at = 0; at < expected; at += size)
      std::reverse(t.bytes.begin() + static_cast<ptrdiff_t>(at), t.bytes.begin() + static_cast<ptrdiff_t>(at + size));
  if (h->fortran && h->shape.size() > 1) t.bytes = from_fortran(t.bytes, h->shape, size);
  if (h->dtype == DType::b8)
    for (std::byte& b : t.bytes) b = static_cast<std::byte>(b != std::byte{0});
  return t;
}

std::string npy_bytes(const RawTensor& given) {
  const RawTensor widened = given.type.dtype == DType::bf16 ? convert(given, DType::f32) : RawTensor{};
  const RawTensor& t = given.type.dtype == DType::bf16 ? widened : given;
  const auto* d = std::find_if(std::begin(numpy_dtypes), std::end(numpy_dtypes), [&](const NumpyDType& n) { return n.dtype == t.type.dtype; });
  std::string shape;
  for (int64_t n : t.type.shape.sizes()) shape += fmt::format("{}, ", n);
  if (t.type.rank() > 1) shape.resize(shape.size() - 2);
  else if (t.type.rank() == 1) shape.pop_back();
  std::string header =
      fmt::format("{{'descr': '{}{}', 'fortran_order': False, 'shape': ({}), }}", size_of(t.type.dtype) == 1 ? '|' : '<', d->text, shape);
  header.append(63 - (10 + header.size()) % 64, ' ');  // the data starts at a multiple of 64
  header += '\n';
  std::string bytes(npy_magic);
  bytes += {'\1', '\0', static_cast<char>(header.size() & 0xff), static_cast<char>(header.size() >> 8)};
  bytes += header;
  bytes.append(reinterpret_cast<const char*>(t.bytes.data()), t.bytes.size());
  return bytes;
}

Result<void> write_whole(const std::filesystem::path& file, std::string_view bytes, Diagnostics& diagnostics) {
  auto pending = PendingFile::create(file, diagnostics);
  if (!pending || !pending->write(bytes, diagnostics)) return Failure{};
  return pending->commit(diagnostics);
}

template <class T> T element(const RawTensor& t, size_t i) {
  T value;
  std::memcpy(&value, t.bytes.data() + i * sizeof(T), sizeof(T));
  return value;
}

}  // namespace

Result<RawTensor> read_npy(const std::filesystem::path& file, Diagnostics& diagnostics) {
  auto bytes = read_file(file, diagnostics);
  if (!bytes) return Failure{};
  return parse_npy(*bytes, file.string(), diagnostics);
}

Result<std::vector<NamedTensor>> read_npz(const std::filesystem::path& file, Diagnostics& diagnostics) {
  auto archive = read_file(file, diagnostics);
  if (!archive) return Failure{};
  auto members = list_zip(*archive, file.string(), diagnostics);
  if (!members) return Failure{};
  std::vector<NamedTensor> tensors;
  for (const ZipMember& m : *members) {
    auto bytes = read_zip_member(*archive, m, file.string(), diagnostics);
    if (!bytes) return Failure{};
    auto t = parse_npy(*bytes, file.string() + ":" + m.name, diagnostics);
    if (!t) return Failure{};
    std::string name = m.name;
    if (name.ends_with(".npy")) name.resize(name.size() - 4);
    tensors.push_back({std::move(name), std::move(*t)});
  }
  return tensors;
}

Result<void> write_npy(const std::filesystem::path& file, const RawTensor& tensor, Diagnostics& diagnostics) {
  return write_whole(file, npy_bytes(tensor), diagnostics);
}

Result<void> write_npz(const std::filesystem::path& file, std::span<const NamedTensor> tensors, Diagnostics& diagnostics) {
  ZipWriter zip;
  for (const NamedTensor& t : tensors) zip.add(t.name + ".npy", npy_bytes(t.tensor));
  return write_whole(file, zip.finish(), diagnostics);
}

RawTensor convert(const RawTensor& from, DType dtype) {
  if (from.type.dtype == dtype) return from;
  RawTensor to;
  to.type = {dtype, from.type.shape, {}};
  const auto n = static_cast<size_t>(from.type.shape.elements());
  to.bytes.resize(n * static_cast<size_t>(size_of(dtype)));
  const auto put = [&](size_t i, auto value) { std::memcpy(to.bytes.data() + i * sizeof(value), &value, sizeof(value)); };
  for (size_t i = 0; i < n; ++i) {
    double real = 0;
    int64_t integer = 0;
    switch (from.type.dtype) {
      case DType::f64: real = element<double>(from, i); break;
      case DType::f32: real = element<float>(from, i); break;
      case DType::f16: real = from_f16(element<uint16_t>(from, i)); break;
      case DType::bf16: real = from_bf16(element<uint16_t>(from, i)); break;
      case DType::i64: integer = element<int64_t>(from, i); break;
      case DType::i32: integer = element<int32_t>(from, i); break;
      case DType::i16: integer = element<int16_t>(from, i); break;
      case DType::i8: integer = element<int8_t>(from, i); break;
      case DType::u8:
      case DType::b8: integer = element<uint8_t>(from, i); break;
    }
    if (is_float(from.type.dtype)) integer = real >= -9.2e18 && real <= 9.2e18 ? static_cast<int64_t>(real) : 0;
    else real = static_cast<double>(integer);
    switch (dtype) {
      case DType::f64: put(i, real); break;
      case DType::f32: put(i, static_cast<float>(real)); break;
      case DType::f16: put(i, to_f16(real)); break;
      case DType::bf16: put(i, to_bf16(real)); break;
      case DType::i64: put(i, integer); break;
      case DType::i32: put(i, static_cast<int32_t>(integer)); break;
      case DType::i16: put(i, static_cast<int16_t>(integer)); break;
      case DType::i8: put(i, static_cast<int8_t>(integer)); break;
      case DType::u8: put(i, static_cast<uint8_t>(integer)); break;
      case DType::b8: put(i, static_cast<uint8_t>(real != 0)); break;
    }
  }
  return to;
}

}  // namespace mica
