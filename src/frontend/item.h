#pragma once
// What the evaluator's environment maps a TorchScript value to.
//
// Shapes are known up to symbols, so most of a model's Python arithmetic (sizes, lists, branches) is done while importing and only tensor
// operators become nodes. An Item is therefore a Python value that is known, a size that depends on symbols, a number of which only the kind is
// known because it depends on data, or a tensor of which at least the type is known.
//
// A tensor is a handle: a Storage that in-place operators write to, and a chain of Views that says which part of it. Contents are immutable;
// a write gives the storage new contents and a new version, and a view whose contents are older derives them again (views.cpp).
#include <ATen/core/ivalue.h>
#include <ATen/core/jit_type.h>

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "mica/ir/graph.h"

namespace mica::frontend {

/// Elements of a tensor: a graph value, a constant known while importing, or both.
struct Contents {
  TensorType type;
  Value value;              ///< invalid until it is needed in the graph
  at::Tensor constant;      ///< undefined when it depends on inputs
  std::string name;         ///< of a parameter: "layer1.0.conv1.weight"
  std::optional<Dim> size;  ///< what a rank-0 i64 tensor holds where that is a size depending on symbols, as traces compute with sizes
};
using ContentsRef = std::shared_ptr<Contents>;

struct View;
using ViewRef = std::shared_ptr<View>;

enum class Origin : uint8_t { fresh, input, module };

/// What programs change in place: a change made in one branch is undone before the other is evaluated (journal.h), and both are merged.
struct Object {
  uint64_t born = 0;  ///< counts what the evaluator makes; 0: it was there before the program ran
};

/// Where PyTorch lays the elements of a tensor, in elements of its memory.
struct Placement {
  std::vector<int64_t> strides;
  int64_t offset = 0;
  bool copied = false;  ///< not in the storage that the tensor is taken for a view of, but in memory of its own
};

/// What views alias and in-place operators write to.
struct Storage : Object, std::enable_shared_from_this<Storage> {
  ContentsRef contents;
  Origin origin = Origin::fresh;
  bool row_major = false;              ///< for certain
  std::optional<Placement> placement;  ///< where it is not row-major and known all the same
  uint64_t version = 0;
  /// For each write through views of which eager may have made copies: its version and those views.
  std::vector<std::pair<uint64_t, std::vector<const View*>>> unclear_writes;
  /// Views of which eager may have made copies, when a write happened; kept so that their addresses stay unique.
  std::vector<ViewRef> kept;
  /// Of a tensor that is one of several, depending on data: those that it may be. Empty: it is itself.
  std::vector<std::shared_ptr<Storage>> origins;
  std::vector<std::weak_ptr<Storage>> maybe;  ///< those that may be this one
  bool stale = false;                         ///< one that may be this one was written since
};
using StorageRef = std::shared_ptr<Storage>;

/// A part of a storage, or of another view of it.
struct View : Object, std::enable_shared_from_this<View> {
  StorageRef storage;
  ViewRef parent;  ///< null: the whole storage
  /// The view's contents from its parent's.
  std::function<ContentsRef(const ContentsRef& parent)> get;
  /// The parent's new contents when the view's are replaced; null where that is not worked out (expand, unfold ...).
  std::function<ContentsRef(const ContentsRef& parent, const ContentsRef& part)> put;
  bool unclear = false;                ///< eager makes a copy instead, depending on strides (reshape, contiguous)
  std::string op;                      ///< for messages
  std::optional<Placement> placement;  ///< where it is known
  ContentsRef contents;
  uint64_t version = 0;
};

struct Tensor {
  StorageRef storage;
  ViewRef view;  ///< null: the whole storage
  /// The type never changes, whatever is written.
  const TensorType& type() const { return (view ? view->contents : storage->contents)->type; }
};

struct Item;
struct Alternatives;
/// Why something cannot be used: it is not the same in two branches, or on two ways through a loop.
struct Difference {
  std::string why;
  std::shared_ptr<const Alternatives> ways;  ///< not null: what it is on either way, so that what follows can be run for both
};
using Conflict = std::shared_ptr<const Difference>;

struct Container : Object {
  std::string name;     ///< of an attribute of the module
  Conflict conflict;    ///< set when the branches gave it different structures
  bool shared = false;  ///< may be one of several objects, or one of several may be it: it must not be changed
};
struct ListObject : Container, std::enable_shared_from_this<ListObject> {
  std::vector<Item> items;
  c10::TypePtr element;
  bool growing = false;  ///< in a loop whose length only the run knows (growth.cpp): `items` is what it had before, and it can only be appended to
  StorageRef rows;  ///< not null: its elements are the rows of this tensor, of which only the run knows how many, and `items` is empty (lists.cpp)
};
struct TupleObject {
  std::vector<Item> items;
  c10::TypePtr type;  ///< carries the names of a NamedTuple
};
struct DictObject : Container, std::enable_shared_from_this<DictObject> {
  std::vector<std::pair<Item, Item>> entries;
  c10::TypePtr key, value;
};
/// A module or an instance of a scripted class.
struct InstanceObject : Container, std::enable_shared_from_this<InstanceObject> {
  c10::intrusive_ptr<c10::ivalue::Object> object;  ///< null for instances made while the model runs
  c10::ClassTypePtr type;
  std::string path;                   ///< "layer1.0"; of modules
  std::map<std::string, Item> slots;  ///< attributes written so far
  /// Attributes of `object` read so far, as they were; every state of the object has the same.
  std::shared_ptr<std::map<std::string, Item>> initial = std::make_shared<std::map<std::string, Item>>();
};
/// Stands for a result that could not be worked out; the reason has been reported.
struct Unknown {};
/// A local before its first assignment on some way through the program, where LibTorch knows that it is not read.
struct Uninitialized {};
/// A float that is numerator / denominator, rounded once: a quotient of sizes on its way back to a size.
struct Ratio {
  Dim numerator;
  int64_t denominator = 1;
};
/// A number that depends on data, or on sizes in a way that no size does: rank 0 and i64, f64 or bool.
struct Number {
  ContentsRef contents;
  std::optional<Ratio> ratio{};
  DType dtype() const { return contents->type.dtype; }
};
/// Text with parts that depend on data, shown as "{}": good for messages only.
struct Text {
  std::string known;
};

using ListRef = std::shared_ptr<ListObject>;
using TupleRef = std::shared_ptr<TupleObject>;
using DictRef = std::shared_ptr<DictObject>;
using InstanceRef = std::shared_ptr<InstanceObject>;

struct MaybeObject;
using MaybeRef = std::shared_ptr<const MaybeObject>;

struct Item {
  /// An IValue here is None, a number, text, a device or the like: never a tensor or a container. A Dim is an integer that depends on symbols.
  std::variant<Unknown, c10::IValue, Tensor, ListRef, TupleRef, DictRef, InstanceRef, Dim, Number, Text, Conflict, Uninitialized, MaybeRef> data;

