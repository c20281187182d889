/* The caller's tensors against the descriptor: nothing is read through a pointer before it is known to be what it must be. */
#include "runtime.h"

static const struct {
  const char* name;
  uint32_t bytes;
} dtypes[] = {{"?", 1}, {"f64", 8}, {"f32", 4}, {"f16", 2}, {"bf16", 2}, {"i64", 8}, {"i32", 4}, {"i16", 2}, {"i8", 1}, {"u8", 1}, {"bool", 1}};
enum { DTYPES = sizeof dtypes / sizeof dtypes[0] };

/* Where errors go, and what they are about. */
struct subject {
  char* error;
  size_t error_bytes;
  const char* kind; /* "input" or "output" */
  size_t index;
  const char* name;
};

#define SAY(subject, status, format, ...)                                                                                                \
  mica_say((subject)->error, (subject)->error_bytes, status, "%s %zu '%s': " format, (subject)->kind, (subject)->index, (subject)->name, \
           ##__VA_ARGS__)

static const mica_tensor* tensor_at(const mica_tensor* tensors, size_t index) {
  return (const mica_tensor*)((const char*)tensors + index * tensors->size);
}

static int check_shape(const struct subject* s, const mica_tensor* t, const struct mica_descriptor_value* v, const struct mica_binding* binding,
                       size_t* elements) {
  if (t->rank != v->rank) return SAY(s, MICA_ERR_RANK, "rank is %d, expected %d", t->rank, v->rank);
  if (t->rank && !t->shape) return SAY(s, MICA_ERR_NULL, "shape is null");
  const int64_t* dims = mica_at(v->dims_at);
  *elements = 1;
  for (int32_t i = 0; i < v->rank; ++i) {
    const int64_t size = t->shape[i];
    int64_t expected = dims[i];
    if (expected < 0) {
      const size_t place = (size_t)(-1 - expected);
      int64_t* bound = &binding->dims[place];
      if (*bound < 0 && size >= 0) {
        const struct mica_descriptor_symbol* symbol = (const struct mica_descriptor_symbol*)mica_at(mica_descriptor.symbols_at) + place;
        if (size < symbol->low || size > symbol->high) {
          return SAY(s, MICA_ERR_SHAPE, "dim %d (%s) is %lld, the model was compiled for %lld to %lld", i,
                     (const char*)mica_at((uint32_t)symbol->name_at), (long long)size, (long long)symbol->low, (long long)symbol->high);
        }
        *bound = size;
      }
      expected = *bound;
    }
    if (size < 0) return SAY(s, MICA_ERR_SHAPE, "dim %d is %lld, which is negative", i, (long long)size);
    if (size != expected) { return SAY(s, MICA_ERR_SHAPE, "dim %d is %lld, expected %lld", i, (long long)size, (long long)expected); }
    if (__builtin_mul_overflow(*elements, (size_t)size, elements)) return SAY(s, MICA_ERR_SHAPE, "the shape has too many elements");
  }
  return MICA_OK;
}

static int check_strides(const struct subject* s, const mica_tensor* t, size_t elements) {
  if (!t->strides || elements == 0) return MICA_OK;
  int64_t expected = 1;
  for (int32_t i = t->rank - 1; i >= 0; --i) {
    if (t->shape[i] == 1) continue; /* its stride is never used */
    if (t->strides[i] != expected) {
      return SAY(s, MICA_ERR_STRIDES, "stride %d is %lld, expected %lld elements; only C-contiguous tensors are taken", i, (long long)t->strides[i],
                 (long long)expected);
    }
    expected *= t->shape[i];
  }
  return MICA_OK;
}

static int check_tensor(const struct subject* s, const mica_tensor* t, const struct mica_descriptor_value* v, const struct mica_binding* binding) {
  if (t->dtype != v->dtype) {
    const char* name = t->dtype > 0 && t->dtype < DTYPES ? dtypes[t->dtype].name : "not a mica_dtype";
    return SAY(s, MICA_ERR_DTYPE, "dtype is %s, expected %s", name, dtypes[v->dtype].name);
  }
  size_t elements, bytes;
  int status = check_shape(s, t, v, binding, &elements);
  if (!status) status = check_strides(s, t, elements);
  if (status) return status;
  const size_t item = dtypes[v->dtype].bytes;
  if (__builtin_mul_overflow(elements, item, &bytes)) return SAY(s, MICA_ERR_SHAPE, "the shape has too many elements");
  if (t->nbytes < bytes) return SAY(s, MICA_ERR_BUFFER, "the buffer has %zu bytes, the tensor %zu", t->nbytes, bytes);
  if ((bytes && !t->data) || (mica_descriptor.debug_defect && !t->nbytes)) return SAY(s, MICA_ERR_NULL, "data is null");
  if ((uintptr_t)t->data % item) return SAY(s, MICA_ERR_ALIGNMENT, "data is not aligned to %zu bytes", item);
  if ((uintptr_t)t->data > UINTPTR_MAX - bytes) return SAY(s, MICA_ERR_BUFFER, "the buffer runs past the end of memory");
  return MICA_OK;
}

static size_t dense_bytes(const mica_tensor* t) {
  size_t bytes = dtypes[t->dtype].bytes;
  for (int32_t i = 0; i < t->rank; ++i) bytes *= (size_t)t->shape[i];
  return bytes;
}

static int overlaps(const mica_tensor* a, const mica_tensor* b) {
  const uintptr_t a0 = (uintptr_t)a->data, b0 = (uintptr_t)b->data;
  const size_t a_bytes = dense_bytes(a), b_bytes = dense_bytes(b);
  return a_bytes && b_bytes && a0 < b0 + b_bytes && b0 < a0 + a_bytes;
}

static int check_overlaps(const mica_tensor* inputs, size_t input_count, const mica_tensor* outputs, size_t output_count, char* error,
                          size_t error_bytes) {
  for (size_t o = 0; o < output_count; ++o) {
    const mica_tensor* output = tensor_at(outputs, o);
    for (size_t i = 0; i < input_count; ++i) {
      if (!overlaps(output, tensor_at(inputs, i))) continue;
      return mica_say(error, error_bytes, MICA_ERR_OVERLAP, "output %zu overlaps input %zu in memory", o, i);
    }
    for (size_t i = 0; i < o; ++i) {
      if (!overlaps(output, tensor_at(outputs, i))) continue;
      return mica_say(error, error_bytes, MICA_ERR_OVERLAP, "output %zu overlaps output %zu in memory", o, i);
    }
  }
  return MICA_OK;
}

/* One side of the signature; without `io` the shapes alone. */
static int check_side(const char* kind, const mica_tensor* tensors, size_t count, size_t expected, size_t first, const struct mica_binding* binding,
                      uint8_t** io, char* error, size_t error_bytes) {
  if (count != expected) { return mica_say(error, error_bytes, MICA_ERR_COUNT, "the call has %zu %ss, the model %zu", count, kind, expected); }
  if (count && !tensors) return mica_say(error, error_bytes, MICA_ERR_NULL, "the array of %ss is null", kind);
  const struct mica_descriptor_value* values = mica_at(mica_descriptor.values_at);
  for (size_t i = 0; i < count; ++i) {
    const mica_tensor* t = tensor_at(tensors, i);
    const struct mica_descriptor_value* v = &values[first + i];
    const struct subject s = {error, error_bytes, kind, i, mica_at(v->name_at)};
    if (t->size < sizeof(mica_tensor) || t->size != tensors->size || t->size % sizeof(void*) != 0) {
      return SAY(&s, MICA_ERR_STRUCT, "size is %zu, expected sizeof(mica_tensor) = %zu", t->size, sizeof(mica_tensor));
    }
    size_t elements;
    const int status = io ? check_tensor(&s, t, v, binding) : check_shape(&s, t, v, binding, &elements);
    if (status) return status;
    if (io) io[first + i] = t->data;
  }
  return MICA_OK;
}

size_t mica_dims_count(void) { return (size_t)mica_descriptor.symbols + mica_descriptor.measured + mica_descriptor.derived + mica_descriptor.slots; }

/* The inputs, and what follows from their shapes. */
static int bind_inputs(const mica_tensor* inputs, size_t count, struct mica_binding* binding, uint8_t** io, char* error, size_t error_bytes) {
  for (uint32_t i = 0; i < mica_descriptor.symbols; ++i) binding->dims[i] = -1;
  const int status = check_side("input", inputs, count, mica_descriptor.inputs, 0, binding, io, error, error_bytes);
  if (!status) binding->bytes = (size_t)mica_plan(binding->dims);
  return status;
}

int mica_bind_shapes(const mica_tensor* inputs, size_t count, struct mica_binding* binding, char* error, size_t error_bytes) {
  return bind_inputs(inputs, count, binding, 0, error, error_bytes);
}

int mica_check_tensors(const mica_tensor* inputs, size_t input_count, const mica_tensor* outputs, size_t output_count, struct mica_binding* binding,
                       uint8_t** io, char* error, size_t error_bytes) {
  const struct mica_descriptor* d = &mica_descriptor;
  int status = bind_inputs(inputs, input_count, binding, io, error, error_bytes);
  if (!status) status = check_side("output", outputs, output_count, d->outputs, d->inputs, binding, io, error, error_bytes);
  if (!status) status = check_overlaps(inputs, input_count, outputs, output_count, error, error_bytes);
  return status;
}
