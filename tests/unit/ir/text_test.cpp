#include <filesystem>
#include <fstream>

#include "../graph_test.h"

namespace mica {
namespace {

using test::parse;

void expect_round_trip(std::string_view text) {
  const Graph graph = parse(text);
  EXPECT_EQ(to_string(graph), text);
}

constexpr std::string_view operands_and_attributes = R"mica(graph(%x: f32[1, 3, 8, 8], %a_b "a b": f32[4, 1, 1]) {
  inputs "(0, {'a': 1})"
  outputs "(0, 1)"
  %w = constant splat<0.5> : f32[4, 3, 3, 3]
  %0 = constant dense<1.0, -0.0, inf, nan> : f32[4]
  %conv_1 = constant "conv 1" dense<1, -2> : i64[2]
  %1 = conv(%x, %w, %0, stride=[2, 2], padding=[1, 1], dilation=[1, 1]) : f32[1, 4, 4, 4]
  %sum = add(%1, %a_b) : f32[1, 4, 4, 4]
  %2 = cat([%sum, %1], axis=1) : f32[1, 8, 4, 4]
  %3 = batch_norm(%1, mean=%0, var=%0, eps=0.001) : f32[1, 4, 4, 4]
  %4 = cast(%conv_1, dtype=f16) : f16[2]
  return %2 "features", %3, %4
}
)mica";

TEST(text, round_trip_of_operands_and_attributes) { expect_round_trip(operands_and_attributes); }

TEST(text, names_without_types_are_inferred) {
  const Graph graph = parse("graph(%x: f32[2, 3]) { %a = relu(%x) %b = permute(%a, axes=[1, 0]) return %b }");
  EXPECT_EQ(graph.type(graph.outputs[0]).to_string(), "f32[3, 2]");
}

constexpr std::string_view layout = R"mica(graph(%x: f32[1, 3, 8, 8]@0231) {
  return %x
}
)mica";

TEST(text, layouts) { expect_round_trip(layout); }

constexpr std::string_view constants = R"mica(graph() {
  %a = constant dense<0.1, 1e-300, -1e+300> : f64[3]
  %b = constant dense<0.1, 1e-40, 3.4028235e+38> : f32[3]
  %c = constant dense<0.33325195, 65504.0, -5.9604645e-08> : f16[3]
  %d = constant dense<0.33398438, 3.3895314e+38> : bf16[2]
  %e = constant dense<-9223372036854775808, 9223372036854775807> : i64[2]
  %f = constant dense<-2147483648> : i32[1]
  %g = constant dense<-32768> : i16[]
  %h = constant dense<-128> : i8[]
  %i = constant dense<255> : u8[]
  %j = constant dense<true, false> : bool[2]
  %k = constant hex<0100c07f> : f32[1]
  %l = constant dense<> : f32[0, 3]
  return %a, %b, %c, %d, %e, %f, %g, %h, %i, %j, %k, %l
}
)mica";

TEST(text, constants_of_every_type) { expect_round_trip(constants); }

TEST(text, weights_beside_the_text) {
  const Graph graph = parse(
      "graph(%x: f32[8, 8]) { %w = constant random<7> : f32[8, 8] %v = constant random<7> : f32[64] %y = linear(%x, %w) : f32[8, 8] return %y \"y\", "
      "%v }");
  EXPECT_NE(to_string(graph).find("%w = constant dense<...> : f32[8, 8]"), std::string::npos);
  const auto file = std::filesystem::temp_directory_path() / "mica_text_test.mica";
  Diagnostics d;
  ASSERT_TRUE(write_graph(graph, file, d)) << d.to_string();
  auto back = read_graph(file, d);
  ASSERT_TRUE(back) << d.to_string();
  EXPECT_EQ(to_string(*back), to_string(graph));
  EXPECT_TRUE(std::ranges::equal(back->constants[0].bytes, graph.constants[0].bytes));
  EXPECT_EQ(back->constants[0].bytes.data(), back->constants[1].bytes.data()) << "equal bytes are held once";
  EXPECT_EQ(back->location(back->nodes[0]).line, 1);
  std::filesystem::resize_file(file.string() + ".weights", 40);
  EXPECT_FALSE(read_graph(file, d));
  EXPECT_EQ(d.all().back().name, "bad-weights-file");
  std::filesystem::remove(file);
  std::filesystem::remove(file.string() + ".weights");
}

