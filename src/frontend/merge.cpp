#include "merge.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <bit>

#include "evaluator.h"

namespace mica::frontend {
namespace {

const char* kind_name(DType kind) { return kind == DType::i64 ? "an int" : kind == DType::f64 ? "a float" : "a bool"; }

bool same_plain(const c10::IValue& a, const c10::IValue& b) {
  if (a.tagKind() != b.tagKind()) return false;
  if (a.isDouble()) return std::bit_cast<uint64_t>(a.toDouble()) == std::bit_cast<uint64_t>(b.toDouble());
  return a.isNone() || a == b;
}

bool same_constant(const ContentsRef& a, const ContentsRef& b) {
  if (a == b) return true;
  if (!a->constant.defined() || !b->constant.defined() || a->value || b->value) return false;
  return a->type == b->type && a->constant.numel() <= 4096 && at::equal(a->constant, b->constant);
}

/// A size, known or not, that cannot be negative; none for other items.
std::optional<Dim> size_of(const Item& item) {
  std::optional<Dim> size;
  if (item.size()) size = *item.size();
  else if (item.is_int()) size = Dim(item.integer());
  return size && size->low() >= 0 ? size : std::nullopt;
}

std::vector<StorageRef> origins_of(const StorageRef& storage) {
  return storage->origins.empty() ? std::vector<StorageRef>{storage} : storage->origins;
}

}  // namespace

std::string describe(const Item& item) {
  if (const Tensor* t = item.tensor()) return t->type().to_string();
  if (const auto kind = number_kind(item)) return kind_name(*kind);
  if (item.size()) return item.size()->to_string();
  if (item.is_none()) return "None";
  if (item.maybe()) return describe(item.maybe()->value) + " or None";
  if (const c10::IValue* v = item.plain()) return v->isString() ? fmt::format("'{}'", v->toStringRef()) : v->tagKind();
  if (item.list()) return fmt::format("a list of {}", item.list()->items.size());
  if (item.tuple()) return fmt::format("a tuple of {}", item.tuple()->items.size());
  if (item.dict()) return fmt::format("a dict of {}", item.dict()->entries.size());
  if (const auto instance = item.instance())
    return fmt::format("an object of {}", instance->type->name() ? instance->type->name()->name() : "a class");
  return item.text() ? "text" : "unknown";
}

Merger::Merger(Evaluator& evaluator, const Journal& a, const Journal& b, const Carried& carried, std::string one, std::string other)
    : evaluator_(evaluator), a_(a), b_(b), one_(std::move(one)), other_(std::move(other)) {
  own_ = carried.containers;
  for (const MergedSize& s : carried.sizes) carried_sizes_.push_back(s.merged);
  for (const Leaf& leaf : carried.leaves) {
    carried_.insert(leaf.merged.get());
    if (leaf.storage) own_.insert(leaf.storage.get());
  }
}

Conflict Merger::differ(const std::string& a, const std::string& b, const std::string& name) {
  ++conflicts_;
  const std::string what = name.empty() ? std::string("a value") : "'" + name + "'";
  return std::make_shared<const Difference>(Difference{fmt::format("{} is {} {} and {} {}", what, a, one_, b, other_), nullptr});
}

ContentsRef Merger::merge_contents(const ContentsRef& a, const ContentsRef& b, const std::string& name) {
  if (!carried_.contains(a.get()) && same_constant(a, b)) return a;
  auto merged = std::make_shared<Contents>();
  merged->type = a->type;
  leaves().push_back({.a = a, .b = b, .before = a, .merged = merged, .storage = nullptr, .name = name});
  return merged;
}

Item Merger::merge(const Item& a, const Item& b, const std::string& name) {
  if (a.is_uninitialized() || b.is_uninitialized()) return merge_unset(a, b, name);
  if (a.size() && b.size() && *a.size() == *b.size()) return a;
  if (a.is_unknown() || b.is_unknown()) return Item();
  for (const Item* i : {&a, &b})  // alternatives in one branch are not known outside of it
    if (const Conflict c = i->conflict()) return std::make_shared<const Difference>(Difference{c->why, nullptr});
  if (a.maybe() || b.maybe() || a.is_none() != b.is_none()) return merge_maybe(a, b, name);
  if (const auto one = size_of(a), other = size_of(b); graph_ && !bound_ && (a.size() || b.size()) && one && other)
    return merge_dims(*one, *other, name, 0);
  if (const auto kind = number_kind(a), other = number_kind(b); kind && other) {
    if (*kind == *other) return merge_numbers(a, b, name);
    return differ(kind_name(*kind), kind_name(*other), name);
  }
  if (a.plain() && b.plain() && same_plain(*a.plain(), *b.plain())) return a;
  if (a.tensor() && b.tensor()) return merge_tensors(*a.tensor(), *b.tensor(), name);
  if (a.list() && b.list()) return merge_lists(std::get<ListRef>(a.data), std::get<ListRef>(b.data), name);
  if (a.tuple() && b.tuple() && a.tuple()->items.size() == b.tuple()->items.size()) return merge_tuples(*a.tuple(), *b.tuple(), name);
  if (a.dict() && b.dict()) return merge_dicts(std::get<DictRef>(a.data), std::get<DictRef>(b.data), name);
  if (a.instance() && b.instance()) return merge_instances(a.instance(), b.instance(), name);
  if (a.text() && b.text() && a.text()->known == b.text()->known) return a;
  return differ(describe(a), describe(b), name);
}

/// Set in one state only, and nothing reads it where it is not: there it is zeros, so that what a branch made comes out as its result.
Item Merger::merge_unset(const Item& a, const Item& b, const std::string& name) {
  const Item& set = a.is_uninitialized() ? b : a;
  const bool given = set.size() && greatest(*set.size(), evaluator_.symbols()) == *set.size();
  if (given || set.plain() || set.text() || set.is_unknown() || set.is_uninitialized()) return set;
  if (const Conflict c = set.conflict()) return std::make_shared<const Difference>(Difference{c->why, nullptr});
  const uint64_t start = a_.start();
  const auto old = [&](const auto* object) { return object && object->born < start; };
  if (old(set.list()) || old(set.dict()) || old(set.instance().get())) return set;
  const Item zeros = set.maybe() ? none_item() : evaluator_.zeros_like(set);
  if (zeros.is_unknown()) {
    const std::string what = name.empty() ? std::string("a value") : "'" + name + "'";
    return std::make_shared<const Difference>(Difference{fmt::format("{} is set {} only", what, a.is_uninitialized() ? other_ : one_), nullptr});
  }
  return a.is_uninitialized() ? merge(zeros, b, name) : merge(a, zeros, name);
}

/// None in one state and not in the other: whether it is, and zeros where it is.
Item Merger::merge_maybe(const Item& a, const Item& b, const std::string& name) {
  const auto present = [](const Item& i) { return i.maybe() ? i.maybe()->present : Item(c10::IValue(!i.is_none())); };
  const auto value = [](const Item& i) { return i.maybe() ? i.maybe()->value : i; };
  const Item one = a.is_none() ? evaluator_.zeros_like(value(b)) : value(a), other = b.is_none() ? evaluator_.zeros_like(value(a)) : value(b);
  if (one.is_unknown() || other.is_unknown()) return differ(describe(a), describe(b), name);
  const Item is_there = merge_numbers(present(a), present(b), name);
  if (is_there.is_bool()) return is_there.plain()->toBool() ? merge(one, other, name) : none_item();
  const Item merged = merge(one, other, name);
  return merged.conflict() ? merged : MaybeRef(std::make_shared<const MaybeObject>(MaybeObject{is_there, merged}));
}

Item Merger::merge_numbers(const Item& a, const Item& b, const std::string& name) {
  if (a.plain() && b.plain() && same_plain(*a.plain(), *b.plain())) return a;
  const ContentsRef before = a.number() ? a.number()->contents : nullptr;
  if (before && b.number() && before == b.number()->contents && !carried_.contains(before.get())) return a;
  auto merged = std::make_shared<Contents>();
  merged->type = TensorType{.dtype = *number_kind(a), .shape = {}, .layout = {}};
  leaves().push_back({.a = a, .b = b, .before = before, .merged = merged, .storage = nullptr, .name = name});
  return Number{merged};
}

Dim Merger::merge_dims(const Dim& a, const Dim& b, const std::string& name, int64_t axis) {
  const bool carried = std::find(carried_sizes_.begin(), carried_sizes_.end(), a) != carried_sizes_.end();
  if (a == b && !carried && (a.is_static() || !carries_given_)) return a;
  std::vector<MergedSize>& sizes = made_here_.sizes;
  for (const MergedSize& known : sizes)
    if (known.a == a && known.b == b) return known.merged;
  const std::vector<Symbol>& symbols = graph_->symbols.all();
  const Dim bound = bound_ ? bound_(a, b, name, axis) : Dim::max(greatest(a, symbols), greatest(b, symbols));
  sizes.push_back({a, b, graph_->add_measured_symbol(bound), name});
  return sizes.back().merged;
}

std::optional<TensorType> Merger::merge_types(const TensorType& a, const TensorType& b, const std::string& name) {
  if (a.dtype != b.dtype || a.rank() != b.rank() || (!graph_ && a.shape != b.shape)) return std::nullopt;
  std::vector<Dim> dims;
  for (int64_t axis = 0; axis < a.rank(); ++axis) dims.push_back(graph_ ? merge_dims(a.shape[axis], b.shape[axis], name, axis) : a.shape[axis]);
  return TensorType{a.dtype, Shape(std::move(dims)), {}};
}

/// Each beside zeros for where it is the other one.
Conflict Merger::keep_both(const Tensor& a, const Tensor& b, const std::string& name) {
  const Conflict difference = differ(a.type().to_string(), b.type().to_string(), name);
  const auto known_outside = [this](const Tensor& t) {
    bool all = true;
    for (const Dim& d : t.type().shape.dims()) for_symbols(d, [&](uint32_t symbol) { all = all && symbol < symbols_; });
    return all;
  };
  if (!condition_ || !known_outside(a) || !known_outside(b)) return difference;
  auto ways = std::make_shared<Alternatives>();
  ways->condition = *condition_;
  ways->one = merge(Item(a), evaluator_.zeros_like(Item(a)), name);
  ways->other = merge(evaluator_.zeros_like(Item(b)), Item(b), name);
  return std::make_shared<const Difference>(Difference{difference->why, std::move(ways)});
}

Item Merger::merge_tensors(const Tensor& a, const Tensor& b, const std::string& name) {
  const bool own = !a.view && is_own(a.storage.get());
  if (a.storage == b.storage && a.view == b.view && !own) return a;
  const auto type = merge_types(a.type(), b.type(), name);
  if (!type) return keep_both(a, b, name);
  const std::array<const void*, 4> key{a.storage.get(), a.view.get(), b.storage.get(), b.view.get()};
  if (const auto it = tensors_.find(key); it != tensors_.end()) return it->second;
  auto merged = std::make_shared<Contents>();
  merged->type = *type;
  const Item item = evaluator_.fresh(merged);
  const StorageRef storage = item.tensor()->storage;
  for (const StorageRef& from : {a.storage, b.storage}) {
    for (const StorageRef& origin : origins_of(from)) {
      if (std::find(storage->origins.begin(), storage->origins.end(), origin) == storage->origins.end()) storage->origins.push_back(origin);
    }
  }
  // A storage that is carried is made anew for every evaluation of the body; it is nothing that others know.
  std::erase_if(storage->origins, [&](const StorageRef& s) { return is_own(s.get()); });
  const ContentsRef before = a.view ? nullptr : in_a(*a.storage).contents;
  leaves().push_back({.a = Item(a), .b = Item(b), .before = before, .merged = merged, .storage = storage, .name = name});
  tensors_.emplace(key, *item.tensor());
  return item;
}

void Merger::merge_items(const std::vector<Item>& a, const std::vector<Item>& b, std::vector<Item>& out, const std::string& name) {
  out.clear();
  for (size_t i = 0; i < a.size(); ++i) out.push_back(merge(a[i], b[i], name.empty() ? name : fmt::format("{}[{}]", name, i)));
}

Item Merger::merge_tuples(const TupleObject& a, const TupleObject& b, const std::string& name) {
  auto tuple = std::make_shared<TupleObject>();
  tuple->type = a.type;
  merge_items(a.items, b.items, tuple->items, name);
  return tuple;
}

/// A new object for what is one of two: neither it nor they may change from here on.
template <class T> std::shared_ptr<T> Merger::shared_copy(const std::shared_ptr<T>& a, const std::shared_ptr<T>& b) {
  auto merged = evaluator_.make<T>(in_a(*a));
  merged->shared = true;
  for (const auto& from : {a, b}) {
    if constexpr (std::is_same_v<T, ListObject>) lists_.push_back(from);
    else if constexpr (std::is_same_v<T, DictObject>) dicts_.push_back(from);
    else objects_.push_back(from);
  }
  made_here_.containers.insert(merged.get());
  return merged;
}

Item Merger::merge_lists(const ListRef& a, const ListRef& b, const std::string& name) {
  if (a == b && !is_own(a.get())) return a;
  const auto key = std::pair<const void*, const void*>(a.get(), b.get());
  if (const auto it = done_.find(key); it != done_.end()) return it->second;
  const ListObject &one = in_a(*a), &other = in_b(*b);
  if (one.growing || other.growing) return differ("a list of one length", "a list of another", name);
  const ListRef list = shared_copy(a, b);
  done_[key] = list;
  if (one.rows || other.rows || one.items.size() != other.items.size()) {
    if (merge_rows(one, other, *list, name)) return list;
    return differ(fmt::format("a list of {}", Evaluator::length_of(one)), fmt::format("a list of {}", Evaluator::length_of(other)), name);
  }
  merge_items(one.items, other.items, list->items, name);
  return list;
}

/// Lists of two lengths, or of one that only the run knows. False where their elements are not of one type.
bool Merger::merge_rows(const ListObject& a, const ListObject& b, ListObject& out, const std::string& name) {
  const auto row_a = Evaluator::row_type(a), row_b = Evaluator::row_type(b);
  if (!graph_ || (!row_a && !row_b) || (!row_a && Evaluator::length_of(a) != 0) || (!row_b && Evaluator::length_of(b) != 0)) return false;
  const auto whole = [](const ListObject& list, const TensorType& row) {
    std::vector<Dim> dims = {Evaluator::length_of(list)};
    dims.insert(dims.end(), row.shape.dims().begin(), row.shape.dims().end());
    return TensorType{row.dtype, Shape(std::move(dims)), {}};
  };
  const auto type = merge_types(whole(a, row_a ? *row_a : *row_b), whole(b, row_b ? *row_b : *row_a), name);
  if (!type) return false;
  auto merged = std::make_shared<Contents>();
  merged->type = *type;
  const StorageRef storage = evaluator_.fresh(merged).tensor()->storage;
  for (const ListObject* from : {&a, &b}) {
    if (from->rows) storage->origins.insert(storage->origins.end(), from->rows->origins.begin(), from->rows->origins.end());
    for (const Item& i : from->items)
      if (i.tensor()) storage->origins.push_back(i.tensor()->storage);
  }
  std::erase_if(storage->origins, [&](const StorageRef& s) { return is_own(s.get()); });
  const ContentsRef before = a.rows ? in_a(*a.rows).contents : nullptr;
  leaves().push_back({.a = Item(evaluator_.make<ListObject>(a)),
                      .b = Item(evaluator_.make<ListObject>(b)),
                      .before = before,
                      .merged = merged,
                      .storage = storage,
                      .name = name});
  out.rows = storage;
  out.items.clear();
  return true;
}

namespace {
using Entry = std::pair<Item, Item>;

const Entry* find_entry(const DictObject& dict, const Item& key) {
  const auto it = std::find_if(dict.entries.begin(), dict.entries.end(),
                               [&](const Entry& e) { return e.first.plain() && key.plain() && same_plain(*e.first.plain(), *key.plain()); });
  return it == dict.entries.end() ? nullptr : &*it;
}
/// The keys of both, in an order that is that of each; none where there is no such order.
std::optional<std::vector<Item>> all_keys(const DictObject& a, const DictObject& b) {
  std::vector<Item> keys;
  size_t next = 0;  // of b
  for (const Entry& e : a.entries) {
    if (!e.first.plain()) return std::nullopt;
    if (!find_entry(b, e.first)) {
      keys.push_back(e.first);
      continue;
    }
    for (; next < b.entries.size() && find_entry(b, e.first) != &b.entries[next]; ++next) {
      if (find_entry(a, b.entries[next].first)) return std::nullopt;
      keys.push_back(b.entries[next].first);
    }
    keys.push_back(e.first), ++next;
  }
  for (; next < b.entries.size(); ++next) {
    if (!b.entries[next].first.plain() || find_entry(a, b.entries[next].first)) return std::nullopt;
    keys.push_back(b.entries[next].first);
  }
  return keys;
}
}  // namespace

/// An entry that is there on some ways only is one that may be None, where no entry is None by itself. Entries that are there on the same ways share
/// the number that says so.
void Merger::merge_entries(const DictObject& a, const DictObject& b, DictObject& out, const std::string& name) {
  const auto keys = all_keys(a, b);
  const bool optional = !a.value || a.value->kind() == c10::TypeKind::OptionalType || a.value->kind() == c10::TypeKind::AnyType;
  const bool same_keys = keys && keys->size() == a.entries.size() && keys->size() == b.entries.size();
  if (!keys || (!same_keys && optional)) {
    out.conflict = differ("a dict with some keys", "one with others", name);
    return;
  }
  out.entries.clear();
  std::map<std::pair<const Contents*, const Contents*>, Item> presences;
  for (const Item& key : *keys) {
    const Entry *in_one = find_entry(a, key), *in_other = find_entry(b, key);
    const Item one = in_one ? in_one->second : none_item(), other = in_other ? in_other->second : none_item();
    if (optional || (in_one && in_other && !one.maybe() && !other.maybe())) {
      out.entries.emplace_back(key, merge(one, other, name));
      continue;
    }
    Item merged = merge_maybe(one, other, name);
    if (const auto* maybe = merged.maybe(); maybe && maybe->present.number()) {
      // null: always there, the number itself: never
      static const Contents never;
      const auto by = [](const Item& i) { return i.is_none() ? &never : i.maybe() ? i.maybe()->present.number()->contents.get() : nullptr; };
      const auto [known, added] = presences.emplace(std::pair(by(one), by(other)), maybe->present);
      if (!added) std::erase_if(leaves(), [&](const Leaf& l) { return l.merged == maybe->present.number()->contents; });
      merged = MaybeRef(std::make_shared<const MaybeObject>(MaybeObject{known->second, maybe->value}));
    }
    if (merged.conflict()) out.conflict = merged.conflict();
    out.entries.emplace_back(key, std::move(merged));
  }
}

Item Merger::merge_dicts(const DictRef& a, const DictRef& b, const std::string& name) {
  if (a == b && !is_own(a.get())) return a;
  const auto key = std::pair<const void*, const void*>(a.get(), b.get());
  if (const auto it = done_.find(key); it != done_.end()) return it->second;
  const DictRef dict = shared_copy(a, b);
  done_[key] = dict;
  merge_entries(in_a(*a), in_b(*b), *dict, name);
  return dict;
}

void Merger::merge_slots(const InstanceRef& instance, const InstanceObject& a, const InstanceObject& b, InstanceObject& out,
                         const std::string& name) {
  std::set<std::string> names;
  for (const auto* from : {&a, &b}) {
    for (const auto& [slot, item] : from->slots) names.insert(slot);
  }
  const auto slot_of = [&](const InstanceObject& state, const std::string& slot) {
    const auto it = state.slots.find(slot);
    return it != state.slots.end() ? it->second : instance->object ? evaluator_.initial_attribute(*instance, slot) : Item(Uninitialized{});
  };
  const std::string lead = instance->object ? (instance->path.empty() ? "" : instance->path + ".") : name.empty() ? "" : name + ".";
  for (const std::string& slot : names) out.slots[slot] = merge(slot_of(a, slot), slot_of(b, slot), lead + slot);
}

Item Merger::merge_instances(const InstanceRef& a, const InstanceRef& b, const std::string& name) {
  if (a == b && !is_own(a.get())) return a;
  if (a->object || b->object || a->type != b->type) return differ(describe(Item(a)), "another", name);
  const auto key = std::pair<const void*, const void*>(a.get(), b.get());
  if (const auto it = done_.find(key); it != done_.end()) return it->second;
  const InstanceRef instance = shared_copy(a, b);
  done_[key] = instance;
  merge_slots(instance, in_a(*a), in_b(*b), *instance, name);
  return instance;
}

void Merger::merge_storage(const Storage& a, const Storage& b, Storage& out) {
  out.contents = merge_contents(a.contents, b.contents, a.contents->name);
  out.version = std::max({a.version, b.version}) + (a.contents != b.contents || out.contents != a.contents);
  out.stale = a.stale || b.stale;
  if (b.unclear_writes.size() > a.unclear_writes.size()) out.unclear_writes = b.unclear_writes, out.kept = b.kept;
}

Journal Merger::merge_objects(uint64_t start) {
  Journal merged(start);
  const auto each = [&]<class T>(std::type_identity<T>, auto&& combine) {
    for (const Journal* journal : {&a_, &b_}) {
      for (const auto& [object, state] : journal->changes<T>().entries()) {
        if (is_own(object.get()) || merged.changes<T>().find(object.get())) continue;
        const T &a = in_a(*object), &b = in_b(*object);
        T out = a;
        if constexpr (std::is_base_of_v<Container, T>) {
          out.shared = a.shared || b.shared;
          if (!out.conflict) out.conflict = b.conflict;
        }
        combine(object, a, b, out);
        merged.changes<T>().record(object, out);
      }
    }
  };
  each(std::type_identity<Storage>(), [&](const StorageRef&, const Storage& a, const Storage& b, Storage& out) { merge_storage(a, b, out); });
  each(std::type_identity<ListObject>(), [&](const ListRef&, const ListObject& a, const ListObject& b, ListObject& out) {
    if (out.conflict) return;
    if (!a.rows && !b.rows && a.growing == b.growing && a.items.size() == b.items.size()) return merge_items(a.items, b.items, out.items, a.name);
    if (a.rows && a.rows == b.rows && !is_own(a.rows.get())) return;
    if (!a.growing && !b.growing && merge_rows(a, b, out, a.name)) return;
    out.conflict = differ(fmt::format("of {} elements", a.items.size()), fmt::format("of {}", b.items.size()), "a list");
  });
  each(std::type_identity<DictObject>(), [&](const DictRef&, const DictObject& a, const DictObject& b, DictObject& out) {
    if (!out.conflict) merge_entries(a, b, out, a.name);
  });
  each(std::type_identity<InstanceObject>(),
       [&](const InstanceRef& object, const InstanceObject& a, const InstanceObject& b, InstanceObject& out) { merge_slots(object, a, b, out, ""); });
  return merged;
}

void Merger::note_sharing() {
  const auto freeze = [&](const auto& objects) {
    for (const auto& object : objects) evaluator_.touch(*object), object->shared = true;
  };
  freeze(lists_), freeze(dicts_), freeze(objects_);
  for (const Leaf& leaf : leaves()) {
    if (!leaf.storage) continue;
    for (const StorageRef& origin : leaf.storage->origins) evaluator_.touch(*origin), origin->maybe.push_back(leaf.storage);
  }
}

std::string Merger::signature(uint64_t start) const {
  std::string text;
  std::map<const Storage*, size_t> first;
  const auto& leaves = made_here_.leaves;
  for (size_t i = 0; i < leaves.size(); ++i) {
    text += ';';
    if (!leaves[i].storage) continue;
    std::set<std::string> parts;
    for (const StorageRef& origin : leaves[i].storage->origins) {
      const size_t place = first.try_emplace(origin.get(), i).first->second;
      parts.insert(origin->born < start ? fmt::format("o{}", origin->born ? std::to_string(origin->born) : fmt::format("{}", fmt::ptr(origin.get())))
                                        : fmt::format("l{}", place));
    }
    for (const std::string& p : parts) text += p;
  }
  for (const auto& [storage, state] : b_.changes<Storage>().entries()) {
    if (state.stale && storage->born < start) text += 's';
  }
  return text;
}

}  // namespace mica::frontend
