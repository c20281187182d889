#pragma once
// Walks TorchScript as an interpreter would: Python values are computed, methods and functions entered, branches taken, loops unrolled, and every
// tensor operator becomes nodes of the graph. Where a branch or a loop's end depends on data, both branches or the body are evaluated apart and
// become regions (control.cpp). Nothing is rewritten in LibTorch and none of its passes runs, so only operators that this file and the op table
// allow are ever executed.
#include <torch/csrc/jit/api/module.h>
#include <torch/csrc/jit/ir/ir.h>

#include <unordered_map>

#include "constants.h"
#include "growth.h"
#include "journal.h"
#include "merge.h"
#include "mica/frontend/torchscript.h"
#include "mica/ops/import.h"

namespace mica::frontend {

/// An argument of an operator under its schema's name.
struct NamedItem {
  std::string name;
  Item item;
  const c10::Argument* schema = nullptr;
};

class StateSizes;
/// Rounds of the search for what a loop or a run carries; each finds something more, or an end to a size.
constexpr int most_rounds = 200;
/// The range of a carried size of which it is not known yet where it ends; what the program keeps to is less than half of that.
constexpr int64_t unbounded_size = int64_t{1} << 20;
/// Forgets all messages but the first `count`: what was tried and given up is not the user's concern.
void keep_first(Diagnostics& diagnostics, size_t count);

class Evaluator {
 public:
  Evaluator(mica::Graph& graph, Diagnostics& diagnostics) : graph_(graph), diagnostics_(diagnostics), builder_(graph, diagnostics) {}

  /// Runs a method on `arguments` (self first). Raises Stop when it cannot go on; what is unsupported is collected meanwhile.
  Item call(torch::jit::Function& function, std::vector<Item> arguments);
  /// The same for the outermost method: what it changes in the module becomes states of the graph.
  /// `limits` say how large attributes can become that differ in size from run to run.
  Item call_with_state(torch::jit::Function& function, const std::vector<Item>& arguments, std::span<const InputSpec> limits);
  /// Reports all unsupported operators that were met, and those in training mode; true when there were any.
  bool report_unsupported();
  /// Where the program cannot do without a value that is not known: an error that names the operator which gave up, unless there is one.
  void report_lost();

  /// Reports why an item cannot be used, and makes it unknown; what containers hold included when `deep`.
  void check_usable(Item& item, const std::string& name, bool deep);

  // ---- tensors (storage.cpp, views.cpp) ----
  Item input_tensor(Value value);
  Item from_ivalue(const c10::IValue& value, const std::string& name, Origin origin);
  InstanceRef instance_of(const c10::intrusive_ptr<c10::ivalue::Object>& object, const std::string& path);
  ContentsRef read(const Tensor& tensor);
  Value materialise(const ContentsRef& contents);
  Value value_of(const Tensor& tensor) { return materialise(read(tensor)); }
  /// The elements that a value of the graph has; raises Stop where making the value failed.
  ContentsRef contents_of(Value value);
  Item fresh(ContentsRef contents);
  /// A new tensor of zeros of a tensor's type, zero as a number of its kind, tuples and lists of those; unknown for anything else.
  Item zeros_like(const Item& item);

  /// The type of every element of a list of tensors of one type or of numbers; none for other lists, and empty ones.
  static std::optional<TensorType> row_type(const ListObject& list);
  static Dim length_of(const ListObject& list);
  const std::vector<Symbol>& symbols() const { return graph_.symbols.all(); }

  // ---- states (control.cpp) ----
  /// A new object, known to be newer than all before it.
  template <class T> std::shared_ptr<T> make(T value = T()) {
    auto object = std::make_shared<T>(std::move(value));
    object->born = ++born_;
    if constexpr (std::is_base_of_v<Container, T>) object->shared = false;  // also of a copy
    return object;
  }
  /// To be called before an object changes.
  template <class T> void touch(T& object) {
    if (!frames_.empty()) frames_.back()->touch(object);
  }
  Item initial_attribute(InstanceObject& instance, const std::string& name);

