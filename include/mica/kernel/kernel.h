#pragma once
// Kernel IR: what codegen prints. Buffers, and a loop nest over explicit scalar and vector expressions (ir/expr.h). No graph, no op.
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "mica/ir/dim.h"
#include "mica/ir/expr.h"

namespace mica {

enum class Memory : uint8_t {
  param,     ///< handed in by the program: arena, weights, or the user's buffers
  stack,     ///< local array of one task
  registers  ///< local array whose indices are constant once loops are unrolled; codegen makes SSA values of it
};

/// One buffer of a kernel; loads and stores name it by its index in Kernel::buffers and count in elements.
struct Buffer {
  std::string name;
  ExprType element;  ///< registers and stack may hold vectors; params are scalar
  Dim elements = 0;  ///< size, for the verifier, the interpreter and local arrays (of which it is static)
  Memory memory = Memory::param;
  bool written = false;    ///< param: the kernel stores to it
  int64_t alignment = 64;  ///< bytes, of the first element
};

enum class ForKind : uint8_t { serial, unrolled };

/// One matrix register of a kernel: `rows` rows of `bytes` bytes.
struct TileShape {
  int32_t rows = 16, bytes = 64;
  friend bool operator==(const TileShape&, const TileShape&) = default;
};

/// A statement; which fields count depends on `kind`.
struct Stmt {
  enum class Kind : uint8_t {
    block,
    loop,
    store,
    let,
    branch,
    check,
    prefetch,
    tile_zero,
    tile_load,   ///< rows of bf16 from `buffer`, the first at `index`, the others each `step` elements on
    tile_store,  ///< rows of f32 to `buffer`, likewise
    tile_dot     ///< f32 sums of `tile` += pairs of bf16 of `left` x pairs of `right`
  };
  Kind kind = Kind::block;
  std::vector<Stmt> body;       ///< block, loop, branch (then), let: what sees the variable
  std::vector<Stmt> otherwise;  ///< branch
  Expr var;                     ///< loop, let
  Expr low, high, step;         ///< loop: low <= var < high; tiles: see Kind
  ForKind for_kind = ForKind::serial;
  uint32_t buffer = 0;      ///< store, prefetch
  Expr index, value, mask;  ///< store: index scalar, or a vector (ramp of stride 1 = contiguous; else scatter); let: value; mask optional;
                            ///< prefetch: index scalar, of any value: a hint that the line will be read soon, which is not a read
  Expr condition;           ///< branch; check: must hold, else the fault `site` with `value` is recorded (and execution goes on: guard what follows)
  int32_t site = 0;         ///< check
  uint32_t tile = 0, left = 0, right = 0;  ///< numbers of matrix registers
  int32_t fault_code = 1;                  ///< check: the mica_fault_code of runtime/frame.h that is recorded (1 index, 2 division, 3 value)

  static Stmt block(std::vector<Stmt> body);
  static Stmt loop(Expr var, Expr low, Expr high, Expr step, std::vector<Stmt> body, ForKind kind = ForKind::serial);
  static Stmt store(uint32_t buffer, Expr index, Expr value, Expr mask = {});
  static Stmt let(Expr var, Expr value, std::vector<Stmt> body);
  static Stmt branch(Expr condition, std::vector<Stmt> then, std::vector<Stmt> otherwise = {});
  static Stmt check(Expr condition, int32_t site, Expr value);
  static Stmt prefetch(uint32_t buffer, Expr index);
  static Stmt tile_zero(uint32_t tile);
  static Stmt tile_load(uint32_t tile, uint32_t buffer, Expr index, Expr row_step);
  static Stmt tile_store(uint32_t tile, uint32_t buffer, Expr index, Expr row_step);
  /// tile[m, n] += sum over k of left[m, 2k] * right[k, 2n] and of left[m, 2k + 1] * right[k, 2n + 1], each summed first; k in order.
  static Stmt tile_dot(uint32_t tile, uint32_t left, uint32_t right);
};

/// A kernel runs its body for every task in [first, last) that its thread is given; tasks are independent of each other.
struct Kernel {
  std::string name;              ///< unique in its program; made of what it does ("conv2d_relu_3")
  std::vector<Buffer> buffers;   ///< params first
  Expr task;                     ///< the task variable
  Dim tasks = 1;                 ///< extent of the parallel loop
  std::vector<TileShape> tiles;  ///< matrix registers; undefined where a task begins
  std::vector<Stmt> body;
  double flops = 0, bytes = 0;  ///< of the whole kernel, for reports
  uint32_t params() const;      ///< number of param buffers

