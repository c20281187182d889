#pragma once
// What tests of the lowering share: a graph as a program, and what must hold of every program.
#include "../graph_test.h"
#include "mica/kernel/interpret.h"
#include "mica/kernel/verify.h"
#include "mica/pass/lower.h"
#include "mica/pass/pass.h"
#include "mica/pass/pipeline.h"

namespace mica::test {

struct LowerPlan {
  const char* cpu = "x86-64-v4";
  bool schedules = true;
  WinogradUse winograd = WinogradUse::automatic;
  int64_t l2_bytes = 0;  ///< 0: the CPU's
  Chooser* chooser = nullptr;
};
inline constexpr LowerPlan all_plans[] = {{"x86-64-v4", true},  {"x86-64-v4", false}, {"x86-64-v3", true},
                                          {"x86-64-v3", false}, {"x86-64-v2", true},  {"x86-64-v2", false}};

inline Program lower(const Graph& graph, const LowerPlan& plan = {}) {
  Diagnostics d;
  auto target = make_target(plan.cpu, "", d);
  EXPECT_TRUE(target) << d.to_string();
  if (plan.l2_bytes) target->l2_bytes = plan.l2_bytes;
  auto program = lower_to_program(graph, *target, {.schedules = plan.schedules, .winograd = plan.winograd, .chooser = plan.chooser}, d);
  EXPECT_TRUE(program) << d.to_string();
  return program ? std::move(*program) : Program{};
}
inline Program lower(std::string_view text, const LowerPlan& plan = {}) { return lower(parse(text), plan); }

/// The labels of the steps: what each region computes.
inline std::vector<std::string> labels(const Program& p) {
  std::vector<std::string> list;
  for_calls(p.steps, [&](const Step& s) { list.push_back(s.label); });
  return list;
}
using Labels = std::vector<std::string>;

/// The last kernel whose name begins so: others may turn the axes of its result.
inline const Kernel& last_kernel(const Program& p, std::string_view name) {
  for (size_t i = p.kernels.size(); i-- > 0;)
    if (p.kernels[i].name.starts_with(name)) return p.kernels[i];
  ADD_FAILURE() << "no kernel of " << name;
  return p.kernels.back();
}

/// The bytes of a program's memory that a step touches through one parameter.
struct Touched {
  Binding::Space space;
  uint32_t io;
  int64_t low, high;
  bool written;
  bool overlaps(const Touched& o) const { return space == o.space && (space != Binding::Space::io || io == o.io) && low < o.high && o.low < high; }
};
/// Which bytes of parameter `param` a kernel stores: those that two runs over different memory leave alike. Empty where it cannot run alone.
inline std::vector<bool> bytes_stored(const Kernel& k, uint32_t param) {
  std::vector<std::byte> ends[2];
  for (const std::byte before : {std::byte{0}, std::byte{0xff}}) {
    std::vector<std::vector<std::byte>> memory;
    std::vector<std::byte*> pointers;
    for (uint32_t i = 0; i < k.params(); ++i) {
      const Buffer& b = k.buffers[i];
      memory.emplace_back(static_cast<size_t>(b.elements * size_of(b.element.dtype)), b.written ? before : std::byte{0});
      pointers.push_back(memory.back().data());
    }
    KernelFault fault;
    Diagnostics d;
    if (!k.tasks.is_static() || !interpret(k, pointers, 0, k.tasks.size(), fault, d) || fault.code) return {};
    ends[before != std::byte{0}] = memory[param];
  }
  std::vector<bool> stored;
  for (size_t i = 0; i < ends[0].size(); ++i) stored.push_back(ends[0][i] != std::byte{0} || ends[1][i] != std::byte{0xff});
  return stored;
}

inline std::vector<Touched> touched(const Program& p, const Step& step) {
  std::vector<Touched> list;
  const auto control = [&](const std::optional<Binding>& b, int64_t bytes, bool written = false) {
    if (b) list.push_back({b->space, b->io, b->offset, b->offset + bytes, written});
  };
  control(step.condition, 1);
  control(step.trips, 8);
  control(step.go_on, 1);
  control(step.stop, 2, true);
  if (step.kind != Step::Kind::call) return list;
  const Kernel& k = p.kernels[step.kernel];
  for (uint32_t i = 0; i < k.params(); ++i) {
    const Binding& b = step.bindings[i];
    list.push_back({b.space, b.io, b.offset, b.offset + k.buffers[i].elements * size_of(k.buffers[i].element.dtype), k.buffers[i].written});
  }
  return list;
}

/// The steps in one order in which they can run: of every branch one side, every loop twice.
inline void unroll(const std::vector<Step>& steps, bool then, std::vector<Step>& out) {
  const auto control = [&](const Step& s, bool barrier) -> Step& {
    Step& decision = out.emplace_back();
    decision.kind = s.kind;
    decision.barrier = barrier;
    decision.label = s.label;
    return decision;
  };
  for (const Step& s : steps) {
    if (s.kind == Step::Kind::call) {
      out.push_back(s);
      continue;
    }
    Step& decision = control(s, s.barrier);
    decision.condition = s.condition;
    decision.trips = s.trips;
    if (s.kind == Step::Kind::branch) unroll(then ? s.body : s.otherwise, then, out);
    for (int trip = 0; s.kind == Step::Kind::loop && trip < 2; ++trip) {
      unroll(s.body, then, out);
      if (s.stop) control(s, false).stop = s.stop;
      control(s, true).go_on = s.go_on;
    }
  }
}

/// Steps without a barrier between them run at once: none reads what another writes, and two that write the same bytes write the
/// same value. Whatever is read from the arena was written by an earlier step.
inline void expect_ordered(const Program& p, bool then) {
  std::vector<Step> steps;
  unroll(p.steps, then, steps);
  std::vector<std::pair<size_t, Touched>> group;
  std::vector<Touched> written;
  const auto stored = [&](size_t step, const Touched& t) -> std::vector<bool> {
    if (!t.written || steps[step].kind != Step::Kind::call) return {};
    const Kernel& k = p.kernels[steps[step].kernel];
    for (uint32_t i = 0; i < k.params(); ++i)
      if (k.buffers[i].written && steps[step].bindings[i].offset == t.low) return bytes_stored(k, i);
    return {};
  };
  const auto has_gaps = [](const std::vector<bool>& bytes) { return std::ranges::find(bytes, false) != bytes.end(); };
  for (size_t s = 0; s < steps.size(); ++s) {
    if (steps[s].barrier) group.clear();
    for (const Touched& t : touched(p, steps[s])) {
      for (const auto& [other, o] : group) {
        if (other == s || !t.overlaps(o) || (!t.written && !o.written)) continue;
        // Parts of a concatenation lie between each other's elements.
        const std::vector<bool> mine = stored(s, t), theirs = stored(other, o);
        if (has_gaps(mine) || has_gaps(theirs)) {
          // Which bytes a step reads is for the run with the steps between barriers in reverse to show.
          if (mine.empty() || theirs.empty()) continue;
          for (int64_t at = std::max(t.low, o.low); at < std::min(t.high, o.high); ++at)
            ASSERT_FALSE(mine[static_cast<size_t>(at - t.low)] && theirs[static_cast<size_t>(at - o.low)])
                << steps[other].label << " and " << steps[s].label << " run at once and store one byte\n"
                << to_string(p);
          continue;
        }
        EXPECT_TRUE(t.written && o.written && t.low == o.low) << steps[other].label << " and " << steps[s].label << " run at once on the same bytes\n"
                                                              << to_string(p);
      }
      group.emplace_back(s, t);
      if (t.written) {
        written.push_back(t);
      } else if (t.space == Binding::Space::arena) {
        // A value with zeros behind it is read with them and written without, so what is read is covered piece by piece.
        int64_t at = t.low;
        for (bool more = true; more && at < t.high;) {
          more = false;
          for (const Touched& w : written) {
            if (w.space != t.space || w.low > at || w.high <= at) continue;
            at = w.high;
            more = true;
          }
        }
        EXPECT_GE(at, t.high) << steps[s].label << " reads bytes that nobody wrote";
      }
    }
  }
}
inline void expect_ordered(const Program& p) {
  expect_ordered(p, true);
  expect_ordered(p, false);
}

/// The same program with the steps between two barriers in reverse: what it computes may not depend on their order.
inline void reverse_groups(std::vector<Step>& steps) {
  for (size_t low = 0; low < steps.size();) {
    size_t high = low + 1;
    const bool barrier = steps[low].barrier;
    while (high < steps.size() && !steps[high].barrier) ++high;
    std::reverse(steps.begin() + static_cast<int64_t>(low), steps.begin() + static_cast<int64_t>(high));
    for (size_t i = low; i < high; ++i) steps[i].barrier = i == low && barrier;
    low = high;
  }
  for (Step& s : steps) {
    reverse_groups(s.body);
    reverse_groups(s.otherwise);
  }
}
inline Program reversed(Program p) {
  reverse_groups(p.steps);
  return p;
}

inline std::vector<std::vector<std::byte>> run_program(const Program& p, const Graph& graph, const std::vector<HostTensor>& inputs,
                                                       std::vector<std::byte>* state = nullptr, const std::vector<int64_t>& symbols = {},
                                                       KernelFault* met = nullptr) {
  std::vector<std::vector<std::byte>> io;
  for (size_t i = 0; i < inputs.size(); ++i) io.push_back(from_host(inputs[i], graph.type(graph.inputs[i])));
  for (const Value v : graph.outputs) io.emplace_back(static_cast<size_t>(graph.type(v).bytes()), std::byte{0x7f});
  std::vector<std::byte*> pointers;
  for (auto& bytes : io) pointers.push_back(bytes.data());
  KernelFault fault;
  Diagnostics d;
  EXPECT_TRUE(interpret(p, pointers, fault, d, state, symbols)) << d.to_string();
  if (met) *met = fault;
  io.erase(io.begin(), io.begin() + static_cast<int64_t>(inputs.size()));
  return io;
}

/// The graph as kernels of one plan: verified, ordered by barriers, and equal to the graph's meaning within `tolerance`.
inline void expect_lowered(const Graph& graph, const std::vector<HostTensor>& inputs, const LowerPlan& plan, double tolerance = 2e-5) {
  SCOPED_TRACE(fmt::format("{}, schedules {}", plan.cpu, plan.schedules));
  const Program p = lower(graph, plan);
  Diagnostics d;
  EXPECT_TRUE(verify_program(p, d)) << d.to_string() << to_string(p);
  EXPECT_GE(p.arena_bytes, p.arena_lower_bound);
  expect_ordered(p);
  const auto got = run_program(p, graph, inputs);
  std::vector<HostTensor> host;
  for (size_t i = 0; i < got.size(); ++i) host.push_back(to_host(graph.type(graph.outputs[i]), got[i]));
  expect_same(run(graph, inputs), host, tolerance);
  EXPECT_EQ(got, run_program(reversed(p), graph, inputs)) << "the order of steps between barriers counts";
}
/// The same for every plan.
inline void expect_lowered(const Graph& graph, const std::vector<HostTensor>& inputs, double tolerance = 2e-5) {
  for (const LowerPlan& plan : all_plans) {
    expect_lowered(graph, inputs, plan, tolerance);
    if (testing::Test::HasFailure()) return;
  }
}
inline void expect_lowered(const Graph& graph, double tolerance = 2e-5) { expect_lowered(graph, random_inputs(graph), tolerance); }
inline void expect_lowered(std::string_view text, double tolerance = 2e-5) { expect_lowered(parse(text), tolerance); }

/// After the graph passes, as compile() does: layouts chosen, operands copied where they must be.
inline Graph optimised(std::string_view text) {
  Graph graph = parse(text);
  Diagnostics d;
  const auto target = make_target("x86-64-v4", "", d);
  PassContext context{.target = &*target, .diagnostics = &d};
  EXPECT_TRUE(run_graph_pipeline(graph, context)) << d.to_string();
  return graph;
}

}  // namespace mica::test
