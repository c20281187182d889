// build/release/tests/bin/unit_frontend --gtest_filter='InputSpec.*'
#include <gtest/gtest.h>

#include "mica/frontend/torchscript.h"

namespace mica {
namespace {

InputSpec parse(const std::string& text) {
  Diagnostics d;
  auto spec = parse_input_spec(text, d);
  EXPECT_TRUE(spec) << d.to_string();
  return spec ? *spec : InputSpec{};
}

TEST(InputSpec, NameShapeDtype) {
  const InputSpec s = parse("x:1x3x224x224:f32");
  EXPECT_EQ(s.name, "x");
  EXPECT_EQ(s.shape, (Shape{1, 3, 224, 224}));
  EXPECT_EQ(s.dtype, DType::f32);
}
TEST(InputSpec, ShapeAlone) {
  const InputSpec s = parse("1x128");
  EXPECT_TRUE(s.name.empty());
  EXPECT_EQ(s.shape, (Shape{1, 128}));
  EXPECT_FALSE(s.dtype);
}
TEST(InputSpec, ShapeAndDtype) { EXPECT_EQ(parse("1x128:int64").dtype, DType::i64); }
TEST(InputSpec, NameAndShape) { EXPECT_EQ(parse("past.0.key:1x12x0x64").name, "past.0.key"); }
TEST(InputSpec, Scalar) {
  const InputSpec s = parse("t:scalar:f32");
  EXPECT_EQ(s.shape.rank(), 0);
  EXPECT_FALSE(s.number);
}
TEST(InputSpec, OneAxis) { EXPECT_EQ(parse("x:7").shape, Shape{7}); }
TEST(InputSpec, Numbers) {
  EXPECT_EQ(*parse("sr=16000").number, Scalar(16000));
  EXPECT_EQ(*parse("p=0.5").number, Scalar(0.5));
  EXPECT_EQ(*parse("flag=True").number, Scalar(true));
}
TEST(InputSpec, Wrong) {
  for (const char* text :
       {"", ":", "x:", "x:1x", "x:1x-3", "x:axb:f32", "x:1x3:f99", "a:b:1x2:f32", "=3", "n=abc", "x:99999999999x99999999999", "x:1x3:f32:f32"}) {
    Diagnostics d;
    EXPECT_FALSE(parse_input_spec(text, d)) << text;
    EXPECT_EQ(d.error_count(), 1u) << text;
    EXPECT_EQ(d.all().at(0).name, "input-spec");
    EXPECT_FALSE(d.all().at(0).helps.empty());
  }
}

}  // namespace
}  // namespace mica
