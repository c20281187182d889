// Views and in-place operators as SSA. A view knows how to get its part out of its parent and, where that is possible, how to put new contents
// back (slice => slice_scatter, permute => permute back, reshape => reshape back). A write goes up the chain of views to the storage; other views
// of that storage derive their contents again when they are read next. What cannot be decided without the strides of eager execution is refused.
#include <ATen/ATen.h>
#include <torch/csrc/jit/runtime/operator.h>

#include <algorithm>
#include <numeric>

#include "arguments.h"
#include "mica/ops/index.h"
#include "mica/support/defect.h"

namespace mica::frontend {
namespace {

using torch::jit::Operator;

enum class ViewKind : uint8_t { none, same, shape, permutation, slice, select, parts, other };
struct ViewRule {
  std::string_view op;
  ViewKind kind;
  bool maybe_copy = false;  ///< eager copies, depending on strides
};
constexpr ViewRule view_rules[] = {
    {"aten::alias", ViewKind::same},
    {"aten::data", ViewKind::same},
    {"aten::detach", ViewKind::same},
    {"aten::lift", ViewKind::same},
    {"aten::lift_fresh", ViewKind::same},
    {"aten::resolve_conj", ViewKind::same},
    {"aten::resolve_neg", ViewKind::same},
    {"aten::positive", ViewKind::same},
    {"aten::contiguous", ViewKind::same, true},
    {"aten::view", ViewKind::shape},
    {"aten::_unsafe_view", ViewKind::shape},
    {"aten::view_as", ViewKind::shape},
    {"aten::unflatten", ViewKind::shape},
    {"aten::squeeze", ViewKind::shape},
    {"aten::unsqueeze", ViewKind::shape},
    {"aten::reshape", ViewKind::shape, true},
    {"aten::reshape_as", ViewKind::shape, true},
    {"aten::flatten", ViewKind::shape, true},
    {"aten::ravel", ViewKind::shape, true},
    {"aten::atleast_1d", ViewKind::shape},
    {"aten::atleast_2d", ViewKind::shape},
    {"aten::atleast_3d", ViewKind::shape},
    {"aten::permute", ViewKind::permutation},
    {"aten::transpose", ViewKind::permutation},
    {"aten::t", ViewKind::permutation},
    {"aten::numpy_T", ViewKind::permutation},
    {"aten::mT", ViewKind::permutation},
    {"aten::swapaxes", ViewKind::permutation},
    {"aten::swapdims", ViewKind::permutation},
    {"aten::movedim", ViewKind::permutation},
    {"aten::moveaxis", ViewKind::permutation},
    {"aten::adjoint", ViewKind::permutation},
    {"aten::slice", ViewKind::slice},
    {"aten::narrow", ViewKind::slice},
    {"aten::select", ViewKind::select},
    {"aten::chunk", ViewKind::parts},
    {"aten::split", ViewKind::parts},
    {"aten::split_with_sizes", ViewKind::parts},
    {"aten::tensor_split", ViewKind::parts},
    {"aten::unsafe_chunk", ViewKind::parts},
    {"aten::unsafe_split", ViewKind::parts},
    {"aten::unsafe_split_with_sizes", ViewKind::parts},
    {"aten::unbind", ViewKind::parts},
    {"aten::expand", ViewKind::other},
    {"aten::expand_as", ViewKind::other},
    {"aten::broadcast_to", ViewKind::other},
    {"aten::diagonal", ViewKind::other},
    {"aten::unfold", ViewKind::other},
    {"aten::as_strided", ViewKind::other},
    {"aten::view_as_real", ViewKind::other},
    {"aten::view_as_complex", ViewKind::other},
    {"aten::real", ViewKind::other},
    {"aten::imag", ViewKind::other},
};

/// Operators that give the tensor itself where nothing changes, and else a new one.
struct Conversion {
  std::string_view op;
  std::optional<DType> dtype{};  ///< where the operator's name says it
};
constexpr Conversion conversions[] = {
    {"aten::to"},
    {"aten::type_as"},
    {"aten::as_tensor"},
    {"aten::cpu"},
    {"aten::cuda"},
    {"aten::_cast_Double", DType::f64},
    {"aten::_cast_Float", DType::f32},
    {"aten::_cast_Half", DType::f16},
    {"aten::_cast_Long", DType::i64},
    {"aten::_cast_Int", DType::i32},
    {"aten::_cast_Short", DType::i16},
    {"aten::_cast_Char", DType::i8},
    {"aten::_cast_Byte", DType::u8},
};

/// Operators whose results may lie in their operands' memory although their schemas do not say so.
constexpr std::string_view sharing_operators[] = {
    "aten::atleast_1d", "aten::atleast_2d", "aten::atleast_3d", "aten::broadcast_tensors", "aten::chain_matmul", "aten::einsum", "aten::meshgrid",
};

const ViewRule* find_rule(const std::string& op) {
  const auto it = std::find_if(std::begin(view_rules), std::end(view_rules), [&](const ViewRule& r) { return r.op == op; });
  return it == std::end(view_rules) ? nullptr : it;
}

std::optional<Dim> size(const std::vector<NamedItem>& arguments, std::string_view name) {
  const Item* item = find(arguments, name);
  if (item && item->size()) return *item->size();
  return item && item->is_int() ? std::optional(Dim(item->integer())) : std::nullopt;
}
std::optional<int64_t> integer(const std::vector<NamedItem>& arguments, std::string_view name) {
  const Item* item = find(arguments, name);
  return item && item->is_int() ? std::optional(item->integer()) : std::nullopt;
}

/// True when `to` is `from` with axes split or of size 1 added or dropped, which is a view whatever the strides are.
bool only_splits(const Shape& from, const Shape& to) {
  if (from.elements() == 0 || from.elements() == 1) return from.elements() == 1;
  int64_t t = 0;
  for (int64_t f = 0; f < from.rank(); ++f) {
    if (from[f] == 1) continue;
    Dim product = 1;
    while (t < to.rank() && product != from[f]) product *= to[t++];
    if (product != from[f]) return false;
  }
  return true;
}

/// order[i] is the axis of the operand that becomes axis i, found by running the operator on a tensor whose sizes tell its axes apart.
std::optional<std::vector<int64_t>> permutation_of(const Operator& op, const std::vector<NamedItem>& arguments, int64_t rank,
                                                   const std::function<std::optional<c10::IValue>(const NamedItem&)>& ivalue) {
  std::vector<int64_t> sizes(rank);
  std::iota(sizes.begin(), sizes.end(), int64_t{2});
  torch::jit::Stack stack;
  for (size_t i = 0; i < arguments.size(); ++i) {
    auto value = i ? ivalue(arguments[i]) : std::optional(c10::IValue(at::empty(sizes, at::TensorOptions().device(at::kMeta))));
    if (!value) return std::nullopt;
    stack.push_back(std::move(*value));
  }
  try {
    op.getOperation()(stack);
  } catch (const std::exception&) { return std::nullopt; }
  std::vector<int64_t> order = stack.at(0).toTensor().sizes().vec();
  for (int64_t& axis : order) axis -= 2;
  return order;
}

/// Where the elements of a view lie in its operand, row-major; nothing where an element is there twice, or sizes are symbols.
std::optional<at::Tensor> places_of(const Operator& op, const std::vector<NamedItem>& arguments,
                                    const std::function<std::optional<c10::IValue>(const NamedItem&)>& ivalue) {
  constexpr int64_t most = 1 << 20;  // elements
  const Shape& shape = arguments[0].item.tensor()->type().shape;
  if (!shape.is_static() || shape.elements() > most) return std::nullopt;
  try {
    const at::Tensor whole = at::arange(shape.elements().size(), at::kLong).reshape(shape.sizes());
    torch::jit::Stack stack = {whole};
    for (size_t i = 1; i < arguments.size(); ++i) {
      auto value = ivalue(arguments[i]);
      if (!value) return std::nullopt;
      stack.push_back(std::move(*value));
    }
    op.getOperation()(stack);
    if (!stack.at(0).isTensor() || !stack[0].toTensor().is_alias_of(whole)) return std::nullopt;
    const at::Tensor places = stack[0].toTensor().reshape({-1}).clone(), sorted = std::get<0>(places.sort());
    const int64_t n = places.numel();
    if (n > 1 && sorted.slice(0, 1).eq(sorted.slice(0, 0, n - 1)).any().item<bool>()) return std::nullopt;
    return places;
  } catch (const std::exception&) { return std::nullopt; }
}

/// Whether parts lie behind each other along the axis and make up all of it: of tensor_split they may also overlap.
bool follow_each_other(const ListObject& parts, int64_t axis, const Dim& extent) {
  Dim sum = 0;
  for (const Item& i : parts.items) sum += i.tensor()->type().shape[axis];
  return sum == extent;
}

void collect_unclear(const View* view, std::vector<const View*>& out) {
  for (; view; view = view->parent.get()) {
    if (view->unclear) out.push_back(view);
  }
}

}  // namespace

// ---- contents of parts ----

ContentsRef Evaluator::slice_of(const ContentsRef& base, int64_t axis, const Dim& start, const Dim& end, int64_t step) {
  ContentsRef part;
  if (!base->constant.defined() || (base->value && !graph_.is_constant(base->value)))
    part = import_one("aten::slice.Tensor", {{"self", materialise(base)}, {"dim", axis}, {"start", start}, {"end", end}, {"step", step}});
  else part = std::make_shared<Contents>();
  if (base->constant.defined()) part->constant = base->constant.slice(axis, start, end, step), part->type = *type_of(part->constant);
  return part;
}

ContentsRef Evaluator::select_of(const ContentsRef& base, int64_t axis, int64_t index) {
  ContentsRef part;
  if (!base->constant.defined() || (base->value && !graph_.is_constant(base->value)))
    part = import_one("aten::select.int", {{"self", materialise(base)}, {"dim", axis}, {"index", index}});
  else part = std::make_shared<Contents>();
  if (base->constant.defined()) part->constant = base->constant.select(axis, index), part->type = *type_of(part->constant);
  return part;
}

ContentsRef Evaluator::reshape_of(const ContentsRef& base, const Shape& shape) {
  ContentsRef part;
  if (!base->constant.defined() || (base->value && !graph_.is_constant(base->value)))
    part = import_one("aten::reshape", {{"self", materialise(base)}, {"shape", Dims(shape.dims())}});
  else part = std::make_shared<Contents>();
  if (base->constant.defined()) part->constant = base->constant.reshape(shape.sizes()), part->type = *type_of(part->constant);
  return part;
}

ContentsRef Evaluator::permute_of(const ContentsRef& base, const std::vector<int64_t>& order) {
  ContentsRef part;
  if (!base->constant.defined() || (base->value && !graph_.is_constant(base->value)))
    part = import_one("aten::permute", {{"self", materialise(base)}, {"dims", order}});
  else part = std::make_shared<Contents>();
  if (base->constant.defined()) part->constant = base->constant.permute(order), part->type = *type_of(part->constant);
  return part;
}

ContentsRef Evaluator::slice_scatter(const ContentsRef& base, const ContentsRef& part, int64_t axis, const Dim& start, const Dim& end, int64_t step) {
  if (base->constant.defined() && part->constant.defined()) {
    auto whole = std::make_shared<Contents>(*base);
    whole->constant = at::slice_scatter(base->constant, part->constant, axis, start, end, step);
    whole->value = Value{};
    whole->name.clear();
    return whole;
  }
  return import_one("aten::slice_scatter",
                    {{"self", materialise(base)}, {"src", materialise(part)}, {"dim", axis}, {"start", start}, {"end", end}, {"step", step}});
}

ContentsRef Evaluator::select_scatter(const ContentsRef& base, const ContentsRef& part, int64_t axis, int64_t index) {
  if (base->constant.defined() && part->constant.defined()) {
    auto whole = std::make_shared<Contents>(*base);
    whole->constant = at::select_scatter(base->constant, part->constant, axis, index);
    whole->value = Value{};
    whole->name.clear();
    return whole;
  }
  return import_one("aten::select_scatter", {{"self", materialise(base)}, {"src", materialise(part)}, {"dim", axis}, {"index", index}});
}

// ---- views ----

Item Evaluator::make_view(const Tensor& base, const std::string& name, ContentsRef contents, std::function<ContentsRef(const ContentsRef&)> get,
                          std::function<ContentsRef(const ContentsRef&, const ContentsRef&)> put, bool unclear) {
  auto view = make<View>();
  view->storage = base.storage;
  view->parent = base.view;
  view->get = std::move(get);
  view->put = std::move(put);
  view->unclear = unclear;
  view->op = name;
  view->contents = std::move(contents);
  view->version = base.storage->version;
  return Tensor{base.storage, std::move(view)};
}

/// clone, and conversions: the same contents in a tensor of its own, or the same tensor where nothing changes.
bool Evaluator::run_copy(const Operator& op, const std::string& name, const std::vector<NamedItem>& arguments, std::vector<Item>& results) {
  const std::string& base_name = op.schema().name();
  const Tensor& self = *arguments[0].item.tensor();
  const Item* format = find(arguments, "memory_format");
  const auto wanted = format && format->is_int() ? static_cast<at::MemoryFormat>(format->integer()) : at::MemoryFormat::Preserve;
  const bool keeps_format = wanted == at::MemoryFormat::Preserve;
  const auto own = [&](std::vector<Item> made) {
    results = std::move(made);
    if (!results.empty() && results[0].tensor())
      results[0].tensor()->storage->row_major |= keeps_format ? is_row_major(self) : wanted == at::MemoryFormat::Contiguous;
    return true;
  };
  if (base_name == "aten::clone") {
    if (defect(Defect::clone_aliases)) return results = {arguments[0].item}, true;
    return own({fresh(read(self))});
  }
  const auto conversion = std::ranges::find(conversions, base_name, &Conversion::op);
  if (conversion == std::end(conversions)) return false;
  const DType before = self.type().dtype;
  const Item* other = find(arguments, "other");
  const auto number = integer(arguments, "dtype");
  const auto dtype = conversion->dtype          ? conversion->dtype
                     : other && other->tensor() ? std::optional(other->tensor()->type().dtype)
                     : number                   ? dtype_from_torch(*number)
                                                : std::optional(before);
  const Item* copy = find(arguments, "copy");
  if (dtype != before) return own(both(op, name, arguments, false));
  if (copy && copy->is_bool() && copy->plain()->toBool()) return own({fresh(read(self))});
  // The same tensor, unless its elements are to lie otherwise than they do. There is one device.
  if (keeps_format) return results = {arguments[0].item}, true;
  return results = {same_or_copy(op, name, arguments)}, true;
}

/// A tensor's own elements, in its own memory or not as its strides decide.
Item Evaluator::same_or_copy(const Operator& op, const std::string& name, const std::vector<NamedItem>& arguments) {
  const Tensor& self = *arguments[0].item.tensor();
  const auto copies = copies_in_eager(op, arguments);
  if (copies) return *copies ? fresh(read(self)) : arguments[0].item;
  const auto same = [](const ContentsRef& c) { return c; };
  return make_view(self, name, read(self), same, [](const ContentsRef&, const ContentsRef& part) { return part; }, true);
}

/// The results of split, chunk or unbind become views: slices along `axis`, or single rows of it.
void Evaluator::make_parts(const Tensor& self, const std::string& name, int64_t axis, bool rows, ListObject& parts) {
  int64_t row = 0;
  Dim at = 0;
  for (Item& item : parts.items) {
    const ContentsRef part = read(*item.tensor());
    if (rows) {
      item = make_view(
          self, name, part, [=, this](const ContentsRef& p) { return select_of(p, axis, row); },
          [=, this](const ContentsRef& p, const ContentsRef& n) { return defect(Defect::unbind_write) ? p : select_scatter(p, n, axis, row); },
          false);
      ++row;
    } else {
      const Dim end = at + part->type.shape[axis];
      item = make_view(
          self, name, part, [=, this](const ContentsRef& p) { return slice_of(p, axis, at, end, 1); },
          [=, this](const ContentsRef& p, const ContentsRef& n) { return slice_scatter(p, n, axis, at, end, 1); }, false);
      at = end;
    }
  }
}

/// select at an index that depends on data, or of which only the run can tell that the axis has it.
bool Evaluator::run_dynamic_view(const std::string& base_name, const std::vector<NamedItem>& arguments, std::vector<Item>& results) {
  const Item* index = find(arguments, "index");
  if (base_name != "aten::select" || !index) return run_measured_slice(base_name, arguments, results);
  const Tensor& self = *arguments[0].item.tensor();
  const int64_t axis = integer(arguments, "dim").value_or(0), rank = self.type().rank();
  if (axis < -rank || axis >= rank) return false;
  if (const auto at = size(arguments, "index")) {
    const Dim& extent = self.type().shape[axis < 0 ? axis + rank : axis];
    const bool inside = at->low() >= 0 ? Dim::surely_less(*at, extent) : at->high() < 0 && Dim::surely_less(-1, *at + extent);
    const bool outside = at->low() >= 0 && !Dim::surely_less(*at, extent + extent.high());
    if ((extent.is_static() && at->is_static()) || inside || outside) return false;
  } else if (!index->number()) {
    return false;
  }
  const ContentsRef place = contents_of(number_value(*index, DType::i64));
  const auto get = [=, this](const ContentsRef& p) {
    return contents_of(builder_.create(SelectAt{.x = materialise(p), .index = materialise(place), .axis = axis}));
  };
  const auto put = [=, this](const ContentsRef& p, const ContentsRef& n) {
    return contents_of(builder_.create(UpdateAt{.x = materialise(p), .row = materialise(n), .index = materialise(place), .axis = axis}));
  };
  return results = {make_view(self, "aten::select", get(read(self)), get, put, false)}, true;
}

bool Evaluator::run_view(const Operator& op, const std::string& name, const std::vector<NamedItem>& arguments, std::vector<Item>& results) {
  if (arguments.empty() || !arguments[0].item.tensor()) return false;
  if (!run_view_operator(op, name, arguments, results)) return false;
  place_views(op, arguments, results);
  return true;
}

bool Evaluator::run_view_operator(const Operator& op, const std::string& name, const std::vector<NamedItem>& given, std::vector<Item>& results) {
  const std::string& base_name = op.schema().name();
  std::vector<NamedItem> arguments = given;
  if (base_name == "aten::as_strided") aim_as_strided(arguments);
  const Tensor* self = arguments[0].item.tensor();
  const TensorType type = self->type();
  if (run_copy(op, name, arguments, results) || run_dynamic_view(base_name, arguments, results)) return true;
  // What its schema calls a view is one, also where writing through it is not worked out.
  constexpr ViewRule unknown_view{"", ViewKind::other};
  const auto& returns = op.schema().returns();
  const ViewRule* rule = find_rule(base_name);
  if (!rule && !returns.empty() && returns[0].alias_info() && !returns[0].alias_info()->isWrite()) rule = &unknown_view;
  if (!rule) return false;
  if (rule->kind == ViewKind::same) { return results = {rule->maybe_copy ? same_or_copy(op, name, arguments) : arguments[0].item}, true; }
  std::vector<Item> made = both(op, name, arguments, false);
  if (made.empty()) return results = {}, true;
  const auto rerun_part = [this, &op, name, arguments](const ContentsRef& parent, size_t part) {
    std::vector<NamedItem> again = arguments;
    again[0].item = fresh(parent);
    const auto items = both(op, name, again, false);
    if (items.empty()) throw Stop{};
    return read(items[0].list() ? *items[0].list()->items.at(part).tensor() : *items[0].tensor());
  };
  const auto rerun = [rerun_part](const ContentsRef& parent) { return rerun_part(parent, 0); };
  int64_t axis = integer(arguments, "dim").value_or(integer(arguments, "axis").value_or(0));
  if (axis < 0) axis += type.rank();
  const bool rows = base_name == "aten::unbind";
  if (auto* list = made[0].list(); list && rule->kind == ViewKind::parts && (rows || follow_each_other(*list, axis, type.shape[axis]))) {
    make_parts(*self, name, axis, rows, *list);
    return results = std::move(made), true;
  }
  if (auto* list = made[0].list()) {
    for (size_t i = 0; i < list->items.size(); ++i) {
      if (const Tensor* t = list->items[i].tensor())
        list->items[i] = make_view(*self, name, read(*t), [=](const ContentsRef& p) { return rerun_part(p, i); }, {}, false);
    }
  }
  if (!made[0].tensor()) return results = std::move(made), true;
  const ContentsRef part = read(*made[0].tensor());
  const auto known = [this](const NamedItem& a) { return ivalue_of(a.item, a.schema->type(), false); };
  std::function<ContentsRef(const ContentsRef&, const ContentsRef&)> put;
  bool unclear = false;
  if (rule->kind == ViewKind::shape) {
    if (rule->maybe_copy && !only_splits(type.shape, part->type.shape)) {
      const auto copies = copies_in_eager(op, arguments);
      if (copies.value_or(false)) return results = {fresh(part)}, true;
      unclear = !copies;
    }
    if (part->type.dtype == type.dtype) put = [=, this](const ContentsRef& p, const ContentsRef& n) { return reshape_of(n, p->type.shape); };
  } else if (rule->kind == ViewKind::permutation) {
    const auto order = permutation_of(op, arguments, type.rank(), known);
    if (order) {
      std::vector<int64_t> back(order->size());
      for (size_t i = 0; i < order->size(); ++i) back[(*order)[i]] = static_cast<int64_t>(i);
      put = [=, this](const ContentsRef&, const ContentsRef& n) { return permute_of(n, back); };
    }
  } else if (rule->kind == ViewKind::slice) {
    const auto length = size(arguments, "length");
    Dim start = size(arguments, "start").value_or(0);
    const int64_t step = integer(arguments, "step").value_or(1);
    if (length && start < 0) start = start + type.shape[axis];
    const Dim end = length ? start + *length : size(arguments, "end").value_or(type.rank() ? type.shape[axis] : Dim(0));
    const Item* first = find(arguments, "start");
    if (!first || !first->tensor())
      put = [=, this](const ContentsRef& p, const ContentsRef& n) { return slice_scatter(p, n, axis, start, end, step); };
  } else if (rule->kind == ViewKind::select) {
    if (const auto index = integer(arguments, "index"))
      put = [=, this](const ContentsRef& p, const ContentsRef& n) { return select_scatter(p, n, axis, *index); };
  } else if (part->type == type && base_name.starts_with("aten::expand")) {
    put = [](const ContentsRef&, const ContentsRef& n) { return n; };  // an expansion to the same shape
  } else if (const auto places = places_of(op, arguments, known)) {
    put = [=, this](const ContentsRef& p, const ContentsRef& n) {
      const auto flat = [&](const ContentsRef& c) { return materialise(reshape_of(c, Shape(std::vector<Dim>{c->type.shape.elements()}))); };
      const Value index = materialise(read(*fresh_constant(*places).tensor()));
      return reshape_of(import_one("aten::scatter.src", {{"self", flat(p)}, {"dim", int64_t{0}}, {"index", index}, {"src", flat(n)}}), p->type.shape);
    };
  }
  results = {make_view(*self, name, part, rerun, std::move(put), unclear)};
  return true;
}

/// Where results may lie in their operands' memory and nothing says how, a write to one makes the others unknown.
void Evaluator::note_sharing(const std::string& base_name, const std::vector<Item>& in, const std::vector<Item>& results) {
  if (std::ranges::find(sharing_operators, base_name) == std::end(sharing_operators)) return;
  const auto operands = std::ranges::find_if(in, [](const Item& i) { return i.list() != nullptr; });
  if (operands == in.end()) return;
  const auto& from = operands->list()->items;
  const bool contracts = base_name == "aten::einsum" || base_name == "aten::chain_matmul";
  if (contracts && from.size() > 1) return;
  const std::vector<Item>& made = results.size() == 1 && results[0].list() ? results[0].list()->items : results;
  for (const Item& r : made)
    for (const Item& i : from)
      if (r.tensor() && i.tensor()) may_be(r.tensor()->storage, i.tensor()->storage);
}

void Evaluator::may_be(const StorageRef& storage, const StorageRef& origin) {
  if (storage == origin) return;
  storage->origins.push_back(origin);
  touch(*origin), origin->maybe.push_back(storage);
}

namespace {
/// A view's contents now, from the storage's; nothing is cached on the way.
ContentsRef derive(const View* view) {
  if (view->version == view->storage->version) return view->contents;
  return view->get(view->parent ? derive(view->parent.get()) : view->storage->contents);
}
}  // namespace

ContentsRef Evaluator::read_view(const ViewRef& view) {
  const Storage& storage = *view->storage;
  if (view->version == storage.version) return view->contents;
  if (defect(Defect::stale_transpose) && view->op.starts_with("aten::transpose")) return view->contents;
  // A write through a maybe-copy is seen by exactly those that lie under the same maybe-copy.
  std::vector<const View*> mine;
  collect_unclear(view.get(), mine);
  bool clear = mine.empty() || storage.version == view->version;
  const auto write = std::find_if(storage.unclear_writes.begin(), storage.unclear_writes.end(),
                                  [&](const auto& w) { return w.first > view->version && w.second != mine; });
  uint64_t matching = 0;
  for (const auto& w : storage.unclear_writes) matching += w.first > view->version && w.second == mine;
  if (!mine.empty()) clear = matching == storage.version - view->version;
  if (!clear || write != storage.unclear_writes.end()) {
    diagnostics_
        .unsupported("unclear-alias", "a tensor made by {} is read after an in-place operator wrote to the tensor that it may share memory with",
                     view->op)
        .at(here())
        .note("whether it is a view or a copy depends on how PyTorch laid out the tensor's memory")
        .help("use .view() or .clone() in the model, or the operator's form that is not in place");
    throw Stop{};
  }
  touch(*view);
  view->contents = view->get(view->parent ? derive(view->parent.get()) : storage.contents);
  view->version = storage.version;
  return view->contents;
}

/// After a write to a storage that may be others, or that others may be: their elements are not known any more.
void Evaluator::mark_stale(const StorageRef& written) {
  const auto spoil = [&](const StorageRef& other) {
    if (!other || other == written) return;
    touch(*other);
    other->stale = true;
  };
  const auto maybe = [&](const Storage& origin) {
    for (const auto& weak : origin.maybe) spoil(weak.lock());
  };
  maybe(*written);
  for (const StorageRef& origin : written->origins) {
    spoil(origin);
    maybe(*origin);
  }
}

void Evaluator::write(const Tensor& tensor, ContentsRef contents) {
  Storage& storage = *tensor.storage;
  if (contents->type.shape != tensor.type().shape || contents->type.dtype != tensor.type().dtype) {
    diagnostics_.error("in-place-type", "an in-place operator gives {} where the tensor is {}", contents->type.to_string(), tensor.type().to_string())
        .at(here())
        .help("use the operator's form that is not in place");
    throw Stop{};
  }
  // batch_norm in training mode counts its batches before it runs; check_training says what is wrong there.
  if (storage.origin == Origin::module && storage.contents->name.ends_with("num_batches_tracked")) return;
  if (storage.origin == Origin::input && !warned_input_) {
    warned_input_ = true;
    diagnostics_.warning("input-written", "the model writes to one of its inputs; the compiled model leaves the caller's data as it is").at(here());
  }
  std::vector<const View*> unclear;
  collect_unclear(tensor.view.get(), unclear);
  ContentsRef whole = contents;
  for (const View* view = tensor.view.get(); view; view = view->parent.get()) {
    if (!view->put) {
      diagnostics_.unsupported("write-through-view", "an in-place operator writes through {}", view->op)
          .at(here())
          .help("use the operator's form that is not in place, or clone() the view first");
      throw Stop{};
    }
    whole = view->put(view->parent ? derive(view->parent.get()) : storage.contents, whole);
  }
  touch(storage);
  ++storage.version;
  storage.contents = std::move(whole);
  mark_stale(tensor.storage);
  if (!unclear.empty()) {
    storage.unclear_writes.emplace_back(storage.version, unclear);
    storage.kept.push_back(tensor.view);
  }
  if (tensor.view) touch(*tensor.view), tensor.view->contents = std::move(contents), tensor.view->version = storage.version;
}

}  // namespace mica::frontend
