#pragma once
// Walks TorchScript as an interpreter would: Python values are computed, methods and functions entered, branches taken, loops unrolled, and every
// tensor operator becomes nodes of the graph. Nothing is rewritten in LibTorch and none of its passes runs, so only operators that this file and
// the op table allow are ever executed.
#include <torch/csrc/jit/api/module.h>
#include <torch/csrc/jit/ir/ir.h>

#include <unordered_map>

#include "constants.h"
#include "item.h"
#include "mica/ops/import.h"

namespace mica::frontend {

/// An argument of an operator under its schema's name.
struct NamedItem {
  std::string name;
  Item item;
  const c10::Argument* schema = nullptr;
};

class Evaluator {
 public:
  Evaluator(mica::Graph& graph, Diagnostics& diagnostics) : graph_(graph), diagnostics_(diagnostics), builder_(graph, diagnostics) {}

  /// Runs a method on `arguments` (self first). Raises Stop when it cannot go on; what is unsupported is collected meanwhile.
  Item call(torch::jit::Function& function, std::vector<Item> arguments);
  /// Reports all unsupported operators that were met, and those in training mode; true when there were any.
  bool report_unsupported();

  // ---- tensors (storage.cpp, views.cpp) ----
  Item input_tensor(Value value);
  Item from_ivalue(const c10::IValue& value, const std::string& name, Origin origin);
  InstanceRef instance_of(const c10::intrusive_ptr<c10::ivalue::Object>& object, const std::string& path);
  ContentsRef read(const Tensor& tensor);
  Value materialise(const ContentsRef& contents);
  Value value_of(const Tensor& tensor) { return materialise(read(tensor)); }

 private:
  using Environment = std::unordered_map<const torch::jit::Value*, Item>;
  struct Unsupported {
    int64_t count = 0;
    Location first;
  };

  // ---- walking (evaluator.cpp) ----
  std::vector<Item> run_block(const torch::jit::Block& block, Environment& environment);
  void run_node(torch::jit::Node& node, Environment& environment);
  bool run_prim(torch::jit::Node& node, Environment& environment);
  void run_if(torch::jit::Node& node, Environment& environment);
  void run_loop(torch::jit::Node& node, Environment& environment);
  void run_call(torch::jit::Node& node, Environment& environment);
  void get_attribute(torch::jit::Node& node, Environment& environment);
  void set_attribute(torch::jit::Node& node, Environment& environment);
  void raise_exception(torch::jit::Node& node, Environment& environment);
  std::vector<Item> inputs_of(const torch::jit::Node& node, Environment& environment);
  void set_outputs(const torch::jit::Node& node, std::vector<Item> items, Environment& environment);
  void forget_outputs(const torch::jit::Node& node, Environment& environment);
  bool is_instance(const Item& item, const c10::TypePtr& type);

  // ---- Python values (python.cpp) ----
  /// Operators on lists, dicts, tuples, and questions about tensors; false when `node` is none of them.
  bool run_python(torch::jit::Node& node, const std::vector<Item>& inputs, std::vector<Item>& results);
  bool run_list(const std::string& name, torch::jit::Node& node, const std::vector<Item>& inputs, std::vector<Item>& results);
  bool run_dict(const std::string& name, const std::vector<Item>& inputs, std::vector<Item>& results);
  bool run_question(const std::string& name, const std::vector<Item>& inputs, std::vector<Item>& results);
  /// Numbers, text and lists of them, by LibTorch's own operator; allow-listed.
  bool run_scalar(torch::jit::Node& node, const std::vector<Item>& inputs, std::vector<Item>& results);
  Item number_of(const Tensor& tensor, const std::string& op);

