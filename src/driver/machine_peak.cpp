#include <sys/mman.h>

#include <algorithm>
#include <atomic>
#include <barrier>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <thread>
#include <vector>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "mica/driver/analyze.h"
#include "mica/target/target.h"

namespace mica {

namespace {

using Clock = std::chrono::steady_clock;
double since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

// Independent chains: more than the eight or ten that two units of four or five cycles' latency have under way, and with both factors no more than
// there are registers. A chain converges, so that its values stay ordinary numbers.
template <class Vector, int count> [[gnu::always_inline]] inline double multiply_add(int64_t steps) {
  Vector chains[count], a = Vector{} + 0.5f, b = Vector{} + 1.0f;
#pragma GCC unroll 16                                                                // every loop over the chains, so that they are registers
  for (int i = 0; i < count; ++i) chains[i] = Vector{} + static_cast<float>(i + 3);  // 2 stays 2, which a compiler sees
  for (int64_t s = 0; s < steps; ++s) {
#pragma GCC unroll 16
    for (Vector& c : chains) c = c * a + b;
    asm volatile("" ::: "memory");
  }
  float sum = 0;
#pragma GCC unroll 16
  for (const Vector& c : chains) sum += c[0];
  volatile float keep = sum;
  (void)keep;
  return static_cast<double>(steps) * count * 2 * sizeof(Vector) / sizeof(float);
}

typedef float Float4 [[gnu::vector_size(16)]];
typedef float Float8 [[gnu::vector_size(32)]];
typedef float Float16 [[gnu::vector_size(64)]];
typedef uint64_t Words [[gnu::vector_size(64), gnu::may_alias]];

double plain_work(int64_t steps) { return multiply_add<Float4, 12>(steps); }
#if defined(__x86_64__)
[[gnu::target("avx2,fma")]] double avx2_work(int64_t steps) { return multiply_add<Float8, 12>(steps); }
[[gnu::target("avx512f,fma")]] double avx512_work(int64_t steps) { return multiply_add<Float16, 16>(steps); }
#endif

#if defined(__x86_64__)
/// Twelve chains: enough for two units of six cycles' latency.
[[gnu::target("avx512f,avx512bf16")]] double pair_work(int64_t steps) {
  __m512 chains[12];
#pragma GCC unroll 12
  for (int i = 0; i < 12; ++i) chains[i] = _mm512_set1_ps(static_cast<float>(i));  // equal ones would become one
  __m512i one = _mm512_set1_epi16(0x3f80);
  for (int64_t s = 0; s < steps; ++s) {
    asm volatile("" : "+v"(one));
#pragma GCC unroll 12
    for (auto& c : chains) c = _mm512_dpbf16_ps(c, (__m512bh)one, (__m512bh)one);
  }
  float sum = 0;
#pragma GCC unroll 12
  for (const auto& c : chains) sum += c[0];
  volatile float keep = sum;
  (void)keep;
  return static_cast<double>(steps) * 12 * 64;
}

/// Four accumulators, as many as a schedule keeps; operands stay where they are.
[[gnu::target("amx-tile,amx-bf16")]] double tile_work(int64_t steps) {
  struct alignas(64) Shapes {
    uint8_t palette = 1, start = 0, reserved[14] = {};
    uint16_t row_bytes[16] = {};
    uint8_t rows[16] = {};
  } shapes;
  for (int t = 0; t < 8; ++t) shapes.row_bytes[t] = 64, shapes.rows[t] = 16;
  asm volatile("" : : "r"(&shapes) : "memory");  // the intrinsic names only the first bytes
  _tile_loadconfig(&shapes);
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
  _tile_zero(4);
  _tile_zero(5);
  _tile_zero(6);
  _tile_zero(7);
  for (int64_t s = 0; s < steps; ++s) {
    _tile_dpbf16ps(0, 4, 6);
    _tile_dpbf16ps(1, 4, 7);
    _tile_dpbf16ps(2, 5, 6);
    _tile_dpbf16ps(3, 5, 7);
  }
  _tile_release();
  return static_cast<double>(steps) * 4 * 16 * 16 * 32 * 2;
}
#endif

using Work = double (*)(int64_t);

/// Null where this machine has it not, or the system refuses it.
Work choose_work(Arithmetic arithmetic, const Target& host) {
#if defined(__x86_64__)
  if (arithmetic == Arithmetic::pairs) return host.has("avx512bf16") ? pair_work : nullptr;
  if (arithmetic == Arithmetic::tiles) return host.has("amx-bf16") ? tile_work : nullptr;
  if (host.has("avx512f")) return avx512_work;
  if (host.has("avx2") && host.has("fma")) return avx2_work;
#endif
  return arithmetic == Arithmetic::vectors ? plain_work : nullptr;
}

/// The sum over all threads of what `work` counts, a second; all begin together.
template <class Measure> double rate_of(int threads, Measure&& measure) {
  std::atomic<int> ready = 0;
  std::vector<double> rates(static_cast<size_t>(threads));
  std::vector<std::thread> others;
  const auto run = [&](int t) {
    ++ready;
    while (ready < threads) std::this_thread::yield();
    rates[static_cast<size_t>(t)] = measure();
  };
  for (int t = 1; t < threads; ++t) others.emplace_back(run, t);
  run(0);
  for (std::thread& t : others) t.join();
  double sum = 0;
  for (const double r : rates) sum += r;
  return sum;
}

/// Bytes a second that one thread reads from beyond its core's own caches: 32 MiB, so a cache that cores share counts, as it does for the weights of
/// most models. Four streams on large pages, each fetched ahead: one stream alone leaves the core waiting at the page's end. A pass takes about a
/// millisecond, and the best one counts: other work on the machine only takes away. All threads begin when all have `filled` their memory.
double read_rate(double seconds, std::barrier<>& filled) {
  constexpr size_t bytes = size_t{32} << 20, large_page = size_t{2} << 20, streams = 4, each = bytes / streams, step = 256, ahead = 1024;
  const std::unique_ptr<char, decltype(&std::free)> memory(static_cast<char*>(std::aligned_alloc(large_page, bytes)), std::free);
  if (memory) {
    madvise(memory.get(), bytes, MADV_HUGEPAGE);
    std::memset(memory.get(), 1, bytes);  // pages are there from here on
  }
  filled.arrive_and_wait();
  if (!memory) return 0;
  Words sums[4] = {};
  double best = 0;
  for (const auto start = Clock::now(); since(start) < seconds;) {
    const auto from = Clock::now();
    for (size_t at = 0; at < each; at += step)
      for (size_t s = 0; s < streams; ++s)
        for (size_t line = 0; line < step / sizeof(Words); ++line) {
          const char* source = memory.get() + s * each + at + line * sizeof(Words);
          __builtin_prefetch(source + ahead);
          sums[line] += *reinterpret_cast<const Words*>(source);
        }
    asm volatile("" : "+m"(sums) : : "memory");
    best = std::max(best, static_cast<double>(bytes) / since(from));
  }
  return best;
}

}  // namespace

MachinePeak probe_machine(int threads) {
  constexpr double seconds = 0.025;  // each
  MachinePeak peak;
  Diagnostics ignored;
  const auto native = make_target("native", "", ignored);
  const Target host = native ? *native : Target{};
  for (size_t i = 0; i < arithmetics; ++i) {
    const Work work = choose_work(static_cast<Arithmetic>(i), host);
    if (!work) continue;
    peak.flops[i] = rate_of(threads, [&] {
      double best = 0;
      for (const auto start = Clock::now(); since(start) < seconds / arithmetics;) {
        const auto from = Clock::now();
        const double done = work(5000);
        best = std::max(best, done / since(from));
      }
      return best;
    });
  }
  std::barrier filled(threads);
  peak.bytes = rate_of(threads, [&] { return read_rate(2 * seconds, filled); });
  return peak;
}

}  // namespace mica
