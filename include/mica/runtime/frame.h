/* The contract between generated kernels and the runtime: what mica_main() is handed. Not part of the public ABI: both
 * sides are always linked together. Codegen uses the byte offsets below; the runtime asserts them. */
#ifndef MICA_RUNTIME_FRAME_H
#define MICA_RUNTIME_FRAME_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Why a run failed on a value. The first check that fails in any thread wins. */
enum mica_fault_code { MICA_FAULT_NONE = 0, MICA_FAULT_INDEX = 1, MICA_FAULT_DIVIDE = 2, MICA_FAULT_VALUE = 3 };

struct mica_fault {
  int32_t code;  /*  0: atomic, mica_fault_code; who changes it from 0 may write the rest */
  int32_t site;  /*  4: index into the descriptor's table of fault sites */
  int64_t value; /*  8: the offending value */
};

struct mica_frame {
  uint8_t* arena;         /*  0: workspace, aligned to 64 bytes (2 MiB when the context maps it) */
  const uint8_t* weights; /*  8: first byte of the weights, aligned to 64 bytes */
  uint8_t* const* io;     /* 16: the caller's pointers: inputs, then outputs; aligned to their element size only */
  /* 24: returns when all threads of the run have called it; what they wrote before is then visible. The result is how many go on, the same for all
   * of them: a thread whose tid is not below it leaves mica_main at once, the others share the steps behind among themselves */
  int64_t (*barrier)(struct mica_frame* frame, int64_t tid);
  struct mica_fault* fault; /* 32 */
  int64_t nthreads;         /* 40: at the start */
  uint8_t* state;           /* 48: kept between runs, aligned to 64 bytes */
  int64_t* dims;            /* 56: the sizes that symbols 0, 1, ... have in this run, then what mica_plan() adds */
  /* 64: null, or thread 0 calls it before it begins step `step` (the calls of kernels, numbered through the text), behind the barrier of that
   * step, and with -1 behind the last one */
  void (*mark)(struct mica_frame* frame, int64_t step);
  uint8_t* prepared; /* 72: what mica_prepare() makes of the weights, aligned to 64 bytes */
};

/* The generated entry. Every thread of a run calls it once (tid = 0 .. nthreads-1, 0 is the caller's); all of them call
 * frame->barrier equally often, as long as it lets them go on. Runs with FTZ and DAZ set, rounding to nearest. */
void mica_main(struct mica_frame* frame, int64_t tid, int64_t nthreads);

/* Generated: makes of the weights what is held in another form than the file has. Called as mica_main() is, once for a model, with weights, prepared
 * and fault alone in the frame. */
void mica_prepare(struct mica_frame* frame, int64_t tid, int64_t nthreads);

/* Generated: from the values of the given symbols in dims[0 .. symbols) it fills the greatest ones of the measured symbols, the derived sizes and the
 * places of the arena's slots behind them, and returns the bytes of the arena that a run with these sizes needs. mica_main() replaces the measured
 * symbols as it measures them, and at its end the derived sizes. */
int64_t mica_plan(int64_t* dims);

/* For generated code: records a fault unless one is there already. The kernel
 * then goes on with a safe value (index 0, divisor 1) and the run's result is thrown away. */
void mica_set_fault(struct mica_frame* frame, int32_t code, int32_t site, int64_t value);

#ifdef __cplusplus
}
#endif
#endif
