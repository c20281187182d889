#pragma once
// What the generic lowering and the schedules build kernels with.
#include <algorithm>
#include <deque>
#include <map>
#include <set>

#include "place_parts.h"
#include "region.h"

namespace mica::lower {

constexpr int64_t alignment = 64;  ///< bytes, of every value in the arena and in the state
constexpr int64_t align_up(int64_t n, int64_t unit = alignment) { return (n + unit - 1) / unit * unit; }
inline Dim align_up(const Dim& n) { return Dim::ceil_div(n, alignment) * alignment; }

/// A kernel parameter, or what control flow reads, before memory is planned. Values of all graphs of a program, the regions' among
/// them, are numbered through (PendingProgram::global).
struct Operand {
  enum class Kind : uint8_t { value, weight, prepared };
  Kind kind = Kind::value;
  Value value;              ///< numbered through
  uint32_t weight = 0;      ///< index into PendingProgram::weights, or ::prepared
  bool same_place = false;  ///< an element is read only to compute the one that is written at its place
};

struct PendingStep {
  Step::Kind kind = Step::Kind::call;
  Kernel kernel;
  std::vector<Operand> operands;  ///< one per param
  bool barrier = true;
  bool copies = false;   ///< operand 0 becomes operand 1, whole; no step is needed where both can have one place
  bool partial = false;  ///< elements that the kernel does not write keep their values
  std::string label;
  // Control flow, as in Step.
  std::vector<PendingStep> body, otherwise;
  std::optional<Operand> condition, trips, go_on, stop;
  std::optional<Operand> count;  ///< of a measuring
  uint32_t symbol = 0;
  bool ends_by_itself = false;  ///< a loop of a known number of trips: faults need not stop it
  uint32_t depth = 0;
  int32_t subject = -1;  ///< as in Step
};

/// Zeros behind a value's own elements, so that a padded tap can point there instead of outside. Written in every run before
/// the value is, since arena bytes are shared.
struct Tail {
  Dim elements = 0;
};

/// A value that is a part of another's memory.
struct Alias {
  Value root;          ///< numbered through
  int64_t offset = 0;  ///< elements
};

/// What a value has of the memory of another: places [first, end) of an axis, nothing of the others'.
struct Cut {
  Value root;  ///< numbered through
  int64_t axis = 0, first = 0, end = 0;
};

/// What the kernel that makes a value [N, C, places...] also adds up: for each block of places their sum, [N, blocks, C].
struct PlaceSums {
  Value sums;  ///< numbered through
  int64_t blocks = 1;
};

/// A program whose values have no addresses yet.
struct PendingProgram {
  const Graph* graph = nullptr;  ///< the one that is being lowered: the program's, or a region
  uint32_t base = 0;             ///< number of its first value
  uint32_t depth = 0;            ///< loops around it
  const Target* target = nullptr;
  LowerOptions options;
  std::vector<PendingStep> steps;  ///< of that graph
  std::vector<Weight> weights;     ///< offsets are set at the end
  std::vector<int64_t> prepared;   ///< bytes of each buffer that steps fill from weights when the library is loaded
  std::vector<PendingStep> load_steps;
  std::vector<std::string> fault_sites;
  // By a value's number.
  std::vector<TensorType> types;
  std::map<uint32_t, Tail> tails;  ///< of the value that owns the memory; zero fill
  std::map<uint32_t, Alias> aliases;
  std::map<uint32_t, Cut> cuts;  ///< of those that are parts of a concatenation
  std::deque<Graph> placed;      ///< graphs at hand that say where such parts lie
  std::map<uint32_t, PlaceSums> place_sums;
  std::set<uint32_t> by_channels;      ///< values that own memory whose makers' threads share the channels; those of the others share the places
  std::map<uint32_t, Binding> places;  ///< of values that lie elsewhere than in the arena: io, state, trip
  std::map<uint32_t, ConstantData> constants;
  std::map<uint32_t, ConstantData> initial_states;
  size_t inputs = 0;     ///< io buffers that are only read
  int32_t subject = -1;  ///< of the region at hand: what LowerOptions::chooser is asked about

