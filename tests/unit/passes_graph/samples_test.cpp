// Every sample of every op: its text reads back, and the graph passes leave what it computes, with its operands as inputs and as constants.
#include "../graph_test.h"
#include "mica/ops/sample.h"
#include "mica/pass/pipeline.h"

namespace mica {
namespace {

/// What rounding to the dtype once, in fold_constants, may cost.
double rounding(const Graph& graph) {
  double unit = 1e-9;
  for (const GraphValue& v : graph.values) {
    if (v.type.dtype == DType::f32) unit = std::max(unit, 1e-6);
    if (v.type.dtype == DType::f16) unit = std::max(unit, 2e-3);
    if (v.type.dtype == DType::bf16) unit = std::max(unit, 1.6e-2);
  }
  return unit;
}

void expect_pipeline(Graph graph, const std::vector<HostTensor>& inputs, double tolerance) {
  const auto before = test::run(graph, inputs);
  Diagnostics d;
  PassContext context{.target = nullptr, .diagnostics = &d};
  ASSERT_TRUE(run_graph_pipeline(graph, context)) << d.to_string();
  Diagnostics found;
  EXPECT_TRUE(verify(graph, found)) << found.to_string();
  test::expect_same(before, test::run(graph, inputs), tolerance);
}

TEST(samples, text_and_passes) {
  int cases = 0;
  for (const OpInfo* op : all_ops())
    for (const std::string_view text : op->spec->samples) {
      if (text.empty()) continue;
      SCOPED_TRACE(fmt::format("{}({})", op->name(), text));
      Diagnostics d;
      const auto sample = parse_sample(*op, text, d);
      ASSERT_TRUE(sample) << d.to_string();
      const std::string printed = to_string(sample->graph);
      const auto back = parse_graph(printed, "sample.mica", d);
      ASSERT_TRUE(back) << d.to_string() << printed;
      EXPECT_EQ(to_string(*back), printed);

      const auto bytes = draw_inputs(*sample, 1);
      std::vector<HostTensor> inputs;
      for (size_t i = 0; i < bytes.size(); ++i) inputs.push_back(to_host(sample->graph.type(sample->graph.inputs[i]), bytes[i]));
      expect_pipeline(*back, inputs, rounding(*back));

      Graph constant = *back;
      for (size_t i = 0; i < bytes.size(); ++i) {
        constant.values[constant.inputs[i].id].constant = static_cast<int32_t>(constant.constants.size());
        constant.constants.push_back(ConstantData::own(bytes[i]));
      }
      constant.inputs.clear();
      expect_pipeline(constant, {}, rounding(constant));
      ++cases;
    }
  EXPECT_GT(cases, 300);
}

}  // namespace
}  // namespace mica
