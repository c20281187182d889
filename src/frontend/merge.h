#pragma once
// Two states of a program become one: what the two branches of an `if` leave, or what a loop's body finds and what it leaves. Where both have the
// same value nothing happens; where the values differ there is a leaf, a value that the graph chooses (`if`) or carries (`loop`).
#include <array>
#include <functional>
#include <map>
#include <set>

#include "journal.h"

namespace mica::frontend {

class Evaluator;

/// One value that differs between the states.
struct Leaf {
  /// A tensor or number, or the elements of a storage that both states know.
  using Source = std::variant<Item, ContentsRef>;
  Source a, b;
  ContentsRef before;  ///< a's elements, where a is a number or a whole storage
  ContentsRef merged;  ///< the value that is made of both; its `value` is the caller's to set
  StorageRef storage;  ///< the tensor's that is made of both; null for numbers and known storages
  std::string name;    ///< as the program calls it; may be empty
};

/// A size that is not the same in both states: `merged` is a measured symbol, which the caller measures.
struct MergedSize {
  Dim a, b, merged;
  std::string name;  ///< of a tensor that has it
};
/// The most that a size can be which is carried, a in one state and b in the other: of this axis of the tensor of that name.
using SizeBound = std::function<Dim(const Dim& a, const Dim& b, const std::string& name, int64_t axis)>;

/// What a merge made that the next one, with its result as the state `a`, has to know again.
struct Carried {
  std::vector<Leaf> leaves;
  std::set<const void*> containers;
  std::vector<MergedSize> sizes;
};

class Merger {
 public:
  /// `a` and `b` hold the states of the objects in which they differ from what they are now. `carried` is of an earlier merge whose result is
  /// the state `a`: its leaves are leaves again, whether or not they changed.
  Merger(Evaluator& evaluator, const Journal& a, const Journal& b, const Carried& carried, std::string one, std::string other);
  /// From here on tensors of one rank whose sizes differ are merged, with symbols of this graph, of which the first `symbols` are known in both
  /// states. Others become alternatives, as the condition of the state `a` says.
  void merge_sizes(mica::Graph& graph, size_t symbols, const Number& condition) { graph_ = &graph, symbols_ = symbols, condition_ = condition; }
  /// The same where the merged state is carried: sizes that the earlier merge made are sizes of their own again, and so are all that can vary.
  void carry_sizes(mica::Graph& graph, SizeBound bound) { graph_ = &graph, bound_ = std::move(bound); }
  /// Sizes that the inputs give vary as well.
  void carry_given_sizes() { carries_given_ = true; }

  Item merge(const Item& a, const Item& b, const std::string& name);
  /// The objects that either state knows, merged; to be put in place by Evaluator::adopt.
  Journal merge_objects(uint64_t start);
  /// Objects that may be one with others from here on; to be called when the merged state is in place.
  void note_sharing();

  std::vector<Leaf>& leaves() { return made_here_.leaves; }
  const std::vector<MergedSize>& sizes() const { return made_here_.sizes; }
  int64_t conflicts() const { return conflicts_; }
  const Carried& made() const { return made_here_; }
  /// Equal for two merges in a row: nothing new is carried.
  std::string signature(uint64_t start) const;

 private:
  template <class T> const T& in_a(const T& object) const { return state(a_, object); }
  template <class T> const T& in_b(const T& object) const { return state(b_, object); }
  template <class T> static const T& state(const Journal& journal, const T& object) {
    const T* found = journal.changes<T>().find(&object);
    return found ? *found : object;
  }
  Item merge_tensors(const Tensor& a, const Tensor& b, const std::string& name);
  Conflict keep_both(const Tensor& a, const Tensor& b, const std::string& name);
  std::optional<TensorType> merge_types(const TensorType& a, const TensorType& b, const std::string& name);
  Dim merge_dims(const Dim& a, const Dim& b, const std::string& name, int64_t axis);
  Item merge_numbers(const Item& a, const Item& b, const std::string& name);
  Item merge_unset(const Item& a, const Item& b, const std::string& name);
  Item merge_maybe(const Item& a, const Item& b, const std::string& name);
  Item merge_lists(const ListRef& a, const ListRef& b, const std::string& name);
  bool merge_rows(const ListObject& a, const ListObject& b, ListObject& out, const std::string& name);
  Item merge_dicts(const DictRef& a, const DictRef& b, const std::string& name);
  Item merge_tuples(const TupleObject& a, const TupleObject& b, const std::string& name);
  Item merge_instances(const InstanceRef& a, const InstanceRef& b, const std::string& name);
  ContentsRef merge_contents(const ContentsRef& a, const ContentsRef& b, const std::string& name);
  void merge_items(const std::vector<Item>& a, const std::vector<Item>& b, std::vector<Item>& out, const std::string& name);
  void merge_entries(const DictObject& a, const DictObject& b, DictObject& out, const std::string& name);
  void merge_slots(const InstanceRef& instance, const InstanceObject& a, const InstanceObject& b, InstanceObject& out, const std::string& name);
  void merge_storage(const Storage& a, const Storage& b, Storage& out);
  Conflict differ(const std::string& a, const std::string& b, const std::string& name);
  bool is_own(const void* object) const { return own_.contains(object); }
  template <class T> std::shared_ptr<T> shared_copy(const std::shared_ptr<T>& a, const std::shared_ptr<T>& b);

  Evaluator& evaluator_;
  const Journal &a_, &b_;
  std::string one_, other_;  ///< "in one branch", "in the other"
  std::set<const Contents*> carried_;
  std::set<const void*> own_;  ///< objects that the earlier merge made
  std::map<std::pair<const void*, const void*>, Item> done_;
  std::map<std::array<const void*, 4>, Tensor> tensors_;
  std::vector<std::shared_ptr<ListObject>> lists_;  ///< that became one of several
  std::vector<std::shared_ptr<DictObject>> dicts_;
  std::vector<std::shared_ptr<InstanceObject>> objects_;
  Carried made_here_;
  mica::Graph* graph_ = nullptr;
  size_t symbols_ = 0;
  std::optional<Number> condition_;
  SizeBound bound_;  ///< where sizes are carried
  std::vector<Dim> carried_sizes_;
  bool carries_given_ = false;
  int64_t conflicts_ = 0;
};

/// "f32[2, 3]", "None", "a list of 3", "an int".
std::string describe(const Item& item);

}  // namespace mica::frontend
