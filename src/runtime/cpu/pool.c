/* The worker threads of one model.
 *
 * A run is one parallel region: the workers wake once, every thread goes through mica_main(), and dependent steps are
 * kept apart by a spin barrier (about 0.15 us for two threads; a futex costs 50). A thread that has waited for long, between
 * runs or in a barrier, sleeps on a futex.
 *
 * Barrier: dissemination (Hensgen, Finkel, Manber 1988). In round k thread t signals thread t + 2^k and waits for thread
 * t - 2^k; after ceil(log2 n) rounds each has heard of all. A signal is the number of the barrier, written to a cache line
 * that one thread writes and one reads. A partner can be one barrier ahead, hence the comparison by signed difference.
 *
 * A busy machine: a thread that is off its CPU keeps all others waiting, at worst for a time slice at every barrier, and then one thread alone can be
 * many times faster than all (two models on two CPUs were measured at 0.07 and 0.28 of their speed). Once the caller has waited for so long that
 * alone it would have come as far, the workers leave the run at its next barrier and the caller makes the rest. When the threads of a run have slept
 * for a third of it, the next run is made by the caller alone, as a trial; if that took less time, the following runs are too, for a while that
 * doubles each time that the same is found again. Results do not depend on the number of threads, so this is not to be seen but in time.
 *
 * Fork: the pool lies in pages that a child sees as zeros, and all zeros means "no worker started, nobody runs": the child
 * drops the parent's workers by construction and starts its own at its first run. Where the kernel cannot wipe pages
 * (before Linux 4.14) the process id is compared at each run instead. */
#include "runtime.h"

enum {
  LINE = 128,
  STACK_BYTES = 2 << 20,
  SPIN_NS = 100000,
  LEAST_LOSS_NS = 1000000, /* above what it takes to wake a thread, below a time slice */
  LEAST_PATIENCE_NS = 10000000,
  MOST_PATIENCE_NS = 1000000000
}; /* 128: the prefetcher pairs 64-byte lines */
enum { NONE = 0, STARTING = 1, READY = 2, FAILED = 3 };

struct slot {
  uint32_t barrier; /* barriers that this thread has entered */
  int64_t slept_ns; /* in barriers, since ever */
  thread_handle handle;
  struct shared* shared;
  uint32_t tid;
} __attribute__((aligned(LINE)));

struct signal {
  uint32_t barrier;
  uint32_t asleep; /* whoever waits for it sleeps on a futex, or is about to */
} __attribute__((aligned(LINE)));

/* Wiped on fork. */
struct shared {
  /* Written by whoever starts a run. */
  uint32_t state; /* NONE .. FAILED */
  uint32_t busy;  /* a run has the workers */
  int32_t pid;    /* only where pages are not wiped */
  struct mica_pool* pool;
  /* Written once a run, read by idle workers. */
  uint32_t epoch __attribute__((aligned(LINE)));
  uint32_t stop;
  struct mica_run* run;
  uint32_t sleepers __attribute__((aligned(LINE)));
  /* Whether runs are better made by the caller alone. */
  int64_t alone_until __attribute__((aligned(LINE))); /* now_ns() */
  int64_t trial_ns;                                   /* what a run of all threads took, when a run alone shall be compared with it; else 0 */
  int64_t patience_ns;                                /* how long a finding holds */
  int64_t next_trial;                                 /* now_ns(): no trial before */
  int64_t slept_ns;                                   /* of all threads, at the end of the last run */
  int64_t start_ns;                                   /* of this run: now_ns(), and what its caller had slept before */
  int64_t start_slept_ns;
  /* slot[threads], then signal[rounds][threads] */
  struct slot slots[] __attribute__((aligned(LINE)));
};

struct mica_pool {
  struct mica_pool_options options;
  int rounds; /* ceil(log2 threads) */
  int wiped;  /* pages are wiped on fork */
  struct mica_block block;
  struct shared* shared;
};

static void relax(void) {
#if defined(__x86_64__)
  __asm__ volatile("pause" ::: "memory");
#else
  __asm__ volatile("isb" ::: "memory"); /* `yield` is a no-op on most cores */
#endif
}

