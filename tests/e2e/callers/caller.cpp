// A C++ program that is linked with a model (no dlopen) and runs it once.
#include <cstdio>
#include <memory>
#include <vector>

#include "mica.h"

int main() {
  const mica_api* api = mica_model_query(MICA_ABI_VERSION);
  if (!api) return 1;
  mica_model* model = nullptr;
  char error[256];
  if (api->model_create(nullptr, &model, error, sizeof error)) return std::puts(error), 1;
  const std::unique_ptr<mica_model, void (*)(mica_model*)> model_owner(model, api->model_destroy);
  mica_context* context = nullptr;
  if (api->context_create(model, nullptr, &context, error, sizeof error)) return std::puts(error), 1;
  const std::unique_ptr<mica_context, void (*)(mica_context*)> context_owner(context, api->context_destroy);

  mica_model_info info{};
  info.size = sizeof info;
  api->model_info(&info);
  std::vector<std::vector<char>> buffers;
  std::vector<mica_tensor> tensors;
  for (size_t i = 0; i < info.inputs + info.outputs; ++i) {
    mica_value_info v{};
    v.size = sizeof v;
    if (i < info.inputs) api->input_info(i, &v);
    else api->output_info(i - info.inputs, &v);
    buffers.emplace_back(v.nbytes);  // inputs are zeros; vector<char> is aligned for any element type
    tensors.push_back({sizeof(mica_tensor), buffers.back().data(), v.nbytes, v.dtype, v.rank, v.shape, nullptr});
  }
  if (api->run(context, tensors.data(), info.inputs, tensors.data() + info.inputs, info.outputs)) return std::puts(api->last_error(context)), 1;
  std::printf("first value: %g\n", static_cast<double>(*reinterpret_cast<float*>(tensors[info.inputs].data)));
}
