#pragma once
// What the evaluator's environment maps a TorchScript value to.
//
// Shapes are static, so a model's Python arithmetic (sizes, lists, branches) is known while importing and only tensor operators become nodes.
// An Item is therefore either a Python value that is known, or a tensor of which at least the type is known.
//
// A tensor is a handle: a Storage that in-place operators write to, and a chain of Views that says which part of it. Contents are immutable;
// a write gives the storage new contents and a new version, and a view whose contents are older derives them again (views.cpp).
#include <ATen/core/ivalue.h>
#include <ATen/core/jit_type.h>

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <variant>
#include <vector>

#include "mica/ir/graph.h"

namespace mica::frontend {

/// Elements of a tensor: a graph value, a constant known while importing, or both.
struct Contents {
  TensorType type;
  Value value;          ///< invalid until it is needed in the graph
  at::Tensor constant;  ///< undefined when it depends on inputs
  std::string name;     ///< of a parameter: "layer1.0.conv1.weight"
};
using ContentsRef = std::shared_ptr<Contents>;

struct View;
using ViewRef = std::shared_ptr<View>;

enum class Origin : uint8_t { fresh, input, module };

/// What views alias and in-place operators write to.
struct Storage {
  ContentsRef contents;
  Origin origin = Origin::fresh;
  uint64_t version = 0;
  /// For each write through views of which eager may have made copies: its version and those views.
  std::vector<std::pair<uint64_t, std::vector<const View*>>> unclear_writes;
  /// Views of which eager may have made copies, when a write happened; kept so that their addresses stay unique.
  std::vector<ViewRef> kept;
};
using StorageRef = std::shared_ptr<Storage>;

/// A part of a storage, or of another view of it.
struct View {
  StorageRef storage;
  ViewRef parent;  ///< null: the whole storage
  /// The view's contents from its parent's.
  std::function<ContentsRef(const ContentsRef& parent)> get;
  /// The parent's new contents when the view's are replaced; null where that is not worked out (expand, unfold ...).
  std::function<ContentsRef(const ContentsRef& parent, const ContentsRef& part)> put;
  bool unclear = false;  ///< eager makes a copy instead, depending on strides (reshape, contiguous)
  std::string op;        ///< for messages
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
struct ListObject {
  std::vector<Item> items;
  c10::TypePtr element;
};
struct TupleObject {
  std::vector<Item> items;
  c10::TypePtr type;  ///< carries the names of a NamedTuple
};
struct DictObject {
  std::vector<std::pair<Item, Item>> entries;
  c10::TypePtr key, value;
};
/// A module or an instance of a scripted class.
struct InstanceObject {
  c10::intrusive_ptr<c10::ivalue::Object> object;  ///< null for instances made while the model runs
  c10::ClassTypePtr type;
  std::string path;                   ///< "layer1.0"; of modules
  std::map<std::string, Item> slots;  ///< attributes read or written so far
};
/// Stands for a result that could not be worked out; the reason has been reported.
struct Unknown {};

using ListRef = std::shared_ptr<ListObject>;
using TupleRef = std::shared_ptr<TupleObject>;
using DictRef = std::shared_ptr<DictObject>;
using InstanceRef = std::shared_ptr<InstanceObject>;

struct Item {
  /// An IValue here is None, a number, text, a device or the like: never a tensor or a container.
  std::variant<Unknown, c10::IValue, Tensor, ListRef, TupleRef, DictRef, InstanceRef> data;

  Item() = default;
  template <class T> Item(T value) : data(std::move(value)) {}
  bool is_unknown() const { return std::holds_alternative<Unknown>(data); }
  const c10::IValue* plain() const { return std::get_if<c10::IValue>(&data); }
  const Tensor* tensor() const { return std::get_if<Tensor>(&data); }
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

 private:
  template <class T> T* get() const {
    const auto* p = std::get_if<std::shared_ptr<T>>(&data);
    return p ? p->get() : nullptr;
  }
};

inline Item none_item() { return Item(c10::IValue()); }

/// Ends an import after its reason has been reported; never leaves this folder.
struct Stop {};

}  // namespace mica::frontend
