#pragma once
// `--tune`: of the forms that schedules offer (pass/choices.h), finds by measurement those that are the fastest in this model on this machine.
//
// Kernels do not depend on each other's forms, so one trial is the whole model with another candidate for each of its kernels at once. It runs in a
// process of its own, in turn with the untuned model: weights are as cold as they are in a run, all threads work, and each kernel's steps are timed
// as `mica analyze` times them. The least time of several rounds counts. In the end the model with all that won runs against the untuned one.
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "mica/driver/tune_cache.h"
#include "mica/pass/lower.h"
#include "mica/target/target.h"

namespace mica {

/// A library that was built, and what its schedules asked.
struct TuneBuild {
  std::vector<ChoiceSubject> subjects;
  std::vector<int32_t> plan;  ///< number of the subject of each step of the manifest's plan; -1: nothing was asked
};

struct TuneTask {
  /// Makes a library with these answers.
  std::function<Result<TuneBuild>(const Answers& answers, const std::filesystem::path& library, Diagnostics& diagnostics)> build;
  TuneCache known;      ///< what is in it and has nothing untried is not measured again
  int threads = 0;      ///< of a run; 0: the CPUs that this process may use
  double seconds = 60;  ///< after which no trial begins
  std::function<void(const std::string&)> progress;
};

struct TuneReport {
  size_t kernels = 0;                 ///< descriptions that offer more than one form
  size_t known = 0;                   ///< of them, those that the cache knew
  size_t trials = 0;                  ///< builds that were measured
  size_t lost = 0;                    ///< candidates that could not be built or run
  int64_t untried = 0;                ///< candidates that there was no time for
  double seconds = 0;                 ///< that it took; 0: nothing was measured
  double first_ms = 0, tuned_ms = 0;  ///< a run of the whole model: least times, in turn; 0: nothing was found to try in the end
  bool undone = false;                ///< the whole was not faster with what won, so nothing of it is taken
};

/// What, beside a kernel, its times depend on: the key of a cache's entries.
std::string tune_where(const Target& target, WinogradUse winograd, int threads);
/// CPUs that this process may use.
int allowed_cpus();
/// Reports a target that this machine cannot run.
void check_runs_here(const Target& target, Diagnostics& diagnostics);

/// Entries for the kernels that were measured: also for those whose first form is the fastest, so that they are known from now on.
Result<std::vector<TuneEntry>> tune(const TuneTask& task, TuneReport& report, Diagnostics& diagnostics);

}  // namespace mica
