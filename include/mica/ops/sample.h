#pragma once
// An op's samples, turned into one-op graphs with inputs: what numerics tests, docs and fuzzing start from.
#include "mica/ops/op.h"

namespace mica {

/// The values that an input of a sample may take: floats in [low, high), integers low, ..., high - 1.
struct SampleInput {
  std::string name;
  TensorType type;
  double low = 0, high = 0;
};
struct Sample {
  Graph graph;                      ///< one node; its tensor operands are the inputs, its results the outputs
  std::vector<SampleInput> inputs;  ///< one per graph input
  std::string text;
};
/// Reads "x=f32[2, 3] in -1..1, xs=[f32[3], f32[2]], axis=1". Operands without a range are drawn from [-2, 2), integers from 0, 1, 2. Fields that
/// are not named keep their default. Reports what does not parse ("sample-syntax") or does not infer.
Result<Sample> parse_sample(const OpInfo& op, std::string_view text, Diagnostics& diagnostics);
/// Only inputs: "x=f32[2, 3], i=i64[4] in 0..3".
Result<std::vector<SampleInput>> parse_sample_inputs(std::string_view text, Diagnostics& diagnostics);
/// Bytes for each input, the same for the same seed on every machine.
std::vector<std::vector<std::byte>> draw_inputs(const std::vector<SampleInput>& inputs, uint64_t seed);
inline std::vector<std::vector<std::byte>> draw_inputs(const Sample& sample, uint64_t seed) { return draw_inputs(sample.inputs, seed); }

}  // namespace mica
