#pragma once
// Where a compiled model's time goes: each step's share, and how near it comes to what this machine can do (Williams et al., "Roofline: an insightful
// visual performance model for multicore architectures", CACM 2009).
#include <array>
#include <string>
#include <vector>

#include "mica/driver/so_info.h"

namespace mica {

/// What multiplies in a kernel.
enum class Arithmetic : uint8_t {
  vectors,  ///< fp32 multiply-adds
  pairs,    ///< an instruction that multiplies pairs of bf16 and adds them up in f32
  tiles     ///< matrix registers of bf16, sums in f32
};
inline constexpr size_t arithmetics = 3;
std::string_view name_of(Arithmetic arithmetic);

/// What this machine reaches, measured here and now.
struct MachinePeak {
  std::array<double, arithmetics> flops = {};  ///< operations a second in registers, by Arithmetic; 0 where the machine has it not
  double bytes = 0;                            ///< read a second from behind the cores' own caches
  double of(Arithmetic a) const { return flops[static_cast<size_t>(a)] > 0 ? flops[static_cast<size_t>(a)] : flops[0]; }
};
/// Takes about 75 ms, and the time that 32 MiB take to come, on each of `threads` threads.
MachinePeak probe_machine(int threads);

/// What keeps a step from being faster.
enum class Limit : uint8_t {
  compute,  ///< arithmetic: the roofline's flat part
  memory,   ///< bytes: its slope
  overhead  ///< too little work for either: the call, the barrier, loading what is not there yet
};
std::string_view name_of(Limit limit);

struct StepCost {
  size_t step = 0;            ///< in the manifest's plan
  std::string kernel, label;  ///< label: ops, and the place in the model
  Arithmetic arithmetic = Arithmetic::vectors;
  double ms = 0, calls = 0;     ///< a run; the time is the least that any run took for this step
  double mean_ms = 0;           ///< of all runs: what is more than `ms` the machine did to others
  double flops = 0, bytes = 0;  ///< a run; bytes of everything that its buffers hold, each once a call
  double roofline_ms = 0;       ///< what the machine's peaks would allow
  Limit limit = Limit::overhead;
};

struct Analysis {
  MachinePeak peak;
  int threads = 1;
  int64_t runs = 0;
  double ms = 0;                    ///< the sum of the steps' least times
  double mean_ms = 0;               ///< a run, all steps
  std::vector<StepCost> steps;      ///< the slowest first
  double share(Limit limit) const;  ///< of the time
};

struct AnalyzeOptions {
  SoOptions library;
  double seconds = 2;  ///< of timed runs
};

/// Runs the library on the inputs, as it is: only the first thread reads the clock, at each step.
Result<Analysis> analyze(const std::filesystem::path& library, const SoInfo& info, std::vector<RawTensor> inputs, const AnalyzeOptions& options,
                         Diagnostics& diagnostics);

}  // namespace mica
