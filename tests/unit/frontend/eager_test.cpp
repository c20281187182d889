// build/release/tests/bin/unit_frontend --gtest_filter='Eager.*'
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "mica/frontend/script.h"

namespace mica {
namespace {

RawTensor make(DType dtype, Shape shape, double start) {
  RawTensor t{{dtype, shape, {}}, {}};
  for (int64_t i = 0; i < shape.elements(); ++i) {
    const auto put = [&](auto v) {
      const auto* p = reinterpret_cast<const std::byte*>(&v);
      t.bytes.insert(t.bytes.end(), p, p + sizeof(v));
    };
    if (dtype == DType::f32) put(static_cast<float>(start + 0.1 * static_cast<double>(i)));
    else put(static_cast<int64_t>(i % 3));
  }
  return t;
}

std::filesystem::path scratch() {
  return std::filesystem::path(testing::TempDir()) /
         (std::string("mica_eager_") + testing::UnitTest::GetInstance()->current_test_info()->name() + ".pt");
}

const ScriptModule model{.source =
                             "def forward(self, x, i):\n"
                             "  z = torch.zeros([2, 3], dtype=6)\n"
                             "  y = (x * self.w + z).to(6) / 3\n"
                             "  return y, {'rows': torch.index_select(self.table, 0, i), 'n': i * 2}\n",
                         .parameters = {{"w", make(DType::f32, Shape{3}, 0.3)}, {"table", make(DType::f32, Shape{3, 2}, 1)}},
                         .children = {}};

std::vector<RawTensor> run(EagerMode mode, const std::vector<RawTensor>& inputs) {
  Diagnostics d;
  EXPECT_TRUE(write_script(scratch(), model, inputs, d)) << d.to_string();
  auto eager = EagerModel::load(scratch(), mode, 1, {}, d);
  EXPECT_TRUE(eager) << d.to_string();
  if (!eager) return {};
  auto out = eager->run(inputs, d);
  EXPECT_TRUE(out) << d.to_string();
  EXPECT_TRUE(eager->set_inputs(inputs, d)) << d.to_string();
  EXPECT_GT(eager->time_once(), 0);
  std::filesystem::remove(scratch());
  return out ? *out : std::vector<RawTensor>{};
}

const std::vector<RawTensor> inputs = {make(DType::f32, Shape{2, 3}, -0.2), make(DType::i64, Shape{4}, 0)};

TEST(Eager, WorkingDtype) {
  const auto out = run(EagerMode::eager, inputs);
  ASSERT_EQ(out.size(), 3u);
  EXPECT_EQ(out[0].type.to_string(), "f32[2, 3]");
  EXPECT_EQ(out[1].type.to_string(), "f32[4, 2]");
  EXPECT_EQ(out[2].type.to_string(), "i64[4]");
}

TEST(Eager, FrozenGivesTheSame) {
  const auto a = run(EagerMode::eager, inputs), b = run(EagerMode::frozen, inputs);
  ASSERT_EQ(a.size(), b.size());
  for (size_t i = 0; i < a.size(); ++i) EXPECT_EQ(a[i].bytes, b[i].bytes) << i;
}

TEST(Eager, Fp64Throughout) {
  const auto out = run(EagerMode::fp64, inputs);
  ASSERT_EQ(out.size(), 3u);
  EXPECT_EQ(out[0].type.to_string(), "f64[2, 3]");
  EXPECT_EQ(out[1].type.to_string(), "f64[4, 2]");
  EXPECT_EQ(out[2].type.to_string(), "i64[4]");
  double y = 0;
  std::memcpy(&y, out[0].bytes.data(), 8);
  EXPECT_EQ(y, static_cast<double>(-0.2f) * static_cast<double>(0.3f) / 3) << "no step in between was rounded to f32";
}

TEST(Eager, WrongInputsAreReported) {
  Diagnostics d;
  ASSERT_TRUE(write_script(scratch(), model, inputs, d));
  auto eager = EagerModel::load(scratch(), EagerMode::eager, 1, {}, d);
  ASSERT_TRUE(eager);
  EXPECT_FALSE(eager->run({make(DType::f32, Shape{2, 5}, 0), inputs[1]}, d));
  ASSERT_EQ(d.error_count(), 1u);
  EXPECT_EQ(d.all()[0].name, "eager-failed");
  EXPECT_NE(d.all()[0].message.find("must match the size"), std::string::npos) << d.to_string();
  std::filesystem::remove(scratch());
}

}  // namespace
}  // namespace mica
