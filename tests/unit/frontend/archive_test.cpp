// build/release/tests/bin/unit_frontend --gtest_filter='Archive.*'
// Files that are not TorchScript: each gets an error that says what it is and what to write instead.
#include <gtest/gtest.h>
#include <zlib.h>

#include <cstring>
#include <fstream>

#include "mica/frontend/script.h"

namespace mica {
namespace {

namespace fs = std::filesystem;

fs::path scratch() {
  return fs::path(testing::TempDir()) / (std::string("mica_archive_") + testing::UnitTest::GetInstance()->current_test_info()->name() + ".pt");
}

fs::path write(const std::string& bytes) {
  std::ofstream(scratch(), std::ios::binary) << bytes;
  return scratch();
}

/// A zip of stored records.
std::string zip(const std::vector<std::pair<std::string, std::string>>& records) {
  std::string out, directory;
  const auto put = [](std::string& to, uint64_t v, int bytes) { to.append(reinterpret_cast<const char*>(&v), bytes); };
  for (const auto& [name, data] : records) {
    const uint64_t at = out.size(), crc = crc32(0, reinterpret_cast<const Bytef*>(data.data()), static_cast<uInt>(data.size()));
    out += "PK\3\4";
    put(out, 20, 2), put(out, 0, 2), put(out, 0, 2), put(out, 0, 4), put(out, crc, 4), put(out, data.size(), 4), put(out, data.size(), 4),
        put(out, name.size(), 2), put(out, 0, 2);
    out += name + data;
    directory += "PK\1\2";
    put(directory, 20, 2), put(directory, 20, 2), put(directory, 0, 2), put(directory, 0, 2), put(directory, 0, 4), put(directory, crc, 4),
        put(directory, data.size(), 4), put(directory, data.size(), 4);
    put(directory, name.size(), 2), put(directory, 0, 2), put(directory, 0, 2), put(directory, 0, 2), put(directory, 0, 2), put(directory, 0, 4),
        put(directory, at, 4);
    directory += name;
  }
  const uint64_t start = out.size();
  out += directory + "PK\5\6";
  put(out, 0, 4), put(out, records.size(), 2), put(out, records.size(), 2), put(out, directory.size(), 4), put(out, start, 4), put(out, 0, 2);
  return out;
}

Diagnostic error_of(const fs::path& file, int exit_code = 1) {
  Diagnostics d;
  EXPECT_FALSE(load_torchscript(file, {}, d));
  EXPECT_EQ(d.error_count(), 1u) << d.to_string();
  EXPECT_EQ(d.exit_code(), exit_code) << d.to_string();
  if (d.all().empty()) return {};
  EXPECT_FALSE(d.all()[0].helps.empty());
  std::error_code ignored;
  fs::remove(scratch(), ignored);
  return d.all()[0];
}

bool helps_to_trace(const Diagnostic& d) {
  for (const std::string& h : d.helps) {
    if (h.find("torch.jit.trace(model.eval(), example).save(") != std::string::npos) return true;
  }
  return false;
}

std::string script_bytes() {
  Diagnostics d;
  EXPECT_TRUE(write_script(scratch(),
                           {.source = "def forward(self, x):\n  return x + self.w\n",
                            .parameters = {{"w", {{DType::f32, Shape{2}, {}}, std::vector<std::byte>(8)}}},
                            .children = {}},
                           {}, d))
      << d.to_string();
  std::ifstream in(scratch(), std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

TEST(Archive, NoFile) { EXPECT_EQ(error_of("no/such/file.pt").name, "no-such-file"); }
TEST(Archive, Directory) { EXPECT_EQ(error_of(testing::TempDir()).name, "is-a-directory"); }
TEST(Archive, NotAFile) { EXPECT_EQ(error_of("/dev/null").name, "not-a-file"); }
TEST(Archive, Empty) { EXPECT_EQ(error_of(write("")).name, "empty-file"); }
TEST(Archive, Text) { EXPECT_EQ(error_of(write("hello, this is not a model")).name, "not-torchscript"); }
TEST(Archive, Truncated) {
  const std::string bytes = script_bytes();
  for (const size_t part : {4u, 100u, 1000u}) EXPECT_EQ(error_of(write(bytes.substr(0, part))).name, "damaged-archive") << part;
  EXPECT_EQ(error_of(write(bytes.substr(0, bytes.size() - 1))).name, "damaged-archive");
}
TEST(Archive, FlippedByte) {
  std::string bytes = zip({{"m/data/0", "0123456789"}, {"m/constants.pkl", "x"}, {"m/code/a.py", "x"}});
  bytes[bytes.find("345")] ^= 1;
  EXPECT_EQ(error_of(write(bytes)).name, "damaged-archive");
}
TEST(Archive, StateDict) {
  const Diagnostic d = error_of(write(zip({{"m/data.pkl",
                                            "\x80\x02"
                                            "ccollections\nOrderedDict\nq\x01)Rq\x02."},
                                           {"m/version", "3\n"}})));
  EXPECT_EQ(d.name, "state-dict");
  EXPECT_TRUE(helps_to_trace(d));
}
TEST(Archive, WholeModule) {
  const Diagnostic d = error_of(write(zip({{"m/data.pkl",
                                            "\x80\x02"
                                            "cmodels.net\nNet\nq\x01)\x81."},
                                           {"m/version", "3\n"}})));
  EXPECT_EQ(d.name, "pickled-module");
  EXPECT_NE(d.message.find("models.net.Net"), std::string::npos);
  EXPECT_TRUE(helps_to_trace(d));
}
TEST(Archive, LegacyPickle) {
  const Diagnostic d =
      error_of(write(std::string("\x80\x02\x8a\x0al\xfc\x9c\x46\xf9 j\xa8P\x19.\x80\x02M\xe9\x03.\x80\x02}q\0(X\x10\0\0\0protocol", 45)));
  EXPECT_EQ(d.name, "state-dict");
}
TEST(Archive, ExportedProgram) {
  const Diagnostic d = error_of(write(zip({{"m/models/model.json", "{}"}, {"m/archive_format", "pt2"}})), 3);
  EXPECT_EQ(d.name, "exported-program");
  EXPECT_TRUE(helps_to_trace(d));
}
TEST(Archive, OtherZip) { EXPECT_EQ(error_of(write(zip({{"a.txt", "hello"}}))).name, "not-torchscript"); }
TEST(Archive, HostileNames) {
  EXPECT_EQ(error_of(write(zip({{"m/../../etc/passwd", "x"}}))).name, "damaged-archive");
  EXPECT_EQ(error_of(write(zip({{"m/a", "x"}, {"m/a", "y"}}))).name, "damaged-archive");
}
TEST(Archive, StorageLongerThanItsRecord) {
  std::string bytes("\x80\x02(X\x07\0\0\0storage", 15);
  bytes += "ctorch\nFloatStorage\n";
  bytes += std::string(
      "X\x01\0\0\0"
      "0X\x03\0\0\0"
      "cpuK\x09tQ.",
      19);
  const Diagnostic d = error_of(write(zip({{"m/constants.pkl", "\x80\x02)."},
                                           {"m/code/__torch__.py", "x"},
                                           {"m/data.pkl", bytes},
                                           {"m/data/0", std::string(35, 'x')},
                                           {"m/version", "3\n"}})));
  EXPECT_EQ(d.name, "damaged-archive");
  EXPECT_NE(d.message.find("has 35 bytes where the model reads 36"), std::string::npos) << d.message;
}
TEST(Archive, CodeThatRunsWhileLoading) {
  const Diagnostic d = error_of(write(zip({{"m/constants.pkl", "\x80\x02)."},
                                           {"m/code/__torch__.py", "class A(Module):\n  def __setstate__(self, s):\n    pass\n"},
                                           {"m/data.pkl", "\x80\x02N."},
                                           {"m/version", "3\n"}})),
                                3);
  EXPECT_EQ(d.name, "setstate");
}
TEST(Archive, UnknownOpcode) {
  const Diagnostic d = error_of(
      write(zip({{"m/constants.pkl", "\x80\x02)."}, {"m/code/__torch__.py", "x"}, {"m/data.pkl", "\x80\x02ios\nsystem\n."}, {"m/version", "3\n"}})));
  EXPECT_EQ(d.name, "damaged-archive");
}
TEST(Archive, NotReallyTorchScript) {
  const Diagnostic d =
      error_of(write(zip({{"m/constants.pkl", "\x80\x02)."}, {"m/code/__torch__.py", "x"}, {"m/data.pkl", "\x80\x02N."}, {"m/version", "3\n"}})));
  EXPECT_EQ(d.name, "load-failed");
}

}  // namespace
}  // namespace mica
