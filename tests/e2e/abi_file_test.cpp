// build/release/tests/bin/e2e_abi --gtest_filter='AbiFile.*'
// The .so as a file: what it contains, what it does not, and how it comes to its place.
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <fstream>
#include <random>
#include <thread>

#include "abi_support.h"
#include "mica/artifact/elf.h"
#include "mica/codegen/link.h"

namespace mica {
namespace {

size_t count(const std::string& text, const std::string& what) {
  size_t n = 0;
  for (size_t at = text.find(what); at != std::string::npos; at = text.find(what, at + 1)) ++n;
  return n;
}

TEST(AbiFile, needs_libc_alone_and_has_nothing_dangerous) {
  const TestFolder folder;
  for (const std::string arch : {"x86_64", "aarch64"}) {
    const auto path = link(lookup_image(arch), folder / (arch + ".so"));
    const std::string text = shell("readelf -W -h -l -d -S --dyn-syms '" + path.string() + "'");
    EXPECT_EQ(count(text, "(NEEDED)"), 1U) << text;
    EXPECT_EQ(count(text, "Shared library: [libc.so.6]"), 1U);
    for (const char* bad : {"RPATH", "RUNPATH", "TEXTREL", "INIT_ARRAY", "FINI_ARRAY", "(INIT)", "(FINI)", " TLS ", "RWE", "[exit"}) {
      EXPECT_EQ(count(text, bad), 0U) << bad << "\n" << text;
    }
    EXPECT_EQ(count(text, "GNU_STACK"), 1U);
    EXPECT_NE(text.find("GNU_RELRO"), std::string::npos);
    EXPECT_NE(text.find("BIND_NOW"), std::string::npos);
    // What it exports: the query, and the query under the model's name.
    const std::string exported = shell("nm -D --defined-only '" + path.string() + "' | cut -c18-");
    EXPECT_EQ(exported, "T mica_model_query\nT mica_model_query_lookup\n");
  }
}

TEST(AbiFile, imports_only_what_is_on_the_list_and_nothing_newer_than_glibc_2_34) {
  const TestFolder folder;
  const auto path = link(lookup_image(), folder / "m.so");
  std::ifstream list(std::string(MICA_SOURCE_DIR) + "/codegen/link/libc_symbols.txt");
  std::string allowed;
  for (std::string line; std::getline(list, line);) allowed += "\n" + line;
  std::istringstream imports(shell("nm -D --undefined-only '" + path.string() + "'"));
  size_t seen = 0;
  for (std::string kind, name; imports >> kind >> name; ++seen) {
    const size_t at = name.find('@');
    ASSERT_NE(at, std::string::npos) << name << " has no version";
    EXPECT_NE(allowed.find("\n" + name.substr(0, at) + " "), std::string::npos) << name;
    const std::string version = name.substr(name.find('_', at) + 1);
    EXPECT_LE(std::stoi(version.substr(2)), 34) << name;
  }
  EXPECT_GT(seen, 10U);
}

TEST(AbiFile, equal_images_give_equal_bytes) {
  const TestFolder one, two;
  const auto a = link(lookup_image(), one / "a.so");
  std::string bytes;
  std::thread([&] { bytes = read_file(link(lookup_image(), two / "another-name.so")); }).join();
  EXPECT_EQ(read_file(a), bytes);
  EXPECT_EQ(bytes.find(one.path().string()), std::string::npos) << "a path of this machine is in the file";
}

TEST(AbiFile, links_from_many_threads) {
  const TestFolder folder;
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) threads.emplace_back([&, i] { link(lookup_image(), folder / (std::to_string(i) + ".so")); });
  for (std::thread& t : threads) t.join();
  for (int i = 1; i < 4; ++i) EXPECT_EQ(read_file(folder / "0.so"), read_file(folder / (std::to_string(i) + ".so")));
}

TEST(AbiFile, weights_stand_last_and_aligned_to_a_page) {
  const TestFolder folder;
  artifact::Image image = lookup_image();
  image.descriptor.weights_bytes = 1 << 20;
  const auto path = link(image, folder / "m.so");
  const Library library(path);
  const Session session(library.api);
  LookupCall call;
  ASSERT_EQ(call.run(library.api, session.context), MICA_OK);
  call.expect_right();
  const std::string sections = shell("readelf -W -S '" + path.string() + "' | grep -n -E '\\.lrodata|\\.text|\\.data|\\.rodata' | sort -n | tail -1");
  EXPECT_NE(sections.find(".lrodata"), std::string::npos) << sections;
  EXPECT_NE(sections.find(" 4096"), std::string::npos) << sections;
}

TEST(AbiFile, the_manifest_is_read_without_loading) {
  const TestFolder folder;
  Diagnostics diagnostics;
  const auto text = artifact::read_manifest(link(lookup_image(), folder / "m.so"), diagnostics);
  ASSERT_TRUE(text) << diagnostics.to_string();
  for (const char* part : {"\"schema\": 1", "\"name\": \"lookup\"", "\"dtype\": \"f32\"", "\"structure\": \"(y, runs)\"",
                           "\"triple\": \"x86_64-unknown-linux-gnu\"", "\"weights\": 2048", "\"hash\": \"0123\""}) {
    EXPECT_NE(text->find(part), std::string::npos) << part << " is not in\n" << *text;
  }
  EXPECT_TRUE(artifact::read_manifest(link(lookup_image("aarch64"), folder / "arm.so"), diagnostics)) << "of another machine";
}

std::string manifest_error(const std::filesystem::path& path) {
  Diagnostics diagnostics;
  EXPECT_FALSE(artifact::read_manifest(path, diagnostics));
  return diagnostics.to_string();
}

TEST(AbiFile, what_is_not_a_model_is_told_so) {
  const TestFolder folder;
  std::ofstream(folder / "empty") << "";
  std::ofstream(folder / "text") << "hello, this is no shared object, but it is long enough to hold a header of one ..........";
  EXPECT_NE(manifest_error(folder / "none").find("No such file"), std::string::npos);
  EXPECT_NE(manifest_error(folder.path()).find("Is a directory"), std::string::npos);
  EXPECT_NE(manifest_error(folder / "empty").find("[not-elf]"), std::string::npos);
  EXPECT_NE(manifest_error(folder / "text").find("is not a 64-bit shared object"), std::string::npos);
  EXPECT_NE(manifest_error("/proc/self/exe").find("is not a library that Mica compiled"), std::string::npos);
}

TEST(AbiFile, damaged_files_never_crash_the_reader) {
  const TestFolder folder;
  const std::string good = read_file(link(lookup_image(), folder / "m.so"));
  const auto path = folder / "damaged.so";
  std::mt19937 random(1);
  for (int i = 0; i < 1000; ++i) {
    std::string bad = good;
    if (i % 3 == 0) bad.resize(random() % bad.size());
    const size_t header = std::min<size_t>(bad.size(), 64);
    const size_t table = bad.size() > 2000 ? bad.size() - 2000 : 0;
    for (int k = 0; k < 1 + i % 4 && !bad.empty(); ++k) {
      const size_t at = i % 2 ? random() % std::max<size_t>(header, 1) : table + random() % (bad.size() - table);
      bad[at] = static_cast<char>(random());
    }
    std::ofstream(path, std::ios::binary) << bad;
    Diagnostics diagnostics;
    const bool read(artifact::read_manifest(path, diagnostics));
    EXPECT_NE(read, diagnostics.has_errors());
  }
}

struct Attempt {
  bool linked;
  std::string text;
};
Attempt try_link(const artifact::Image& image, const std::filesystem::path& path) {
  Diagnostics diagnostics;
  const bool linked(link_shared_object(image, path, diagnostics));
  return {linked, diagnostics.to_string()};
}

TEST(AbiFile, an_output_that_cannot_be_written_is_told_so) {
  const TestFolder folder;
  Attempt a = try_link(lookup_image(), folder / "no-such-folder/m.so");
  EXPECT_FALSE(a.linked);
  EXPECT_NE(a.text.find("cannot write to folder"), std::string::npos) << a.text;
  EXPECT_NE(a.text.find("help: make the folder first"), std::string::npos) << a.text;
  a = try_link(lookup_image(), folder.path());
  EXPECT_NE(a.text.find("is a folder [output-is-folder]"), std::string::npos) << a.text;
  a = try_link(lookup_image(), "/proc/m.so");
  EXPECT_FALSE(a.linked);
  EXPECT_NE(a.text.find("[output-folder]"), std::string::npos) << a.text;
}

/// Stands for a full disk: files may not grow past 64 KiB.
TEST(AbiFile, a_full_disk_leaves_the_old_output_and_nothing_else) {
  const TestFolder folder;
  std::ofstream(folder / "m.so") << "the old one";
  const pid_t child = fork();
  if (child == 0) {
    signal(SIGXFSZ, SIG_IGN);
    const rlimit limit = {64 << 10, 64 << 10};
    setrlimit(RLIMIT_FSIZE, &limit);
    artifact::Image image = lookup_image();
    image.descriptor.weights_bytes = 1 << 20;
    const Attempt a = try_link(image, folder / "m.so");
    _exit(a.linked ? 1 : a.text.find("cannot write") == std::string::npos ? 2 : 0);
  }
  int status = -1;
  waitpid(child, &status, 0);
  EXPECT_EQ(status, 0);
  EXPECT_EQ(read_file(folder / "m.so"), "the old one");
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder.path()), {}), 1);
}

