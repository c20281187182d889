/* A model whose second thread is late, as one is that other work keeps off its CPU: input 0 is i32[], by how many microseconds; output 0 is i32[],
 * the
 * threads that began the run, times 100, and those that were there at its end; -1 where a share of the steps was left out or done twice. */
#include "mica/runtime/frame.h"

struct time {
  long seconds, nanoseconds;
};
int clock_gettime(int clock, struct time* now);

int64_t mica_plan(int64_t* dims) {
  (void)dims;
  return 0;
}

void mica_prepare(struct mica_frame* f, int64_t tid, int64_t nthreads) { (void)f, (void)tid, (void)nthreads; }

static int64_t now_ns(void) {
  struct time t;
  clock_gettime(1, &t);
  return t.seconds * 1000000000ll + t.nanoseconds;
}

void mica_main(struct mica_frame* f, int64_t tid, int64_t nthreads) {
  const int64_t until = now_ns() + *(const int32_t*)f->io[0] * 1000ll;
  while (tid == 1 && now_ns() < until) {}
  enum { CELLS = 64, STEPS = 5 };
  int32_t* cells = (int32_t*)f->arena; /* two rows in turn: a step reads what other threads wrote in the one before */
  int64_t stay = nthreads;
  for (int step = 0; step < STEPS; ++step) {
    for (int64_t i = CELLS * tid / stay; i < CELLS * (tid + 1) / stay; ++i) {
      int32_t* to = cells + (step % 2 ? CELLS : 0);
      const int32_t* from = cells + (step % 2 ? 0 : CELLS);
      to[CELLS - 1 - i] = step ? from[i] + 1 : 0;
    }
    if (tid >= (stay = f->barrier(f, tid))) return;
  }
  if (tid != 0) return;
  *(int32_t*)f->io[1] = (int32_t)(nthreads * 100 + stay);
  for (int i = 0; i < CELLS; ++i) {
    if (cells[i] != STEPS - 1) *(int32_t*)f->io[1] = -1;
  }
}
