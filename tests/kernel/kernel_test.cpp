// Text, verifier and interpreter of kernels.
#include <gtest/gtest.h>

#include <cmath>

#include "mica/kernel/interpret.h"
#include "mica/kernel/text.h"
#include "mica/kernel/verify.h"
#include "mica/support/narrow_float.h"

namespace mica {
namespace {

constexpr const char* relu = R"(kernel relu(%0 x: f32[40] read align 64, %1 y: f32[40] write align 64) tasks t.1 in [0, 2) {
  local %2 acc: f32x8[2] registers align 64
  for i.2 in [0, 2) step 1 unrolled {
    %2[i.2] = max(load<f32x8>(%0, ramp(((t.1 * 20) + (i.2 * 8)), 1, 8)), broadcast(0:f32, 8))
  }
  for i.3 in [0, 2) step 1 {
    %1[ramp(((t.1 * 20) + (i.3 * 8)), 1, 8)] = load<f32x8>(%2, i.3)
  }
  for i.4 in [16, 20) step 1 {
    prefetch %0[(i.4 + 64)]
    let v.5 = load<f32>(%0, ((t.1 * 20) + i.4))
    if (v.5 > 0:f32) {
      %1[((t.1 * 20) + i.4)] = v.5
    } else {
      %1[((t.1 * 20) + i.4)] = 0:f32
    }
    check (v.5 < inf:f32) else fault 3 code 2 of i.4
  }
}
)";

/// Text with the numbers of variables taken out: they are new in every process.
std::string without_numbers(const std::string& text) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '.' && i && std::isalpha(static_cast<unsigned char>(text[i - 1]))) {
      while (i + 1 < text.size() && std::isdigit(static_cast<unsigned char>(text[i + 1]))) ++i;
    } else {
      out += text[i];
    }
  }
  return out;
}

Kernel parsed(std::string_view text) {
  Diagnostics diagnostics;
  auto k = parse_kernel(text, diagnostics);
  EXPECT_TRUE(k) << diagnostics.to_string();
  return k ? *k : Kernel{};
}

TEST(KernelText, comes_back_as_it_was) { EXPECT_EQ(without_numbers(to_string(parsed(relu))), without_numbers(relu)); }

TEST(KernelText, errors_name_the_line) {
  Diagnostics diagnostics;
  EXPECT_FALSE(parse_kernel("kernel k(%0 x: f32[4] write align 64) tasks t.1 in [0, 1) {\n  %0[0] = wobble(1:f32)\n}\n", diagnostics));
  ASSERT_EQ(diagnostics.error_count(), 1u);
  EXPECT_EQ(diagnostics.all()[0].name, "kernel-syntax");
  EXPECT_EQ(diagnostics.all()[0].location.line, 2);
  EXPECT_NE(diagnostics.all()[0].message.find("wobble"), std::string::npos);
}

TEST(KernelText, nothing_damaged_crashes) {
  const std::string text = relu;
  for (size_t cut = 0; cut < text.size(); ++cut) {
    Diagnostics diagnostics;
    (void)parse_kernel(text.substr(0, cut), diagnostics);
    std::string changed = text;
    changed[cut] = ')';
    (void)parse_kernel(changed, diagnostics);
  }
}

TEST(KernelText, program) {
  const std::string text =
      "program arena 256 weights 64\nweight +0 64 bytes \"w\"\nfault 0 \"index\"\n\n"
      "kernel k(%0 x: f32[4] read align 64, %1 y: f32[4] write align 64) tasks t in [0, 1) {\n  %1[t] = load<f32>(%0, t)\n}\n\n"
      "k(weights+0, arena+128)  // copies\nbarrier; k(arena+128, io1)  // layer\n";
  Diagnostics diagnostics;
  const auto p = parse_program(text, diagnostics);
  ASSERT_TRUE(p) << diagnostics.to_string();
  EXPECT_EQ(without_numbers(to_string(*p)), text);
  EXPECT_TRUE(verify_program(*p, diagnostics)) << diagnostics.to_string();
}

/// A program whose load step scales weights, then a run that reads them.
std::string prepared_program(std::string_view load, std::string_view run) {
  return "program arena 64 weights 16 prepared 16\n\n"
         "kernel k(%0 x: f32[4] read align 64, %1 y: f32[4] write align 64) tasks t in [0, 4) {\n  %1[t] = (load<f32>(%0, t) * 3:f32)\n}\n\n"
         "load {\n  " +
         std::string(load) + "  // scale\n}\n" + std::string(run) + "  // layer\n";
}

TEST(KernelText, load_steps) {
  const std::string text = prepared_program("k(weights+0, prepared+0)", "k(prepared+0, io0)");
  Diagnostics diagnostics;
  auto p = parse_program(text, diagnostics);
  ASSERT_TRUE(p) << diagnostics.to_string();
  EXPECT_EQ(without_numbers(to_string(*p)), text);
  EXPECT_TRUE(verify_program(*p, diagnostics)) << diagnostics.to_string();
  const float weights[4] = {1, 2, 3, 4};
  p->weights.push_back({0, 16, {}, reinterpret_cast<const std::byte*>(weights), "w"});
  float out[4] = {};
  KernelFault fault;
  ASSERT_TRUE(interpret(*p, {reinterpret_cast<std::byte*>(out)}, fault, diagnostics)) << diagnostics.to_string();
  EXPECT_EQ(std::vector<float>(out, out + 4), (std::vector<float>{9, 18, 27, 36}));
}

