// The expression is compiled to a small program over blocks of points: every node is one instruction that runs over the whole
// block, reductions are loops around instructions. An instruction stands in the outermost loop that it depends on, so what does
// not change in a loop is computed once before it. A reduction that needs fewer points than the result has (the row maximum of a
// softmax) is evaluated first, into a tensor of its own.
#include "evaluate.h"

#include <bit>
#include <cmath>
#include <cstring>

#include "mica/support/narrow_float.h"

namespace mica {

namespace {

constexpr int64_t block_size = 512;           // points: 4 KiB a slot, so that the slots of an ordinary op stay in the cache
constexpr uint32_t first_stage = 0xf0000000;  // ids of tensors that hold a reduction evaluated before

int64_t wrap(DType dtype, int64_t v) {
  switch (dtype) {
    case DType::i32: return static_cast<int32_t>(v);
    case DType::i16: return static_cast<int16_t>(v);
    case DType::i8: return static_cast<int8_t>(v);
    case DType::u8: return static_cast<uint8_t>(v);
    case DType::b8: return v != 0;
    default: return v;
  }
}

/// One value of a slot: a double or an integer, as the node's dtype says.
union Cell {
  double real;
  int64_t integer;
};

struct Slot {
  uint32_t index = 0;
  uint32_t depth = 0;    // of the block it is computed in
  bool uniform = false;  // the same for all points: one cell
};

struct Axis {  // one axis of a load
  Slot index;
  int64_t stride, size;
  bool checked;
};

struct Instruction {
  ExprOp op;
  ReduceOp reduce_op = ReduceOp::sum;
  DType dtype = DType::f64;  // of the result
  DType from = DType::f64;   // of the first operand
  Slot to;
  std::vector<Slot> args;
  std::vector<Axis> axes;  // load
  const HostTensor* source = nullptr;
  const ExprNode* node = nullptr;  // checked_index
};

struct Block;
struct Step {
  Instruction instruction;
  std::unique_ptr<Block> loop;  // set: a loop instead
};
struct Block {
  Slot var;
  int64_t low = 0, limit = 1;
  std::vector<Step> steps;
};

class Program {
 public:
  Program(const Expr& e, const std::vector<Expr>& vars, const Sources& sources) : vars_(vars), sources_(sources) {
    open_.push_back(&root_);
    for (const Expr& v : vars) {
      Slot s = slot(0, false);
      var_slots_[v->id] = s;
      point_slots_.push_back(s);
    }
    result_ = compile(e);
    cells_.resize(slots_ * block_size);
  }
  HostTensor run(DType dtype, std::optional<Fault>& fault);

 private:
  Slot slot(uint32_t depth, bool uniform) { return {static_cast<uint32_t>(slots_++), depth, uniform}; }
  Cell* cells(const Slot& s) { return cells_.data() + s.index * block_size; }
  Slot compile(const Expr& e);
  Slot compile_reduce(const Expr& e);
  Instruction compile_load(const Expr& e, const std::vector<Slot>& args) const;
  Slot emit(Instruction i, const ExprNode* node);
  uint32_t free_depth(const Expr& e) const;
  void execute(Block& b);
  void execute(const Instruction& i);
  void load(const Instruction& i, int64_t n);
  void check(const Instruction& i, int64_t n);
  void convert(const Instruction& i, int64_t n);
  void set_points(int64_t base, int64_t n);

