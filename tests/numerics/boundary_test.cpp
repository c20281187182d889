// Shapes around the edges of tiles, vectors and chains of additions, drawn with a fixed seed: compiled, against LibTorch. Weights are
// parameters, as in real models, so that the schedules are taken. Each case runs on one plan (CPU, schedules) in turn;
// MICA_TEST_SWEEP=N draws N cases of each family and runs each on every plan.
#include <cstdlib>
#include <random>

#include "judge.h"

namespace mica::numerics {
namespace {

struct Case {
  std::string name, inputs, weights, body;  ///< body: lines of forward, separated by "; "
  size_t number = 0;
};
void PrintTo(const Case& c, std::ostream* out) { *out << c.inputs << (c.weights.empty() ? "" : ", weights ") << c.weights << ": " << c.body; }

/// The same choices on every machine: the standard's distributions are not.
class Chooser {
 public:
  explicit Chooser(uint32_t seed) : generate_(seed) {}
  int64_t below(int64_t n) { return static_cast<int64_t>(generate_() % static_cast<uint64_t>(n)); }
  bool chance(int percent) { return below(100) < percent; }
  template <class T> T of(std::initializer_list<T> list) { return list.begin()[below(static_cast<int64_t>(list.size()))]; }

 private:
  std::mt19937 generate_;
};

std::string list(const std::vector<int64_t>& items) { return fmt::format("[{}]", fmt::join(items, ", ")); }
/// "f32[2, 3] in -1..1"
std::string tensor(const std::vector<int64_t>& shape) { return fmt::format("f32{} in -1..1", list(shape)); }

struct Pair {
  int64_t h, w;
};

Case draw_convolution(Chooser& choose) {
  Case c;
  const Pair kernel = choose.of<Pair>({{1, 1}, {1, 1}, {3, 3}, {3, 3}, {5, 5}, {7, 1}, {1, 7}, {2, 2}});
  const int64_t dilation = choose.of<int64_t>({1, 1, 1, 2});
  const Pair stride = choose.of<Pair>({{1, 1}, {1, 1}, {2, 2}, {3, 3}, {2, 1}}), map = choose.of<Pair>({{1, 1}, {2, 3}, {7, 7}, {14, 13}});
  int64_t channels = choose.of<int64_t>({1, 3, 15, 16, 17, 28, 29, 31, 33, 48, 63, 64, 65, 130}),
          outputs = choose.of<int64_t>({1, 3, 15, 16, 17, 31, 33, 48, 63, 64, 65, 130});
  if (kernel.h * kernel.w == 1 && choose.chance(40)) channels = choose.of<int64_t>({255, 256, 257, 513});
  int64_t groups = 1;
  switch (choose.below(8)) {
    case 0: groups = outputs = channels; break;
    case 1: groups = channels, outputs = 2 * channels; break;
    case 2:
    case 3: {
      groups = choose.of<int64_t>({2, 3, 7});
      channels = groups * choose.of<int64_t>({3, 4, 5, 16});
      outputs = groups * choose.of<int64_t>({1, 5, 16, 17});
      break;
    }
    default: break;
  }
  // Padding that leaves at least one position, the same on both sides or not.
  const auto padding = [&](int64_t k, int64_t in) {
    const int64_t reach = dilation * (k - 1), least = std::max<int64_t>(0, reach + 1 - in);
    return std::max((least + 1) / 2, choose.of<int64_t>({0, reach / 2, reach / 2, 1}));
  };
  const Pair pad{padding(kernel.h, map.h), padding(kernel.w, map.w)};
  const int64_t batch = choose.of<int64_t>({1, 1, 3});
  const bool last = choose.chance(25);
  c.inputs = "x=" + tensor(last ? std::vector<int64_t>{batch, map.h, map.w, channels} : std::vector<int64_t>{batch, channels, map.h, map.w});
  c.weights = "w=" + tensor({outputs, channels / groups, kernel.h, kernel.w});
  const bool bias = choose.chance(50);
  if (bias) c.weights += ", b=" + tensor({outputs});
  if (last) c.body = "x = x.permute(0, 3, 1, 2); ";
  if (choose.chance(40)) c.body += "x = torch.relu(x); ";
  if (choose.chance(20))
    c.body +=
        fmt::format("x = torch.constant_pad_nd(x, [{}, {}, {}, {}], 0.0); ", choose.below(2), choose.below(3), choose.below(2), choose.below(2));
  c.body += fmt::format("y = torch.conv2d(x, w, {}, {}, {}, {}, {}); ", bias ? "b" : "None", list({stride.h, stride.w}), list({pad.h, pad.w}),
                        list({dilation, dilation}), groups);
  c.body += choose.of<const char*>({"return y", "return y", "return torch.relu(y)", "return torch.silu(y) + y", "return y, torch.relu(y)",
                                    "return y.flatten(2).transpose(1, 2) * 2"});
  return c;
}

constexpr auto any_size = {1, 2, 5, 6, 7, 13, 16, 17, 47, 48, 49, 64, 65, 257, 300};

Case draw_linear(Chooser& choose) {
  Case c;
  const int64_t m = choose.of(any_size), n = choose.of(any_size), k = choose.chance(30) ? choose.of({255, 256, 257, 513}) : choose.of(any_size);
  const int64_t rank = 1 + choose.below(5);
  std::vector<int64_t> shape(static_cast<size_t>(rank), 1);
  shape.back() = k;
  if (rank > 1) shape[choose.below(rank - 1)] = m;
  if (rank > 2) shape[choose.below(rank - 1)] *= choose.of({1, 2, 3});
  const bool swapped = rank > 1 && choose.chance(25), sliced = choose.chance(25), bias = choose.chance(60);
  std::vector<int64_t> given = shape;
  if (sliced) given.back() += 7;
  if (swapped) std::swap(given[rank - 1], given[rank - 2]);
  c.inputs = "x=" + tensor(given);
  if (swapped) c.body += "x = x.transpose(-1, -2); ";
  if (sliced) c.body += fmt::format("x = x[..., 3:{}]; ", k + 3);
  c.weights = "w=" + tensor({n, k}) + (bias ? ", b=" + tensor({n}) : "");
  c.body += fmt::format("y = torch.linear(x, w{}); ", bias ? ", b" : "");
  c.body += choose.of<const char*>(
      {"return y", "return torch.relu(y)", "return torch.gelu(y)", "return torch.softmax(y, -1)", "return y + y.abs().mean()"});
  // A softmax of few outputs, one of which is nearly 1, hides most of LibTorch's error by luck: then the yardstick measures nothing.
  if (n < 64 && c.body.ends_with("softmax(y, -1)")) c.body.replace(c.body.rfind("(y,"), 3, "(y * 0.125,");
  return c;
}

Case draw_matmul(Chooser& choose) {
  Case c;
  const int64_t m = choose.of(any_size), n = choose.of(any_size), k = choose.of(any_size);
  // Leading axes, broadcast where one side has 1 or none.
  const auto rank = static_cast<size_t>(choose.below(4));
  std::vector<int64_t> a, b;
  for (size_t i = 0; i < rank; ++i) {
    const int64_t extent = choose.of({1, 2, 3});
    if (i > 0 || choose.chance(80)) a.push_back(choose.chance(80) ? extent : 1);
    if (i > 0 || choose.chance(60)) b.push_back(choose.chance(70) ? extent : 1);
  }
  const bool vector_a = a.empty() && choose.chance(10), vector_b = b.empty() && choose.chance(10);
  if (!vector_a) a.push_back(m);
  a.push_back(k);
  b.push_back(k);
  if (!vector_b) b.push_back(n);
  const auto operand = [&](const char* name, std::vector<int64_t> shape) {
    std::string& lines = c.body;
    if (shape.size() >= 3 && choose.chance(30)) {  // as heads of attention: the axis before last comes from further out
      std::swap(shape[shape.size() - 2], shape[shape.size() - 3]);
      lines += fmt::format("{0} = {0}.transpose(-2, -3); ", name);
    } else if (shape.size() >= 2 && choose.chance(40)) {
      std::swap(shape[shape.size() - 1], shape[shape.size() - 2]);
      lines += fmt::format("{0} = {0}.transpose(-1, -2); ", name);
    }
    return fmt::format("{}={}", name, tensor(shape));
  };
  c.inputs = operand("a", a);
  std::string other = operand("b", b);
  if (choose.chance(35)) c.weights = other;
  else c.inputs += ", " + other;
  c.body += "y = torch.matmul(a, b); ";
  c.body += choose.of<const char*>({"return y", "return y * 0.125", "return torch.softmax(y, -1)", "return torch.relu(y) + 1"});
  if (vector_a && vector_b) c.body = c.body.substr(0, c.body.find("y =")) + "return torch.matmul(a, b) * 2";
  return c;
}

Case draw_reduction(Chooser& choose) {
  Case c;
  const auto rank = static_cast<size_t>(1 + choose.below(4));
  std::vector<int64_t> shape;
  for (size_t i = 0; i < rank; ++i) shape.push_back(choose.of({1, 2, 3, 17}));
  const int64_t axis = choose.below(static_cast<int64_t>(rank));
  shape[axis] = choose.of({1, 3, 15, 16, 17, 64, 65, 300, 300, 5000});
  c.inputs = "x=" + tensor(shape);
  switch (choose.below(8)) {
    case 0:
    case 1: c.body = fmt::format("return torch.softmax(x * 3, {})", axis); break;
    case 2: c.body = fmt::format("return torch.log_softmax(x, {})", axis); break;
    case 3: c.body = fmt::format("return torch.mean(x, [{}])", axis); break;
    case 4: c.body = fmt::format("return torch.amax(x, [{}]), torch.sum(torch.relu(x), [{}], True)", axis, axis); break;
    case 5: c.body = fmt::format("return torch.mean(x, {})", rank == 1 ? "[0]" : "[0, -1]"); break;
    default:
      c.weights = "w=" + tensor({shape.back()}) + ", b=" + tensor({shape.back()});
      c.body = fmt::format("return torch.layer_norm(x + 1, {}, w, b, 1e-5)", list({shape.back()}));
  }
  return c;
}

/// Recurrent layers and cells: rows and units around the edges of tiles, vectors and pieces of k.
Case draw_recurrent(Chooser& choose) {
  Case c;
  const int64_t kind = choose.below(5), gates = kind < 2 ? 4 : kind == 2 ? 3 : 1;  // lstm twice, gru, tanh, relu
  const char* op = kind < 2 ? "lstm" : kind == 2 ? "gru" : kind == 3 ? "rnn_tanh" : "rnn_relu";
  const std::string type = choose.chance(15) ? "f64" : choose.chance(10) ? "bf16" : "f32";
  const auto typed = [&](const char* name, const std::vector<int64_t>& shape, const char* range) {
    return fmt::format("{}={}{} in {}", name, type, list(shape), range);
  };
  const int64_t rows = choose.of({1, 1, 2, 3, 5, 7, 8, 13, 40}), units = choose.of({1, 5, 15, 16, 17, 33, 64, 65, 130}),
                steps = choose.of({1, 2, 3, 9}), inputs = choose.of({1, 4, 17});
  // In f64 LibTorch is judge and yardstick at once and its own sums, which differ from CPU to CPU, count as exact: they are kept short.
  const int64_t hidden = type == "f64" ? std::min<int64_t>(units, 17) : units;
  const bool biased = choose.chance(60), projected = kind < 2 && choose.chance(35);
  const int64_t width = projected ? std::max<int64_t>(1, hidden / 2) : hidden;
  c.weights = typed("a", {gates * hidden, inputs}, "-0.5..0.5") + ", " + typed("b", {gates * hidden, width}, "-0.3..0.3");
  if (biased) c.weights += ", " + typed("d", {gates * hidden}, "-1..1") + ", " + typed("e", {gates * hidden}, "-1..1");
  const char* biases = biased ? ", d, e" : "";
  if (!projected && choose.chance(20)) {
    c.inputs = typed("x", {rows, inputs}, "-2..2") + ", " + typed("h", {rows, hidden}, "-1..1");
    if (kind < 2) c.inputs += ", " + typed("c", {rows, hidden}, "-1..1");
    c.body = fmt::format("return torch.{}_cell(x, {}, a, b{})", op, kind < 2 ? "[h, c]" : "h", biases);
    return c;
  }
  if (projected) c.weights += ", " + typed("p", {width, hidden}, "-0.3..0.3");
  const bool both_ways = choose.chance(40), batch_first = choose.chance(40);
  const int64_t layers = both_ways ? 1 : choose.of({1, 2}), states = layers * (both_ways ? 2 : 1);
  if (layers == 2) c.weights += ", " + typed("a2", {gates * hidden, width}, "-0.3..0.3");
  c.inputs = typed("x", batch_first ? std::vector<int64_t>{rows, steps, inputs} : std::vector<int64_t>{steps, rows, inputs}, "-2..2");
  c.inputs += ", " + typed("h", {states, rows, width}, "-1..1");
  if (kind < 2) c.inputs += ", " + typed("c", {states, rows, hidden}, "-1..1");
  std::string parameters;
  for (int64_t i = 0; i < states; ++i)
    parameters += fmt::format("{}{}, b{}{}", i ? ", " : "", layers == 2 && i == 1 ? "a2" : "a", biases, projected ? ", p" : "");
  c.body = fmt::format("return torch.{}(x, {}, [{}], {}, {}, 0.0, False, {}, {})", op, kind < 2 ? "[h, c]" : "h", parameters,
                       biased ? "True" : "False", layers, both_ways ? "True" : "False", batch_first ? "True" : "False");
  return c;
}

struct Family {
  const char* name;
  Case (*draw)(Chooser&);
  int cases;
};
constexpr Family families[] = {{"conv", draw_convolution, 200},
                               {"linear", draw_linear, 80},
                               {"matmul", draw_matmul, 100},
                               {"reduction", draw_reduction, 100},
                               {"recurrent", draw_recurrent, 90}};

std::vector<Case> all_cases() {
  const char* sweep = std::getenv("MICA_TEST_SWEEP");
  std::vector<Case> cases;
  for (const Family& f : families) {
    Chooser choose(2027);
    const int count = sweep ? std::atoi(sweep) : f.cases;
    for (int i = 0; i < count; ++i) {
      cases.push_back(f.draw(choose));
      cases.back().number = static_cast<size_t>(i);
      cases.back().name = fmt::format("{}_{}", f.name, i);
    }
  }
  return cases;
}

class Boundary : public Judged, public testing::WithParamInterface<Case> {};

TEST_P(Boundary, Compiled) {
  static constexpr Plan plans[] = {{"native", true},    {"x86-64-v3", true},  {"native", false},
                                   {"x86-64-v2", true}, {"x86-64-v3", false}, {"x86-64-v2", false}};
  const Case& c = GetParam();
  const auto inputs = parse_sample_inputs(c.inputs, diagnostics), weights = parse_sample_inputs(c.weights, diagnostics);
  ASSERT_TRUE(inputs && weights) << diagnostics.to_string();
  judge_program(*inputs, *weights, c.body, "boundary_" + c.name, 5);
  if (HasFailure()) return;
  if (std::getenv("MICA_TEST_SWEEP")) {
    for (const Plan& p : plans) {
      if (!HasFailure()) expect_compiled(p);
    }
  } else {
    expect_compiled(plans[c.number % std::size(plans)]);
  }
}

INSTANTIATE_TEST_SUITE_P(shapes, Boundary, testing::ValuesIn(all_cases()), [](const auto& info) { return info.param.name; });

}  // namespace
}  // namespace mica::numerics
