// Lists that grow in loops whose length only the run knows. Where every pass appends one tensor of one type, what is appended is written into the
// rows of a tensor that the loop carries, and from there on the list is that tensor: it has a length, elements, and can be stacked, concatenated
// and walked through. Until the loop ends the list can only be appended to.
#include "growth.h"

#include <algorithm>

#include "evaluator.h"
#include "mica/ops/control.h"
#include "mica/ops/factory.h"
#include "mica/ops/index.h"

namespace mica::frontend {
namespace {

bool same_object(const Item& a, const Item& b) {
  const Tensor *x = a.tensor(), *y = b.tensor();
  if (x && y) return x->storage == y->storage && x->view == y->view;
  return a.plain() && b.plain() && a.plain()->tagKind() == b.plain()->tagKind() && !a.plain()->isDouble() && *a.plain() == *b.plain();
}

bool appends_one(const ListObject& before, const ListObject& after) {
  if (before.rows || after.rows || after.items.size() != before.items.size() + 1 || !after.items.back().tensor()) return false;
  const TensorType& row = after.items.back().tensor()->type();
  return std::all_of(before.items.begin(), before.items.end(), [&](const Item& i) { return i.tensor() && i.tensor()->type() == row; }) &&
         std::equal(before.items.begin(), before.items.end(), after.items.begin(), same_object);
}

TensorType rows_of(const TensorType& row, const Dim& count) {
  std::vector<Dim> dims = {count};
  for (const Dim& d : row.shape.dims()) dims.push_back(d);
  return TensorType{.dtype = row.dtype, .shape = Shape(std::move(dims)), .layout = {}};
}

}  // namespace

bool Evaluator::take_growth(const Dim& trips, const Journal& state, Journal& body, const Carried& known_objects, std::vector<Growth>& grown) {
  const size_t known = grown.size();
  for (Growth& g : grown) g.appended = Item();
  for (auto& [object, after] : body.changes<ListObject>().entries()) {
    const ListObject* found = state.changes<ListObject>().find(object.get());
    if (known_objects.containers.contains(object.get()) || !appends_one(found ? *found : *object, after)) continue;
    const TensorType& type = after.items.back().tensor()->type();
    auto it = std::find_if(grown.begin(), grown.end(), [&](const Growth& g) { return g.list == object; });
    if (it == grown.end()) it = grown.insert(grown.end(), Growth{object, type, graph_.add_value(rows_of(type, trips)), {}});
    if (it->row != type) continue;
    it->appended = after.items.back();
    after.items.pop_back();
  }
  return grown.size() != known;
}

void Evaluator::finish_growth(const std::vector<Growth>& grown, const std::vector<Value>& rows) {
  for (size_t i = 0; i < grown.size(); ++i) {
    ListObject& list = *grown[i].list;
    Values parts;
    for (const Item& item : list.items) parts.items.push_back(value_of(*item.tensor()));
    touch(list);
    list.growing = false;
    list.rows = contents_of(rows[i]);
    list.items.clear();
    if (parts.items.empty()) continue;
    const ContentsRef before = import_one("aten::stack", {{"tensors", parts}, {"dim", int64_t{0}}});
    list.rows = import_one("aten::cat", {{"tensors", Values({before->value, rows[i]})}, {"dim", int64_t{0}}});
  }
}

void Evaluator::refuse_list(const std::string& op, const ListObject& list) {
  diagnostics_
      .unsupported("growing-list", "{} of a list {}", op, list.growing ? "that grows in a loop" : "of which the length varies from run to run")
      .at(here())
      .note(list.growing ? "how long the list is depends on how often the loop has run" : "it grew in a loop whose length only the run knows")
      .help(list.growing ? "append to it only, and use it after the loop" : "stack or concatenate it, take its length or elements of it");
  throw Stop{};
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
  const Dim count = list.rows->type.shape[0];
  if (name == "aten::len") return out = {size_item(count)}, true;
  if ((name == "aten::__getitem__" || name == "aten::select") && it == in.begin() && number_kind(in[1])) {
    const Value place = number_value(in[1], DType::i64);
    return out = {fresh(contents_of(builder_.create(SelectAt{.x = list.rows->value, .index = place, .axis = 0})))}, true;
  }
  const bool stack = name == "aten::stack", cat = name == "aten::cat" || name == "aten::concat" || name == "aten::concatenate";
  if ((!stack && !cat) || in.size() < 2 || !in[1].is_int()) refuse_list(name, list);
  if (count.low() < 1) {
    const Value some = number_value(size_item(count), DType::i64), none = number_value(c10::IValue(int64_t{0}), DType::i64);
    builder_.create_all(Check{import_one("aten::gt.Tensor", {{"self", some}, {"other", none}})->value, name + " of an empty list"});
  }
  const int64_t rank = list.rows->type.rank(), axis = in[1].integer() + (in[1].integer() < 0 ? rank - (cat ? 1 : 0) : 0);
  if (axis < 0 || axis >= rank - (cat ? 1 : 0)) refuse_list(fmt::format("{} along axis {}", name, in[1].integer()), list);
  ContentsRef moved = list.rows;
  if (axis) moved = import_one("aten::movedim.int", {{"self", moved->value}, {"source", int64_t{0}}, {"destination", axis}});
  if (stack) return out = {fresh(moved)}, true;
  std::vector<Dim> dims = moved->type.shape.dims();
  dims[static_cast<size_t>(axis)] *= dims[static_cast<size_t>(axis) + 1];
  dims.erase(dims.begin() + axis + 1);
  return out = {fresh(reshape_of(moved, Shape(std::move(dims))))}, true;
}

}  // namespace mica::frontend
