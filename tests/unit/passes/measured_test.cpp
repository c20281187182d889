// build/release/tests/bin/unit_passes --gtest_filter='MeasuredSizes.*'
// Programs that measure sizes: they compute what the graph means, in memory that was planned for the greatest sizes.
#include <regex>

#include "lowered.h"
#include "mica/kernel/interpret.h"
#include "mica/kernel/text.h"

namespace mica {
namespace {

using namespace test;

/// Runs the program on outputs of the greatest sizes; of these the first elements are compared with what the graph means.
void expect_measured(const Graph& graph, const std::vector<HostTensor>& inputs, const std::vector<int64_t>& given = {}) {
  const auto expected = run(graph, inputs);
  for (const LowerPlan& plan : all_plans) {
    SCOPED_TRACE(fmt::format("{}, schedules {}", plan.cpu, plan.schedules));
    const Program p = lower(graph, plan);
    Diagnostics d;
    ASSERT_TRUE(verify_program(p, d)) << d.to_string() << to_string(p);
    const auto again = parse_program(to_string(p), d);
    ASSERT_TRUE(again) << d.to_string();
    const std::regex numbers(R"(\.\d+)");  // variables get new ones
    EXPECT_EQ(std::regex_replace(to_string(*again), numbers, ""), std::regex_replace(to_string(p), numbers, ""));
    std::vector<std::vector<std::byte>> io;
    for (const HostTensor& t : inputs) io.push_back(from_host(t, {t.dtype, t.shape, {}}));
    for (const Value v : graph.outputs) {
      const Dim most = greatest(graph.type(v).bytes(), p.symbols);
      io.emplace_back(static_cast<size_t>(most.at(given)), std::byte{0x7f});
    }
    std::vector<std::byte*> pointers;
    for (auto& bytes : io) pointers.push_back(bytes.data());
    KernelFault fault;
    ASSERT_TRUE(interpret(p, pointers, fault, d, nullptr, given)) << d.to_string();
    ASSERT_EQ(fault.code, 0) << fault.value;
    std::vector<HostTensor> got;
    for (size_t i = 0; i < expected.size(); ++i) {
      const TensorType type{graph.type(graph.outputs[i]).dtype, expected[i].shape, {}};
      auto& bytes = io[inputs.size() + i];
      ASSERT_GE(static_cast<int64_t>(bytes.size()), type.bytes().size());
      bytes.resize(static_cast<size_t>(type.bytes()));
      got.push_back(to_host(type, bytes));
    }
    expect_same(expected, got, 2e-5);
    if (testing::Test::HasFailure()) return;
  }
}

HostTensor floats(std::vector<double> values) {
  const auto n = static_cast<int64_t>(values.size());
  return {DType::f32, Shape({n}), std::move(values), {}};
}

constexpr const char* doubled = R"(graph<U0<=5>(%x: f32[5]) {
  %zero = constant dense<0.0> : f32[] %two = constant dense<2.0> : f32[]
  %mask = gt(%x, %zero)
  %all, %count = nonzero(%mask)
  measure(%count, size=U0)
  %places = head(%all, size=U0)
  %y = index_select(%x, index=%places)
  %z = mul(%y, %two)
  %s = sum(%z, axes=[0])
  return %z, %s
})";

TEST(MeasuredSizes, none_some_and_all) {
  const Graph graph = parse(doubled);
  expect_measured(graph, {floats({-1, -1, -1, -1, -1})});
  expect_measured(graph, {floats({-1, 2, -1, -1, 4})});
  expect_measured(graph, {floats({1, 2, 3, 4, 5})});
}

TEST(MeasuredSizes, memory_is_planned_for_the_greatest) {
  const Program p = lower(parse(doubled), all_plans[0]);
  EXPECT_TRUE(p.slots.empty()) << "no size is given by the inputs: all places are fixed";
  EXPECT_NE(to_string(p).find("barrier; measure $U0 from arena+"), std::string::npos) << to_string(p);
}

