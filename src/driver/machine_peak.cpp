#include <algorithm>
#include <atomic>
#include <chrono>
#include <thread>

#include "mica/driver/analyze.h"

namespace mica {

namespace {

using Clock = std::chrono::steady_clock;
double since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

// Sixteen independent chains: enough for two units of four cycles' latency. A chain converges, so that its values stay ordinary numbers.
template <class Vector> [[gnu::always_inline]] inline double multiply_add(int64_t steps) {
  Vector chains[16], a = Vector{} + 0.5f, b = Vector{} + 1.0f;
  for (int i = 0; i < 16; ++i) chains[i] = Vector{} + static_cast<float>(i);
  for (int64_t s = 0; s < steps; ++s) {
    for (Vector& c : chains) c = c * a + b;
    asm volatile("" ::: "memory");
  }
  float sum = 0;
  for (const Vector& c : chains) sum += c[0];
  volatile float keep = sum;
  (void)keep;
  return static_cast<double>(steps) * 16 * 2 * sizeof(Vector) / sizeof(float);
}

typedef float Float4 [[gnu::vector_size(16)]];
typedef float Float8 [[gnu::vector_size(32)]];
typedef float Float16 [[gnu::vector_size(64)]];

double plain_work(int64_t steps) { return multiply_add<Float4>(steps); }
#if defined(__x86_64__)
[[gnu::target("avx2,fma")]] double avx2_work(int64_t steps) { return multiply_add<Float8>(steps); }
[[gnu::target("avx512f,fma")]] double avx512_work(int64_t steps) { return multiply_add<Float16>(steps); }
#endif

double (*choose_work())(int64_t) {
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx512f")) return avx512_work;
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return avx2_work;
#endif
  return plain_work;
}

/// The sum over all threads of what `work` counts, a second; all begin together.
template <class Work> double rate_of(int threads, Work&& work) {
  std::atomic<int> ready = 0;
  std::vector<double> rates(static_cast<size_t>(threads));
  std::vector<std::thread> others;
  const auto run = [&](int t) {
    ++ready;
    while (ready < threads) std::this_thread::yield();
    rates[static_cast<size_t>(t)] = work();
  };
  for (int t = 1; t < threads; ++t) others.emplace_back(run, t);
  run(0);
  for (std::thread& t : others) t.join();
  double sum = 0;
  for (const double r : rates) sum += r;
  return sum;
}

}  // namespace

MachinePeak probe_machine(int threads) {
  constexpr double seconds = 0.025;  // each
  MachinePeak peak;
  const auto work = choose_work();
  peak.flops = rate_of(threads, [&] {
    double best = 0;
    for (const auto start = Clock::now(); since(start) < seconds;) {
      const auto from = Clock::now();
      const double done = work(20000);
      best = std::max(best, done / since(from));
    }
    return best;
  });
  // More than a core's own caches hold; touched first, so that pages are there.
  constexpr size_t words = size_t{8} << 20;
  std::vector<std::vector<uint64_t>> memory(static_cast<size_t>(threads));
  for (auto& m : memory) m.assign(words, 1);
  std::atomic<size_t> next = 0;
  peak.bytes = rate_of(threads, [&] {
    const std::vector<uint64_t>& m = memory[next++];
    double best = 0;
    uint64_t sums[8] = {};
    for (const auto start = Clock::now(); since(start) < seconds;) {
      const auto from = Clock::now();
      for (size_t i = 0; i < words; i += 8)
        for (size_t j = 0; j < 8; ++j) sums[j] += m[i + j];
      best = std::max(best, static_cast<double>(words * sizeof(uint64_t)) / since(from));
    }
    volatile uint64_t keep = sums[0] + sums[1] + sums[2] + sums[3] + sums[4] + sums[5] + sums[6] + sums[7];
    (void)keep;
    return best;
  });
  return peak;
}

}  // namespace mica
