#pragma once
// One TorchScript program on given inputs: LibTorch in fp64 as the judge of graphs that are interpreted.
#include <gtest/gtest.h>

#include <filesystem>

#include "mica/driver/compile.h"
#include "mica/frontend/script.h"
#include "mica/ir/interpret.h"
#include "mica/ops/sample.h"

namespace mica::numerics {

/// What a program is compiled for.
struct Plan {
  const char* cpu = "native";
  bool schedules = true;
  WinogradUse winograd = WinogradUse::automatic;
  const char* precision = "f32";          ///< as for --precision
  DebugMemory memory = DebugMemory::off;  ///< else by guarded.h: no byte outside a tensor can be touched
  Defect defect = Defect::none;           ///< to measure the tests (tools/defects)
};

class Judged : public testing::Test {
 public:
  ~Judged() override;

 protected:
  /// Saves the program and runs it in fp64; afterwards file_, options_, raw_, host_ and judged_ hold. `weights` are parameters of the module.
  void judge(const std::string& source, const std::vector<SampleInput>& inputs, const std::string& name, uint64_t seed,
             const std::vector<SampleInput>& weights = {});
  /// The same for lines of forward, separated by "; ", that use inputs and weights by name.
  void judge_program(const std::vector<SampleInput>& inputs, const std::vector<SampleInput>& weights, std::string_view body, const std::string& name,
                     uint64_t seed);
  /// Inputs of which the text has N for a size.
  std::vector<SampleInput> inputs_at(std::string_view text, int64_t size);
  /// Shapes equal, integers exact, floats within the larger of `least` and what the judge's dtype rounds, relative to max(1, |value|).
  void compare(const std::vector<HostTensor>& got, double least) const;
  /// Imports the program, interprets it and compares; also that the graph has LibTorch's shapes and dtypes.
  void expect_import();
  /// Compiles the program to a library, loads and runs it, and judges the outputs as `mica verify` does; the number of threads may not
  /// change a bit. MICA_TEST_CPU=x86-64-v2 and MICA_TEST_SCHEDULES=off put another plan in the default's place,
  /// and MICA_TEST_MEMORY=behind or before runs it between pages that cannot be touched.
  void expect_compiled();
  void expect_compiled(const Plan& plan);
  /// The two halves of it: one library may be run on several inputs.
  void compile_library(const Plan& plan);
  void expect_library(const Plan& plan);
  void run_lowered();

  Diagnostics diagnostics;
  std::vector<RawTensor> raw_;             ///< inputs
  std::vector<HostTensor> host_, judged_;  ///< inputs, and what LibTorch says in fp64
  std::vector<RawTensor> lowered_;         ///< LibTorch's outputs in the precision of the plan, where that is a lower one
  std::vector<RawTensor> exact_, eager_;   ///< LibTorch's outputs in fp64 and in the working dtypes; the latter empty where it has no kernel for them
  std::filesystem::path file_, library_;
  LoadOptions options_;
};

}  // namespace mica::numerics
