#include "mica/pass/choices.h"

#include <algorithm>

namespace mica {

uint32_t Chooser::subject(const std::string& description) {
  const auto [entry, fresh] = numbers_.try_emplace(description, static_cast<uint32_t>(subjects_.size()));
  if (fresh) subjects_.push_back({description, {}});
  return entry->second;
}

size_t Chooser::choose(uint32_t subject, const std::string& knob, const std::vector<std::string>& candidates) {
  ChoiceSubject& s = subjects_.at(subject);
  size_t taken = 0;
  if (const auto answer = answers_.find(s.description); answer != answers_.end()) {
    // A candidate that is not offered any more is no answer: another version of the schedule may have written it.
    if (const auto told = answer->second.find(knob); told != answer->second.end()) {
      const auto found = std::ranges::find(candidates, told->second);
      if (found != candidates.end()) taken = static_cast<size_t>(found - candidates.begin());
    }
  }
  const auto known = std::ranges::find(s.choices, knob, &Choice::knob);
  if (known == s.choices.end()) s.choices.push_back({knob, candidates, taken});
  return taken;
}

Chooser::Count Chooser::count() const {
  Count n;
  for (const ChoiceSubject& s : subjects_) {
    if (s.choices.empty()) continue;
    ++n.asked;
    n.answered += answers_.contains(s.description);
    n.changed += std::ranges::any_of(s.choices, [](const Choice& c) { return c.taken != 0; });
  }
  return n;
}

}  // namespace mica
