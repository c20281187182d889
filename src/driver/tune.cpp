#include "mica/driver/tune.h"

#include <sched.h>
#include <signal.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdlib>
#include <limits>
#include <optional>
#include <set>

#include "tune_trial.h"

namespace mica {

namespace {

using Clock = std::chrono::steady_clock;

constexpr double least_gain = 0.02;  ///< below this a difference is noise, whatever the rounds say
constexpr int trial_rounds = 4;
constexpr double trials_share = 0.8;  ///< of the time; the rest is for the whole model

/// A kernel that is being tuned.
struct Open {
  std::string description;
  std::vector<Choice> choices;  ///< as asked when `best` was built
  Answer best, proposed;        ///< proposed: in the trial at hand, empty when it takes no part
  double ratio = 1;             ///< time of the best, of that of the first
  double first_us = 0;
  std::set<std::pair<std::string, std::string>> tried;  ///< knob, candidate

  /// The first forms of what is asked are what all others are compared with.
  void take_choices(std::vector<Choice> asked) {
    choices = std::move(asked);
    for (const Choice& c : choices) tried.emplace(c.knob, c.candidates[c.taken]);
  }
  int64_t untried() const {
    int64_t n = 0;
    for (const Choice& c : choices)
      for (const std::string& candidate : c.candidates) n += !tried.contains({c.knob, candidate});
    return n;
  }
  /// The best with one knob turned to a candidate that was not tried.
  bool propose() {
    proposed.clear();
    for (const Choice& c : choices) {
      for (const std::string& candidate : c.candidates) {
        if (!tried.emplace(c.knob, candidate).second) continue;
        proposed = best;
        proposed[c.knob] = candidate;
        return true;
      }
    }
    return false;
  }
};

class Tuner {
 public:
  Tuner(const TuneTask& task, TuneReport& report) : task_(task), report_(report), answers_(task.known.answers()) {}

  Result<std::vector<TuneEntry>> run(Diagnostics& diagnostics) {
    ::signal(SIGPIPE, SIG_IGN);  // a process that died is found by its missing reply
    if (!folder_.make(diagnostics)) return Failure{};
    say("building the model as it is");
    const auto first = build_apart(task_, answers_, folder_.path() / "first.so");
    if (!first) return std::vector<TuneEntry>{};  // whoever compiles the model will tell why
    list_kernels(first->build);
    if (open_.empty()) return std::vector<TuneEntry>{};
    if (!base_.start(*first, task_.threads, diagnostics)) return Failure{};
    while (left(trials_share) && propose()) try_all();
    for (const Open& o : open_) report_.untried += o.untried();
    settle();
    report_.seconds = elapsed();
    return entries();
  }

 private:
  const TuneTask& task_;
  TuneReport& report_;
  Answers answers_;  ///< of what is known
  std::vector<Open> open_;
  TemporaryFolder folder_;
  TuneTrial base_;
  Clock::time_point start_ = Clock::now();

  double elapsed() const { return std::chrono::duration<double>(Clock::now() - start_).count(); }
  bool left(double share) const { return elapsed() < share * task_.seconds; }
  void say(const std::string& text) const {
    if (task_.progress) task_.progress(text);
  }

  void list_kernels(const TuneBuild& first) {
    std::set<std::string> done;
    for (const TuneEntry& e : task_.known.entries)
      if (e.untried == 0) done.insert(e.kernel);
    for (const ChoiceSubject& s : first.subjects) {
      if (s.choices.empty()) continue;
      ++report_.kernels;
      if (done.contains(s.description)) {
        ++report_.known;
        continue;
      }
      Open o;
      o.description = s.description;
      if (const auto found = answers_.find(s.description); found != answers_.end()) o.best = found->second;
      o.take_choices(s.choices);
      open_.push_back(std::move(o));
    }
  }

  bool propose() {
    bool any = false;
    for (Open& o : open_) any |= o.propose();
    return any;
  }

  /// Answers with what the trial at hand proposes for kernels [from, to) of those that take part, and the best for all others.
  Answers answers_for(const std::vector<Open*>& part) const {
    Answers all = answers_;
    for (const Open& o : open_) all[o.description] = o.best;
    for (const Open* o : part) all[o->description] = o->proposed;
    return all;
  }

  void try_all() {
    std::vector<Open*> part;
    for (Open& o : open_)
      if (!o.proposed.empty()) part.push_back(&o);
    say(fmt::format("trial {}, {} kernels, {:.0f} s of {:.0f}", report_.trials + 1, part.size(), elapsed(), task_.seconds));
    try_some(part);
  }

