/// Removes, merges and shortens ops that only move elements:
///   reshape(reshape(%x, ..), shape)            =>  reshape(%x, shape)
///   permute(permute(%x, p), q)                 =>  permute(%x, p after q)
///   permute that only moves axes of size 1     =>  reshape
///   reshape, permute, expand, slice, cast, pad that change nothing  =>  %x
///   slice(slice(%x, axis), axis)               =>  slice(%x, axis)
///   slice(cat(%a, %b)) within %b               =>  slice(%b)
///   cat(cat(%a, %b), %c)                       =>  cat(%a, %b, %c)
///   cat(%a[0:2], %a[2:4], %c), a of 4 on axis  =>  cat(%a, %c)
///   add(expand(%x), %y), broadcast as well     =>  add(%x, %y)
///   exp(expand(%x))                            =>  expand(exp(%x))
/// From here on the shape of a reshape or expand is written out (no -1), axes count from the front.
#include <algorithm>
#include <numeric>

#include "mica/ops/compare.h"
#include "mica/ops/matmul.h"
#include "mica/ops/view.h"
#include "mica/passes/graph.h"
#include "mica/support/defect.h"

namespace mica {

namespace {

bool same_type(const TensorType& a, const TensorType& b) { return a.dtype == b.dtype && a.shape == b.shape; }

/// An op that changes nothing, whatever it is.
template <class T> bool drop_identity(Rewriter& rw, const T& op) {
  if (!same_type(rw.type(op.x), rw.type(rw.at().result()))) return false;
  return rw.replace(op.x), true;
}

bool simplify_reshape(Rewriter& rw, const Reshape& op) {
  if (drop_identity(rw, op)) return true;
  const std::vector<Dim> sizes = rw.type(rw.at().result()).shape.dims();
  if (const auto inner = rw.producer<Reshape>(op.x)) return rw.replace(rw.create(Reshape{inner->x, sizes})), true;
  if (op.shape.items == sizes) return false;
  return rw.replace(rw.create(Reshape{op.x, sizes})), true;
}

std::vector<int64_t> front_axes(const Ints& axes) {
  std::vector<int64_t> out = axes.items;
  for (int64_t& a : out) a = from_front(a, static_cast<int64_t>(out.size()));
  return out;
}

bool simplify_permute(Rewriter& rw, const Permute& op) {
  const std::vector<int64_t> axes = front_axes(op.axes);
  if (std::ranges::is_sorted(axes)) return rw.replace(op.x), true;
  if (const auto inner = rw.producer<Permute>(op.x)) {
    const std::vector<int64_t> first = front_axes(inner->axes);
    std::vector<int64_t> both;
    for (size_t i = 0; i < axes.size(); ++i) both.push_back(defect(Defect::permute_order) ? axes[first[i]] : first[axes[i]]);
    return rw.replace(rw.create(Permute{inner->x, both})), true;
  }
  // What is left without axes of size 1 keeps its order: the elements stay where they are.
  std::vector<int64_t> long_axes;
  for (const int64_t a : axes)
    if (rw.type(op.x).shape[a] != 1) long_axes.push_back(a);
  if (std::ranges::is_sorted(long_axes)) return rw.replace(rw.create(Reshape{op.x, rw.type(rw.at().result()).shape.dims()})), true;
  if (axes == op.axes.items) return false;
  return rw.replace(rw.create(Permute{op.x, axes})), true;
}

std::vector<Dim> long_sizes(std::vector<Dim> sizes) {
  std::erase_if(sizes, [](const Dim& d) { return d == 1; });
  return sizes;
}

bool simplify_expand(Rewriter& rw, const Expand& op) {
  if (drop_identity(rw, op)) return true;
  const std::vector<Dim> sizes = rw.type(rw.at().result()).shape.dims();
  if (const auto inner = rw.producer<Expand>(op.x)) return rw.replace(rw.create(Expand{inner->x, sizes})), true;
  // Only new axes of size 1. As many elements do not say that: a size of 0 to 1 is its own square.
  if (long_sizes(rw.type(op.x).shape.dims()) == long_sizes(sizes)) return rw.replace(rw.create(Reshape{op.x, sizes})), true;
  if (op.shape.items == sizes) return false;
  return rw.replace(rw.create(Expand{op.x, sizes})), true;
}

bool simplify_slice(Rewriter& rw, const Slice& op) {
  if (drop_identity(rw, op)) return true;
  const Shape shape = rw.type(op.x).shape;
  const int64_t axis = from_front(op.axis, shape.rank());
  const SliceRange range = slice_range(shape[axis], op.start, op.end, op.step);
  if (range.count == 0) return false;
  const Dim last = range.start + (range.count - 1) * op.step;  // the last element taken
  if (const auto inner = rw.producer<Slice>(op.x); inner && from_front(inner->axis, shape.rank()) == axis) {
    const Dim begin = slice_range(rw.type(inner->x).shape[axis], inner->start, inner->end, inner->step).start;
    const Dim before = begin + range.start * (defect(Defect::slice_step) ? 1 : inner->step);
    return rw.replace(rw.create(Slice{inner->x, axis, before, before + (last - range.start) * inner->step + 1, op.step * inner->step})), true;
  }
  if (const auto cat = rw.producer<Cat>(op.x); cat && from_front(cat->axis, shape.rank()) == axis) {
    Dim offset = 0;
    for (const Value part : cat->xs.items) {
      const TensorType& t = rw.type(part);
      if (t.rank() != shape.rank()) return false;
      const Dim size = t.shape[axis];
      if (range.start >= offset && last < offset + size && t.dtype == rw.type(op.x).dtype)
        return rw.replace(rw.create(Slice{part, axis, range.start - offset, last - offset + 1, op.step})), true;
      offset += size;
    }
  }
  const Slice normal{op.x, axis, range.start, last + 1, op.step};
  if (op.axis == normal.axis && op.start == normal.start && op.end == normal.end) return false;
  return rw.replace(rw.create(normal)), true;
}

/// Slices of one value that stand side by side as they did there are one slice, or the value.
std::vector<Value> join_slices(Rewriter& rw, const std::vector<Value>& parts, int64_t axis) {
  std::vector<Value> joined;
  for (size_t i = 0; i < parts.size();) {
    const auto slice_of = [&](size_t at) {
      const auto slice = at < parts.size() ? rw.producer<Slice>(parts[at]) : std::nullopt;
      return slice && slice->step == 1 && from_front(slice->axis, rw.type(slice->x).rank()) == axis ? slice : std::nullopt;
    };
    const auto range_of = [&](const Slice& s) { return slice_range(rw.type(s.x).shape[axis], s.start, s.end, 1); };
    const auto first = slice_of(i);
    size_t end = i + 1;
    if (!first) {
      joined.push_back(parts[i++]);
      continue;
    }
    const Dim start = range_of(*first).start;
    Dim last = start + range_of(*first).count;
    for (auto next = slice_of(end); next && next->x == first->x && range_of(*next).start == last; next = slice_of(end)) {
      last = last + range_of(*next).count;
      ++end;
    }
    if (end == i + 1) joined.push_back(parts[i]);
    else if (start == 0 && last == rw.type(first->x).shape[axis]) joined.push_back(first->x);
    else joined.push_back(rw.create(Slice{first->x, axis, start, last}));
    i = end;
  }
  return joined;
}

bool simplify_cat(Rewriter& rw, const Cat& op) {
  const TensorType& type = rw.type(rw.at().result());
  const int64_t axis = from_front(op.axis, type.rank());
  std::vector<Value> parts;
  for (const Value v : op.xs.items) {
    const TensorType& t = rw.type(v);
    if (t.shape.elements() == 0 && t.dtype == type.dtype && type.shape.elements() != 0) continue;
    const auto inner = rw.producer<Cat>(v);
    if (inner && rw.uses(v) == 1 && t.dtype == type.dtype && t.rank() == type.rank() && from_front(inner->axis, t.rank()) == axis)
      parts.insert(parts.end(), inner->xs.items.begin(), inner->xs.items.end());
    else parts.push_back(v);
  }
  parts = join_slices(rw, parts, axis);
  if (parts.size() == 1 && same_type(rw.type(parts[0]), type)) return rw.replace(parts[0]), true;
  if (parts == op.xs.items) return false;
  return rw.replace(rw.create(Cat{parts, axis})), true;
}

/// Takes an expanded operand as it was before, where the op broadcasts it to the same result anyway.
bool drop_operand_expand(Rewriter& rw) {
  const Node& n = rw.at();
  if (!n.info->is(Trait::pointwise) && n.info != &op_info<Matmul>) return false;
  for (size_t i = 0; i < n.fields.size(); ++i) {
    const auto* operand = std::get_if<Value>(&n.fields[i]);
    const auto expand = operand ? rw.producer<Expand>(*operand) : std::nullopt;
    if (!expand) continue;
    Node changed = n;
    changed.fields[i] = expand->x;
    Diagnostics ignored;
    const auto types = n.info->infer(changed, Infer(rw.graph(), changed, ignored));
    if (!types || types->size() != 1 || !same_type((*types)[0], rw.type(n.result()))) continue;
    rw.replace(rw.append(n.info, changed.fields));
    return true;
  }
  return false;
}

/// Computes before the elements are repeated, not after.
bool sink_expand(Rewriter& rw) {
  const Node& n = rw.at();
  if (!n.info->is(Trait::pointwise) || n.results.size() != 1) return false;
  Node changed = n;
  bool any = false;
  for (Attr& a : changed.fields)
    if (auto* operand = std::get_if<Value>(&a))
      if (const auto expand = rw.producer<Expand>(*operand)) {
        *operand = expand->x;
        any = true;
      }
  if (!any) return false;
  const TensorType type = rw.type(n.result());
  Diagnostics ignored;
  const auto types = n.info->infer(changed, Infer(rw.graph(), changed, ignored));
  if (!types || types->size() != 1 || (*types)[0].dtype != type.dtype || (*types)[0].shape.elements() * 2 > type.shape.elements()) return false;
  const std::vector<Value> small = rw.append(n.info, changed.fields);
  return rw.replace(rw.create(Expand{small[0], type.shape.dims()})), true;
}

bool simplify(Rewriter& rw) {
  const Node& n = rw.at();
  if (auto op = match<Reshape>(n)) return simplify_reshape(rw, *op);
  if (auto op = match<Permute>(n)) return simplify_permute(rw, *op);
  if (auto op = match<Expand>(n)) return simplify_expand(rw, *op);
  if (auto op = match<Slice>(n)) return simplify_slice(rw, *op);
  if (auto op = match<Cat>(n)) return simplify_cat(rw, *op);
  if (auto op = match<Cast>(n); op && drop_identity(rw, *op)) return true;
  if (auto op = match<Pad>(n)) return std::ranges::all_of(op->before.items, [](int64_t v) { return v == 0; }) && drop_identity(rw, *op);
  return drop_operand_expand(rw) || sink_expand(rw);
}

bool run(Graph& graph, PassContext& context) { return run_rewrite(graph, context, simplify); }

}  // namespace

constinit const Pass simplify_views = {.name = "simplify_views", .summary = "Remove, merge and shorten ops that only move elements", .run = run};

}  // namespace mica
