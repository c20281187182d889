// build/release/tests/bin/e2e_control
// Control flow and state in a .so: graphs in text form, compiled as a user would, run on 1 and 3 threads through mica.h, against the
// graph's interpreter.
#include <cstring>
#include <fstream>

#include "../unit/graph_test.h"
#include "abi_support.h"
#include "mica/driver/compile.h"

namespace mica {
namespace {

using Bytes = std::vector<std::byte>;

/// A graph and the library that it became.
class Compiled {
 public:
  explicit Compiled(std::string_view text) : graph(test::parse(text)) {
    std::ofstream(folder_ / "m.mica") << text;
    Options options;
    options.model = folder_ / "m.mica";
    options.output = folder_ / "m.so";
    options.jobs = 1;
    options.verify_each = true;
    Diagnostics d;
    const auto report = compile(options, d);
    EXPECT_TRUE(report) << d.to_string();
    library_.emplace(options.output);
  }

  const mica_api* api() const { return library_->api; }

  /// One run; the outputs' bytes stay in `outputs`.
  int run(mica_context* context, const std::vector<HostTensor>& inputs) {
    std::vector<Bytes> in;
    outputs.clear();
    for (size_t i = 0; i < inputs.size(); ++i) in.push_back(from_host(inputs[i], graph.type(graph.inputs[i])));
    for (const Value v : graph.outputs) outputs.emplace_back(static_cast<size_t>(graph.type(v).bytes()), std::byte{0xee});
    std::vector<std::vector<int64_t>> shapes;
    shapes.reserve(in.size() + outputs.size());
    const auto tensors = [&](std::vector<Bytes>& data, const std::vector<Value>& values) {
      std::vector<mica_tensor> list;
      for (size_t i = 0; i < data.size(); ++i) {
        const TensorType& type = graph.type(values[i]);
        shapes.push_back(type.shape.sizes());
        mica_tensor t{};
        t.size = sizeof t;
        t.data = data[i].data();
        t.nbytes = data[i].size();
        t.dtype = dtype(type.dtype);
        t.rank = static_cast<int32_t>(type.rank());
        t.shape = shapes.back().data();
        list.push_back(t);
      }
      return list;
    };
    const auto ins = tensors(in, graph.inputs);
    const auto outs = tensors(outputs, graph.outputs);
    return api()->run(context, ins.data(), ins.size(), outs.data(), outs.size());
  }

  std::vector<HostTensor> results() const {
    std::vector<HostTensor> out;
    for (size_t i = 0; i < outputs.size(); ++i) out.push_back(to_host(graph.type(graph.outputs[i]), outputs[i]));
    return out;
  }

  /// On 1 and 3 threads, several times each, the same bits and the right values.
  void expect_right(const std::vector<HostTensor>& inputs) {
    const auto expected = test::run(graph, inputs);
    std::vector<Bytes> first;
    for (const int threads : {1, 3}) {
      const Session session(api(), threads);
      for (int i = 0; i < 20; ++i) {
        ASSERT_EQ(run(session.context, inputs), MICA_OK) << api()->last_error(session.context);
        test::expect_same(expected, results(), 1e-5);
        if (first.empty()) first = outputs;
        ASSERT_EQ(first, outputs) << threads << " threads, run " << i;
      }
    }
  }

  /// On 1 and 3 threads the run fails, and the next one does not.
  void expect_fault(const std::vector<HostTensor>& inputs, int status, std::string_view message, const std::vector<HostTensor>& good) {
    for (const int threads : {1, 3}) {
      const Session session(api(), threads);
      for (int i = 0; i < 20; ++i) {
        ASSERT_EQ(run(session.context, inputs), status);
        EXPECT_TRUE(std::string_view(api()->last_error(session.context)).starts_with(message)) << api()->last_error(session.context);
        ASSERT_EQ(run(session.context, good), MICA_OK) << api()->last_error(session.context);
      }
    }
  }

