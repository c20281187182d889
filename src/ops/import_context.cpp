// How import functions look at arguments, and the small constructions that they share.
#include <cstring>
#include <numeric>

#include "import_families.h"
#include "mica/ops/compare.h"
#include "mica/ops/factory.h"
#include "mica/ops/view.h"

namespace mica {

namespace {
const ImportValue none;

std::string_view kind_of(const ImportValue& v) {
  constexpr std::string_view names[] = {"None",     "a tensor",           "a list of tensors", "an integer", "a number",       "a bool",
                                        "a string", "a list of integers", "a list of numbers", "a size",     "a list of sizes"};
  return names[v.index()];
}
}  // namespace

const ImportValue& ImportContext::arg(std::string_view name) const {
  for (const ImportArg& a : args) {
    if (a.name == name) return a.value;
  }
  return none;
}

bool ImportContext::is_number(std::string_view name) const {
  const ImportValue& v = arg(name);
  return std::holds_alternative<int64_t>(v) || std::holds_alternative<double>(v) || std::holds_alternative<bool>(v);
}

bool ImportContext::is_list(std::string_view name) const {
  const ImportValue& v = arg(name);
  return std::holds_alternative<Values>(v) || std::holds_alternative<Dims>(v) || std::holds_alternative<std::vector<int64_t>>(v) ||
         std::holds_alternative<std::vector<double>>(v);
}

void ImportContext::fail(std::string_view name, std::string message) {
  Diagnostic& d = builder.diagnostics().error(name, "{}: {}", op, message);
  if (location.known()) d.at(location);
  throw ImportFailure{};
}

void ImportContext::unsupported(std::string_view name, std::string message) {
  Diagnostic& d = builder.diagnostics().unsupported(name, "{}: {}", op, message);
  if (location.known()) d.at(location);
  throw ImportFailure{};
}

Value ImportContext::tensor(std::string_view name) {
  const ImportValue& v = arg(name);
  if (const Value* t = std::get_if<Value>(&v); t && *t) return *t;
  if (auto i = std::get_if<int64_t>(&v)) return constant(*this, DType::i64, Scalar(*i));
  if (auto r = std::get_if<double>(&v)) return constant(*this, DType::f32, Scalar(*r));
  if (auto b = std::get_if<bool>(&v)) return constant(*this, DType::b8, Scalar(*b));
  if (auto s = std::get_if<Dim>(&v)) return create(SizeValue{*s});
  fail("import-argument", fmt::format("argument `{}` must be a tensor, not {}", name, kind_of(v)));
}

OptValue ImportContext::optional_tensor(std::string_view name) { return has(name) ? OptValue(tensor(name)) : OptValue(); }

std::vector<Value> ImportContext::tensors(std::string_view name) {
  const ImportValue& v = arg(name);
  if (auto list = std::get_if<Values>(&v)) return list->items;
  if (auto one = std::get_if<Value>(&v)) return {*one};
  if (auto empty = std::get_if<std::vector<int64_t>>(&v); empty && empty->empty()) return {};
  fail("import-argument", fmt::format("argument `{}` must be a list of tensors, not {}", name, kind_of(v)));
}

int64_t ImportContext::integer(std::string_view name) {
  const ImportValue& v = arg(name);
  if (auto i = std::get_if<int64_t>(&v)) return *i;
  if (auto b = std::get_if<bool>(&v)) return *b;
  if (auto r = std::get_if<double>(&v); r && *r == static_cast<double>(static_cast<int64_t>(*r))) return static_cast<int64_t>(*r);
  if (auto list = std::get_if<std::vector<int64_t>>(&v); list && list->size() == 1) return (*list)[0];
  if (auto s = std::get_if<Dim>(&v)) return s->size();
  fail("import-argument", fmt::format("argument `{}` must be an integer that is known when compiling, not {}", name, kind_of(v)));
}

double ImportContext::real(std::string_view name) {
  const Scalar s = scalar(name);
  return s.real;
}

bool ImportContext::boolean(std::string_view name) {
  const Scalar s = scalar(name);
  return s.real != 0;
}

Scalar ImportContext::scalar(std::string_view name) {
  const ImportValue& v = arg(name);
  if (auto i = std::get_if<int64_t>(&v)) return Scalar(*i);
  if (auto r = std::get_if<double>(&v)) return Scalar(*r);
  if (auto b = std::get_if<bool>(&v)) return Scalar(*b);
  if (auto s = std::get_if<Dim>(&v)) return Scalar(s->size());
  fail("import-argument", fmt::format("argument `{}` must be a number that is known when compiling, not {}", name, kind_of(v)));
}

std::string ImportContext::text(std::string_view name) {
  if (auto s = std::get_if<std::string>(&arg(name))) return *s;
  fail("import-argument", fmt::format("argument `{}` must be a string, not {}", name, kind_of(arg(name))));
}

std::vector<int64_t> ImportContext::ints(std::string_view name) {
  const ImportValue& v = arg(name);
  if (std::holds_alternative<std::monostate>(v)) return {};
  if (auto list = std::get_if<std::vector<int64_t>>(&v)) return *list;
  if (auto reals_ = std::get_if<std::vector<double>>(&v); reals_ && reals_->empty()) return {};
  if (auto tensors_ = std::get_if<Values>(&v); tensors_ && tensors_->items.empty()) return {};
  if (auto list = std::get_if<Dims>(&v)) return Shape(list->items).sizes();
  return {integer(name)};
}

Dim ImportContext::size(std::string_view name) {
  if (auto s = std::get_if<Dim>(&arg(name))) return *s;
  return integer(name);
}

std::vector<Dim> ImportContext::sizes(std::string_view name) {
  const ImportValue& v = arg(name);
  if (auto list = std::get_if<Dims>(&v)) return list->items;
  if (auto one = std::get_if<Dim>(&v)) return {*one};
  const std::vector<int64_t> known = ints(name);
  return {known.begin(), known.end()};
}

std::vector<int64_t> ImportContext::ints(std::string_view name, int64_t count) {
  std::vector<int64_t> list = ints(name);
  if (list.size() == 1) list.resize(static_cast<size_t>(count), list[0]);
  if (static_cast<int64_t>(list.size()) != count)
    fail("import-argument", fmt::format("argument `{}` must have {} numbers, not {}", name, count, list.size()));
  return list;
}

std::vector<double> ImportContext::reals(std::string_view name) {
  const ImportValue& v = arg(name);
  if (std::holds_alternative<std::monostate>(v)) return {};
  if (auto list = std::get_if<std::vector<double>>(&v)) return *list;
  if (auto list = std::get_if<std::vector<int64_t>>(&v)) return {list->begin(), list->end()};
  return {real(name)};
}

std::optional<DType> ImportContext::dtype(std::string_view name) {
  if (!has(name)) return std::nullopt;
  const int64_t code = integer(name);
  const auto t = dtype_from_torch(code);
  if (!t)
    unsupported("unsupported-dtype", fmt::format("dtype {} of argument `{}` is not supported (complex and quantised types are not)", code, name));
  return t;
}

int64_t ImportContext::normal_axis(int64_t axis, int64_t rank) {
  const int64_t r = std::max<int64_t>(rank, 1);
  if (axis < -r || axis >= r)
    fail("axis-out-of-range", fmt::format("axis {} is out of range for a tensor of rank {} (it takes {} to {})", axis, rank, -r, r - 1));
  return axis < 0 ? axis + r : axis;
}

std::vector<int64_t> ImportContext::axes_of(std::string_view name, Value x) {
  std::vector<int64_t> axes = ints(name);
  if (axes.empty()) {
    axes.resize(static_cast<size_t>(rank(x)));
    std::iota(axes.begin(), axes.end(), 0);
    return axes;
  }
  for (int64_t& a : axes) a = normal_axis(a, rank(x));
  if (!rank(x)) axes.clear();
  return axes;
}

Value constant(ImportContext& ctx, DType dtype, const Scalar& s) {
  if (dtype != DType::i64) return ctx.builder.scalar(dtype, s.real);
  std::vector<std::byte> bytes(sizeof(int64_t));
  std::memcpy(bytes.data(), &s.integer, sizeof(int64_t));
  return ctx.builder.graph().add_constant({DType::i64, {}, {}}, ConstantData::own(std::move(bytes)));
}

Value constant_tensor(ImportContext& ctx, DType dtype, const Shape& shape, const std::vector<double>& values) {
  std::vector<std::byte> bytes;
  for (double v : values) {
    const auto one = scalar_bytes(dtype, v);
    bytes.insert(bytes.end(), one.begin(), one.end());
  }
  return ctx.builder.graph().add_constant({dtype, shape, {}}, ConstantData::own(std::move(bytes)));
}

Value number(ImportContext& ctx, const Scalar& s, Value beside) {
  const TensorType t = ctx.type(beside);
  DType dtype = t.dtype;
  if (is_float(s.dtype) && !is_float(dtype)) dtype = DType::f32;
  if (is_integer(s.dtype) && is_bool(dtype)) dtype = DType::i64;
  // torch keeps the number in the type that it computes in. Beside a rank-0 tensor an f32 constant would widen the result, so there it is rounded.
  if (t.rank()) dtype = working(dtype);
  return constant(ctx, dtype, s);
}

Value operand(ImportContext& ctx, std::string_view name, Value beside) {
  return ctx.is_tensor(name) ? ctx.tensor(name) : number(ctx, ctx.scalar(name), beside);
}

Value cast_to(ImportContext& ctx, Value v, DType dtype) { return ctx.type(v).dtype == dtype ? v : ctx.create(Cast{v, dtype}); }

Value reshape_to(ImportContext& ctx, Value v, Dims sizes) {
  return ctx.shape(v) == Shape(sizes.items) ? v : ctx.create(Reshape{v, std::move(sizes)});
}

Value expand_to(ImportContext& ctx, Value v, const Shape& shape) { return ctx.shape(v) == shape ? v : ctx.create(Expand{v, shape.dims()}); }

Value permute_to(ImportContext& ctx, Value v, std::vector<int64_t> axes) {
  return std::is_sorted(axes.begin(), axes.end()) ? v : ctx.create(Permute{v, Ints(std::move(axes))});
}

Value size_number(ImportContext& ctx, const Dim& size) {
  return size.is_static() ? constant(ctx, DType::i64, Scalar(size.size())) : ctx.create(SizeValue{size});
}

Value unsqueeze_at(ImportContext& ctx, Value v, int64_t axis) {
  std::vector<Dim> sizes = ctx.shape(v).dims();
  sizes.insert(sizes.begin() + axis, Dim(1));
  return reshape_to(ctx, v, std::move(sizes));
}

Value squeeze_at(ImportContext& ctx, Value v, int64_t axis) {
  std::vector<Dim> sizes = ctx.shape(v).dims();
  sizes.erase(sizes.begin() + axis);
  return reshape_to(ctx, v, std::move(sizes));
}

Value swap_axes(ImportContext& ctx, Value v, int64_t a, int64_t b) {
  std::vector<int64_t> axes(static_cast<size_t>(ctx.rank(v)));
  std::iota(axes.begin(), axes.end(), 0);
  if (!axes.empty()) std::swap(axes[a], axes[b]);
  return permute_to(ctx, v, std::move(axes));
}

}  // namespace mica
