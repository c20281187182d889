// The cache of what was measured, and the search with kernels whose times are known. Run alone: ctest --preset release -R unit_driver
#include <gtest/gtest.h>
#include <unistd.h>

#include <fstream>

#include "mica/driver/file.h"
#include "mica/driver/tune.h"

namespace mica {
namespace {

namespace fs = std::filesystem;

struct File {
  fs::path folder = fs::temp_directory_path() / fmt::format("mica-tune-test-{}", ::getpid()), path = folder / "deep" / "tune.jsonl";
  File() { fs::remove_all(folder); }
  ~File() { fs::remove_all(folder); }
  void add(std::string_view text) const { std::ofstream(path, std::ios::app) << text; }
};

TEST(tune_cache, what_was_appended_comes_back_by_place_and_kernel) {
  const File file;
  Diagnostics d;
  ASSERT_TRUE(append_tune_cache(file.path, "here", {{"a \"quoted\" kernel", {{"tile", "6 rows"}}, 2, 10, 8}, {"b", {}, 0, 3, 3}}, d))
      << d.to_string();
  ASSERT_TRUE(append_tune_cache(file.path, "there", {{"b", {{"tile", "other"}}, 0, 0, 0}}, d));
  ASSERT_TRUE(append_tune_cache(file.path, "here", {{"b", {{"tile", "later"}}, 0, 3, 2}}, d));
  const auto cache = read_tune_cache(file.path, "here", true, d);
  ASSERT_TRUE(cache) << d.to_string();
  ASSERT_EQ(cache->entries.size(), 2u);
  EXPECT_EQ(cache->entries[0].kernel, "a \"quoted\" kernel");
  EXPECT_EQ(cache->entries[0].untried, 2);
  EXPECT_EQ(cache->entries[0].first_us, 10);
  EXPECT_EQ(cache->answers().at("b").at("tile"), "later") << "of several lines the last counts";
  EXPECT_TRUE(d.all().empty());
}

TEST(tune_cache, lines_that_are_no_entries_are_told_and_skipped) {
  const File file;
  Diagnostics d;
  ASSERT_TRUE(append_tune_cache(file.path, "here", {{"a", {{"tile", "1"}}, 0, 1, 1}}, d));
  file.add(
      "nonsense\n{\"schema\":1,\"where\":\"here\"}\n\n{\"schema\":7,\"where\":\"here\",\"kernel\":\"a\",\"choices\":{}}\n"
      "{\"schema\":1,\"where\":\"here\",\"kernel\":\"a\",\"choices\":{\"tile\":3}}\n{\"schema\":1,\"whe");
  ASSERT_TRUE(append_tune_cache(file.path, "here", {{"b", {{"tile", "2"}}, 0, 1, 1}}, d)) << "the torn line is ended first";
  const auto cache = read_tune_cache(file.path, "here", true, d);
  ASSERT_TRUE(cache);
  EXPECT_EQ(cache->entries.size(), 2u);
  EXPECT_EQ(cache->answers().at("b").at("tile"), "2");
  ASSERT_EQ(d.all().size(), 4u) << d.to_string();  // three by their number, the other two together
  EXPECT_EQ(d.all()[0].name, "tune-cache-line");
  EXPECT_NE(d.all()[0].message.find("line 2"), std::string::npos);
  EXPECT_NE(d.all()[3].message.find("2 more lines"), std::string::npos);
  EXPECT_FALSE(d.has_errors());
}

TEST(tune_cache, a_file_that_is_not_there_is_empty_or_an_error) {
  const File file;
  Diagnostics d;
  const auto none = read_tune_cache(file.path, "here", false, d);
  ASSERT_TRUE(none);
  EXPECT_TRUE(none->entries.empty());
  EXPECT_FALSE(read_tune_cache(file.path, "here", true, d));
  fs::create_directories(file.path);
  Diagnostics folder;
  EXPECT_FALSE(append_tune_cache(file.path, "here", {{"a", {}, 0, 1, 1}}, folder));
  ASSERT_EQ(folder.all().size(), 1u);
  EXPECT_EQ(folder.all()[0].name, "tune-cache-not-writable");
}

TEST(tune, the_place_tells_targets_threads_and_forms_apart) {
  Diagnostics d;
  const auto v3 = make_target("x86-64-v3", "", d), v4 = make_target("x86-64-v4", "", d);
  ASSERT_TRUE(v3 && v4);
  std::set<std::string> places;
  for (const Target* t : {&*v3, &*v4})
    for (const int threads : {1, 2})
      for (const WinogradUse use : {WinogradUse::off, WinogradUse::automatic}) places.insert(tune_where(*t, use, threads));
  EXPECT_EQ(places.size(), 8u);
  EXPECT_EQ(*places.begin(), std::string(*places.begin()));
}

TEST(tune, a_target_of_another_machine_is_refused) {
  Diagnostics d;
  const auto here = make_target("native", "", d), there = make_target("aarch64", "", d);
  ASSERT_TRUE(here && there);
  check_runs_here(*here, d);
  EXPECT_TRUE(d.all().empty()) << d.to_string();
  check_runs_here(here->triple == there->triple ? *make_target("x86-64-v2", "", d) : *there, d);
  ASSERT_EQ(d.all().size(), 1u);
  EXPECT_EQ(d.all()[0].name, "tune-other-target");
  EXPECT_FALSE(d.all()[0].helps.empty());
}

TEST(tune, a_build_that_dies_loses_nothing) {
  TuneTask task;
  task.build = [](const Answers&, const fs::path&, Diagnostics&) -> Result<TuneBuild> { std::abort(); };
  TuneReport report;
  Diagnostics d;
  const auto entries = tune(task, report, d);
  ASSERT_TRUE(entries) << d.to_string();
  EXPECT_TRUE(entries->empty());
  EXPECT_EQ(report.trials, 0u);
}

}  // namespace
}  // namespace mica
