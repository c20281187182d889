// Finds how an operator is imported: a function listed with its overload, a spelling of an op, or a function listed for all overloads, in
// this order. In-place operators are imported as their functional twins.
#include "mica/ops/import.h"

#include <algorithm>
#include <charconv>
#include <cstring>
#include <map>
#include <unordered_map>

#include "import_families.h"
#include "mica/ops/compare.h"
#include "mica/ops/control.h"
#include "mica/ops/reduce.h"
#include "mica/ops/view.h"

namespace mica {

namespace {

constexpr std::pair<int64_t, DType> scalar_types[] = {{0, DType::u8},  {1, DType::i8},  {2, DType::i16}, {3, DType::i32}, {4, DType::i64},
                                                      {5, DType::f16}, {6, DType::f32}, {7, DType::f64}, {11, DType::b8}, {15, DType::bf16}};

std::string_view trim(std::string_view s) {
  while (!s.empty() && s.front() == ' ') s.remove_prefix(1);
  while (!s.empty() && s.back() == ' ') s.remove_suffix(1);
  return s;
}

std::string_view without_overload(std::string_view op) {
  const size_t colon = op.find("::"), dot = op.find('.', colon == std::string_view::npos ? 0 : colon);
  return op.substr(0, dot);
}

/// "aten::add_.Tensor" => "aten::add.Tensor"; names such as __and__ and those that do not end in one underscore stay.
std::string functional_name(std::string_view op) {
  const std::string_view base = without_overload(op);
  std::string out(op);
  if (base.ends_with("__") || !base.ends_with('_')) {
    // Dunder in-place operators: __iand__ is __and__.
    if (base.starts_with("aten::__i") && base.ends_with("__") && base != "aten::__is__" && base != "aten::__isnot__") out.erase(8, 1);
    return out;
  }
  return out.erase(base.size() - 1, 1);
}

struct SpelledOp {
  const OpInfo* info;
  Spelling spelling;
};

struct Tables {
  std::unordered_map<std::string, ImportFn> functions;
  std::unordered_map<std::string, SpelledOp> spellings;
};

const Tables& tables() {
  static const Tables all = [] {
    Tables t;
    for (auto family : {import_pointwise(), import_view(), import_reduce(), import_matmul(), import_nn(), import_index(), import_factory(),
                        import_resample(), import_rnn(), import_compose(), import_measure(), import_unique(), import_meta()}) {
      for (const ImportEntry& e : family) t.functions.emplace(e.op, e.fn);
    }
    for (const OpInfo* info : all_ops()) {
      for (Spelling& s : parse_spellings(info->spec->torch)) t.spellings.emplace(std::string(s.op), SpelledOp{info, std::move(s)});
    }
    return t;
  }();
  return all;
}

struct Found {
  ImportFn fn = nullptr;
  const SpelledOp* spelled = nullptr;
  explicit operator bool() const { return fn || spelled; }
};

Found find_functional(const std::string& op) {
  const Tables& t = tables();
  if (auto it = t.functions.find(op); it != t.functions.end()) return {it->second, nullptr};
  if (auto it = t.spellings.find(op); it != t.spellings.end()) return {nullptr, &it->second};
  if (auto it = t.functions.find(std::string(without_overload(op))); it != t.functions.end()) return {it->second, nullptr};
  return {};
}

/// One argument as the attribute that the field's default shows the type of.
Attr to_attribute(ImportContext& ctx, std::string_view arg, const Attr& like) {
  if (std::holds_alternative<Value>(like)) return ctx.tensor(arg);
  if (std::holds_alternative<OptValue>(like)) return ctx.optional_tensor(arg);
  if (std::holds_alternative<Values>(like)) return Values(ctx.tensors(arg));
  if (!ctx.has(arg)) return like;
  if (std::holds_alternative<int64_t>(like)) return ctx.integer(arg);
  if (std::holds_alternative<double>(like)) return ctx.real(arg);
  if (std::holds_alternative<bool>(like)) return ctx.boolean(arg);
  if (std::holds_alternative<DType>(like)) return *ctx.dtype(arg);
  if (std::holds_alternative<Ints>(like)) return Ints(ctx.ints(arg));
  if (std::holds_alternative<Dim>(like)) return ctx.size(arg);
  if (std::holds_alternative<Dims>(like)) return Dims(ctx.sizes(arg));
  if (std::holds_alternative<Scalar>(like)) return ctx.scalar(arg);
  return ctx.text(arg);
}

std::vector<ImportValue> import_spelled(ImportContext& ctx, const SpelledOp& spelled) {
  std::vector<Attr> fields = spelled.info->defaults();
  const Signature& signature = spelled.info->spec->signature;
  std::optional<DType> cast_to;
  for (const auto& [arg, field] : spelled.spelling.args) {
    if (field == "_") continue;
    if (field == "!") {
      cast_to = ctx.dtype(arg);
      continue;
    }
    const size_t i = std::ranges::find(signature.params, field) - signature.params.begin();
    MICA_CHECK(i < signature.count, "a spelling names a field that the op has not");
    fields[i] = to_attribute(ctx, arg, fields[i]);
  }
  for (const ImportArg& a : ctx.args) {
    const bool named = std::ranges::any_of(spelled.spelling.args, [&](const auto& p) { return p.first == a.name; });
    const bool* off = std::get_if<bool>(&a.value);
    if (!named && ctx.has(a.name) && !(off && !*off))
      ctx.unsupported("unsupported-argument", fmt::format("argument `{}` is not supported here", a.name));
  }
  if (cast_to) {
    for (Attr& f : fields) {
      if (Value* v = std::get_if<Value>(&f)) {
        *v = ctx.create(Cast{*v, *cast_to});
        break;
      }
    }
  }
  const auto results = ctx.builder.append(spelled.info, std::move(fields));
  if (results.empty()) throw ImportFailure{};
  return {results.begin(), results.end()};
}

/// An in-place operator's result takes self's dtype and must have its shape.
void fit_to_self(ImportContext& ctx, Value self, std::vector<ImportValue>& results) {
  if (results.empty() || !std::holds_alternative<Value>(results[0])) return;
  Value v = std::get<Value>(results[0]);
  if (ctx.shape(v) != ctx.shape(self)) {
    ctx.fail("in-place-shape",
             fmt::format("the result {} does not fit the tensor {} that is changed in place", ctx.type(v).to_string(), ctx.type(self).to_string()));
  }
  if (ctx.type(v).dtype != ctx.type(self).dtype) v = ctx.create(Cast{v, ctx.type(self).dtype});
  results[0] = v;
}

/// Of nothing there is no greatest element: where a size turns out to be 0, the run fails as PyTorch's does.
void check_extrema(ImportContext& ctx, size_t first) {
  const Graph& graph = ctx.builder.graph();
  if (graph.symbols.empty()) return;
  const size_t end = graph.nodes.size();
  for (size_t i = first; i < end; ++i) {
    const Node& n = graph.nodes[i];
    std::optional<std::pair<Value, Ints>> reduced;
    if (const auto op = match<Amax>(n)) reduced = {op->x, op->axes};
    else if (const auto least = match<Amin>(n)) reduced = {least->x, least->axes};
    else if (const auto place = match<Argmax>(n)) reduced = {place->x, Ints{place->axis}};
    else if (const auto other = match<Argmin>(n)) reduced = {other->x, Ints{other->axis}};
    if (!reduced) continue;
    const Shape shape = ctx.shape(reduced->first);
    for (const int64_t axis : reduced->second.items) {
      if (!shape.rank() || shape[axis].is_static() || shape[axis].low() > 0) continue;
      const Value some = ctx.create(Gt{size_number(ctx, shape[axis]), constant(ctx, DType::i64, Scalar(0))});
      ctx.builder.create_all(Check{some, fmt::format("{}: the reduced axis has no elements", ctx.op)});
    }
  }
}

}  // namespace

std::vector<Spelling> parse_spellings(std::string_view torch) {
  std::vector<Spelling> out;
  while (!trim(torch).empty()) {
    const size_t end = torch.find(';');
    const std::string_view one = trim(torch.substr(0, end));
    torch = end == std::string_view::npos ? std::string_view() : torch.substr(end + 1);
    const size_t open = one.find('('), close = one.rfind(')');
    MICA_CHECK(open != std::string_view::npos && close != std::string_view::npos && close > open, "spelling without arguments");
    Spelling s{trim(one.substr(0, open)), {}};
    std::string_view args = one.substr(open + 1, close - open - 1);
    while (!trim(args).empty()) {
      const size_t comma = args.find(',');
      const std::string_view pair = trim(args.substr(0, comma));
      args = comma == std::string_view::npos ? std::string_view() : args.substr(comma + 1);
      const size_t equals = pair.find('=');
      MICA_CHECK(equals != std::string_view::npos, "spelling: an argument needs a field");
      s.args.emplace_back(pair.substr(0, equals), pair.substr(equals + 1));
    }
    out.push_back(std::move(s));
  }
  return out;
}

std::optional<DType> dtype_from_torch(int64_t code) {
  for (const auto& [c, t] : scalar_types) {
    if (c == code) return t;
  }
  return std::nullopt;
}
int64_t dtype_to_torch(DType dtype) {
  for (const auto& [c, t] : scalar_types) {
    if (t == dtype) return c;
  }
  return -1;
}

bool is_importable(std::string_view op) { return find_functional(std::string(op)) || find_functional(functional_name(op)); }

std::vector<std::string> importable_ops() {
  std::vector<std::string> names;
  for (const auto& [name, fn] : tables().functions) names.push_back(name);
  for (const auto& [name, op] : tables().spellings) names.push_back(name);
  std::ranges::sort(names);
  names.erase(std::unique(names.begin(), names.end()), names.end());
  return names;
}

Result<std::vector<ImportValue>> import_op(ImportContext& ctx) {
  const std::string written = ctx.op;
  try {
    Found found = find_functional(written);
    const bool in_place = !found;
    if (in_place) {
      ctx.op = functional_name(written);
      found = find_functional(ctx.op);
    }
    if (!found) ctx.unsupported("unsupported-op", "is not supported");
    const size_t made = ctx.builder.graph().nodes.size();
    auto results = found.fn ? found.fn(ctx) : import_spelled(ctx, *found.spelled);
    check_extrema(ctx, made);
    if (in_place && ctx.is_tensor("self")) fit_to_self(ctx, ctx.tensor("self"), results);
    ctx.op = written;
    return results;
  } catch (const ImportFailure&) {
  } catch (const SymbolicSize& size) {
    Diagnostic& d = report_symbolic(ctx.builder.diagnostics(), written, size);
    if (ctx.location.known()) d.at(ctx.location);
  }
  ctx.op = written;
  return Failure{};
}

}  // namespace mica
