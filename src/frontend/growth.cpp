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

namespace {
/// Whether a later pass writes in place to a storage as this pass leaves it.
bool is_written_later(const StorageRef& storage, const Carried& known, const Journal& body, const std::vector<Leaf>& ends) {
  const auto written = [&](const StorageRef& s) {
    const Storage* now = s ? body.changes<Storage>().find(s.get()) : nullptr;
    return now && now->version != s->version;
  };
  if (written(storage)) return true;
  for (const Leaf& parameter : known.leaves) {
    if (!written(parameter.storage)) continue;
    for (const Leaf& end : ends) {
      const Item* becomes = std::get_if<Item>(&end.b);
      if (end.before == parameter.merged && becomes && becomes->tensor() && becomes->tensor()->storage == storage) return true;
    }
  }
  return false;
}
}  // namespace

/// The elements of a list that is kept as rows are copies: refused where the program would see that.
void Evaluator::check_rows(const Carried& known, const Journal& body, Merger& merger, const std::vector<Growth>& grown) {
  const auto check = [&](const StorageRef& copied, const ListObject& list) {
    if (is_written_later(copied, known, body, merger.leaves())) refuse_list("writing in place to an element", list);
  };
  for (const Growth& g : grown) check(g.appended.tensor()->storage, *g.list);
  for (const Leaf& leaf : merger.leaves()) {
    const Item* item = std::get_if<Item>(&leaf.b);
    const ListObject* list = item ? item->list() : nullptr;
    if (!list) continue;
    for (const Item& i : list->items)
      if (i.tensor()) check(i.tensor()->storage, *list);
    if (list->rows)
      for (const StorageRef& origin : list->rows->origins) check(origin, *list);
  }
}

void Evaluator::finish_growth(const std::vector<Growth>& grown, const std::vector<Value>& rows) {
  for (size_t i = 0; i < grown.size(); ++i) {
    ListObject& list = *grown[i].list;
    Values parts;
    for (const Item& item : list.items) parts.items.push_back(value_of(*item.tensor()));
    touch(list);
    list.growing = false;
    ContentsRef all = contents_of(rows[i]);
    if (!parts.items.empty()) {
      const ContentsRef before = import_one("aten::stack", {{"tensors", parts}, {"dim", int64_t{0}}});
      all = import_one("aten::cat", {{"tensors", Values({before->value, rows[i]})}, {"dim", int64_t{0}}});
    }
    set_rows(list, std::move(all), {grown[i].appended.tensor()->storage});
  }
}

}  // namespace mica::frontend
