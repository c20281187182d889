#pragma once
// NumPy's .npy and .npz files, read and written without NumPy.
// Formats: numpy/lib/format.py (versions 1 to 3); PKWARE APPNOTE 6.3 for the zip archive that a .npz is, Zip64 included.
#include <filesystem>
#include <span>

#include "mica/frontend/eager.h"

namespace mica {

struct NamedTensor {
  std::string name;
  RawTensor tensor;
};

/// One array, in row-major order and in this machine's byte order whatever the file has. bf16 has no NumPy dtype: it is stored as f32.
Result<RawTensor> read_npy(const std::filesystem::path& file, Diagnostics& diagnostics);
/// All arrays of an archive (stored or deflated), in its order; names without ".npy".
Result<std::vector<NamedTensor>> read_npz(const std::filesystem::path& file, Diagnostics& diagnostics);

Result<void> write_npy(const std::filesystem::path& file, const RawTensor& tensor, Diagnostics& diagnostics);
/// Stored, not deflated: np.load can map it, and weights do not compress.
Result<void> write_npz(const std::filesystem::path& file, std::span<const NamedTensor> tensors, Diagnostics& diagnostics);

/// The tensor with its elements converted to `dtype` (narrow floats rounded to nearest even, integers wrap).
RawTensor convert(const RawTensor& tensor, DType dtype);

}  // namespace mica
