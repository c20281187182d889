// build/release/tests/bin/e2e_control --gtest_filter='Measured.*'
// Sizes that depend on data, through mica.h: buffers hold the greatest size, and the library says which size it was.
#include <cstring>
#include <fstream>

#include "abi_support.h"
#include "mica/driver/compile.h"

namespace mica {
namespace {

constexpr int64_t rows = 6, columns = 3;

/// The rows of x whose first element is above zero, and how far their number is from all: one output of a measured size, one of a derived size.
constexpr const char* text = R"(graph<U0<=6>(%x: f32[6, 3]) {
  %zero = constant dense<0.0> : f32[]
  %first = slice(%x, axis=1, end=1)
  %column = reshape(%first, shape=[6])
  %mask = gt(%column, %zero)
  %all, %count = nonzero(%mask)
  measure(%count, size=U0)
  %places = head(%all, size=U0)
  %rows = index_select(%x, index=%places)
  %pairs = cat([%places, %places])
  return %rows "rows", %pairs "pairs"
})";

class Measured : public testing::Test {
 protected:
  void SetUp() override {
    std::ofstream(folder_ / "m.mica") << text;
    Options options;
    options.model = folder_ / "m.mica";
    options.output = folder_ / "m.so";
    options.jobs = 1;
    Diagnostics d;
    ASSERT_TRUE(compile(options, d)) << d.to_string();
    library_.emplace(options.output);
    api = library_->api;
    input = tensor(x.data(), sizeof x, MICA_F32, {rows, columns}, 0);
    outputs = {tensor(found.data(), sizeof found, MICA_F32, {rows, columns}, 1), tensor(pairs.data(), sizeof pairs, MICA_I64, {2 * rows}, 2)};
  }

  mica_tensor tensor(void* data, size_t bytes, int32_t dtype, std::vector<int64_t> shape, size_t which) {
    shapes[which] = std::move(shape);
    mica_tensor t{};
    t.size = sizeof t;
    t.data = data;
    t.nbytes = bytes;
    t.dtype = dtype;
    t.rank = static_cast<int32_t>(shapes[which].size());
    t.shape = shapes[which].data();
    return t;
  }
  int run(mica_context* context) { return api->run(context, &input, 1, outputs.data(), outputs.size()); }
  std::vector<int64_t> shape_of(mica_context* context, size_t index) {
    std::vector<int64_t> shape(index == 0 ? 2 : 1, -1);
    EXPECT_EQ(api->result_shape(context, index, shape.data(), shape.size()), MICA_OK);
    return shape;
  }

  std::array<float, rows * columns> x{};
  std::array<float, rows * columns> found{};
  std::array<int64_t, 2 * rows> pairs{};
  std::array<std::vector<int64_t>, 3> shapes;
  mica_tensor input{};
  std::vector<mica_tensor> outputs;
  const mica_api* api = nullptr;

 private:
  TestFolder folder_;
  std::optional<Library> library_;
};

TEST_F(Measured, the_true_size_of_every_run) {
  for (const int threads : {1, 3}) {
    const Session session(api, threads);
    for (int mask = 0; mask < 1 << rows; ++mask) {
      found.fill(-7), pairs.fill(-7);
      std::vector<int64_t> expected;
      for (int64_t r = 0; r < rows; ++r) {
        for (int64_t c = 0; c < columns; ++c) x[static_cast<size_t>(r * columns + c)] = static_cast<float>(10 * r + c + 1);
        if (mask >> r & 1) expected.push_back(r);
        else x[static_cast<size_t>(r * columns)] = -1;
      }
      ASSERT_EQ(run(session.context), MICA_OK) << api->last_error(session.context);
      const auto n = static_cast<int64_t>(expected.size());
      ASSERT_EQ(shape_of(session.context, 0), (std::vector<int64_t>{n, columns}));
      ASSERT_EQ(shape_of(session.context, 1), (std::vector<int64_t>{2 * n}));
      for (int64_t i = 0; i < n; ++i) {
        ASSERT_EQ(std::memcmp(&found[static_cast<size_t>(i * columns)], &x[static_cast<size_t>(expected[static_cast<size_t>(i)] * columns)],
                              columns * sizeof(float)),
                  0);
        ASSERT_EQ(pairs[static_cast<size_t>(i)], expected[static_cast<size_t>(i)]);
        ASSERT_EQ(pairs[static_cast<size_t>(n + i)], expected[static_cast<size_t>(i)]);
      }
      for (int64_t i = n * columns; i < rows * columns; ++i) ASSERT_EQ(found[static_cast<size_t>(i)], -7) << "written behind the rows";
    }
  }
}

