#pragma once
// What the tests of the ABI share: models linked from hand-made objects, opened with dlopen.
#include <dlfcn.h>
#include <gtest/gtest.h>

#include <array>
#include <filesystem>
#include <string>
#include <vector>

#include "mica/artifact/image.h"
#include "mica/runtime/mica.h"

namespace mica {

/// A folder for one test, removed at its end. Throws where the driver's TemporaryFolder reports.
class TestFolder {
 public:
  TestFolder();
  ~TestFolder();
  TestFolder(const TestFolder&) = delete;
  TestFolder& operator=(const TestFolder&) = delete;
  std::filesystem::path operator/(const std::string& name) const { return path_ / name; }
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

std::string read_file(const std::filesystem::path& path);
/// What a shell command printed (stdout and stderr), with "[exit N]" behind it when it failed.
std::string shell(const std::string& command);

/// Images of the models in tests/e2e/abi. The weights of lookup.c: w[r, c] = 100 r + c.
artifact::Image lookup_image(const std::string& arch = "x86_64");
artifact::Image late_image();
artifact::Image wait_image();
artifact::Image barriers_image(int64_t max_threads = 64);
artifact::Image floats_image();
std::filesystem::path link(const artifact::Image& image, const std::filesystem::path& path);

/// An opened .so; closed at the end.
struct Library {
  void* handle = nullptr;
  const mica_api* api = nullptr;
  explicit Library(const std::filesystem::path& path, int flags = RTLD_NOW | RTLD_LOCAL);
  ~Library();
  Library(const Library&) = delete;
  Library& operator=(const Library&) = delete;
};

/// A model with one context.
struct Session {
  const mica_api* api;
  mica_model* model = nullptr;
  mica_context* context = nullptr;
  explicit Session(const mica_api* api, int threads = 2, int weights = MICA_WEIGHTS_MAP);
  ~Session();
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;
};

/// Buffers and tensors of a good call of lookup.c.
struct LookupCall {
  static constexpr int rows = 8, columns = 16;
  alignas(64) std::array<float, rows * columns> x{}, y{};
  std::array<int64_t, rows> index{};
  int64_t runs = 0;
  std::array<int64_t, 2> matrix = {rows, columns};
  std::array<int64_t, 1> vector = {rows};
  std::array<mica_tensor, 2> inputs{}, outputs{};
  LookupCall();
  int run(const mica_api* api, mica_context* context);
  void expect_right() const;
};

}  // namespace mica
