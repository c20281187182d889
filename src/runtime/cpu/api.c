/* The functions of mica.h. */
#include "runtime.h"

struct mica_model {
  uint32_t references; /* the user's and one a context */
  int threads;
  const uint8_t* weights;
  struct mica_block copied_weights, prepared;
  struct mica_pool* pool;
};

struct mica_context {
  mica_model* model;
  /* Set while a run is going on. On a page of its own that a forked child sees as zeros: the run is the parent's. */
  uint32_t* busy;
  struct mica_block busy_page;
  struct mica_block workspace, state;
  struct mica_run run;
  struct mica_fault fault;
  uint8_t** io;  /* inputs, then outputs */
  int64_t* dims; /* of the symbols, and what mica_plan() adds */
  int measured;  /* the last run went well: dims are its own */
  mica_step_time* times;
  size_t times_count;
  int64_t step, since; /* the step that is being timed, -1: none, and when it began */
  size_t workspace_bytes;
  char error[512];
};

int mica_say(char* to, size_t bytes, int status, const char* format, ...) {
  if (!to || !bytes) return status;
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(to, bytes, format, arguments);
  va_end(arguments);
  return status;
}

enum { GUARD_BYTES = 4096 };

const void* mica_at(uint32_t offset) { return (const char*)&mica_descriptor + offset; }

void mica_set_fault(struct mica_frame* frame, int32_t code, int32_t site, int64_t value) {
  struct mica_fault* fault = frame->fault;
  int32_t none = MICA_FAULT_NONE;
  if (mica_load(&fault->code) != MICA_FAULT_NONE) return;
  if (!__atomic_compare_exchange_n(&fault->code, &none, code, 0, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE)) return;
  fault->site = site;
  fault->value = value;
}

/* --- what the model is --- */

static int model_info(mica_model_info* info) {
  const struct mica_descriptor* d = &mica_descriptor;
  if (!info) return MICA_ERR_NULL;
  if (info->size < sizeof *info) return MICA_ERR_STRUCT;
  info->name = mica_at(d->name_at);
  info->inputs = d->inputs;
  info->outputs = d->outputs;
  info->weights_bytes = d->weights_bytes;
  info->workspace_bytes = d->arena_bytes;
  info->state_bytes = d->state_bytes;
  info->structure = mica_at(d->structure_at);
  info->target = mica_at(d->target_at);
  info->cpu_features = mica_at(d->features_at);
  return MICA_OK;
}

static int value_info(size_t index, mica_value_info* info) {
  static const uint8_t bytes_of[] = {0, 8, 4, 2, 2, 8, 4, 2, 1, 1, 1};
  if (!info) return MICA_ERR_NULL;
  if (info->size < sizeof *info) return MICA_ERR_STRUCT;
  const struct mica_descriptor_value* v = (const struct mica_descriptor_value*)mica_at(mica_descriptor.values_at) + index;
  info->name = mica_at(v->name_at);
  info->dtype = v->dtype;
  info->rank = v->rank;
  info->shape = mica_at(v->dims_at);
  info->nbytes = bytes_of[v->dtype];
  for (int32_t i = 0; i < v->rank; ++i) info->nbytes = info->shape[i] < 0 ? 0 : info->nbytes * (size_t)info->shape[i];
  return MICA_OK;
}

static int input_info(size_t index, mica_value_info* info) { return index < mica_descriptor.inputs ? value_info(index, info) : MICA_ERR_COUNT; }

static int output_info(size_t index, mica_value_info* info) {
  return index < mica_descriptor.outputs ? value_info(mica_descriptor.inputs + index, info) : MICA_ERR_COUNT;
}

static const char* manifest(size_t* nbytes) {
  if (nbytes) *nbytes = mica_descriptor.manifest_bytes;
  return mica_manifest;
}

