#include "mica/ops/kernel_builder.h"

namespace mica {

KernelBuilder::KernelBuilder(const Graph& graph, const Node& node) : graph_(graph), node_(node) {
  kernel_.name = std::string(node.info->name());
  node.for_operands([&](Value v) { add_param(v, false); });
  for (const Value v : node.results) add_param(v, true);
}

void KernelBuilder::add_param(Value v, bool written) {
  for (const KernelParam& p : params_) {
    if (p.value == v) return;  // an operand that is given twice
  }
  const TensorType& t = graph_.type(v);
  params_.push_back({written ? KernelParam::Kind::result : KernelParam::Kind::operand, v, t.dtype, t.shape.elements()});
  Buffer b;
  b.name = fmt::format("v{}", v.id);
  b.element = {t.dtype, 1};
  b.elements = t.shape.elements();
  b.written = written;
  kernel_.add_buffer(std::move(b));
}

uint32_t KernelBuilder::param(Value v) const {
  size_t i = 0;
  while (i < params_.size() && !(params_[i].kind != KernelParam::Kind::scratch && params_[i].value == v)) ++i;
  MICA_CHECK(i < params_.size(), "a kernel reads and writes its own operands and results");
  return static_cast<uint32_t>(i);
}

uint32_t KernelBuilder::scratch(DType dtype, const Dim& elements) {
  MICA_CHECK(params_.size() == kernel_.buffers.size(), "scratch memory is asked for before local arrays");
  params_.push_back({KernelParam::Kind::scratch, {}, dtype, elements});
  Buffer b;
  b.name = fmt::format("scratch{}", kernel_.buffers.size());
  b.element = {dtype, 1};
  b.elements = elements;
  b.written = true;
  return kernel_.add_buffer(std::move(b));
}

uint32_t KernelBuilder::local(std::string name, DType dtype, int64_t elements) {
  Buffer b;
  b.name = std::move(name);
  b.element = {dtype, 1};
  b.elements = elements;
  b.memory = elements == 1 ? Memory::registers : Memory::stack;
  b.written = true;
  return kernel_.add_buffer(std::move(b));
}

Expr flat_index(const TensorType& type, const std::vector<Expr>& where) {
  const std::vector<Dim> strides = type.strides();
  MICA_CHECK(where.size() == strides.size(), "one index for each axis");
  Expr flat(0);
  for (size_t a = 0; a < where.size(); ++a) {
    if (type.shape[static_cast<int64_t>(a)] != 1) flat = flat + where[a] * Expr(strides[a]);
  }
  return simplify(flat);
}

Expr KernelBuilder::load(Value v, const std::vector<Expr>& where) const {
  return make_load(param(v), {type(v).dtype, 1}, {flat_index(type(v), where)});
}
Stmt KernelBuilder::store(Value v, const std::vector<Expr>& where, const Expr& value) const {
  return Stmt::store(param(v), flat_index(type(v), where), value);
}
Expr KernelBuilder::load(uint32_t buffer, const Expr& index) const { return make_load(buffer, kernel_.buffers.at(buffer).element, {index}); }

Expr KernelBuilder::checked(const Expr& index, const Dim& extent, std::string_view what) {
  const std::string text = fmt::format("{}: {}", node_.info->name(), what);
  size_t site = 0;
  while (site < faults_.size() && faults_[site] != text) ++site;
  if (site == faults_.size()) faults_.push_back(text);
  return checked_index(cast(DType::i64, index), extent, text, static_cast<uint32_t>(site));
}

void KernelBuilder::run(const Expr& task, const Dim& tasks, std::vector<Stmt> body) {
  kernel_.task = task;
  kernel_.tasks = tasks;
  kernel_.body = std::move(body);
  for (const KernelParam& p : params_) kernel_.bytes += static_cast<double>(p.elements.typical() * size_of(p.dtype));
}

Lines::Lines(const Shape& s, int64_t along) : shape(s), axis(s.rank() ? (along < 0 ? along + s.rank() : along) : 0) {
  if (!s.rank()) return;
  length = s[axis];
  for (int64_t a = 0; a < s.rank(); ++a) {
    if (a != axis) count *= s[a];
  }
}

std::vector<Expr> Lines::at(const Expr& line, const Expr& i) const {
  std::vector<Expr> where(static_cast<size_t>(shape.rank()), Expr(0));
  Dim inner = 1;
  for (int64_t a = shape.rank(); a-- > 0;) {
    if (a == axis) {
      where[a] = i;
      continue;
    }
    if (shape[a] == 1) continue;
    // The outermost axis needs no remainder.
    const Expr e = floordiv(line, Expr(inner));
    inner *= shape[a];
    where[a] = inner == count ? e : floormod(e, Expr(shape[a]));
  }
  return where;
}

}  // namespace mica
