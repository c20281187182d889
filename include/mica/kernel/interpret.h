#pragma once
#include <cstddef>
#include <vector>

#include "mica/kernel/kernel.h"
#include "mica/support/diagnostic.h"

namespace mica {

/// A failed check, as compiled code records it.
struct KernelFault {
  int32_t code = 0, site = 0;
  int64_t value = 0;
};

/// Runs tasks [first, last) of a kernel on `params`, one pointer per param, with the arithmetic of each element type: f32 is
/// rounded to f32, integers wrap, f16 and bf16 are computed in f32 and rounded. An access outside a buffer is reported
/// ("kernel-out-of-bounds") and ends the run. The first fault is left in `fault`.
/// Symbol k of its sizes has the value symbols[k].
Result<void> interpret(const Kernel& kernel, const std::vector<std::byte*>& params, int64_t first, int64_t last, KernelFault& fault,
                       Diagnostics& diagnostics, const std::vector<int64_t>& symbols = {});

/// Runs a whole program: its own arena and weights, `io` as the caller's buffers, inputs first. `state` holds what runs leave behind:
/// one that is empty is filled with what the state is at first; null: the run begins with that and its state is lost.
Result<void> interpret(const Program& program, const std::vector<std::byte*>& io, KernelFault& fault, Diagnostics& diagnostics,
                       std::vector<std::byte>* state = nullptr, const std::vector<int64_t>& symbols = {});

}  // namespace mica
