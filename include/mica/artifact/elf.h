#pragma once
// ELF64, little-endian: writing the relocatable object that holds a model's data, and reading sections of a .so without
// loading it.
#include <filesystem>
#include <string>

#include "mica/artifact/image.h"

namespace mica::artifact {

/// Writes a relocatable object with the symbols mica_descriptor, mica_manifest and mica_weights (all hidden), the last in
/// .lrodata, aligned to 4096. On x86-64 the weights' bytes are not in it: see append_weights().
Result<void> write_data_object(const Image& image, const std::filesystem::path& path, Diagnostics& diagnostics);

/// Gives the linked file its weights, streamed to its end: on x86-64 .lrodata is a segment of its own, which the object
/// only reserved, so that no copy of the weights goes through the linker. Elsewhere nothing is left to do.
Result<void> append_weights(const Image& image, const std::filesystem::path& path, Diagnostics& diagnostics);

/// Writes `bytes` to a new file. Reports what the system says when it cannot.
Result<void> write_file(const std::filesystem::path& path, std::string_view bytes, Diagnostics& diagnostics);

/// The bytes of section `name` of an ELF file. The file may be hostile: every offset is checked. Reports a missing file, a
/// file that is not ELF64, a missing section.
Result<std::string> read_elf_section(const std::filesystem::path& path, std::string_view name, Diagnostics& diagnostics);

/// The manifest of a compiled model (JSON text), read without loading the .so.
Result<std::string> read_manifest(const std::filesystem::path& path, Diagnostics& diagnostics);

}  // namespace mica::artifact
