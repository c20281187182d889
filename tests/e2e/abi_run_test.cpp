// build/release/tests/bin/e2e_abi --gtest_filter='AbiRun.*'
#include <fenv.h>
#include <xmmintrin.h>

#include <cstring>

#include "abi_support.h"

namespace mica {
namespace {

TEST(AbiRun, describes_itself) {
  const TestFolder folder;
  const Library library(link(lookup_image(), folder / "m.so"));
  mica_model_info model{};
  model.size = sizeof model;
  ASSERT_EQ(library.api->model_info(&model), MICA_OK);
  EXPECT_STREQ(model.name, "lookup");
  EXPECT_EQ(model.inputs, 2U);
  EXPECT_EQ(model.outputs, 2U);
  EXPECT_EQ(model.weights_bytes, 2048U);
  EXPECT_EQ(model.workspace_bytes, 512U);
  EXPECT_EQ(model.state_bytes, 8U);
  EXPECT_STREQ(model.structure, "(y, runs)");
  EXPECT_STREQ(model.cpu_features, "sse2");
  mica_value_info value{};
  value.size = sizeof value;
  ASSERT_EQ(library.api->input_info(0, &value), MICA_OK);
  EXPECT_STREQ(value.name, "x");
  EXPECT_EQ(value.dtype, MICA_F32);
  ASSERT_EQ(value.rank, 2);
  EXPECT_EQ(value.shape[1], 16);
  EXPECT_EQ(value.nbytes, 512U);
  ASSERT_EQ(library.api->output_info(1, &value), MICA_OK);
  EXPECT_STREQ(value.name, "runs");
  EXPECT_EQ(value.rank, 0);
  EXPECT_EQ(value.nbytes, 8U);
  size_t bytes = 0;
  const char* manifest = library.api->manifest(&bytes);
  EXPECT_EQ(std::strlen(manifest), bytes);
  EXPECT_NE(std::strstr(manifest, "\"hash\": \"0123\""), nullptr);
  size_t workspace = 0;
  EXPECT_EQ(library.api->workspace_size(nullptr, 0, &workspace), MICA_OK);
  EXPECT_EQ(workspace, 512U);
  EXPECT_STREQ(library.api->status_name(MICA_ERR_SHAPE), "MICA_ERR_SHAPE");
  EXPECT_STREQ(library.api->status_name(-5), "unknown status");
}

TEST(AbiRun, gives_the_right_values_on_any_number_of_threads) {
  const TestFolder folder;
  const Library library(link(lookup_image(), folder / "m.so"));
  for (const int threads : {1, 2, 3, 5, 8, 17}) {
    for (const int weights : {MICA_WEIGHTS_MAP, MICA_WEIGHTS_COPY_HUGE}) {
      const Session session(library.api, threads, weights);
      EXPECT_EQ(library.api->model_threads(session.model), threads);
      for (int i = 1; i <= 20; ++i) {
        LookupCall call;
        ASSERT_EQ(call.run(library.api, session.context), MICA_OK) << library.api->last_error(session.context);
        call.expect_right();
        EXPECT_EQ(call.runs, i);
      }
    }
  }
}

TEST(AbiRun, keeps_state_in_the_context_until_it_is_reset) {
  const TestFolder folder;
  const Library library(link(lookup_image(), folder / "m.so"));
  const Session session(library.api);
  mica_context* other = nullptr;
  ASSERT_EQ(library.api->context_create(session.model, nullptr, &other, nullptr, 0), MICA_OK);
  LookupCall call;
  for (int i = 0; i < 3; ++i) ASSERT_EQ(call.run(library.api, session.context), MICA_OK);
  EXPECT_EQ(call.runs, 3);
  ASSERT_EQ(call.run(library.api, other), MICA_OK);
  EXPECT_EQ(call.runs, 1);
  EXPECT_EQ(library.api->context_reset(session.context), MICA_OK);
  ASSERT_EQ(call.run(library.api, session.context), MICA_OK);
  EXPECT_EQ(call.runs, 1);
  library.api->context_destroy(other);
}

TEST(AbiRun, starts_state_from_the_weights) {
  const TestFolder folder;
  artifact::Image image = lookup_image();
  static const int64_t initial = 41;
  image.descriptor.weights_bytes += 64;
  image.descriptor.state_init_at = 2048;
  image.weights.push_back({2048, 8, reinterpret_cast<const std::byte*>(&initial)});
  const Library library(link(image, folder / "m.so"));
  const Session session(library.api);
  LookupCall call;
  ASSERT_EQ(call.run(library.api, session.context), MICA_OK);
  EXPECT_EQ(call.runs, 42);
}

TEST(AbiRun, takes_a_workspace_of_the_callers) {
  const TestFolder folder;
  const Library library(link(lookup_image(), folder / "m.so"));
  const Session session(library.api);
  alignas(64) std::array<char, 576> memory{};
  mica_context_options options{sizeof options, memory.data(), 512};
  mica_context* context = nullptr;
  std::array<char, 200> error{};
  ASSERT_EQ(library.api->context_create(session.model, &options, &context, error.data(), error.size()), MICA_OK) << error.data();
  LookupCall call;
  ASSERT_EQ(call.run(library.api, context), MICA_OK);
  call.expect_right();
  library.api->context_destroy(context);
  options.workspace_bytes = 511;
  EXPECT_EQ(library.api->context_create(session.model, &options, &context, error.data(), error.size()), MICA_ERR_BUFFER);
  EXPECT_STREQ(error.data(), "the workspace has 511 bytes, the model needs 512");
  options = {sizeof options, memory.data() + 8, 512};
  EXPECT_EQ(library.api->context_create(session.model, &options, &context, error.data(), error.size()), MICA_ERR_ALIGNMENT);
  EXPECT_EQ(context, nullptr);
}

TEST(AbiRun, a_model_outlives_its_handle_while_contexts_use_it) {
  const TestFolder folder;
  const Library library(link(lookup_image(), folder / "m.so"));
  mica_model* model = nullptr;
  mica_context* context = nullptr;
  ASSERT_EQ(library.api->model_create(nullptr, &model, nullptr, 0), MICA_OK);
  ASSERT_EQ(library.api->context_create(model, nullptr, &context, nullptr, 0), MICA_OK);
  library.api->model_destroy(model);
  LookupCall call;
  ASSERT_EQ(call.run(library.api, context), MICA_OK);
  call.expect_right();
  library.api->context_destroy(context);
  library.api->context_destroy(nullptr);
  library.api->model_destroy(nullptr);
}

TEST(AbiRun, leaves_the_floating_point_environment_and_errno_alone) {
  const TestFolder folder;
  const Library library(link(floats_image(), folder / "m.so"));
  const Session session(library.api);
  const float denormal = 2e-39F;
  std::array<float, 4> x = {3.0F, denormal, 1e-38F, 2.0F}, y{};
  const std::array<int64_t, 1> shape = {4};
  const mica_tensor in = {sizeof in, x.data(), sizeof x, MICA_F32, 1, shape.data(), nullptr};
  const mica_tensor out = {sizeof out, y.data(), sizeof y, MICA_F32, 1, shape.data(), nullptr};
  fesetround(FE_UPWARD);
  const unsigned before = _mm_getcsr();
  errno = 77;
  const int status = library.api->run(session.context, &in, 1, &out, 1);
  const unsigned after = _mm_getcsr();
  const int error = errno;
  fesetround(FE_TONEAREST);
  EXPECT_EQ(status, MICA_OK);
  EXPECT_EQ(before, after);
  EXPECT_EQ(error, 77);
  EXPECT_EQ(y[0], 1.5F);
  EXPECT_EQ(y[1], 0.0F) << "denormals are zero inside a run";
  EXPECT_EQ(y[2], 0.0F);
}

TEST(AbiRun, an_unknown_abi_version_gives_null) {
  const TestFolder folder;
  const Library library(link(lookup_image(), folder / "m.so"));
  const auto query = reinterpret_cast<mica_model_query_fn>(dlsym(library.handle, "mica_model_query"));
  EXPECT_EQ(query(MICA_ABI_VERSION + 1), nullptr);
  EXPECT_EQ(query(0), nullptr);
  EXPECT_EQ(query(-1), nullptr);
  EXPECT_EQ(reinterpret_cast<mica_model_query_fn>(dlsym(library.handle, "mica_model_query_lookup"))(1), library.api);
}

}  // namespace
}  // namespace mica
