// build/release/tests/bin/unit_passes --gtest_filter='depthwise.*'
// Pooling by the schedule of depthwise convolutions, behind a convolution that lays its operand out: borders, tiles, what is divided by.
#include "lowered.h"
#include "ranged.h"

namespace mica {
namespace {

using test::expect_lowered;

std::string pooled(std::string_view op, int64_t channels, std::string_view image, std::string_view windows, std::string_view symbols = "") {
  return fmt::format(R"(graph{}(%x: f32[{}]) {{
  %w = constant random<1> : f32[{}, 3, 1, 1]
  %c = conv(%x, %w, stride=[1, 1], padding=[0, 0], dilation=[1, 1])
  %p = {}(%c, {})
  %e = exp(%p)
  return %e
}})",
                     symbols, image, channels, op, windows);
}

constexpr const char* some_windows[] = {"kernel=[3, 3], stride=[1, 1], padding=[1, 1]", "kernel=[3, 3], stride=[2, 2], padding=[1, 1]",
                                        "kernel=[2, 2], stride=[2, 2], padding=[0, 0]", "kernel=[2, 1], stride=[3, 2], padding=[1, 0]",
                                        "kernel=[2, 2], stride=[3, 3], padding=[1, 1], ceil_mode=true"};

TEST(depthwise, pools_windows_at_all_borders) {
  for (const char* windows : some_windows) {
    for (const auto& [channels, image] : {std::pair{8, "1, 3, 2, 2"}, {19, "2, 3, 5, 6"}, {32, "1, 3, 7, 33"}}) {
      SCOPED_TRACE(fmt::format("{} channels, {}, {}", channels, image, windows));
      const Graph most = test::optimised(pooled("max_pool", channels, image, fmt::format("{}, dilation=[1, 1]", windows)));
      // The schedule's kernels say what they compute.
      EXPECT_EQ(std::ranges::count_if(test::lower(most).kernels, [](const Kernel& k) { return k.flops > 0; }), 2);
      expect_lowered(most);
      for (const char* how : {"", ", include_pad=false", ", divisor=3"})
        expect_lowered(test::optimised(pooled("avg_pool", channels, image, fmt::format("{}{}", windows, how))));
    }
  }
  expect_lowered(test::optimised(pooled("max_pool", 16, "1, 3, 9, 11", "kernel=[3, 2], stride=[1, 2], padding=[1, 1], dilation=[2, 3]")));
  expect_lowered(test::optimised(pooled("avg_pool", 16, "1, 3, 9, 40", "kernel=[9, 40], stride=[9, 40], padding=[0, 0]")));
}

TEST(depthwise, pools_images_of_sizes_that_are_symbols) {
  for (const char* windows : some_windows) {
    const std::string image = "B, 3, H, W", symbols = "<B=1..2, H=2..9, W=2..20>";
    const std::vector<std::vector<int64_t>> sizes = {{1, 2, 2}, {2, 5, 9}, {1, 9, 20}};
    test::expect_optimised_range(pooled("max_pool", 9, image, fmt::format("{}, dilation=[1, 1]", windows), symbols), sizes);
    test::expect_optimised_range(pooled("avg_pool", 9, image, fmt::format("{}, include_pad=false", windows), symbols), sizes);
  }
}

}  // namespace
}  // namespace mica