 private:
  using Environment = std::unordered_map<const torch::jit::Value*, Item>;
  struct Unsupported {
    int64_t count = 0;
    Location first;
  };

  // ---- walking (evaluator.cpp) ----
  using NodeIterator = decltype(std::declval<const torch::jit::Block&>().nodes().begin());
  std::vector<Item> run_block(const torch::jit::Block& block, Environment& environment);
  std::vector<Item> run_rest(const torch::jit::Block& block, NodeIterator at, Environment& environment);
  void run_node(torch::jit::Node& node, Environment& environment);
  bool run_prim(torch::jit::Node& node, Environment& environment);
  void run_call(torch::jit::Node& node, Environment& environment);
  void count_step();
  static bool lacks_result(const std::vector<Item>& inputs, const std::vector<Item>& results);
  void get_attribute(torch::jit::Node& node, Environment& environment);
  void set_attribute(torch::jit::Node& node, Environment& environment);
  std::vector<Item> inputs_of(const torch::jit::Node& node, Environment& environment);
  void set_outputs(const torch::jit::Node& node, std::vector<Item> items, Environment& environment);
  void forget_outputs(const torch::jit::Node& node, Environment& environment);
  bool is_instance(const Item& item, const c10::TypePtr& type);

  // ---- control flow (control.cpp) ----
  using Part = std::function<std::vector<Item>()>;
  /// A part of the program that was evaluated apart: its nodes are in no graph, its changes undone.
  struct Apart {
    Journal journal;
    std::vector<mica::Node> nodes;
    std::vector<Item> results;
    std::optional<Raised> raised;
  };
  void run_if(torch::jit::Node& node, Environment& environment);
  void run_loop(torch::jit::Node& node, Environment& environment);
  void raise_exception(torch::jit::Node& node, Environment& environment);
  std::vector<Item> branch(const Number& condition, const Part& then, const Part& otherwise, const std::vector<std::string>& names);
  Value grow(Value v, const TensorType& merged);
  Value cut(Value v, const TensorType& merged);
  std::vector<Item> merge_branches(const Number& condition, Apart& then, Apart& otherwise, const std::vector<std::string>& names, size_t symbols);
  /// `strict`: gives up where a later use of what differs would be refused.
  std::vector<Item> loop(torch::jit::Node& node, Environment& environment, const std::vector<Item>& in, bool strict);
  /// The values with which a pass begins, for the leaves and the sizes that are carried, and what the sizes are before the first one.
  struct Parameters {
    std::vector<Value> leaves, sizes;
    std::vector<Dim> first;
  };
  std::vector<Value> make_loop(const std::vector<Item>& in, const Contents& trip, const Carried& known, const Parameters& carried,
                               const std::map<const Contents*, Leaf::Source>& first, Apart& body, Merger& merger, const std::vector<Growth>& grown);
  void loop_raises(const std::vector<Item>& in, const Raised& raised);
  bool unroll(torch::jit::Node& node, Environment& environment, const std::vector<Item>& in, bool bounded, std::vector<Item>& out);
  std::vector<Item> unroll_guarded(torch::jit::Node& node, Environment& environment, const std::vector<Item>& in);
  std::vector<Item> run_body(torch::jit::Node& node, Environment& environment, Item trip, const std::vector<Item>& carried);
  Apart run_apart(const Part& part, const Journal* state = nullptr);
  /// What happened apart happens here after all.
  void commit(Apart& apart);
  /// Runs f in the state that the part left, its nodes among the part's.
  void inside(Apart& apart, const std::function<void()>& f);
  /// As run_apart and commit, unless something is reported: then nothing has happened, and false.
  bool attempt(const std::function<void()>& f);
  /// Puts a merged state in place.
  void adopt(const Journal& merged);
  std::vector<mica::Node> take_nodes(size_t from);
  Value value_of(const Leaf::Source& source, const TensorType& type);
  void check(const Number& condition, bool holds, const Raised& raised);