  /// Which of several forms to make; `name(candidate)` tells them apart, the cost model's choice is the first.
  template <class T, class Name> const T& choose(const std::string& knob, const std::vector<T>& candidates, Name&& name) const {
    if (!options.chooser || subject < 0 || candidates.size() < 2) return candidates.at(0);
    std::vector<std::string> names;
    for (const T& c : candidates) names.push_back(name(c));
    return candidates.at(options.chooser->choose(static_cast<uint32_t>(subject), knob, names));
  }
  /// Whether to do something where `first` is the cost model's choice.
  bool choose(const std::string& knob, bool first) const {
    return choose(knob, std::vector<int>{first, !first}, [](int yes) { return std::string(yes ? "yes" : "no"); }) != 0;
  }
  /// One of some numbers; those that repeat an earlier one are left out.
  int64_t choose(const std::string& knob, const std::vector<int64_t>& numbers) const {
    std::vector<int64_t> once;
    for (const int64_t n : numbers)
      if (std::find(once.begin(), once.end(), n) == once.end()) once.push_back(n);
    return choose(knob, once, [](int64_t n) { return std::to_string(n); });
  }
  /// Begins the lowering of a graph: its values get numbers, its constants are known.
  void enter(const Graph& g);
  /// The number of a value of the graph at hand.
  Value global(Value v) const { return Value{base + v.id}; }
  /// The value whose memory v's elements lie in, and where in it.
  Alias storage_of(Value v) const { return storage(global(v)); }
  Alias storage(Value numbered) const;
  bool made_by_channels(Value v) const { return by_channels.count(storage_of(v).root.id) != 0; }
  /// True when no element of one is an element of the other.
  bool apart(Value a, Value b) const;
  /// From here on, parts of concatenations of the graph at hand lie in those.
  void place_parts_of_graph();
  /// A value that no graph knows, for what is copied to its place in a concatenation of the graph at hand.
  Value add_part(const Part& part, const Shape& shape);
  void lies_within(Value numbered, const Part& part);
  /// Elements from a value's first to the last that memory has for it and what it lies within.
  Dim reach(Value numbered) const;
  /// A value that no graph knows: memory of a step's own, or one between steps.
  Value add_temporary(TensorType type);
  /// A value of the graph at hand as an operand.
  Operand operand(Value v);
  /// Appends a step that copies `from` to `to`, both numbered, of one type.
  void add_copy(Value from, Value to, std::string label);
  /// The counter of the loop that `repeat` will put around steps of this graph: an i64 that each thread counts for itself.
  Value add_trip();
  /// Puts a loop of so many trips around the steps from number `first` on.
  void repeat(size_t first, const Dim& trips);
  /// True when zeros can stand behind v: it has a place of its own in the arena.
  bool can_have_tail(Value v) const;
  /// Asks for at least `elements` zeros behind v's memory; their index relative to v's first element.
  Dim zero_tail(Value v, const Dim& elements);

  /// The weight that holds a constant's bytes; equal bytes are held once.
  uint32_t add_constant(const ConstantData& data);
  uint32_t add_weight(std::vector<std::byte> bytes, std::string name);
  int32_t add_fault_site(const std::string& text);
};

/// Builds one kernel.
class Emitter {
 public:
  Emitter(PendingProgram& program, const Region& region);
  const Graph& graph() const { return *program_.graph; }
  const Target& target() const { return *program_.target; }
  PendingProgram& program() { return program_; }
  Kernel& kernel() { return step_.kernel; }
  /// The parameter that holds a graph value (a constant becomes a weight).
  uint32_t buffer_of(Value v, bool written = false);
  /// Declares what the kernel stores; kernel_output() is its parameter.
  uint32_t output(Value v) { return output_ = buffer_of(v, true); }
  /// The same for a temporary.
  uint32_t output_temporary(Value numbered) { return output_ = temporary(numbered, true); }
  uint32_t kernel_output() const { return output_; }
  /// The parameter that holds a temporary (PendingProgram::add_temporary).
  uint32_t temporary(Value numbered, bool written);
  uint32_t weight_buffer(uint32_t weight, DType dtype, const Dim& elements);
  /// The parameter that holds number `prepared` of PendingProgram::prepared.
  uint32_t prepared_buffer(uint32_t prepared, DType dtype, int64_t elements, bool written);
  uint32_t local(std::string name, ExprType element, int64_t elements, Memory memory);
  /// From now on flatten() reads constant `v` from a copy in which `axis` is the innermost one.
  void move_axis_last(Value v, int64_t axis) { last_axis_[v.id] = axis; }
  /// Loads of graph values become loads of buffers; fault sites get their numbers; loads that only a select makes legal get its
  /// condition as mask where their index could leave the buffer.
  Expr flatten(const Expr& e);
  /// Operands whose elements are read at the place that is written only, by buffer.
  void mark_same_place(uint32_t buffer) { step_.operands.at(buffer).same_place = true; }
  void mark_partial() { step_.partial = true; }
  /// Ends the kernel: `tasks` runs of `body` over `task`.
  void finish(Expr task, const Dim& tasks, std::vector<Stmt> body, bool barrier = true);
  /// As finish, with a task for every value of the variables in `order`, from 0 on, the last one fastest.
  void finish_over(const std::vector<Expr>& order, std::vector<Stmt> body);
  /// As finish, of a kernel that runs once, when the library is loaded.
  void finish_at_load(Expr task, int64_t tasks, std::vector<Stmt> body);

