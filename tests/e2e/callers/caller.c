/* A C89 program that calls a model through mica.h: describes it, runs it, prints the first output's first value. */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>

#include "mica.h"

static int fail(const char* what, const char* why) {
  fprintf(stderr, "%s: %s\n", what, why);
  return 1;
}

int main(int argc, char** argv) {
  union {
    void* object;
    mica_model_query_fn function;
  } query; /* C89 has no cast from one to the other */
  const mica_api* api;
  mica_model_info info;
  mica_model* model;
  mica_context* context;
  mica_tensor tensors[16];
  char error[256];
  size_t i;
  void* library;

  if (argc != 2 || !(library = dlopen(argv[1], RTLD_NOW))) return fail("dlopen", "give a model's .so");
  query.object = dlsym(library, "mica_model_query");
  if (!query.object || !(api = query.function(MICA_ABI_VERSION))) return fail("mica_model_query", "not a model of this ABI");
  if (api->model_create(NULL, &model, error, sizeof error)) return fail("model_create", error);
  if (api->context_create(model, NULL, &context, error, sizeof error)) return fail("context_create", error);

  info.size = sizeof info;
  api->model_info(&info);
  if (info.inputs + info.outputs > 16) return fail("model", "more than 16 inputs and outputs");
  for (i = 0; i < info.inputs + info.outputs; ++i) {
    mica_value_info v;
    v.size = sizeof v;
    if (i < info.inputs) api->input_info(i, &v);
    else api->output_info(i - info.inputs, &v);
    tensors[i].size = sizeof tensors[i];
    tensors[i].data = calloc(1, v.nbytes + 1); /* inputs are zeros */
    tensors[i].nbytes = v.nbytes;
    tensors[i].dtype = v.dtype;
    tensors[i].rank = v.rank;
    tensors[i].shape = v.shape;
    tensors[i].strides = NULL;
    printf("%s %s: %lu bytes\n", i < info.inputs ? "input" : "output", v.name, (unsigned long)v.nbytes);
  }
  if (api->run(context, tensors, info.inputs, tensors + info.inputs, info.outputs)) return fail("run", api->last_error(context));
  printf("first value: %g\n", (double)*(float*)tensors[info.inputs].data);

  for (i = 0; i < info.inputs + info.outputs; ++i) free(tensors[i].data);
  api->context_destroy(context);
  api->model_destroy(model);
  dlclose(library);
  return 0;
}
