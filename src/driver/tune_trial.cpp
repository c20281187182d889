#include "tune_trial.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cmath>
#include <cstring>

#include "mica/driver/bench.h"
#include "mica/driver/so_info.h"

namespace mica {

namespace {

using nlohmann::json;

constexpr double build_seconds = 600, start_seconds = 120;  ///< after which a child hangs
constexpr double burst_seconds = 0.15;
constexpr int burst_runs = 3;

json to_json(const BuiltApart& built) {
  json subjects = json::array();
  for (const ChoiceSubject& s : built.build.subjects) {
    json choices = json::array();
    for (const Choice& c : s.choices) choices.push_back({c.knob, c.candidates, c.taken});
    subjects.push_back({s.description, choices});
  }
  return {{"subjects", subjects}, {"plan", built.build.plan}, {"dtypes", built.dtypes}, {"method", built.method}};
}

void from_json(const json& j, BuiltApart& built) {
  for (const json& s : j.at("subjects")) {
    built.build.subjects.push_back({s.at(0), {}});
    for (const json& c : s.at(1)) built.build.subjects.back().choices.push_back({c.at(0), c.at(1), c.at(2)});
  }
  built.build.plan = j.at("plan").get<std::vector<int32_t>>();
  built.dtypes = j.at("dtypes").get<std::vector<std::string>>();
  built.method = j.at("method");
}

std::filesystem::path inputs_of(const std::filesystem::path& library) { return std::filesystem::path(library).replace_extension(".npz"); }

/// The library, and inputs for it as `mica analyze` draws them.
Result<BuiltApart> build_with_inputs(const TuneTask& task, const Answers& answers, const std::filesystem::path& library) {
  Diagnostics diagnostics;
  auto build = task.build(answers, library, diagnostics);
  if (!build) return Failure{};
  BuiltApart built{std::move(*build), {}, {}, {}, {}};
  auto info = read_so_info(library, diagnostics);
  if (!info) return Failure{};
  auto inputs = collect_inputs(*info, {}, diagnostics);
  if (!inputs) return Failure{};
  std::vector<NamedTensor> named;
  for (size_t i = 0; i < inputs->tensors.size(); ++i) {
    built.dtypes.emplace_back(name_of(inputs->tensors[i].type.dtype));
    named.push_back({fmt::format("input{}", i), std::move(inputs->tensors[i])});
  }
  built.method = info->method;
  if (!write_npz(inputs_of(library), named, diagnostics)) return Failure{};
  return built;
}

/// In the child: nothing that it prints is the user's business, and a crash is its own.
[[noreturn]] void build_and_exit(const TuneTask& task, const Answers& answers, const std::filesystem::path& library, int to) {
  for (const int s : {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT}) ::signal(s, SIG_DFL);
  const int null = ::open("/dev/null", O_WRONLY | O_CLOEXEC);
  ::dup2(null, STDOUT_FILENO), ::dup2(null, STDERR_FILENO);
  const auto built = build_with_inputs(task, answers, library);
  if (!built) ::_exit(1);
  const std::string text = to_json(*built).dump(-1, ' ', false, json::error_handler_t::replace);
  for (size_t at = 0; at < text.size();) {
    const ssize_t n = ::write(to, text.data() + at, text.size() - at);
    if (n <= 0) ::_exit(1);
    at += static_cast<size_t>(n);
  }
  ::_exit(0);
}

/// What comes until the end; false when that takes too long.
bool read_all(int from, double seconds, std::string& text) {
  const auto start = std::chrono::steady_clock::now();
  for (;;) {
    const double left = seconds - std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    if (left <= 0) return false;
    pollfd waiting = {from, POLLIN, 0};
    if (::poll(&waiting, 1, static_cast<int>(left * 1000) + 1) <= 0) continue;
    char bytes[1 << 14];
    const ssize_t n = ::read(from, bytes, sizeof bytes);
    if (n == 0) return true;
    if (n > 0) text.append(bytes, static_cast<size_t>(n));
    else if (errno != EINTR) return false;
  }
}

std::map<std::string, double>& take_least(std::map<std::string, double>& to, const std::map<std::string, double>& more) {
  for (const auto& [kernel, us] : more) {
    const auto [entry, fresh] = to.try_emplace(kernel, us);
    if (!fresh) entry->second = std::min(entry->second, us);
  }
  return to;
}

}  // namespace

std::optional<BuiltApart> build_apart(const TuneTask& task, const Answers& answers, const std::filesystem::path& library) {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return std::nullopt;
  const pid_t parent = ::getpid(), child = ::fork();
  if (child == 0) {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (::getppid() != parent) ::_exit(1);
    build_and_exit(task, answers, library, ends[1]);
  }
  ::close(ends[1]);
  std::string text;
  const bool whole = child > 0 && read_all(ends[0], build_seconds, text);
  ::close(ends[0]);
  if (child <= 0) return std::nullopt;
  if (!whole) ::kill(child, SIGKILL);
  int status = 0;
  ::waitpid(child, &status, 0);
  const json j = json::parse(text, nullptr, false);
  if (!whole || status != 0 || !j.is_object()) return std::nullopt;
  BuiltApart built;
  built.library = library, built.inputs = inputs_of(library);
  from_json(j, built);
  return built;
}

Result<void> TuneTrial::start(const BuiltApart& built, int threads, Diagnostics& diagnostics) {
  for (const int32_t s : built.build.plan) kernels_.push_back(s < 0 ? "" : built.build.subjects.at(static_cast<size_t>(s)).description);
  const json request = {{"kind", static_cast<int>(ContenderKind::mica)},
                        {"file", built.library.string()},
                        {"inputs", built.inputs.string()},
                        {"dtypes", built.dtypes},
                        {"specs", json::array()},
                        {"method", built.method},
                        {"threads", threads},
                        {"copy_weights", false}};
  if (!worker_.start("the library that is tuned", request, diagnostics)) return Failure{};
  const auto ready = worker_.ask("", diagnostics, start_seconds);
  if (!ready) return Failure{};
  run_ms_ = (*ready).value("first_run_ms", 0.0);
  alive_ = true;
  return {};
}

std::optional<TuneTrial::Burst> TuneTrial::run(double seconds) {
  Diagnostics ignored;
  auto answer = worker_.ask(fmt::format("steps {} {}", seconds, burst_runs), ignored, start_seconds + seconds + run_ms_ / 1e3 * 20);
  if (!answer || !answer->contains("steps") || (*answer)["steps"].size() != kernels_.size()) {
    alive_ = false;
    return std::nullopt;
  }
  Burst b;
  b.ms = (*answer)["ms"];
  for (size_t k = 0; k < kernels_.size(); ++k)
    if (!kernels_[k].empty()) b.kernel_us[kernels_[k]] += (*answer)["steps"][k].get<double>() / 1e3;
  return b;
}

std::optional<TuneTimes> compare_trials(TuneTrial& base, TuneTrial& trial, int rounds) {
  TuneTimes times;
  std::map<std::string, double> first[2], second;
  for (int round = 0; round < rounds; ++round) {
    const auto a = base.run(burst_seconds);
    const auto b = a ? trial.run(burst_seconds) : std::nullopt;
    if (!a || !b) return std::nullopt;
    times.base_ms = round ? std::min(times.base_ms, a->ms) : a->ms;
    times.trial_ms = round ? std::min(times.trial_ms, b->ms) : b->ms;
    take_least(first[round % 2], a->kernel_us);
    take_least(second, b->kernel_us);
  }
  for (const auto& [kernel, us] : second) {
    const auto even = first[0].find(kernel), odd = first[1].find(kernel);
    if (even == first[0].end() || odd == first[1].end()) continue;
    const double least = std::min(even->second, odd->second);
    if (least > 0) times.kernels[kernel] = {least, us, std::abs(even->second - odd->second) / least};
  }
  return times;
}

}  // namespace mica