static int64_t now_ns(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.seconds * 1000000000ll + t.nanoseconds;
}

static struct signal* signal_of(struct shared* s, const struct mica_pool* pool, int round, int tid) {
  struct signal* all = (struct signal*)&s->slots[pool->options.threads];
  return &all[(size_t)round * (size_t)pool->options.threads + (size_t)tid];
}

static int reached(const uint32_t* word, uint32_t target) { return (int32_t)(mica_load(word) - target) >= 0; }

static void futex_wait(uint32_t* word, uint32_t value) { syscall(SYS_FUTEX, word, FUTEX_WAIT_PRIVATE, value, (void*)0, (void*)0, 0); }

static void futex_wake(uint32_t* word) { syscall(SYS_FUTEX, word, FUTEX_WAKE_PRIVATE, INT32_MAX, (void*)0, (void*)0, 0); }

/* Whoever signals and whoever goes to sleep each write one word, then look at the other's: one of both sees the other. */
static void send(struct signal* signal, uint32_t number) {
  __atomic_store_n(&signal->barrier, number, __ATOMIC_SEQ_CST);
  if (__atomic_load_n(&signal->asleep, __ATOMIC_SEQ_CST)) futex_wake(&signal->barrier);
}

static void sleep_until(struct signal* signal, uint32_t number) {
  __atomic_store_n(&signal->asleep, 1, __ATOMIC_SEQ_CST);
  for (;;) {
    const uint32_t seen = __atomic_load_n(&signal->barrier, __ATOMIC_SEQ_CST);
    if ((int32_t)(seen - number) >= 0) break;
    futex_wait(&signal->barrier, seen);
  }
  mica_store(&signal->asleep, 0);
}

/* Waits until `signal` has reached `number`: spins for SPIN_NS, twice what it costs to be woken (next to not at all when
 * there are more threads than CPUs), then sleeps: the thread waited for is likely to be off its CPU and needs this one. A
 * thread that yields instead forfeits its share of a busy machine and was measured to be 5 to 10 times slower there. Returns how long it took, if it
 * slept, else 0. */
static int64_t await(struct signal* signal, uint32_t number, int scarce) {
  int64_t start = 0;
  for (uint32_t spins = 1; !reached(&signal->barrier, number); ++spins) {
    relax();
    if (spins % 64 != 0) continue;
    const int64_t now = now_ns();
    if (!start) start = now;
    if (!scarce && now - start < SPIN_NS) continue;
    sleep_until(signal, number);
    return now_ns() - start;
  }
  return 0;
}

/* Waits for all threads of the pool; the number of this meeting. */
static uint32_t meet(const struct mica_pool* pool, int64_t tid) {
  struct shared* s = pool->shared;
  const int threads = pool->options.threads;
  const uint32_t number = ++s->slots[tid].barrier;
  for (int round = 0; round < pool->rounds; ++round) {
    int peer = (int)tid + (1 << round);
    if (peer >= threads) peer -= threads;
    send(signal_of(s, pool, round, peer), number);
    s->slots[tid].slept_ns += await(signal_of(s, pool, round, (int)tid), number, pool->options.scarce);
  }
  return number;
}

/* Whether the caller alone would have come as far by now: it has worked for a part of the time, and n threads' work would have taken n such parts. */
static int lags(const struct mica_pool* pool) {
  const struct shared* s = pool->shared;
  const int64_t slept = s->slots[0].slept_ns - s->start_slept_ns, threads = pool->options.threads;
  return slept > LEAST_LOSS_NS && slept * threads > (now_ns() - s->start_ns) * (threads - 1);
}

