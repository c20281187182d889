/* What the files of the runtime share. The runtime goes into every .so: it keeps no global that is written after loading,
 * has no constructors and no thread-local storage, prints nothing, ends no process and leaves errno, signal handlers and the
 * caller's floating-point environment as they were. */
#ifndef MICA_RUNTIME_CPU_RUNTIME_H
#define MICA_RUNTIME_CPU_RUNTIME_H

#include "libc.h"
#include "mica/runtime/descriptor.h"
#include "mica/runtime/frame.h"
#include "mica/runtime/mica.h"

/* From the artifact writer's objects, all hidden. */
extern const uint8_t mica_weights[];
extern const struct mica_descriptor mica_descriptor;
extern const char mica_manifest[];

/* --- api.c --- */
/* Writes a sentence into to[0..bytes), cut where it is too long, always terminated; `to` may be null. Returns `status`. */
int mica_say(char* to, size_t bytes, int status, const char* format, ...) __attribute__((format(printf, 4, 5)));
/* Text or array at a descriptor's offset. */
const void* mica_at(uint32_t offset);

/* --- check.c: the caller's tensors against the descriptor --- */
/* Sizes that symbolic dimensions have in one run; -1 where not known yet. */
struct mica_binding {
  int64_t* dims; /* [mica_dims_count()] */
  size_t bytes;  /* of the arena that the run needs */
};
/* Given symbols, measured ones, derived sizes, slots. */
size_t mica_dims_count(void);
/* Fills the binding from the shapes of the inputs alone. */
int mica_bind_shapes(const mica_tensor* inputs, size_t count, struct mica_binding* binding, char* error, size_t error_bytes);
/* Fills io[] and the binding; a bad tensor gives its code and a sentence in error. */
int mica_check_tensors(const mica_tensor* inputs, size_t input_count, const mica_tensor* outputs, size_t output_count, struct mica_binding* binding,
                       uint8_t** io, char* error, size_t error_bytes);

/* --- features.c --- */
/* MICA_ERR_CPU with the names of what is missing when the CPU or the operating system lacks one of `features`. */
int mica_check_cpu(const char* features, char* error, size_t error_bytes);

/* --- cpus.c --- */
/* CPUs in the caller's affinity mask, at least 1. */
int mica_affinity_cpus(void);
/* CPUs that the cgroups above this process allow, rounded up; 0 when there is no limit. `root` is "" but for tests. */
int mica_quota_cpus(const char* root);
/* The smaller of both. */
int mica_allowed_cpus(void);
/* A number from 1 to 1024 in `text`, else -1. */
int mica_parse_threads(const char* text);

/* --- memory.c --- */
struct mica_block {
  uint8_t* data; /* null: none */
  uint8_t* mapping;
  size_t mapping_bytes;
};
/* Zeroed memory, aligned to 2 MiB and advised to be on huge pages when it is that large, else to a page; touched when
 * `touch` is set, so that the first run does not fault. 0 bytes is a valid request. False: out of memory. */
int mica_map(size_t bytes, int touch, struct mica_block* block);
/* As mica_map, one page or more that a forked child sees as zeros; `pages_wiped` tells whether the kernel can. */
int mica_map_wiped_on_fork(size_t bytes, struct mica_block* block, int* pages_wiped);
void mica_unmap(struct mica_block* block);

/* --- pool.c: the worker threads of one model --- */
enum { MICA_MAX_THREADS = 1024 };
struct mica_pool;

struct mica_pool_options {
  int threads;
  int spin_us; /* -1: park at once */
  int scarce;  /* more threads than CPUs: a spinning thread would keep the one it waits for off its CPU */
};
/* One run: the frame first, so that barrier() finds the pool from it. */
struct mica_run {
  struct mica_frame frame;
  struct mica_pool* pool;
  void (*main)(struct mica_frame* frame, int64_t tid, int64_t nthreads);
  uint32_t alone;      /* from barrier `alone_from` on the caller's thread goes on by itself */
  uint32_t alone_from; /* written before `alone` */
};
/* Null: out of memory. No thread runs yet. */
struct mica_pool* mica_pool_create(const struct mica_pool_options* options);
/* Starts the workers if this process has none yet; the number of threads that could be had, the caller's among them. */
int mica_pool_start(struct mica_pool* pool);
/* Runs run->main on all threads of the pool and returns when all are through; on the caller's alone when the pool serves
 * another run at the moment, has one thread, or could not be started (after a fork, at a limit). */
void mica_pool_run(struct mica_pool* pool, struct mica_run* run);
/* Joins the workers. */
void mica_pool_destroy(struct mica_pool* pool);

/* --- fpenv.c: what generated code may rely on --- */
uint64_t mica_fp_enter(void); /* FTZ, DAZ, round to nearest, no traps; returns what was */
void mica_fp_leave(uint64_t previous);

/* --- atomics --- */
#define mica_load(p) __atomic_load_n((p), __ATOMIC_ACQUIRE)
#define mica_store(p, v) __atomic_store_n((p), (v), __ATOMIC_RELEASE)

#endif
