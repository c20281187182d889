#pragma once
// Where a compiled model's time goes: each step's share, and how near it comes to what this machine can do (Williams et al., "Roofline: an insightful
// visual performance model for multicore architectures", CACM 2009).
#include <string>
#include <vector>

#include "mica/driver/so_info.h"

namespace mica {

/// What this machine reaches, measured here and now.
struct MachinePeak {
  double flops = 0;  ///< fp32 operations a second, multiply-adds in registers
  double bytes = 0;  ///< read from memory a second
};
/// Takes about 50 ms on each of `threads` threads.
MachinePeak probe_machine(int threads);

/// What keeps a step from being faster.
enum class Limit : uint8_t {
  compute,  ///< arithmetic: the roofline's flat part
  memory,   ///< bytes: its slope
  overhead  ///< too little work for either: the call, the barrier, loading what is not there yet
};
std::string_view name_of(Limit limit);

struct StepCost {
  size_t step = 0;              ///< in the manifest's plan
  std::string kernel, label;    ///< label: ops, and the place in the model
  double ms = 0, calls = 0;     ///< a run
  double flops = 0, bytes = 0;  ///< a run; bytes of everything that its buffers hold, each once a call
  double roofline_ms = 0;       ///< what the machine's peaks would allow
  Limit limit = Limit::overhead;
};

struct Analysis {
  MachinePeak peak;
  int threads = 1;
  int64_t runs = 0;
  double ms = 0;                    ///< a run, all steps
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
