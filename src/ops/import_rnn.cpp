// Recurrent layers, unrolled over time: lengths are known when compiling.
#include "import_families.h"
#include "mica/ops/activation.h"
#include "mica/ops/compare.h"
#include "mica/ops/factory.h"
#include "mica/ops/math.h"
#include "mica/ops/matmul.h"
#include "mica/ops/pointwise.h"
#include "mica/ops/view.h"

namespace mica {

namespace {

enum class Cell { lstm, gru, tanh, relu };

/// Steps that one layer may be unrolled to; more would make graphs that take minutes to compile.
constexpr int64_t most_steps = 4096;

int64_t gates_of(Cell cell) { return cell == Cell::lstm ? 4 : cell == Cell::gru ? 3 : 1; }

struct Weights {
  Value input, hidden;
  OptValue input_bias, hidden_bias;
  OptValue projection;  ///< LSTM with proj_size
};

Value gate(ImportContext& ctx, Value all, int64_t i, int64_t width) {
  return ctx.create(Slice{.x = all, .axis = ctx.rank(all) - 1, .start = i * width, .end = (i + 1) * width, .step = 1});
}

struct State {
  Value h, c;
};

/// One step: `x` is the input's part of the gates, [B, gates * hidden], its bias included.
State step(ImportContext& ctx, Cell cell, Value x, const State& s, const Weights& w, int64_t hidden) {
  const Value h = ctx.create(Linear{s.h, w.hidden, w.hidden_bias});
  if (cell == Cell::tanh) return {ctx.create(Tanh{ctx.create(Add{x, h})}), {}};
  if (cell == Cell::relu) return {ctx.create(Relu{ctx.create(Add{x, h})}), {}};
  if (cell == Cell::gru) {
    const auto sigmoid_of = [&](int64_t i) { return ctx.create(Sigmoid{ctx.create(Add{gate(ctx, x, i, hidden), gate(ctx, h, i, hidden)})}); };
    const Value reset = sigmoid_of(0), keep = sigmoid_of(1);
    const Value fresh = ctx.create(Tanh{ctx.create(Add{gate(ctx, x, 2, hidden), ctx.create(Mul{reset, gate(ctx, h, 2, hidden)})})});
    // (1 - keep) * fresh + keep * h
    return {ctx.create(Add{fresh, ctx.create(Mul{keep, ctx.create(Sub{s.h, fresh})})}), {}};
  }
  const Value all = ctx.create(Add{x, h});
  const Value in = ctx.create(Sigmoid{gate(ctx, all, 0, hidden)}), forget = ctx.create(Sigmoid{gate(ctx, all, 1, hidden)});
  const Value fresh = ctx.create(Tanh{gate(ctx, all, 2, hidden)}), out = ctx.create(Sigmoid{gate(ctx, all, 3, hidden)});
  const Value c = ctx.create(Add{ctx.create(Mul{forget, s.c}), ctx.create(Mul{in, fresh})});
  Value y = ctx.create(Mul{out, ctx.create(Tanh{c})});
  if (w.projection) y = ctx.create(Linear{y, *w.projection, {}});
  return {y, c};
}

/// One direction of one layer over x [T, B, width]; the last state goes to `state`.
Value run_direction(ImportContext& ctx, Cell cell, Value x, State& state, const Weights& w, bool backward) {
  const Shape s = ctx.shape(x);
  const int64_t hidden = ctx.shape(w.hidden)[0] / gates_of(cell);
  const Value all = ctx.create(Linear{x, w.input, w.input_bias});
  std::vector<Value> outputs(static_cast<size_t>(s[0]));
  for (int64_t i = 0; i < s[0]; ++i) {
    const int64_t t = backward ? s[0] - 1 - i : i;
    const Value now = squeeze_at(ctx, ctx.create(Slice{.x = all, .axis = 0, .start = t, .end = t + 1, .step = 1}), 0);
    state = step(ctx, cell, now, state, w, hidden);
    outputs[t] = unsqueeze_at(ctx, state.h, 0);
  }
  return outputs.size() == 1 ? outputs[0] : ctx.create(Cat{Values(outputs), 0});
}

Value at_layer(ImportContext& ctx, Value states, int64_t i) {
  return squeeze_at(ctx, ctx.create(Slice{.x = states, .axis = 0, .start = i, .end = i + 1, .step = 1}), 0);
}

Imported recurrent(ImportContext& ctx, Cell cell) {
  if (ctx.has("batch_sizes")) ctx.unsupported("rnn-packed", "packed sequences are not supported; pass a padded tensor");
  if (ctx.boolean_or("train", false) && ctx.real_or("dropout", 0) != 0)
    ctx.unsupported("dropout-training", "drops elements at random, as in training; export the model after model.eval()");
  Value x = ctx.tensor("input");
  const bool batch_first = ctx.boolean("batch_first"), biased = ctx.boolean("has_biases"), both_ways = ctx.boolean("bidirectional"),
             batched = ctx.rank(x) == 3;
  const int64_t layers = ctx.integer("num_layers"), directions = both_ways ? 2 : 1;
  if (!batched) x = unsqueeze_at(ctx, x, 1);
  else if (batch_first) x = swap_axes(ctx, x, 0, 1);
  if (ctx.shape(x)[0] * layers * directions > most_steps)
    ctx.unsupported("rnn-too-long",
                    fmt::format("{} steps are more than the {} that are unrolled", ctx.shape(x)[0] * layers * directions, most_steps));
  if (!ctx.shape(x)[0]) ctx.fail("rnn-empty", "the sequence has no steps");
  const std::vector<Value> params = ctx.tensors("params");
  std::vector<Value> states = cell == Cell::lstm ? ctx.tensors("hx") : std::vector<Value>{ctx.tensor("hx")};
  const size_t each = 2 + (biased ? 2 : 0);
  const bool projected = cell == Cell::lstm && params.size() == static_cast<size_t>(layers * directions) * (each + 1);
  const size_t stride = each + projected;
  if (states.size() != (cell == Cell::lstm ? 2u : 1u) || params.size() != static_cast<size_t>(layers * directions) * stride)
    ctx.fail("rnn-arguments", "the numbers of states or weights do not fit the layers");
  if (!batched) {
    for (Value& s : states) s = unsqueeze_at(ctx, s, 1);
  }
  std::vector<Value> last_h, last_c;
  for (int64_t layer = 0; layer < layers; ++layer) {
    std::vector<Value> outputs;
    for (int64_t direction = 0; direction < directions; ++direction) {
      const int64_t i = layer * directions + direction;
      const Value* p = &params[static_cast<size_t>(i) * stride];
      Weights w{p[0], p[1], {}, {}, {}};
      if (biased) {
        w.input_bias = p[2];
        w.hidden_bias = p[3];
      }
      if (projected) w.projection = p[stride - 1];
      State state{at_layer(ctx, states[0], i), cell == Cell::lstm ? at_layer(ctx, states[1], i) : Value{}};
      outputs.push_back(run_direction(ctx, cell, x, state, w, direction == 1));
      last_h.push_back(unsqueeze_at(ctx, state.h, 0));
      if (state.c) last_c.push_back(unsqueeze_at(ctx, state.c, 0));
    }
    x = outputs.size() == 1 ? outputs[0] : ctx.create(Cat{Values(outputs), 2});
  }
  const auto joined = [&](std::vector<Value> list) {
    const Value v = list.size() == 1 ? list[0] : ctx.create(Cat{Values(std::move(list)), 0});
    return batched ? v : squeeze_at(ctx, v, 1);
  };
  if (!batched) x = squeeze_at(ctx, x, 1);
  else if (batch_first) x = swap_axes(ctx, x, 0, 1);
  if (cell != Cell::lstm) return {x, joined(last_h)};
  return {x, joined(last_h), joined(last_c)};
}
template <Cell cell> Imported rnn(ImportContext& ctx) { return recurrent(ctx, cell); }

template <Cell cell> Imported rnn_cell(ImportContext& ctx) {
  const Weights w{ctx.tensor("w_ih"), ctx.tensor("w_hh"), ctx.optional_tensor("b_ih"), ctx.optional_tensor("b_hh"), {}};
  const std::vector<Value> states = ctx.tensors("hx");
  if (states.size() != (cell == Cell::lstm ? 2u : 1u)) ctx.fail("rnn-arguments", "the number of states does not fit the cell");
  const State s = step(ctx, cell, ctx.create(Linear{ctx.tensor("input"), w.input, w.input_bias}),
                       {states[0], cell == Cell::lstm ? states[1] : Value{}}, w, ctx.shape(w.hidden)[0] / gates_of(cell));
  if (cell == Cell::lstm) return {s.h, s.c};
  return {s.h};
}

}  // namespace

std::span<const ImportEntry> import_rnn() {
  static constexpr ImportEntry entries[] = {
      {"aten::lstm", rnn<Cell::lstm>},
      {"aten::gru", rnn<Cell::gru>},
      {"aten::rnn_tanh", rnn<Cell::tanh>},
      {"aten::rnn_relu", rnn<Cell::relu>},
      {"aten::lstm_cell", rnn_cell<Cell::lstm>},
      {"aten::gru_cell", rnn_cell<Cell::gru>},
      {"aten::rnn_tanh_cell", rnn_cell<Cell::tanh>},
      {"aten::rnn_relu_cell", rnn_cell<Cell::relu>},
  };
  return entries;
}

}  // namespace mica