  Item() = default;
  template <class T> Item(T value) : data(std::move(value)) {}
  bool is_unknown() const { return std::holds_alternative<Unknown>(data); }
  const c10::IValue* plain() const { return std::get_if<c10::IValue>(&data); }
  const Tensor* tensor() const { return std::get_if<Tensor>(&data); }
  const Dim* size() const { return std::get_if<Dim>(&data); }
  const Number* number() const { return std::get_if<Number>(&data); }
  const Text* text() const { return std::get_if<Text>(&data); }
  const MaybeObject* maybe() const { return get<const MaybeObject>(); }
  bool is_uninitialized() const { return std::holds_alternative<Uninitialized>(data); }
  ListObject* list() const { return get<ListObject>(); }
  TupleObject* tuple() const { return get<TupleObject>(); }
  DictObject* dict() const { return get<DictObject>(); }
  InstanceRef instance() const {
    const auto* p = std::get_if<InstanceRef>(&data);
    return p ? *p : nullptr;
  }
  bool is_none() const { return plain() && plain()->isNone(); }
  bool is_int() const { return plain() && plain()->isInt(); }
  bool is_bool() const { return plain() && plain()->isBool(); }
  int64_t integer() const { return plain()->toInt(); }
  /// Why it cannot be used; null when it can.
  Conflict conflict() const {
    if (const auto* c = std::get_if<Conflict>(&data)) return *c;
    return list() ? list()->conflict : dict() ? dict()->conflict : instance() ? instance()->conflict : nullptr;
  }
  const Alternatives* alternatives() const {
    const auto* c = std::get_if<Conflict>(&data);
    return c ? (*c)->ways.get() : nullptr;
  }

 private:
  template <class T> T* get() const {
    const auto* p = std::get_if<std::shared_ptr<T>>(&data);
    return p ? p->get() : nullptr;
  }
};

/// A tensor or a number, or None where `present` says so, which depends on data: `value` is zeros then.
struct MaybeObject {
  Item present;  ///< a Number
  Item value;
};

/// Tensors of two ranks or dtypes: `one` where the condition holds and `other` where not. The one that it is not is zeros.
struct Alternatives {
  Item condition;  ///< a Number
  Item one, other;
};

/// A size as a Python value: a known integer where it is one.
inline Item size_item(const Dim& size) { return size.is_static() ? Item(c10::IValue(size.size())) : Item(size); }
inline Item none_item() { return Item(c10::IValue()); }

/// Ends an import after its reason has been reported; never leaves this folder.
struct Stop {};
/// The model raises an exception on the way that is being evaluated.
struct Raised {
  std::string message;
  Location where;
};

}  // namespace mica::frontend