  // ---- what is carried from pass to pass, or from run to run (states.cpp) ----
  Parameters declare(const Carried& known);
  void open(const Carried& known, const Parameters& parameters);
  std::vector<Value> close(const Carried& known, Merger& merger);
  static const Leaf& end_of(Merger& merger, const Leaf& parameter);
  static const MergedSize& end_of(Merger& merger, const MergedSize& parameter);
  TensorType capacity_of(const TensorType& type, const Carried& known) const;
  Value initial_state(const Leaf::Source& source, const TensorType& type);
  void add_states(const Carried& known, const Parameters& parameters, const std::map<const Contents*, Leaf::Source>& first, const StateSizes& sizes,
                  Apart& run, Merger& merger);
  [[noreturn]] void refuse_growing(const std::string& name, Merger& merger);

  // ---- lists that grow in loops (growth.cpp) ----
  /// Takes what a pass appended out of the lists that it leaves; true when lists have come to be known that grow.
  bool take_growth(const Dim& trips, const Journal& state, Journal& body, const Carried& known, std::vector<Growth>& grown);
  void check_rows(const Carried& known, const Journal& body, Merger& merger, const std::vector<Growth>& grown);
  void finish_growth(const std::vector<Growth>& grown, const std::vector<Value>& rows);
  // ---- lists whose length depends on data (lists.cpp) ----
  Value rows_value(const ListObject& list, const TensorType& like);
  void set_rows(ListObject& list, ContentsRef rows, const std::vector<StorageRef>& copied);
  bool change_rows(const std::string& name, ListObject& list, const std::vector<Item>& inputs, std::vector<Item>& results);
  bool join_rows(const std::string& name, const ListObject& list, const std::vector<Item>& inputs, std::vector<Item>& results);
  Item element_at(const ListObject& list, const Item& index);
  void require_some(const Dim& count, const std::string& what);
  bool run_rows(const std::string& name, const std::vector<Item>& inputs, std::vector<Item>& results);
  [[noreturn]] void refuse_list(const std::string& op, const ListObject& list);

  // ---- numbers that depend on data (number.cpp) ----
  /// Operators on numbers of which one at least is not known; false when `node` is none of them.
  bool run_number(torch::jit::Node& node, const std::vector<Item>& inputs, std::vector<Item>& results);
  /// The same where numbers may all be sizes, of which the operator gives no size.
  bool run_arithmetic(torch::jit::Node& node, const std::vector<Item>& inputs, std::vector<Item>& results);
  bool run_ratio(const std::string& name, const std::vector<Item>& inputs, std::vector<Item>& results);
  bool run_number_list(const std::string& name, const std::vector<Item>& inputs, std::vector<Item>& results);
  bool run_factory(const std::string& name, torch::jit::Node& node, const std::vector<Item>& inputs, std::vector<Item>& results);
  bool index_list(const ListObject& list, const Item& index, std::vector<Item>& results);
  bool run_text(torch::jit::Node& node, const std::vector<Item>& inputs, std::vector<Item>& results);
  /// A number, known or not, as a value of rank 0.
  Value number_value(const Item& item, DType dtype);
  Item number_item(Value value);
  Item dynamic_number_of(const Tensor& tensor, const std::string& op);

  // ---- Python values (python.cpp) ----
  /// Operators on lists, dicts, tuples, and questions about tensors; false when `node` is none of them.
  bool run_python(torch::jit::Node& node, const std::vector<Item>& inputs, std::vector<Item>& results);
  bool run_list(const std::string& name, torch::jit::Node& node, const std::vector<Item>& inputs, std::vector<Item>& results);
  bool dict_of(const ListObject& pairs, const torch::jit::Node& node, std::vector<Item>& results);
  bool run_dict(const std::string& name, const std::vector<Item>& inputs, std::vector<Item>& results);
  bool run_absent(const std::string& name, DictObject& dict, const std::vector<Item>& inputs, std::vector<Item>& results);
  bool run_question(const std::string& name, const std::vector<Item>& inputs, std::vector<Item>& results);
  /// Arithmetic on sizes that depend on symbols.
  bool run_size(torch::jit::Node& node, const std::vector<Item>& inputs, std::vector<Item>& results);
  bool run_size_lists(const std::string& name, const std::vector<Item>& inputs, std::vector<Item>& results);
  std::optional<Dim> size_of_item(const Item& item);
  /// Numbers, text and lists of them, by LibTorch's own operator; allow-listed.
  bool run_scalar(torch::jit::Node& node, const std::vector<Item>& inputs, std::vector<Item>& results);
  Item number_of(const Tensor& tensor, const std::string& op);
  void find_size(Contents& contents);

