#pragma once
// Writes random programs: a statement at a time, each run in a Scene before the next is thought of, so that every program is valid and every
// result has one right answer.
#include <functional>

#include "ops.h"
#include "scene.h"

namespace mica::fuzz {

struct GeneratorOptions {
  bool data_dependent = false;  ///< conditions and trip counts that depend on values, in every program; else in three of ten
  bool special = false;         ///< some programs have inputs with NaN and infinities
};

/// What of the operators the programs have reached, and what was thrown away.
struct Tally {
  std::map<std::string, int64_t> cells;    ///< "softmax f16 3": op, dtype and rank of the first operand => statements
  std::map<std::string, int64_t> refused;  ///< op => attempts that were refused
};

class Generator {
 public:
  Generator(uint64_t seed, const GeneratorOptions& options);
  /// The program, and what its outputs should be in every run.
  Program make(std::vector<Expected>& expected);
  const Tally& tally() const { return tally_; }

  // What builders use.
  Random& random() { return random_; }
  Scene& scene() { return scenes_.back(); }
  const GeneratorOptions& options() const { return options_; }
  using Accept = std::function<bool(const Variable&)>;
  std::string pick(const Accept& accept);                            ///< a variable; empty when there is none
  std::string leaf(DType dtype, const std::vector<int64_t>& sizes);  ///< a new input or parameter
  std::string parameter(DType dtype, const std::vector<int64_t>& sizes);
  std::string tensor(DType dtype, const std::vector<int64_t>& sizes);  ///< a variable of that type, made from another or new
  std::string floating(int64_t rank);                                  ///< a floating tensor with elements; 16-bit and 64-bit ones too
  DType floating_dtype();
  std::vector<int64_t> sizes(int64_t rank);
  int64_t small_size();
  std::string target(const Accept& accept);  ///< a variable that may be written into
  std::string number_for(DType dtype);
  std::string subscript_of(const TensorType& type);
  std::string fresh();  ///< "v7": a name for a result
  /// Text of the row with its operands chosen, `a` if given; empty when there are none.
  std::string write(const OpRow& row, const std::string& a = {}, const std::string& result = {});
  /// Lines inside a block, run in a scene of their own so that their types are known; temporaries are t0, t1 ...
  std::vector<std::string> inner_lines(const std::string& variable, int count);
  void enter();
  void leave();
  bool apply(std::string text, uint32_t flags, std::string_view op);

 private:
  std::string with_own_locals(std::string text);
  bool step(const OpRow& row);
  void once_more(const OpRow& row);
  void look_through();
  const OpRow& draw_row();
  std::string operand(std::string_view pattern, const std::string& a);
  std::string literal(std::string_view name, const std::string& a);
  std::string number_literal(std::string_view name, const TensorType& type, int64_t n);
  std::string list_literal(std::string_view name, const Shape& shape, int64_t along);
  std::string factors(int64_t elements);
  int64_t axis_of(std::string_view name, int64_t rank);
  std::string new_leaf(char letter, DType dtype, const std::vector<int64_t>& sizes);
  void choose_outputs();
  void prune();
  bool writable(const std::string& name) const;

  Random random_;
  GeneratorOptions options_;
  Program program_;
  std::vector<Scene> scenes_;                     ///< the program's, and one a block that is being written
  std::vector<std::vector<std::string>> blocks_;  ///< lines of each block
  std::map<std::string, std::string> said_;       ///< what placeholders stand for in the statement being written
  DType main_dtype_ = DType::f32;
  int next_leaf_ = 0, next_value_ = 0, next_local_ = 0;
  std::set<std::string> looked_at_;  ///< outputs in any case
  bool keeps_ = false;               ///< the module has buffers that are written to
  Tally tally_;
};

/// Values of an input, of one of several kinds. `whole`: small whole numbers; `special`: NaN and infinities among them.
RawTensor draw_values(Random& random, DType dtype, const std::vector<int64_t>& sizes, bool whole, bool special);

}  // namespace mica::fuzz