TEST(text, errors_say_where) {
  const std::pair<const char*, const char*> cases[] = {
      {"graph(%x: f32[2]) {\n  %y = rellu(%x)\n}", "there is no op `rellu`"},
      {"graph(%x: f32[2]) {\n  %y = relu(%z)\n}", "%z is used before it is made"},
      {"graph(%x: f32[2]) {\n  %x = relu(%x)\n}", "%x is made twice"},
      {"graph(%x: f32[2]) {\n  %y = softmax(%x, axes=1)\n}", "softmax has no parameter `axes`; it has x, axis, safe"},
      {"graph(%x: f32[2]) {\n  %y = softmax(%x, axis=1, %x)\n}", "an argument without a name stands behind one with a name"},
      {"graph(%x: f32[2]) {\n  %y = softmax(axis=0)\n}", "softmax needs the operand `x`"},
      {"graph() {\n  %y = constant dense<1, 2> : i8[3]\n}", "2 values for i8[3], which has 3"},
      {"graph() {\n  %y = constant dense<300> : u8[]\n}", "300 does not fit into u8"},
      {"graph() {\n  %y = constant dense<...> : f32[300]\n}", "the values of this constant were left out"},
      {"graph() {\n  %y = constant weights<00> : f32[1]\n}", "there is no file of weights"},
      {"graph(%x: q7[2]) {\n}", "expected a type"},
      {"graph(%x: f32[2]) {\n  %a, %b = relu(%x)\n}", "2 results are named, but there are 1 types"},
      {"graph(%x: f32[99999999999999, 99999999999]) {}", "this size is out of range"},
      {"graph(%x: f32[2]) {\n  return %x\n} more", "expected the end of the text"},
      {"", "expected `graph`"},
  };
  for (const auto& [text, message] : cases) {
    Diagnostics d;
    EXPECT_FALSE(parse_graph(text, "test.mica", d)) << text;
    ASSERT_EQ(d.error_count(), 1u) << text;
    EXPECT_NE(d.all()[0].message.find(message), std::string::npos) << d.to_string();
    EXPECT_EQ(d.all()[0].location.file, "test.mica");
    EXPECT_GE(d.all()[0].location.line, 1);
  }
}

TEST(verify, reports_what_does_not_hold) {
  Diagnostics d;
  auto graph = parse_graph("graph(%x: f32[2, 3]) {\n  %y = relu(%x) : f32[3, 2]\n  return %y\n}", "test.mica", d);
  ASSERT_TRUE(graph);
  EXPECT_FALSE(verify(*graph, d));
  EXPECT_EQ(d.all()[0].name, "verify-type");
  EXPECT_EQ(d.all()[0].location.line, 2);

  Graph late = parse("graph(%x: f32[2]) { %a = relu(%x) %b = exp(%a) return %b }");
  std::swap(late.nodes[0], late.nodes[1]);
  Diagnostics order;
  EXPECT_FALSE(verify(late, order));
  EXPECT_EQ(order.all()[0].name, "verify-use-before-definition");

  Graph twice = parse("graph(%x: f32[2]) { %a = relu(%x) return %a }");
  twice.nodes.push_back(twice.nodes[0]);
  Diagnostics made;
  EXPECT_FALSE(verify(twice, made));
  EXPECT_EQ(made.all()[0].name, "verify-made-twice");

  Graph outputs = parse("graph(%x: f32[2]) { %a = relu(%x) return %a }");
  outputs.outputs[0] = Value{77};
  Diagnostics out;
  EXPECT_FALSE(verify(outputs, out));
  EXPECT_EQ(out.all()[0].name, "verify-output");
}

}  // namespace
}  // namespace mica
