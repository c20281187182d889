// The relocatable object that holds a model's data: three sections, three hidden symbols, no relocations.
//
// The weights may be gigabytes. On x86-64 they are in the large-model section .lrodata, which the linker puts into a
// segment of its own, last of all: the object only reserves it (SHT_NOBITS), and append_weights() writes the bytes to the end
// of the linked file, once. On AArch64, whose ABI has no large sections, the linker copies them from the object.
#include <elf.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <vector>

#include "mica/artifact/elf.h"
#include "mica/support/check.h"
#include "output.h"

namespace mica::artifact {
namespace {

/// SHF_X86_64_LARGE of the x86-64 psABI: the linker may place the section where 32-bit offsets do not reach.
constexpr uint64_t shf_x86_64_large = 0x10000000;
constexpr uint64_t page = 4096;

Result<void> finish(Output& output, const std::filesystem::path& path, Diagnostics& diagnostics) {
  const int error = output.close();
  if (!error) return {};
  diagnostics.environment("write-failed", "cannot write '{}': {}", path.string(), std::strerror(error))
      .help(error == ENOSPC ? "free some space, or write to another disk with -o" : "write elsewhere with -o");
  return Failure{};
}

constexpr uint64_t round_up(uint64_t n, uint64_t unit) { return (n + unit - 1) / unit * unit; }

bool has_large_sections(const Descriptor& d) { return d.triple.starts_with("x86_64"); }

/// At least one line, so that the symbol has an address of its own where there are no weights.
uint64_t weights_section_bytes(const Descriptor& d) { return round_up(std::max<uint64_t>(static_cast<uint64_t>(d.weights_bytes), 1), 64); }

/// Writes the weights from file offset `at` on, with zeros between the blobs and behind them.
void stream_weights(const Image& image, uint64_t at, Output& output) {
  for (const Blob& b : image.weights) {
    output.pad_to(at + static_cast<uint64_t>(b.offset));
    output.write(b.data, static_cast<size_t>(b.bytes));
  }
  output.pad_to(at + weights_section_bytes(image.descriptor));
}

enum Section : uint16_t { none, descriptor, manifest, weights, note, symtab, strtab, shstrtab, sections };

/// Offsets and sizes of the file's parts, all known before the first byte is written.
struct Plan {
  std::array<Elf64_Shdr, sections> headers{};
  std::array<Elf64_Sym, 4> symbols{};
  std::string names = std::string("\0", 1), symbol_names = std::string("\0", 1);
  uint64_t end = sizeof(Elf64_Ehdr);

