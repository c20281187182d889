#include "guard.h"

#include <algorithm>
#include <deque>
#include <map>
#include <unordered_map>

#include "mica/ir/fault.h"
#include "nest.h"

namespace mica::lower {

namespace {

/// When a part is computed: where `part` (of a select: its condition, or the contrary) holds inside of `outer`. A reduction that may have no trips is
/// such a place too.
struct Place {
  const Place* outer = nullptr;
  const ExprNode* part = nullptr;
  int depth = 0;
  bool contrary = false, reduction = false;
  Expr condition;  ///< of all, made when it is first asked for
};

class Guard {
 public:
  Guard(const Expr& e, const std::function<Dim(uint32_t)>& elements) : elements_(elements) {
    // Who uses a part comes before it, so all places of a part are known when it is reached.
    std::vector<Expr> order;
    visit(e, [&](const Expr& n) {
      order.push_back(n);
      if (n->op == ExprOp::select) conditions_.emplace(n->args[0].get(), n->args[0]);
    });
    places_[e.get()].push_back(&top_);
    for (size_t i = order.size(); i-- > 0;) {
      const Expr& n = order[i];
      for (const Place* place : places_.at(n.get())) {
        for (size_t a = 0; a < n->args.size(); ++a) add(n->args[a].get(), inside(n, a, place));
      }
    }
  }

  Expr run(const Expr& e) { return run(e, &top_); }

 private:
  /// The place of argument `a` of n.
  const Place* inside(const Expr& n, size_t a, const Place* place) {
    if (n->op == ExprOp::select && a > 0) return step(place, n->args[0].get(), a == 2, false);
    const bool none = n->op == ExprOp::reduce && std::ranges::any_of(n->vars, [](const Expr& v) { return extent_of(v).low() < 1; });
    return none ? step(place, n.get(), false, true) : place;
  }

  const Place* step(const Place* outer, const ExprNode* part, bool contrary, bool reduction) {
    const Place*& known = steps_[{outer, part, contrary}];
    if (!known) known = &all_.emplace_back(Place{outer, part, outer->depth + 1, contrary, reduction, {}});
    return known;
  }

  static bool within(const Place* place, const Place* outer) {
    while (place->depth > outer->depth) place = place->outer;
    return place == outer;
  }

  /// Keeps the outermost places.
  void add(const ExprNode* n, const Place* place) {
    std::vector<const Place*>& places = places_[n];
    if (std::ranges::any_of(places, [&](const Place* p) { return within(place, p); })) return;
    std::erase_if(places, [&](const Place* p) { return within(p, place); });
    places.push_back(place);
  }

  const Expr& condition(const Place* place) {
    const auto p = const_cast<Place*>(place);
    if (p->condition || !p->outer) return p->condition;
    const Expr outer = condition(p->outer);
    if (p->reduction) return p->condition = outer;
    const Expr own = run(conditions_.at(p->part), p->outer), here = p->contrary ? logical_not(own) : own;
    return p->condition = outer ? outer && here : here;
  }

  Expr run(const Expr& e, const Place* place) {
    for (const Place* p : places_.at(e.get())) {
      if (within(place, p)) place = p;
    }
    Expr& known = done_[{e.get(), place}];
    if (known) return known;
    std::vector<Expr> args;
    for (size_t a = 0; a < e->args.size(); ++a) args.push_back(run(e->args[a], inside(e, a, place)));
    return done_[{e.get(), place}] = guarded(e->args.empty() ? e : with_args(e, std::move(args)), place);
  }

  Expr guarded(const Expr& e, const Place* place) {
    const bool load = e->op == ExprOp::load && !e->masked;
    if (!load && e->op != ExprOp::checked_index) return e;
    const Expr& where = condition(place);
    if (!where) return e;
    if (load) return within_buffer(e) ? e : make_load(e->id, e->type, e->args, where);
    // An index that is not used is not looked at either. Of an extent that may be 0, 0 is no index that does.
    const Expr checked = with_index(*e, select(where, e->args[0], imm_i(e->type.dtype, 0)), e->id);
    return of_none_perhaps(checked) ? masked_check(*checked, where) : checked;
  }

  bool within_buffer(const Expr& load) const {
    const Dim elements = elements_(load->id);
    const auto b = bounds(load->args[0]);
    if (!b || b->low < 0) return false;
    return elements.is_static() ? b->high < elements.size() : constant_int(simplify(load->args[0] < Expr(elements))).value_or(0) != 0;
  }

  const std::function<Dim(uint32_t)>& elements_;
  Place top_;
  std::deque<Place> all_;
  std::map<std::tuple<const Place*, const ExprNode*, bool>, const Place*> steps_;
  std::unordered_map<const ExprNode*, std::vector<const Place*>> places_;
  std::unordered_map<const ExprNode*, Expr> conditions_;
  std::map<std::pair<const ExprNode*, const Place*>, Expr> done_;
};

}  // namespace

bool of_none_perhaps(const Expr& index) {
  bool found = false;
  visit(index, [&](const Expr& n) {
    if (n->op != ExprOp::checked_index) return;
    const auto extent = n->extent ? bounds(n->extent) : Interval{n->limit, n->limit};
    found |= !extent || extent->low < 1;
  });
  return found;
}

Expr guard_accesses(const Expr& e, const std::function<Dim(uint32_t buffer)>& elements) { return Guard(e, elements).run(e); }

}  // namespace mica::lower
