// build/release/tests/bin/e2e_abi --gtest_filter='AbiThreads.*'
#include <pthread.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <fstream>
#include <thread>

#include "abi_support.h"

namespace mica {
namespace {

/// Runs barriers.c with `count` barriers; seconds.
double run_barriers(const mica_api* api, mica_context* context, int64_t count) {
  int64_t wrong = -1;
  const mica_tensor in = {sizeof in, &count, sizeof count, MICA_I64, 0, nullptr, nullptr};
  const mica_tensor out = {sizeof out, &wrong, sizeof wrong, MICA_I64, 0, nullptr, nullptr};
  const auto start = std::chrono::steady_clock::now();
  EXPECT_EQ(api->run(context, &in, 1, &out, 1), MICA_OK) << api->last_error(context);
  EXPECT_EQ(wrong, 0);
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

TEST(AbiThreads, barriers_hold_back_every_thread) {
  const TestFolder folder;
  const Library library(link(barriers_image(), folder / "m.so"));
  for (const int threads : {1, 2, 3, 4, 7, 16}) {
    const Session session(library.api, threads);
    for (int i = 0; i < 20; ++i) run_barriers(library.api, session.context, 25);
    usleep(3000);  // the workers sleep by now
    for (int i = 0; i < 20; ++i) run_barriers(library.api, session.context, 25);
  }
}

/// Not a test of speed (the machine may be busy): it prints what a barrier costs.
TEST(AbiThreads, cost_of_a_barrier) {
  const TestFolder folder;
  const Library library(link(barriers_image(), folder / "m.so"));
  const Session session(library.api, 2);
  constexpr int64_t count = 2000;
  double best = 1;
  for (int i = 0; i < 10; ++i) best = std::min(best, run_barriers(library.api, session.context, -count));
  printf("  a barrier of 2 threads: %.0f ns\n", best / count * 1e9);
}

/// Threads of a run of late.c: at its start, times 100, and at its end.
int32_t run_late(const Library& library, const Session& session, int32_t microseconds) {
  int32_t threads = 0;
  const mica_tensor in = {sizeof in, &microseconds, sizeof microseconds, MICA_I32, 0, nullptr, nullptr};
  const mica_tensor out = {sizeof out, &threads, sizeof threads, MICA_I32, 0, nullptr, nullptr};
  EXPECT_EQ(library.api->run(session.context, &in, 1, &out, 1), MICA_OK);
  return threads;
}

TEST(AbiThreads, a_caller_whose_workers_are_kept_off_their_cpus_goes_on_alone_for_a_while) {
  const TestFolder folder;
  const Library library(link(late_image(), folder / "m.so"));
  const Session session(library.api, 2);
  EXPECT_EQ(run_late(library, session, 100000), 201);  // the second thread is sent away
  EXPECT_EQ(run_late(library, session, 100000), 101);  // a trial, which is faster
  usleep(1100000);                                     // the finding is forgotten
  EXPECT_EQ(run_late(library, session, 100000), 201);
  EXPECT_EQ(run_late(library, session, 100000), 101);
}

TEST(AbiThreads, late_workers_leave_a_run_and_the_caller_does_their_shares) {
  const TestFolder folder;
  const Library library(link(late_image(), folder / "m.so"));
  for (const int threads : {2, 3, 4}) {
    const Session session(library.api, threads);
    EXPECT_EQ(run_late(library, session, 200000), threads * 100 + 1);
  }
}

TEST(AbiThreads, contexts_run_at_the_same_time) {
  const TestFolder folder;
  const Library library(link(lookup_image(), folder / "m.so"));
  const Session session(library.api, 2);
  std::vector<std::thread> threads;
  std::atomic<int> failures{0};
  for (int t = 0; t < 8; ++t) {
    threads.emplace_back([&] {
      mica_context* context = nullptr;
      if (library.api->context_create(session.model, nullptr, &context, nullptr, 0) != MICA_OK) ++failures;
      for (int i = 0; i < 500; ++i) {
        LookupCall call;
        if (call.run(library.api, context) != MICA_OK || call.runs != i + 1) ++failures;
        call.expect_right();
      }
      library.api->context_destroy(context);
    });
  }
  for (std::thread& t : threads) t.join();
  EXPECT_EQ(failures, 0);
}

struct WaitCall {
  std::array<int32_t, 2> signals{};
  int32_t threads = 0;
  int run(const mica_api* api, mica_context* context) {
    static constexpr int64_t shape[1] = {2};
    const mica_tensor in = {sizeof in, signals.data(), sizeof signals, MICA_I32, 1, shape, nullptr};
    const mica_tensor out = {sizeof out, &threads, sizeof threads, MICA_I32, 0, nullptr, nullptr};
    return api->run(context, &in, 1, &out, 1);
  }
  void await_start() {
    while (!__atomic_load_n(&signals[1], __ATOMIC_ACQUIRE)) std::this_thread::yield();
  }
  void let_go() { __atomic_store_n(&signals[0], 1, __ATOMIC_RELEASE); }
};

TEST(AbiThreads, a_context_in_use_is_busy_and_a_second_one_runs_on_its_own_thread) {
  const TestFolder folder;
  const Library library(link(wait_image(), folder / "m.so"));
  const Session session(library.api, 2);
  mica_context* other = nullptr;
  ASSERT_EQ(library.api->context_create(session.model, nullptr, &other, nullptr, 0), MICA_OK);
  WaitCall first, second;
  std::thread runner([&] { EXPECT_EQ(first.run(library.api, session.context), MICA_OK); });
  first.await_start();
  second.let_go();
  EXPECT_EQ(second.run(library.api, session.context), MICA_ERR_BUSY);
  EXPECT_EQ(library.api->context_reset(session.context), MICA_ERR_BUSY);
  EXPECT_EQ(second.run(library.api, other), MICA_OK);
  EXPECT_EQ(second.threads, 1) << "the pool serves the first run";
  first.let_go();
  runner.join();
  EXPECT_EQ(first.threads, 2);
  /* The first run kept its worker asleep, so that a run or more may be the caller's alone, as on a busy machine: that holds for a second at most. */
  for (int i = 0; i < 500; ++i) {
    EXPECT_EQ(second.run(library.api, other), MICA_OK);
    if (second.threads == 2) break;
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  EXPECT_EQ(second.threads, 2) << "the pool is free again";
  library.api->context_destroy(other);
}

int expect_child_is_fine(const pid_t child) {
  int status = -1;
  waitpid(child, &status, 0);
  return status;
}

TEST(AbiThreads, a_forked_child_starts_workers_of_its_own) {
  const TestFolder folder;
  const Library library(link(lookup_image(), folder / "m.so"));
  const Library waiting(link(wait_image(), folder / "w.so"));
  const Session session(library.api, 3);
  const Session wait_session(waiting.api, 2);
  LookupCall call;
  ASSERT_EQ(call.run(library.api, session.context), MICA_OK);
  // A run of another thread is going on while we fork: in the child that context is free.
  WaitCall in_parent;
  std::thread runner([&] { EXPECT_EQ(in_parent.run(waiting.api, wait_session.context), MICA_OK); });
  in_parent.await_start();
  const pid_t child = fork();
  if (child == 0) {
    alarm(60);
    LookupCall again;
    if (again.run(library.api, session.context) != MICA_OK || again.runs != 2) _exit(1);
    again.expect_right();
    WaitCall in_child;
    in_child.let_go();
    if (in_child.run(waiting.api, wait_session.context) != MICA_OK) _exit(2);
    if (in_child.threads != 2) _exit(3);
    library.api->context_destroy(session.context);
    library.api->model_destroy(session.model);
    _exit(testing::Test::HasFailure() ? 4 : 0);
  }
  EXPECT_EQ(expect_child_is_fine(child), 0);
  in_parent.let_go();
  runner.join();
  ASSERT_EQ(call.run(library.api, session.context), MICA_OK);
  EXPECT_EQ(call.runs, 2);
  // A child that never runs anything can destroy what it inherited.
  const pid_t second = fork();
  if (second == 0) {
    alarm(60);
    library.api->context_destroy(session.context);
    library.api->model_destroy(session.model);
    _exit(0);
  }
  EXPECT_EQ(expect_child_is_fine(second), 0);
}

size_t count_lines(const std::string& path, const std::string& what) {
  std::ifstream file(path);
  size_t count = 0;
  for (std::string line; std::getline(file, line);) count += line.find(what) != std::string::npos;
  return count;
}
size_t count_entries(const char* folder) {
  size_t count = 0;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) count += !entry.path().empty();
  return count;
}

TEST(AbiThreads, a_hundred_loads_leave_nothing_behind) {
  const TestFolder folder;
  const auto path = link(lookup_image(), folder / "m.so");
  size_t threads = 0, files = 0, maps = 0;
  for (int i = 0; i < 100; ++i) {
    {
      const Library library(path);
      const Session session(library.api, 3, i % 2);
      LookupCall call;
      ASSERT_EQ(call.run(library.api, session.context), MICA_OK);
      call.expect_right();
    }
    if (i == 9) {
      threads = count_entries("/proc/self/task");
      files = count_entries("/proc/self/fd");
      maps = count_lines("/proc/self/maps", "");
    }
  }
  EXPECT_EQ(count_entries("/proc/self/task"), threads);
  EXPECT_EQ(count_entries("/proc/self/fd"), files);
  EXPECT_LE(count_lines("/proc/self/maps", ""), maps + 2);
  EXPECT_EQ(count_lines("/proc/self/maps", path.string()), 0U) << "the .so is still mapped";
}

TEST(AbiThreads, models_live_side_by_side) {
  const TestFolder folder;
  const auto first = link(lookup_image(), folder / "a.so");
  const auto second = link(floats_image(), folder / "b.so");
  std::filesystem::copy_file(first, folder / "c.so");
  for (const int flags : {RTLD_NOW | RTLD_LOCAL, RTLD_NOW | RTLD_GLOBAL}) {
    const Library a(first, flags), b(second, flags), c(folder / "c.so", flags), a_again(first, flags);
    EXPECT_NE(a.api, b.api);
    EXPECT_NE(a.api, c.api);
    EXPECT_EQ(a.api, a_again.api);
    const Session one(a.api), two(b.api), three(c.api), four(a_again.api);
    LookupCall call;
    for (const Session* s : {&one, &three, &four}) {
      ASSERT_EQ(call.run(s->api, s->context), MICA_OK);
      call.expect_right();
      EXPECT_EQ(call.runs, 1);
    }
    EXPECT_EQ(call.run(two.api, two.context), MICA_ERR_COUNT);
  }
}

TEST(AbiThreads, a_caller_with_a_small_stack_and_blocked_signals_is_fine) {
  const TestFolder folder;
  const Library library(link(lookup_image(), folder / "m.so"));
  const Session session(library.api, 2);
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  pthread_attr_setstacksize(&attributes, 256 << 10);
  std::pair<const Library*, const Session*> both = {&library, &session};
  pthread_t thread{};
  ASSERT_EQ(pthread_create(
                &thread, &attributes,
                [](void* p) -> void* {
                  const auto& [l, s] = *static_cast<decltype(both)*>(p);
                  LookupCall call;
                  EXPECT_EQ(call.run(l->api, s->context), MICA_OK);
                  call.expect_right();
                  return nullptr;
                },
                &both),
            0);
  pthread_join(thread, nullptr);
  pthread_attr_destroy(&attributes);
}

TEST(AbiThreads, mapped_weights_make_a_model_at_once) {
  const TestFolder folder;
  artifact::Image image = lookup_image();
  image.descriptor.weights_bytes = 400 << 20;  // as BERT-base
  const Library library(link(image, folder / "m.so"));
  const auto start = std::chrono::steady_clock::now();
  mica_model* model = nullptr;
  ASSERT_EQ(library.api->model_create(nullptr, &model, nullptr, 0), MICA_OK);
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  library.api->model_destroy(model);
  EXPECT_LT(seconds, 0.3);
}

}  // namespace
}  // namespace mica