static const char* status_name(int status) {
  static const struct {
    uint8_t status;
    char name[20];
  } names[] = {{MICA_OK, "MICA_OK"},
               {MICA_ERR_NULL, "MICA_ERR_NULL"},
               {MICA_ERR_STRUCT, "MICA_ERR_STRUCT"},
               {MICA_ERR_COUNT, "MICA_ERR_COUNT"},
               {MICA_ERR_DTYPE, "MICA_ERR_DTYPE"},
               {MICA_ERR_RANK, "MICA_ERR_RANK"},
               {MICA_ERR_SHAPE, "MICA_ERR_SHAPE"},
               {MICA_ERR_STRIDES, "MICA_ERR_STRIDES"},
               {MICA_ERR_ALIGNMENT, "MICA_ERR_ALIGNMENT"},
               {MICA_ERR_BUFFER, "MICA_ERR_BUFFER"},
               {MICA_ERR_OVERLAP, "MICA_ERR_OVERLAP"},
               {MICA_ERR_OPTION, "MICA_ERR_OPTION"},
               {MICA_ERR_BUSY, "MICA_ERR_BUSY"},
               {MICA_ERR_CPU, "MICA_ERR_CPU"},
               {MICA_ERR_MEMORY, "MICA_ERR_MEMORY"},
               {MICA_ERR_THREADS, "MICA_ERR_THREADS"},
               {MICA_ERR_INDEX, "MICA_ERR_INDEX"},
               {MICA_ERR_DIVIDE, "MICA_ERR_DIVIDE"},
               {MICA_ERR_VALUE, "MICA_ERR_VALUE"},
               {MICA_ERR_INTERNAL, "MICA_ERR_INTERNAL"}};
  for (size_t i = 0; i < sizeof names / sizeof names[0]; ++i) {
    if (names[i].status == status) return names[i].name;
  }
  return "unknown status";
}

/* --- models --- */

/* The number of threads asked for by option or environment; 0: not asked. */
static int wanted_threads(const mica_options* options, int* threads, char* error, size_t error_size) {
  *threads = 0;
  if (options && options->threads) {
    *threads = options->threads;
    if (*threads < 1 || *threads > MICA_MAX_THREADS) {
      return mica_say(error, error_size, MICA_ERR_OPTION, "option threads is %d, expected 0 .. %d", *threads, MICA_MAX_THREADS);
    }
    return MICA_OK;
  }
  const char* text = getenv("MICA_THREADS");
  if (!text || !*text) return MICA_OK;
  *threads = mica_parse_threads(text);
  if (*threads < 0) {
    return mica_say(error, error_size, MICA_ERR_OPTION, "MICA_THREADS is '%.40s', expected a number from 1 to %d", text, MICA_MAX_THREADS);
  }
  return MICA_OK;
}

static int create_pool(mica_model* model, const mica_options* options, char* error, size_t error_size) {
  int threads;
  const int status = wanted_threads(options, &threads, error, error_size);
  if (status) return status;
  const int allowed = mica_allowed_cpus();
  struct mica_pool_options pool = {threads ? threads : allowed, 1000, 0};
  pool.scarce = pool.threads > allowed;
  if (pool.threads > MICA_MAX_THREADS) pool.threads = MICA_MAX_THREADS;
  if (options && options->spin_us) {
    if (options->spin_us < -1 || options->spin_us > 60000000) {
      return mica_say(error, error_size, MICA_ERR_OPTION, "option spin_us is %d, expected -1 .. 60000000", options->spin_us);
    }
    pool.spin_us = options->spin_us;
  }
  model->threads = pool.threads;
  model->pool = mica_pool_create(&pool);
  if (!model->pool) return mica_say(error, error_size, MICA_ERR_MEMORY, "no memory for %d threads", pool.threads);
  const int started = mica_pool_start(model->pool);
  if (started != pool.threads) {
    return mica_say(error, error_size, MICA_ERR_THREADS, "only %d of %d threads could be started", started, pool.threads);
  }
  return MICA_OK;
}

struct copy {
  struct mica_run run;
  uint8_t* to;
  const uint8_t* from;
  size_t bytes;
};

static void copy_share(struct mica_frame* frame, int64_t tid, int64_t nthreads) {
  const struct copy* c = (const struct copy*)frame;
  const size_t unit = 2 << 20, units = (c->bytes + unit - 1) / unit;
  const size_t begin = units * (size_t)tid / (size_t)nthreads * unit;
  size_t end = units * (size_t)(tid + 1) / (size_t)nthreads * unit;
  if (end > c->bytes) end = c->bytes;
  if (begin < end) memcpy(c->to + begin, c->from + begin, end - begin);
}

