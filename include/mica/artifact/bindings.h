#pragma once
// Files that make a model comfortable to call: a typed header, and packages for pkg-config and CMake.
#include <filesystem>
#include <string>

#include "mica/artifact/image.h"

namespace mica::artifact {

/// A C89 header with the function `<name>_run(api, context, inputs..., outputs...)`, whose parameters are typed pointers
/// in the signature's order, and the sizes of each. For a model with symbolic sizes: the query's declaration alone.
std::string typed_header(const Descriptor& descriptor);

/// `<name>.pc`: `pkg-config --cflags --libs <name>` for a library that lies in the folder of the .pc file.
std::string pkg_config_file(const Descriptor& descriptor, const std::string& library_file, const std::string& version);

/// `<name>-config.cmake`: find_package(<name>) defines the imported target <name>::<name>, the library beside the file.
std::string cmake_package_file(const Descriptor& descriptor, const std::string& library_file);

/// Writes all of them and a copy of mica.h into the folder of the .so: <name>.h, <name>.pc, <name>-config.cmake, mica.h.
Result<void> write_bindings(const Descriptor& descriptor, const std::filesystem::path& library, Diagnostics& diagnostics);

}  // namespace mica::artifact
