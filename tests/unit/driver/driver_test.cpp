// Run alone: ctest --preset release -R unit_driver
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <filesystem>
#include <fstream>

#include "mica/driver/bench.h"
#include "mica/driver/draw_inputs.h"
#include "mica/driver/file.h"
#include "mica/driver/numerics.h"
#include "mica/driver/tensor_file.h"
#include "mica/ir/text.h"

namespace mica {
namespace {

namespace fs = std::filesystem;

struct Folder {
  fs::path path = fs::temp_directory_path() / fmt::format("mica-driver-test-{}", ::getpid());
  Folder() { fs::create_directories(path); }
  ~Folder() { fs::remove_all(path); }
};

RawTensor tensor_of(DType dtype, Shape shape, const std::vector<double>& values) {
  RawTensor t{{DType::f64, shape, {}}, {}};
  const auto bytes = std::as_bytes(std::span(values));
  t.bytes.assign(bytes.begin(), bytes.end());
  return convert(t, dtype);
}

TEST(TensorFile, EveryDtypeComesBack) {
  const Folder folder;
  Diagnostics d;
  for (const DType dtype : {DType::f64, DType::f32, DType::f16, DType::i64, DType::i32, DType::i16, DType::i8, DType::u8, DType::b8}) {
    const RawTensor t = tensor_of(dtype, {2, 3}, {0, 1, 1, 0, 1, 1});
    ASSERT_TRUE(write_npy(folder.path / "t.npy", t, d));
    const auto back = read_npy(folder.path / "t.npy", d);
    ASSERT_TRUE(back) << d.to_string();
    EXPECT_EQ(back->type, t.type);
    EXPECT_EQ(back->bytes, t.bytes) << name_of(dtype);
  }
}

TEST(TensorFile, RanksZeroAndEmpty) {
  const Folder folder;
  Diagnostics d;
  for (const Shape& shape : {Shape{}, Shape{0}, Shape{3}, Shape{2, 0, 5}}) {
    const RawTensor t = tensor_of(DType::f32, shape, std::vector<double>(static_cast<size_t>(shape.elements()), 2.5));
    ASSERT_TRUE(write_npz(folder.path / "t.npz", std::vector<NamedTensor>{{"a.b", t}, {"c", t}}, d));
    const auto back = read_npz(folder.path / "t.npz", d);
    ASSERT_TRUE(back) << d.to_string();
    ASSERT_EQ(back->size(), 2u);
    EXPECT_EQ((*back)[0].name, "a.b");
    EXPECT_EQ((*back)[1].tensor.type.shape, shape);
    EXPECT_EQ((*back)[1].tensor.bytes, t.bytes);
  }
}

TEST(TensorFile, EveryCutIsAnErrorAndNoCrash) {
  const Folder folder;
  Diagnostics d;
  const RawTensor t = tensor_of(DType::f32, {2, 3}, {1, 2, 3, 4, 5, 6});
  for (const char* name : {"t.npy", "t.npz"}) {
    const fs::path file = folder.path / name;
    const bool archive = file.extension() == ".npz";
    ASSERT_TRUE(archive ? write_npz(file, std::vector<NamedTensor>{{"a", t}}, d) : write_npy(file, t, d));
    const auto whole = read_file(file, d);
    ASSERT_TRUE(whole);
    for (size_t n = 1; n < whole->size(); n += 3) {
      std::ofstream(file, std::ios::binary) << whole->substr(0, n);
      Diagnostics quiet;
      EXPECT_FALSE(archive ? static_cast<bool>(read_npz(file, quiet)) : static_cast<bool>(read_npy(file, quiet))) << name << " cut at " << n;
      EXPECT_TRUE(quiet.has_errors());
    }
  }
}

TEST(Numerics, PassesWithinTheRuleAndFailsBeyond) {
  std::vector<double> exact(1000), eager, good, bad;
  for (size_t i = 0; i < exact.size(); ++i) exact[i] = std::sin(static_cast<double>(i));
  for (double x : exact) eager.push_back(x + 1e-5), good.push_back(x - 1.9e-5), bad.push_back(x + 2.2e-5);
  const Shape shape{10, 100};
  const RawTensor truth = tensor_of(DType::f64, shape, exact), yardstick = tensor_of(DType::f32, shape, eager);
  EXPECT_TRUE(judge_output("y", tensor_of(DType::f32, shape, good), yardstick, truth, false).pass);
  const OutputVerdict wrong = judge_output("y", tensor_of(DType::f32, shape, bad), yardstick, truth, false);
  EXPECT_FALSE(wrong.pass);
  EXPECT_EQ(wrong.factor, 2);
  EXPECT_TRUE(judge_output("y", tensor_of(DType::f32, shape, bad), yardstick, truth, true).pass);  // Winograd: k = 8
}

TEST(Numerics, ALowerPrecisionIsHeldToItsOwnUnit) {
  std::vector<double> exact(1000), eager, good, bad;
  for (size_t i = 0; i < exact.size(); ++i) exact[i] = std::sin(static_cast<double>(i));
  const double unit = unit_roundoff(DType::bf16);
  for (double x : exact) eager.push_back(x + unit), good.push_back(x - 5 * unit), bad.push_back(x + 8 * unit);
  const Shape shape{10, 100};
  const RawTensor truth = tensor_of(DType::f64, shape, exact), yardstick = convert(tensor_of(DType::f32, shape, eager), DType::bf16);
  const std::optional<Precision> precision = find_precision("bf16");
  EXPECT_TRUE(judge_output("y", tensor_of(DType::f32, shape, good), yardstick, truth, false, precision).pass);
  EXPECT_FALSE(judge_output("y", tensor_of(DType::f32, shape, bad), yardstick, truth, false, precision).pass);
  EXPECT_FALSE(judge_output("y", tensor_of(DType::f32, shape, good), yardstick, truth, false).pass);
}

TEST(Numerics, NanAndInfinityStandWhereTheyShould) {
  const Shape shape{3};
  const RawTensor truth = tensor_of(DType::f64, shape, {NAN, INFINITY, 1}), same = tensor_of(DType::f32, shape, {NAN, INFINITY, 1});
  EXPECT_TRUE(judge_output("y", same, same, truth, false).pass);
  EXPECT_FALSE(judge_output("y", tensor_of(DType::f32, shape, {NAN, -INFINITY, 1}), same, truth, false).pass);
  EXPECT_FALSE(judge_output("y", tensor_of(DType::f32, shape, {NAN, INFINITY, NAN}), same, truth, false).pass);
  EXPECT_FALSE(judge_output("y", tensor_of(DType::f32, shape, {0, INFINITY, 1}), same, truth, false).pass);
}

TEST(Numerics, IntegersAreExact) {
  const RawTensor a = tensor_of(DType::i64, {3}, {1, 2, 3}), b = tensor_of(DType::i64, {3}, {1, 2, 4});
  EXPECT_TRUE(judge_output("y", a, a, a, false).pass);
  EXPECT_EQ(judge_output("y", b, a, a, false).wrong, 1);
  EXPECT_FALSE(judge_output("y", b, a, a, false).pass);
}

TEST(DrawInputs, IndicesStayInsideTheRowsThatTheySelect) {
  Diagnostics d;
  const auto graph = parse_graph(R"(
graph(%ids: i64[2, 40], %position: i64[1, 6], %mask: i64[2, 4], %flag: bool[4], %x: f32[4]) {
  %table = constant random<1> : f32[10, 8]
  %two = constant dense<2> : i64[]
  %flat = reshape(%ids, shape=[80])
  %a = embedding(%table, %flat)
  %shifted = add(%position, %two)
  %b = index_select(%a, %b_index, axis=1)
  return %a
}
)",
                                 "test", d);
  (void)graph;  // names an undefined value: a reported error, no crash
  EXPECT_TRUE(d.has_errors());
  d.clear();
  const auto good = parse_graph(R"(
graph(%ids: i64[2, 40], %position: i64[6], %mask: i64[2, 4], %flag: bool[4], %x: f32[4]) {
  %table = constant random<1> : f32[10, 8]
  %two = constant dense<2> : i64[]
  %flat = reshape(%ids, shape=[80])
  %a = embedding(%table, %flat)
  %shifted = add(%position, %two)
  %b = index_select(%a, axis=1, index=%shifted)
  %m = cast(%mask, dtype=f32)
  return %b, %m, %flag, %x
}
)",
                                "test", d);
  ASSERT_TRUE(good) << d.to_string();
  const auto draws = find_input_draws(*good);
  ASSERT_EQ(draws.size(), 5u);
  EXPECT_EQ(to_string(draws[0]), "index 0..10");
  EXPECT_EQ(to_string(draws[1]), "index 0..6");  // 8 columns, shifted by 2; -2 is not asked for
  EXPECT_EQ(to_string(draws[2]), "mask");
  EXPECT_EQ(to_string(draws[3]), "mask");
  EXPECT_EQ(to_string(draws[4]), "normal");
  for (const InputDraw& draw : draws) EXPECT_EQ(parse_input_draw(to_string(draw)), draw);