static int place_weights(mica_model* model, const mica_options* options, char* error, size_t error_size) {
  /* Read from memory, not as an address relative to the code: weights may be further away than an instruction reaches. */
  static const uint8_t* const mapped = mica_weights;
  const size_t bytes = mica_descriptor.weights_bytes;
  const int mode = options ? options->weights : MICA_WEIGHTS_MAP;
  model->weights = *(const uint8_t* const volatile*)&mapped;
  if (mode == MICA_WEIGHTS_MAP) {
    /* A page that is first met within a run takes longer than what a small model does with it. */
    enum { POPULATED = 64 << 20 };
    const uintptr_t first = (uintptr_t)model->weights & ~(uintptr_t)4095;
    madvise((void*)first, (uintptr_t)model->weights + bytes - first, MADV_WILLNEED);
    if (bytes <= POPULATED) madvise((void*)first, (uintptr_t)model->weights + bytes - first, MADV_POPULATE_READ); /* since Linux 5.14 */
    return MICA_OK;
  }
  if (mode != MICA_WEIGHTS_COPY_HUGE) return mica_say(error, error_size, MICA_ERR_OPTION, "option weights is %d, expected 0 or 1", mode);
  if (!mica_map(bytes, 0, &model->copied_weights)) {
    return mica_say(error, error_size, MICA_ERR_MEMORY, "no memory for a copy of the weights, %zu bytes", bytes);
  }
  struct copy copy = {.run.main = copy_share, .to = model->copied_weights.data, .from = model->weights, .bytes = bytes};
  mica_pool_run(model->pool, &copy.run);
  model->weights = model->copied_weights.data;
  return MICA_OK;
}

/* What the kernels read in another form than the file has. */
static int prepare_weights(mica_model* model, char* error, size_t error_size) {
  const size_t bytes = mica_descriptor.prepared_bytes;
  if (!mica_map(bytes, 0, &model->prepared)) {
    return mica_say(error, error_size, MICA_ERR_MEMORY, "no memory for weights that are transformed when loading, %zu bytes", bytes);
  }
  if (!bytes) return MICA_OK;
  struct mica_fault fault = {MICA_FAULT_NONE, 0, 0};
  struct mica_run run = {.frame = {.weights = model->weights, .prepared = model->prepared.data, .fault = &fault}, .main = mica_prepare};
  mica_pool_run(model->pool, &run);
  return MICA_OK;
}

static void model_destroy(mica_model* model) {
  if (!model || __atomic_sub_fetch(&model->references, 1, __ATOMIC_ACQ_REL)) return;
  mica_pool_destroy(model->pool);
  mica_unmap(&model->copied_weights);
  mica_unmap(&model->prepared);
  free(model);
}

static int model_create(const mica_options* options, mica_model** result, char* error, size_t error_size) {
  if (result) *result = 0;
  if (error && error_size) *error = 0;
  if (!result) return mica_say(error, error_size, MICA_ERR_NULL, "the place for the model is null");
  if (options && options->size < sizeof *options) {
    return mica_say(error, error_size, MICA_ERR_STRUCT, "options: size is %zu, expected sizeof(mica_options) = %zu", options->size, sizeof *options);
  }
  const int saved_errno = *__errno_location();
  int status = mica_check_cpu(mica_at(mica_descriptor.features_at), error, error_size);
  if (status) return status;
  mica_model* model = calloc(1, sizeof *model);
  if (!model) return mica_say(error, error_size, MICA_ERR_MEMORY, "no memory for a model");
  model->references = 1;
  status = create_pool(model, options, error, error_size);
  if (!status) status = place_weights(model, options, error, error_size);
  if (!status) status = prepare_weights(model, error, error_size);
  if (status) model_destroy(model);
  else *result = model;
  *__errno_location() = saved_errno;
  return status;
}

static int model_threads(const mica_model* model) { return model ? model->threads : 0; }

static int workspace_size(const mica_tensor* inputs, size_t count, size_t* bytes) {
  if (!bytes) return MICA_ERR_NULL;
  *bytes = mica_descriptor.arena_bytes;
  if (!inputs || !mica_descriptor.symbols) return MICA_OK;
  struct mica_binding binding = {calloc(mica_dims_count() + 1, sizeof(int64_t)), 0};
  if (!binding.dims) return MICA_ERR_MEMORY;
  const int status = mica_bind_shapes(inputs, count, &binding, 0, 0);
  if (!status) *bytes = binding.bytes;
  free(binding.dims);
  return status;
}

/* --- symbolic sizes --- */

