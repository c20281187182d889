// The op `nms` in Mica's own form, padded, against torchvision::nms.
#include <cstring>

#include "judge.h"
#include "mica/frontend/eager.h"
#include "mica/ir/text.h"

namespace mica::numerics {
namespace {

TEST(nms, keeps_what_torchvision_keeps) {
  constexpr int64_t n = 60;
  for (const double threshold : {0.05, 0.3, 0.6}) {
    Diagnostics d;
    const auto inputs = parse_sample_inputs("corner=f32[60, 2] in 0..5, size=f32[60, 2] in 2..4, scores=f32[60]", d);
    ASSERT_TRUE(inputs) << d.to_string();
    std::vector<RawTensor> raw;
    LoadOptions options;
    const auto bytes = draw_inputs(*inputs, 3);
    for (size_t i = 0; i < inputs->size(); ++i) {
      raw.push_back({(*inputs)[i].type, bytes[i]});
      options.inputs.push_back({(*inputs)[i].name, (*inputs)[i].type.shape, (*inputs)[i].type.dtype, std::nullopt, ""});
    }
    const auto file = std::filesystem::temp_directory_path() / fmt::format("mica_nms_{}.pt", ::getpid());
    const std::string source = fmt::format(
        "def forward(self, corner, size, scores):\n  return torchvision.nms(torch.cat([corner, corner + size], 1), scores, {})\n", threshold);
    ASSERT_TRUE(write_script(file, {.source = source, .parameters = {}, .children = {}}, {}, d)) << d.to_string();
    auto eager = EagerModel::load(file, EagerMode::eager, 1, options, d);
    std::filesystem::remove(file);
    ASSERT_TRUE(eager) << d.to_string();
    const auto expected = eager->run(raw, d);
    ASSERT_TRUE(expected) << d.to_string();
    const HostTensor keep = to_host((*expected)[0].type, (*expected)[0].bytes);
    ASSERT_GT(keep.elements(), 1);
    ASSERT_LT(keep.elements(), n);

    const auto graph = parse_graph(fmt::format("graph(%corner: f32[60, 2], %size: f32[60, 2], %scores: f32[60]) {{\n"
                                               "  %far = add(%corner, %size)\n  %boxes = cat([%corner, %far], axis=1)\n"
                                               "  %sorted, %order = sort(%scores, axis=0, descending=true)\n"
                                               "  %keep, %count = nms(%boxes, %order, threshold={})\n  return %keep, %count\n}}\n",
                                               threshold),
                                   "nms.mica", d);
    ASSERT_TRUE(graph) << d.to_string();
    std::vector<HostTensor> host;
    for (const RawTensor& r : raw) host.push_back(to_host(r.type, r.bytes));
    const auto got = interpret(*graph, host, d);
    ASSERT_TRUE(got) << d.to_string();
    EXPECT_EQ((*got)[1].integer[0], keep.elements());
    for (int64_t i = 0; i < n; ++i) EXPECT_EQ((*got)[0].integer[i], i < keep.elements() ? keep.integer[i] : -1) << i;
  }
}

}  // namespace
}  // namespace mica::numerics
