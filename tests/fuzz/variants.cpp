#include "variants.h"

#include <algorithm>

namespace mica::fuzz {

namespace {

constexpr int64_t most_elements = 65536;

/// Some statements that follow each other become a method, others a submodule.
void group(Program& program, Random& random) {
  const auto count = static_cast<int64_t>(program.statements.size());
  for (int number = 0; number < 2; ++number) {
    if (!random.chance(0.2)) continue;
    const int64_t first = random.between(0, count - 1), last = std::min(count - 1, first + random.between(0, 4));
    const auto begin = program.statements.begin() + first, end = program.statements.begin() + last + 1;
    if (std::any_of(begin, end, [](const Statement& s) { return s.group >= 0; })) continue;
    std::for_each(begin, end, [&](Statement& s) { s.group = number; });
  }
}

/// An axis of an input.
struct Axis {
  size_t leaf, axis;
  int64_t size;
};

class Variants {
 public:
  Variants(Program& program, const Scene& first, Random& random, std::vector<Expected>& expected)
      : program_(program), first_(first), random_(random), expected_(expected) {}

  /// A run with new values; `sizes` by leaf. False when LibTorch does not take it, or its results hang on rounding.
  bool add_run(const std::vector<std::vector<int64_t>>& sizes) {
    Run run;
    for (size_t i = 0; i < program_.leaves.size(); ++i) {
      const Leaf& leaf = program_.leaves[i];
      if (!leaf.parameter()) run[leaf.name] = draw_values(random_, leaf.value.type.dtype, sizes[i], program_.whole, program_.special);
    }
    Scene scene = (last_ ? *last_ : first_).next_run(program_, run);
    if (!perform(scene, program_)) return false;
    program_.more_runs.push_back(std::move(run));
    expected_.push_back(scene.expect(program_.outputs));
    last_ = std::move(scene);
    return true;
  }

  std::vector<std::vector<int64_t>> sizes() const {
    std::vector<std::vector<int64_t>> all;
    for (const Leaf& leaf : program_.leaves) all.push_back(leaf.value.type.shape.sizes());
    return all;
  }

  bool add_symbols() {
    std::vector<Axis> axes;
    for (size_t i = 0; i < program_.leaves.size(); ++i)
      for (int64_t a = 0; !program_.leaves[i].parameter() && a < program_.leaves[i].value.type.rank(); ++a)
        if (const int64_t size = program_.leaves[i].value.type.shape[a].size(); size > 0) axes.push_back({i, static_cast<size_t>(a), size});
    for (int attempt = 0; attempt < 5 && !axes.empty(); ++attempt) {
      std::vector<std::vector<Axis>> symbols = {drawn(axes)};
      if (random_.chance(0.6)) {
        std::vector<Axis> rest = axes;
        std::erase_if(rest, [&](const Axis& a) { return a.size == symbols[0][0].size; });
        if (!rest.empty()) symbols.push_back(drawn(rest));
      }
      for (int run = 0; run < 3 && program_.more_runs.size() < 2; ++run) add_run(other_sizes(symbols));
      if (program_.more_runs.empty()) continue;
      for (size_t k = 0; k < symbols.size(); ++k)
        for (const Axis& a : symbols[k]) {
          std::vector<std::string>& names = program_.symbols[program_.leaves[a.leaf].name];
          names.resize(static_cast<size_t>(program_.leaves[a.leaf].value.type.rank()), "-");
          names[a.axis] = std::string(1, k ? 'B' : 'A');
        }
      return true;
    }
    return false;
  }

 private:
  /// An axis, mostly with all others of its size.
  std::vector<Axis> drawn(const std::vector<Axis>& axes) {
    const Axis one = random_.one_of(axes);
    if (random_.chance(0.3)) return {one};
    std::vector<Axis> all;
    for (const Axis& a : axes)
      if (a.size == one.size) all.push_back(a);
    return all;
  }

  std::vector<std::vector<int64_t>> other_sizes(const std::vector<std::vector<Axis>>& symbols) {
    auto all = sizes();
    for (const std::vector<Axis>& axes : symbols) {
      const int64_t n = axes[0].size,
                    other = random_.one_of({n + 1, n + 2, 2 * n, 3 * n, n - 1, int64_t{1}, int64_t{2}, int64_t{7}, int64_t{16}, int64_t{33}});
      auto changed = all;
      for (const Axis& a : axes) changed[a.leaf][a.axis] = std::max<int64_t>(other, 1);
      if (std::ranges::all_of(changed, [](const auto& shape) { return Shape(shape).elements() <= most_elements; })) all = std::move(changed);
    }
    return all;
  }

  Program& program_;
  const Scene& first_;
  Random& random_;
  std::vector<Expected>& expected_;
  std::optional<Scene> last_;
};

}  // namespace

void vary(Program& program, const Scene& first, Random& random, std::vector<Expected>& expected) {
  if (!program.statements.empty()) group(program, random);
  Variants variants(program, first, random, expected);
  const bool symbolic = random.chance(0.35) && variants.add_symbols();
  for (int run = 0; !symbolic && program.stateful() && run < 2; ++run) variants.add_run(variants.sizes());
}

}  // namespace mica::fuzz