TEST_F(Measured, the_greatest_size_is_asked_for) {
  int64_t shape[2] = {};
  ASSERT_EQ(api->output_shape(&input, 1, 0, shape, 2), MICA_OK);
  EXPECT_EQ(shape[0], rows);
  EXPECT_EQ(shape[1], columns);
  ASSERT_EQ(api->output_shape(&input, 1, 1, shape, 1), MICA_OK);
  EXPECT_EQ(shape[0], 2 * rows);
  mica_value_info info{};
  info.size = sizeof info;
  ASSERT_EQ(api->output_info(0, &info), MICA_OK);
  EXPECT_LT(info.shape[0], 0);
  EXPECT_EQ(info.nbytes, 0U);
  mica_symbol_info symbol{};
  symbol.size = sizeof symbol;
  EXPECT_EQ(api->symbol_info(0, &symbol), MICA_ERR_COUNT) << "no input gives it";

  const Session session(api, 2);
  shapes[1][0] = 5;
  EXPECT_EQ(run(session.context), MICA_ERR_SHAPE) << "a buffer for fewer rows than there can be";
  shapes[1][0] = rows;
  outputs[0].nbytes -= 1;
  EXPECT_EQ(run(session.context), MICA_ERR_BUFFER);
}

TEST_F(Measured, a_shape_is_that_of_the_last_good_run) {
  const Session session(api, 1);
  int64_t shape[2] = {};
  EXPECT_EQ(api->result_shape(session.context, 0, shape, 2), MICA_ERR_VALUE) << "there was no run";
  ASSERT_EQ(run(session.context), MICA_OK);
  EXPECT_EQ(api->result_shape(session.context, 0, shape, 2), MICA_OK);
  EXPECT_EQ(api->result_shape(session.context, 0, shape, 1), MICA_ERR_RANK);
  EXPECT_EQ(api->result_shape(session.context, 2, shape, 2), MICA_ERR_COUNT);
  EXPECT_EQ(api->result_shape(session.context, 0, nullptr, 2), MICA_ERR_NULL);
  EXPECT_EQ(api->result_shape(nullptr, 0, shape, 2), MICA_ERR_NULL);
  shapes[0][0] = 5;
  EXPECT_EQ(run(session.context), MICA_ERR_SHAPE);
  EXPECT_EQ(api->result_shape(session.context, 0, shape, 2), MICA_ERR_VALUE) << "the last run failed";
}

TEST_F(Measured, steps_are_timed_while_somebody_asks) {
  const Session session(api, 2);
  size_t bytes = 0;
  const std::string manifest = api->manifest(&bytes);
  size_t steps = 0;
  for (size_t at = manifest.find("\"kernel\":"); at != std::string::npos; at = manifest.find("\"kernel\":", at + 1)) ++steps;
  ASSERT_GT(steps, 1U);
  std::vector<mica_step_time> times(steps + 1, mica_step_time{});
  EXPECT_EQ(api->context_measure(session.context, times.data(), steps), MICA_OK);
  for (int i = 0; i < 3; ++i) ASSERT_EQ(run(session.context), MICA_OK);
  int64_t total = 0;
  for (size_t k = 0; k < steps; ++k) {
    EXPECT_EQ(times[k].calls, 3) << "step " << k;
    EXPECT_GE(times[k].nanoseconds, 0);
    total += times[k].nanoseconds;
  }
  EXPECT_GT(total, 0);
  EXPECT_EQ(times[steps].calls, 0);
  EXPECT_EQ(api->context_measure(session.context, times.data(), 1), MICA_OK) << "the steps behind the first are left out";
  ASSERT_EQ(run(session.context), MICA_OK);
  EXPECT_EQ(times[0].calls, 4);
  EXPECT_EQ(times[1].calls, 3);
  EXPECT_EQ(api->context_measure(session.context, nullptr, 0), MICA_OK);
  ASSERT_EQ(run(session.context), MICA_OK);
  EXPECT_EQ(times[0].calls, 4);
  EXPECT_EQ(api->context_measure(session.context, nullptr, 1), MICA_ERR_NULL);
  EXPECT_EQ(api->context_measure(nullptr, times.data(), 1), MICA_ERR_NULL);
}

}  // namespace
}  // namespace mica
