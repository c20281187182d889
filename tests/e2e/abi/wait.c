/* A model whose run lasts until the caller says so: input 0 is i32[2], {go on, started}; output 0 is i32[], the threads of the run. */
#include "mica/runtime/frame.h"

int64_t mica_plan(int64_t* dims) {
  (void)dims;
  return 0;
}

void mica_prepare(struct mica_frame* f, int64_t tid, int64_t nthreads) { (void)f, (void)tid, (void)nthreads; }

void mica_main(struct mica_frame* f, int64_t tid, int64_t nthreads) {
  int32_t* signals = (int32_t*)f->io[0];
  if (tid != 0) return;
  *(int32_t*)f->io[1] = (int32_t)nthreads;
  __atomic_store_n(&signals[1], 1, __ATOMIC_RELEASE);
  while (!__atomic_load_n(&signals[0], __ATOMIC_ACQUIRE)) {}
}
