#include "guarded.h"

#include <dlfcn.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>

#include "mica/driver/so_model.h"
#include "mica/runtime/mica.h"
#include "mica/support/hash.h"

namespace mica::numerics {

namespace {

constexpr size_t page = 4096;
constexpr DType dtypes[] = {DType::f64, DType::f32, DType::f16, DType::bf16, DType::i64, DType::i32, DType::i16, DType::i8, DType::u8, DType::b8};
size_t whole_pages(size_t bytes) { return (bytes + page - 1) / page * page; }

/// `bytes` of memory in pages of their own. Lives as long as the process: the child's.
std::byte* guarded(size_t bytes, DebugMemory guard) {
  const size_t pages = std::max(whole_pages(bytes), page);
  auto* all = static_cast<std::byte*>(mmap(nullptr, pages + 2 * page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  if (all == MAP_FAILED || mprotect(all + page, pages, PROT_READ | PROT_WRITE) != 0) return nullptr;
  return guard == DebugMemory::behind ? all + page + pages - bytes : all + page;
}

constexpr size_t most_outputs = 64;

/// What the child leaves for its parent: a sentence, the shapes that the outputs have had, then the outputs in buffers of their greatest sizes.
struct Report {
  char sentence[1024];
  int64_t shapes[most_outputs][16];
  std::byte outputs[];
};

struct Tensors {
  std::vector<std::vector<int64_t>> shapes;
  std::vector<mica_tensor> list;
};

class Child {
 public:
  Child(Report& report, DebugMemory guard) : report_(report), guard_(guard) {}

  bool run(const std::filesystem::path& library, const std::vector<RawTensor>& inputs, const std::vector<TensorType>& types, int threads) {
    void* handle = dlopen(library.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (!handle) return fail("cannot be loaded: {}", dlerror());
    const auto* api = reinterpret_cast<mica_model_query_fn>(dlsym(handle, "mica_model_query"))(MICA_ABI_VERSION);
    mica_options options{};
    options.size = sizeof options;
    options.threads = threads;
    char error[256] = "";
    mica_model* model = nullptr;
    mica_context* context = nullptr;
    if (api->model_create(&options, &model, error, sizeof error) || api->context_create(model, nullptr, &context, error, sizeof error))
      return fail("cannot be created: {}", error);
    mica_model_info info{};
    info.size = sizeof info;
    api->model_info(&info);
    Tensors in, out;
    for (size_t i = 0; i < info.inputs; ++i) add(in, api->input_info, i, inputs[i].type.shape.sizes(), inputs[i].bytes.data());
    for (size_t i = 0; i < info.outputs; ++i) add(out, api->output_info, i, types[i].shape.sizes(), nullptr);
    const uint64_t before = hash(in), nothing = hash(out);
    uint64_t first = nothing;
    for (int turn = 0; turn < 2; ++turn) {
      for (const mica_tensor& t : out.list) std::memset(t.data, 0xff, t.nbytes);
      if (api->run(context, in.list.data(), in.list.size(), out.list.data(), out.list.size()))
        return fail("refuses to run: {}", api->last_error(context));
      if (hash(in) != before) return fail("{}", "an input has changed");
      if (turn && hash(out) != first) return fail("{}", "the second run gives other results than the first");
      first = hash(out);
    }
    size_t at = 0;
    for (size_t i = 0; i < out.list.size(); ++i) {
      const mica_tensor& t = out.list[i];
      if (api->result_shape(context, i, report_.shapes[i], static_cast<size_t>(t.rank))) return fail("output {} has no shape", i);
      std::memcpy(report_.outputs + at, t.data, t.nbytes);
      at += t.nbytes;
    }
    api->context_destroy(context);
    api->model_destroy(model);
    return true;
  }

 private:
  template <class... A> bool fail(fmt::format_string<A...> format, A&&... args) {
    const std::string text = fmt::format(format, std::forward<A>(args)...);
    std::strncpy(report_.sentence, text.c_str(), sizeof report_.sentence - 1);
    return false;
  }
  void add(Tensors& to, int (*describe)(size_t, mica_value_info*), size_t index, const std::vector<int64_t>& shape, const std::byte* from) {
    mica_value_info info{};
    info.size = sizeof info;
    describe(index, &info);
    to.shapes.push_back(shape);
    mica_tensor t{};
    t.size = sizeof t;
    t.nbytes = static_cast<size_t>(TensorType{dtypes[info.dtype - 1], Shape(shape), {}}.bytes());
    t.dtype = info.dtype;
    t.rank = info.rank;
    t.shape = to.shapes.back().data();
    t.data = guarded(t.nbytes, guard_);
    if (from && t.nbytes) std::memcpy(t.data, from, t.nbytes);
    to.list.push_back(t);
  }
  static uint64_t hash(const Tensors& tensors) {
    uint64_t h = 0;
    for (const mica_tensor& t : tensors.list) h = hash64({static_cast<const std::byte*>(t.data), t.nbytes}, h);
    return h;
  }

  Report& report_;
  DebugMemory guard_;
};

/// Types of the outputs, in order, at the greatest sizes that they can have.
std::vector<TensorType> output_types(const std::filesystem::path& library, const std::vector<RawTensor>& inputs, std::string& why) {
  std::vector<TensorType> types;
  void* handle = dlopen(library.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (!handle) {
    why = fmt::format("cannot be loaded: {}", dlerror());
    return types;
  }
  const auto* api = reinterpret_cast<mica_model_query_fn>(dlsym(handle, "mica_model_query"))(MICA_ABI_VERSION);
  mica_model_info info{};
  info.size = sizeof info;
  api->model_info(&info);
  Tensors given;
  for (const RawTensor& t : inputs) {
    given.shapes.push_back(t.type.shape.sizes());
    mica_tensor described{};
    described.size = sizeof described;
    described.rank = static_cast<int32_t>(t.type.rank());
    described.shape = given.shapes.back().data();
    given.list.push_back(described);
  }
  for (size_t i = 0; i < info.outputs; ++i) {
    mica_value_info v{};
    v.size = sizeof v;
    api->output_info(i, &v);
    std::vector<int64_t> shape(static_cast<size_t>(v.rank));
    if (api->output_shape(given.list.data(), given.list.size(), i, shape.data(), shape.size())) why = "an output has no shape";
    types.push_back({dtypes[v.dtype - 1], Shape(shape), {}});
  }
  if (types.size() > most_outputs) why = "too many outputs";
  dlclose(handle);
  return types;
}

}  // namespace

Result<std::vector<RawTensor>> run_library(const std::filesystem::path& library, const std::vector<RawTensor>& inputs, int threads,
                                           DebugMemory memory, Diagnostics& diagnostics) {
  if (memory == DebugMemory::off) {
    auto model = SoModel::load(library, {.threads = threads, .copy_weights = false}, diagnostics);
    if (!model) return Failure{};
    return model->run(inputs, diagnostics);
  }
  std::string why;
  const auto types = output_types(library, inputs, why);
  size_t bytes = sizeof(Report);
  for (const TensorType& t : types) bytes += static_cast<size_t>(t.bytes());
  auto* report = static_cast<Report*>(mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
  const pid_t child = why.empty() ? fork() : -1;
  if (child == 0) _exit(Child(*report, memory).run(library, inputs, types, threads) ? 0 : 1);
  int status = 0;
  if (child > 0) waitpid(child, &status, 0);
  if (WIFSIGNALED(status)) why = fmt::format("it dies of signal {} ({})", WTERMSIG(status), strsignal(WTERMSIG(status)));
  else if (WEXITSTATUS(status)) why = report->sentence;
  std::vector<RawTensor> outputs;
  size_t at = 0;
  for (size_t i = 0; i < types.size() && why.empty(); ++i) {
    TensorType is = types[i];
    is.shape = Shape(std::vector<int64_t>(report->shapes[i], report->shapes[i] + is.rank()));
    outputs.push_back({is, {report->outputs + at, report->outputs + at + static_cast<size_t>(is.bytes())}});
    at += static_cast<size_t>(types[i].bytes());
  }
  munmap(report, bytes);
  if (why.empty()) return outputs;
  diagnostics.error("guarded-run", "between pages that cannot be touched, on {} threads: {}", threads, why);
  return Failure{};
}

}  // namespace mica::numerics