TEST(KernelVerify, load_steps) {
  const auto errors = [](std::string_view load, std::string_view run) {
    Diagnostics diagnostics;
    const auto p = parse_program(prepared_program(load, run), diagnostics);
    if (p) (void)verify_program(*p, diagnostics);
    return diagnostics.to_string();
  };
  EXPECT_NE(errors("k(weights+0, prepared+0)", "k(io0, prepared+0)").find("k writes to what is prepared"), std::string::npos);
  EXPECT_NE(errors("k(weights+0, arena+0)", "k(prepared+0, io0)").find("where there are weights alone"), std::string::npos);
  EXPECT_NE(errors("k(weights+0, prepared+4)", "k(prepared+0, io0)").find("ends at byte 20 of what is prepared's 16"), std::string::npos);
}

std::string verify_errors(std::string_view text) {
  Diagnostics diagnostics;
  (void)verify_kernel(parsed(text), diagnostics);
  return diagnostics.to_string();
}

TEST(KernelVerify, accepts_what_is_right) { EXPECT_EQ(verify_errors(relu), ""); }

TEST(KernelVerify, index_outside_the_buffer) {
  const std::string errors =
      verify_errors("kernel k(%0 x: f32[15] write align 64) tasks t.1 in [0, 2) {\n  %0[ramp((t.1 * 8), 1, 8)] = broadcast(0:f32, 8)\n}\n");
  EXPECT_NE(errors.find("runs from 0 to 15, outside its 15 elements"), std::string::npos) << errors;
}

TEST(KernelVerify, last_trip_of_a_strided_loop_counts) {
  EXPECT_EQ(
      verify_errors("kernel k(%0 x: f32[8] write align 64) tasks t.1 in [0, 1) {\n  for i.2 in [0, 7) step 2 {\n    %0[(i.2 + 1)] = 0:f32\n  }\n}\n"),
      "");
}

TEST(KernelVerify, guarded_accesses_are_not_judged) {
  EXPECT_EQ(verify_errors("kernel k(%0 x: f32[8] write align 64) tasks t.1 in [0, 9) {\n  if (t.1 < 8) {\n    %0[t.1] = 0:f32\n  }\n}\n"), "");
}

TEST(KernelVerify, store_to_a_buffer_that_is_read_only) {
  const std::string errors = verify_errors("kernel k(%0 x: f32[8] read align 64) tasks t.1 in [0, 1) {\n  %0[0] = 0:f32\n}\n");
  EXPECT_NE(errors.find("not declared as written"), std::string::npos) << errors;
}

/// A hint may lie outside of the buffer (relu above asks beyond its end), but it is one element's place.
TEST(KernelVerify, prefetch) {
  const std::string errors =
      verify_errors("kernel k(%0 x: f32[8] read align 64) tasks t.1 in [0, 1) {\n  prefetch %0[ramp(0, 1, 8)]\n  prefetch %0[800]\n}\n");
  EXPECT_NE(errors.find("not one element of a buffer"), std::string::npos) << errors;
  EXPECT_EQ(errors.find("800"), std::string::npos) << errors;
}

TEST(KernelVerify, types) {
  const std::string errors =
      verify_errors("kernel k(%0 x: f32[8] write align 64, %1 y: i32[8] read align 64) tasks t.1 in [0, 1) {\n  %0[0] = load<f32>(%1, 0)\n}\n");
  EXPECT_NE(errors.find("load of f32 from y, which holds i32"), std::string::npos) << errors;
}

TEST(KernelInterpret, runs_relu) {
  std::vector<float> x(40), y(40, -1);
  for (size_t i = 0; i < 40; ++i) x[i] = static_cast<float>(i) - 20;
  x[37] = INFINITY;
  KernelFault fault;
  Diagnostics diagnostics;
  ASSERT_TRUE(interpret(parsed(relu), {reinterpret_cast<std::byte*>(x.data()), reinterpret_cast<std::byte*>(y.data())}, 0, 2, fault, diagnostics));
  for (size_t i = 0; i < 40; ++i) EXPECT_EQ(y[i], std::max(x[i], 0.0f)) << i;
  EXPECT_EQ(fault.site, 3);
  EXPECT_EQ(fault.value, 17);
}

constexpr const char* pairs =
    R"(kernel pairs(%0 a: bf16[2] read align 64, %1 b: bf16[8] read align 64, %2 y: f32[4] write align 64) tasks t.1 in [0, 1) {
  %2[ramp(0, 1, 4)] = dot2(bitcast<bf16x8>(broadcast(bitcast<i32>(load<bf16x2>(%0, ramp(0, 1, 2))), 4)), load<bf16x8>(%1, ramp(0, 1, 8)), broadcast(0.5:f32, 4))
}
)";

