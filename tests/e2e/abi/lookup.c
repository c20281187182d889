/* A model as codegen would make it, by hand: two dependent steps, a weight look-up that can fail, state, a libc call.
 *   inputs   x f32[8, 16], index i64[8]         weights  w f32[32, 16]
 *   outputs  y f32[8, 16], runs i64[]
 *   y[r, c] = 2 * x[7 - r, c] + w[index[r], c]  runs = how often this context has run
 */
#include <stddef.h>

#include "mica/runtime/frame.h"

void* memcpy(void* to, const void* from, size_t bytes);

enum { ROWS = 8, COLUMNS = 16, WEIGHT_ROWS = 32 };

int64_t mica_plan(int64_t* dims) {
  (void)dims;
  return 0;
}

void mica_prepare(struct mica_frame* f, int64_t tid, int64_t nthreads) { (void)f, (void)tid, (void)nthreads; }

void mica_main(struct mica_frame* f, int64_t tid, int64_t nthreads) {
  const float* x = (const float*)f->io[0];
  const int64_t* index = (const int64_t*)f->io[1];
  float* y = (float*)f->io[2];
  float* doubled = (float*)f->arena;
  const float* w = (const float*)f->weights;
  int64_t first = ROWS * tid / nthreads, last = ROWS * (tid + 1) / nthreads;
  for (int64_t r = first; r < last; ++r) {
    for (int64_t c = 0; c < COLUMNS; ++c) doubled[r * COLUMNS + c] = 2 * x[r * COLUMNS + c];
  }
  const int64_t stay = f->barrier(f, tid);
  if (tid >= stay) return;
  first = ROWS * tid / stay, last = ROWS * (tid + 1) / stay;
  for (int64_t r = first; r < last; ++r) {
    int64_t i = index[r];
    if (i < 0 || i >= WEIGHT_ROWS) {
      mica_set_fault(f, MICA_FAULT_INDEX, 1, i);
      i = 0;
    }
    for (int64_t c = 0; c < COLUMNS; ++c) y[r * COLUMNS + c] = doubled[(ROWS - 1 - r) * COLUMNS + c] + w[i * COLUMNS + c];
  }
  if (tid == 0) {
    int64_t* runs = (int64_t*)f->state;
    ++*runs;
    volatile size_t bytes = sizeof *runs; /* unknown to the compiler: memcpy stays a call */
    memcpy(f->io[3], runs, bytes);
  }
}