  const std::vector<Expr>& vars_;
  const Sources& sources_;
  Block root_;
  std::vector<Block*> open_;  // by depth
  std::unordered_map<uint32_t, Slot> var_slots_;
  std::unordered_map<const ExprNode*, Slot> done_;
  std::vector<std::pair<const ExprNode*, uint32_t>> order_;  // what went into done_, with its depth
  std::vector<Slot> point_slots_;
  Slot result_;
  size_t slots_ = 0;
  std::vector<Cell> cells_;
  std::vector<int64_t> address_ = std::vector<int64_t>(block_size);
  std::vector<uint8_t> outside_ = std::vector<uint8_t>(block_size);
  int64_t points_ = 0;
  std::optional<Fault> fault_;
};

uint32_t Program::free_depth(const Expr& e) const {
  uint32_t depth = 0;
  for (const Expr& v : free_vars(e)) {
    const auto found = var_slots_.find(v->id);
    MICA_CHECK(found != var_slots_.end(), "a free variable that nothing binds");
    depth = std::max(depth, found->second.depth);
  }
  return depth;
}

Slot Program::emit(Instruction i, const ExprNode* node) {
  uint32_t depth = 0;
  bool uniform = true;
  for (const Slot& s : i.args) depth = std::max(depth, s.depth), uniform &= s.uniform;
  i.to = slot(depth, uniform);
  const Slot to = i.to;
  open_[depth]->steps.push_back({std::move(i), nullptr});
  done_[node] = to;
  order_.emplace_back(node, depth);
  return to;
}

Instruction Program::compile_load(const Expr& e, const std::vector<Slot>& args) const {
  Instruction i{.op = ExprOp::load, .dtype = e->type.dtype, .to = {}, .args = args, .axes = {}};
  const auto found = sources_.find(e->id);
  MICA_CHECK(found != sources_.end(), "a load from a value that is not there");
  i.source = found->second;
  const std::vector<int64_t> sizes = i.source->shape.sizes();
  MICA_CHECK(sizes.size() + e->masked == e->args.size(), "a load with the wrong number of indices");
  int64_t stride = 1;
  i.axes.resize(sizes.size());
  for (size_t axis = sizes.size(); axis-- > 0;) {
    const auto range = bounds(e->args[axis]);
    const bool inside = range && range->low >= 0 && range->high < sizes[axis];
    i.axes[axis] = {args[axis], stride, sizes[axis], !inside};
    stride *= sizes[axis];
  }
  return i;
}

Slot Program::compile_reduce(const Expr& e) {
  const uint32_t depth = free_depth(e);
  // The loops hang in the block of that depth, whichever blocks are open now.
  std::vector<Block*> inner(open_.begin() + depth + 1, open_.end());
  open_.resize(depth + 1);
  const size_t mark = order_.size();
  // The accumulator stands before the loops; whether it is the same for all points is known only after the body.
  const size_t place = open_[depth]->steps.size();
  std::vector<std::unique_ptr<Block>> loops;
  for (const Expr& v : e->vars) {
    auto loop = std::make_unique<Block>();
    loop->low = v->int_value;
    loop->limit = v->limit;
    loop->var = slot(static_cast<uint32_t>(open_.size()), true);
    var_slots_[v->id] = loop->var;
    open_.push_back(loop.get());
    loops.push_back(std::move(loop));
  }
  const Slot body = compile(e->args[0]);
  const DType dtype = e->type.dtype;
  const Slot accumulator = slot(depth, body.uniform);
  const Expr identity = reduce_identity(e->reduce_op, dtype);
  Instruction start{.op = identity->op, .dtype = dtype, .to = accumulator, .args = {}, .axes = {}, .node = nullptr};
  Instruction step{.op = ExprOp::reduce, .reduce_op = e->reduce_op, .dtype = dtype, .to = accumulator, .args = {accumulator, body}, .axes = {}};
  start.reduce_op = e->reduce_op;
  open_.back()->steps.push_back({std::move(step), nullptr});
  open_.resize(depth + 1);
  for (size_t k = loops.size(); k-- > 1;) loops[k - 1]->steps.push_back({{}, std::move(loops[k])});
  (void)place;
  open_[depth]->steps.push_back({std::move(start), nullptr});
  if (!loops.empty()) open_[depth]->steps.push_back({{}, std::move(loops[0])});
  open_.insert(open_.end(), inner.begin(), inner.end());
  // What was computed inside the loops is not there outside; another reduction may bind the same variables.
  for (size_t k = mark; k < order_.size(); ++k)
    if (order_[k].second > depth) done_.erase(order_[k].first);
  done_[e.get()] = accumulator;
  order_.emplace_back(e.get(), depth);
  return accumulator;
}

Slot Program::compile(const Expr& e) {
  if (const auto found = done_.find(e.get()); found != done_.end()) return found->second;
  MICA_CHECK(e->type.lanes == 1, "the interpreter takes scalar expressions");
  if (e->op == ExprOp::var) {
    const auto found = var_slots_.find(e->id);
    MICA_CHECK(found != var_slots_.end(), "a free variable that nothing binds");
    return found->second;
  }
  if (e->op == ExprOp::reduce) return compile_reduce(e);
  std::vector<Slot> args;
  for (const Expr& a : e->args) args.push_back(compile(a));
  if (e->op == ExprOp::load) return emit(compile_load(e, args), e.get());
  Instruction i{.op = e->op, .dtype = e->type.dtype, .to = {}, .args = std::move(args), .axes = {}, .node = e.get()};
  if (!e->args.empty()) i.from = e->args[0]->type.dtype;
  if (e->op == ExprOp::select) i.from = e->args[1]->type.dtype;
  return emit(std::move(i), e.get());
}

// ---- running ----

template <class In, class Out, class F> void map1(const Cell* a, Cell* to, int64_t n, F f) {
  for (int64_t k = 0; k < n; ++k) {
    In x;
    std::memcpy(&x, a + k, sizeof x);
    const Out r = f(x);
    std::memcpy(to + k, &r, sizeof r);
  }
}

template <class In, class Out, class F> void map2(const Cell* a, bool ua, const Cell* b, bool ub, Cell* to, int64_t n, F f) {
  const auto loop = [&](auto sa, auto sb) {
    for (int64_t k = 0; k < n; ++k) {
      In x, y;
      std::memcpy(&x, a + k * sa, sizeof x);
      std::memcpy(&y, b + k * sb, sizeof y);
      const Out r = f(x, y);
      std::memcpy(to + k, &r, sizeof r);
    }
  };
  constexpr std::integral_constant<int64_t, 0> same{};
  constexpr std::integral_constant<int64_t, 1> each{};
  if (ua && ub) loop(same, same);
  else if (ua) loop(same, each);
  else if (ub) loop(each, same);
  else loop(each, each);
}

double max_of(double a, double b) { return std::isnan(a) ? a : a > b ? a : b; }
double min_of(double a, double b) { return std::isnan(a) ? a : a < b ? a : b; }
int64_t plus(int64_t a, int64_t b) { return static_cast<int64_t>(static_cast<uint64_t>(a) + static_cast<uint64_t>(b)); }
int64_t minus(int64_t a, int64_t b) { return static_cast<int64_t>(static_cast<uint64_t>(a) - static_cast<uint64_t>(b)); }
int64_t times(int64_t a, int64_t b) { return static_cast<int64_t>(static_cast<uint64_t>(a) * static_cast<uint64_t>(b)); }
/// Division by zero, whose result a checked divisor makes unobservable, gives 0 instead of a signal.
int64_t quotient(int64_t a, int64_t b) { return b == 0 ? 0 : b == -1 ? minus(0, a) : a / b; }
int64_t remainder_of(int64_t a, int64_t b) { return b == 0 || b == -1 ? 0 : a % b; }
int64_t floor_quotient(int64_t a, int64_t b) {
  const int64_t r = remainder_of(a, b);
  return quotient(a, b) - (r != 0 && (r < 0) != (b < 0));
}
int64_t floor_remainder(int64_t a, int64_t b) {
  const int64_t r = remainder_of(a, b);
  return r != 0 && (r < 0) != (b < 0) ? r + b : r;
}
int64_t power(int64_t a, int64_t b) {
  if (b < 0) return a == 1 ? 1 : a == -1 ? (b % 2 ? -1 : 1) : 0;
  int64_t r = 1;
  for (; b; b >>= 1, a = times(a, a))
    if (b & 1) r = times(r, a);
  return r;
}

double unary(ExprOp op, double x) {
  switch (op) {
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
    case ExprOp::exp: return std::exp(x);
    case ExprOp::log: return std::log(x);
    default: break;
  }
  MICA_CHECK(false, name_of(op));
}

/// A number as memory and registers of its dtype hold it. What jumps (rounding to integers, comparing) has to decide on that number, as compiled
/// code does: 3 / 0.3f is 10 in f32, and a little less in fp64.
double held(DType dtype, double x) { return dtype == DType::f32 ? static_cast<double>(static_cast<float>(x)) : x; }

void unary_float(ExprOp op, DType dtype, const Cell* a, Cell* to, int64_t n) {
  const auto each = [&](auto f) { map1<double, double>(a, to, n, f); };
  switch (op) {
    case ExprOp::floor: return each([=](double x) { return std::floor(held(dtype, x)); });
    case ExprOp::ceil: return each([=](double x) { return std::ceil(held(dtype, x)); });
    case ExprOp::round: return each([=](double x) { return std::nearbyint(held(dtype, x)); });
    case ExprOp::trunc: return each([=](double x) { return std::trunc(held(dtype, x)); });
    case ExprOp::neg: return each([](double x) { return -x; });
    case ExprOp::abs: return each([](double x) { return std::fabs(x); });
    case ExprOp::sqrt: return each([](double x) { return std::sqrt(x); });
    case ExprOp::isnan: return map1<double, int64_t>(a, to, n, [](double x) -> int64_t { return std::isnan(x); });
    default: return each([op](double x) { return unary(op, x); });
  }
}

void unary_integer(ExprOp op, const Cell* a, Cell* to, int64_t n) {
  const auto each = [&](auto f) { map1<int64_t, int64_t>(a, to, n, f); };
  switch (op) {
    case ExprOp::neg: return each([](int64_t x) { return minus(0, x); });
    case ExprOp::abs: return each([](int64_t x) { return x < 0 ? minus(0, x) : x; });
    case ExprOp::lnot: return each([](int64_t x) -> int64_t { return !x; });
    case ExprOp::bnot: return each([](int64_t x) { return ~x; });
    case ExprOp::isnan: return each([](int64_t) -> int64_t { return 0; });
    case ExprOp::floor:
    case ExprOp::ceil:
    case ExprOp::round:
    case ExprOp::trunc: return each([](int64_t x) { return x; });
    default: MICA_CHECK(false, name_of(op));
  }
}

void binary_float(ExprOp op, DType dtype, const Cell* a, bool ua, const Cell* b, bool ub, Cell* to, int64_t n) {
  const auto each = [&](auto f) { map2<double, double>(a, ua, b, ub, to, n, f); };
  const auto test = [&](auto f) {
    map2<double, int64_t>(a, ua, b, ub, to, n, [=](double x, double y) -> int64_t { return f(held(dtype, x), held(dtype, y)); });
  };
  switch (op) {
    case ExprOp::add: return each([](double x, double y) { return x + y; });
    case ExprOp::sub: return each([](double x, double y) { return x - y; });
    case ExprOp::mul: return each([](double x, double y) { return x * y; });
    case ExprOp::div: return each([](double x, double y) { return x / y; });
    case ExprOp::min: return each([](double x, double y) { return x < y ? x : y; });
    case ExprOp::max: return each([](double x, double y) { return x > y ? x : y; });
    case ExprOp::pow: return each([](double x, double y) { return std::pow(x, y); });
    case ExprOp::atan2: return each([](double x, double y) { return std::atan2(x, y); });
    case ExprOp::fmod: return each([](double x, double y) { return std::fmod(x, y); });
    case ExprOp::floordiv: return each([=](double x, double y) { return std::floor(held(dtype, x / y)); });
    case ExprOp::floormod:
      return each([](double x, double y) {
        const double r = std::fmod(x, y);
        return r != 0 && (r < 0) != (y < 0) ? r + y : r;
      });
    case ExprOp::lt: return test([](double x, double y) { return x < y; });
    case ExprOp::le: return test([](double x, double y) { return x <= y; });
    case ExprOp::gt: return test([](double x, double y) { return x > y; });
    case ExprOp::ge: return test([](double x, double y) { return x >= y; });
    case ExprOp::eq: return test([](double x, double y) { return x == y; });
    case ExprOp::ne: return test([](double x, double y) { return x != y; });
    default: MICA_CHECK(false, name_of(op));
  }
}

void binary_integer(ExprOp op, DType dtype, const Cell* a, bool ua, const Cell* b, bool ub, Cell* to, int64_t n) {
  const auto each = [&](auto f) { map2<int64_t, int64_t>(a, ua, b, ub, to, n, [f](int64_t x, int64_t y) -> int64_t { return f(x, y); }); };
  const int width = static_cast<int>(size_of(dtype)) * 8;
  switch (op) {
    case ExprOp::add: return each(plus);
    case ExprOp::sub: return each(minus);
    case ExprOp::mul: return each(times);
    case ExprOp::div: return each(quotient);
    case ExprOp::floordiv: return each(floor_quotient);
    case ExprOp::floormod: return each(floor_remainder);
    case ExprOp::fmod: return each(remainder_of);
    case ExprOp::min: return each([](int64_t x, int64_t y) { return x < y ? x : y; });
    case ExprOp::max: return each([](int64_t x, int64_t y) { return x > y ? x : y; });
    case ExprOp::pow: return each(power);
    case ExprOp::band: return each([](int64_t x, int64_t y) { return x & y; });
    case ExprOp::bor: return each([](int64_t x, int64_t y) { return x | y; });
    case ExprOp::bxor: return each([](int64_t x, int64_t y) { return x ^ y; });
    case ExprOp::shl:
      return each([width](int64_t x, int64_t y) { return y < 0 || y >= width ? 0 : static_cast<int64_t>(static_cast<uint64_t>(x) << y); });
    case ExprOp::shr: {
      const bool keeps_sign = is_signed(dtype);
      return each([=](int64_t x, int64_t y) {
        if (y >= 0 && y < width) return x >> y;
        return keeps_sign ? x >> (width - 1) : 0;
      });
    }
    case ExprOp::ushr:
      return each([width](int64_t x, int64_t y) {
        const uint64_t bits = width == 64 ? static_cast<uint64_t>(x) : static_cast<uint64_t>(x) & ((uint64_t{1} << width) - 1);
        return y < 0 || y >= width ? 0 : static_cast<int64_t>(bits >> y);
      });
    case ExprOp::lt: return each([](int64_t x, int64_t y) { return x < y; });
    case ExprOp::le: return each([](int64_t x, int64_t y) { return x <= y; });
    case ExprOp::gt: return each([](int64_t x, int64_t y) { return x > y; });
    case ExprOp::ge: return each([](int64_t x, int64_t y) { return x >= y; });
    case ExprOp::eq: return each([](int64_t x, int64_t y) { return x == y; });
    case ExprOp::ne: return each([](int64_t x, int64_t y) { return x != y; });
    case ExprOp::land: return each([](int64_t x, int64_t y) { return x && y; });
    case ExprOp::lor: return each([](int64_t x, int64_t y) { return x || y; });
    default: MICA_CHECK(false, name_of(op));
  }
}

void combine(ReduceOp op, DType dtype, const Cell* a, const Cell* b, bool ub, Cell* to, int64_t n) {
  const auto real = [&](auto f) { map2<double, double>(a, false, b, ub, to, n, f); };
  const auto integer = [&](auto f) { map2<int64_t, int64_t>(a, false, b, ub, to, n, [f](int64_t x, int64_t y) -> int64_t { return f(x, y); }); };
  const bool is_real = is_float(dtype);
  switch (op) {
    case ReduceOp::sum: return is_real ? real([](double x, double y) { return x + y; }) : integer(plus);
    case ReduceOp::prod: return is_real ? real([](double x, double y) { return x * y; }) : integer(times);
    case ReduceOp::max: return is_real ? real(max_of) : integer([](int64_t x, int64_t y) { return x > y ? x : y; });
    case ReduceOp::min: return is_real ? real(min_of) : integer([](int64_t x, int64_t y) { return x < y ? x : y; });
    case ReduceOp::any: return integer([](int64_t x, int64_t y) { return x || y; });
    case ReduceOp::all: return integer([](int64_t x, int64_t y) { return x && y; });
  }
}

void Program::load(const Instruction& i, int64_t n) {
  int64_t constant = 0;
  bool outside_all = false, some_checked = false;
  std::fill_n(address_.begin(), n, 0);
  for (const Axis& axis : i.axes) {
    const Cell* index = cells(axis.index);
    if (axis.index.uniform) {
      const int64_t v = index[0].integer;
      outside_all |= v < 0 || v >= axis.size;
      constant += v * axis.stride;
      continue;
    }
    const int64_t stride = axis.stride;
    for (int64_t k = 0; k < n; ++k) address_[k] += index[k].integer * stride;
    if (!axis.checked) continue;
    if (!some_checked) std::fill_n(outside_.begin(), n, 0);
    some_checked = true;
    const auto size = static_cast<uint64_t>(axis.size);
    for (int64_t k = 0; k < n; ++k) outside_[k] |= static_cast<uint64_t>(index[k].integer) >= size;
  }
  Cell* to = cells(i.to);
  const bool masked = i.args.size() > i.axes.size();
  if (masked) {
    const Cell* mask = cells(i.args.back());
    if (!some_checked) std::fill_n(outside_.begin(), n, 0);
    some_checked = true;
    const bool uniform = i.args.back().uniform;
    for (int64_t k = 0; k < n; ++k) outside_[k] |= mask[uniform ? 0 : k].integer == 0;
  }
  // Reading outside is not a fault: a select above drops such a value (padding, concatenation).
  const auto read = [&](const auto& data) {
    using T = std::decay_t<decltype(data[0])>;
    const auto put = [&](int64_t k, T v) { std::memcpy(to + k, &v, sizeof v); };
    if (outside_all)
      for (int64_t k = 0; k < n; ++k) put(k, 0);
    else if (some_checked)
      for (int64_t k = 0; k < n; ++k) put(k, outside_[k] ? T(0) : data[address_[k] + constant]);
    else
      for (int64_t k = 0; k < n; ++k) put(k, data[address_[k] + constant]);
  };
  if (is_float(i.source->dtype)) read(i.source->real);
  else read(i.source->integer);
}

void Program::check(const Instruction& i, int64_t n) {
  const Cell* a = cells(i.args[0]);
  Cell* to = cells(i.to);
  const int64_t limit = i.node->limit;
  for (int64_t k = 0; k < n; ++k) {
    const int64_t v = a[k].integer;
    const bool inside = v >= 0 && v < limit;
    to[k].integer = inside ? v : 0;
    if (!inside && !fault_) fault_ = Fault{i.node->name, v, limit};
  }
}

/// As the processor converts: out of range and NaN give the least integer.
int64_t truncate(double x) { return x >= -9223372036854775808.0 && x < 9223372036854775808.0 ? static_cast<int64_t>(x) : INT64_MIN; }

int64_t bits_of(DType dtype, double x) {
  int64_t bits = 0;
  const auto bytes = scalar_bytes(dtype, x);
  std::memcpy(&bits, bytes.data(), bytes.size());
  return bits;
}

double from_bits(DType dtype, int64_t bits) {
  switch (dtype) {
    case DType::f64: return std::bit_cast<double>(bits);
    case DType::f32: return std::bit_cast<float>(static_cast<int32_t>(bits));
    case DType::f16: return from_f16(static_cast<uint16_t>(bits));
    default: return from_bf16(static_cast<uint16_t>(bits));
  }
}

void Program::convert(const Instruction& i, int64_t n) {
  const Cell* a = cells(i.args[0]);
  Cell* to = cells(i.to);
  const DType from = i.from, dtype = i.dtype;
  if (i.op == ExprOp::bitcast) {
    if (is_float(from) && !is_float(dtype)) map1<double, int64_t>(a, to, n, [=](double x) { return wrap(dtype, bits_of(from, x)); });
    else if (!is_float(from) && is_float(dtype)) map1<int64_t, double>(a, to, n, [=](int64_t x) { return from_bits(dtype, x); });
    else if (is_float(from)) map1<double, double>(a, to, n, [=](double x) { return from_bits(dtype, bits_of(from, x)); });
    else map1<int64_t, int64_t>(a, to, n, [=](int64_t x) { return wrap(dtype, x); });
  } else if (is_float(from) && is_float(dtype)) map1<double, double>(a, to, n, [](double x) { return x; });
  else if (is_bool(dtype) && is_float(from)) map1<double, int64_t>(a, to, n, [](double x) -> int64_t { return x != 0; });
  else if (is_float(from)) map1<double, int64_t>(a, to, n, [=](double x) { return wrap(dtype, truncate(held(from, x))); });
  else if (is_float(dtype)) map1<int64_t, double>(a, to, n, [](int64_t x) { return static_cast<double>(x); });
  else map1<int64_t, int64_t>(a, to, n, [=](int64_t x) { return wrap(dtype, x); });
}

void Program::execute(const Instruction& i) {
  const int64_t n = i.to.uniform ? 1 : points_;
  Cell* to = cells(i.to);
  const auto arg = [&](size_t k) { return cells(i.args[k]); };
  const auto same = [&](size_t k) { return i.args[k].uniform; };
  bool wraps = !is_float(i.dtype) && i.dtype != DType::i64 && i.dtype != DType::b8;
  if (i.op == ExprOp::imm_int || i.op == ExprOp::imm_float) {
    const Expr identity = i.node ? Expr() : reduce_identity(i.reduce_op, i.dtype);
    const ExprNode& source = i.node ? *i.node : *identity;
    Cell v;
    if (is_float(i.dtype)) v.real = source.op == ExprOp::imm_int ? static_cast<double>(source.int_value) : source.float_value;
    else v.integer = source.int_value;
    std::fill_n(to, n, v);
    return;
  }
  if (i.op == ExprOp::load) return load(i, n);
  if (i.op == ExprOp::checked_index) return check(i, n);
  if (i.op == ExprOp::cast || i.op == ExprOp::bitcast) return convert(i, n);
  if (i.op == ExprOp::reduce) {
    // A uniform accumulator is one cell; else the body may still be the same for all points.
    combine(i.reduce_op, i.dtype, arg(0), arg(1), same(1) && !i.to.uniform, to, n);
  } else if (i.op == ExprOp::select) {
    const Cell *c = arg(0), *a = arg(1), *b = arg(2);
    const int64_t sc = !same(0), sa = !same(1), sb = !same(2);
    for (int64_t k = 0; k < n; ++k) to[k].integer = c[k * sc].integer ? a[k * sa].integer : b[k * sb].integer;
    return;
  } else if (i.op == ExprOp::fma) {
    const Cell *a = arg(0), *b = arg(1), *c = arg(2);
    const int64_t sa = !same(0), sb = !same(1), sc = !same(2);
    for (int64_t k = 0; k < n; ++k) {
      if (is_float(i.dtype)) to[k].real = std::fma(a[k * sa].real, b[k * sb].real, c[k * sc].real);
      else to[k].integer = plus(times(a[k * sa].integer, b[k * sb].integer), c[k * sc].integer);
    }
  } else if (i.args.size() == 1) {
    if (is_float(i.from)) unary_float(i.op, i.from, arg(0), to, n);
    else unary_integer(i.op, arg(0), to, n);
    if (i.dtype == DType::b8 && i.op == ExprOp::bnot)
      for (int64_t k = 0; k < n; ++k) to[k].integer &= 1;
  } else {
    MICA_CHECK(i.args.size() == 2, name_of(i.op));
    if (is_float(i.from)) binary_float(i.op, i.from, arg(0), same(0), arg(1), same(1), to, n);
    else binary_integer(i.op, i.from, arg(0), same(0), arg(1), same(1), to, n);
    // bool arithmetic, where an op has it, is modulo nothing: true + true is true
    wraps |= i.dtype == DType::b8 && i.from == DType::b8;
  }
  if (wraps)
    for (int64_t k = 0; k < n; ++k) to[k].integer = wrap(i.dtype, to[k].integer);
}

void Program::execute(Block& b) {
  for (Step& s : b.steps) {
    if (!s.loop) {
      execute(s.instruction);
      continue;
    }
    Cell* var = cells(s.loop->var);
    for (int64_t v = s.loop->low; v < s.loop->limit; ++v) {
      var[0].integer = v;
      execute(*s.loop);
    }
  }
}

/// The indices of points base .. base + n of the row-major index space.
void Program::set_points(int64_t base, int64_t n) {
  int64_t inner = 1;
  for (size_t axis = vars_.size(); axis-- > 0;) {
    const int64_t size = vars_[axis]->limit;
    Cell* to = cells(point_slots_[axis]);
    int64_t index = base / inner % size, left = inner - base % inner;
    for (int64_t k = 0; k < n;) {
      const int64_t run = std::min(left, n - k);
      for (const int64_t end = k + run; k < end; ++k) to[k].integer = index;
      index = index + 1 == size ? 0 : index + 1;
      left = inner;
    }
    inner *= size;
  }
}

HostTensor Program::run(DType dtype, std::optional<Fault>& fault) {
  HostTensor out;
  out.dtype = dtype;
  std::vector<int64_t> sizes;
  for (const Expr& v : vars_) sizes.push_back(v->limit);
  out.shape = Shape(sizes);
  const int64_t total = out.elements();
  const bool real = is_float(dtype);
  if (real) out.real.resize(total);
  else out.integer.resize(total);
  for (int64_t base = 0; base < total && !fault_; base += block_size) {
    points_ = std::min(block_size, total - base);
    set_points(base, points_);
    execute(root_);
    const Cell* from = cells(result_);
    const int64_t step = !result_.uniform;
    if (real)
      for (int64_t k = 0; k < points_; ++k) out.real[base + k] = from[k * step].real;
    else
      for (int64_t k = 0; k < points_; ++k) out.integer[base + k] = from[k * step].integer;
  }
  fault = fault_;
  return out;
}

int64_t extent_of(const std::vector<Expr>& vars) {
  int64_t n = 1;
  for (const Expr& v : vars) n *= v->limit - v->int_value;
  return n;
}

}  // namespace

HostTensor evaluate(const Expr& e, const std::vector<Expr>& vars, const Sources& sources, std::optional<Fault>& fault) {
  Sources all = sources;
  std::vector<std::unique_ptr<HostTensor>> stages;
  const int64_t points = extent_of(vars);
  const Expr staged = rewrite(e, [&](const Expr& node) -> Expr {
    if (node->op != ExprOp::reduce || points == 0 || fault) return {};
    const std::vector<Expr> free = free_vars(node);
    bool from_zero = true;
    for (const Expr& v : free) from_zero &= v->int_value == 0;
    if (!from_zero || extent_of(free) * 2 > points) return {};
    auto tensor = std::make_unique<HostTensor>(Program(node, free, all).run(node->type.dtype, fault));
    const auto id = static_cast<uint32_t>(first_stage + stages.size());
    all[id] = tensor.get();
    stages.push_back(std::move(tensor));
    return make_load(id, node->type, free);
  });
  if (fault) return {};
  return Program(staged, vars, all).run(e->type.dtype, fault);
}

}  // namespace mica
