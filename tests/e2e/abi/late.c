/* A model whose second thread is late, as one is that other work keeps off its CPU: input 0 is i32[], by how many microseconds; output 0 is i32[],
 * the threads of the run. */
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
  f->barrier(f, tid);
  if (tid == 0) *(int32_t*)f->io[1] = (int32_t)nthreads;
}