static int64_t pool_barrier(struct mica_frame* frame, int64_t tid) {
  struct mica_run* run = (struct mica_run*)frame;
  const struct mica_pool* pool = run->pool;
  if (tid == 0) {
    if (run->alone) return 1;
    if (lags(pool)) {
      /* All read it behind this barrier. A thread that is still in the one before may see it too, hence the number. */
      run->alone_from = pool->shared->slots[0].barrier + 1;
      mica_store(&run->alone, 1);
    }
  }
  const uint32_t number = meet(pool, tid);
  return mica_load(&run->alone) && (int32_t)(number - run->alone_from) >= 0 ? 1 : pool->options.threads;
}

static int64_t no_barrier(struct mica_frame* frame, int64_t tid) {
  (void)frame;
  (void)tid;
  return 1;
}

/* Waits until the epoch is no longer `seen`; returns the new one. */
static uint32_t await_run(struct shared* s, uint32_t seen) {
  const struct mica_pool_options* o = &s->pool->options;
  /* With too few CPUs a spinning worker takes time from the caller's own work between runs. */
  const int64_t spin_ns = o->scarce || mica_load(&s->alone_until) || mica_load(&s->trial_ns) ? 0 : o->spin_us * 1000ll;
  int64_t start = 0;
  for (uint32_t spins = 1;; ++spins) {
    uint32_t epoch = mica_load(&s->epoch);
    if (epoch != seen) return epoch;
    relax();
    if (spins % 128 != 0) continue;
    const int64_t now = now_ns();
    if (!start) start = now;
    if (now - start < spin_ns) continue;
    /* Whoever starts a run advances the epoch, then looks for sleepers; we the other way round: one of both sees the other. */
    __atomic_add_fetch(&s->sleepers, 1, __ATOMIC_SEQ_CST);
    while ((epoch = __atomic_load_n(&s->epoch, __ATOMIC_SEQ_CST)) == seen) { futex_wait(&s->epoch, seen); }
    __atomic_sub_fetch(&s->sleepers, 1, __ATOMIC_SEQ_CST);
    return epoch;
  }
}

static void advance_epoch(struct shared* s) {
  __atomic_add_fetch(&s->epoch, 1, __ATOMIC_SEQ_CST);
  if (__atomic_load_n(&s->sleepers, __ATOMIC_SEQ_CST)) futex_wake(&s->epoch);
}

static void* worker(void* argument) {
  struct slot* slot = argument;
  struct shared* s = slot->shared;
  prctl(PR_SET_NAME, "mica worker", 0, 0, 0);
  mica_fp_enter();
  for (uint32_t seen = 0;;) {
    seen = await_run(s, seen);
    if (mica_load(&s->stop)) return 0;
    struct mica_run* run = s->run;
    run->main(&run->frame, slot->tid, run->frame.nthreads);
    meet(s->pool, slot->tid); /* the run is over when all are here; its frame is not touched after */
  }
}

/* Joins workers 1 .. count-1 and makes the pool as new. */
static void stop_workers(struct shared* s, int count) {
  mica_store(&s->stop, 1);
  advance_epoch(s);
  for (int i = 1; i < count; ++i) pthread_join(s->slots[i].handle, 0);
}

struct mica_pool* mica_pool_create(const struct mica_pool_options* options) {
  struct mica_pool* pool = calloc(1, sizeof *pool);
  if (!pool) return 0;
  pool->options = *options;
  while (1 << pool->rounds < options->threads) ++pool->rounds;
  const size_t threads = (size_t)options->threads;
  const size_t bytes = sizeof(struct shared) + threads * sizeof(struct slot) + (size_t)pool->rounds * threads * sizeof(struct signal);
  if (!mica_map_wiped_on_fork(bytes, &pool->block, &pool->wiped)) {
    free(pool);
    return 0;
  }
  pool->shared = (struct shared*)pool->block.data;
  return pool;
}