TEST(AbiFile, a_mapped_output_is_replaced_and_not_overwritten) {
  const TestFolder folder;
  const auto path = link(lookup_image(), folder / "m.so");
  const Library library(path);
  const Session session(library.api);
  link(floats_image(), path);
  LookupCall call;
  ASSERT_EQ(call.run(library.api, session.context), MICA_OK) << "the old bytes stay mapped";
  call.expect_right();
}

TEST(AbiFile, unknown_targets_features_and_symbols_fail_by_name) {
  const TestFolder folder;
  artifact::Image image = lookup_image();
  image.descriptor.triple = "riscv64-unknown-linux-gnu";
  EXPECT_NE(try_link(image, folder / "m.so").text.find("no runtime for target 'riscv64-unknown-linux-gnu' [link-target]"), std::string::npos);
  image = lookup_image();
  image.descriptor.features = {"avx2", "avx1024"};
  EXPECT_NE(try_link(image, folder / "m.so").text.find("cannot check whether a CPU has 'avx1024' [link-feature]"), std::string::npos);
  image = lookup_image();
  image.objects.clear();  // no mica_main
  const Attempt a = try_link(image, folder / "m.so");
  EXPECT_NE(a.text.find("undefined symbol: mica_main"), std::string::npos) << a.text;
  EXPECT_TRUE(std::filesystem::is_empty(folder.path()));
  EXPECT_TRUE(try_link(lookup_image(), folder / "m.so").linked) << "the linker works after an error";
}

}  // namespace
}  // namespace mica
