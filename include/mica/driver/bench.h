#pragma once
// Compares contenders as fairly as one machine allows: each in a process of its own, in turn, on identical inputs.
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "mica/driver/tensor_file.h"

namespace mica {

enum class ContenderKind : uint8_t { mica, eager, frozen };
std::string_view name_of(ContenderKind kind);

struct Contender {
  ContenderKind kind = ContenderKind::mica;
  std::filesystem::path file;  ///< .so for mica, .pt for the others
};

struct BenchOptions {
  std::vector<Contender> contenders;
  std::vector<NamedTensor> inputs;
  std::vector<std::string> input_specs;  ///< as --input takes them; what LibTorch's contenders need beside tensors (Python numbers)
  std::string method = "forward";
  int threads = 0;      ///< of each contender; 0: what the first one chooses
  double duration = 3;  ///< seconds of timed runs, each contender
  double warmup = 0.5;  ///< seconds of untimed runs before, each contender
  int rounds = 10;      ///< turns that the duration is cut into
  bool copy_weights = false;
  std::function<void(const std::string&)> progress;
};

struct ContenderResult {
  std::string name;
  int threads = 0;
  std::vector<double> ms;                ///< every timed run
  std::vector<double> round_medians;     ///< ms, one a round
  double load_ms = 0, first_run_ms = 0;  ///< cold start: in a fresh process, the file in the page cache
  int64_t peak_bytes = 0;                ///< most memory resident at once, beyond what the process had before it loaded the model
};

/// p-quantile (0..1) by linear interpolation; `values` need not be sorted.
double quantile(std::vector<double> values, double p);

/// Runs all contenders, round by round: A B C A B C ...; whoever is not running is stopped (SIGSTOP).
Result<std::vector<ContenderResult>> run_bench(const BenchOptions& options, Diagnostics& diagnostics);

/// The process of one contender; `arguments` are what run_bench started it with. Speaks with its parent over descriptors 3 and 4.
int run_bench_worker(const std::vector<std::string>& arguments);

}  // namespace mica