int mica_pool_start(struct mica_pool* pool) {
  struct shared* s = pool->shared;
  const int threads = pool->options.threads;
  if (!pool->wiped) {
    const int pid = getpid();
    if (s->pid && s->pid != pid) memset(s, 0, pool->block.mapping_bytes);
    s->pid = pid;
  }
  uint32_t state = mica_load(&s->state);
  if (state == READY) return threads;
  if (threads == 1 || state == FAILED) return 1;
  /* Another thread starts the workers right now: this run goes on alone. */
  if (!__atomic_compare_exchange_n(&s->state, &state, STARTING, 0, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE)) return 1;

  s->pool = pool;
  struct thread_attributes attributes;
  struct signal_set all, old;
  pthread_attr_init(&attributes);
  pthread_attr_setstacksize(&attributes, STACK_BYTES);
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &old); /* workers inherit it: the program's signals go to its own threads */
  int started = 1;
  for (; started < threads; ++started) {
    struct slot* slot = &s->slots[started];
    slot->shared = s;
    slot->tid = (uint32_t)started;
    if (pthread_create(&slot->handle, &attributes, worker, slot) != 0) break;
  }
  pthread_sigmask(SIG_SETMASK, &old, 0);
  pthread_attr_destroy(&attributes);
  if (started < threads) {
    stop_workers(s, started);
    mica_store(&s->state, FAILED);
    return started;
  }
  mica_store(&s->state, READY);
  return threads;
}

static void run_together(struct mica_pool* pool, struct mica_run* run, int threads) {
  struct shared* s = pool->shared;
  const int64_t start = now_ns();
  run->pool = pool;
  run->frame.barrier = pool_barrier;
  run->frame.nthreads = threads;
  run->alone = 0;
  s->run = run;
  s->start_ns = start;
  s->start_slept_ns = s->slots[0].slept_ns;
  advance_epoch(s);
  run->main(&run->frame, 0, threads);
  meet(pool, 0);
  int64_t slept = 0;
  for (int i = 0; i < threads; ++i) slept += mica_load(&s->slots[i].slept_ns);
  const int64_t now = now_ns(), lost = slept - s->slept_ns;
  s->slept_ns = slept;
  if (lost * 3 < (now - start) * (threads - 1)) mica_store(&s->patience_ns, 0);
  else if (now >= mica_load(&s->next_trial)) mica_store(&s->trial_ns, now - start);
  mica_store(&s->busy, 0);
}

static void run_alone(struct mica_run* run, struct shared* s) {
  const int64_t start = now_ns(), other = __atomic_exchange_n(&s->trial_ns, 0, __ATOMIC_ACQ_REL);
  run->frame.barrier = no_barrier;
  run->frame.nthreads = 1;
  run->main(&run->frame, 0, 1);
  if (!other) return;
  const int64_t now = now_ns();
  int64_t patience = mica_load(&s->patience_ns) * 2;
  if (patience < LEAST_PATIENCE_NS) patience = LEAST_PATIENCE_NS;
  if (patience > MOST_PATIENCE_NS) patience = MOST_PATIENCE_NS;
  mica_store(&s->patience_ns, patience);
  mica_store(now - start < other ? &s->alone_until : &s->next_trial, now + patience);
}

/* Whether a run shall be the caller's alone: as a trial, or because that was found to be faster. */
static int better_alone(struct shared* s) {
  if (mica_load(&s->trial_ns)) return 1;
  const int64_t until = mica_load(&s->alone_until);
  if (!until) return 0;
  if (now_ns() < until) return 1;
  mica_store(&s->alone_until, 0);
  return 0;
}

void mica_pool_run(struct mica_pool* pool, struct mica_run* run) {
  struct shared* s = pool->shared;
  const int threads = mica_pool_start(pool);
  const uint64_t fp = mica_fp_enter();
  uint32_t idle = 0;
  const int all = threads == pool->options.threads && threads > 1 && !better_alone(s);
  if (all && __atomic_compare_exchange_n(&s->busy, &idle, 1, 0, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED)) run_together(pool, run, threads);
  else run_alone(run, s);
  mica_fp_leave(fp);
}

void mica_pool_destroy(struct mica_pool* pool) {
  if (!pool) return;
  struct shared* s = pool->shared;
  const int ours = pool->wiped || s->pid == getpid();
  if (ours && mica_load(&s->state) == READY) stop_workers(s, pool->options.threads);
  mica_unmap(&pool->block);
  free(pool);
}