  const Graph graph;
  std::vector<Bytes> outputs;

 private:
  static int32_t dtype(DType t) {
    if (t == DType::f32) return MICA_F32;
    if (t == DType::i64) return MICA_I64;
    EXPECT_EQ(t, DType::b8);
    return MICA_BOOL;
  }
  TestFolder folder_;
  std::optional<Library> library_;
};

HostTensor integer(int64_t v) { return {DType::i64, {}, {}, {v}}; }
HostTensor truth(bool v) { return {DType::b8, {}, {}, {v}}; }
HostTensor number(double v) { return {DType::f32, {}, {v}, {}}; }
HostTensor floats(uint32_t seed, std::initializer_list<int64_t> shape) { return test::random_tensor({DType::f32, Shape(shape), {}}, seed); }

TEST(Control, trip_counts_that_depend_on_data) {
  Compiled m(R"(
    graph(%n: i64[], %x: f32[50, 40]) {
    %zero = constant splat<0.0> : f32[40] %none = constant dense<0> : i64[]
    %y, %k = loop(%n, carried=[%zero, %none], captures=[%x], body=graph(%i: i64[], %y: f32[40], %k: i64[], %x: f32[50, 40]) {
      %true = constant dense<true> : bool[] %row = select_at(%x, %i) %f = cast(%i, dtype=f32)
      %a = mul(%y, %f) %b = add(%a, %row) %c = tanh(%b) %l = add(%k, %i)
      return %true, %c, %l
    })
    return %y, %k })");
  for (const int64_t n : {-1, 0, 1, 2, 49, 50}) m.expect_right({integer(n), floats(1, {50, 40})});
  m.expect_fault({integer(51), floats(1, {50, 40})}, MICA_ERR_INDEX, "select_at: index out of range on axis 0 of size 50",
                 {integer(3), floats(1, {50, 40})});
}

TEST(Faults, integer_division_by_zero) {
  for (const char* op : {"floor_divide", "trunc_divide", "remainder", "fmod"}) {
    Compiled m(fmt::format("graph(%x: i64[], %y: i64[]) {{ %z = {}(%x, %y) return %z }}", op));
    m.expect_right({integer(-7), integer(2)});
    m.expect_fault({integer(7), integer(0)}, MICA_ERR_DIVIDE, fmt::format("{}: integer division by zero", op), {integer(7), integer(-3)});
  }
}

TEST(Control, early_exit) {
  Compiled m(R"(
    graph(%limit: f32[], %x: f32[40]) {
    %none = constant dense<0> : i64[] %most = constant dense<100> : i64[]
    %y, %k = loop(%most, carried=[%x, %none], captures=[%limit], body=graph(%i: i64[], %y: f32[40], %k: i64[], %limit: f32[]) {
      %d = add(%y, %y) %a = abs(%d) %m = amax(%a, axes=[0]) %more = lt(%m, %limit) %one = constant dense<1> : i64[] %l = add(%k, %one)
      return %more, %d, %l
    })
    return %y, %k })");
  for (const double limit : {0.0, 3.0, 1e6, 1e40}) m.expect_right({number(limit), floats(4, {40})});
}

TEST(Control, if_in_loop_and_loop_in_if) {
  Compiled m(R"(
    graph(%c: bool[], %n: i64[], %x: f32[7, 9]) {
    %y = if(%c, [%n, %x], then=graph(%n: i64[], %x: f32[7, 9]) {
      %r = loop(%n, carried=[%x], body=graph(%i: i64[], %x: f32[7, 9]) {
        %true = constant dense<true> : bool[] %half = constant dense<0.5> : f32[]
        %row = select_at(%x, %i) %s = sum(%row, axes=[0]) %pos = gt(%s, %half)
        %z = if(%pos, [%x, %row, %i], then=graph(%x: f32[7, 9], %row: f32[9], %i: i64[]) {
          %w = constant random<1> : f32[9, 9] %p = linear(%x, %w) return %p
        }, otherwise=graph(%x: f32[7, 9], %row: f32[9], %i: i64[]) {
          %e = exp(%row) %u = update_at(%x, %e, %i) return %u
        })
        return %true, %z
      })
      return %r
    }, otherwise=graph(%n: i64[], %x: f32[7, 9]) { %r = softmax(%x) return %r })
    return %y })");
  for (const int64_t n : {0, 1, 7}) m.expect_right({truth(true), integer(n), floats(3, {7, 9})});
  m.expect_right({truth(false), integer(2), floats(3, {7, 9})});
}

TEST(Control, checks) {
  Compiled m(R"(
    graph(%n: i64[], %x: f32[40]) {
    %y = loop(%n, carried=[%x], body=graph(%i: i64[], %x: f32[40]) {
      %true = constant dense<true> : bool[] %big = constant dense<100.0> : f32[]
      %d = add(%x, %x) %m = amax(%d, axes=[0]) %fine = lt(%m, %big)
      check(%fine, message="x grew too large")
      return %true, %d
    })
    return %y })");
  m.expect_right({integer(3), floats(1, {40})});
  // It would go on for years.
  m.expect_fault({integer(int64_t{1} << 60), floats(1, {40})}, MICA_ERR_VALUE, "x grew too large", {integer(2), floats(1, {40})});
}

TEST(Control, a_fault_ends_an_endless_loop) {
  Compiled m(R"(
    graph(%go: bool[], %x: i64[4]) {
    %k = constant dense<0> : i64[]
    %y = loop(condition=%go, carried=[%k], captures=[%x], body=graph(%i: i64[], %y: i64[], %x: i64[4]) {
      %true = constant dense<true> : bool[] %v = select_at(%x, %i) %s = add(%y, %v) return %true, %s
    })
    return %y })");
  const HostTensor x{DType::i64, {4}, {}, {1, 2, 3, 4}};
  m.expect_fault({truth(true), x}, MICA_ERR_INDEX, "select_at: index out of range", {truth(false), x});
}

constexpr const char* counter = R"(graph(%x: f32[40]) {
  %half = constant splat<0.5> : f32[40] %none = constant dense<0> : i64[] %one = constant dense<1> : i64[]
  %sum = state %half %runs = state %none
  %a = add(%sum, %x) %n = add(%runs, %one)
  update %sum, %a
  update %runs, %n
  %y = mul(%a, %a)
  return %y, %n })";

