// The compiled half of the judge: through compile() and the C ABI, as a user goes.
#include <cstdlib>

#include "guarded.h"
#include "judge.h"
#include "mica/driver/compile.h"
#include "mica/driver/numerics.h"
#include "mica/driver/so_info.h"
#include "mica/driver/tensor_file.h"

namespace mica::numerics {

void Judged::expect_compiled() {
  Plan plan;
  if (const char* cpu = std::getenv("MICA_TEST_CPU")) plan.cpu = cpu;
  if (const char* schedules = std::getenv("MICA_TEST_SCHEDULES")) plan.schedules = std::string_view(schedules) != "off";
  if (const char* memory = std::getenv("MICA_TEST_MEMORY"))
    plan.memory = std::string_view(memory) == "before" ? DebugMemory::before : DebugMemory::behind;
  expect_compiled(plan);
}

void Judged::expect_compiled(const Plan& plan) {
  SCOPED_TRACE(fmt::format("{}, schedules {}", plan.cpu, plan.schedules ? "on" : "off"));
  if (exact_.empty()) GTEST_SKIP() << "no result to compare with";
  compile_library(plan);
  if (!HasFatalFailure()) expect_library(plan);
}

void Judged::compile_library(const Plan& plan) {
  Options options;
  options.model = file_;
  options.output = std::filesystem::path(file_).replace_extension(".so");
  options.load = options_;
  options.jobs = 1;
  options.cpu = plan.cpu;
  options.schedules = plan.schedules;
  options.winograd = plan.winograd;
  options.precision = plan.precision;
  options.debug_memory = plan.memory;
  const auto report = compile(options, diagnostics);
  ASSERT_TRUE(report) << diagnostics.to_string();
  library_ = options.output;
}

void Judged::run_lowered() {
  Diagnostics refused;
  auto eager = EagerModel::load(file_, EagerMode::bf16, 1, options_, diagnostics);
  ASSERT_TRUE(eager) << diagnostics.to_string();
  if (auto outputs = eager->run(raw_, refused)) lowered_ = std::move(*outputs);
}

void Judged::expect_library(const Plan& plan) {
  const auto outputs = run_library(library_, raw_, 3, plan.memory, diagnostics), alone = run_library(library_, raw_, 1, plan.memory, diagnostics);
  ASSERT_TRUE(outputs && alone) << diagnostics.to_string();
  for (size_t i = 0; i < outputs->size(); ++i)
    EXPECT_EQ((*outputs)[i].bytes, (*alone)[i].bytes) << "output " << i << " depends on the number of threads";
  ASSERT_EQ(outputs->size(), exact_.size());
  const auto info = read_so_info(library_, diagnostics);
  ASSERT_TRUE(info) << diagnostics.to_string();
  EXPECT_TRUE(info->winograd || plan.winograd != WinogradUse::always) << "no convolution in Winograd's form";
  const std::optional<Precision> precision = find_precision(info->precision);
  ASSERT_EQ(info->precision, plan.precision);
  if (precision) run_lowered();
  const std::vector<RawTensor>& eager = precision ? lowered_ : eager_;
  for (size_t i = 0; i < outputs->size(); ++i) {
    // Where LibTorch has no kernel in the working dtype the judge, rounded, stands in as the yardstick.
    const RawTensor yardstick = eager.empty() ? convert(exact_[i], (*outputs)[i].type.dtype) : eager[i];
    const OutputVerdict v = judge_output(fmt::format("output {}", i), (*outputs)[i], yardstick, exact_[i], info->winograd, precision);
    EXPECT_TRUE(v.pass) << v.reason << ": rmse " << v.mica.rmse << " against eager's " << v.eager.rmse << ", limit " << v.limit;
  }
}

}  // namespace mica::numerics
