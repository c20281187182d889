#pragma once
// Reads a pickle as far as it says which bytes of the archive the model's tensors need. No torch type appears here.
#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace mica::frontend {

/// One storage that a pickle refers to: the record's name within its folder, and the bytes that the loader will read from it.
struct PickledStorage {
  std::string key;
  uint64_t bytes = 0;
};

/// Walks the opcodes that TorchScript writes, and no others; the text says what is wrong, empty when nothing is. Nothing is constructed or run.
std::string read_storages(std::span<const unsigned char> pickle, std::vector<PickledStorage>& storages);

}  // namespace mica::frontend