 private:
  void complete(Expr task, const Dim& tasks, std::vector<Stmt> body);
  uint32_t add_param(std::string name, DType dtype, const Dim& elements, bool written, Operand operand);
  PendingProgram& program_;
  const Region& region_;
  PendingStep step_;
  uint32_t output_ = 0;
  std::map<uint32_t, uint32_t> value_buffers_;
  std::map<uint32_t, int64_t> last_axis_;
  Expr load_moved(const Expr& load, int64_t axis);
  std::vector<Buffer> params_, locals_;
};

// ---- lists of statements ----
inline std::vector<Stmt> one(Stmt s) {
  std::vector<Stmt> list;
  list.push_back(std::move(s));
  return list;
}
inline void append(std::vector<Stmt>& to, std::vector<Stmt> more) {
  for (Stmt& s : more) to.push_back(std::move(s));
}
/// `body`, which sees the variable as `value`.
inline std::vector<Stmt> with_let(const Expr& variable, const Expr& value, std::vector<Stmt> body) {
  return one(Stmt::let(variable, value, std::move(body)));
}

/// Lanes for a kernel that stores `dtype`.
int32_t lanes_for(const Target& target, DType dtype);
/// `e` for `lanes` consecutive values of `lane_var` from its binding: vector where it depends on the variable, scalar elsewhere.
/// lane_var itself becomes base + [0, 1, ...). Loads affine in the variable become contiguous or strided vectors; `mask` (may be
/// empty) guards every vector load.
Expr vectorize(const Expr& e, const Expr& lane_var, const Expr& base, int32_t lanes, const Expr& mask);
/// Store of a (vector) value where `index` is a scalar expression in lane_var.
Stmt vector_store(uint32_t buffer, const Expr& index, const Expr& value, const Expr& lane_var, const Expr& base, int32_t lanes, const Expr& mask);
/// Mask of the lanes whose position base + lane is below `extent`.
Expr tail_mask(const Expr& base, const Expr& extent, int32_t lanes);

/// Text of a region without names and places (describe_region.cpp).
std::string describe_region(const Graph& graph, const Region& region, const Target* target);
/// The generic road: any region in expression form, tiled, vectorised, parallel.
void lower_generic(PendingProgram& program, const Region& region);
/// One kernel an operand for a concatenation.
void lower_cat(PendingProgram& program, const Region& region);
/// The loop nest of an op in kernel form; it makes all results of the node at once.
void lower_kernel_form(PendingProgram& program, const Node& node);
/// A copy of the whole, which is left out where the old value is dead, and a kernel that writes the row.
void lower_update_at(PendingProgram& program, const Region& region);
/// A kernel of one task that records a fault.
void lower_check(PendingProgram& program, const Region& region);
/// `if` and `loop`: steps around the steps of their regions (lower_control.cpp).
void lower_control(PendingProgram& program, const Node& node, Diagnostics& diagnostics);
/// A step by which all threads learn a size.
void lower_measure(PendingProgram& program, const Region& region);
/// The steps of a whole graph, appended (lower_to_program.cpp).
void lower_graph(PendingProgram& program, Diagnostics& diagnostics);
/// Gives values that are copied to each other one place where neither is needed while the other is written (coalesce_copies.cpp).
/// From here on the copies that are left are needed.
void coalesce_copies(PendingProgram& program);
/// Convolution, linear and matmul by packed panels (BRGEMM) or in Winograd's form. False when the region does not fit.
bool lower_contraction(PendingProgram& program, const Region& region);
/// A recurrent layer: a loop over the steps around one kernel. False when the region does not fit.
bool lower_recurrence(PendingProgram& program, const Region& region);
/// Decides where barriers are needed, places every value in the arena by its lifetime, binds parameters, fills tails.
Program plan_memory(PendingProgram& pending, const Graph& graph);

}  // namespace mica::lower