  // ---- tensor operators (call.cpp) ----
  std::vector<Item> run_operator(torch::jit::Node& node, const std::vector<Item>& inputs);
  void keep_size(const std::string& base, const std::vector<Item>& inputs, Item& result);
  bool check_training(const torch::jit::Node& node, const std::vector<NamedItem>& arguments);
  /// By LibTorch when every tensor is a small constant; nothing otherwise.
  std::optional<std::vector<Item>> run_constant(const torch::jit::Operator& op, const std::vector<NamedItem>& arguments, bool in_place);
  /// By the op table. Empty when it failed, which has been reported.
  std::vector<Item> run_import(const std::string& op, const std::vector<NamedItem>& arguments, Diagnostics& diagnostics);
  std::vector<Item> both(const torch::jit::Operator& op, const std::string& name, const std::vector<NamedItem>& arguments, bool in_place);
  bool import_value(const NamedItem& argument, ImportValue& value);
  bool wrap_number(const std::string& op, const NamedItem& number, const std::vector<NamedItem>& arguments, ImportValue& value);
  /// A known value as LibTorch's; none when a tensor in it is not a constant.
  std::optional<c10::IValue> ivalue_of(const Item& item, const c10::TypePtr& type, bool with_tensors);
  Item item_of(const ImportValue& value);
  Item fresh_constant(const at::Tensor& tensor, const std::string& name = {});
  ContentsRef import_one(const std::string& op, std::vector<ImportArg> arguments);

  // ---- views and writes (views.cpp) ----
  bool run_view(const torch::jit::Operator& op, const std::string& name, const std::vector<NamedItem>& arguments, std::vector<Item>& results);
  void make_parts(const Tensor& self, const std::string& name, int64_t axis, bool rows, ListObject& parts);
  bool run_dynamic_view(const std::string& base_name, const std::vector<NamedItem>& arguments, std::vector<Item>& results);
  bool run_copy(const torch::jit::Operator& op, const std::string& name, const std::vector<NamedItem>& arguments, std::vector<Item>& results);
  Item same_or_copy(const torch::jit::Operator& op, const std::string& name, const std::vector<NamedItem>& arguments);
  void note_sharing(const std::string& base_name, const std::vector<Item>& inputs, const std::vector<Item>& results);
  /// Writes to one make the other unknown from then on.
  void may_be(const StorageRef& storage, const StorageRef& origin);
  // slices between places that depend on data (slices.cpp)
  bool run_measured_slice(const std::string& base_name, const std::vector<NamedItem>& arguments, std::vector<Item>& results);
  Dim measured(Value count, const Dim& bound);
  Value place_on(const Item& bound, const Dim& size);
  Item tail_view(const Tensor& x, const std::string& name, int64_t axis, const Dim& start);
  Item head_view(const Tensor& x, const std::string& name, int64_t axis, const Dim& count);
  Item make_view(const Tensor& base, const std::string& name, ContentsRef contents, std::function<ContentsRef(const ContentsRef&)> get,
                 std::function<ContentsRef(const ContentsRef&, const ContentsRef&)> put, bool unclear);
  ContentsRef read_view(const ViewRef& view);
  void write(const Tensor& tensor, ContentsRef contents);
  void mark_stale(const StorageRef& written);
  ContentsRef slice_of(const ContentsRef& base, int64_t axis, const Dim& start, const Dim& end, int64_t step);
  ContentsRef select_of(const ContentsRef& base, int64_t axis, int64_t index);
  ContentsRef reshape_of(const ContentsRef& base, const Shape& shape);
  ContentsRef permute_of(const ContentsRef& base, const std::vector<int64_t>& order);
  ContentsRef slice_scatter(const ContentsRef& base, const ContentsRef& part, int64_t axis, const Dim& start, const Dim& end, int64_t step);
  ContentsRef select_scatter(const ContentsRef& base, const ContentsRef& part, int64_t axis, int64_t index);

