#pragma once
// Programs tried in child processes: whatever happens to the child, the parent goes on and says what it was.
#include <chrono>
#include <functional>

#include "generator.h"
#include "oracle.h"

namespace mica::fuzz {

struct Limits {
  std::chrono::seconds time{60};         ///< for one judgement
  uint64_t memory = uint64_t{12} << 30;  ///< address space of a child, bytes
};

/// One program in one configuration.
struct Report {
  uint64_t seed = 0;
  std::string config;
  Verdict verdict;
};

struct RunOptions {
  uint64_t first_seed = 1, programs = 100;
  int jobs = 2;
  std::vector<std::string> configs = {"plain"};
  GeneratorOptions generator;
  std::filesystem::path folder;  ///< for temporary files
  Limits limits;
  Defect debug_defect = Defect::none;  ///< in every configuration
  bool stop_at_first = false;
  /// To measure this net: every program is judged with each of these until it fails; what has failed is left out from there on.
  std::vector<Defect> hunted;
  Config config(const std::string& name, uint64_t seed) const;
};

struct Summary {
  std::vector<Report> failures;
  std::map<std::string, int64_t> refusals;  ///< diagnostic => judgements
  std::map<std::string, std::string> refusal_examples;
  std::map<std::string, int64_t> cells;
  std::map<std::string, int64_t> symbol_refusals;                       ///< diagnostic => judgements that went on with the sizes of the first run
  std::map<Defect, Report> found;                                       ///< of those hunted
  int64_t programs = 0, passed = 0, refused = 0, weak = 0, unmade = 0;  ///< unmade: LibTorch itself died
  int64_t symbolic = 0, stateful = 0, grouped = 0;                      ///< programs with symbols, with state, with methods or submodules
};

/// Generates and judges programs, many a child, `jobs` children at a time. `progress` is called about once a second.
Summary run_programs(const RunOptions& options, const std::function<void(const Summary&)>& progress);

/// The verdict on one program, run again through a scene (none: the program is not valid), in a child of its own.
std::optional<Verdict> try_program(const Program& program, const Config& config, const std::filesystem::path& folder, const Limits& limits);

}  // namespace mica::fuzz
