// Branches, loops and what is kept between runs, from the graph to kernels.
#include "lowered.h"
#include "mica/kernel/text.h"

namespace mica {
namespace {

using test::expect_lowered;
using test::Labels;
using test::labels;
using test::lower;
using test::optimised;
using test::parse;

HostTensor integer(int64_t v) { return {DType::i64, {}, {}, {v}}; }
HostTensor truth(bool v) { return {DType::b8, {}, {}, {v}}; }
HostTensor floats(uint32_t seed, int64_t n) { return test::random_tensor({DType::f32, {n}, {}}, seed); }

/// As written, and after the graph's passes.
void expect_both(std::string_view text, const std::vector<HostTensor>& inputs) {
  expect_lowered(parse(text), inputs);
  expect_lowered(optimised(text), inputs);
}

constexpr const char* choice = R"(graph(%c: bool[], %x: f32[40]) {
  %a = exp(%x)
  %y, %z = if(%c, [%x, %a], then=graph(%x: f32[40], %a: f32[40]) {
    %s = sum(%a, axes=[0], keepdim=true) %r = div(%a, %s) return %r, %x
  }, otherwise=graph(%x: f32[40], %a: f32[40]) {
    %two = constant dense<2.0> : f32[] %w = constant random<3> : f32[40]
    %r = mul(%x, %two) return %w, %r
  })
  %o = add(%y, %z) return %o, %z })";

TEST(lower_control, one_branch_runs) {
  for (const bool c : {true, false}) expect_both(choice, {truth(c), floats(1, 40)});
}

constexpr const char* sums = R"(graph(%n: i64[], %x: f32[33]) {
  %zero = constant splat<0.0> : f32[33]
  %one = constant splat<1.0> : f32[33]
  %a, %b = loop(%n, carried=[%zero, %one], captures=[%x], body=graph(%i: i64[], %a: f32[33], %b: f32[33], %x: f32[33]) {
    %true = constant dense<true> : bool[]
    %f = cast(%i, dtype=f32) %s = add(%a, %b) %t = mul(%s, %x) %u = add(%t, %f)
    return %true, %b, %u
  })
  return %a, %b })";

TEST(lower_control, carried_values_change_places) {
  for (const int64_t n : {-3, 0, 1, 2, 7}) expect_both(sums, {integer(n), floats(5, 33)});
}

constexpr const char* doubling = R"(graph(%go: bool[], %limit: f32[], %x: f32[33]) {
  %y, %n = loop(condition=%go, carried=[%x, %k], captures=[%limit], body=graph(%i: i64[], %y: f32[33], %n: i64[], %limit: f32[]) {
    %d = add(%y, %y) %m = amax(%d, axes=[0], keepdim=false) %more = lt(%m, %limit)
    %one = constant dense<1> : i64[] %k = add(%i, %one)
    return %more, %d, %k
  })
  return %y, %n })";

TEST(lower_control, a_loop_that_looks_at_its_data) {
  std::string text = doubling;
  text.insert(text.find("{") + 1, "\n%k = constant dense<0> : i64[]");
  for (const bool go : {true, false}) expect_both(text, {truth(go), {DType::f32, {}, {25.0}, {}}, floats(2, 33)});
}

// An if in a loop in a loop in an if; what it writes is seen outside.
constexpr const char* nested = R"(graph(%c: bool[], %n: i64[], %x: f32[5, 8]) {
  %y = if(%c, [%n, %x], then=graph(%n: i64[], %x: f32[5, 8]) {
    %zero = constant splat<0.0> : f32[8]
    %r, %s = loop(%n, carried=[%x, %zero], captures=[%n], body=graph(%i: i64[], %x: f32[5, 8], %s: f32[8], %n: i64[]) {
      %true = constant dense<true> : bool[]
      %x2, %s2 = loop(%n, carried=[%x, %s], captures=[%i], body=graph(%j: i64[], %x: f32[5, 8], %s: f32[8], %i: i64[]) {
        %five = constant dense<5.0> : f32[]
        %row = select_at(%x, %j, axis=0)
        %t = add(%row, %s) %m = amax(%t, axes=[0], keepdim=false) %big = gt(%m, %five)
        %z = if(%big, [%x, %t, %i], then=graph(%x: f32[5, 8], %t: f32[8], %i: i64[]) { return %x },
                otherwise=graph(%x: f32[5, 8], %t: f32[8], %i: i64[]) { %u = update_at(%x, %t, %i, axis=0) return %u })
        %small = le(%m, %five)
        return %small, %z, %t
      })
      return %true, %x2, %s2
    })
    return %r
  }, otherwise=graph(%n: i64[], %x: f32[5, 8]) { %r = neg(%x) return %r })
  return %y })";

