#pragma once
// A program as it grows, run in several sessions at once:
//   working   LibTorch in the dtypes of the program: the yardstick
//   exact     LibTorch in fp64: the judge
//   near x 2  fp64 where every result is off by about one rounding of its dtype: how far any good implementation may be
//   far x 2   the same with 16 roundings: what changes altogether here (a comparison, a floor, an argmax) hangs on rounding
// A statement whose results hang on rounding, are not finite or grow too large is refused, so that the programs that remain have one answer.
#include <map>
#include <optional>
#include <set>

#include "mica/frontend/session.h"
#include "program.h"
#include "random.h"

namespace mica::fuzz {

struct Variable {
  TensorType type;
  double low = 0, high = 0;  ///< least and greatest element; 0 where there is none
};

/// What a program's results are and how far they may be off.
struct Expected {
  std::vector<RawTensor> working, exact;  ///< by output
  std::vector<double> slack;              ///< by output: rmse that rounding explains, from the near runs
};

class Scene {
 public:
  /// `special`: NaN and infinities are let through where they are the same in every session.
  Scene(uint64_t seed, bool whole, bool special);
  explicit Scene(const Program& program) : Scene(program.seed ^ 0x5eed, program.whole, program.special) {}
  void add_leaf(const Leaf& leaf);
  /// Runs the statement and keeps its results; false when it does not compile, fails, or is refused: then nothing has changed, and `why` says it.
  bool apply(const Statement& statement);
  /// Types of what the text would define, without keeping it.
  std::optional<std::vector<TensorType>> probe(const Statement& statement);
  const std::map<std::string, Variable>& variables() const { return variables_; }
  const Variable& at(const std::string& name) const { return variables_.at(name); }
  bool share_storage(const std::string& a, const std::string& b) const { return sessions_[0].share_storage(a, b); }
  Expected expect(const std::vector<std::string>& outputs) const;
  RawTensor value(const std::string& name) const { return *sessions_[0].tensor(name); }
  const std::string& why() const { return why_; }
  /// Sessions of their own with the same values: to try what comes inside a block.
  Scene copy() const;

 private:
  Scene(const Scene&) = delete;

 public:
  Scene(Scene&&) = default;
  Scene& operator=(Scene&&) = default;

 private:
  bool run_all(std::vector<ScriptSession>& sessions, const Statement& statement, const ScriptStatement& compiled);
  bool accept(const std::vector<ScriptSession>& sessions, const Statement& statement, std::map<std::string, Variable>& found);
  bool accept_values(const std::string& name, const std::vector<RawTensor>& values, Variable& v);
  void disturb(ScriptSession& session, const std::string& name, DType working, double roundings);
  bool same_specials(const std::vector<std::vector<double>>& runs) const;
  bool sums_are_exact(const Statement& statement) const;
  bool refuse(std::string why);

  Random random_;
  bool whole_, special_;
  std::vector<ScriptSession> sessions_;  ///< working, exact, near, near, far, far; only the first two for whole numbers
  std::map<std::string, Variable> variables_;
  std::string why_;
};

/// The elements as f64 (integers too).
std::vector<double> doubles_of(const RawTensor& tensor);
double rms_of(const std::vector<double>& values);

}  // namespace mica::fuzz
