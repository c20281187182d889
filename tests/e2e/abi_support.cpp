#include "abi_support.h"

#include <cstdlib>
#include <fstream>
#include <numeric>
#include <sstream>

#include "mica/codegen/link.h"

namespace mica {

TestFolder::TestFolder() {
  std::string name = (std::filesystem::temp_directory_path() / "mica-abi-XXXXXX").string();
  if (!mkdtemp(name.data())) throw std::runtime_error("no temporary folder");
  path_ = name;
}
TestFolder::~TestFolder() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

std::string read_file(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

std::string shell(const std::string& command) {
  std::string text;
  std::array<char, 4096> buffer{};
  FILE* pipe = popen((command + " 2>&1").c_str(), "r");
  if (!pipe) return "[no shell]";
  while (const size_t got = fread(buffer.data(), 1, buffer.size(), pipe)) text.append(buffer.data(), got);
  const int status = pclose(pipe);
  if (status) text += "[exit " + std::to_string(status) + "]";
  return text;
}

namespace {

artifact::Image image_of(const std::string& model, const std::string& arch = "x86_64") {
  artifact::Image image;
  image.objects = {read_file(std::string(MICA_E2E_OBJECTS) + "/" + model + "-" + arch + ".o")};
  image.descriptor.name = model;
  image.descriptor.triple = arch + "-unknown-linux-gnu";
  image.descriptor.structure = "y";
  return image;
}

}  // namespace

artifact::Image lookup_image(const std::string& arch) {
  static const std::vector<float> weights = [] {
    std::vector<float> w(32 * 16);
    for (int i = 0; i < 32 * 16; ++i) w[i] = static_cast<float>(100 * (i / 16) + i % 16);
    return w;
  }();
  artifact::Image image = image_of("lookup", arch);
  artifact::Descriptor& d = image.descriptor;
  d.inputs = {{"x", DType::f32, {8, 16}}, {"index", DType::i64, {8}}};
  d.outputs = {{"y", DType::f32, {8, 16}}, {"runs", DType::i64, {}}};
  d.structure = "(y, runs)";
  d.arena_bytes = 8 * 16 * 4;
  d.state_bytes = 8;
  d.weights_bytes = static_cast<int64_t>(weights.size() * sizeof(float));
  d.features = {"sse2"};
  if (arch == "aarch64") d.features = {"neon"};
  d.fault_sites = {"unused", "embedding: index out of range of 32 rows, at model.py:12"};
  // In two pieces, so that offsets count.
  const auto* bytes = reinterpret_cast<const std::byte*>(weights.data());
  image.weights = {{0, 1024, bytes}, {1024, d.weights_bytes - 1024, bytes + 1024}};
  image.manifest = R"({"model": {"hash": "0123"}})";
  return image;
}

artifact::Image wait_image() {
  artifact::Image image = image_of("wait");
  image.descriptor.inputs = {{"signals", DType::i32, {2}}};
  image.descriptor.outputs = {{"threads", DType::i32, {}}};
  return image;
}

artifact::Image late_image() {
  artifact::Image image = image_of("late");
  image.descriptor.inputs = {{"microseconds", DType::i32, {}}};
  image.descriptor.outputs = {{"threads", DType::i32, {}}};
  image.descriptor.arena_bytes = 2 * 64 * 4;
  return image;
}

artifact::Image barriers_image(int64_t max_threads) {
  artifact::Image image = image_of("barriers");
  image.descriptor.inputs = {{"count", DType::i64, {}}};
  image.descriptor.outputs = {{"wrong", DType::i64, {}}};
  image.descriptor.arena_bytes = max_threads * 128;
  return image;
}

artifact::Image floats_image() {
  artifact::Image image = image_of("floats");
  image.descriptor.inputs = {{"x", DType::f32, {4}}};
  image.descriptor.outputs = {{"y", DType::f32, {4}}};
  return image;
}

std::filesystem::path link(const artifact::Image& image, const std::filesystem::path& path) {
  Diagnostics diagnostics;
  const bool linked(link_shared_object(image, path, diagnostics));
  EXPECT_TRUE(linked) << diagnostics.to_string();
  return path;
}

Library::Library(const std::filesystem::path& path, int flags) : handle(dlopen(path.c_str(), flags)) {
  if (!handle) throw std::runtime_error(dlerror());
  const auto query = reinterpret_cast<mica_model_query_fn>(dlsym(handle, "mica_model_query"));
  if (!query) throw std::runtime_error("no mica_model_query");
  api = query(MICA_ABI_VERSION);
  if (!api) throw std::runtime_error("mica_model_query returned null");
}
Library::~Library() { dlclose(handle); }

Session::Session(const mica_api* table, int threads, int weights) : api(table) {
  mica_options options{};
  options.size = sizeof options;
  options.threads = threads;
  options.weights = weights;
  std::array<char, 256> error{};
  EXPECT_EQ(api->model_create(&options, &model, error.data(), error.size()), MICA_OK) << error.data();
  EXPECT_EQ(api->context_create(model, nullptr, &context, error.data(), error.size()), MICA_OK) << error.data();
}
Session::~Session() {
  api->context_destroy(context);
  api->model_destroy(model);
}

LookupCall::LookupCall() {
  std::iota(x.begin(), x.end(), 0.5F);
  for (int r = 0; r < rows; ++r) index[r] = (r * 7 + 3) % 32;
  inputs[0] = {sizeof(mica_tensor), x.data(), sizeof x, MICA_F32, 2, matrix.data(), nullptr};
  inputs[1] = {sizeof(mica_tensor), index.data(), sizeof index, MICA_I64, 1, vector.data(), nullptr};
  outputs[0] = {sizeof(mica_tensor), y.data(), sizeof y, MICA_F32, 2, matrix.data(), nullptr};
  outputs[1] = {sizeof(mica_tensor), &runs, sizeof runs, MICA_I64, 0, nullptr, nullptr};
}
int LookupCall::run(const mica_api* api, mica_context* context) {
  return api->run(context, inputs.data(), inputs.size(), outputs.data(), outputs.size());
}
void LookupCall::expect_right() const {
  for (int r = 0; r < rows; ++r) {
    for (int c = 0; c < columns; ++c) {
      const float expected = 2 * x[(rows - 1 - r) * columns + c] + static_cast<float>(100 * index[r] + c);
      ASSERT_EQ(y[r * columns + c], expected) << "at " << r << ", " << c;
    }
  }
}

}  // namespace mica
