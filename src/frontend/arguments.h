#pragma once
// An operator's arguments by the names that its schema gives them.
#include <string_view>
#include <vector>

#include "evaluator.h"

namespace mica::frontend {

/// Null where the operator has no such argument.
inline const Item* find(const std::vector<NamedItem>& arguments, std::string_view name) {
  for (const NamedItem& a : arguments) {
    if (a.name == name) return &a.item;
  }
  return nullptr;
}

}  // namespace mica::frontend
