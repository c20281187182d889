#pragma once
// What tests of graphs share: parsing with a readable failure, inputs by seed, comparison.
#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "mica/ir/interpret.h"
#include "mica/ir/text.h"
#include "mica/ir/verify.h"

namespace mica::test {

inline Graph parse(std::string_view text) {
  Diagnostics d;
  auto graph = parse_graph(text, "test.mica", d);
  EXPECT_TRUE(graph) << d.to_string();
  if (!graph) return {};
  EXPECT_TRUE(verify(*graph, d)) << d.to_string();
  return std::move(*graph);
}

inline HostTensor random_tensor(const TensorType& type, uint32_t seed) {
  HostTensor t;
  t.dtype = type.dtype;
  t.shape = type.shape;
  std::mt19937 generate(seed);
  for (int64_t i = 0; i < type.shape.elements(); ++i) {
    if (is_float(type.dtype)) t.real.push_back(generate() / 2147483648.0 - 1);
    else t.integer.push_back(is_bool(type.dtype) ? generate() % 2 : generate() % 3);
  }
  return t;
}

inline std::vector<HostTensor> random_inputs(const Graph& graph) {
  std::vector<HostTensor> out;
  for (const Value v : graph.inputs) out.push_back(random_tensor(graph.type(v), static_cast<uint32_t>(out.size()) + 1));
  return out;
}

inline std::vector<HostTensor> run(const Graph& graph, const std::vector<HostTensor>& inputs) {
  Diagnostics d;
  auto out = interpret(graph, inputs, d);
  EXPECT_TRUE(out) << d.to_string();
  return out ? std::move(*out) : std::vector<HostTensor>{};
}

/// Equal shapes, integers equal, floats within `tolerance` relative to the larger of 1 and the value; 0 asks for equality, NaN equals NaN.
inline void expect_same(const std::vector<HostTensor>& a, const std::vector<HostTensor>& b, double tolerance) {
  ASSERT_EQ(a.size(), b.size());
  for (size_t k = 0; k < a.size(); ++k) {
    ASSERT_EQ(a[k].shape, b[k].shape);
    EXPECT_EQ(a[k].integer, b[k].integer);
    ASSERT_EQ(a[k].real.size(), b[k].real.size());
    for (size_t i = 0; i < a[k].real.size(); ++i) {
      const double x = a[k].real[i], y = b[k].real[i];
      if (std::isnan(x) && std::isnan(y)) continue;
      if (x == y) continue;
      ASSERT_LE(std::fabs(x - y), tolerance * std::max(1.0, std::fabs(x))) << "output " << k << " element " << i;
    }
  }
}

}  // namespace mica::test
