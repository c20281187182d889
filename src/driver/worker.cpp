#include "worker.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <cstring>

namespace mica {

using nlohmann::json;

Worker::Worker(Worker&& other) noexcept
    : pid_(std::exchange(other.pid_, -1)),
      to_(std::exchange(other.to_, -1)),
      from_(std::exchange(other.from_, -1)),
      name_(std::move(other.name_)),
      read_(std::move(other.read_)) {}

Worker::~Worker() {
  if (to_ >= 0) ::close(to_);
  if (from_ >= 0) ::close(from_);
  if (pid_ > 0) {
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
  }
}

Result<void> Worker::start(std::string name, const json& request, Diagnostics& diagnostics) {
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
  from_ = out[0];
  if (pid_ < 0) return no_process(diagnostics);
  return {};
}

std::string Worker::read_line(double seconds, bool& late) {
  using Clock = std::chrono::steady_clock;
  const auto start = Clock::now();
  for (;;) {
    if (const size_t end = read_.find('\n'); end != std::string::npos) {
      const std::string line = read_.substr(0, end);
      read_.erase(0, end + 1);
      return line;
    }
    const double left = seconds - std::chrono::duration<double>(Clock::now() - start).count();
    pollfd waiting = {from_, POLLIN, 0};
    if (seconds > 0 && ::poll(&waiting, 1, static_cast<int>(std::max(0.0, left * 1000) + 1)) == 0 && left <= 0) {
      late = true;
      return {};
    }
    char bytes[1 << 14];
    if (seconds > 0 && !(waiting.revents & (POLLIN | POLLHUP | POLLERR))) continue;
    const ssize_t n = ::read(from_, bytes, sizeof bytes);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return {};
    read_.append(bytes, static_cast<size_t>(n));
  }
}

Result<json> Worker::ask(const std::string& line, Diagnostics& diagnostics, double seconds) {
  ::kill(pid_, SIGCONT);
  if (!line.empty() && ::write(to_, (line + "\n").data(), line.size() + 1) < 0) return died(diagnostics);
  bool late = false;
  const std::string answer = read_line(seconds, late);
  if (late) return hangs(seconds, diagnostics);
  if (answer.empty()) return died(diagnostics);
  if (line != "quit") ::kill(pid_, SIGSTOP);
  json j = json::parse(answer, nullptr, false);
  if (!j.is_object()) return died(diagnostics);
  if (j.contains("error")) {
    diagnostics.error("contender-failed", "{} cannot be measured", name_).note(j["error"].get<std::string>());
    return Failure{};
  }
  return j;
}

Failure Worker::no_process(Diagnostics& diagnostics) {
  diagnostics.environment("no-process", "cannot start a process for {}: {}", name_, std::strerror(errno));
  return Failure{};
}

Failure Worker::hangs(double seconds, Diagnostics& diagnostics) {
  ::kill(pid_, SIGKILL);
  ::waitpid(pid_, nullptr, 0);
  pid_ = -1;
  diagnostics.error("contender-hangs", "the process of {} did not answer for {:.0f} s", name_, seconds);
  return Failure{};
}

Failure Worker::died(Diagnostics& diagnostics) {
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

}  // namespace mica
