/* The C ABI of a compiled model: all that a user of a Mica .so needs. Plain C89 (with <stdint.h>), also C++.
 *
 * A model's .so exports one function, mica_model_query(), which returns a table of functions. The table and every
 * struct below only ever grow at the end and carry their size, so an old caller works with a new .so and the reverse.
 *
 *   const mica_api* api = mica_model_query(MICA_ABI_VERSION);
 *   mica_model* model; mica_context* context; char error[256];
 *   if (api->model_create(NULL, &model, error, sizeof error)) puts(error);
 *   if (api->context_create(model, NULL, &context, error, sizeof error)) puts(error);
 *   if (api->run(context, inputs, 1, outputs, 1)) puts(api->last_error(context));
 *
 * A model is immutable and may be used from any thread. A context belongs to one run at a time: use one a thread.
 * Before the .so is closed (dlclose), its contexts and models must be destroyed.
 */
#ifndef MICA_RUNTIME_MICA_H
#define MICA_RUNTIME_MICA_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define MICA_ABI_VERSION 1

/* What every call returns: MICA_OK, or the code of the first thing found wrong. Codes are grouped by whose turn it is. */
typedef enum mica_status {
  MICA_OK = 0,
  /* the caller's arguments */
  MICA_ERR_NULL = 10,   /* a pointer that must not be null is null */
  MICA_ERR_STRUCT = 11, /* a struct's `size` field is not set, or too small */
  MICA_ERR_COUNT = 12,  /* wrong number of inputs or outputs, or an index past them */
  MICA_ERR_DTYPE = 13,
  MICA_ERR_RANK = 14,
  MICA_ERR_SHAPE = 15,
  MICA_ERR_STRIDES = 16,   /* not C-contiguous */
  MICA_ERR_ALIGNMENT = 17, /* data is not aligned to its element size */
  MICA_ERR_BUFFER = 18,    /* nbytes is smaller than the tensor */
  MICA_ERR_OVERLAP = 19,   /* an output overlaps an input or another output */
  MICA_ERR_OPTION = 20,    /* an option's value is not one of those allowed */
  MICA_ERR_BUSY = 21,      /* another thread is running on this context */
  /* this machine */
  MICA_ERR_CPU = 30, /* the CPU lacks a feature that the model was compiled for */
  MICA_ERR_MEMORY = 31,
  MICA_ERR_THREADS = 32, /* a worker thread could not be started */
  /* the values in the inputs */
  MICA_ERR_INDEX = 40,  /* an index is out of range */
  MICA_ERR_DIVIDE = 41, /* integer division by zero */
  MICA_ERR_VALUE = 42,  /* a check of the model itself failed; last_error() has its message */
  /* Mica itself */
  MICA_ERR_INTERNAL = 50
} mica_status;

/* Element types. MICA_BOOL is one byte, 0 or 1; MICA_F16 is IEEE binary16, MICA_BF16 the upper half of binary32. */
typedef enum mica_dtype {
  MICA_F64 = 1,
  MICA_F32 = 2,
  MICA_F16 = 3,
  MICA_BF16 = 4,
  MICA_I64 = 5,
  MICA_I32 = 6,
  MICA_I16 = 7,
  MICA_I8 = 8,
  MICA_U8 = 9,
  MICA_BOOL = 10
} mica_dtype;

typedef struct mica_model mica_model;
typedef struct mica_context mica_context;

/* A caller's tensor: `data` holds `nbytes` bytes (at least the tensor's own) in row-major order. Set size to
 * sizeof(mica_tensor). `data` may be null only when the tensor has no elements; it must be aligned to the element size. */
typedef struct mica_tensor {
  size_t size;
  void* data;
  size_t nbytes;
  int32_t dtype; /* mica_dtype */
  int32_t rank;
  const int64_t* shape;   /* `rank` sizes; may be null when rank is 0 */
  const int64_t* strides; /* `rank` strides in elements, or null; only C-contiguous ones are accepted */
} mica_tensor;

/* What the model expects of an input, or gives as an output. Text and arrays live as long as the .so is loaded. */
typedef struct mica_value_info {
  size_t size; /* set by the caller: sizeof(mica_value_info) */
  const char* name;
  int32_t dtype; /* mica_dtype */
  int32_t rank;
  /* A negative size -1-k is not fixed. Where symbol_info(k) exists it is symbol k: any size in its range, the same wherever k stands;
   * else it follows from the symbols, or from the values in the inputs: output_shape() tells the greatest that it can be, and after the run
   * result_shape() what it is. */
  const int64_t* shape;
  size_t nbytes; /* of a dense tensor; 0 when a size is symbolic */
} mica_value_info;

/* A size that differs from run to run. */
typedef struct mica_symbol_info {
  size_t size; /* set by the caller: sizeof(mica_symbol_info) */
  const char* name;
  int64_t low, high; /* both are allowed */
} mica_symbol_info;

