#include "mica/driver/so_model.h"

#include <dlfcn.h>

#include <fstream>

#include "mica/driver/file.h"
#include "mica/runtime/mica.h"

namespace mica {

namespace {

constexpr DType dtypes[] = {DType::f64, DType::f32, DType::f16, DType::bf16, DType::i64, DType::i32, DType::i16, DType::i8, DType::u8, DType::b8};

mica_tensor describe(const RawTensor& t, std::vector<int64_t>& shape) {
  shape = t.type.shape.sizes();
  mica_tensor m{};
  m.size = sizeof m;
  m.data = const_cast<std::byte*>(t.bytes.data());
  m.nbytes = t.bytes.size();
  for (int i = 0; i < 10; ++i)
    if (dtypes[i] == t.type.dtype) m.dtype = i + 1;
  m.rank = static_cast<int32_t>(shape.size());
  m.shape = shape.data();
  return m;
}

/// A set of tensors as the C ABI takes them; they must outlive it.
struct TensorList {
  std::vector<std::vector<int64_t>> shapes;
  std::vector<mica_tensor> tensors;
  void set(const std::vector<RawTensor>& from) {
    shapes.assign(from.size(), {});
    tensors.clear();
    for (size_t i = 0; i < from.size(); ++i) tensors.push_back(describe(from[i], shapes[i]));
  }
};

}  // namespace

bool is_elf(const std::filesystem::path& file) {
  char magic[4] = {};
  std::ifstream(file, std::ios::binary).read(magic, sizeof magic);
  return std::string_view(magic, sizeof magic) == "\177ELF";
}

struct SoModel::Impl {
  void* library = nullptr;
  const mica_api* api = nullptr;
  mica_model* model = nullptr;
  mica_context* context = nullptr;
  std::vector<SoValue> inputs, outputs;
  std::vector<RawTensor> bound_inputs, bound_outputs;
  TensorList bound_in, bound_out;
  std::vector<StepTime> times;

