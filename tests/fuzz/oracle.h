#pragma once
// Compiles a program in one configuration, runs the library, and judges what it gives.
#include <filesystem>

#include "mica/pass/lower.h"
#include "mica/support/defect.h"
#include "program.h"
#include "random.h"
#include "scene.h"

namespace mica::fuzz {

/// How a program is compiled.
struct Config {
  std::string name = "plain";
  std::string cpu = "native";
  std::string precision = "f32";  ///< in another one values are not judged: crashes, types, guards and the same bits on all threads are
  bool schedules = true;
  std::vector<std::string> disabled_passes;
  DebugMemory debug_memory = DebugMemory::off;  ///< else every tensor stands between pages that cannot be touched
  Defect debug_defect = Defect::none;           ///< to measure this net
  std::string text() const;                     ///< as options of `mica compile`
};

/// Names: "plain", "generic" (no schedules), "v3", "v4", "guard" (pages that cannot be touched behind or before every tensor, by the seed),
/// "lowered" (--precision bf16), and "mixed", which draws CPU, schedules and passes by the seed. None for other names.
std::optional<Config> make_config(const std::string& name, uint64_t seed);

enum class Outcome : uint8_t { passed, refused, wrong, crashed };
std::string_view name_of(Outcome outcome);

struct Verdict {
  Outcome outcome = Outcome::passed;
  std::string kind;    ///< of a refusal the diagnostic's name; else what was wrong, the same words for the same kind of failure
  std::string detail;  ///< numbers, messages
  int weak = 0;        ///< outputs where LibTorch happened to be nearer than rounding explains: the spread was the yardstick
  /// With symbols: why Mica did not take them, when it was compiled for the sizes of the first run instead.
  std::string symbols_refused{};
};

/// `expected` by run; `folder` is where the `.pt` and the `.so` are put for as long as it takes.
Verdict judge(const Program& program, const std::vector<Expected>& expected, const Config& config, const std::filesystem::path& folder);

/// What LibTorch says of the runs of a whole program (in its file, not statement by statement): the judge of cases that have no scene.
std::optional<std::vector<Expected>> run_eager(const Program& program, const std::filesystem::path& folder, std::string& why);

}  // namespace mica::fuzz
