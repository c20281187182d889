#include "mica/driver/bench.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <nlohmann/json.hpp>

namespace mica {

namespace {

using nlohmann::json;

/// One contender's process, stopped except while it answers.
class Worker {
 public:
  Worker() = default;
  Worker(const Worker&) = delete;
  Worker(Worker&& other) noexcept
      : pid_(std::exchange(other.pid_, -1)),
        to_(std::exchange(other.to_, -1)),
        from_(std::exchange(other.from_, nullptr)),
        name_(std::move(other.name_)) {}
  ~Worker() {
    if (to_ >= 0) ::close(to_);
    if (from_) std::fclose(from_);
    if (pid_ > 0) {
      ::kill(pid_, SIGKILL);
      ::waitpid(pid_, nullptr, 0);
    }
  }

  Result<void> start(std::string name, const json& request, Diagnostics& diagnostics) {
    name_ = std::move(name);
    int in[2], out[2];
    if (::pipe2(in, O_CLOEXEC) != 0) return no_process(diagnostics);
    if (::pipe2(out, O_CLOEXEC) != 0) {
      ::close(in[0]), ::close(in[1]);
      return no_process(diagnostics);
    }
    const std::string text = request.dump();
    const pid_t parent = ::getpid();
    pid_ = ::fork();
    if (pid_ == 0) {
      ::prctl(PR_SET_PDEATHSIG, SIGKILL);
      if (::getppid() != parent) ::_exit(1);
      // Both ends are moved out of the way first: either may be 3 or 4 already.
      const int read_end = ::fcntl(in[0], F_DUPFD, 10), write_end = ::fcntl(out[1], F_DUPFD, 10);
      ::dup2(read_end, 3), ::dup2(write_end, 4);
      ::close(read_end), ::close(write_end);
      const int null = ::open("/dev/null", O_WRONLY | O_CLOEXEC);
      ::dup2(null, STDOUT_FILENO);
      ::execl("/proc/self/exe", "mica", "bench-worker", text.c_str(), static_cast<char*>(nullptr));
      ::_exit(127);
    }
    ::close(in[0]), ::close(out[1]);
    to_ = in[1];
    from_ = ::fdopen(out[0], "r");
    if (pid_ < 0 || !from_) return no_process(diagnostics);
    return {};
  }

  /// Sends a line (none: only waits) and takes the reply. Errors that the contender reports are passed on.
  Result<json> ask(const std::string& line, Diagnostics& diagnostics) {
    ::kill(pid_, SIGCONT);
    if (!line.empty() && ::write(to_, (line + "\n").data(), line.size() + 1) < 0) return died(diagnostics);
    char* text = nullptr;
    size_t capacity = 0;
    const ssize_t n = ::getline(&text, &capacity, from_);
    const std::string answer(text && n > 0 ? text : "", n > 0 ? static_cast<size_t>(n) : 0);
    std::free(text);
    if (n <= 0) return died(diagnostics);
    if (line != "quit") ::kill(pid_, SIGSTOP);
    json j = json::parse(answer, nullptr, false);
    if (!j.is_object()) return died(diagnostics);
    if (j.contains("error")) {
      diagnostics.error("contender-failed", "{} cannot be measured", name_).note(j["error"].get<std::string>());
      return Failure{};
    }
    return j;
  }

 private:
  Failure no_process(Diagnostics& diagnostics) {
    diagnostics.environment("no-process", "cannot start a process for {}: {}", name_, std::strerror(errno));
    return Failure{};
  }
  Failure died(Diagnostics& diagnostics) {
    int status = 0;
    ::kill(pid_, SIGCONT);
    ::waitpid(pid_, &status, 0);
    pid_ = -1;
    if (WIFSIGNALED(status)) {
      auto& d =
          diagnostics.error("contender-died", "the process of {} was ended by signal {} ({})", name_, WTERMSIG(status), strsignal(WTERMSIG(status)));
      if (WTERMSIG(status) == SIGKILL) d.help("out of memory? Try a smaller batch, or fewer contenders");
    } else {
      diagnostics.error("contender-died", "the process of {} ended with code {}", name_, WEXITSTATUS(status));
    }
    return Failure{};
  }

