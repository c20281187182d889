// Kernels run as they read, one lane at a time. Slow; it is the judge of codegen and of passes on kernels.
#include "mica/kernel/interpret.h"

#include <fmt/format.h>

#include <bit>
#include <cmath>
#include <cstring>
#include <deque>
#include <limits>
#include <unordered_map>

#include "mica/ir/fault.h"

namespace mica {

namespace {

/// One lane: `f` for floats, `i` for integers and bool.
struct Lane {
  double f = 0;
  int64_t i = 0;
};
using Lanes = std::vector<Lane>;

uint16_t half_bits(float v) {
  const auto bits = std::bit_cast<uint32_t>(v);
  const auto sign = static_cast<uint16_t>(bits >> 16 & 0x8000);
  const float a = std::fabs(v);
  if (std::isnan(v)) return sign | 0x7e00;
  if (a >= 65520.0f) return sign | 0x7c00;
  if (a < 0x1p-14f) return sign | static_cast<uint16_t>(std::nearbyint(a * 0x1p24f));  // subnormal, or rounds up to the least normal
  uint32_t m = bits & 0x7fffffff;
  m += 0xfff + (m >> 13 & 1);
  return sign | static_cast<uint16_t>((m >> 13) - (112 << 10));
}

float half_value(uint16_t h) {
  const int exponent = h >> 10 & 31, mantissa = h & 1023;
  const float magnitude = exponent == 31 ? (mantissa ? NAN : INFINITY)
                          : exponent     ? std::ldexp(static_cast<float>(1024 + mantissa), exponent - 25)
                                         : std::ldexp(static_cast<float>(mantissa), -24);
  return h & 0x8000 ? -magnitude : magnitude;
}

uint16_t bf16_bits(float v) {
  const auto bits = std::bit_cast<uint32_t>(v);
  if (std::isnan(v)) return static_cast<uint16_t>(bits >> 16 | 0x40);
  return static_cast<uint16_t>((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

float bf16_value(uint16_t b) { return std::bit_cast<float>(uint32_t{b} << 16); }

/// The value that a float of type t holds after rounding.
double round_to(DType t, double v) {
  switch (t) {
    case DType::f32: return static_cast<float>(v);
    case DType::f16: return half_value(half_bits(static_cast<float>(v)));
    case DType::bf16: return bf16_value(bf16_bits(static_cast<float>(v)));
    default: return v;
  }
}

int64_t wrap_to(DType t, uint64_t v) {
  switch (t) {
    case DType::i32: return static_cast<int32_t>(v);
    case DType::i16: return static_cast<int16_t>(v);
    case DType::i8: return static_cast<int8_t>(v);
    case DType::u8: return static_cast<uint8_t>(v);
    case DType::b8: return v & 1;
    default: return static_cast<int64_t>(v);
  }
}

uint64_t bits_of(DType t, const Lane& v) {
  switch (t) {
    case DType::f64: return std::bit_cast<uint64_t>(v.f);
    case DType::f32: return std::bit_cast<uint32_t>(static_cast<float>(v.f));
    case DType::f16: return half_bits(static_cast<float>(v.f));
    case DType::bf16: return bf16_bits(static_cast<float>(v.f));
    default: return static_cast<uint64_t>(v.i);
  }
}

Lane from_bits(DType t, uint64_t bits) {
  switch (t) {
    case DType::f64: return {std::bit_cast<double>(bits), 0};
    case DType::f32: return {std::bit_cast<float>(static_cast<uint32_t>(bits)), 0};
    case DType::f16: return {half_value(static_cast<uint16_t>(bits)), 0};
    case DType::bf16: return {bf16_value(static_cast<uint16_t>(bits)), 0};
    case DType::b8: return {0, (bits & 0xff) != 0};
    default: return {0, wrap_to(t, bits)};
  }
}

/// Out of range as x86's instructions give it, by way of i32 for narrow types.
int64_t float_to_int(double v, DType to) {
  const bool wide = to == DType::i64;
  const double bound = wide ? 0x1p63 : 0x1p31;
  const double whole = std::trunc(v);
  const int64_t least = wide ? std::numeric_limits<int64_t>::min() : std::numeric_limits<int32_t>::min();
  const int64_t value = whole >= -bound && whole < bound ? static_cast<int64_t>(whole) : least;
  return wrap_to(to, static_cast<uint64_t>(value));
}

double float_unary(ExprOp op, double x) {
  switch (op) {
    case ExprOp::neg: return -x;
    case ExprOp::abs: return std::fabs(x);
    case ExprOp::floor: return std::floor(x);
    case ExprOp::ceil: return std::ceil(x);
    case ExprOp::round: return std::nearbyint(x);
    case ExprOp::trunc: return std::trunc(x);
    case ExprOp::sqrt: return std::sqrt(x);
    case ExprOp::exp: return std::exp(x);
    case ExprOp::log: return std::log(x);
    case ExprOp::sin: return std::sin(x);
    case ExprOp::cos: return std::cos(x);
    case ExprOp::tan: return std::tan(x);
    case ExprOp::asin: return std::asin(x);
    case ExprOp::acos: return std::acos(x);
    case ExprOp::atan: return std::atan(x);
    case ExprOp::sinh: return std::sinh(x);
    case ExprOp::cosh: return std::cosh(x);
    case ExprOp::tanh: return std::tanh(x);
    case ExprOp::erf: return std::erf(x);
    case ExprOp::log1p: return std::log1p(x);
    case ExprOp::expm1: return std::expm1(x);
    default: return NAN;
  }
}

double float_floor_mod(double a, double b) {
  const double m = std::fmod(a, b);
  return m != 0 && (b < 0) != (m < 0) ? m + b : m;
}

double float_binary(ExprOp op, double a, double b) {
  switch (op) {
    case ExprOp::add: return a + b;
    case ExprOp::sub: return a - b;
    case ExprOp::mul: return a * b;
    case ExprOp::div: return a / b;
    case ExprOp::min: return a < b ? a : b;
    case ExprOp::max: return a > b ? a : b;
    case ExprOp::pow: return std::pow(a, b);
    case ExprOp::atan2: return std::atan2(a, b);
    case ExprOp::fmod: return std::fmod(a, b);
    case ExprOp::floormod: return float_floor_mod(a, b);
    case ExprOp::floordiv: return b == 0 ? a / b : std::floor((a - float_floor_mod(a, b)) / b + 0.5);
    default: return NAN;
  }
}

int64_t int_power(uint64_t base, int64_t exponent) {
  if (exponent < 0) return base == 1 ? 1 : base == ~uint64_t{0} ? (exponent & 1 ? -1 : 1) : 0;
  uint64_t result = 1;
  for (; exponent; exponent >>= 1, base *= base) {
    if (exponent & 1) result *= base;
  }
  return static_cast<int64_t>(result);
}

int64_t int_binary(ExprOp op, DType t, int64_t a, int64_t b) {
  const auto ua = static_cast<uint64_t>(a), ub = static_cast<uint64_t>(b);
  const int64_t width = 8 * size_of(t);
  // By zero, and least / -1: with divisor 1, as compiled code does.
  const int64_t least = wrap_to(t, uint64_t{1} << (width - 1));
  const int64_t d = b == 0 || (is_signed(t) && a == least && b == -1) ? 1 : b;
  const int64_t mod = a % d, floor_mod = mod != 0 && (mod < 0) != (d < 0) ? mod + d : mod;
  switch (op) {
    case ExprOp::add: return is_bool(t) ? a | b : wrap_to(t, ua + ub);
    case ExprOp::sub: return wrap_to(t, ua - ub);
    case ExprOp::mul: return wrap_to(t, ua * ub);
    case ExprOp::div: return a / d;
    case ExprOp::fmod: return mod;
    case ExprOp::floormod: return floor_mod;
    case ExprOp::floordiv: return (a - floor_mod) / d;
    case ExprOp::min: return std::min(a, b);
    case ExprOp::max: return std::max(a, b);
    case ExprOp::pow: return wrap_to(t, static_cast<uint64_t>(int_power(ua, b)));
    case ExprOp::band: return a & b;
    case ExprOp::bor: return a | b;
    case ExprOp::bxor: return a ^ b;
    case ExprOp::shl: return ub >= static_cast<uint64_t>(width) ? 0 : wrap_to(t, ua << b);
    case ExprOp::shr:
      if (is_signed(t)) return a >> (ub >= static_cast<uint64_t>(width) ? width - 1 : b);
      [[fallthrough]];
    case ExprOp::ushr: {
      const uint64_t mask = width == 64 ? ~uint64_t{0} : (uint64_t{1} << width) - 1;
      return ub >= static_cast<uint64_t>(width) ? 0 : wrap_to(t, (ua & mask) >> b);
    }
    default: return 0;
  }
}

template <class T> bool compare(ExprOp op, T a, T b) {
  switch (op) {
    case ExprOp::lt: return a < b;
    case ExprOp::le: return a <= b;
    case ExprOp::gt: return a > b;
    case ExprOp::ge: return a >= b;
    case ExprOp::eq: return a == b;
    default: return a != b;
  }
}

class Interpreter {
 public:
  Interpreter(const Kernel& kernel, const std::vector<std::byte*>& params, KernelFault& fault, Diagnostics& diagnostics,
              const std::vector<int64_t>& symbols)
      : kernel_(kernel), fault_(fault), diagnostics_(diagnostics), symbols_(symbols), base_(params) {
    // Memory for a size that varies has at least one element: code without masks reads it and does not use it.
    for (const Buffer& b : kernel.buffers)
      elements_.push_back(std::max(b.elements.at(symbols), std::min<int64_t>(b.elements.is_static() ? 0 : b.elements.high(), 1)) * b.element.lanes);
    for (size_t i = params.size(); i < kernel.buffers.size(); ++i) {
      const Buffer& b = kernel.buffers[i];
      local_.emplace_back(static_cast<size_t>(elements_[i] * size_of(b.element.dtype)));
    }
    for (auto& l : local_) base_.push_back(l.data());
    for (const TileShape& t : kernel.tiles) tiles_.emplace_back(static_cast<size_t>(t.rows * t.bytes));
  }

  bool run(int64_t first, int64_t last) {
    for (int64_t t = first; t < last && good_; ++t) {
      vars_[kernel_.task->id] = {Lane{0, t}};
      block(kernel_.body);
    }
    return good_;
  }

 private:
  void block(const std::vector<Stmt>& body) {
    for (const Stmt& s : body) {
      if (good_) statement(s);
    }
  }

  void statement(const Stmt& s) {
    memo_.clear();
    switch (s.kind) {
      case Stmt::Kind::block: return block(s.body);
      case Stmt::Kind::loop: {
        const int64_t low = eval(s.low)[0].i, high = eval(s.high)[0].i, step = s.step ? eval(s.step)[0].i : 1;
        for (int64_t i = low; i < high && good_; i += step) {
          vars_[s.var->id] = {Lane{0, i}};
          block(s.body);
        }
        return;
      }
      case Stmt::Kind::store: return store(s);
      case Stmt::Kind::let: {
        Lanes value = eval(s.value);
        vars_[s.var->id] = std::move(value);
        return block(s.body);
      }
      case Stmt::Kind::branch: {
        const bool taken = eval(s.condition)[0].i != 0;
        return block(taken ? s.body : s.otherwise);
      }
      case Stmt::Kind::prefetch: return;
      case Stmt::Kind::check:
        if (eval(s.condition)[0].i == 0) record(s.fault_code, s.site, s.value && !is_float(s.value->type.dtype) ? eval(s.value)[0].i : 0);
        return;
      case Stmt::Kind::tile_zero: return tiles_[s.tile].assign(tiles_[s.tile].size(), std::byte{0});
      case Stmt::Kind::tile_load:
      case Stmt::Kind::tile_store: return tile_access(s);
      case Stmt::Kind::tile_dot: return tile_dot(s);
    }
  }

  void tile_access(const Stmt& s) {
    const bool store = s.kind == Stmt::Kind::tile_store;
    const TileShape& shape = kernel_.tiles[s.tile];
    const int64_t index = eval(s.index)[0].i, step = eval(s.step)[0].i, size = size_of(kernel_.buffers.at(s.buffer).element.dtype);
    std::byte* at = tiles_[s.tile].data();
    for (int64_t row = 0; row < shape.rows; ++row) {
      for (int64_t i = 0; i < shape.bytes / size; ++i, at += size) {
        std::byte* p = element(s.buffer, index + row * step + i, store ? "stores to" : "reads");
        if (!p) return;
        std::memcpy(store ? p : at, store ? at : p, static_cast<size_t>(size));
      }
    }
  }

  void tile_dot(const Stmt& s) {
    const TileShape &shape = kernel_.tiles[s.tile], &left = kernel_.tiles[s.left], &right = kernel_.tiles[s.right];
    const auto bf16 = [&](uint32_t tile, int64_t at) {
      uint16_t bits;
      std::memcpy(&bits, tiles_[tile].data() + 2 * at, 2);
      return bf16_value(bits);
    };
    for (int64_t m = 0; m < shape.rows; ++m) {
      for (int64_t n = 0; n < shape.bytes / 4; ++n) {
        float sums[2] = {0, 0};
        for (int64_t k = 0; k < right.rows; ++k) {
          for (int64_t half = 0; half < 2; ++half)
            sums[half] = std::fmaf(bf16(s.left, m * left.bytes / 2 + 2 * k + half), bf16(s.right, k * right.bytes / 2 + 2 * n + half), sums[half]);
        }
        std::byte* at = tiles_[s.tile].data() + m * shape.bytes + 4 * n;
        float sum;
        std::memcpy(&sum, at, 4);
        sum += sums[0] + sums[1];
        std::memcpy(at, &sum, 4);
      }
    }
  }

  void record(int32_t code, int32_t site, int64_t value) {
    if (fault_.code == 0) fault_ = {code, site, value};
  }

  std::byte* element(uint32_t buffer, int64_t scalar_index, std::string_view what) {
    const Buffer& b = kernel_.buffers.at(buffer);
    if (scalar_index < 0 || scalar_index >= elements_[buffer]) {
      if (good_)
        diagnostics_.error("kernel-out-of-bounds", "kernel {}: {} element {} of {}, which has {}", kernel_.name, what, scalar_index, b.name,
                           elements_[buffer]);
      good_ = false;
      return nullptr;
    }
    return base_[buffer] + scalar_index * size_of(b.element.dtype);
  }

  /// Where each of `lanes` lanes lies, in scalars of the buffer.
  std::vector<int64_t> places(uint32_t buffer, const Lanes& index, int32_t lanes) const {
    const int32_t width = kernel_.buffers.at(buffer).element.lanes;
    std::vector<int64_t> at(static_cast<size_t>(lanes));
    for (size_t l = 0; l < at.size(); ++l) at[l] = index.size() > 1 ? index[l].i : index[0].i * width + static_cast<int64_t>(l);
    return at;
  }

  void store(const Stmt& s) {
    const Buffer& b = kernel_.buffers.at(s.buffer);
    const Lanes index = eval(s.index), value = eval(s.value);
    const Lanes mask = s.mask ? eval(s.mask) : Lanes{Lane{0, 1}};
    const int32_t lanes = std::max({s.index->type.lanes, s.value->type.lanes, b.element.lanes});
    const std::vector<int64_t> at = places(s.buffer, index, lanes);
    for (size_t l = 0; l < at.size(); ++l) {
      if (!mask[mask.size() > 1 ? l : 0].i) continue;
      std::byte* p = element(s.buffer, at[l], "stores to");
      if (!p) return;
      const uint64_t bits = bits_of(b.element.dtype, value[value.size() > 1 ? l : 0]);
      std::memcpy(p, &bits, static_cast<size_t>(size_of(b.element.dtype)));
    }
  }

  const Lanes& eval(const Expr& e) {
    if (const auto found = memo_.find(e.get()); found != memo_.end()) return found->second;
    Lanes value = compute(*e);
    value.resize(static_cast<size_t>(e->type.lanes));
    return memo_[e.get()] = std::move(value);
  }

  Lanes load(const ExprNode& e) {
    const Lanes index = eval(e.args[0]), mask = e.masked ? eval(e.args[1]) : Lanes{Lane{0, 1}};
    const std::vector<int64_t> at = places(e.id, index, e.type.lanes);
    Lanes out(at.size());
    for (size_t l = 0; l < at.size(); ++l) {
      if (!mask[mask.size() > 1 ? l : 0].i) continue;
      const std::byte* p = element(e.id, at[l], "reads");
      if (!p) return out;
      uint64_t bits = 0;
      std::memcpy(&bits, p, static_cast<size_t>(size_of(e.type.dtype)));
      out[l] = from_bits(e.type.dtype, bits);
    }
    return out;
  }

  Lanes compute(const ExprNode& e) {
    const auto lanes = static_cast<size_t>(e.type.lanes);
    switch (e.op) {
      case ExprOp::imm_int: return Lanes(lanes, Lane{0, e.int_value});
      case ExprOp::imm_float: return Lanes(lanes, Lane{round_to(e.type.dtype, e.float_value), 0});
      case ExprOp::var: return e.id >= symbol_base ? Lanes{Lane{0, symbols_.at(e.id - symbol_base)}} : vars_.at(e.id);
      case ExprOp::load: return load(e);
      case ExprOp::broadcast: return Lanes(lanes, eval(e.args[0])[0]);
      case ExprOp::ramp: {
        const Lane base = eval(e.args[0])[0], stride = eval(e.args[1])[0];
        Lanes out(lanes);
        for (size_t l = 0; l < lanes; ++l) out[l].i = wrap_to(e.type.dtype, static_cast<uint64_t>(base.i) + static_cast<uint64_t>(stride.i) * l);
        return out;
      }
      case ExprOp::horizontal: return {horizontal(e)};
      case ExprOp::dot2:
      case ExprOp::dot4: return dot(e);
      case ExprOp::bitcast:
        if (e.args[0]->type.lanes != e.type.lanes) return regroup(e);
        break;
      default: break;
    }
    std::vector<Lanes> args;
    for (const Expr& a : e.args) args.push_back(eval(a));
    Lanes out(lanes);
    for (size_t l = 0; l < lanes; ++l) {
      Lane x[3];
      for (size_t a = 0; a < args.size(); ++a) x[a] = args[a][args[a].size() > 1 ? l : 0];
      out[l] = lane(e, x);
    }
    return out;
  }

  Lane lane(const ExprNode& e, const Lane* x) {
    const DType from = e.args[0]->type.dtype, to = e.type.dtype;
    switch (e.op) {
      case ExprOp::select: return x[0].i ? x[1] : x[2];
      case ExprOp::cast:
        if (is_float(from) && is_bool(to)) return {0, x[0].f != 0};
        if (is_float(from)) return is_float(to) ? Lane{round_to(to, x[0].f), 0} : Lane{0, float_to_int(x[0].f, to)};
        // f32 through a direct conversion: by way of f64 an i64 would be rounded twice.
        if (is_float(to)) return {to == DType::f64 ? static_cast<double>(x[0].i) : round_to(to, static_cast<double>(static_cast<float>(x[0].i))), 0};
        return {0, is_bool(to) ? x[0].i != 0 : wrap_to(to, static_cast<uint64_t>(x[0].i))};
      case ExprOp::bitcast: return from_bits(to, bits_of(from, x[0]));
      case ExprOp::checked_index: {
        if (e.masked && x[1].i == 0) return {};
        if (x[0].i >= 0 && x[0].i < (e.extent ? eval(e.extent)[0].i : e.limit)) return x[0];
        record(checks_divisor(e) ? 2 : 1, static_cast<int32_t>(e.id), x[0].i);
        return {};
      }
      case ExprOp::fma:
        if (!is_float(to)) return {0, wrap_to(to, static_cast<uint64_t>(x[0].i) * static_cast<uint64_t>(x[1].i) + static_cast<uint64_t>(x[2].i))};
        if (to == DType::f64) return {std::fma(x[0].f, x[1].f, x[2].f), 0};
        return {round_to(to, std::fmaf(static_cast<float>(x[0].f), static_cast<float>(x[1].f), static_cast<float>(x[2].f))), 0};
      case ExprOp::isnan: return {0, is_float(from) && std::isnan(x[0].f)};
      case ExprOp::lnot: return {0, is_float(from) ? x[0].f == 0 : x[0].i == 0};
      case ExprOp::bnot: return {0, is_bool(to) ? !x[0].i : wrap_to(to, ~static_cast<uint64_t>(x[0].i))};
      case ExprOp::land: return {0, truth(from, x[0]) && truth(from, x[1])};
      case ExprOp::lor: return {0, truth(from, x[0]) || truth(from, x[1])};
      default: break;
    }
    if (e.op >= ExprOp::lt && e.op <= ExprOp::ne) return {0, is_float(from) ? compare(e.op, x[0].f, x[1].f) : compare(e.op, x[0].i, x[1].i)};
    if (e.args.size() == 1) {
      // f64 is precise enough that rounding its result once more rounds + - * / and sqrt of f32 correctly.
      if (is_float(from)) return {round_to(to, float_unary(e.op, x[0].f)), 0};
      if (e.op == ExprOp::neg) return {0, is_bool(to) ? x[0].i : wrap_to(to, -static_cast<uint64_t>(x[0].i))};
      if (e.op == ExprOp::abs) return {0, x[0].i < 0 ? wrap_to(to, -static_cast<uint64_t>(x[0].i)) : x[0].i};
      return x[0];
    }
    if (is_float(from)) return {round_to(to, float_binary(e.op, x[0].f, x[1].f)), 0};
    return {0, int_binary(e.op, from, x[0].i, x[1].i)};
  }

  static bool truth(DType t, const Lane& v) { return is_float(t) ? v.f != 0 : v.i != 0; }

  Lane combine(ReduceOp op, DType t, const Lane& a, const Lane& b) {
    const ExprOp binary = op == ReduceOp::sum ? ExprOp::add : op == ReduceOp::prod ? ExprOp::mul : op == ReduceOp::max ? ExprOp::max : ExprOp::min;
    if (op == ReduceOp::any) return {0, a.i | b.i};
    if (op == ReduceOp::all) return {0, a.i & b.i};
    if (!is_float(t)) return {0, int_binary(binary, t, a.i, b.i)};
    if (std::isnan(a.f) && (op == ReduceOp::max || op == ReduceOp::min)) return a;
    const double v = float_binary(binary, a.f, b.f);
    return {t == DType::f64 ? v : static_cast<float>(v), 0};  // 16-bit types are summed in f32
  }

  /// In halves, as codegen does.
  Lane horizontal(const ExprNode& e) {
    Lanes v = eval(e.args[0]);
    const DType t = e.args[0]->type.dtype;
    while (v.size() > 1 && v.size() % 2 == 0) {
      const size_t half = v.size() / 2;
      for (size_t l = 0; l < half; ++l) v[l] = combine(e.reduce_op, t, v[l], v[half + l]);
      v.resize(half);
    }
    Lane total = v[0];
    for (size_t l = 1; l < v.size(); ++l) total = combine(e.reduce_op, t, total, v[l]);
    return {round_to(e.type.dtype, total.f), total.i};
  }

  /// A bitcast between elements of different size: the first lane is the lowest bits.
  Lanes regroup(const ExprNode& e) {
    const Lanes from = eval(e.args[0]);
    const DType narrow = e.args[0]->type.dtype;
    const int64_t bits = 8 * size_of(narrow), out_bits = 8 * size_of(e.type.dtype);
    Lanes out(static_cast<size_t>(e.type.lanes));
    for (size_t l = 0; l < out.size(); ++l) {
      uint64_t value = 0;
      for (int64_t at = 0; at < out_bits; at += std::min(bits, out_bits)) {
        const int64_t place = static_cast<int64_t>(l) * out_bits + at;
        const uint64_t all = bits_of(narrow, from[static_cast<size_t>(place / bits)]), mask = bits < 64 ? (uint64_t{1} << bits) - 1 : ~uint64_t{0};
        value |= ((all & mask) >> (place % bits)) << at;
      }
      out[l] = from_bits(e.type.dtype, value);
    }
    return out;
  }

  Lanes dot(const ExprNode& e) {
    const Lanes a = eval(e.args[0]), b = eval(e.args[1]), c = eval(e.args[2]);
    const size_t group = e.op == ExprOp::dot2 ? 2 : 4;
    Lanes out = c;
    for (size_t l = 0; l < out.size(); ++l) {
      for (size_t g = 0; g < group; ++g) {
        const Lane &x = a[l * group + g], &y = b[l * group + g];
        if (group == 2) out[l].f = std::fmaf(static_cast<float>(x.f), static_cast<float>(y.f), static_cast<float>(out[l].f));
        else out[l].i = wrap_to(DType::i32, static_cast<uint64_t>(out[l].i + x.i * y.i));
      }
    }
    return out;
  }

  const Kernel& kernel_;
  KernelFault& fault_;
  Diagnostics& diagnostics_;
  const std::vector<int64_t>& symbols_;
  std::vector<int64_t> elements_;  ///< of each buffer, lanes counted
  std::vector<std::byte*> base_;
  std::vector<std::vector<std::byte>> local_;
  std::vector<std::vector<std::byte>> tiles_;
  std::unordered_map<uint32_t, Lanes> vars_;
  std::unordered_map<const ExprNode*, Lanes> memo_;
  bool good_ = true;
};

}  // namespace

Result<void> interpret(const Kernel& kernel, const std::vector<std::byte*>& params, int64_t first, int64_t last, KernelFault& fault,
                       Diagnostics& diagnostics, const std::vector<int64_t>& symbols) {
  if (!Interpreter(kernel, params, fault, diagnostics, symbols).run(first, last)) return Failure{};
  return {};
}

namespace {

/// The steps of a program, one kernel after the other.
class ProgramInterpreter {
 public:
  ProgramInterpreter(const Program& program, const std::vector<std::byte*>& io, std::vector<std::byte>& state, KernelFault& fault,
                     Diagnostics& diagnostics, const std::vector<int64_t>& symbols)
      : program_(program),
        symbols_(planned(program, symbols)),
        io_(io),
        state_(state),
        fault_(fault),
        diagnostics_(diagnostics),
        weights_(static_cast<size_t>(program.weights_bytes)),
        prepared_(static_cast<size_t>(program.prepared_bytes)) {
    int64_t arena_bytes = program.slots.empty() ? program.arena_bytes : 0;
    for (const Dim& bytes : program.slots) {
      slots_.push_back(arena_bytes);
      arena_bytes += bytes.at(symbols_);
    }
    arena_.resize(static_cast<size_t>(arena_bytes));
    for (const Weight& w : program.weights) {
      if (w.data) std::memcpy(weights_.data() + w.offset, w.data, static_cast<size_t>(w.bytes));
    }
    if (state_.empty() && program.state_bytes)
      state_.assign(weights_.begin() + program.state_init_at, weights_.begin() + program.state_init_at + program.state_bytes);
  }

  bool run(const std::vector<Step>& steps) {
    for (const Step& s : steps) {
      const bool good = s.kind == Step::Kind::call      ? call(s)
                        : s.kind == Step::Kind::branch  ? run(truth(*s.condition) ? s.body : s.otherwise)
                        : s.kind == Step::Kind::measure ? measure(s)
                                                        : loop(s);
      if (!good) return false;
    }
    return true;
  }

 private:
  std::byte* pointer(const Binding& b) {
    switch (b.space) {
      case Binding::Space::arena: return arena_.data() + b.offset + (b.slot < 0 ? 0 : slots_.at(static_cast<size_t>(b.slot)));
      case Binding::Space::weights: return weights_.data() + b.offset;
      case Binding::Space::prepared: return prepared_.data() + b.offset;
      case Binding::Space::state: return state_.data() + b.offset;
      case Binding::Space::trip: return reinterpret_cast<std::byte*>(&trips_.at(b.io)) + b.offset;
      case Binding::Space::io: break;
    }
    return io_.at(b.io) + b.offset;
  }
  bool truth(const Binding& b) { return *pointer(b) != std::byte{0}; }

  /// The given symbols, then the greatest values of those that will be measured.
  static std::vector<int64_t> planned(const Program& program, std::vector<int64_t> symbols) {
    for (size_t k = symbols.size(); k < program.symbols.size(); ++k) {
      const Symbol& s = program.symbols[k];
      symbols.push_back(s.is_measured() ? evaluate_size(s.bound, symbols) : s.high);
    }
    return symbols;
  }

  bool measure(const Step& s) {
    std::memcpy(&symbols_.at(s.symbol), pointer(*s.count), sizeof(int64_t));
    return true;
  }

  bool call(const Step& s) {
    std::vector<std::byte*> params;
    for (const Binding& b : s.bindings) params.push_back(pointer(b));
    const Kernel& k = program_.kernels.at(s.kernel);
    return static_cast<bool>(interpret(k, params, 0, k.tasks.at(symbols_), fault_, diagnostics_, symbols_));
  }

  bool loop(const Step& s) {
    int64_t trips = std::numeric_limits<int64_t>::max();
    if (s.trips) std::memcpy(&trips, pointer(*s.trips), sizeof trips);
    bool go_on = !s.condition || truth(*s.condition);
    if (trips_.size() <= s.depth) trips_.resize(s.depth + 1);
    for (int64_t i = 0; go_on && i < trips; ++i) {
      trips_[s.depth] = i;
      if (!run(s.body)) return false;
      go_on = (!s.go_on || truth(*s.go_on)) && !(s.stop && fault_.code);
    }
    return true;
  }

  const Program& program_;
  std::vector<int64_t> symbols_;
  std::vector<int64_t> slots_;  ///< where each begins
  const std::vector<std::byte*>& io_;
  std::vector<std::byte>& state_;
  KernelFault& fault_;
  Diagnostics& diagnostics_;
  std::vector<std::byte> arena_, weights_, prepared_;
  std::deque<int64_t> trips_;  // a deque: kernels are handed addresses of its elements
};

}  // namespace

Result<void> interpret(const Program& program, const std::vector<std::byte*>& io, KernelFault& fault, Diagnostics& diagnostics,
                       std::vector<std::byte>* state, const std::vector<int64_t>& symbols) {
  std::vector<std::byte> own;
  ProgramInterpreter interpreter(program, io, state ? *state : own, fault, diagnostics, symbols);
  if (!interpreter.run(program.load_steps) || !interpreter.run(program.steps)) return Failure{};
  return {};
}

}  // namespace mica
