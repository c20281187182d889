// The compiled half of the judge: through compile() and the C ABI, as a user goes.
#include <cstdlib>

#include "judge.h"
#include "mica/driver/compile.h"
#include "mica/driver/numerics.h"
#include "mica/driver/so_model.h"
#include "mica/driver/tensor_file.h"

namespace mica::numerics {

void Judged::expect_compiled() {
  if (exact_.empty()) GTEST_SKIP() << "no result to compare with";
  Options options;
  options.model = file_;
  options.output = std::filesystem::path(file_).replace_extension(".so");
  options.load = options_;
  options.jobs = 1;
  // MICA_TEST_CPU=x86-64-v2 and MICA_TEST_SCHEDULES=off run the same tests on another plan.
  if (const char* cpu = std::getenv("MICA_TEST_CPU")) options.cpu = cpu;
  if (const char* schedules = std::getenv("MICA_TEST_SCHEDULES")) options.schedules = std::string_view(schedules) != "off";
  const auto report = compile(options, diagnostics);
  ASSERT_TRUE(report) << diagnostics.to_string();
  auto model = SoModel::load(options.output, {.threads = 2, .copy_weights = false}, diagnostics);
  std::filesystem::remove(options.output);
  ASSERT_TRUE(model) << diagnostics.to_string();
  const auto outputs = model->run(raw_, diagnostics);
  ASSERT_TRUE(outputs) << diagnostics.to_string();
  ASSERT_EQ(outputs->size(), exact_.size());
  for (size_t i = 0; i < outputs->size(); ++i) {
    // Where LibTorch has no kernel in the working dtype the judge, rounded, stands in as the yardstick.
    const RawTensor yardstick = eager_.empty() ? convert(exact_[i], (*outputs)[i].type.dtype) : eager_[i];
    const OutputVerdict v = judge_output(fmt::format("output {}", i), (*outputs)[i], yardstick, exact_[i], false);
    EXPECT_TRUE(v.pass) << v.reason << ": rmse " << v.mica.rmse << " against eager's " << v.eager.rmse << ", limit " << v.limit;
  }
}

}  // namespace mica::numerics