typedef struct mica_model_info {
  size_t size; /* set by the caller: sizeof(mica_model_info) */
  const char* name;
  size_t inputs, outputs;
  uint64_t weights_bytes;   /* shared by all contexts */
  uint64_t workspace_bytes; /* of each context, for intermediate tensors; with symbolic sizes: for the largest */
  uint64_t state_bytes;     /* of each context, kept between runs */
  const char* structure;    /* how the outputs nest: "(y, {a: z})"; outputs are numbered from left to right */
  const char* target;       /* "x86_64-unknown-linux-gnu" */
  const char* cpu_features; /* "avx2 fma", those that model_create checks */
} mica_model_info;

enum { MICA_WEIGHTS_MAP = 0, MICA_WEIGHTS_COPY_HUGE = 1 };

typedef struct mica_options {
  size_t size; /* sizeof(mica_options) */
  /* Threads of a run, the caller's among them. 0: the variable MICA_THREADS, else as many as the affinity mask and the
   * cgroup's CPU quota allow. */
  int32_t threads;
  /* MICA_WEIGHTS_MAP: used where the .so is mapped: instant, shared by processes. MICA_WEIGHTS_COPY_HUGE: copied to
   * private huge pages: slower to create (0.4-0.9 s a GB), up to 1.8x faster where a run is bound by memory. */
  int32_t weights;
  /* Microseconds that idle workers spin before they sleep; 0: 1000; -1: they sleep at once. */
  int32_t spin_us;
} mica_options;

typedef struct mica_context_options {
  size_t size; /* sizeof(mica_context_options) */
  /* Memory for intermediates, aligned to 64 bytes and at least workspace_size() bytes, that lives as long as the
   * context; null: the context maps its own (on huge pages where there are any), enough for all sizes. With symbolic
   * sizes every run checks that the given memory suffices for its own. */
  void* workspace;
  size_t workspace_bytes;
} mica_context_options;

typedef struct mica_step_time {
  int64_t nanoseconds, calls; /* a step in a loop is called once a trip */
} mica_step_time;

typedef struct mica_api {
  uint32_t size; /* bytes of this table: functions past it do not exist */
  uint32_t abi_version;

  /* --- what the model is; no model needs to be created for these --- */
  int (*model_info)(mica_model_info* info);
  int (*input_info)(size_t index, mica_value_info* info);
  int (*output_info)(size_t index, mica_value_info* info);
  /* The manifest, JSON text; `nbytes` (may be null) takes its length. */
  const char* (*manifest)(size_t* nbytes);

  /* --- models --- */
  /* Checks the CPU, starts the worker threads. `options` may be null. On failure *model is null and a sentence is
   * written to error[0..error_size), always terminated; `error` may be null. */
  int (*model_create)(const mica_options* options, mica_model** model, char* error, size_t error_size);
  /* Gives the model up; memory and threads go with its last context. Null is allowed. */
  void (*model_destroy)(mica_model* model);
  /* Bytes that a context needs for inputs of these shapes; their data are not looked at. Null, 0: for the largest sizes. */
  int (*workspace_size)(const mica_tensor* inputs, size_t count, size_t* bytes);

  /* --- contexts --- */
  int (*context_create)(mica_model* model, const mica_context_options* options, mica_context** context, char* error, size_t error_size);
  void (*context_destroy)(mica_context* context);
  /* Puts state that the model keeps between runs back to its initial values. */
  int (*context_reset)(mica_context* context);
  /* Reads the inputs, fills the outputs. Nothing is allocated. When it fails on the arguments the outputs are
   * untouched; when it fails on a value they hold no meaning. */
  int (*run)(mica_context* context, const mica_tensor* inputs, size_t input_count, const mica_tensor* outputs, size_t output_count);
  /* What the last failed call on this context was about, one sentence; valid until the next call on it. */
  const char* (*last_error)(const mica_context* context);

  /* "MICA_ERR_SHAPE"; never null. */
  const char* (*status_name)(int status);
  /* Threads that a run of this model uses, the caller's among them. */
  int (*model_threads)(const mica_model* model);

  /* --- symbolic sizes --- */
  /* MICA_ERR_COUNT past the last symbol. */
  int (*symbol_info)(size_t index, mica_symbol_info* info);
  /* The shape of output `index`, of `rank` sizes, for inputs of these shapes; their data are not looked at. A size that depends on data is the
   * greatest that it can be; run() takes a buffer of this shape. */
  int (*output_shape)(const mica_tensor* inputs, size_t count, size_t index, int64_t* shape, size_t rank);

  /* --- sizes that depend on data --- */
  /* The shape that output `index` has had in the last run of this context. The buffer's first elements are that tensor, in row-major order without
   * gaps; what stands behind them has no meaning. MICA_ERR_VALUE when the last run failed or there was none, MICA_ERR_BUSY during one. */
  int (*result_shape)(mica_context* context, size_t index, int64_t* shape, size_t rank);

  /* --- where the time goes --- */
  /* From now on every run of this context adds to times[k] what its step k took, as the calling thread sees it, waiting for other threads included.
   * The steps are those of the manifest's "plan". Null, 0: no more. Steps past `count` are left out. */
  int (*context_measure)(mica_context* context, mica_step_time* times, size_t count);
} mica_api;

/* The one exported function. Null when the .so does not know `abi_version` (it is older than the header). */
const mica_api* mica_model_query(int abi_version);
typedef const mica_api* (*mica_model_query_fn)(int abi_version);

#ifdef __cplusplus
}
#endif
#endif