  pid_t pid_ = -1;
  int to_ = -1;
  FILE* from_ = nullptr;
  std::string name_;
};

/// The inputs in a file that lives as long as the measurement.
struct InputFile {
  std::filesystem::path path;
  ~InputFile() {
    std::error_code ignored;
    if (!path.empty()) std::filesystem::remove(path, ignored);
  }
};

Result<void> write_inputs(const BenchOptions& options, InputFile& file, Diagnostics& diagnostics) {
  std::error_code ignored;
  std::filesystem::path folder = std::filesystem::temp_directory_path(ignored);
  if (ignored) folder = ".";
  std::string pattern = folder / "mica-bench.XXXXXX";
  const int descriptor = ::mkstemp(pattern.data());
  if (descriptor < 0) {
    diagnostics.environment("output-not-writable", "cannot write into `{}`: {}", folder.string(), std::strerror(errno))
        .help("set TMPDIR to a folder that can be written");
    return Failure{};
  }
  ::close(descriptor);
  file.path = pattern;
  return write_npz(file.path, options.inputs, diagnostics);
}

}  // namespace

std::string_view name_of(ContenderKind kind) {
  constexpr std::string_view names[] = {"mica", "eager", "frozen"};
  return names[static_cast<int>(kind)];
}

double quantile(std::vector<double> values, double p) {
  if (values.empty()) return 0;
  std::sort(values.begin(), values.end());
  const double at = p * static_cast<double>(values.size() - 1);
  const auto below = static_cast<size_t>(at);
  const size_t above = std::min(below + 1, values.size() - 1);
  return values[below] + (at - static_cast<double>(below)) * (values[above] - values[below]);
}

Result<std::vector<ContenderResult>> run_bench(const BenchOptions& options, Diagnostics& diagnostics) {
  ::signal(SIGPIPE, SIG_IGN);  // a worker that died is found by its missing reply
  const auto say = [&](const std::string& text) {
    if (options.progress) options.progress(text);
  };
  InputFile file;
  if (!write_inputs(options, file, diagnostics)) return Failure{};
  json dtypes = json::array();
  for (const NamedTensor& t : options.inputs) dtypes.push_back(name_of(t.tensor.type.dtype));

  std::vector<Worker> workers(options.contenders.size());
  std::vector<ContenderResult> results(options.contenders.size());
  int threads = options.threads;
  for (size_t i = 0; i < workers.size(); ++i) {
    const Contender& c = options.contenders[i];
    results[i].name = name_of(c.kind);
    say(fmt::format("loading {}", results[i].name));
    const json request = {{"kind", static_cast<int>(c.kind)},
                          {"file", std::filesystem::absolute(c.file).string()},
                          {"inputs", file.path.string()},
                          {"dtypes", dtypes},
                          {"specs", options.input_specs},
                          {"method", options.method},
                          {"threads", threads},
                          {"copy_weights", options.copy_weights}};
    if (!workers[i].start(results[i].name, request, diagnostics)) return Failure{};
    auto ready = workers[i].ask("", diagnostics);
    if (!ready) return Failure{};
    results[i].load_ms = (*ready)["load_ms"];
    results[i].first_run_ms = (*ready)["first_run_ms"];
    results[i].threads = (*ready)["threads"];
    if (!threads) threads = results[i].threads;
  }
  for (size_t i = 0; i < workers.size(); ++i) {
    say(fmt::format("warming {} up", results[i].name));
    // LibTorch's profiling executor optimises in its second and third run.
    if (!workers[i].ask(fmt::format("run {} 3", options.warmup), diagnostics)) return Failure{};
  }
  for (int round = 0; round < options.rounds; ++round) {
    for (size_t i = 0; i < workers.size(); ++i) {
      say(fmt::format("round {} of {}: {}", round + 1, options.rounds, results[i].name));
      auto timed = workers[i].ask(fmt::format("run {} 1", options.duration / options.rounds), diagnostics);
      if (!timed) return Failure{};
      const auto ms = (*timed)["ms"].get<std::vector<double>>();
      results[i].ms.insert(results[i].ms.end(), ms.begin(), ms.end());
      results[i].round_medians.push_back(quantile(ms, 0.5));
    }
  }
  for (size_t i = 0; i < workers.size(); ++i) {
    auto end = workers[i].ask("quit", diagnostics);
    if (!end) return Failure{};
    results[i].peak_bytes = (*end)["peak_bytes"];
  }
  return results;
}

}  // namespace mica