static int symbol_info(size_t index, mica_symbol_info* info) {
  if (!info) return MICA_ERR_NULL;
  if (info->size < sizeof *info) return MICA_ERR_STRUCT;
  if (index >= mica_descriptor.symbols) return MICA_ERR_COUNT;
  const struct mica_descriptor_symbol* symbol = (const struct mica_descriptor_symbol*)mica_at(mica_descriptor.symbols_at) + index;
  info->name = mica_at((uint32_t)symbol->name_at);
  info->low = symbol->low;
  info->high = symbol->high;
  return MICA_OK;
}

static void fill_shape(const struct mica_descriptor_value* v, const int64_t* dims, int64_t* shape) {
  const int64_t* sizes = mica_at(v->dims_at);
  for (int32_t i = 0; i < v->rank; ++i) shape[i] = sizes[i] < 0 ? dims[-1 - sizes[i]] : sizes[i];
}

static int output_shape(const mica_tensor* inputs, size_t count, size_t index, int64_t* shape, size_t rank) {
  const struct mica_descriptor* d = &mica_descriptor;
  if (index >= d->outputs) return MICA_ERR_COUNT;
  const struct mica_descriptor_value* v = (const struct mica_descriptor_value*)mica_at(d->values_at) + d->inputs + index;
  if (rank != (size_t)v->rank) return MICA_ERR_RANK;
  if (rank && !shape) return MICA_ERR_NULL;
  struct mica_binding binding = {calloc(mica_dims_count() + 1, sizeof(int64_t)), 0};
  if (!binding.dims) return MICA_ERR_MEMORY;
  const int status = mica_bind_shapes(inputs, count, &binding, 0, 0);
  if (!status) fill_shape(v, binding.dims, shape);
  free(binding.dims);
  return status;
}

/* --- contexts --- */

static void reset_state(mica_context* context) {
  const struct mica_descriptor* d = &mica_descriptor;
  if (d->state_init_at == UINT64_MAX) memset(context->state.data, 0, d->state_bytes);
  else memcpy(context->state.data, context->model->weights + d->state_init_at, d->state_bytes);
}

static void context_destroy(mica_context* context) {
  if (!context) return;
  mica_model* model = context->model;
  mica_unmap(&context->workspace);
  mica_unmap(&context->state);
  mica_unmap(&context->busy_page);
  free(context->io);
  free(context->dims);
  free(context);
  model_destroy(model);
}

/* For tests: takes the pages between intermediates away. Not in a workspace of the caller's, whose pages are not ours. */
static void guard_workspace(const mica_context* context) {
  const int64_t* guards = mica_at(mica_descriptor.guards_at);
  for (uint32_t i = 0; i < mica_descriptor.guards; ++i) {
    mmap(context->workspace.data + guards[i], GUARD_BYTES, PROT_NONE, MAP_PRIVATE_ANONYMOUS | MAP_FIXED, -1, 0);
  }
}

/* For tests: what no kernel has written in this run is NaN. */
static void spoil_workspace(const mica_context* context) {
  const int64_t* guards = mica_at(mica_descriptor.guards_at);
  for (uint32_t i = 0; i + 1 < mica_descriptor.guards; ++i) {
    memset(context->run.frame.arena + guards[i] + GUARD_BYTES, 0xff, (size_t)(guards[i + 1] - guards[i] - GUARD_BYTES));
  }
}

static int place_workspace(mica_context* context, const mica_context_options* options, char* error, size_t error_size) {
  const size_t bytes = mica_descriptor.arena_bytes;
  if (!options || !options->workspace) {
    /* Memory for the largest sizes may never be used whole: it is touched by the runs that need it. */
    if (!mica_map(bytes, !mica_descriptor.symbols, &context->workspace)) {
      return mica_say(error, error_size, MICA_ERR_MEMORY, "no memory for the workspace, %zu bytes", bytes);
    }
    context->run.frame.arena = context->workspace.data;
    context->workspace_bytes = bytes;
    guard_workspace(context);
    return MICA_OK;
  }
  if (!mica_descriptor.symbols && options->workspace_bytes < bytes) {
    return mica_say(error, error_size, MICA_ERR_BUFFER, "the workspace has %zu bytes, the model needs %zu", options->workspace_bytes, bytes);
  }
  if ((uintptr_t)options->workspace % 64) return mica_say(error, error_size, MICA_ERR_ALIGNMENT, "the workspace is not aligned to 64 bytes");
  context->run.frame.arena = options->workspace;
  context->workspace_bytes = options->workspace_bytes;
  return MICA_OK;
}