  uint32_t add_buffer(Buffer b);
};

/// Where a kernel parameter lives when the program runs.
struct Binding {
  enum class Space : uint8_t {
    arena,
    weights,
    prepared,  ///< made from the weights when the library is loaded, only read from then on
    io,
    state,  ///< kept from run to run
    trip    ///< how often the loop around it has run before, an i64; each thread has its own
  };
  Space space = Space::arena;
  int64_t offset = 0;  ///< bytes from the space's base; io: from the user's buffer; with a slot: from its start
  uint32_t io = 0;     ///< io: inputs first, then outputs; trip: how many loops stand around that loop
  int32_t slot = -1;   ///< arena: which of Program::slots, where sizes depend on symbols
};

/// A call of a kernel, control flow around other steps, or the measuring of a size. Steps run in order; `barrier` says that earlier steps must have
/// finished on all threads first. All threads decide alike: they read the same bytes, which nobody writes meanwhile.
struct Step {
  enum class Kind : uint8_t {
    call,
    branch,
    loop,
    measure  ///< a symbol's value is read from memory; behind it all threads know it
  };
  Kind kind = Kind::call;
  uint32_t kernel = 0;            ///< call
  std::vector<Binding> bindings;  ///< call: one per param
  bool barrier = true;
  std::string label;                 ///< what it computes, for profiles: op names and the module path
  std::vector<Step> body;            ///< branch: when the condition holds; loop: what is repeated
  std::vector<Step> otherwise;       ///< branch
  std::optional<Binding> condition;  ///< branch: a bool; loop: a bool read before the first trip, absent: true
  std::optional<Binding> trips;      ///< loop: at most so many, an i64 read before the first trip; absent: no bound
  std::optional<Binding> go_on;      ///< loop: a bool read after each trip, behind a barrier; absent: true
  std::optional<Binding> stop;       ///< loop: two bytes of the arena by which all threads learn of a fault, and leave
  uint32_t depth = 0;                ///< loop: how many loops stand around it
  std::optional<Binding> count;      ///< measure: the value, an i64
  uint32_t symbol = 0;               ///< measure: number of the symbol
  int32_t subject = -1;              ///< number of what was chosen for its kernel (pass/choices.h); -1: nothing was asked
};

/// Calls f(Step&) on every call of a kernel, in the order of the text.
template <class Steps, class F> void for_calls(Steps& steps, F&& f) {
  for (auto& s : steps) {
    if (s.kind == Step::Kind::call) f(s);
    for_calls(s.body, f);
    for_calls(s.otherwise, f);
  }
}

/// A run-time weight: bytes that a kernel reads, at `offset` of the weights space (64-byte aligned).
struct Weight {
  int64_t offset = 0;
  int64_t bytes = 0;
  std::shared_ptr<const void> keep;
  const std::byte* data = nullptr;
  std::string name;
};

/// All that codegen and the artifact need of a model.
struct Program {
  std::vector<Kernel> kernels;
  std::vector<Step> steps;
  std::vector<Weight> weights;
  int64_t weights_bytes = 0;
  int64_t arena_bytes = 0;           ///< for the greatest values of the symbols
  int64_t arena_lower_bound = 0;     ///< largest sum of bytes alive at once
  std::vector<int64_t> guard_pages;  ///< offsets of pages in the arena that nobody may touch, ascending; none but for tests (pass/lower.h)
  int64_t prepared_bytes = 0;
  std::vector<Step> load_steps;  ///< calls that fill what is prepared; no barriers, weights and prepared bytes alone
  int64_t state_bytes = 0;
  int64_t state_init_at = -1;   ///< offset in the weights of what the state is at first; -1: there is none
  std::vector<Symbol> symbols;  ///< given ones, then measured ones
  std::vector<Dim> derived;     ///< sizes of outputs that are no symbols; computed for every run, as symbols behind the symbols
  std::vector<Dim> slots;       ///< sizes of given symbols: bytes of the parts of the arena, one behind the other, where sizes depend on symbols
  std::vector<std::string> fault_sites;  ///< text per check site
};

/// Text of a kernel and of a program; parse_program reads both back.
std::string to_string(const Kernel& k);
std::string to_string(const Program& p);

}  // namespace mica
