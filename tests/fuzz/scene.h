#pragma once
// A program as it grows, run in several sessions at once:
//   working   LibTorch in the dtypes of the program: the yardstick
//   exact     LibTorch in fp64: the judge
//   near x 32 fp64 where every result is off by up to one rounding of its dtype: how far any good implementation may be. Only where it is asked for
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

/// What LibTorch says of one run of a program, by output.
struct Expected {
  std::vector<RawTensor> working, exact;
};

/// Which disturbed sessions there are beside the first two.
enum class Disturbed : uint8_t { far, near };

class Scene {
 public:
  /// `special`: NaN and infinities are let through where they are the same in every session.
  Scene(uint64_t seed, bool whole, bool special, Disturbed disturbed = Disturbed::far);
  explicit Scene(const Program& program, Disturbed disturbed = Disturbed::far)
      : Scene(program.seed ^ 0x5eed, program.whole, program.special, disturbed) {}
  /// A scene for a further run of the program: what the module keeps is what this one leaves, in every session its own.
  Scene next_run(const Program& program, const Run& run) const;
  void add_leaf(const Leaf& leaf);
  /// Runs the statement and keeps its results; false when it does not compile, fails, or is refused: then nothing has changed, and `why` says it.
  bool apply(const Statement& statement);
  /// Types of what the text would define, without keeping it.
  std::optional<std::vector<TensorType>> probe(const Statement& statement);
  const std::map<std::string, Variable>& variables() const { return variables_; }
  const Variable& at(const std::string& name) const { return variables_.at(name); }
  bool share_storage(const std::string& a, const std::string& b) const { return sessions_[0].share_storage(a, b); }
  Expected expect(const std::vector<std::string>& outputs) const;
  /// By output: the greatest rmse of a near run.
  std::vector<double> spread(const std::vector<std::string>& outputs) const;
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
  bool reads_what_it_writes(const Statement& statement);
  bool refuse(std::string why);

  Random random_;
  bool whole_, special_;
  Disturbed disturbed_;
  std::vector<ScriptSession> sessions_;  ///< working, exact, then the disturbed ones; none of these for whole numbers
  std::map<std::string, Variable> variables_;
  std::string why_;
};

/// Runs the statements; false when one is refused or an output is not there.
bool perform(Scene& scene, const Program& program);
/// A scene of the first run in which they were run; none when one is refused.
std::optional<Scene> stage(const Program& program);
/// The same for all runs of the program.
std::optional<std::vector<Scene>> stage_runs(const Program& program, Disturbed disturbed = Disturbed::far);
/// By run and output: the rmse that rounding explains. Every operation of the program is off by up to one rounding of its result's dtype (functions:
/// four), every term of a sum by up to four of the dtype in which it is added; the greatest of 32 such runs in fp64. Empty where the program cannot
/// be run a statement at a time.
std::vector<std::vector<double>> spread_of(const Program& program);

/// The elements as f64 (integers too).
std::vector<double> doubles_of(const RawTensor& tensor);
double rms_of(const std::vector<double>& values);

}  // namespace mica::fuzz