TEST(MeasuredSizes, within_a_given_size) {
  const Graph graph = parse(R"(graph<S=1..9, U0<=S>(%x: f32[S]) {
  %zero = constant dense<0.0> : f32[]
  %mask = gt(%x, %zero)
  %all, %count = nonzero(%mask)
  measure(%count, size=U0)
  %ones = full(shape=[U0, S], value=1.5)
  %sums = sum(%ones, axes=[1])
  %places = grow(%sums, size=S)
  return %ones, %places
})");
  expect_measured(graph, {floats({1, -1, 2, 3})}, {4});
  expect_measured(graph, {floats({-1})}, {1});
  expect_measured(graph, {floats({1, 2, 3, 4, 5, 6, 7, 8, 9})}, {9});
}

TEST(MeasuredSizes, places_in_nothing) {
  // Behind the end of what is found no place is looked up: where nothing was found before, none would do.
  const Graph graph = parse(R"(graph<U0<=5, U1<=U0>(%x: f32[5]) {
  %zero = constant dense<0.0> : f32[] %two = constant dense<2.0> : f32[]
  %mask = gt(%x, %zero)
  %all, %count = nonzero(%mask)
  measure(%count, size=U0)
  %places = head(%all, size=U0)
  %y = index_select(%x, index=%places)
  %above = gt(%y, %two)
  %hits, %number = nonzero(%above)
  measure(%number, size=U1)
  %found = head(%hits, size=U1)
  %z = index_select(%y, index=%found)
  %grown = grow(%z, size=5)
  %padded = pad(%z, before=[1], after=[2])
  return %grown, %padded
})");
  expect_measured(graph, {floats({-1, -1, -1, -1, -1})});
  expect_measured(graph, {floats({1, 2, -1, 1, -1})});
  expect_measured(graph, {floats({1, 3, -1, 2, 5})});
}

TEST(MeasuredSizes, a_size_of_every_trip) {
  // Each trip keeps the elements above the trip's number: the value is carried in a buffer of the greatest size beside its size.
  const Graph graph = parse(R"(graph<U0<=6, U1<=6, U2<=6>(%x: f32[6], %trips: i64[]) {
  %six = constant dense<6> : i64[]
  %y, %n = loop(%trips, carried=[%x, %six], body=graph(%i: i64[], %all: f32[6], %size: i64[]) {
    %true = constant dense<true> : bool[]
    measure(%size, size=U0)
    %part = head(%all, size=U0)
    %number = cast(%i, dtype=f32)
    %mask = gt(%part, %number)
    %grown = grow(%mask, size=6)
    %hits, %count = nonzero(%grown)
    measure(%count, size=U1)
    %places = head(%hits, size=U1)
    %kept = index_select(%all, index=%places)
    %next = grow(%kept, size=6)
    return %true, %next, %count
  })
  measure(%n, size=U2)
  %z = head(%y, size=U2)
  return %z
})");
  for (const int64_t trips : {0, 1, 2, 4, 9}) {
    SCOPED_TRACE(trips);
    expect_measured(graph, {floats({0.5, 3.5, 1.5, -1, 2.5, 7.5}), {DType::i64, {}, {}, {trips}}});
  }
}

TEST(MeasuredSizes, sizes_are_bounded_whatever_is_measured) {
  std::vector<Symbol> symbols(3);
  symbols[0].name = "S", symbols[0].low = 1, symbols[0].high = 8;
  const Dim s = Dim::symbol(0, "S", 1, 8);
  symbols[1].name = "U", symbols[1].low = 0, symbols[1].high = 8, symbols[1].bound = s;
  const Dim u = Dim::symbol(1, "U", 0, 8);
  symbols[2].name = "V", symbols[2].low = 0, symbols[2].high = 16, symbols[2].bound = u * 2;
  const Dim v = Dim::symbol(2, "V", 0, 16);
  EXPECT_EQ(greatest(u, symbols), s);
  EXPECT_EQ(greatest(v * 4 + u, symbols), s * 9);
  EXPECT_EQ(greatest(s - u, symbols), s) << "none may have been found";
  EXPECT_EQ(greatest(Dim::min(u, 3), symbols), Dim::min(s, 3));
  EXPECT_EQ(greatest(s * 2 + 1, symbols), s * 2 + 1);
}

}  // namespace
}  // namespace mica
