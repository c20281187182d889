/* The functions of libc that the runtime uses, declared here so that it compiles for any target without that target's
 * headers. Each must stand in codegen/link/libc_symbols.txt, with the symbol version it is linked to. */
#ifndef MICA_RUNTIME_CPU_LIBC_H
#define MICA_RUNTIME_CPU_LIBC_H

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

void* malloc(size_t bytes);
void* calloc(size_t count, size_t bytes);
void free(void* p);
void* memcpy(void* to, const void* from, size_t bytes);
void* memset(void* to, int value, size_t bytes);
int memcmp(const void* a, const void* b, size_t bytes);
size_t strlen(const char* text);
char* getenv(const char* name);
int vsnprintf(char* to, size_t bytes, const char* format, va_list arguments);

int open(const char* path, int flags, ...);
long read(int fd, void* to, size_t bytes);
int close(int fd);
int* __errno_location(void);

void* mmap(void* at, size_t bytes, int protection, int flags, int fd, long offset);
int munmap(void* at, size_t bytes);
int madvise(void* at, size_t bytes, int advice);
unsigned long getauxval(unsigned long type);

long syscall(long number, ...);
int sched_getaffinity(int pid, size_t bytes, void* mask);
int getpid(void);
int prctl(int option, ...);

struct timespec {
  long seconds, nanoseconds;
};
int clock_gettime(int clock, struct timespec* now);

typedef unsigned long thread_handle; /* pthread_t */
struct thread_attributes {           /* at least as large as pthread_attr_t of every target */
  uint64_t words[16];
};
struct signal_set { /* sigset_t */
  uint64_t words[16];
};
int pthread_attr_init(struct thread_attributes* attributes);
int pthread_attr_setstacksize(struct thread_attributes* attributes, size_t bytes);
int pthread_attr_destroy(struct thread_attributes* attributes);
int pthread_create(thread_handle* thread, const struct thread_attributes* attributes, void* (*run)(void*), void* argument);
int pthread_join(thread_handle thread, void** result);
int pthread_sigmask(int how, const struct signal_set* set, struct signal_set* old);
int sigfillset(struct signal_set* set);

/* Linux, the same numbers on every target here unless told apart. */
enum {
  O_RDONLY = 0,
  O_CLOEXEC = 02000000,
  PROT_NONE = 0,
  PROT_READ_WRITE = 3,
  MAP_PRIVATE_ANONYMOUS = 0x22,
  MAP_FIXED = 0x10,
  MADV_WILLNEED = 3,
  MADV_HUGEPAGE = 14,
  MADV_WIPEONFORK = 18,
  MADV_POPULATE_READ = 22,
  MADV_POPULATE_WRITE = 23,
  CLOCK_MONOTONIC = 1,
  SIG_SETMASK = 2,
  PR_SET_NAME = 15,
  FUTEX_WAIT_PRIVATE = 128,
  FUTEX_WAKE_PRIVATE = 129,
  AT_HWCAP = 16,
  AT_HWCAP2 = 26,
#if defined(__aarch64__)
  SYS_FUTEX = 98
#else
  SYS_FUTEX = 202
#endif
};
#define MAP_FAILED ((void*)-1)

#endif
