#include "mica/target/target.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace mica {
namespace {

Target made(const std::string& name, const std::string& features = "") {
  Diagnostics diagnostics;
  auto target = make_target(name, features, diagnostics);
  EXPECT_TRUE(target) << diagnostics.to_string();
  return target ? *target : Target{};
}

std::string refused(const std::string& name, const std::string& features = "") {
  Diagnostics diagnostics;
  EXPECT_FALSE(make_target(name, features, diagnostics));
  return diagnostics.to_string();
}

TEST(Target, levels) {
  EXPECT_EQ(made("x86-64-v2").vector_bits, 128);
  EXPECT_EQ(made("x86-64-v3").vector_bits, 256);
  EXPECT_EQ(made("x86-64-v4").vector_bits, 512);
  EXPECT_EQ(made("x86-64-v4").vector_registers, 32);
  EXPECT_FALSE(made("x86-64-v2").fma);
  EXPECT_TRUE(made("x86-64-v3").fma);
  EXPECT_EQ(made("x86-64-v4").lanes(4), 16);
}

TEST(Target, cpus_by_name) {
  const Target zen4 = made("znver4");
  EXPECT_EQ(zen4.cpu, "znver4");
  EXPECT_TRUE(zen4.dot_bf16);
  EXPECT_TRUE(zen4.dot_i8);
  const Target alder = made("alderlake");
  EXPECT_EQ(alder.vector_bits, 256);
  EXPECT_TRUE(alder.dot_i8);
  const Target n1 = made("neoverse-n1");
  EXPECT_EQ(n1.triple, "aarch64-unknown-linux-gnu");
  EXPECT_EQ(n1.vector_registers, 32);
  EXPECT_TRUE(made("neoverse-v1").dot_bf16);
  EXPECT_EQ(made("aarch64").cpu, "generic");
}

TEST(Target, matrix_registers) {
  const Target rapids = made("sapphirerapids");
  EXPECT_EQ(rapids.tiles.registers, 8);
  EXPECT_TRUE(rapids.tiles.dot_bf16);
  EXPECT_TRUE(made("x86-64-v4", "+amx-bf16").has("amx-tile"));
  EXPECT_FALSE(made("sapphirerapids", "-amx-tile").has("amx-bf16"));
  EXPECT_FALSE(made("sapphirerapids", "-amx-tile").tiles.dot_bf16);
  EXPECT_EQ(made("znver5").tiles.registers, 0);
  Target without = rapids;
  without.drop_tiles();
  EXPECT_FALSE(without.has("amx-tile"));
  EXPECT_TRUE(without.has("avx512bf16"));
}

TEST(Target, every_known_cpu_is_made_with_sorted_features) {
  for (const std::string& name : known_cpus()) {
    const Target t = made(name);
    EXPECT_TRUE(std::is_sorted(t.features.begin(), t.features.end())) << name;
    EXPECT_FALSE(t.cpu.empty()) << name;
  }
}

TEST(Target, features_added_bring_what_they_need_and_removed_take_what_needs_them) {
  const Target more = made("x86-64-v2", "+avx512vl,+avx512bw,+avx512dq");
  EXPECT_TRUE(more.has("avx2"));
  EXPECT_TRUE(more.fma);
  EXPECT_EQ(more.vector_bits, 512);
  const Target less = made("x86-64-v4", "-avx512f");
  EXPECT_FALSE(less.has("avx512bw"));
  EXPECT_TRUE(less.has("avx2"));
  EXPECT_EQ(less.vector_bits, 256);
  EXPECT_EQ(made("x86-64-v3", "-fma").vector_bits, 128);
}

TEST(Target, unknown_names_are_errors_that_help) {
  EXPECT_NE(refused("znver44").find("did you mean znver4"), std::string::npos);
  EXPECT_NE(refused("znver44").find("[unknown-cpu]"), std::string::npos);
  EXPECT_NE(refused("").find("[unknown-cpu]"), std::string::npos);
  EXPECT_NE(refused("native", "+avx513f").find("did you mean avx512f"), std::string::npos);
  EXPECT_NE(refused("native", "avx2").find("write +avx2 or -avx2"), std::string::npos);
  EXPECT_NE(refused("x86-64-v2", "-sse4.1").find("[cpu-too-old]"), std::string::npos);
}

}  // namespace
}  // namespace mica
