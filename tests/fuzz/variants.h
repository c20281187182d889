#pragma once
// What a finished program is given beside its first run: methods and submodules of its own, further runs, symbols in the place of sizes.
#include "generator.h"

namespace mica::fuzz {

/// Changes the program and appends what is expected of further runs. `first` is the scene of the first run. Programs whose module keeps something
/// are run again with other inputs; of the others some get symbols: sizes of inputs for which every statement can also be run at other values.
void vary(Program& program, const Scene& first, Random& random, std::vector<Expected>& expected);

}  // namespace mica::fuzz
