// fuzz: random TorchScript programs, compiled and run against LibTorch in fp64. tools/fuzz --help says how to use it.
#include <fmt/format.h>
#include <unistd.h>

#include <charconv>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <sstream>

#include "reducer.h"

namespace mica::fuzz {

namespace {

struct Flags {
  RunOptions run;
  std::filesystem::path out;
  std::string replay;
  int reductions = 20;
  bool print = false, cells = false;
};

constexpr const char* usage = R"(fuzz: random TorchScript programs against LibTorch in fp64

  --programs N       how many (100)
  --seed S           the first one's seed (1); program k has seed S + k
  --jobs J           child processes at a time (2)
  --config A,B       configurations, each program in each: plain, generic, v3, v4, guard, lowered, mixed (plain)
  --out DIR          folder for the failures, reduced
  --stop-at-first    end at the first failure, not reduced
  --reduce N         reduce at most N failures, one of a kind (20)
  --data-dependent   conditions and trip counts that depend on values, in every program (else in three of ten)
  --special          inputs with NaN and infinities in one program of four
  --print            print the program of --seed, and stop
  --replay FILE      judge a file of tests/fuzz/cases
  --debug-defect D   a seeded defect, by name or number, in every compilation: to measure this net
  --defects A,B      which seeded defects these programs find: each is in every program until one fails; `all` for all. Ends with 1 when more than
                     one of ten is missed
  --cells            say how often each operator, dtype and rank was reached

The exit code is 1 when a program failed.
)";

template <class T> bool read_number(const std::string& text, T& value) {
  return std::from_chars(text.data(), text.data() + text.size(), value).ec == std::errc();
}

bool read_defects(const std::string& text, std::vector<Defect>& defects) {
  std::istringstream list(text);
  for (std::string name; std::getline(list, name, ',');) {
    if (name == "all")
      for (const DefectInfo& d : all_defects()) defects.push_back(d.id);
    else if (const auto found = find_defect(name)) defects.push_back(*found);
    else return false;
  }
  return !defects.empty();
}

bool read_flag(Flags& f, const std::string& name, const std::function<std::string()>& value) {
  if (name == "--programs") return read_number(value(), f.run.programs);
  if (name == "--seed") return read_number(value(), f.run.first_seed);
  if (name == "--jobs") return read_number(value(), f.run.jobs) && f.run.jobs > 0;
  if (name == "--reduce") return read_number(value(), f.reductions);
  if (name == "--out") return f.out = value(), true;
  if (name == "--replay") return f.replay = value(), true;
  if (name == "--stop-at-first") return f.run.stop_at_first = true;
  if (name == "--data-dependent") return f.run.generator.data_dependent = true;
  if (name == "--special") return f.run.generator.special = true;
  if (name == "--defects") return read_defects(value(), f.run.hunted);
  if (name == "--print") return f.print = true;
  if (name == "--cells") return f.cells = true;
  if (name == "--debug-defect") {
    const auto found = find_defect(value());
    f.run.debug_defect = found.value_or(Defect::none);
    return found.has_value();
  }
  if (name != "--config") return false;
  f.run.configs.clear();
  std::istringstream list(value());
  for (std::string c; std::getline(list, c, ',');) {
    if (!make_config(c, 0)) return false;
    f.run.configs.push_back(c);
  }
  return !f.run.configs.empty();
}

Program program_of(uint64_t seed, const GeneratorOptions& options) {
  std::vector<Expected> expected;
  return Generator(seed, options).make(expected);
}

/// The failure cut down, as the file that is kept of it.
std::string reduced_text(const Report& r, const Flags& f) {
  const Program program = program_of(r.seed, f.run.generator);
  const Config config = f.run.config(r.config, r.seed);
  const auto small = reduce(program, config, f.run.folder, f.run.limits);
  std::string comment = fmt::format("seed {}, configuration {}: {}\n", r.seed, r.config, r.verdict.kind);
  if (!small) return case_text(program, comment + "fails in a run of many, but not alone\n" + config.text());
  comment += small->config.text() + "\n" + small->verdict.detail;
  return case_text(small->program, comment);
}

/// Long lists of elements are for the file.
void print_short(const std::string& text) {
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) fmt::print("{}\n", line.size() > 300 ? line.substr(0, 300) + " ..." : line);
}

void report_failures(const Summary& s, const Flags& f) {
  std::map<std::string, int> kinds;
  int reduced = 0;
  for (const Report& r : s.failures) {
    fmt::print("{} seed {} {}: {} {}\n", name_of(r.verdict.outcome), r.seed, r.config, r.verdict.kind, r.verdict.detail);
    // Three of a kind are enough to read.
    if (f.run.stop_at_first || reduced >= f.reductions || kinds[r.verdict.kind]++ >= 3) continue;
    ++reduced;
    const std::string text = reduced_text(r, f);
    print_short(text);
    std::fflush(stdout);
    if (f.out.empty()) continue;
    std::filesystem::create_directories(f.out);
    std::ofstream(f.out / fmt::format("{}_{}.txt", r.seed, r.config)) << text;
  }
}

