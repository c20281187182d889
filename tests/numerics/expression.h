#pragma once
// One expression of TorchScript on given inputs, as a row of a table: imported and compiled, against LibTorch in fp64.
#include "judge.h"

namespace mica::numerics {

struct Expression {
  std::string_view name, inputs, expression;
};
inline void PrintTo(const Expression& e, std::ostream* out) { *out << e.expression; }

class Expressed : public Judged, public testing::WithParamInterface<Expression> {
 protected:
  void SetUp() override {
    auto inputs = parse_sample_inputs(GetParam().inputs, diagnostics);
    ASSERT_TRUE(inputs) << diagnostics.to_string();
    judge_program(*inputs, {}, fmt::format("return {}", GetParam().expression), std::string(GetParam().name), 5);
  }
};

}  // namespace mica::numerics
