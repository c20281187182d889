/* A model that is nothing but barriers: input 0 is i64[], how many (negative: without a look at the others); output 0 is i64[], how often a thread
 * came out of one before all others had gone in (must be 0). */
#include "mica/runtime/frame.h"

int64_t mica_plan(int64_t* dims) {
  (void)dims;
  return 0;
}

void mica_prepare(struct mica_frame* f, int64_t tid, int64_t nthreads) { (void)f, (void)tid, (void)nthreads; }

void mica_main(struct mica_frame* f, int64_t tid, int64_t nthreads) {
  const int64_t count = *(const int64_t*)f->io[0];
  volatile int64_t* counters = (volatile int64_t*)f->arena; /* one line of 128 bytes a thread: its trip, and what was wrong */
  int64_t stay = nthreads;
  counters[tid * 16] = 0;
  counters[tid * 16 + 1] = 0;
  if (tid >= (stay = f->barrier(f, tid))) return;
  if (count > 0) {
    for (int64_t i = 1; i <= count; ++i) {
      counters[tid * 16] = i;
      if (tid >= (stay = f->barrier(f, tid))) return;
      for (int64_t t = 0; t < stay; ++t) counters[tid * 16 + 1] += counters[t * 16] != i;
      if (tid >= (stay = f->barrier(f, tid))) return;
    }
  } else {
    for (int64_t i = count; i < 0; ++i) { /* bare */
      if (tid >= f->barrier(f, tid)) return;
    }
  }
  if (tid >= f->barrier(f, tid) || tid != 0) return;
  int64_t wrong = 0;
  for (int64_t t = 0; t < nthreads; ++t) wrong += counters[t * 16 + 1];
  *(int64_t*)f->io[1] = wrong;
}
