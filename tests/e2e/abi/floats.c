/* A model that shows the floating-point environment of a run: y = x * 0.5, elementwise, f32[4]. */
#include "mica/runtime/frame.h"

int64_t mica_plan(int64_t* dims) {
  (void)dims;
  return 0;
}

void mica_prepare(struct mica_frame* f, int64_t tid, int64_t nthreads) { (void)f, (void)tid, (void)nthreads; }

void mica_main(struct mica_frame* f, int64_t tid, int64_t nthreads) {
  const volatile float* x = (const volatile float*)f->io[0];
  float* y = (float*)f->io[1];
  (void)nthreads;
  if (tid == 0) {
    for (int i = 0; i < 4; ++i) y[i] = x[i] * 0.5f;
  }
}