  // ---- tensor operators (call.cpp) ----
  std::vector<Item> run_operator(torch::jit::Node& node, const std::vector<Item>& inputs);
  bool check_training(const torch::jit::Node& node, const std::vector<NamedItem>& arguments);
  /// By LibTorch when every tensor is a small constant; nothing otherwise.
  std::optional<std::vector<Item>> run_constant(const torch::jit::Operator& op, const std::vector<NamedItem>& arguments, bool in_place);
  /// By the op table. Empty when it failed, which has been reported.
  std::vector<Item> run_import(const std::string& op, const std::vector<NamedItem>& arguments, Diagnostics& diagnostics);
  std::vector<Item> both(const torch::jit::Operator& op, const std::string& name, const std::vector<NamedItem>& arguments, bool in_place);
  bool import_value(const NamedItem& argument, ImportValue& value);
  /// A known value as LibTorch's; none when a tensor in it is not a constant.
  std::optional<c10::IValue> ivalue_of(const Item& item, const c10::TypePtr& type, bool with_tensors);
  Item item_of(const ImportValue& value);
  Item fresh(ContentsRef contents);
  Item fresh_constant(const at::Tensor& tensor, const std::string& name = {});
  ContentsRef import_one(const std::string& op, std::vector<ImportArg> arguments);

  // ---- views and writes (views.cpp) ----
  bool run_view(const torch::jit::Operator& op, const std::string& name, const std::vector<NamedItem>& arguments, std::vector<Item>& results);
  void make_parts(const Tensor& self, const std::string& name, int64_t axis, bool rows, ListObject& parts);
  bool run_copy(const std::string& base_name, const std::vector<NamedItem>& arguments, std::vector<Item>& results);
  Item make_view(const Tensor& base, const std::string& name, ContentsRef contents, std::function<ContentsRef(const ContentsRef&)> get,
                 std::function<ContentsRef(const ContentsRef&, const ContentsRef&)> put, bool unclear);
  ContentsRef read_view(const ViewRef& view);
  void write(const Tensor& tensor, ContentsRef contents);
  ContentsRef slice_of(const ContentsRef& base, int64_t axis, int64_t start, int64_t end, int64_t step);
  ContentsRef select_of(const ContentsRef& base, int64_t axis, int64_t index);
  ContentsRef reshape_of(const ContentsRef& base, const Shape& shape);
  ContentsRef permute_of(const ContentsRef& base, const std::vector<int64_t>& order);
  ContentsRef slice_scatter(const ContentsRef& base, const ContentsRef& part, int64_t axis, int64_t start, int64_t end, int64_t step);
  ContentsRef select_scatter(const ContentsRef& base, const ContentsRef& part, int64_t axis, int64_t index);

  // ---- messages ----
  void enter(const torch::jit::Node& node);  ///< from here on messages and nodes stand at `node`
  const Location& here();
  void count_unsupported(const std::string& op);
  void data_dependent(const std::string& what, const std::string& why);

  mica::Graph& graph_;
  Diagnostics& diagnostics_;
  Builder builder_;
  ConstantPool constants_;
  std::unordered_map<const void*, StorageRef> module_tensors_;  ///< by TensorImpl: a parameter read twice is one tensor
  std::vector<at::Tensor> module_tensors_kept_;
  std::unordered_map<const void*, InstanceRef> instances_;
  std::map<std::string, Unsupported> unsupported_, in_training_;
  std::string path_;  ///< module path of the method that is running
  const torch::jit::Node* node_ = nullptr;
  std::vector<const torch::jit::Node*> callers_;  ///< the calls that led here, outermost first
  std::map<std::pair<const torch::jit::Node*, std::string>, uint32_t> locations_;
  int depth_ = 0;
  int64_t steps_ = 0;
  int errors_here_ = 0;
  bool warned_input_ = false;
};

/// "aten::add_.Tensor" of a schema.
std::string full_name(const c10::FunctionSchema& schema);
bool contains_unknown(const Item& item);
/// Whether the evaluator itself computes operators of this name on Python values.
bool is_python_operator(const std::string& base_name);

}  // namespace mica::frontend
