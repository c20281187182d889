#pragma once
// Attention as one kernel: softmax(f(query key^T)) value, where f is pointwise (scale, masks, biases). It is seen by its structure: a product
// whose left operand is a softmax along its rows of what is computed, element by element, from another product that nobody else reads.
//
// A task takes a share of the rows of one batch entry. It packs the keys and the values on its stack, then goes over its rows in blocks: scores of a
// block to a small buffer, softmax there, the product with the values. The exponentials are multiplied as they are; the sums of a row divide the
// result. In 16 bits the scores stay in f32 until they are exponentials: what an op between the products would round is not rounded.
#include "contraction.h"

namespace mica::lower {

/// Both products and what lies between them, over the places of the result: `batch`, `row`, `column`; `key` counts keys, `depth` the elements of one.
struct Attention {
  DType dtype = DType::f32;
  DType sums() const { return working(dtype); }
  Dim rows = 1, keys = 1;
  int64_t depths = 1, columns = 1;
  bool safe = false;  ///< a row that is masked out altogether gives 0
  std::vector<Expr> batch;
  Expr row, key, depth, column;
  Value query, keys_value, value;            ///< in memory
  Expr query_index, key_index, value_index;  ///< elements of them
  Expr score;                                ///< what the softmax takes, of sums(), over a variable `sum` of them for query key^T
  Expr sum;
  std::vector<Value> leaves;  ///< what else the score reads
};

/// The attention whose second product a node is. Nothing where there is none, or where kernels of their own are faster on the target; without a
/// target: where it has no matrix registers.
std::optional<Attention> describe_attention(const Graph& graph, const Node& node, const Target* target);
bool lower_attention(PendingProgram& program, const Region& region);

/// What both schedules of attention share.
class AttentionLowering {
 protected:
  using Body = std::vector<Stmt>;
  AttentionLowering(PendingProgram& program, const Region& region, Attention a);

  const Region& region_;
  Attention a_;
  Emitter emit_;
  int32_t lanes_ = 1;              ///< of a vector of sums
  int64_t block_ = 1, pitch_ = 1;  ///< rows of a block; elements of a row of scores
  int64_t columns_ = 1;            ///< of a row of sums
  Dim blocks_ = 1, shares_ = 1;    ///< blocks of rows, and tasks that share those of a batch entry
  uint32_t query_ = 0, key_ = 0, value_ = 0, scores_ = 0, sums_ = 0, factors_ = 0;
  Epilogue stored_;

  ExprType vector() const { return {a_.sums(), lanes_}; }
  Expr place(const Expr& e) const { return make_ramp(simplify(e), Expr(1), lanes_); }
  Expr wide(double x) const { return make_broadcast(imm(a_.sums(), x), lanes_); }
  Expr column_mask(int64_t first) const { return first + lanes_ <= a_.columns ? Expr() : tail_mask(Expr(first), Expr(a_.columns), lanes_); }
  static Expr fresh(const char* name) { return make_var(name, 0, int64_t{1} << 40); }
  static Body loop(const Expr& v, const Expr& low, const Expr& high, Body body, int64_t step = 1) {
    return one(Stmt::loop(v, low, high, Expr(step), std::move(body)));
  }

  /// Shares of the rows: the sum over some numbers of threads of the time that the one with most to do takes. Packing takes as long as so many rows.
  void choose_shares(int64_t packing_rows);
  /// The operands and the buffers that a block needs, when block_, pitch_ and columns_ are known.
  void prepare();
  /// Vector of `buffer`'s elements at `index` as `lane` goes from `base` on.
  Expr loaded(uint32_t buffer, const Expr& index, const Expr& lane, const Expr& base, int32_t lanes, const Expr& mask) const;
  /// Scores of a row with the keys from `first` on, `sum` of which are given; -inf where the mask, which may be empty, is false.
  Expr score(const Expr& row, const Expr& first, const Expr& sum, const Expr& mask) const;
  /// Mask of the keys from `first` on.
  Expr key_mask(const Expr& first) const { return a_.keys % lanes_ == 0 ? Expr() : tail_mask(first, Expr(a_.keys), lanes_); }
  /// Softmax of row `i` of the block, whose scores reach up to `behind`: `keep(first key, exponentials)` of each vector, and the row's factor what
  /// its sums are multiplied by. With `row`, the row of the whole, the buffer has the products; else it has the scores.
  Body softmax(const Expr& i, const Expr& behind, const Expr& row, const std::function<Stmt(const Expr&, const Expr&)>& keep);
  /// Stores rows [first, end) of the block that begins at m0.
  Body epilogue(const Expr& m0, const Expr& first, const Expr& end);
  /// Ends the kernel, whose tasks pack and then do blocks [low, high).
  void finish(Body pack, const std::function<Body(const Expr& low, const Expr& high)>& blocks);
 private:
  Body maximum(const Expr& i, const Expr& behind, const Expr& row, uint32_t most) const;
};

/// The schedule by vectors, with keys and values in the first cache (attention_vectors.cpp).
void emit_attention_vectors(PendingProgram& program, const Region& region, Attention attention);
/// The schedule for targets with matrix registers (attention_tiles.cpp). It needs static sizes.
void emit_attention_tiles(PendingProgram& program, const Region& region, Attention attention);
/// True where it has registers for an attention and its stack has room.
bool fits_attention_tiles(const Attention& attention, const Target& target);

}  // namespace mica::lower
