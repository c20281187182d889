#pragma once
// Inputs for a model when the user gives none: values that the graph accepts.
#include <string>
#include <vector>

#include "mica/frontend/eager.h"
#include "mica/ir/graph.h"

namespace mica {

/// What values an input may hold.
struct InputDraw {
  enum class Kind : uint8_t {
    normal,  ///< floats, normal(0, 1)
    index,   ///< integers in [low, high): they select rows somewhere
    mask     ///< ones, then zeros, along the last axis: at least half are ones
  };
  Kind kind = Kind::normal;
  int64_t low = 0, high = 0;
  bool operator==(const InputDraw&) const = default;
};
std::string to_string(const InputDraw& draw);  ///< "normal", "mask", "index 0..30522"
InputDraw parse_input_draw(const std::string& text);

/// Follows every input through the graph to what reads it. Integers that reach the indices of a gather stay inside the rows that it reads;
/// integers and bools that do not are masks.
std::vector<InputDraw> find_input_draws(const Graph& graph);

/// One value a type. The numbers depend on `seed`, the position of the input and the position in it alone, on every machine.
RawTensor draw_input(const TensorType& type, const InputDraw& draw, uint64_t seed, size_t position);

}  // namespace mica