  const RawTensor ids = draw_input({DType::i64, {2, 40}, {}}, draws[0], 7, 0);
  const auto* values = reinterpret_cast<const int64_t*>(ids.bytes.data());
  for (int i = 0; i < 80; ++i) EXPECT_TRUE(values[i] >= 0 && values[i] < 10);
  EXPECT_EQ(ids.bytes, draw_input({DType::i64, {2, 40}, {}}, draws[0], 7, 0).bytes);
  EXPECT_NE(ids.bytes, draw_input({DType::i64, {2, 40}, {}}, draws[0], 8, 0).bytes);
}

TEST(DrawInputs, NormalNumbers) {
  const RawTensor x = draw_input({DType::f64, {10000}, {}}, {}, 0, 0);
  const auto* v = reinterpret_cast<const double*>(x.bytes.data());
  double sum = 0, square = 0;
  for (int i = 0; i < 10000; ++i) sum += v[i], square += v[i] * v[i];
  EXPECT_NEAR(sum / 10000, 0, 0.05);
  EXPECT_NEAR(square / 10000, 1, 0.05);
}

TEST(PendingFile, TheOldFileStaysUntilTheNewOneIsWhole) {
  const Folder folder;
  Diagnostics d;
  const fs::path file = folder.path / "out";
  std::ofstream(file) << "old";
  {
    auto pending = PendingFile::create(file, d);
    ASSERT_TRUE(pending);
    ASSERT_TRUE(pending->write("new", d));
    EXPECT_EQ(*read_file(file, d), "old");
  }
  EXPECT_EQ(*read_file(file, d), "old");
  auto pending = PendingFile::create(file, d);
  ASSERT_TRUE(pending && pending->write("new", d) && pending->commit(d));
  EXPECT_EQ(*read_file(file, d), "new");
  EXPECT_EQ(std::distance(fs::directory_iterator(folder.path), fs::directory_iterator()), 1);
}

TEST(Spelling, NearAndFar) {
  const std::vector<std::string> known = {"--output", "--input", "--threads"};
  EXPECT_EQ(nearest_spelling("--ouput", known), "--output");
  EXPECT_EQ(nearest_spelling("--ipnut", known), "--input");
  EXPECT_EQ(nearest_spelling("--thread", known), "--threads");
  EXPECT_EQ(nearest_spelling("--seed", known), "");
}

TEST(Bench, Quantiles) {
  EXPECT_EQ(quantile({3, 1, 2}, 0.5), 2);
  EXPECT_EQ(quantile({1, 2}, 0.5), 1.5);
  EXPECT_EQ(quantile({4, 1}, 0), 1);
  EXPECT_EQ(quantile({}, 0.5), 0);
}

}  // namespace
}  // namespace mica