static int fill_context(mica_context* context, const mica_context_options* options, char* error, size_t error_size) {
  const struct mica_descriptor* d = &mica_descriptor;
  int wiped;
  const int status = place_workspace(context, options, error, error_size);
  if (status) return status;
  context->io = calloc((size_t)d->inputs + d->outputs + 1, sizeof *context->io);
  context->dims = calloc(mica_dims_count() + 1, sizeof *context->dims);
  if (!context->io || !context->dims || !mica_map(d->state_bytes, 1, &context->state) ||
      !mica_map_wiped_on_fork(sizeof *context->busy, &context->busy_page, &wiped)) {
    return mica_say(error, error_size, MICA_ERR_MEMORY, "no memory for a context");
  }
  context->busy = (uint32_t*)context->busy_page.data;
  context->run.main = mica_main;
  struct mica_frame* frame = &context->run.frame;
  frame->weights = context->model->weights;
  frame->prepared = context->model->prepared.data;
  frame->io = context->io;
  frame->fault = &context->fault;
  frame->state = context->state.data;
  frame->dims = context->dims;
  reset_state(context);
  return MICA_OK;
}

static int context_create(mica_model* model, const mica_context_options* options, mica_context** result, char* error, size_t error_size) {
  if (result) *result = 0;
  if (error && error_size) *error = 0;
  if (!result) return mica_say(error, error_size, MICA_ERR_NULL, "the place for the context is null");
  if (!model) return mica_say(error, error_size, MICA_ERR_NULL, "the model is null");
  if (options && options->size < sizeof *options) {
    return mica_say(error, error_size, MICA_ERR_STRUCT, "options: size is %zu, expected sizeof(mica_context_options) = %zu", options->size,
                    sizeof *options);
  }
  const int saved_errno = *__errno_location();
  mica_context* context = calloc(1, sizeof *context);
  if (!context) return mica_say(error, error_size, MICA_ERR_MEMORY, "no memory for a context");
  context->model = model;
  __atomic_add_fetch(&model->references, 1, __ATOMIC_RELAXED);
  const int status = fill_context(context, options, error, error_size);
  if (status) context_destroy(context);
  else *result = context;
  *__errno_location() = saved_errno;
  return status;
}

static int take(mica_context* context) {
  uint32_t idle = 0;
  return __atomic_compare_exchange_n(context->busy, &idle, 1, 0, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED);
}

static int context_reset(mica_context* context) {
  if (!context) return MICA_ERR_NULL;
  if (!take(context)) return MICA_ERR_BUSY;
  reset_state(context);
  context->error[0] = 0;
  mica_store(context->busy, 0);
  return MICA_OK;
}

static void mark(struct mica_frame* frame, int64_t step) {
  mica_context* context = (mica_context*)((char*)frame - offsetof(mica_context, run.frame));
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  const int64_t now = t.seconds * 1000000000 + t.nanoseconds;
  if (context->step >= 0 && (uint64_t)context->step < context->times_count) {
    context->times[context->step].nanoseconds += now - context->since;
    ++context->times[context->step].calls;
  }
  context->step = step;
  context->since = now;
}

static int context_measure(mica_context* context, mica_step_time* times, size_t count) {
  if (!context || (count && !times)) return MICA_ERR_NULL;
  if (!take(context)) return MICA_ERR_BUSY;
  context->times = times;
  context->times_count = count;
  context->step = -1;
  context->run.frame.mark = count ? mark : 0;
  mica_store(context->busy, 0);
  return MICA_OK;
}

static int fault_to_status(mica_context* context) {
  const struct mica_fault* fault = &context->fault;
  const struct mica_descriptor* d = &mica_descriptor;
  const char* site = "unknown place";
  if (fault->site >= 0 && (uint32_t)fault->site < d->sites) site = mica_at(((const uint32_t*)mica_at(d->sites_at))[fault->site]);
  int status = MICA_ERR_INTERNAL;
  if (fault->code == MICA_FAULT_INDEX) status = MICA_ERR_INDEX;
  if (fault->code == MICA_FAULT_DIVIDE) status = MICA_ERR_DIVIDE;
  if (fault->code == MICA_FAULT_VALUE) status = MICA_ERR_VALUE;
  if (status == MICA_ERR_VALUE || status == MICA_ERR_DIVIDE) return mica_say(context->error, sizeof context->error, status, "%s", site);
  return mica_say(context->error, sizeof context->error, status, "%s: the value is %lld", site, (long long)fault->value);
}

