/* The floating-point environment of generated code: denormals are zero (they cost 100 cycles and more on many CPUs), results
 * round to nearest, nothing traps. Set on entry to a run and in every worker; the caller's own is put back. */
#include "runtime.h"

#if defined(__x86_64__)
/* MXCSR: bit 15 FTZ, bit 6 DAZ, bits 7..12 mask all exceptions, bits 13..14 zero: to nearest. */
enum { MXCSR = 0x8000 | 0x0040 | 0x1f80 };

uint64_t mica_fp_enter(void) {
  uint32_t previous;
  const uint32_t ours = MXCSR;
  __asm__ volatile("stmxcsr %0" : "=m"(previous));
  __asm__ volatile("ldmxcsr %0" : : "m"(ours));
  return previous;
}

void mica_fp_leave(uint64_t previous) {
  const uint32_t theirs = (uint32_t)previous;
  __asm__ volatile("ldmxcsr %0" : : "m"(theirs));
}
#elif defined(__aarch64__)
/* FPCR: bit 24 FZ, bit 19 FZ16; the rounding mode (bits 22..23) and the trap bits (8..15) zero. */
uint64_t mica_fp_enter(void) {
  uint64_t previous;
  const uint64_t ours = 1ull << 24;
  __asm__ volatile("mrs %0, fpcr" : "=r"(previous));
  __asm__ volatile("msr fpcr, %0" : : "r"(ours));
  return previous;
}

void mica_fp_leave(uint64_t previous) { __asm__ volatile("msr fpcr, %0" : : "r"(previous)); }
#endif
