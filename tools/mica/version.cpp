#include <nlohmann/json.hpp>

#include "command.h"
#include "mica/driver/compile.h"
#include "mica/runtime/mica.h"

namespace mica::cli {

namespace {

constexpr const char* help = R"(mica version: prints this Mica's version and what it was built with.

usage: mica version [--json]

  --json    as JSON

examples:
  mica version
  mica version --json | python3 -m json.tool
)";

Action declare(CLI::App& app) {
  auto json = std::make_shared<bool>(false);
  app.add_flag("--json", *json);
  return [json](Diagnostics&) {
    if (*json) {
      const nlohmann::ordered_json j = {{"schema", 1},
                                        {"version", MICA_VERSION},
                                        {"abi", MICA_ABI_VERSION},
                                        {"torch", MICA_TORCH != 0},
                                        {"llvm", MICA_LLVM != 0},
                                        {"cuda", MICA_CUDA != 0},
                                        {"precisions", built_precisions()}};
      fmt::print("{}\n", j.dump(2));
    } else {
      const auto built = [](bool there) { return there ? "yes" : "no"; };
      fmt::print("mica {}\nABI of compiled models: {}\nreads TorchScript: {}\nmakes machine code: {}\nCUDA: {}\nprecisions: {}\n", MICA_VERSION,
                 MICA_ABI_VERSION, built(MICA_TORCH), built(MICA_LLVM), built(MICA_CUDA), built_precisions());
    }
    return 0;
  };
}

}  // namespace

const Command version_command = {"version", "what this Mica is and can do", help, declare};

}  // namespace mica::cli