  void add(Section s, const char* name, uint32_t type, uint64_t flags, uint64_t bytes, uint64_t alignment) {
    end = round_up(end, alignment);
    headers[s] = {.sh_name = static_cast<Elf64_Word>(names.size()),
                  .sh_type = type,
                  .sh_flags = flags,
                  .sh_addr = 0,
                  .sh_offset = end,
                  .sh_size = bytes,
                  .sh_link = 0,
                  .sh_info = 0,
                  .sh_addralign = alignment,
                  .sh_entsize = 0};
    names += name;
    names += '\0';
    if (type != SHT_NOBITS) end += bytes;
  }
  void add_symbol(size_t i, const char* name, Section s) {
    symbols[i] = {.st_name = static_cast<Elf64_Word>(symbol_names.size()),
                  .st_info = ELF64_ST_INFO(STB_GLOBAL, STT_OBJECT),
                  .st_other = STV_HIDDEN,
                  .st_shndx = s,
                  .st_value = 0,
                  .st_size = headers[s].sh_size};
    symbol_names += name;
    symbol_names += '\0';
  }
};

Plan make_plan(const Descriptor& d, size_t descriptor_size, size_t manifest_size) {
  Plan p;
  p.add(descriptor, ".rodata.mica", SHT_PROGBITS, SHF_ALLOC, descriptor_size, 64);
  p.add(manifest, ".mica.manifest", SHT_PROGBITS, SHF_ALLOC, manifest_size, 1);
  if (has_large_sections(d)) p.add(weights, ".lrodata", SHT_NOBITS, SHF_ALLOC | shf_x86_64_large, weights_section_bytes(d), page);
  else p.add(weights, ".lrodata", SHT_PROGBITS, SHF_ALLOC, weights_section_bytes(d), page);
  p.add(note, ".note.GNU-stack", SHT_PROGBITS, 0, 0, 1);
  p.add_symbol(1, "mica_descriptor", descriptor);
  p.add_symbol(2, "mica_manifest", manifest);
  p.add_symbol(3, "mica_weights", weights);
  p.add(symtab, ".symtab", SHT_SYMTAB, 0, sizeof p.symbols, 8);
  p.headers[symtab].sh_link = strtab;
  p.headers[symtab].sh_info = 1;  // the first global symbol
  p.headers[symtab].sh_entsize = sizeof(Elf64_Sym);
  p.add(strtab, ".strtab", SHT_STRTAB, 0, p.symbol_names.size(), 1);
  const size_t own_name = std::string_view(".shstrtab").size() + 1;
  p.add(shstrtab, ".shstrtab", SHT_STRTAB, 0, p.names.size() + own_name, 1);
  p.end = round_up(p.end, 8);
  return p;
}

Elf64_Ehdr make_header(const Descriptor& d, const Plan& plan) {
  Elf64_Ehdr h{};
  std::memcpy(h.e_ident, ELFMAG, SELFMAG);
  h.e_ident[EI_CLASS] = ELFCLASS64;
  h.e_ident[EI_DATA] = ELFDATA2LSB;
  h.e_ident[EI_VERSION] = EV_CURRENT;
  h.e_type = ET_REL;
  h.e_machine = d.triple.starts_with("x86_64") ? EM_X86_64 : EM_AARCH64;
  h.e_version = EV_CURRENT;
  h.e_ehsize = sizeof(Elf64_Ehdr);
  h.e_shentsize = sizeof(Elf64_Shdr);
  h.e_shnum = sections;
  h.e_shoff = plan.end;
  h.e_shstrndx = shstrtab;
  return h;
}

}  // namespace

Result<void> write_file(const std::filesystem::path& path, std::string_view bytes, Diagnostics& diagnostics) {
  Output output(path);
  output.write(bytes.data(), bytes.size());
  return finish(output, path, diagnostics);
}

Result<void> write_data_object(const Image& image, const std::filesystem::path& path, Diagnostics& diagnostics) {
  const Descriptor& d = image.descriptor;
  const std::string manifest_text = make_manifest(d, image.manifest);
  const std::string descriptor_data = descriptor_bytes(d, manifest_text.size());
  // The section holds one byte more, so that the text is also a C string.
  const Plan plan = make_plan(d, descriptor_data.size(), manifest_text.size() + 1);
  const Elf64_Ehdr header = make_header(d, plan);

  Output output(path);
  output.write(&header, sizeof header);
  const auto section = [&](Section s, const void* data, size_t bytes) {
    output.pad_to(plan.headers[s].sh_offset);
    output.write(data, bytes);
  };
  section(descriptor, descriptor_data.data(), descriptor_data.size());
  section(manifest, manifest_text.c_str(), manifest_text.size() + 1);
  if (!has_large_sections(d)) stream_weights(image, plan.headers[weights].sh_offset, output);
  section(symtab, plan.symbols.data(), sizeof plan.symbols);
  section(strtab, plan.symbol_names.data(), plan.symbol_names.size());
  section(shstrtab, plan.names.data(), plan.names.size());
  output.pad_to(plan.end);
  output.write(plan.headers.data(), sizeof plan.headers);
  return finish(output, path, diagnostics);
}

Result<void> append_weights(const Image& image, const std::filesystem::path& path, Diagnostics& diagnostics) {
  if (!has_large_sections(image.descriptor)) return {};
  Output output(path, Output::Mode::existing);
  Elf64_Ehdr header{};
  output.read_at(0, &header, sizeof header);
  std::vector<Elf64_Phdr> segments(header.e_phnum);
  std::vector<Elf64_Shdr> headers(header.e_shnum);
  output.read_at(header.e_phoff, segments.data(), segments.size() * sizeof(Elf64_Phdr));
  output.read_at(header.e_shoff, headers.data(), headers.size() * sizeof(Elf64_Shdr));
  const auto section = std::ranges::find_if(headers, [](const Elf64_Shdr& h) { return h.sh_flags & shf_x86_64_large; });
  MICA_CHECK(output.failed() || (section != headers.end() && section->sh_type == SHT_NOBITS));
  if (output.failed()) return finish(output, path, diagnostics);
  const auto segment = std::ranges::find_if(segments, [&](const Elf64_Phdr& s) { return s.p_type == PT_LOAD && s.p_vaddr == section->sh_addr; });
  MICA_CHECK(segment != segments.end() && segment->p_filesz == 0 && segment->p_memsz == weights_section_bytes(image.descriptor));

  // The offset in the file must equal the address modulo the segment's alignment.
  const uint64_t at = round_up(output.size(), segment->p_align) + segment->p_vaddr % segment->p_align;
  segment->p_offset = section->sh_offset = at;
  segment->p_filesz = segment->p_memsz;
  section->sh_type = SHT_PROGBITS;
  output.write_at(header.e_phoff, segments.data(), segments.size() * sizeof(Elf64_Phdr));
  output.write_at(header.e_shoff, headers.data(), headers.size() * sizeof(Elf64_Shdr));
  output.seek_end();
  stream_weights(image, at, output);
  return finish(output, path, diagnostics);
}

}  // namespace mica::artifact