TEST(lower_control, nested) {
  for (const int64_t n : {0, 1, 4}) expect_both(nested, {truth(true), integer(n), test::random_tensor({DType::f32, {5, 8}, {}}, 3)});
  expect_both(nested, {truth(false), integer(2), test::random_tensor({DType::f32, {5, 8}, {}}, 3)});
}

// A recurrence: rows of x go in, rows of y come out, h goes round.
constexpr const char* recurrence = R"(graph(%x: f32[6, 16]) {
  %w = constant random<1> : f32[16, 16]
  %n = constant dense<6> : i64[]
  %h = constant splat<0.0> : f32[16]
  %y = constant splat<0.0> : f32[6, 16]
  %last, %all = loop(%n, carried=[%h, %y], captures=[%x, %w], body=graph(%i: i64[], %h: f32[16], %y: f32[6, 16], %x: f32[6, 16], %w: f32[16, 16]) {
    %true = constant dense<true> : bool[]
    %row = select_at(%x, %i, axis=0)
    %hr = reshape(%h, shape=[1, 16]) %p = linear(%hr, %w) %q = reshape(%p, shape=[16])
    %s = add(%q, %row) %t = tanh(%s)
    %u = update_at(%y, %t, %i, axis=0)
    return %true, %t, %u
  })
  return %last, %all })";

TEST(lower_control, a_row_is_written_in_place) {
  const Graph graph = optimised(recurrence);
  expect_lowered(graph);
  const Program p = lower(graph);
  // In front of the loop both begin; in it the sequence is not copied.
  ASSERT_EQ(p.steps.size(), 3u);
  EXPECT_EQ(p.steps[0].label, "loop: begin");
  EXPECT_EQ(p.steps[1].label, "loop: begin");
  const Step& loop = p.steps[2];
  ASSERT_EQ(loop.kind, Step::Kind::loop);
  EXPECT_FALSE(loop.stop) << "it ends by itself";
  for_calls(loop.body, [&](const Step& s) { EXPECT_NE(s.label, "update_at: the other rows"); });
  EXPECT_LE(loop.body.size(), 4u) << to_string(p);
}

TEST(lower_control, elements_are_updated_in_place) {
  const Program p = lower(optimised(R"(graph(%n: i64[], %x: f32[40], %d: f32[40]) {
    %y = loop(%n, carried=[%x], captures=[%d], body=graph(%i: i64[], %y: f32[40], %d: f32[40]) {
      %true = constant dense<true> : bool[] %a = exp(%y) %b = add(%a, %d) return %true, %b
    })
    return %y })"));
  ASSERT_EQ(p.steps.size(), 2u) << to_string(p);
  EXPECT_EQ(p.steps[1].body.size(), 1u) << to_string(p);
  EXPECT_EQ(p.arena_bytes, 64) << "the notice of faults";
}

TEST(lower_control, the_old_value_is_kept_where_it_is_read_later) {
  expect_both(R"(graph(%i: i64[], %x: f32[4, 8], %r: f32[8]) {
    %a = exp(%x) %b = update_at(%a, %r, %i, axis=0) %c = add(%a, %b) return %c })",
              {integer(2), test::random_tensor({DType::f32, {4, 8}, {}}, 1), floats(2, 8)});
  // Each trip reverses: an element is read elsewhere than it is written.
  expect_both(R"(graph(%n: i64[], %x: f32[40]) {
    %y = loop(%n, carried=[%x], body=graph(%i: i64[], %y: f32[40]) {
      %true = constant dense<true> : bool[] %one = constant dense<1.0> : f32[] %a = flip(%y, axes=[0]) %b = add(%a, %one) return %true, %b
    })
    return %y })",
              {integer(3), floats(3, 40)});
}

