#pragma once
#include <string_view>

#include "mica/kernel/kernel.h"
#include "mica/support/diagnostic.h"

namespace mica {

/// Reads what to_string(const Kernel&) writes. Variables are numbered anew. Errors name the line ("kernel-syntax").
Result<Kernel> parse_kernel(std::string_view text, Diagnostics& diagnostics);

/// Reads what to_string(const Program&) writes; the bytes of weights are not part of the text and stay empty.
Result<Program> parse_program(std::string_view text, Diagnostics& diagnostics);

}  // namespace mica
