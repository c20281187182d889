// Every operation, for every element type it takes, scalar and in vectors, on three register widths: compiled code against
// the kernel interpreter, bit for bit.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "compiled_program.h"
#include "mica/ir/fault.h"
#include "mica/kernel/interpret.h"
#include "mica/kernel/verify.h"

namespace mica::test {
namespace {

constexpr int64_t count = 64;
constexpr DType all_types[] = {DType::f64, DType::f32, DType::f16, DType::bf16, DType::i64, DType::i32, DType::i16, DType::i8, DType::u8, DType::b8};

std::vector<Target> targets() {
  Diagnostics diagnostics;
  std::vector<Target> list = {native_target(), *make_target("x86-64-v3", "", diagnostics), *make_target("x86-64-v2", "", diagnostics)};
  return list;
}

/// Bytes that hold interesting values of a type: edges first, then noise.
std::vector<std::byte> values_of(DType t, uint64_t seed) {
  std::vector<std::byte> bytes(static_cast<size_t>(count * size_of(t)));
  const double edges[] = {0, -0.0, 1, -1, 2, -3, 0.5, -0.5, 1.5, 2.5, -2.5, 7, 100, -100, 255, 65504, INFINITY, -INFINITY, NAN, 1e9, 3e-5, 1e-7};
  for (int64_t i = 0; i < count; ++i) {
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    std::byte* p = bytes.data() + i * size_of(t);
    const auto at = static_cast<size_t>((i * 7 + static_cast<int64_t>(seed >> 62) * 5) % 64);
    const double v = at < std::size(edges) ? edges[at] : (static_cast<double>(seed >> 33) - 0x1p30) * 0x1p-24;
    if (is_bool(t)) {
      *p = static_cast<std::byte>(seed >> 40 & 1);
    } else if (t == DType::f64) {
      std::memcpy(p, &v, 8);
    } else if (t == DType::f32 || t == DType::bf16) {
      const auto f = static_cast<float>(v);
      std::memcpy(p, t == DType::f32 ? reinterpret_cast<const char*>(&f) : reinterpret_cast<const char*>(&f) + 2, static_cast<size_t>(size_of(t)));
    } else {
      const uint64_t pattern = at < 8    ? static_cast<uint64_t>(static_cast<int64_t>(at) - 4)
                               : at == 9 ? uint64_t{1} << (8 * size_of(t) - 1)
                                         : seed >> (i % 3 ? 56 : 16);
      std::memcpy(p, &pattern, static_cast<size_t>(size_of(t)));
    }
  }
  return bytes;
}

/// One kernel that does one thing to whole arrays.
struct Operation {
  std::string name;
  std::vector<DType> inputs;
  DType output;
  std::function<Expr(const std::vector<Expr>&)> make;
};

Kernel kernel_of(const Operation& op, int32_t lanes, size_t number) {
  Kernel k;
  k.name = "op" + std::to_string(number);
  k.task = make_var("task", 0, 1);
  const Expr i = make_var("i", 0, count);
  const Expr at = make_ramp(i, 1, lanes);
  std::vector<Expr> args;
  for (DType t : op.inputs) args.push_back(make_load(k.add_buffer({.name = "x", .element = {t, 1}, .elements = count}), {t, lanes}, {at}));
  const uint32_t y = k.add_buffer({.name = "y", .element = {op.output, 1}, .elements = count, .written = true});
  k.body.push_back(Stmt::loop(i, 0, count, lanes, {Stmt::store(y, at, op.make(args))}));
  return k;
}

/// NaNs are equal whatever their bits.
bool same(DType t, const std::byte* a, const std::byte* b) {
  if (std::memcmp(a, b, static_cast<size_t>(size_of(t))) == 0) return true;
  const auto nan = [&](const std::byte* p) {
    if (t == DType::f64) {
      double v;
      std::memcpy(&v, p, 8);
      return std::isnan(v);
    }
    if (t == DType::f32) {
      float v;
      std::memcpy(&v, p, 4);
      return std::isnan(v);
    }
    uint16_t v;
    std::memcpy(&v, p, 2);
    return t == DType::f16 ? (v & 0x7fff) > 0x7c00 : t == DType::bf16 && (v & 0x7fff) > 0x7f80;
  };
  return is_float(t) && nan(a) && nan(b);
}

std::vector<Operation> operations() {
  std::vector<Operation> list;
  const auto unary = [&](ExprOp op, DType t) {
    const DType out = op == ExprOp::isnan || op == ExprOp::lnot ? DType::b8 : t;
    list.push_back({std::string(name_of(op)) + " " + std::string(name_of(t)), {t}, out, [op](const auto& x) { return make_unary(op, x[0]); }});
  };
  const auto binary = [&](ExprOp op, DType t) {
    const bool truth = op >= ExprOp::lt && op <= ExprOp::lor;
    list.push_back({std::string(name_of(op)) + " " + std::string(name_of(t)), {t, t}, truth ? DType::b8 : t, [op](const auto& x) {
                      return make_binary(op, x[0], x[1]);
                    }});
  };
  for (DType t : all_types) {
    if (is_float(t)) {
      for (ExprOp op : {ExprOp::neg, ExprOp::abs, ExprOp::floor, ExprOp::ceil, ExprOp::round, ExprOp::trunc, ExprOp::sqrt, ExprOp::isnan})
        unary(op, t);
      for (ExprOp op : {ExprOp::add, ExprOp::sub, ExprOp::mul, ExprOp::div}) binary(op, t);
    } else if (!is_bool(t)) {
      for (ExprOp op : {ExprOp::neg, ExprOp::abs, ExprOp::bnot}) unary(op, t);
      for (ExprOp op : {ExprOp::add, ExprOp::sub, ExprOp::mul, ExprOp::div, ExprOp::floordiv, ExprOp::floormod, ExprOp::fmod, ExprOp::shl,
                        ExprOp::shr, ExprOp::ushr})
        binary(op, t);
    }
    if (!is_float(t)) {
      for (ExprOp op : {ExprOp::band, ExprOp::bor, ExprOp::bxor}) binary(op, t);
    }
    for (ExprOp op : {ExprOp::min, ExprOp::max, ExprOp::lt, ExprOp::le, ExprOp::gt, ExprOp::ge, ExprOp::eq, ExprOp::ne, ExprOp::land, ExprOp::lor})
      binary(op, t);
    unary(ExprOp::lnot, t);
    for (DType to : all_types) {
      if (to != t)
        list.push_back(
            {"cast " + std::string(name_of(t)) + " to " + std::string(name_of(to)), {t}, to, [to](const auto& x) { return cast(to, x[0]); }});
    }
    list.push_back({"select " + std::string(name_of(t)), {DType::b8, t, t}, t, [](const auto& x) { return select(x[0], x[1], x[2]); }});
  }
  for (DType t : {DType::f64, DType::f32, DType::i32})
    list.push_back({"fma " + std::string(name_of(t)), {t, t, t}, t, [](const auto& x) { return fma(x[0], x[1], x[2]); }});
  list.push_back({"floordiv by 8", {DType::i64}, DType::i64, [](const auto& x) { return floordiv(x[0], 8); }});
  list.push_back({"floormod by 7", {DType::i64}, DType::i64, [](const auto& x) { return floormod(x[0], 7); }});
  return list;
}

TEST(Operations, agree_with_the_interpreter) {
  const std::vector<Operation> ops = operations();
  for (const Target& target : targets()) {
    for (int32_t lanes : {1, 4, target.lanes(4)}) {
      Program program;
      std::vector<std::vector<std::byte>> buffers;
      std::vector<void*> io;
      for (size_t o = 0; o < ops.size(); ++o) {
        Step step;
        step.kernel = static_cast<uint32_t>(o);
        const auto bind = [&](std::vector<std::byte> data) {
          Binding b;
          b.space = Binding::Space::io;
          b.io = static_cast<uint32_t>(buffers.size());
          step.bindings.push_back(b);
          buffers.push_back(std::move(data));
        };
        for (size_t i = 0; i < ops[o].inputs.size(); ++i) bind(values_of(ops[o].inputs[i], 17 * i + 3));
        bind(std::vector<std::byte>(static_cast<size_t>(count * size_of(ops[o].output)), std::byte{0xee}));
        program.kernels.push_back(kernel_of(ops[o], lanes, o));
        program.steps.push_back(std::move(step));
      }
      Diagnostics diagnostics;
      ASSERT_TRUE(verify_program(program, diagnostics)) << diagnostics.to_string();
      std::vector<std::vector<std::byte>> expected = buffers;
      std::vector<std::byte*> pointers;
      for (auto& b : expected) pointers.push_back(b.data());
      for (auto& b : buffers) io.push_back(b.data());
      KernelFault fault;
      ASSERT_TRUE(interpret(program, pointers, fault, diagnostics)) << diagnostics.to_string();
      CompiledProgram compiled(program, target);
      compiled.run(io);
      for (size_t o = 0; o < ops.size(); ++o) {
        const size_t out = program.steps[o].bindings.back().io;
        // Two roundings where there is no fma: not bit for bit.
        if (!target.fma && ops[o].name.starts_with("fma f")) continue;
        const auto size = static_cast<size_t>(size_of(ops[o].output));
        for (size_t i = 0; i < static_cast<size_t>(count); ++i) {
          const std::byte *got = buffers[out].data() + i * size, *want = expected[out].data() + i * size;
          if (same(ops[o].output, got, want)) continue;
          uint64_t g = 0, w = 0;
          std::memcpy(&g, got, size);
          std::memcpy(&w, want, size);
          ADD_FAILURE() << ops[o].name << " x" << lanes << " on " << target.cpu << ", element " << i << ": " << std::hex << g << " instead of " << w;
          break;
        }
      }
    }
  }
}

/// y[i] = f(x) over every way to address memory.
class Addressing : public testing::TestWithParam<int32_t> {};

void compare(const Kernel& kernel, std::vector<std::vector<float>> buffers) {
  Diagnostics diagnostics;
  ASSERT_TRUE(verify_kernel(kernel, diagnostics)) << diagnostics.to_string();
  std::vector<std::vector<float>> expected = buffers;
  std::vector<std::byte*> pointers;
  std::vector<void*> io;
  for (auto& b : expected) pointers.push_back(reinterpret_cast<std::byte*>(b.data()));
  for (auto& b : buffers) io.push_back(b.data());
  KernelFault fault;
  ASSERT_TRUE(interpret(kernel, pointers, 0, kernel.tasks, fault, diagnostics)) << diagnostics.to_string();
  for (const Target& target : targets()) {
    auto fresh = buffers;
    io.clear();
    for (auto& b : fresh) io.push_back(b.data());
    CompiledProgram compiled(program_of(kernel), target);
    const mica_fault got = compiled.run(io, nullptr, 3);
    EXPECT_EQ(got.code, fault.code);
    EXPECT_EQ(got.site, fault.site);
    EXPECT_EQ(got.value, fault.value);
    for (size_t b = 0; b < fresh.size(); ++b) EXPECT_EQ(fresh[b], expected[b]) << kernel.name << " on " << target.cpu << ", buffer " << b;
  }
}

std::vector<float> numbers(size_t n) {
  std::vector<float> v(n);
  for (size_t i = 0; i < n; ++i) v[i] = static_cast<float>(i) + 0.5f;
  return v;
}

Kernel addressing_kernel(const char* name, int32_t lanes, const std::function<Expr(const Expr& i)>& index,
                         const std::function<Expr(const Expr& i)>& mask = {}) {
  Kernel k;
  k.name = name;
  k.tasks = 5;
  k.task = make_var("task", 0, k.tasks);
  const uint32_t x = k.add_buffer({.name = "x", .element = {DType::f32, 1}, .elements = 400});
  const uint32_t y = k.add_buffer({.name = "y", .element = {DType::f32, 1}, .elements = 100, .written = true});
  const Expr i = k.task * lanes;
  const Expr value = make_load(x, {DType::f32, lanes}, {index(i)}, mask ? mask(i) : Expr());
  k.body.push_back(Stmt::store(y, make_ramp(i, 1, lanes), value));
  return k;
}

TEST(Addressing, strides_gathers_and_masks) {
  for (int32_t lanes : {4, 16}) {
    for (int64_t stride : {1, 2, 3, 5})
      compare(addressing_kernel("strided", lanes, [&](const Expr& i) { return make_ramp(i * stride, stride, lanes); }), {numbers(400), numbers(100)});
    compare(addressing_kernel("reversed", lanes, [&](const Expr& i) { return make_ramp(i + (lanes - 1), -1, lanes); }), {numbers(400), numbers(100)});
    compare(addressing_kernel("gather", lanes, [&](const Expr& i) { return floormod(make_ramp(i * 37, 11, lanes), 399); }),
            {numbers(400), numbers(100)});
    // Elements that are known, within a vector's length of each other or not, where vectors of the buffer begin or not, to its last one.
    for (int64_t repeat : {1, 2, 3, 4}) {
      for (int64_t first : {0, 1, 7, 384, 396 - lanes}) {
        compare(addressing_kernel("known", lanes,
                                  [&](const Expr&) {
                                    const Expr group = floordiv(make_ramp(0, 1, lanes), make_broadcast(repeat, lanes));
                                    return make_broadcast(first, lanes) + floormod(group, make_broadcast(4, lanes)) * make_broadcast(repeat, lanes);
                                  }),
                {numbers(400), numbers(100)});
      }
    }
    compare(addressing_kernel("same", lanes, [&](const Expr& i) { return make_broadcast(i, lanes); }), {numbers(400), numbers(100)});
    for (const char* kind : {"masked", "masked_gather"}) {
      const int64_t stride = kind[6] ? 3 : 1;
      compare(addressing_kernel(
                  kind, lanes, [&](const Expr& i) { return make_ramp(i, stride, lanes); },
                  [&](const Expr& i) { return make_ramp(i, 1, lanes) < make_broadcast(3 * lanes - 2, lanes); }),
              {numbers(400), numbers(100)});
    }
  }
}

TEST(Addressing, masked_stores_and_scatters) {
  for (int32_t lanes : {4, 8, 16}) {
    for (int64_t stride : {1, 2, 3, 4, 5}) {
      for (const bool masked : {false, true}) {
        Kernel k;
        k.name = "stores";
        k.tasks = 4;
        k.task = make_var("task", 0, k.tasks);
        const uint32_t y = k.add_buffer({.name = "y", .element = {DType::f32, 1}, .elements = 4 * lanes * stride, .written = true});
        const Expr at = make_ramp(k.task * lanes * stride, stride, lanes), mask = make_ramp(k.task * lanes, 1, lanes) >= make_broadcast(5, lanes);
        k.body.push_back(Stmt::store(y, at, cast(DType::f32, at * make_broadcast(3, lanes)), masked ? mask : Expr()));
        compare(k, {numbers(static_cast<size_t>(4 * lanes * stride))});
      }
    }
  }
}

TEST(Addressing, a_checked_index_out_of_range_is_recorded_and_reads_element_0) {
  for (int32_t lanes : {1, 8}) {
    compare(addressing_kernel("checked", lanes, [&](const Expr& i) { return checked_index(make_ramp(i * 40, 7, lanes), 100, "index", 9); }),
            {numbers(400), numbers(100)});
  }
}

TEST(Addressing, stores_of_known_lanes) {
  constexpr int32_t lanes = 8;
  for (const DType dtype : {DType::f32, DType::i16}) {
    for (int64_t low : {0, 1}) {
      for (int64_t high : {1, 3, 7}) {
        Kernel k;
        k.name = "stores";
        k.tasks = 4;
        k.task = make_var("task", 0, k.tasks);
        const int64_t elements = 4 * lanes;
        const uint32_t y = k.add_buffer({.name = "y", .element = {dtype, 1}, .elements = elements, .written = true});
        const Expr at = make_ramp(k.task * lanes, 1, lanes), lane = make_ramp(Expr(0), 1, lanes);
        const Expr mask = lane >= make_broadcast(low, lanes) && lane < make_broadcast(high, lanes);
        k.body.push_back(Stmt::store(y, at, cast(dtype, at), mask));
        compare(k, {numbers(static_cast<size_t>(elements * size_of(dtype) / 4))});
      }
    }
  }
}

TEST(Addressing, a_checked_index_is_not_looked_at_where_its_mask_is_false) {
  for (int32_t lanes : {1, 8}) {
    for (int64_t used : {0, 2}) {  // of none, or of the first and a part of the second vector
      for (int64_t extent : {0, 100}) {
        compare(addressing_kernel("masked_check", lanes,
                                  [&](const Expr& i) {
                                    const Expr place = make_ramp(i, 1, lanes);
                                    const Expr check = checked_index(place * make_broadcast(40, lanes), extent, "index", 9);
                                    return masked_check(*check, place < make_broadcast(used * lanes - used * lanes / 4, lanes));
                                  }),
                {numbers(400), numbers(100)});
      }
    }
  }
}

TEST(Statements, branches_lets_checks_and_local_arrays) {
  Kernel k;
  k.name = "statements";
  k.tasks = 6;
  k.task = make_var("task", 0, k.tasks);
  const uint32_t x = k.add_buffer({.name = "x", .element = {DType::f32, 1}, .elements = 96});
  const uint32_t y = k.add_buffer({.name = "y", .element = {DType::f32, 1}, .elements = 96, .written = true});
  const uint32_t row = k.add_buffer({.name = "row", .element = {DType::f32, 1}, .elements = 16, .memory = Memory::stack});
  const uint32_t acc = k.add_buffer({.name = "acc", .element = {DType::f32, 4}, .elements = 4, .memory = Memory::registers});
  const Expr i = make_var("i", 0, 16), j = make_var("j", 0, 4), j2 = make_var("j", 0, 4), v = make_var("v", 0, 1, DType::f32),
             n = make_var("n", 0, 17);
  const ExprType f32{DType::f32, 1}, f32x4{DType::f32, 4};
  k.body.push_back(
      Stmt::loop(i, 0, 16, 1,
                 {Stmt::let(v, make_load(x, f32, {k.task * 16 + i}),
                            {Stmt::branch(v > imm(DType::f32, 40), {Stmt::store(row, 15 - i, v + v)}, {Stmt::store(row, 15 - i, -v)})})}));
  k.body.push_back(Stmt::loop(j, 0, 4, 1, {Stmt::store(acc, j, make_load(row, f32x4, {make_ramp(j * 4, 1, 4)}))}, ForKind::unrolled));
  // A loop whose length is known only when it runs: none, some or all of the row.
  k.body.push_back(
      Stmt::let(n, k.task * 3 - 1,
                {Stmt::loop(i, 0, n, 1,
                            {Stmt::loop(j2, 0, 4, 1, {Stmt::store(acc, j2, make_load(acc, f32x4, {j2}) + make_broadcast(make_load(x, f32, {i}), 4))},
                                        ForKind::unrolled)})}));
  k.body.push_back(Stmt::loop(j, 0, 4, 1, {Stmt::store(y, make_ramp(k.task * 16 + j * 4, 1, 4), make_load(acc, f32x4, {j}))}, ForKind::unrolled));
  k.body.push_back(Stmt::check(k.task < 4, 5, k.task * 100));
  compare(k, {numbers(96), numbers(96)});
}

TEST(Objects, are_made_for_aarch64_too) {
  Diagnostics diagnostics;
  const auto target = make_target("aarch64", "", diagnostics);
  ASSERT_TRUE(target) << diagnostics.to_string();
  Program program;
  const std::vector<Operation> ops = operations();
  for (size_t o = 0; o < ops.size(); ++o) program.kernels.push_back(kernel_of(ops[o], 4, o));
  const auto code = generate_code(program, *target, {}, diagnostics);
  ASSERT_TRUE(code);
  EXPECT_EQ(code->objects[0].substr(0, 4),
            "\x7f"
            "ELF");
}

TEST(Objects, do_not_depend_on_the_number_of_jobs) {
  Program program;
  const std::vector<Operation> ops = operations();
  for (size_t o = 0; o < 40; ++o) program.kernels.push_back(kernel_of(ops[o], 8, o));
  Diagnostics diagnostics;
  const auto one = generate_code(program, native_target(), {.jobs = 1}, diagnostics),
             four = generate_code(program, native_target(), {.jobs = 4}, diagnostics);
  ASSERT_TRUE(one && four);
  EXPECT_EQ(one->objects, four->objects);
}

}  // namespace
}  // namespace mica::test
