// build/release/tests/bin/e2e_abi --gtest_filter='AbiCpus.*'
// The runtime's count of CPUs, on made-up cgroup trees. The runtime's file is compiled into this test as it is.
#include <cstdarg>
#include <cstdio>
#include <fstream>

#include "abi_support.h"

extern "C" {
int mica_quota_cpus(const char* root);
int mica_parse_threads(const char* text);
int mica_affinity_cpus(void);

int mica_say(char* to, size_t bytes, int status, const char* format, ...) {  // as in api.c
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(to, bytes, format, arguments);
  va_end(arguments);
  return status;
}
}

namespace mica {
namespace {

void put(const std::filesystem::path& path, const std::string& text) {
  std::filesystem::create_directories(path.parent_path());
  std::ofstream(path) << text;
}

TEST(AbiCpus, cgroup_v2_takes_the_least_quota_on_the_way_up) {
  const TestFolder root;
  put(root / "proc/self/cgroup", "0::/a/b\n");
  EXPECT_EQ(mica_quota_cpus(root.path().c_str()), 0);
  put(root / "sys/fs/cgroup/a/b/cpu.max", "max 100000\n");
  EXPECT_EQ(mica_quota_cpus(root.path().c_str()), 0);
  put(root / "sys/fs/cgroup/a/cpu.max", "250000 100000\n");
  EXPECT_EQ(mica_quota_cpus(root.path().c_str()), 3) << "rounded up";
  put(root / "sys/fs/cgroup/a/b/cpu.max", "800000 100000\n");
  EXPECT_EQ(mica_quota_cpus(root.path().c_str()), 3);
  put(root / "sys/fs/cgroup/cpu.max", "100000 100000\n");
  EXPECT_EQ(mica_quota_cpus(root.path().c_str()), 1);
}

TEST(AbiCpus, cgroup_v1) {
  const TestFolder root;
  put(root / "proc/self/cgroup", "12:memory:/docker/x\n4:cpu,cpuacct:/docker/x\n3:cpuset:/\n");
  put(root / "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "-1\n");
  put(root / "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us", "100000\n");
  EXPECT_EQ(mica_quota_cpus(root.path().c_str()), 0);
  put(root / "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "150000\n");
  EXPECT_EQ(mica_quota_cpus(root.path().c_str()), 2);
}

TEST(AbiCpus, damaged_files_mean_no_limit) {
  const TestFolder root;
  for (const char* text : {"", "0", "0::", ":::", "\n\n", "0::/x"}) {
    put(root / "proc/self/cgroup", text);
    for (const char* quota : {"", "abc", "5", "5 0", "0 5", "-5 5"}) {
      put(root / "sys/fs/cgroup/cpu.max", quota);
      EXPECT_EQ(mica_quota_cpus(root.path().c_str()), 0) << text << " / " << quota;
    }
  }
}

TEST(AbiCpus, numbers_of_threads) {
  EXPECT_EQ(mica_parse_threads("8"), 8);
  EXPECT_EQ(mica_parse_threads(" 8 "), 8);
  EXPECT_EQ(mica_parse_threads("1024"), 1024);
  for (const char* text : {"", "0", "-1", "8a", "1.5", "1025", "99999999999999999999999"}) EXPECT_EQ(mica_parse_threads(text), -1) << text;
  EXPECT_GE(mica_affinity_cpus(), 1);
}

}  // namespace
}  // namespace mica
