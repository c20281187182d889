#pragma once
#include <filesystem>

#include "mica/artifact/image.h"

namespace mica {

/// Links a model's objects, weights and runtime into the shared object `output`, with LLD in this process.
///
/// The file is written aside, in the folder of `output`, and renamed: after an error an older `output` is intact and
/// nothing else is left. Equal images give equal bytes. NEEDED is libc.so.6 alone. One link at a time: others wait.
/// Errors: an unwritable folder, a full disk, a target or CPU feature that the runtime does not know.
Result<void> link_shared_object(const artifact::Image& image, const std::filesystem::path& output, Diagnostics& diagnostics);

}  // namespace mica
