// Recurrent layers: what a layer does with its inputs is one product over all steps, the steps themselves are a scan (ops/rnn.h).
#include "import_families.h"
#include "mica/ops/matmul.h"
#include "mica/ops/pointwise.h"
#include "mica/ops/rnn.h"
#include "mica/ops/view.h"

namespace mica {

namespace {

enum class Cell { lstm, gru, tanh, relu };

struct Weights {
  Value input, hidden;
  OptValue input_bias, hidden_bias;
  OptValue projection;  ///< LSTM with proj_size
};

struct State {
  Value h, c;
};

/// The dtype of the states from step to step: 16 bits would round them at every one.
DType state_type(DType t) { return working(t); }

/// The input's part of the gates at all steps of x [T, B, width], with every bias that is only added.
Value input_gates(ImportContext& ctx, Cell cell, Value x, const Weights& w) {
  const DType t = ctx.type(x).dtype, state = state_type(t);
  const OptValue added = cell == Cell::gru ? OptValue() : w.hidden_bias;  // the GRU multiplies a part of it
  if (state == t) {
    const OptValue bias = added && w.input_bias ? OptValue(ctx.create(Add{*w.input_bias, *added})) : added ? added : w.input_bias;
    return ctx.create(Linear{x, w.input, bias});
  }
  const Value gates = cast_to(ctx, ctx.create(Linear{x, w.input, w.input_bias}), state);
  return added ? ctx.create(Add{gates, cast_to(ctx, *added, state)}) : gates;
}

/// One direction of one layer over x [T, B, width] from `state` [B, width], which becomes the last one; h after every step.
Value run_direction(ImportContext& ctx, Cell cell, Value x, State& state, const Weights& w, bool reverse) {
  const DType t = ctx.type(x).dtype, wide = state_type(t);
  const Value gates = input_gates(ctx, cell, x, w), h = cast_to(ctx, state.h, wide);
  Value all;
  if (cell == Cell::lstm) {
    const std::vector<Value> results = ctx.create_all(LstmScan{gates, h, cast_to(ctx, state.c, wide), w.hidden, w.projection, reverse});
    all = results[0];
    state.c = cast_to(ctx, results[1], t);
  } else if (cell == Cell::gru) {
    all = ctx.create(GruScan{gates, h, w.hidden, w.hidden_bias, reverse});
  } else {
    all = ctx.create(RnnScan{gates, h, w.hidden, cell == Cell::relu, reverse});
  }
  all = cast_to(ctx, all, t);
  const Dim last = reverse ? Dim(0) : ctx.shape(all)[0] - 1;
  state.h = squeeze_at(ctx, ctx.create(Slice{.x = all, .axis = 0, .start = last, .end = last + 1, .step = 1}), 0);
  return all;
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
  if (ctx.shape(x)[0].low() < 1) ctx.fail("rnn-empty", "the sequence may have no steps");
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

/// A layer of one step. x and the states may lack the axis of rows.
template <Cell cell> Imported rnn_cell(ImportContext& ctx) {
  const Weights w{ctx.tensor("w_ih"), ctx.tensor("w_hh"), ctx.optional_tensor("b_ih"), ctx.optional_tensor("b_hh"), {}};
  const std::vector<Value> states = ctx.tensors("hx");
  if (states.size() != (cell == Cell::lstm ? 2u : 1u)) ctx.fail("rnn-arguments", "the number of states does not fit the cell");
  Value x = ctx.tensor("input");
  const bool batched = ctx.rank(x) == 2;
  const auto with_rows = [&](Value v) { return batched ? v : unsqueeze_at(ctx, v, 0); };
  const auto without = [&](Value v) { return batched ? v : squeeze_at(ctx, v, 0); };
  State state{with_rows(states[0]), cell == Cell::lstm ? with_rows(states[1]) : Value{}};
  run_direction(ctx, cell, unsqueeze_at(ctx, with_rows(x), 0), state, w, false);
  if (cell == Cell::lstm) return {without(state.h), without(state.c)};
  return {without(state.h)};
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
