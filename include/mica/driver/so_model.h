#pragma once
// A compiled model, called as any user calls it: dlopen and the C ABI of runtime/mica.h.
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "mica/frontend/eager.h"

namespace mica {

struct SoValue {
  std::string name;
  TensorType type;
};

struct SoOptions {
  int threads = 0;            ///< 0: the runtime's own choice
  bool copy_weights = false;  ///< to private huge pages; else used where the file is mapped
};

/// What a step has taken in all, and how often it ran.
struct StepTime {
  int64_t nanoseconds = 0, calls = 0;
};

class SoModel {
 public:
  /// Loads the library, makes a model and one context. `file` is taken as a path, never searched for.
  static Result<SoModel> load(const std::filesystem::path& file, const SoOptions& options, Diagnostics& diagnostics);
  const std::vector<SoValue>& inputs() const;
  const std::vector<SoValue>& outputs() const;
  std::string manifest() const;
  int threads() const;
  /// Checks nothing that the library checks itself; its refusals are reported with its own sentence.
  Result<std::vector<RawTensor>> run(const std::vector<RawTensor>& inputs, Diagnostics& diagnostics);
  /// Keeps `inputs` and buffers for the outputs, for run_bound(). The buffers start as bytes of 0xff, NaN in every floating dtype: what a run
  /// does not write is seen.
  void bind(std::vector<RawTensor> inputs);
  /// Runs on what was bound; 0, or the library's status.
  int run_bound();
  /// What the model keeps between runs is as at first; 0, or the library's status.
  int reset();
  /// From now on every run adds its time to each of the first `steps` steps of the manifest's plan; 0: no more. False: a library without that.
  bool measure(size_t steps);
  const std::vector<StepTime>& step_times() const;
  const std::vector<RawTensor>& bound_inputs() const;
  const std::vector<RawTensor>& bound_outputs() const;
  /// What the last run left in the bound buffers, in the shapes that it has had.
  std::vector<RawTensor> results() const;
  std::string last_error() const;
  std::string status_name(int status) const;

  SoModel(SoModel&&) noexcept;
  SoModel& operator=(SoModel&&) noexcept;
  ~SoModel();

 private:
  SoModel();
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

/// True when the file starts as an ELF file does.
bool is_elf(const std::filesystem::path& file);

}  // namespace mica
