#include "trial.h"

#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <sstream>

namespace mica::fuzz {

namespace {

using Clock = std::chrono::steady_clock;

/// One record is a line; its fields stand between tabs.
std::string escaped(std::string text) {
  for (char& c : text)
    if (c == '\n' || c == '\t') c = c == '\n' ? '\x01' : ' ';
  return text;
}
std::string unescaped(std::string text) {
  for (char& c : text)
    if (c == '\x01') c = '\n';
  return text;
}

void say(int pipe, const std::string& line) {
  const std::string text = line + "\n";
  for (size_t at = 0; at < text.size();) {
    const ssize_t n = ::write(pipe, text.data() + at, text.size() - at);
    if (n <= 0) ::_exit(9);
    at += static_cast<size_t>(n);
  }
}

void limit(const Limits& limits) {
  const rlimit memory{limits.memory, limits.memory}, core{0, 0};
  ::setrlimit(RLIMIT_AS, &memory);
  ::setrlimit(RLIMIT_CORE, &core);
}

std::string signal_text(int status) {
  if (WIFSIGNALED(status)) return fmt::format("signal {} ({})", WTERMSIG(status), ::strsignal(WTERMSIG(status)));
  return fmt::format("exit code {}", WEXITSTATUS(status));
}

/// Shared by all children: which of the hunted defects have been found.
struct Hunt {
  std::atomic<bool> found[256];
};
static_assert(std::atomic<bool>::is_always_lock_free);

Hunt* shared_hunt() {
  void* memory = ::mmap(nullptr, sizeof(Hunt), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  return memory == MAP_FAILED ? nullptr : new (memory) Hunt{};
}

std::string record(uint64_t seed, const std::string& config, Defect defect, const Verdict& v) {
  return fmt::format("R\t{}\t{}\t{}\t{}\t{}\t{}\t{}\t{}", seed, config, static_cast<int>(v.outcome), escaped(v.kind), escaped(v.detail), v.weak,
                     static_cast<int>(defect), escaped(v.symbols_refused));
}

bool failed(const Verdict& v) { return v.outcome == Outcome::wrong || v.outcome == Outcome::crashed; }

/// The program with every defect that has not been found yet; only where it is right without.
void hunt(int pipe, const Program& program, const std::vector<Expected>& expected, const RunOptions& options, Hunt& hunt,
          const std::filesystem::path& folder) {
  for (const std::string& name : options.configs) {
    say(pipe, fmt::format("J\t{}\t{}\t0", program.seed, name));
    Config config = options.config(name, program.seed);
    if (judge(program, expected, config, folder).outcome != Outcome::passed) continue;
    for (const Defect d : options.hunted) {
      if (hunt.found[static_cast<size_t>(d)]) continue;
      config.debug_defect = d;
      say(pipe, fmt::format("J\t{}\t{}\t{}", program.seed, name, static_cast<int>(d)));
      const Verdict v = judge(program, expected, config, folder);
      if (!failed(v) || hunt.found[static_cast<size_t>(d)].exchange(true)) continue;
      say(pipe, record(program.seed, name, d, v));
    }
  }
}

/// What a child does: programs first, first + step ... one after the other. Says "G seed", "J seed config defect", and what record() gives.
void work(int pipe, uint64_t first, const RunOptions& options, int worker, Hunt* hunted) {
  limit(options.limits);
  const std::filesystem::path folder = options.folder / fmt::format("{}", worker);
  std::filesystem::create_directories(folder);
  const uint64_t end = options.first_seed + options.programs;
  for (uint64_t seed = first; seed < end; seed += static_cast<uint64_t>(options.jobs)) {
    say(pipe, fmt::format("G\t{}", seed));
    Generator generator(seed, options.generator);
    std::vector<Expected> expected;
    const Program program = generator.make(expected);
    std::string cells;
    for (const auto& [cell, n] : generator.tally().cells) cells += fmt::format("\t{}={}", cell, n);
    say(pipe, "C" + cells);
    const bool grouped = std::ranges::any_of(program.statements, [](const Statement& s) { return s.group >= 0; });
    say(pipe, fmt::format("K\t{:d}\t{:d}\t{:d}", !program.symbols.empty(), program.stateful(), grouped));
    if (!options.hunted.empty()) hunt(pipe, program, expected, options, *hunted, folder);
    for (const std::string& name : options.configs) {
      if (!options.hunted.empty()) break;
      say(pipe, fmt::format("J\t{}\t{}\t0", seed, name));
      say(pipe, record(seed, name, Defect::none, judge(program, expected, options.config(name, seed), folder)));
    }
    say(pipe, "D");
  }
}

struct Child {
  pid_t process = -1;
  int pipe = -1;
  std::string text;  ///< read, not yet a whole line
  uint64_t seed = 0;
  std::string config;  ///< being judged; empty while the program is made
  Defect defect = Defect::none;
  Clock::time_point since;
  bool late = false;
};

std::vector<std::string> fields_of(const std::string& line) {
  std::vector<std::string> fields;
  std::istringstream stream(line);
  for (std::string field; std::getline(stream, field, '\t');) fields.push_back(field);
  return fields;
}

class Pool {
 public:
  Pool(const RunOptions& options, const std::function<void(const Summary&)>& progress) : options_(options), progress_(progress) {}

  Summary run() {
    children_.resize(static_cast<size_t>(options_.jobs));
    for (size_t i = 0; i < children_.size(); ++i) start(i, options_.first_seed + i);
    Clock::time_point told = Clock::now();
    const auto enough = [&] {
      return options_.hunted.empty() ? options_.stop_at_first && !summary_.failures.empty() : summary_.found.size() == options_.hunted.size();
    };
    while (running() && !enough()) {
      wait();
      if (Clock::now() - told > std::chrono::seconds(1)) progress_(summary_), told = Clock::now();
    }
    for (Child& c : children_)
      if (c.process > 0) ::kill(c.process, SIGKILL), ::waitpid(c.process, nullptr, 0), ::close(c.pipe);
    return std::move(summary_);
  }

 private:
  bool running() const {
    return std::any_of(children_.begin(), children_.end(), [](const Child& c) { return c.process > 0; });
  }

  void start(size_t i, uint64_t seed) {
    if (seed >= options_.first_seed + options_.programs) return;
    int ends[2];
    if (::pipe(ends) != 0) return;
    Child& c = children_[i];
    c = {};
    c.seed = seed;
    c.since = Clock::now();
    c.process = ::fork();
    if (c.process == 0) {
      ::close(ends[0]);
      ::signal(SIGPIPE, SIG_IGN);
      work(ends[1], seed, options_, static_cast<int>(i), hunt_);
      ::_exit(0);
    }
    ::close(ends[1]);
    c.pipe = ends[0];
  }

  void wait() {
    std::vector<pollfd> polled;
    std::vector<size_t> which;
    for (size_t i = 0; i < children_.size(); ++i) {
      Child& c = children_[i];
      if (c.process <= 0) continue;
      if (Clock::now() - c.since > options_.limits.time && !c.late) c.late = true, ::kill(c.process, SIGKILL);
      polled.push_back({c.pipe, POLLIN, 0});
      which.push_back(i);
    }
    if (::poll(polled.data(), polled.size(), 500) <= 0) return;
    for (size_t k = 0; k < polled.size(); ++k) {
      if (!polled[k].revents) continue;
      char buffer[65536];
      Child& c = children_[which[k]];
      const ssize_t n = ::read(c.pipe, buffer, sizeof buffer);
      if (n <= 0) {
        ended(which[k]);
        continue;
      }
      c.text.append(buffer, static_cast<size_t>(n));
      for (size_t end; (end = c.text.find('\n')) != std::string::npos; c.text.erase(0, end + 1)) hear(c, c.text.substr(0, end));
    }
  }

  void hear(Child& c, const std::string& line) {
    const std::vector<std::string> f = fields_of(line);
    c.since = Clock::now();
    if (f[0] == "G") c.seed = std::stoull(f.at(1)), c.config.clear();
    if (f[0] == "J") c.config = f.at(2), c.defect = static_cast<Defect>(std::stoi(f.at(3)));
    if (f[0] == "K") summary_.symbolic += f.at(1) == "1", summary_.stateful += f.at(2) == "1", summary_.grouped += f.at(3) == "1";
    if (f[0] == "D") ++summary_.programs, c.config.clear();
    if (f[0] == "C") {
      for (size_t i = 1; i < f.size(); ++i) {
        const size_t equal = f[i].rfind('=');
        summary_.cells[f[i].substr(0, equal)] += std::stoll(f[i].substr(equal + 1));
      }
    }
    if (f[0] != "R") return;
    Report r{std::stoull(f.at(1)), f.at(2), {static_cast<Outcome>(std::stoi(f.at(3))), unescaped(f.at(4)), unescaped(f.at(5)), std::stoi(f.at(6))}};
    if (f.size() > 8 && !f[8].empty()) ++summary_.symbol_refusals[f[8]];
    summary_.weak += r.verdict.weak;
    take(static_cast<Defect>(std::stoi(f.at(7))), std::move(r));
  }

  void take(Defect defect, Report r) {
    if (defect != Defect::none) {
      hunt_->found[static_cast<size_t>(defect)] = true;
      summary_.found.emplace(defect, std::move(r));
    } else if (r.verdict.outcome == Outcome::passed) {
      ++summary_.passed;
    } else if (r.verdict.outcome == Outcome::refused) {
      ++summary_.refused;
      ++summary_.refusals[r.verdict.kind];
      summary_.refusal_examples.emplace(r.verdict.kind, fmt::format("seed {}: {}", r.seed, r.verdict.detail));
    } else {
      summary_.failures.push_back(std::move(r));
    }
  }

  /// The child is gone: finished, or dead in the middle of a program. Another one goes on behind it.
  void ended(size_t i) {
    Child& c = children_[i];
    int status = 0;
    ::waitpid(c.process, &status, 0);
    ::close(c.pipe);
    c.process = -1;
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return;
    if (c.config.empty()) ++summary_.unmade;
    else take(c.defect, {c.seed, c.config, {Outcome::crashed, c.late ? "time limit" : signal_text(status), {}, 0}});
    ++summary_.programs;
    start(i, c.seed + static_cast<uint64_t>(options_.jobs));
  }

  const RunOptions& options_;
  const std::function<void(const Summary&)>& progress_;
  Hunt* hunt_ = shared_hunt();
  std::vector<Child> children_;
  Summary summary_;
};

}  // namespace

Config RunOptions::config(const std::string& name, uint64_t seed) const {
  Config c = *make_config(name, seed);
  c.debug_defect = debug_defect;
  return c;
}

Summary run_programs(const RunOptions& options, const std::function<void(const Summary&)>& progress) { return Pool(options, progress).run(); }

std::optional<Verdict> try_program(const Program& program, const Config& config, const std::filesystem::path& folder, const Limits& limits) {
  int ends[2];
  if (::pipe(ends) != 0) return std::nullopt;
  const pid_t process = ::fork();
  if (process == 0) {
    ::close(ends[0]);
    limit(limits);
    ::alarm(static_cast<unsigned>(limits.time.count()));
    const auto scenes = stage_runs(program);
    if (!scenes) ::_exit(3);
    std::vector<Expected> expected;
    for (const Scene& scene : *scenes) expected.push_back(scene.expect(program.outputs));
    say(ends[1], "J");
    const Verdict v = judge(program, expected, config, folder);
    say(ends[1], fmt::format("R\t{}\t{}\t{}\t{}", static_cast<int>(v.outcome), escaped(v.kind), escaped(v.detail), v.weak));
    ::_exit(0);
  }
  ::close(ends[1]);
  std::string text;
  char buffer[65536];
  for (ssize_t n; (n = ::read(ends[0], buffer, sizeof buffer)) > 0;) text.append(buffer, static_cast<size_t>(n));
  ::close(ends[0]);
  int status = 0;
  ::waitpid(process, &status, 0);
  if (text.empty()) return std::nullopt;
  const size_t at = text.find("R\t");
  if (at == std::string::npos) {
    const bool late = WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM;
    return Verdict{Outcome::crashed, late ? "time limit" : signal_text(status), {}, 0};
  }
  std::string record = text.substr(at);
  record.pop_back();
  const std::vector<std::string> f = fields_of(record);
  return Verdict{static_cast<Outcome>(std::stoi(f.at(1))), unescaped(f.at(2)), unescaped(f.at(3)), std::stoi(f.at(4))};
}

}  // namespace mica::fuzz
