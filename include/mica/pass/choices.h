#pragma once
// What schedules ask where several forms of a kernel are right and only a measurement can tell which is the fastest: tiles, orders, splits, Winograd
// or direct. All candidates of a question compute the same by the rules of docs/correctness.md, so an answer is never a matter of right or wrong.
#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace mica {

/// A question, and what it was answered.
struct Choice {
  std::string knob;                     ///< "tile", "order", ...
  std::vector<std::string> candidates;  ///< the cost model's first
  size_t taken = 0;
};

/// What was asked for all regions of one description.
struct ChoiceSubject {
  std::string description;  ///< ops, shapes, dtypes, layouts, epilogue: the region's text, with nothing of where it stands
  std::vector<Choice> choices;
};

/// Candidates by knob, for one description.
using Answer = std::map<std::string, std::string>;
/// By description.
using Answers = std::map<std::string, Answer>;

/// Answers what schedules ask: what it was given, else the first candidate. It keeps what was asked.
class Chooser {
 public:
  explicit Chooser(Answers answers = {}) : answers_(std::move(answers)) {}
  /// The number of the subject with this description.
  uint32_t subject(const std::string& description);
  /// An index into `candidates`, which are not empty.
  size_t choose(uint32_t subject, const std::string& knob, const std::vector<std::string>& candidates);
  const std::vector<ChoiceSubject>& subjects() const { return subjects_; }
  /// Subjects that were asked for anything; those of them with an answer; and those where one is not the first candidate.
  struct Count {
    size_t asked = 0, answered = 0, changed = 0;
  };
  Count count() const;

 private:
  Answers answers_;
  std::map<std::string, uint32_t> numbers_;
  std::vector<ChoiceSubject> subjects_;
};

}  // namespace mica
