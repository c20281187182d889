/* The descriptor: what the runtime knows of the model, as position-independent bytes in .rodata (symbol mica_descriptor).
 * src/artifact writes it, src/runtime reads it; both are of one build, so it has no version. Every `_at` is a byte offset
 * from the descriptor's start; text is null-terminated. Little-endian. */
#ifndef MICA_RUNTIME_DESCRIPTOR_H
#define MICA_RUNTIME_DESCRIPTOR_H

#include <stdint.h>

#define MICA_MAX_RANK 16

struct mica_descriptor_value {
  uint32_t name_at;
  int32_t dtype;    /* mica_dtype */
  int32_t rank;     /* 0 .. MICA_MAX_RANK */
  uint32_t dims_at; /* int64_t[rank], 8-byte aligned; -1-k is size k of mica_plan (frame.h): given symbols, measured ones, derived sizes */
};

struct mica_descriptor {
  uint64_t bytes; /* of the whole descriptor */
  uint64_t arena_bytes, state_bytes, weights_bytes;
  uint64_t prepared_bytes; /* of memory that mica_prepare() fills */
  /* Where in the weights the state's initial bytes stand; UINT64_MAX: zeros. */
  uint64_t state_init_at;
  uint64_t manifest_bytes;
  uint32_t name_at, structure_at, target_at;
  uint32_t features_at; /* names separated by a space, as in cpu_features.h */
  uint32_t inputs, outputs, symbols, sites;
  uint32_t values_at;    /* mica_descriptor_value[inputs + outputs] */
  uint32_t sites_at;     /* uint32_t[sites], offsets of text */
  uint32_t guards;       /* for tests: pages of the workspace that nobody may touch; 0 in every library but theirs */
  uint32_t guards_at;    /* int64_t[guards], offsets in the workspace, ascending, 8-byte aligned */
  uint32_t debug_defect; /* 1: the runtime has a seeded defect, to measure the tests; 0 in every library but theirs */
  uint32_t derived;      /* sizes that follow from the symbols */
  uint32_t slots;        /* parts of the arena whose places follow from the symbols */
  uint32_t symbols_at;   /* mica_descriptor_symbol[symbols], 8-byte aligned */
  uint32_t measured;     /* symbols that the run measures, behind those that the inputs give */
  uint32_t reserved;
};

struct mica_descriptor_symbol {
  int64_t low, high;
  uint64_t name_at;
};

#endif