TEST(lower_control, a_check_is_a_fault_with_its_message) {
  const Graph graph = optimised(R"(graph(%x: f32[4]) {
    %zero = constant dense<0.0> : f32[] %m = amin(%x, axes=[0], keepdim=false) %c = ge(%m, %zero)
    check(%c, message="x must not be negative") %y = sqrt(%x) return %y })");
  const Program p = lower(graph);
  ASSERT_EQ(p.fault_sites.size(), 1u);
  EXPECT_TRUE(p.fault_sites[0].starts_with("x must not be negative")) << p.fault_sites[0];
  for (const float least : {1.0F, -1.0F}) {
    std::vector<float> x = {3, least, 2, 1}, y(4);
    KernelFault fault;
    Diagnostics d;
    ASSERT_TRUE(interpret(p, {reinterpret_cast<std::byte*>(x.data()), reinterpret_cast<std::byte*>(y.data())}, fault, d)) << d.to_string();
    EXPECT_EQ(fault.code, least < 0 ? 3 : 0);
    Diagnostics meant;
    EXPECT_EQ(static_cast<bool>(interpret(graph, {HostTensor{DType::f32, {4}, {3, least, 2, 1}, {}}}, meant)), least > 0);
    if (least < 0) { EXPECT_EQ(meant.all().at(0).name, "check-failed"); }
  }
}

TEST(lower_control, a_fault_ends_an_endless_loop) {
  const Program p = lower(optimised(R"(graph(%go: bool[], %x: i64[4]) {
    %k = constant dense<0> : i64[]
    %y = loop(condition=%go, carried=[%k], captures=[%x], body=graph(%i: i64[], %y: i64[], %x: i64[4]) {
      %true = constant dense<true> : bool[] %v = select_at(%x, %i, axis=0) %s = add(%y, %v) return %true, %s
    })
    return %y })"));
  std::vector<int64_t> x = {1, 2, 3, 4}, y(1);
  bool go = true;
  KernelFault fault;
  Diagnostics d;
  const std::vector<std::byte*> io = {reinterpret_cast<std::byte*>(&go), reinterpret_cast<std::byte*>(x.data()),
                                      reinterpret_cast<std::byte*>(y.data())};
  ASSERT_TRUE(interpret(p, io, fault, d)) << d.to_string();
  EXPECT_EQ(fault.code, 1);
  EXPECT_EQ(fault.value, 4);
}

TEST(lower_control, states_are_kept_and_updated_in_place) {
  const Graph graph = optimised(R"(graph(%x: f32[40]) {
    %zero = constant splat<0.0> : f32[40] %none = constant dense<0> : i64[] %one = constant dense<1> : i64[]
    %sum = state %zero %runs = state %none
    %a = add(%sum, %x) %n = add(%runs, %one)
    update %sum, %a
    update %runs, %n
    %y = mul(%a, %a)
    return %y, %runs })");
  const Program p = lower(graph);
  EXPECT_EQ(p.state_bytes, 256);
  // `runs` is read, as an output, behind the step that computes its new value.
  EXPECT_EQ(std::count_if(p.steps.begin(), p.steps.end(), [](const Step& s) { return s.label.starts_with("keep"); }), 1) << to_string(p);
  std::vector<HostTensor> kept;
  for (const State& s : graph.states) kept.push_back(to_host(graph.type(s.initial), graph.constant(s.initial).bytes));
  std::vector<std::byte> state;
  for (uint32_t run = 0; run < 3; ++run) {
    const std::vector<HostTensor> inputs = {floats(run + 1, 40)};
    Diagnostics d;
    const auto expected = interpret(graph, inputs, d, &kept);
    ASSERT_TRUE(expected) << d.to_string();
    const auto got = test::run_program(p, graph, inputs, &state);
    std::vector<HostTensor> host;
    for (size_t i = 0; i < got.size(); ++i) host.push_back(to_host(graph.type(graph.outputs[i]), got[i]));
    test::expect_same(*expected, host, 1e-6);
  }
}

TEST(lower_control, programs_with_control_flow_come_back_from_text) {
  for (const std::string_view text : {choice, sums, nested, recurrence}) {
    const Program p = lower(optimised(text));
    Diagnostics d;
    const auto again = parse_program(to_string(p), d);
    ASSERT_TRUE(again) << d.to_string();
    const auto steps = [](const std::string& s) { return s.substr(s.rfind("\n}\n")); };
    EXPECT_EQ(steps(to_string(*again)), steps(to_string(p)));
  }
}

}  // namespace
}  // namespace mica
