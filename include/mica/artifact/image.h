#pragma once
// What a model's .so is made of, ready to be linked (codegen/link.h).
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "mica/support/diagnostic.h"
#include "mica/support/dtype.h"

namespace mica::artifact {

/// An input or output in the caller's terms.
struct Value {
  std::string name;
  DType dtype = DType::f32;
  std::vector<int64_t> shape;  ///< -1-k stands for symbol k: a given one, a measured one, or behind them a size that follows from them
};

/// A symbolic size.
struct SymbolRange {
  std::string name;
  int64_t low = 1, high = 1;
};

/// What the runtime and `inspect` know of the model.
struct Descriptor {
  std::string name;  ///< of the model; letters, digits and _ of it make the alias mica_model_query_<name>; may be empty
  std::vector<Value> inputs, outputs;
  std::string structure;              ///< how the outputs nest: "(y, {a: z})"
  std::vector<SymbolRange> symbols;   ///< that the inputs give
  std::vector<SymbolRange> measured;  ///< that the run measures
  std::vector<std::string> derived;   ///< sizes of outputs that follow from the symbols, as text: "(H + 1) / 2"
  int64_t slots = 0;                  ///< parts of the arena whose places follow from the symbols
  int64_t arena_bytes = 0, state_bytes = 0, weights_bytes = 0;
  int64_t prepared_bytes = 0;            ///< of memory that is filled from the weights when the library is loaded
  int64_t state_init_at = -1;            ///< offset in the weights of the state's initial bytes; -1: zeros
  std::string triple;                    ///< "x86_64-..." or "aarch64-..."
  std::vector<std::string> features;     ///< LLVM feature names that the code may use
  std::vector<int64_t> guard_pages;      ///< offsets in the arena of pages that nobody may touch: for tests (pass/lower.h)
  bool debug_defect = false;             ///< a seeded defect of the runtime's (support/defect.h)
  std::vector<std::string> fault_sites;  ///< text by site number: "embedding: index out of range of 30522 rows, at file.py:12"
};

/// Bytes of the weights space. Gaps between blobs are zero.
struct Blob {
  int64_t offset = 0;  ///< a multiple of 64
  int64_t bytes = 0;
  const std::byte* data = nullptr;  ///< must live until the image is linked
};

struct Image {
  std::vector<std::string> objects;  ///< bytes of relocatable ELF objects; one defines mica_main (runtime/frame.h)
  std::vector<Blob> weights;         ///< ascending, not overlapping
  Descriptor descriptor;
  std::string manifest;  ///< a JSON object with what the driver adds (model hash, options, kernels), or empty
};

/// Whether the image can be linked: a known target, features that the runtime can check, blobs in order and inside
/// `weights_bytes`. What does not hold is a bug of the caller's (checked) except an unknown target or feature (reported).
Result<void> check_image(const Image& image, Diagnostics& diagnostics);

/// The bytes of struct mica_descriptor (runtime/descriptor.h) for a manifest of `manifest_bytes`.
std::string descriptor_bytes(const Descriptor& descriptor, size_t manifest_bytes);

/// Those of `features` that the .so has to check, in the order given; `features` may also name some that only change
/// what the system may do (xsavec, clwb, ...), which generated code never uses.
std::vector<std::string> checked_features(const Descriptor& descriptor);

/// The name under which this model's mica_model_query can be linked beside that of other models: "mica_model_query_<name>"
/// with _ for what is no letter or digit; empty when the model has no name.
std::string query_symbol(const Descriptor& descriptor);

/// The manifest, a JSON object: "schema", "mica", name, signature, target, sizes, then the keys of `more` (a JSON object or empty).
std::string make_manifest(const Descriptor& descriptor, std::string_view more);

}  // namespace mica::artifact