  ~Impl() {
    if (context) api->context_destroy(context);
    if (model) api->model_destroy(model);
    if (library) ::dlclose(library);
  }
};

SoModel::SoModel() : impl_(std::make_unique<Impl>()) {}
SoModel::SoModel(SoModel&&) noexcept = default;
SoModel& SoModel::operator=(SoModel&&) noexcept = default;
SoModel::~SoModel() = default;

namespace {

Result<std::vector<SoValue>> list_values(int (*query)(size_t, mica_value_info*), size_t count, const std::string& file, Diagnostics& diagnostics) {
  std::vector<SoValue> values;
  for (size_t i = 0; i < count; ++i) {
    mica_value_info info{};
    info.size = sizeof info;
    if (query(i, &info) != MICA_OK || info.dtype < 1 || info.dtype > 10) {
      diagnostics.error("so-description", "`{}` does not describe its value {}", file, i).help("compile the model again with this Mica");
      return Failure{};
    }
    std::vector<Dim> dims;
    for (int32_t axis = 0; axis < info.rank; ++axis)
      dims.push_back(info.shape[axis] < 0 ? Dim::symbol(static_cast<int32_t>(-1 - info.shape[axis]), "?", 0, int64_t{1} << 40)
                                          : Dim(info.shape[axis]));
    values.push_back({info.name, {dtypes[info.dtype - 1], Shape(std::move(dims)), {}}});
  }
  return values;
}

}  // namespace

Result<SoModel> SoModel::load(const std::filesystem::path& file, const SoOptions& options, Diagnostics& diagnostics) {
  if (!check_readable(file, "library", diagnostics)) return Failure{};
  if (!is_elf(file)) {
    auto& d = diagnostics.error("not-a-library", "`{}` is not a shared library", file.string());
    if (file.extension() == ".pt") d.help(fmt::format("compile it first: mica compile {} -o lib{}.so", file.string(), file.stem().string()));
    return Failure{};
  }
  SoModel m;
  Impl& s = *m.impl_;
  const std::string path = std::filesystem::absolute(file).string();
  s.library = ::dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (!s.library) {
    diagnostics.error("library-not-loadable", "`{}` cannot be loaded: {}", file.string(), ::dlerror())
        .help("a library for another machine? See: mica inspect " + file.string());
    return Failure{};
  }
  const auto query = reinterpret_cast<mica_model_query_fn>(::dlsym(s.library, "mica_model_query"));
  s.api = query ? query(MICA_ABI_VERSION) : nullptr;
  if (!s.api) {
    auto& d = diagnostics.error("not-a-mica-library", "`{}` is {}", file.string(),
                                query ? "a model of another ABI version" : "a shared library, but not one that Mica made");
    d.help("mica compile MODEL.pt -o " + file.string());
    return Failure{};
  }
  mica_model_info info{};
  info.size = sizeof info;
  s.api->model_info(&info);
  auto inputs = list_values(s.api->input_info, info.inputs, file.string(), diagnostics);
  auto outputs = list_values(s.api->output_info, info.outputs, file.string(), diagnostics);
  if (!inputs || !outputs) return Failure{};
  s.inputs = std::move(*inputs), s.outputs = std::move(*outputs);

  mica_options how{};
  how.size = sizeof how;
  how.threads = options.threads;
  how.weights = options.copy_weights ? MICA_WEIGHTS_COPY_HUGE : MICA_WEIGHTS_MAP;
  char error[512] = "";
  int status = s.api->model_create(&how, &s.model, error, sizeof error);
  if (status == MICA_OK) status = s.api->context_create(s.model, nullptr, &s.context, error, sizeof error);
  if (status != MICA_OK) {
    auto& d = status >= 30 && status < 40 ? diagnostics.environment("model-not-created", "`{}` cannot run here: {}", file.string(), error)
                                          : diagnostics.error("model-not-created", "`{}` cannot be created: {}", file.string(), error);
    d.note(s.api->status_name(status));
    if (status == MICA_ERR_CPU) d.help("compile it for this machine (--cpu native) or for an older one (--cpu x86-64-v3)");
    return Failure{};
  }
  return m;
}

const std::vector<SoValue>& SoModel::inputs() const { return impl_->inputs; }
const std::vector<SoValue>& SoModel::outputs() const { return impl_->outputs; }
int SoModel::threads() const { return impl_->api->model_threads(impl_->model); }
std::string SoModel::last_error() const { return impl_->api->last_error(impl_->context); }
std::string SoModel::status_name(int status) const { return impl_->api->status_name(status); }
const std::vector<RawTensor>& SoModel::bound_inputs() const { return impl_->bound_inputs; }
const std::vector<RawTensor>& SoModel::bound_outputs() const { return impl_->bound_outputs; }

std::string SoModel::manifest() const {
  size_t bytes = 0;
  const char* text = impl_->api->manifest(&bytes);
  return text ? std::string(text, bytes) : std::string();
}

void SoModel::bind(std::vector<RawTensor> inputs) {
  Impl& s = *impl_;
  s.bound_inputs = std::move(inputs);
  s.bound_outputs.clear();
  s.bound_in.set(s.bound_inputs);
  for (size_t i = 0; i < s.outputs.size(); ++i) {
    RawTensor t{s.outputs[i].type, {}};
    if (!t.type.shape.is_static()) {
      std::vector<int64_t> shape(static_cast<size_t>(t.type.rank()));
      // Inputs that do not fit are refused by the run, with a sentence.
      (void)s.api->output_shape(s.bound_in.tensors.data(), s.bound_in.tensors.size(), i, shape.data(), shape.size());
      t.type.shape = Shape(shape);
    }
    t.bytes.assign(static_cast<size_t>(t.type.bytes()), std::byte{0xff});
    s.bound_outputs.push_back(std::move(t));
  }
  s.bound_out.set(s.bound_outputs);
}

static_assert(sizeof(StepTime) == sizeof(mica_step_time));

bool SoModel::measure(size_t steps) {
  Impl& s = *impl_;
  if (s.api->size < offsetof(mica_api, context_measure) + sizeof s.api->context_measure) return false;
  s.times.assign(steps, {});
  return s.api->context_measure(s.context, reinterpret_cast<mica_step_time*>(s.times.data()), steps) == MICA_OK;
}
const std::vector<StepTime>& SoModel::step_times() const { return impl_->times; }

int SoModel::run_bound() {
  Impl& s = *impl_;
  return s.api->run(s.context, s.bound_in.tensors.data(), s.bound_in.tensors.size(), s.bound_out.tensors.data(), s.bound_out.tensors.size());
}

int SoModel::reset() { return impl_->api->context_reset(impl_->context); }

Result<std::vector<RawTensor>> SoModel::run(const std::vector<RawTensor>& inputs, Diagnostics& diagnostics) {
  bind(inputs);
  if (const int status = run_bound(); status != MICA_OK) {
    const std::string sentence = last_error();
    diagnostics.error("run-failed", "the model refuses to run: {}", sentence.empty() ? status_name(status) : sentence).note(status_name(status));
    return Failure{};
  }
  return results();
}

std::vector<RawTensor> SoModel::results() const {
  const Impl& s = *impl_;
  std::vector<RawTensor> out = s.bound_outputs;
  for (size_t i = 0; i < out.size(); ++i) {
    if (s.outputs[i].type.shape.is_static()) continue;
    std::vector<int64_t> shape(static_cast<size_t>(out[i].type.rank()));
    if (s.api->result_shape(s.context, i, shape.data(), shape.size()) != MICA_OK) continue;
    out[i].type.shape = Shape(shape);
    out[i].bytes.resize(static_cast<size_t>(out[i].type.bytes()));
  }
  return out;
}

}  // namespace mica
