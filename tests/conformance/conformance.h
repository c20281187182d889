#pragma once
// Ops x dtypes x boundary shapes against LibTorch: many cases are methods of one program, so that one compilation judges dozens of them.
#include <span>
#include <string>
#include <vector>

#include "judge.h"

namespace mica::numerics {

/// One method of a program: `inputs` by name, and the lines of its body separated by "; ", the last of which returns one tensor.
struct Case {
  std::vector<SampleInput> inputs;
  std::string body;
  bool exact = false;  ///< the result has the yardstick's bits, not only its accuracy
  std::string text() const;
};
struct Group {
  std::string name;
  std::vector<Case> cases;
  bool one_dtype = true;  ///< when LibTorch refuses the first case, it refuses them all
};
struct Outcome {
  size_t judged = 0;    ///< cases with a verdict
  size_t refused = 0;   ///< cases that LibTorch itself does not take
  size_t declined = 0;  ///< cases that Mica says it does not take, by a diagnostic of the few that may (conformance.cpp)
  std::vector<std::string> failures;
};
/// Runs a group on a plan: in one program, or in halves of it where a case is refused or fails.
Outcome run_group(const Group& group, const Plan& plan);

/// The drawing range of a dtype where an op asks for nothing else: "in -50..50".
std::string usual_range(DType t);
inline constexpr DType every_dtype[] = {DType::f64, DType::f32, DType::f16, DType::bf16, DType::i64,
                                        DType::i32, DType::i16, DType::i8,  DType::u8,   DType::b8};
/// Sizes around the widths of vectors and tiles.
inline constexpr int64_t boundary_sizes[] = {0, 1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65};

/// For one pointwise op of the table, from its samples: every dtype on shapes of rank 0 to 6, strided ones among them, and for binary ops every
/// pair of dtypes. Empty for ops of another kind.
std::vector<Group> pointwise_groups(const OpInfo& op);
/// A row of the tables of reductions, views, products, windows and Python numbers.
struct Family {
  const char* name;
  std::vector<Group> (*groups)();
};
std::span<const Family> other_families();

}  // namespace mica::numerics
