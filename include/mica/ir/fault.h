#pragma once
// What a checked_index (expr.h) stands for: an index, or with `int_value` 1 a divisor, whose fault is a division by zero. If `masked`, it has a
// mask behind the index, and where that is false nothing is looked at and the value is 0: of an empty extent no index would do.
#include <string>

#include "mica/ir/expr.h"

namespace mica {

/// 0; the fault `text` is recorded where `zero` holds.
Expr check_divisor(Expr zero, std::string text);
inline bool checks_divisor(const ExprNode& check) { return check.int_value != 0; }
/// The check where `mask` holds.
Expr masked_check(const ExprNode& check, Expr mask);
/// The same check, with its mask, of another index, at another place.
Expr with_index(const ExprNode& check, Expr index, uint32_t site);

}  // namespace mica
