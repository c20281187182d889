// build/release/tests/bin/e2e_abi --gtest_filter='AbiWrongCall.*'
#include <functional>

#include "abi_support.h"

namespace mica {
namespace {

struct WrongCall {
  const char* what;
  std::function<void(LookupCall&)> spoil;
  int status;
  const char* sentence;
};

/// Each is a good call with one thing wrong.
std::vector<WrongCall> wrong_calls() {
  static int64_t other_matrix[2] = {8, 17}, negative[2] = {8, -16}, swapped[2] = {16, 8}, huge[2] = {INT64_MAX, INT64_MAX};
  static int64_t padded[2] = {17, 1}, transposed[2] = {1, 8}, reversed[1] = {-1}, broadcast[1] = {0};
  return {
      {"size not set", [](LookupCall& c) { c.inputs[0].size = 0; }, MICA_ERR_STRUCT, "input 0 'x': size is 0, expected sizeof(mica_tensor) = 48"},
      {"size too small", [](LookupCall& c) { c.outputs[0].size = 40; }, MICA_ERR_STRUCT,
       "output 0 'y': size is 40, expected sizeof(mica_tensor) = 48"},
      {"sizes differ", [](LookupCall& c) { c.inputs[1].size = 56; }, MICA_ERR_STRUCT,
       "input 1 'index': size is 56, expected sizeof(mica_tensor) = 48"},
      {"dtype", [](LookupCall& c) { c.inputs[0].dtype = MICA_F64; }, MICA_ERR_DTYPE, "input 0 'x': dtype is f64, expected f32"},
      {"int for long", [](LookupCall& c) { c.inputs[1].dtype = MICA_I32; }, MICA_ERR_DTYPE, "input 1 'index': dtype is i32, expected i64"},
      {"output dtype", [](LookupCall& c) { c.outputs[0].dtype = MICA_BF16; }, MICA_ERR_DTYPE, "output 0 'y': dtype is bf16, expected f32"},
      {"no dtype", [](LookupCall& c) { c.inputs[0].dtype = 0; }, MICA_ERR_DTYPE, "input 0 'x': dtype is not a mica_dtype, expected f32"},
      {"dtype 99", [](LookupCall& c) { c.inputs[0].dtype = 99; }, MICA_ERR_DTYPE, "input 0 'x': dtype is not a mica_dtype, expected f32"},
      {"dtype -1", [](LookupCall& c) { c.inputs[0].dtype = -1; }, MICA_ERR_DTYPE, "input 0 'x': dtype is not a mica_dtype, expected f32"},
      {"rank", [](LookupCall& c) { c.inputs[0].rank = 1; }, MICA_ERR_RANK, "input 0 'x': rank is 1, expected 2"},
      {"rank -1", [](LookupCall& c) { c.inputs[0].rank = -1; }, MICA_ERR_RANK, "input 0 'x': rank is -1, expected 2"},
      {"scalar rank", [](LookupCall& c) { c.outputs[1].rank = 1; }, MICA_ERR_RANK, "output 1 'runs': rank is 1, expected 0"},
      {"null shape", [](LookupCall& c) { c.inputs[0].shape = nullptr; }, MICA_ERR_NULL, "input 0 'x': shape is null"},
      {"shape", [](LookupCall& c) { c.inputs[0].shape = other_matrix; }, MICA_ERR_SHAPE, "input 0 'x': dim 1 is 17, expected 16"},
      {"swapped", [](LookupCall& c) { c.inputs[0].shape = swapped; }, MICA_ERR_SHAPE, "input 0 'x': dim 0 is 16, expected 8"},
      {"negative", [](LookupCall& c) { c.inputs[0].shape = negative; }, MICA_ERR_SHAPE, "input 0 'x': dim 1 is -16, which is negative"},
      {"huge", [](LookupCall& c) { c.inputs[0].shape = huge; }, MICA_ERR_SHAPE, "input 0 'x': dim 0 is 9223372036854775807, expected 8"},
      {"output shape", [](LookupCall& c) { c.outputs[0].shape = other_matrix; }, MICA_ERR_SHAPE, "output 0 'y': dim 1 is 17, expected 16"},
      {"padded", [](LookupCall& c) { c.inputs[0].strides = padded; }, MICA_ERR_STRIDES,
       "input 0 'x': stride 0 is 17, expected 16 elements; only C-contiguous tensors are taken"},
      {"transposed", [](LookupCall& c) { c.outputs[0].strides = transposed; }, MICA_ERR_STRIDES,
       "output 0 'y': stride 1 is 8, expected 1 elements; only C-contiguous tensors are taken"},
      {"reversed", [](LookupCall& c) { c.inputs[1].strides = reversed; }, MICA_ERR_STRIDES,
       "input 1 'index': stride 0 is -1, expected 1 elements; only C-contiguous tensors are taken"},
      {"broadcast", [](LookupCall& c) { c.inputs[1].strides = broadcast; }, MICA_ERR_STRIDES,
       "input 1 'index': stride 0 is 0, expected 1 elements; only C-contiguous tensors are taken"},
      {"short buffer", [](LookupCall& c) { c.inputs[0].nbytes = 511; }, MICA_ERR_BUFFER, "input 0 'x': the buffer has 511 bytes, the tensor 512"},
      {"short output", [](LookupCall& c) { c.outputs[1].nbytes = 0; }, MICA_ERR_BUFFER, "output 1 'runs': the buffer has 0 bytes, the tensor 8"},
      {"null data", [](LookupCall& c) { c.inputs[0].data = nullptr; }, MICA_ERR_NULL, "input 0 'x': data is null"},
      {"null output", [](LookupCall& c) { c.outputs[0].data = nullptr; }, MICA_ERR_NULL, "output 0 'y': data is null"},
      {"misaligned", [](LookupCall& c) { c.inputs[0].data = reinterpret_cast<char*>(c.x.data()) + 2; }, MICA_ERR_ALIGNMENT,
       "input 0 'x': data is not aligned to 4 bytes"},
      {"past the end of memory", [](LookupCall& c) { c.inputs[0].data = reinterpret_cast<void*>(UINTPTR_MAX - 15); }, MICA_ERR_BUFFER,
       "input 0 'x': the buffer runs past the end of memory"},
      {"in place", [](LookupCall& c) { c.outputs[0].data = c.x.data(); }, MICA_ERR_OVERLAP, "output 0 overlaps input 0 in memory"},
      {"partly over an input", [](LookupCall& c) { c.outputs[1].data = &c.index[7]; }, MICA_ERR_OVERLAP, "output 1 overlaps input 1 in memory"},
      {"over an output", [](LookupCall& c) { c.outputs[1].data = &c.y[20]; }, MICA_ERR_OVERLAP, "output 1 overlaps output 0 in memory"},
      {"index past the end", [](LookupCall& c) { c.index[5] = 32; }, MICA_ERR_INDEX,
       "embedding: index out of range of 32 rows, at model.py:12: the value is 32"},
      {"negative index", [](LookupCall& c) { c.index[0] = -9000000000; }, MICA_ERR_INDEX,
       "embedding: index out of range of 32 rows, at model.py:12: the value is -9000000000"},
  };
}

TEST(AbiWrongCall, each_gives_its_code_and_a_sentence_and_leaves_the_context_usable) {
  const TestFolder folder;
  const Library library(link(lookup_image(), folder / "m.so"));
  const Session session(library.api);
  for (const WrongCall& wrong : wrong_calls()) {
    LookupCall call;
    wrong.spoil(call);
    EXPECT_EQ(call.run(library.api, session.context), wrong.status) << wrong.what;
    EXPECT_STREQ(library.api->last_error(session.context), wrong.sentence) << wrong.what;
    if (wrong.status != MICA_ERR_INDEX) {
      for (const float y : call.y) ASSERT_EQ(y, 0) << wrong.what << ": the output was written";
    }
    LookupCall good;
    ASSERT_EQ(good.run(library.api, session.context), MICA_OK) << "after " << wrong.what;
    EXPECT_STREQ(library.api->last_error(session.context), "");
    good.expect_right();
  }
}

TEST(AbiWrongCall, counts_and_null_arrays) {
  const TestFolder folder;
  const Library library(link(lookup_image(), folder / "m.so"));
  const Session s(library.api);
  const mica_api* api = library.api;
  LookupCall c;
  EXPECT_EQ(api->run(nullptr, c.inputs.data(), 2, c.outputs.data(), 2), MICA_ERR_NULL);
  EXPECT_STREQ(api->last_error(nullptr), "the context is null");
  EXPECT_EQ(api->run(s.context, c.inputs.data(), 1, c.outputs.data(), 2), MICA_ERR_COUNT);
  EXPECT_STREQ(api->last_error(s.context), "the call has 1 inputs, the model 2");
  EXPECT_EQ(api->run(s.context, c.inputs.data(), 2, c.outputs.data(), 3), MICA_ERR_COUNT);
  EXPECT_STREQ(api->last_error(s.context), "the call has 3 outputs, the model 2");
  EXPECT_EQ(api->run(s.context, nullptr, 2, c.outputs.data(), 2), MICA_ERR_NULL);
  EXPECT_STREQ(api->last_error(s.context), "the array of inputs is null");
  EXPECT_EQ(api->run(s.context, c.inputs.data(), 2, nullptr, 2), MICA_ERR_NULL);
  EXPECT_EQ(api->context_reset(nullptr), MICA_ERR_NULL);
  EXPECT_EQ(api->workspace_size(nullptr, 0, nullptr), MICA_ERR_NULL);
  EXPECT_EQ(api->model_info(nullptr), MICA_ERR_NULL);
  mica_value_info info{};
  EXPECT_EQ(api->input_info(0, &info), MICA_ERR_STRUCT);
  info.size = sizeof info;
  EXPECT_EQ(api->input_info(2, &info), MICA_ERR_COUNT);
  EXPECT_EQ(api->output_info(SIZE_MAX, &info), MICA_ERR_COUNT);
  EXPECT_EQ(api->input_info(0, nullptr), MICA_ERR_NULL);
}

TEST(AbiWrongCall, equal_strides_and_larger_structs_are_fine) {
  const TestFolder folder;
  const Library library(link(lookup_image(), folder / "m.so"));
  const Session session(library.api);
  LookupCall call;
  const int64_t strides[2] = {16, 1};
  call.inputs[0].strides = strides;
  // A caller compiled against a later header: its tensors are larger.
  struct Later {
    mica_tensor tensor;
    uint64_t more[2];
  };
  std::array<Later, 2> inputs = {Later{call.inputs[0], {}}, Later{call.inputs[1], {}}};
  for (Later& t : inputs) t.tensor.size = sizeof(Later);
  ASSERT_EQ(library.api->run(session.context, &inputs[0].tensor, 2, call.outputs.data(), 2), MICA_OK) << library.api->last_error(session.context);
  call.expect_right();
}

int create(const mica_api* api, const mica_options* options, std::string& sentence) {
  std::array<char, 256> error{};
  mica_model* model = nullptr;
  const int status = api->model_create(options, &model, error.data(), error.size());
  EXPECT_EQ(model == nullptr, status != MICA_OK);
  api->model_destroy(model);
  sentence = error.data();
  return status;
}

TEST(AbiWrongCall, options) {
  const TestFolder folder;
  const Library library(link(lookup_image(), folder / "m.so"));
  std::string sentence;
  mica_options options{};
  EXPECT_EQ(create(library.api, &options, sentence), MICA_ERR_STRUCT);
  EXPECT_EQ(sentence, "options: size is 0, expected sizeof(mica_options) = 24");
  options.size = sizeof options;
  options.threads = -3;
  EXPECT_EQ(create(library.api, &options, sentence), MICA_ERR_OPTION);
  EXPECT_EQ(sentence, "option threads is -3, expected 0 .. 1024");
  options.threads = 2;
  options.weights = 7;
  EXPECT_EQ(create(library.api, &options, sentence), MICA_ERR_OPTION);
  options.weights = 0;
  options.spin_us = -2;
  EXPECT_EQ(create(library.api, &options, sentence), MICA_ERR_OPTION);
  options.spin_us = -1;
  EXPECT_EQ(create(library.api, &options, sentence), MICA_OK) << sentence;
  EXPECT_EQ(library.api->model_create(nullptr, nullptr, nullptr, 0), MICA_ERR_NULL);
  mica_context* context = nullptr;
  EXPECT_EQ(library.api->context_create(nullptr, nullptr, &context, nullptr, 0), MICA_ERR_NULL);
  for (const char* text : {"0", "abc", "2x", "-1", "99999999999999999999", "1025"}) {
    setenv("MICA_THREADS", text, 1);
    EXPECT_EQ(create(library.api, nullptr, sentence), MICA_ERR_OPTION) << text;
    EXPECT_EQ(sentence, "MICA_THREADS is '" + std::string(text) + "', expected a number from 1 to 1024");
  }
  setenv("MICA_THREADS", "3", 1);
  mica_model* model = nullptr;
  ASSERT_EQ(library.api->model_create(nullptr, &model, nullptr, 0), MICA_OK);
  EXPECT_EQ(library.api->model_threads(model), 3);
  library.api->model_destroy(model);
  unsetenv("MICA_THREADS");
}

TEST(AbiWrongCall, a_cpu_without_a_feature_is_told_so) {
  const TestFolder folder;
  artifact::Image image = lookup_image();
  image.descriptor.features = {"sse2", "sse4a", "amx-bf16", "avx512vp2intersect", "avxneconvert", "clwb"};  // no CPU has all of them
  const Library library(link(image, folder / "m.so"));
  std::string sentence;
  EXPECT_EQ(create(library.api, nullptr, sentence), MICA_ERR_CPU);
  EXPECT_EQ(sentence.find("this CPU lacks "), 0U) << sentence;
  EXPECT_NE(sentence.find("which the model was compiled for; compile it with --cpu for this machine"), std::string::npos);
  EXPECT_EQ(sentence.find("sse2"), std::string::npos);
  std::array<char, 8> small{};
  mica_model* model = nullptr;
  EXPECT_EQ(library.api->model_create(nullptr, &model, small.data(), small.size()), MICA_ERR_CPU);
  EXPECT_STREQ(small.data(), "this CP");
}

}  // namespace
}  // namespace mica