  /// Builds a library in which `part` has what it proposes, and times it in turn with the untuned one. None when it fails.
  std::optional<TuneTimes> run_trial(const std::vector<Open*>& part, int rounds, TuneTrial& trial, std::vector<ChoiceSubject>* asked = nullptr) {
    auto built = build_apart(task_, answers_for(part), folder_.path() / "trial.so");
    Diagnostics ignored;
    if (!built || !trial.start(*built, task_.threads, ignored)) return std::nullopt;
    if (asked) *asked = std::move(built->build.subjects);
    return compare_trials(base_, trial, rounds);
  }

  /// A trial that cannot be built or does not run is tried in halves, until those candidates are found that are to blame.
  void try_some(const std::vector<Open*>& part) {
    if (!left(1)) return;
    TuneTrial trial;
    std::vector<ChoiceSubject> asked;
    if (const auto times = run_trial(part, trial_rounds, trial, &asked)) {
      ++report_.trials;
      for (Open* o : part) judge(*o, asked, *times);
      return;
    }
    if (!base_.alive()) return;
    if (part.size() == 1) {
      ++report_.lost;
      return;
    }
    const auto half = part.begin() + static_cast<int64_t>(part.size() / 2);
    try_some({part.begin(), half});
    try_some({half, part.end()});
  }

  void judge(Open& o, const std::vector<ChoiceSubject>& asked, const TuneTimes& times) {
    const auto found = times.kernels.find(o.description);
    if (found == times.kernels.end()) return;
    const TuneTimes::Pair& pair = found->second;
    o.first_us = o.first_us ? std::min(o.first_us, pair.base_us) : pair.base_us;
    const double ratio = pair.trial_us / pair.base_us;
    if (!(ratio < o.ratio - std::max(least_gain, pair.noise))) return;
    o.ratio = ratio;
    o.best = o.proposed;
    for (const ChoiceSubject& s : asked)
      if (s.description == o.description) o.take_choices(s.choices);
  }

  /// The whole with what won, against the whole as it was: kernels that are not faster in it after all go back to their first form, and everything
  /// does if the whole is not.
  void settle() {
    const auto won = [](const Open& o) { return o.ratio < 1; };
    for (const bool last : {false, true}) {
      if (std::ranges::none_of(open_, won)) return;
      say("the whole model with what won");
      TuneTrial trial;
      const auto times = run_trial({}, 2 * trial_rounds, trial);
      if (!times) {
        report_.undone = true;
        break;
      }
      bool changed = false;
      for (Open& o : open_) {
        const auto found = times->kernels.find(o.description);
        if (!won(o) || found == times->kernels.end()) continue;
        o.ratio = found->second.trial_us / found->second.base_us;
        if (o.ratio >= 1 - least_gain / 2) undo(o), changed = true;
      }
      if (changed && !last) continue;
      report_.first_ms = times->base_ms, report_.tuned_ms = times->trial_ms;
      report_.undone = times->trial_ms >= times->base_ms;
      break;
    }
    if (report_.undone)
      for (Open& o : open_) undo(o);
  }

  void undo(Open& o) {
    o.ratio = 1;
    o.best.clear();
    if (const auto known = answers_.find(o.description); known != answers_.end()) o.best = known->second;
  }

  std::vector<TuneEntry> entries() const {
    std::vector<TuneEntry> all;
    for (const Open& o : open_)
      if (o.first_us > 0) all.push_back({o.description, o.best, o.untried(), o.first_us, o.first_us * o.ratio});
    return all;
  }
};

}  // namespace

std::string tune_where(const Target& t, WinogradUse winograd, int threads) {
  constexpr std::string_view uses[] = {"off", "auto", "always"};
  return fmt::format("mica {}; {} {}; {}; caches {} {} {}; {} threads; winograd {}", MICA_VERSION, t.triple, t.cpu, fmt::join(t.features, " "),
                     t.l1_bytes, t.l2_bytes, t.l3_bytes, threads, uses[static_cast<size_t>(winograd)]);
}

int allowed_cpus() {
  cpu_set_t set;
  return ::sched_getaffinity(0, sizeof set, &set) == 0 ? std::max(1, CPU_COUNT(&set)) : 1;
}

void check_runs_here(const Target& target, Diagnostics& diagnostics) {
  Diagnostics ignored;
  const auto here = make_target("native", "", ignored);
  std::string missing;
  if (here && here->triple == target.triple)
    for (const std::string& f : target.features) missing += here->has(f) ? "" : " " + f;
  if (here && here->triple == target.triple && missing.empty()) return;
  auto& d =
      diagnostics.error("tune-other-target", "--tune times kernels on this machine, which cannot run code for {} ({})", target.cpu, target.triple);
  if (!missing.empty()) d.note("this machine lacks" + missing);
  d.help("compile with --tune --tune-cache FILE on such a machine, then give that file here: --tune-cache FILE, without --tune");
}

Result<std::vector<TuneEntry>> tune(const TuneTask& task, TuneReport& report, Diagnostics& diagnostics) {
  return Tuner(task, report).run(diagnostics);
}

}  // namespace mica
