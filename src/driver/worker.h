#pragma once
// Processes that load a model and run it on demand (bench_worker.cpp), each stopped except while it answers, so that only one computes at a time.
#include <sys/types.h>

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "mica/support/diagnostic.h"

namespace mica {

class Worker {
 public:
  Worker() = default;
  Worker(const Worker&) = delete;
  Worker(Worker&& other) noexcept;
  ~Worker();
  /// Starts a process that is told `request`; `name` is what errors call it. Its first reply is to be waited for: ask("").
  Result<void> start(std::string name, const nlohmann::json& request, Diagnostics& diagnostics);
  /// Sends a line (none: only waits) and takes the reply. Errors that the process reports are passed on. After `seconds` without a reply the
  /// process is ended; 0: it has all the time.
  Result<nlohmann::json> ask(const std::string& line, Diagnostics& diagnostics, double seconds = 0);

 private:
  Failure no_process(Diagnostics& diagnostics);
  Failure died(Diagnostics& diagnostics);
  Failure hangs(double seconds, Diagnostics& diagnostics);
  /// The next line; empty where there is none.
  std::string read_line(double seconds, bool& late);

  pid_t pid_ = -1;
  int to_ = -1, from_ = -1;
  std::string name_, read_;
};

}  // namespace mica