  bool run_view_operator(const torch::jit::Operator& op, const std::string& name, const std::vector<NamedItem>& arguments,
                         std::vector<Item>& results);

  // ---- where elements lie in memory (placement.cpp) ----
  std::optional<Placement> placement_of(const Tensor& tensor) const;
  bool is_row_major(const Tensor& tensor) const;
  void note_placement(const std::string& base_name, const std::vector<Item>& inputs, const std::vector<Item>& results);
  /// What an operator makes of a tensor laid out as its first argument is: by LibTorch, without data; nothing where that is not known.
  struct LaidOut {
    at::Tensor self;
    std::vector<at::Tensor> results;
  };
  std::optional<LaidOut> lay_out(const torch::jit::Operator& op, const std::vector<NamedItem>& arguments);
  std::optional<bool> copies_in_eager(const torch::jit::Operator& op, const std::vector<NamedItem>& arguments);
  void place_views(const torch::jit::Operator& op, const std::vector<NamedItem>& arguments, const std::vector<Item>& results);
  void aim_as_strided(std::vector<NamedItem>& arguments);
  bool run_layout_question(const std::string& name, const std::vector<Item>& inputs, std::vector<Item>& results);

  /// Fourier transforms and the parts of their results (fourier.cpp).
  bool run_fourier(const torch::jit::Node& node, const std::vector<Item>& inputs, std::vector<Item>& results);

  // ---- messages ----
  void enter(const torch::jit::Node& node);  ///< from here on messages and nodes stand at `node`
  const Location& here();
  void count_unsupported(const std::string& op);
  void data_dependent(const std::string& what, const std::string& why);
  void refuse_shared(const char* what);
  /// Questions to what may be None, depending on data; anything else that is done to it is refused.
  bool run_maybe(const std::string& name, const std::vector<Item>& inputs, std::vector<Item>& results);
  Item unwrap(const torch::jit::Node& node, const MaybeObject& maybe);
  bool refuse_maybe(const std::string& what, const std::vector<Item>& inputs);

  mica::Graph& graph_;
  Diagnostics& diagnostics_;
  Builder builder_;
  ConstantPool constants_;
  std::unordered_map<const void*, StorageRef> module_tensors_;  ///< by TensorImpl: a parameter read twice is one tensor
  std::vector<at::Tensor> module_tensors_kept_;
  std::unordered_map<const void*, InstanceRef> instances_;
  std::map<std::string, Unsupported> unsupported_, in_training_;
  std::optional<std::pair<std::string, Location>> lost_;  ///< the first operator whose operands are known and whose result is not
  std::string path_;                                      ///< module path of the method that is running
  const torch::jit::Node* node_ = nullptr;
  std::vector<const torch::jit::Node*> callers_;  ///< the calls that led here, outermost first
  std::map<std::pair<const torch::jit::Node*, std::string>, uint32_t> locations_;
  std::vector<Journal*> frames_;  ///< of the parts that are being evaluated apart, innermost last
  uint64_t born_ = 0;             ///< objects made so far
  int depth_ = 0;
  int splits_ = 0;  ///< values of two kinds behind which both ways are being run
  int64_t steps_ = 0;
  int errors_here_ = 0;
  bool warned_input_ = false;
};

/// a OP b on sizes, for "aten::add" and the like; nothing when the operator gives no size.
std::optional<Dim> size_arithmetic(std::string_view op, const Dim& a, const Dim& b);
/// "aten::add_.Tensor" of a schema.
std::string full_name(const c10::FunctionSchema& schema);
bool contains_unknown(const Item& item);
/// The dtype of a number, known or not; none for anything else.
std::optional<DType> number_kind(const Item& item);
/// Whether the evaluator itself computes operators of this name on Python values.
bool is_python_operator(const std::string& base_name);

}  // namespace mica::frontend
