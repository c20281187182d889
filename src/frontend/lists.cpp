// Lists whose length depends on data: what grew in a loop, or in one branch only. Such a list is one tensor with a row for each element, tensors of
// one type or numbers of one kind; how many rows there are is a size that is known when the model runs (ops/measure.h). A tensor in it is a copy:
// a write to what it was made of, or to what is taken out of it, leaves a list that cannot be read any more.
#include <algorithm>

#include "evaluator.h"
#include "mica/ops/compare.h"
#include "mica/ops/control.h"
#include "mica/ops/factory.h"
#include "mica/ops/index.h"
#include "mica/ops/pointwise.h"
#include "mica/ops/view.h"

namespace mica::frontend {
namespace {

std::optional<DType> number_of_list(const ListObject& list) {
  if (!list.element) return std::nullopt;
  switch (list.element->kind()) {
    case c10::TypeKind::IntType: return DType::i64;
    case c10::TypeKind::FloatType: return DType::f64;
    case c10::TypeKind::BoolType: return DType::b8;
    default: return std::nullopt;
  }
}

Shape with_rows(const Dim& count, const TensorType& row) {
  std::vector<Dim> dims = {count};
  dims.insert(dims.end(), row.shape.dims().begin(), row.shape.dims().end());
  return Shape(std::move(dims));
}

}  // namespace

std::optional<TensorType> Evaluator::row_type(const ListObject& list) {
  if (const auto kind = number_of_list(list)) return TensorType{.dtype = *kind, .shape = {}, .layout = {}};
  if (list.rows) {
    const TensorType& all = list.rows->contents->type;
    return TensorType{all.dtype, Shape(std::vector<Dim>(all.shape.dims().begin() + 1, all.shape.dims().end())), {}};
  }
  if (list.items.empty() || !list.items[0].tensor()) return std::nullopt;
  const TensorType type = list.items[0].tensor()->type();
  const bool alike = std::all_of(list.items.begin(), list.items.end(), [&](const Item& i) { return i.tensor() && i.tensor()->type() == type; });
  return alike ? std::optional(type) : std::nullopt;
}

Dim Evaluator::length_of(const ListObject& list) {
  return list.rows ? list.rows->contents->type.shape[0] : Dim(static_cast<int64_t>(list.items.size()));
}

/// The rows of a list of elements of one type; `like` is of the type where there are none.
Value Evaluator::rows_value(const ListObject& list, const TensorType& like) {
  if (list.rows) return materialise(read(Tensor{list.rows, nullptr}));
  if (list.items.empty()) {
    std::vector<Dim> dims = {0};
    for (int64_t axis = 1; axis < like.rank(); ++axis) dims.push_back(greatest(like.shape[axis], graph_.symbols.all()));
    return builder_.create(Full{.shape = Dims(dims), .value = Scalar(0), .dtype = like.dtype});
  }
  Values parts;
  for (const Item& i : list.items) parts.items.push_back(i.tensor() ? value_of(*i.tensor()) : number_value(i, like.dtype));
  return import_one("aten::stack", {{"tensors", parts}, {"dim", int64_t{0}}})->value;
}

/// The list's elements are these rows from here on; what they were copied from must not be written.
void Evaluator::set_rows(ListObject& list, ContentsRef rows, const std::vector<StorageRef>& copied) {
  touch(list);
  const Item whole = fresh(std::move(rows));
  const StorageRef storage = whole.tensor()->storage;
  std::vector<StorageRef> origins = list.rows ? list.rows->origins : std::vector<StorageRef>{};
  for (const Item& i : list.items)
    if (i.tensor()) origins.push_back(i.tensor()->storage);
  origins.insert(origins.end(), copied.begin(), copied.end());
  for (const StorageRef& origin : origins) may_be(storage, origin);
  list.items.clear();
  list.rows = storage;
}

void Evaluator::refuse_list(const std::string& op, const ListObject& list) {
  diagnostics_
      .unsupported("growing-list", "{} of a list {}", op, list.growing ? "that grows in a loop" : "of which the length varies from run to run")
      .at(here())
      .note(list.growing ? "how long the list is depends on how often the loop has run" : "how long it is, only the run knows")
      .help(list.growing ? "append to it only, and use it after the loop" : "stack or concatenate it, take its length or elements of it");
  throw Stop{};
}

namespace {

/// Operators that LibTorch has for a list of numbers, as those for a tensor of rank 1.
struct Reduction {
  std::string_view list, tensor;
  bool empty;  ///< whether it has a result for no elements
};
constexpr Reduction reductions[] = {{"aten::sum", "aten::sum", true},  {"prim::max", "aten::max", false}, {"prim::min", "aten::min", false},
                                    {"aten::max", "aten::max", false}, {"aten::min", "aten::min", false}, {"aten::any", "aten::any", true},
                                    {"aten::all", "aten::all", true}};

}  // namespace

/// What changes such a list in place; false when it is none of that.
bool Evaluator::change_rows(const std::string& name, ListObject& list, const std::vector<Item>& in, std::vector<Item>& out) {
  const TensorType row = *row_type(list);
  const ContentsRef rows = read(Tensor{list.rows, nullptr});
  const Dim count = rows->type.shape[0];
  const auto fits = [&](const Item& i) { return number_of_list(list) ? number_kind(i) == row.dtype : i.tensor() && i.tensor()->type() == row; };
  const auto element = [&](const Item& i) {
    const Value v = i.tensor() ? value_of(*i.tensor()) : number_value(i, row.dtype);
    return builder_.create(Reshape{v, Dims(with_rows(1, row).dims())});
  };
  const auto joined = [&](Value a, Value b) { return import_one("aten::cat", {{"tensors", Values({a, b})}, {"dim", int64_t{0}}}); };
  const auto origins = [](const Item& i) { return i.tensor() ? std::vector<StorageRef>{i.tensor()->storage} : std::vector<StorageRef>{}; };
  if (name == "aten::append" && fits(in[1])) return set_rows(list, joined(rows->value, element(in[1])), origins(in[1])), true;
  if (name == "aten::insert" && in[1].is_int() && in[1].integer() == 0 && fits(in[2]))
    return set_rows(list, joined(element(in[2]), rows->value), origins(in[2])), true;
  if ((name == "aten::extend" || name == "aten::add_") && in[1].list() && !in[1].list()->growing) {
    const ListObject& more = *in[1].list();
    if (!more.rows && more.items.empty()) return true;
    if (row_type(more) != row) return false;
    std::vector<StorageRef> copied = more.rows ? more.rows->origins : std::vector<StorageRef>{};
    for (const Item& i : more.items)
      for (const StorageRef& s : origins(i)) copied.push_back(s);
    return set_rows(list, joined(rows->value, rows_value(more, rows->type)), copied), true;
  }
  if (name == "aten::clear") return touch(list), list.rows = nullptr, true;
  if (name == "aten::_set_item" && number_kind(in[1]) == DType::i64 && fits(in[2])) {
    const Value v = in[2].tensor() ? value_of(*in[2].tensor()) : number_value(in[2], row.dtype);
    const Value changed = builder_.create(UpdateAt{.x = rows->value, .row = v, .index = number_value(in[1], DType::i64), .axis = 0});
    return set_rows(list, contents_of(changed), origins(in[2])), true;
  }
  if (name == "aten::pop" && (in.size() < 2 || (in[1].is_int() && (in[1].integer() == 0 || in[1].integer() == -1)))) {
    const bool first = in.size() > 1 && in[1].integer() == 0;
    out = {element_at(list, c10::IValue(int64_t{first ? 0 : -1}))};
    return set_rows(list, first ? slice_of(rows, 0, 1, INT64_MAX, 1) : slice_of(rows, 0, 0, Dim::max(count - 1, 0), 1), {}), true;
  }
  return false;
}

Item Evaluator::element_at(const ListObject& list, const Item& index) {
  const ContentsRef rows = read(Tensor{list.rows, nullptr});
  const Value taken = builder_.create(SelectAt{.x = rows->value, .index = number_value(index, DType::i64), .axis = 0});
  if (number_of_list(list)) return number_item(taken);
  Item item = fresh(contents_of(taken));
  may_be(item.tensor()->storage, list.rows);
  return item;
}

void Evaluator::require_some(const Dim& count, const std::string& what) {
  if (count.low() >= 1) return;
  const Value some = number_value(size_item(count), DType::i64), none = number_value(c10::IValue(int64_t{0}), DType::i64);
  builder_.create_all(Check{builder_.create(Gt{some, none}), what + " of an empty list"});
}

bool Evaluator::join_rows(const std::string& name, const ListObject& list, const std::vector<Item>& in, std::vector<Item>& out) {
  const bool stack = name == "aten::stack", cat = name == "aten::cat" || name == "aten::concat" || name == "aten::concatenate";
  if ((!stack && !cat) || in.size() < 2 || !in[1].is_int()) return false;
  ContentsRef moved = read(Tensor{list.rows, nullptr});
  require_some(moved->type.shape[0], name);
  const int64_t rank = moved->type.rank(), axis = in[1].integer() + (in[1].integer() < 0 ? rank - (cat ? 1 : 0) : 0);
  if (axis < 0 || axis >= rank - (cat ? 1 : 0)) return false;
  if (axis) moved = import_one("aten::movedim.int", {{"self", moved->value}, {"source", int64_t{0}}, {"destination", axis}});
  if (stack) return out = {fresh(moved)}, true;
  std::vector<Dim> dims = moved->type.shape.dims();
  dims[static_cast<size_t>(axis)] *= dims[static_cast<size_t>(axis) + 1];
  dims.erase(dims.begin() + axis + 1);
  return out = {fresh(reshape_of(moved, Shape(std::move(dims))))}, true;
}

bool Evaluator::run_rows(const std::string& name, const std::vector<Item>& in, std::vector<Item>& out) {
  const auto it = std::find_if(in.begin(), in.end(), [](const Item& i) { return i.list() && (i.list()->rows || i.list()->growing); });
  if (it == in.end()) return false;
  ListObject& list = *it->list();
  if (name == "aten::__isnot__" || name == "aten::__is__") return false;
  if (list.growing) {
    if (name != "aten::append" || list.shared) refuse_list(name, list);
    touch(list);
    list.items.push_back(in[1]);
    return out = {in[0]}, true;
  }
  const bool own = it == in.begin();
  if (own && !list.shared) {
    out = {in[0]};
    if (change_rows(name, list, in, out)) return true;
    out.clear();
  }
  const ContentsRef rows = read(Tensor{list.rows, nullptr});
  const Dim count = rows->type.shape[0];
  if (name == "aten::len") return out = {size_item(count)}, true;
  if ((name == "aten::__getitem__" || name == "aten::select") && own && number_kind(in[1])) return out = {element_at(list, in[1])}, true;
  const auto kind = number_of_list(list);
  const auto value = [&](Value v) { return out = {kind ? number_item(v) : fresh(contents_of(v))}, true; };
  const auto derived = [&](ContentsRef contents) {
    auto part = make<ListObject>();
    part->element = list.element;
    set_rows(*part, std::move(contents), {list.rows});
    return out = {std::move(part)}, true;
  };
  if (own && (name == "aten::list" || name == "aten::copy")) return derived(rows);
  if (own && name == "aten::slice" && in.size() == 4 && size_of_item(in[1]) && in[3].is_int() && in[3].integer() > 0)
    return derived(slice_of(rows, 0, *size_of_item(in[1]), size_of_item(in[2]).value_or(INT64_MAX), in[3].integer()));
  const bool makes = name == "aten::tensor" || name == "aten::as_tensor";
  if (own && kind && makes) {
    const Item* dtype = in.size() > 1 && in[1].is_int() ? &in[1] : nullptr;
    const auto wanted = dtype ? dtype_from_torch(dtype->integer()) : std::nullopt;
    const DType made = wanted.value_or(*kind == DType::f64 ? DType::f32 : *kind);
    return out = {fresh(contents_of(made == *kind ? rows->value : builder_.create(Cast{rows->value, made})))}, true;
  }
  if (own && kind && in.size() == 1) {
    for (const Reduction& r : reductions) {
      if (name != r.list) continue;
      if (!r.empty) require_some(count, name);
      return value(import_one(std::string(r.tensor), {{"self", rows->value}})->value);
    }
  }
  if (own && kind && name == "aten::__contains__" && number_kind(in[1])) {
    const Value same = builder_.create(Eq{rows->value, number_value(in[1], *kind)});
    return out = {number_item(import_one("aten::any", {{"self", same}})->value)}, true;
  }
  if (join_rows(name, list, in, out)) return true;
  refuse_list(name, list);
}

}  // namespace mica::frontend