TEST(Control, state_is_kept_in_the_context) {
  Compiled m(counter);
  for (const int threads : {1, 3}) {
    const Session one(m.api(), threads), other(m.api(), threads);
    const auto fresh = [&] {
      std::vector<HostTensor> kept;
      for (const State& s : m.graph.states) kept.push_back(to_host(m.graph.type(s.initial), m.graph.constant(s.initial).bytes));
      return kept;
    };
    std::vector<HostTensor> kept = fresh(), of_other = fresh();
    const auto step = [&](mica_context* context, std::vector<HostTensor>& states, uint32_t seed) {
      const std::vector<HostTensor> inputs = {floats(seed, {40})};
      Diagnostics d;
      const auto expected = interpret(m.graph, inputs, d, &states);
      ASSERT_TRUE(expected) << d.to_string();
      ASSERT_EQ(m.run(context, inputs), MICA_OK);
      test::expect_same(*expected, m.results(), 1e-5);
    };
    for (uint32_t i = 0; i < 5; ++i) {
      step(one.context, kept, i);
      if (i % 2) step(other.context, of_other, 100 + i);
    }
    ASSERT_EQ(m.api()->context_reset(one.context), MICA_OK);
    kept = fresh();
    step(one.context, kept, 7);
    step(other.context, of_other, 8);
  }
}

}  // namespace
}  // namespace mica
