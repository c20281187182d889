#pragma once
// What programs are made of: one row an operator or a spelling of one.
#include <span>
#include <string_view>

#include "program.h"

namespace mica::fuzz {

class Generator;

/// One way to write a statement. `text` has {d} (and {e}) for what it defines and placeholders:
///   {a} {b} {c}   operands, as `operands` describes them
///   {axis} {axis2} two different axes of a, from either end; {axes} some of its axes, none twice, as a list
///   {keep}        True or False
///   {num} {int} {pos}   a Python number for a's dtype, a small whole one, a small positive float
///   {dtype}       any of torch.float32 ...
///   {start} {end} {step} {index}   along {axis}
///   {shape}       another factorisation of a's number of elements; {perm} a permutation of its axes
///   {roll} {k} {pads} {sizes}    see generator.cpp
/// `operands`: "a:f1+ b:n~?": a letter of the dtype (f floats, n numbers, x anything, b bool, i integers, l i64), then a rank (3, 1+), and
///   ~ broadcasts with a   = has a's shape   @ has a's dtype   ? may be a Python number   * has one element or more
struct OpRow {
  std::string_view name, text, operands;
  uint32_t flags = 0;
  double weight = 1;
  /// Writes the statement where placeholders are not enough; empty text when it finds no operands.
  std::string (*build)(Generator&) = nullptr;
};

std::span<const OpRow> op_rows();

}  // namespace mica::fuzz