int replay(const Flags& f) {
  std::ifstream file(f.replay);
  const std::string text{std::istreambuf_iterator<char>(file), {}};
  const auto program = parse_case(text);
  std::string why = "it is no case";
  const auto expected = program ? run_eager(*program, f.run.folder, why) : std::nullopt;
  if (!expected) return fmt::print("{}: {}\n", f.replay, why), 2;
  int failed = 0;
  for (const std::string& name : f.run.configs) {
    const Verdict v = judge(*program, *expected, f.run.config(name, 0), f.run.folder);
    fmt::print("{} {}: {} {}\n", name, name_of(v.outcome), v.kind, v.detail);
    failed += v.outcome != Outcome::passed;
  }
  return failed != 0;
}

void print_summary(const Summary& s, const Flags& f, double seconds) {
  for (const auto& [kind, n] : s.refusals) {
    const std::string& example = s.refusal_examples.at(kind);
    fmt::print("refused {:5} {}   {}\n", n, kind, example.substr(0, std::min<size_t>(example.find('\n', example.find('\n') + 1), 160)));
  }
  if (f.cells)
    for (const auto& [cell, n] : s.cells) fmt::print("cell {:5} {}\n", n, cell);
  for (const auto& [kind, n] : s.symbol_refusals) fmt::print("for the sizes of the first run alone {:5} {}\n", n, kind);
  fmt::print(
      "{} programs in {:.0f} s ({} with symbolic sizes, {} with state, {} with methods or submodules): {} judgements passed, {} refused, {} failed; "
      "{} cells of operator, dtype and rank; {} outputs by what rounding explains; LibTorch died {} times\n",
      s.programs, seconds, s.symbolic, s.stateful, s.grouped, s.passed, s.refused, s.failures.size(), s.cells.size(), s.weak, s.unmade);
  fmt::print("fuzz: {} passed, {} failed\n", s.passed, s.failures.size());
}

/// The table of which seeded defects were found by which program.
int report_hunt(const Summary& s, const Flags& f, double seconds) {
  for (const Defect d : f.run.hunted) {
    const DefectInfo& info = all_defects()[static_cast<size_t>(d) - 1];
    const auto hit = s.found.find(d);
    if (hit == s.found.end()) fmt::print("{:20} {:9} missed\n", info.name, info.layer);
    else fmt::print("{:20} {:9} found  seed {:5} {:6} {}\n", info.name, info.layer, hit->second.seed, hit->second.config, hit->second.verdict.kind);
  }
  fmt::print("{} of {} found by {} programs in {:.0f} s\n", s.found.size(), f.run.hunted.size(), s.programs, seconds);
  return 10 * s.found.size() >= 9 * f.run.hunted.size() ? 0 : 1;
}

int run(Flags& f) {
  const auto start = std::chrono::steady_clock::now();
  const auto seconds = [&] { return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count(); };
  const bool terminal = ::isatty(2);
  std::set<Defect> told;
  const Summary s = run_programs(f.run, [&](const Summary& now) {
    for (const auto& [defect, hit] : now.found)
      if (told.insert(defect).second)
        fmt::print(stderr, "{:.0f} s, {} programs: {} found by seed {}\n", seconds(), now.programs,
                   all_defects()[static_cast<size_t>(defect) - 1].name, hit.seed);
    if (terminal) fmt::print(stderr, "\r{} programs, {} failed, {:.0f} s ", now.programs, now.failures.size(), seconds());
  });
  if (terminal) fmt::print(stderr, "\r");
  const double took = seconds();
  if (!f.run.hunted.empty()) return report_hunt(s, f, took);
  report_failures(s, f);
  print_summary(s, f, took);
  return s.failures.empty() ? 0 : 1;
}

}  // namespace

int main(int count, char** arguments) {
  Flags f;
  for (int i = 1; i < count; ++i) {
    const std::string name = arguments[i];
    if (name == "--help" || name == "-h") return std::fputs(usage, stdout), 0;
    const auto value = [&]() -> std::string { return i + 1 < count ? arguments[++i] : ""; };
    if (!read_flag(f, name, value)) return fmt::print(stderr, "error: fuzz: `{}` is not understood (try --help)\n", name), 2;
  }
  f.run.folder = std::filesystem::temp_directory_path() / fmt::format("mica_fuzz_{}", ::getpid());
  std::filesystem::create_directories(f.run.folder);
  int code = 0;
  if (f.print) fmt::print("{}", case_text(program_of(f.run.first_seed, f.run.generator), ""));
  else code = f.replay.empty() ? run(f) : replay(f);
  std::error_code ignored;
  std::filesystem::remove_all(f.run.folder, ignored);
  return code;
}

}  // namespace mica::fuzz

int main(int count, char** arguments) { return mica::fuzz::main(count, arguments); }
