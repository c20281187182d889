#pragma once
// One trial of tuning: a library built in a process of its own, and its kernels' times beside those of another.
#include <map>

#include "mica/driver/file.h"
#include "mica/driver/tune.h"
#include "worker.h"

namespace mica {

/// A library that was built in a child, and how to run it.
struct BuiltApart {
  TuneBuild build;
  std::filesystem::path library, inputs;  ///< inputs: a .npz
  std::vector<std::string> dtypes;        ///< of the inputs
  std::string method;
};
/// `task.build` in a child, which may crash or hang; none when it does, or fails. Nothing that it does is left in this process, so the library that
/// is compiled in the end is to the byte what a process makes that measured nothing.
std::optional<BuiltApart> build_apart(const TuneTask& task, const Answers& answers, const std::filesystem::path& library);

/// A library in a process that runs it when asked.
class TuneTrial {
 public:
  Result<void> start(const BuiltApart& built, int threads, Diagnostics& diagnostics);
  bool alive() const { return alive_; }
  struct Burst {
    double ms = 0;                            ///< least time of a run
    std::map<std::string, double> kernel_us;  ///< by description: of all of its steps, the least that each took
  };
  /// Runs for so many seconds; none when the process died or hangs.
  std::optional<Burst> run(double seconds);
  double run_ms() const { return run_ms_; }

 private:
  Worker worker_;
  std::vector<std::string> kernels_;  ///< of each step
  double run_ms_ = 0;
  bool alive_ = false;
};

struct TuneTimes {
  struct Pair {
    double base_us = 0, trial_us = 0;
    double noise = 0;  ///< how much the base's odd and even rounds differ
  };
  double base_ms = 0, trial_ms = 0;
  std::map<std::string, Pair> kernels;
};
/// Both in turn, so many rounds; least times.
std::optional<TuneTimes> compare_trials(TuneTrial& base, TuneTrial& trial, int rounds);

}  // namespace mica