TEST(KernelInterpret, products_of_pairs) {
  EXPECT_EQ(without_numbers(to_string(parsed(pairs))), without_numbers(pairs));
  EXPECT_EQ(verify_errors(pairs), "");
  std::vector<uint16_t> a = {to_bf16(3), to_bf16(-2)}, b;
  for (int i = 0; i < 8; ++i) b.push_back(to_bf16(i + 1));
  std::vector<float> y(4);
  KernelFault fault;
  Diagnostics diagnostics;
  const std::vector<std::byte*> buffers = {reinterpret_cast<std::byte*>(a.data()), reinterpret_cast<std::byte*>(b.data()),
                                           reinterpret_cast<std::byte*>(y.data())};
  ASSERT_TRUE(interpret(parsed(pairs), buffers, 0, 1, fault, diagnostics)) << diagnostics.to_string();
  for (int i = 0; i < 4; ++i) EXPECT_EQ(y[i], 0.5f + 3 * (2 * i + 1) - 2 * (2 * i + 2)) << i;
}

constexpr const char* tiles =
    R"(kernel tiles(%0 a: bf16[14] read align 64, %1 b: bf16[16] read align 64, %2 y: f32[6] write align 64) tasks t.1 in [0, 1) {
  local tile 0 has 3 rows of 8 bytes
  local tile 1 has 3 rows of 8 bytes
  local tile 2 has 2 rows of 8 bytes
  tile 0 = 0
  for k.2 in [0, 2) step 1 {
    tile 1 = load %0[0] rows 5
    tile 2 = load %1[(k.2 * 8)] rows 4
    tile 0 += dot2(1, 2)
  }
  tile 0 store %2[0] rows 2
}
)";

TEST(KernelInterpret, products_of_tiles) {
  EXPECT_EQ(without_numbers(to_string(parsed(tiles))), without_numbers(tiles));
  EXPECT_EQ(verify_errors(tiles), "");
  std::vector<uint16_t> a, b;
  for (int i = 0; i < 14; ++i) a.push_back(to_bf16(i));
  for (int i = 0; i < 16; ++i) b.push_back(to_bf16(i - 5));
  std::vector<float> y(6);
  KernelFault fault;
  Diagnostics diagnostics;
  const auto bytes = [](auto& v) { return reinterpret_cast<std::byte*>(v.data()); };
  ASSERT_TRUE(interpret(parsed(tiles), {bytes(a), bytes(b), bytes(y)}, 0, 1, fault, diagnostics)) << diagnostics.to_string();
  for (int m = 0; m < 3; ++m) {
    for (int n = 0; n < 2; ++n) {
      int sum = 0;
      for (int step = 0; step < 2; ++step) {
        for (int k = 0; k < 4; ++k) sum += (5 * m + k) * (8 * step + k / 2 * 4 + 2 * n + k % 2 - 5);
      }
      EXPECT_EQ(y[static_cast<size_t>(2 * m + n)], static_cast<float>(sum)) << m << ", " << n;
    }
  }
}

TEST(KernelVerify, tiles) {
  const auto changed = [](std::string_view from, std::string_view to) {
    std::string text = tiles;
    text.replace(text.find(from), from.size(), to);
    return verify_errors(text);
  };
  EXPECT_NE(changed("bf16[14]", "bf16[13]").find("outside its 13 elements"), std::string::npos);
  EXPECT_NE(changed("f32[6]", "f32[5]").find("outside its 5 elements"), std::string::npos);
  EXPECT_NE(changed("tile 2 has 2 rows", "tile 2 has 1 rows").find("shapes of tile 0 += dot2(1, 2)"), std::string::npos);
  EXPECT_NE(changed("y: f32[6] write", "y: f32[6] read").find("not declared as written"), std::string::npos);
  EXPECT_NE(changed("a: bf16", "a: f16").find("tile 1 holds bf16, a does not"), std::string::npos);
  EXPECT_NE(changed("3 rows of 8 bytes", "3 rows of 6 bytes").find("a tile of 3 rows of 6 bytes"), std::string::npos);
  Diagnostics diagnostics;
  std::string text = tiles;
  text.replace(text.find("dot2(1, 2)"), 10, "dot2(1, 3)");
  EXPECT_FALSE(parse_kernel(text, diagnostics));
  EXPECT_NE(diagnostics.to_string().find("there is no tile 3"), std::string::npos);
}

TEST(KernelInterpret, reports_an_access_outside) {
  const Kernel k = parsed("kernel k(%0 x: f32[4] write align 64) tasks t.1 in [0, 9) {\n  %0[t.1] = 0:f32\n}\n");
  std::vector<float> x(4);
  KernelFault fault;
  Diagnostics diagnostics;
  EXPECT_FALSE(interpret(k, {reinterpret_cast<std::byte*>(x.data())}, 0, 9, fault, diagnostics));
  EXPECT_NE(diagnostics.to_string().find("stores to element 4 of x, which has 4"), std::string::npos) << diagnostics.to_string();
}

}  // namespace
}  // namespace mica