static int run(mica_context* context, const mica_tensor* inputs, size_t input_count, const mica_tensor* outputs, size_t output_count) {
  if (!context) return MICA_ERR_NULL;
  if (!take(context)) return MICA_ERR_BUSY; /* the text belongs to the run that goes on */
  const int saved_errno = *__errno_location();
  context->error[0] = 0;
  context->measured = 0;
  struct mica_binding binding = {context->dims, 0};
  int status = mica_check_tensors(inputs, input_count, outputs, output_count, &binding, context->io, context->error, sizeof context->error);
  if (!status && binding.bytes > context->workspace_bytes) {
    status = mica_say(context->error, sizeof context->error, MICA_ERR_BUFFER, "the workspace has %zu bytes, inputs of these shapes need %zu",
                      context->workspace_bytes, binding.bytes);
  }
  if (!status) {
    context->fault = (struct mica_fault){MICA_FAULT_NONE, -1, 0};
    if (mica_descriptor.guards) spoil_workspace(context);
    mica_pool_run(context->model->pool, &context->run);
    if (context->fault.code) status = fault_to_status(context);
    else context->measured = 1;
  }
  *__errno_location() = saved_errno;
  mica_store(context->busy, 0);
  return status;
}

static int result_shape(mica_context* context, size_t index, int64_t* shape, size_t rank) {
  const struct mica_descriptor* d = &mica_descriptor;
  if (!context || (rank && !shape)) return MICA_ERR_NULL;
  if (index >= d->outputs) return MICA_ERR_COUNT;
  const struct mica_descriptor_value* v = (const struct mica_descriptor_value*)mica_at(d->values_at) + d->inputs + index;
  if (rank != (size_t)v->rank) return MICA_ERR_RANK;
  if (!take(context)) return MICA_ERR_BUSY;
  const int known = context->measured;
  if (known) fill_shape(v, context->dims, shape);
  mica_store(context->busy, 0);
  return known ? MICA_OK : MICA_ERR_VALUE;
}

static const char* last_error(const mica_context* context) { return context ? context->error : "the context is null"; }

__attribute__((visibility("default"))) const mica_api* mica_model_query(int abi_version) {
  static const mica_api api = {.size = sizeof api,
                               .abi_version = MICA_ABI_VERSION,
                               .model_info = model_info,
                               .input_info = input_info,
                               .output_info = output_info,
                               .manifest = manifest,
                               .model_create = model_create,
                               .model_destroy = model_destroy,
                               .workspace_size = workspace_size,
                               .context_create = context_create,
                               .context_destroy = context_destroy,
                               .context_reset = context_reset,
                               .run = run,
                               .last_error = last_error,
                               .status_name = status_name,
                               .model_threads = model_threads,
                               .symbol_info = symbol_info,
                               .output_shape = output_shape,
                               .result_shape = result_shape,
                               .context_measure = context_measure};
  return abi_version >= 1 && abi_version <= MICA_ABI_VERSION ? &api : 0;
}

/* Codegen relies on these offsets (frame.h). */
_Static_assert(offsetof(struct mica_frame, io) == 16 && offsetof(struct mica_frame, barrier) == 24, "frame.h");
_Static_assert(offsetof(struct mica_frame, fault) == 32 && offsetof(struct mica_frame, nthreads) == 40, "frame.h");
_Static_assert(offsetof(struct mica_frame, state) == 48 && offsetof(struct mica_frame, dims) == 56, "frame.h");
_Static_assert(offsetof(struct mica_frame, mark) == 64 && offsetof(struct mica_frame, prepared) == 72, "frame.h");
_Static_assert(sizeof(struct mica_fault) == 16 && offsetof(struct mica_fault, value) == 8, "frame.h");
/* Callers rely on these (mica.h): a field may only be added at the end. */
_Static_assert(sizeof(mica_tensor) == 48 && sizeof(mica_value_info) == 40 && sizeof(mica_options) == 24, "mica.h");
