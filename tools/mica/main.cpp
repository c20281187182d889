// mica: one program, one file a subcommand. This file finds the subcommand, reads its flags, prints what it reported, and gives the exit code.
#include <signal.h>
#include <unistd.h>

#include <cstring>
#include <new>

#include "command.h"
#include "mica/driver/bench.h"
#include "mica/driver/file.h"

namespace {

using namespace mica;
using namespace mica::cli;

const Command* const commands[] = {&compile_command, &run_command,   &verify_command, &bench_command,  &analyze_command,
                                   &inspect_command, &check_command, &opt_command,    &version_command};

constexpr const char* overview_head =
    R"(mica: compiles a trained PyTorch model (TorchScript .pt) into one native shared library that needs nothing but libc.

usage: mica COMMAND [options]

)";
constexpr const char* overview_tail = R"(
From a model to a library, checked and timed:
  mica compile resnet50.pt -o libresnet50.so
  mica verify  resnet50.pt libresnet50.so
  mica bench   libresnet50.so --vs resnet50.pt
  mica analyze libresnet50.so

`mica COMMAND --help` lists a command's options, with examples.

Results go to stdout, everything else to stderr. Exit codes: 0 done; 1 error in the model or in an option's value; 2 usage;
3 the model needs something that Mica does not support; 4 accuracy check failed; 6 a tool, device or folder is missing;
7 out of memory; 70 a bug of Mica's.
)";

std::string overview() {
  std::string text = overview_head;
  for (const Command* c : commands) text += fmt::format("  {:<9} {}\n", c->name, c->summary);
  return text + overview_tail;
}

const Command* find_command(std::string_view name) {
  for (const Command* c : commands)
    if (name == c->name) return c;
  return nullptr;
}

int usage_error(Diagnostics& diagnostics) {
  fmt::print(stderr, "{}", diagnostics.to_string());
  return exit_usage;
}

char command_line[4096];  // for the handler below, which must not allocate

/// A crash is a bug of ours: say so, and say what replays it.
void on_crash(int signal) {
  const auto say = [](const char* text) { (void)!::write(STDERR_FILENO, text, std::strlen(text)); };
  say("error: mica crashed: ");
  say(signal == SIGSEGV   ? "segmentation fault"
      : signal == SIGABRT ? "abort"
      : signal == SIGILL  ? "illegal instruction"
      : signal == SIGFPE  ? "arithmetic error"
                          : "bus error");
  say(" [internal-error]\n   = note: this is a bug of Mica's; it can be replayed with:");
  say(command_line);
  say("\n   = help: please report it with that line and, if you can, the model\n");
  ::_exit(exit_bug);
}

void install_crash_handler(int argc, char** argv) {
  size_t at = 0;
  for (int i = 0; i < argc && at + std::strlen(argv[i]) + 2 < sizeof command_line; ++i) {
    command_line[at++] = ' ';
    std::memcpy(command_line + at, argv[i], std::strlen(argv[i]));
    at += std::strlen(argv[i]);
  }
  static char stack[64 * 1024];  // of its own, since a stack overflow is a crash too
  stack_t alternative{};
  alternative.ss_sp = stack;
  alternative.ss_size = sizeof stack;
  ::sigaltstack(&alternative, nullptr);
  struct sigaction action{};
  action.sa_handler = on_crash;
  action.sa_flags = SA_RESETHAND | SA_ONSTACK;
  ::signal(SIGXFSZ, SIG_IGN);  // a file above the limit is a write that fails, and is reported as one
  for (const int s : {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT}) ::sigaction(s, &action, nullptr);
}

/// What CLI11 did not take: an option of another name, or one argument too many.
int report_extras(const Command& command, const CLI::App& app, const std::vector<std::string>& extras, Diagnostics& diagnostics) {
  std::vector<std::string> known = {"--help"};
  for (const CLI::Option* o : app.get_options())
    for (const std::string& name : o->get_lnames()) known.push_back("--" + name);
  for (const std::string& extra : extras) {
    if (!extra.starts_with('-')) continue;
    const std::string name = extra.substr(0, extra.find('='));
    auto& d = diagnostics.error("unknown-option", "mica {} has no option `{}`", command.name, name);
    if (const std::string near = nearest_spelling(name, known); !near.empty()) d.help(fmt::format("did you mean `{}`?", near));
    else d.help(fmt::format("`mica {} --help` lists the options", command.name));
  }
  if (!diagnostics.has_errors())
    diagnostics.error("unexpected-argument", "mica {}: `{}` is one argument too many", command.name, extras[0])
        .help(fmt::format("see: mica {} --help", command.name));
  return usage_error(diagnostics);
}

int run_command(const Command& command, int argc, char** argv) {
  Diagnostics diagnostics;
  CLI::App app;
  app.set_help_flag();
  app.allow_extras();
  const Action action = command.declare(app);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    diagnostics.error("bad-option-value", "mica {}: {}", command.name, e.what()).help(fmt::format("see: mica {} --help", command.name));
    return usage_error(diagnostics);
  }
  if (const auto extras = app.remaining(); !extras.empty()) return report_extras(command, app, extras, diagnostics);
  const int own = action(diagnostics);
  std::fflush(stdout);
  fmt::print(stderr, "{}", diagnostics.to_string());
  for (const Diagnostic& d : diagnostics.all())
    if (d.name == "missing-argument") return exit_usage;
  return own ? own : diagnostics.exit_code();
}

int run_main(int argc, char** argv) {
  const std::string_view first = argc > 1 ? argv[1] : "";
  if (first.empty()) {
    fmt::print(stderr, "{}", overview());
    return exit_usage;
  }
  if (first == "bench-worker") return run_bench_worker({argv + 2, argv + argc});  // hidden: mica bench starts it
  if (first == "--version") return run_command(version_command, 1, argv);
  const bool help = first == "--help" || first == "-h" || first == "help";
  const Command* command = find_command(help && argc > 2 ? argv[2] : first);
  if (help && argc <= 2) {
    fmt::print("{}", overview());
    return 0;
  }
  if (!command) {
    Diagnostics diagnostics;
    std::vector<std::string> names;
    for (const Command* c : commands) names.emplace_back(c->name);
    const std::string word = help ? argv[2] : std::string(first);
    auto& d = diagnostics.error("unknown-command", "there is no command `mica {}`", word);
    if (const std::string near = nearest_spelling(word, names); !near.empty()) d.help(fmt::format("did you mean `mica {}`?", near));
    else if (word.ends_with(".pt")) d.help(fmt::format("to compile it: mica compile {}", word));
    d.help("`mica --help` lists the commands");
    return usage_error(diagnostics);
  }
  for (int i = 2; i < argc; ++i) {
    if (help || std::string_view(argv[i]) == "--help" || std::string_view(argv[i]) == "-h") {
      fmt::print("{}", command->help);
      return 0;
    }
  }
  return run_command(*command, argc - 1, argv + 1);
}

}  // namespace

int main(int argc, char** argv) {
  install_crash_handler(argc, argv);
  try {
    return run_main(argc, argv);
  } catch (const std::bad_alloc&) {
    fmt::print(stderr, "error: out of memory [out-of-memory]\n   = help: try a machine with more memory, or a smaller batch (--input)\n");
    return 7;
  } catch (const std::exception& e) {
    fmt::print(stderr,
               "error: mica failed: {} [internal-error]\n   = note: this is a bug of Mica's; it can be replayed with:{}\n   = help: please report it "
               "with that line and, if you can, the model\n",
               e.what(), command_line);
    return exit_bug;
  }
}
