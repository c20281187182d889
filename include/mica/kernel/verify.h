#pragma once
#include "mica/kernel/kernel.h"
#include "mica/support/diagnostic.h"

namespace mica {

/// What every pass on kernels may rely on, and what codegen asks for:
/// params come first; every variable is bound where it is used; operands of an expression agree in type; loads and stores
/// name a buffer of their element type; an index that is affine in variables with known ranges, neither masked nor under a
/// branch, stays inside its buffer. Reports all violations ("bad-kernel").
Result<void> verify_kernel(const Kernel& kernel, Diagnostics& diagnostics);

/// verify_kernel for every kernel; bindings match params and stay inside arena, weights and state; names are unique.
Result<void> verify_program(const Program& program, Diagnostics& diagnostics);

}  // namespace mica
