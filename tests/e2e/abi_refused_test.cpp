// build/release/tests/bin/e2e_abi --gtest_filter='AbiRefused.*'
// A system that keeps the matrix registers from a process: here a filter of system calls, as a sandbox would set one.
#if defined(__x86_64__)
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstring>
#include <iterator>

#include "abi_support.h"

namespace mica {
namespace {

constexpr uint32_t request_permission = 0x1023;

/// From here on arch_prctl(ARCH_REQ_XCOMP_PERM, ...) fails with `error` in this process. False where no filter can be set.
bool refuse_registers(uint32_t error) {
  sock_filter program[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, arch)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, AUDIT_ARCH_X86_64, 0, 5),
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_arch_prctl, 0, 3),
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, args)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, request_permission, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | error),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  };
  const sock_fprog filter = {std::size(program), program};
  return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 && prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) == 0;
}

/// What creating a model says in a child that is refused the registers; "no filter" where the system has none.
std::string sentence_when_refused(const Library& library, uint32_t error, int& status) {
  int ends[2];
  EXPECT_EQ(pipe(ends), 0);
  const pid_t child = fork();
  if (child == 0) {
    std::array<char, 512> sentence{"no filter"};
    mica_model* model = nullptr;
    int result = -1;
    if (refuse_registers(error)) result = library.api->model_create(nullptr, &model, sentence.data(), sentence.size());
    const bool written = write(ends[1], sentence.data(), strlen(sentence.data())) > 0;
    _exit(written && !model ? result & 0x7f : 0x7f);
  }
  close(ends[1]);
  std::array<char, 512> sentence{};
  EXPECT_GE(read(ends[0], sentence.data(), sentence.size() - 1), 0);
  close(ends[0]);
  int ended = -1;
  waitpid(child, &ended, 0);
  EXPECT_TRUE(WIFEXITED(ended)) << ended;
  status = WEXITSTATUS(ended);
  return sentence.data();
}

TEST(AbiRefused, matrix_registers_that_the_system_keeps_are_told_so_when_a_model_is_created) {
  const TestFolder folder;
  artifact::Image image = lookup_image();
  image.descriptor.features = {"amx-tile", "amx-bf16"};
  const Library library(link(image, folder / "m.so"));
  std::array<char, 512> sentence{};
  mica_model* model = nullptr;
  if (library.api->model_create(nullptr, &model, sentence.data(), sentence.size()) != MICA_OK) GTEST_SKIP() << sentence.data();
  library.api->model_destroy(model);
  int status = -1;
  const std::string refused = sentence_when_refused(library, EPERM, status);
  if (refused == "no filter") GTEST_SKIP() << "this system takes no filter of system calls";
  EXPECT_EQ(status, MICA_ERR_CPU & 0x7f);
  EXPECT_EQ(refused,
            "the system refuses this process the matrix registers that the model was compiled for (arch_prctl: error 1); compile it with "
            "--cpu-features -amx-tile");
  EXPECT_NE(sentence_when_refused(library, ENOSPC, status).find("(arch_prctl: error 28, a thread's alternate signal stack is too small)"),
            std::string::npos);
  EXPECT_EQ(status, MICA_ERR_CPU & 0x7f);
}

}  // namespace
}  // namespace mica
#endif
