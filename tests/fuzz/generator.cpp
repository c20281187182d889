#include "generator.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>

#include "../fill.h"
#include "builders.h"
#include "mica/driver/tensor_file.h"
#include "variants.h"

namespace mica::fuzz {

namespace {

constexpr int64_t usual_elements = 2048, many_elements = 32768;

bool in_class(char c, DType t) {
  switch (c) {
    case 'f': return is_float(t);
    case 'n': return !is_bool(t);
    case 'b': return is_bool(t);
    case 'i': return is_integer(t);
    case 'l': return t == DType::i64;
    default: return true;
  }
}

bool has(std::string_view pattern, char c) { return pattern.find(c) != std::string_view::npos; }

bool broadcasts(const Shape& small, const Shape& to) {
  if (small.rank() > to.rank()) return false;
  for (int64_t i = 1; i <= small.rank(); ++i)
    if (small[-i] != 1 && small[-i] != to[-i]) return false;
  return true;
}

/// A row without its op name: the operands that it asks for, "a:f1+ b:n~".
std::vector<std::pair<char, std::string_view>> patterns_of(std::string_view operands) {
  std::vector<std::pair<char, std::string_view>> list;
  while (!operands.empty()) {
    const size_t end = std::min(operands.find(' '), operands.size());
    list.emplace_back(operands[0], operands.substr(2, end - 2));
    operands.remove_prefix(std::min(end + 1, operands.size()));
  }
  return list;
}

/// The dtype as TorchScript's number for it: names such as torch.float32 are Python's.
int torch_number(DType t) {
  constexpr int numbers[] = {7, 6, 5, 15, 4, 3, 2, 1, 0, 11};
  return numbers[static_cast<size_t>(t)];
}

template <class T> std::string list_text(const std::vector<T>& items) {
  std::string out = "[";
  for (size_t i = 0; i < items.size(); ++i) out += fmt::format("{}{}", i ? ", " : "", items[i]);
  return out + "]";
}

}  // namespace

RawTensor draw_values(Random& r, DType dtype, const std::vector<int64_t>& sizes, bool whole, bool special) {
  const bool real = is_float(dtype);
  RawTensor wide{{real ? DType::f64 : DType::i64, Shape(sizes), {}}, {}};
  const int kind = static_cast<int>(r.between(0, 9));
  const int64_t n = wide.type.shape.elements();
  wide.bytes.resize(static_cast<size_t>(n) * 8);
  for (int64_t i = 0; i < n; ++i) {
    double d = 0;
    int64_t k = 0;
    if (whole) d = static_cast<double>(k = is_bool(dtype) ? r.between(0, 1) : dtype == DType::u8 ? r.between(0, 4) : r.between(-4, 4));
    else if (!real)
      k = is_bool(dtype) ? r.between(0, 1) : kind == 0 ? r.between(dtype == DType::u8 ? 0 : -128, 127) : r.between(dtype == DType::u8 ? 0 : -5, 9);
    else if (kind < 5) d = r.normal();
    else if (kind < 7) d = 4 * r.unit() - 2;
    else if (kind < 8) d = static_cast<double>(r.between(-3, 3));
    else if (kind < 9) d = r.normal() * std::exp2(static_cast<double>(r.between(-8, 4)));
    else d = r.chance(0.3) ? r.one_of({0.0, -0.0, 1.0, -1.0}) : r.normal();
    if (special && r.chance(0.08)) d = r.one_of({std::nan(""), HUGE_VAL, -HUGE_VAL, 0.0, -0.0});
    if (real) std::memcpy(wide.bytes.data() + i * 8, &d, 8);
    else std::memcpy(wide.bytes.data() + i * 8, &k, 8);
  }
  return convert(wide, dtype);
}

Generator::Generator(uint64_t seed, const GeneratorOptions& options) : random_(seed), options_(options) {
  program_.seed = seed;
  program_.whole = random_.chance(0.2);
  program_.special = options.special && !program_.whole && random_.chance(0.25);
  options_.data_dependent |= random_.chance(0.3);
  keeps_ = random_.chance(0.2);
  scenes_.emplace_back(program_);
  constexpr DType dtypes[] = {DType::f32,  DType::f32,  DType::f32, DType::f32, DType::f32, DType::f64, DType::f16, DType::f16,
                              DType::bf16, DType::bf16, DType::i64, DType::i32, DType::i16, DType::i8,  DType::u8,  DType::b8};
  main_dtype_ = dtypes[random_.bits() % std::size(dtypes)];
}

std::string Generator::fresh() { return scenes_.size() > 1 ? fmt::format("t{}", next_local_++) : fmt::format("v{}", next_value_++); }

int64_t Generator::small_size() {
  const double p = random_.unit();
  if (p < 0.15) return 1;
  if (p < 0.17) return 0;
  if (p < 0.65) return random_.one_of({2, 3, 4, 5, 7, 8});
  if (p < 0.92) return random_.one_of({6, 9, 13, 15, 16, 17, 31, 32, 33});
  return random_.one_of({63, 64, 65, 127, 129});
}

std::vector<int64_t> Generator::sizes(int64_t rank) {
  std::vector<int64_t> s(static_cast<size_t>(rank));
  for (int64_t& d : s) d = small_size();
  const int64_t most = random_.chance(0.1) ? many_elements : usual_elements;
  const auto product = [&] { return std::accumulate(s.begin(), s.end(), int64_t{1}, std::multiplies<>()); };
  while (product() > most) *std::max_element(s.begin(), s.end()) = random_.between(1, 5);
  return s;
}

DType Generator::floating_dtype() {
  if (is_float(main_dtype_) && random_.chance(0.7)) return main_dtype_;
  return random_.one_of({DType::f32, DType::f32, DType::f32, DType::f64, DType::f16, DType::bf16});
}

std::string Generator::new_leaf(char letter, DType dtype, const std::vector<int64_t>& sizes) {
  Leaf leaf{fmt::format("{}{}", letter, next_leaf_++), draw_values(random_, dtype, sizes, program_.whole, program_.special)};
  for (Scene& s : scenes_) s.add_leaf(leaf);
  program_.leaves.push_back(leaf);
  return leaf.name;
}
std::string Generator::leaf(DType dtype, const std::vector<int64_t>& sizes) {
  return new_leaf(keeps_ && random_.chance(0.3) ? 's' : random_.chance(0.3) ? 'w' : 'x', dtype, sizes);
}
std::string Generator::parameter(DType dtype, const std::vector<int64_t>& sizes) { return new_leaf(random_.chance(0.8) ? 'w' : 'x', dtype, sizes); }

std::string Generator::pick(const Accept& accept) {
  std::vector<std::string> found;
  for (const auto& [name, v] : scene().variables())
    if (accept(v)) found.push_back(name);
  if (found.empty()) return {};
  // Results more than inputs: programs shall grow deep.
  const std::string first = random_.one_of(found);
  return first[0] == 'x' || first[0] == 'w' || first[0] == 's' ? random_.one_of(found) : first;
}

std::string Generator::tensor(DType dtype, const std::vector<int64_t>& sizes) {
  const Shape shape(sizes);
  if (random_.chance(0.5))
    if (std::string same = pick([&](const Variable& v) { return v.type.dtype == dtype && v.type.shape == shape; }); !same.empty()) return same;
  if (random_.chance(0.5) && shape.elements() > 0) {
    const std::string other = pick([&](const Variable& v) { return v.type.shape.elements() == shape.elements(); });
    if (!other.empty()) {
      const Variable& v = scene().at(other);
      std::string text = other;
      if (!(v.type.shape == shape)) text += fmt::format(".reshape({})", list_text(sizes));
      if (v.type.dtype != dtype) text += fmt::format(".to({})", torch_number(dtype));
      const std::string name = fresh();
      if (text != other && apply(fmt::format("{} = {}", name, text),
                                 is_float(dtype) && is_float(v.type.dtype) && v.type.dtype != dtype ? whole : exact | whole, "convert"))
        return name;
    }
  }
  return leaf(dtype, sizes);
}

std::string Generator::floating(int64_t rank) {
  if (random_.chance(0.6)) {
    const std::string v = pick([&](const Variable& x) { return is_float(x.type.dtype) && x.type.rank() == rank && x.type.shape.elements() > 0; });
    if (!v.empty()) return v;
  }
  std::vector<int64_t> s = sizes(rank);
  for (int64_t& d : s) d = std::max<int64_t>(d, 1);
  return leaf(floating_dtype(), s);
}

/// Not the caller's memory nor a parameter; inside a block only what it made itself, since the rest belongs to all iterations and branches.
bool Generator::writable(const std::string& name) const {
  if (scenes_.size() > 1) return name[0] == 't';
  if (name[0] != 'v' && name[0] != 's') return false;
  return std::ranges::none_of(program_.leaves, [&](const Leaf& leaf) {
    return !leaf.state() && scenes_.back().variables().count(leaf.name) && scenes_.back().share_storage(leaf.name, name);
  });
}

std::string Generator::target(const Accept& accept) {
  std::vector<std::string> found, kept;
  for (const auto& [name, v] : scene().variables())
    if (accept(v) && writable(name)) (name[0] == 's' ? kept : found).push_back(name);
  if (!kept.empty() && random_.chance(0.4)) return random_.one_of(kept);
  if (!found.empty() && random_.chance(0.9)) return random_.one_of(found);
  const std::string from = pick(accept);
  const std::string name = fresh();
  return !from.empty() && apply(fmt::format("{} = {}.clone()", name, from), exact | whole | same_type, "clone") ? name : std::string();
}

std::string Generator::number_for(DType dtype) {
  if (is_float(dtype) && !program_.whole && random_.chance(0.7)) return random_.one_of({"0.5", "-1.5", "2.25", "0.1", "-0.3", "3.0", "1.0"});
  return dtype == DType::u8 || is_bool(dtype) ? random_.one_of({"0", "1", "2", "3"}) : random_.one_of({"-2", "-1", "0", "1", "2", "3"});
}

std::string Generator::operand(std::string_view p, const std::string& a) {
  const Variable* first = a.empty() ? nullptr : &scene().at(a);
  if (has(p, '?') && random_.chance(0.35))
    return first && is_float(first->type.dtype) && random_.chance(0.1) ? "True" : number_for(first ? first->type.dtype : DType::f32);
  const size_t digit = p.find_first_of("0123456789");
  const int64_t rank = digit == std::string_view::npos ? 0 : p[digit] - '0';
  const bool least = digit == std::string_view::npos || has(p, '+'), like = first && (has(p, '=') || has(p, '~'));
  if (first && random_.chance(0.1) && in_class(p[0], first->type.dtype)) return a;  // both operands one
  const auto fits = [&](const Variable& v) {
    const TensorType& t = v.type;
    if (!in_class(p[0], t.dtype) || (has(p, '@') && t.dtype != first->type.dtype) || (has(p, '*') && t.shape.elements() == 0)) return false;
    if (like) return has(p, '=') ? t.shape == first->type.shape : broadcasts(t.shape, first->type.shape);
    return least ? t.rank() >= rank : t.rank() == rank;
  };
  if (random_.chance(0.65))
    if (std::string found = pick(fits); !found.empty()) return found;
  DType dtype = has(p, '@') ? first->type.dtype : random_.chance(0.6) ? main_dtype_ : static_cast<DType>(random_.between(0, 9));
  for (int i = 0; i < 40 && !in_class(p[0], dtype); ++i) dtype = static_cast<DType>(random_.between(0, 9));
  if (!in_class(p[0], dtype)) return {};
  std::vector<int64_t> s;
  if (like) {
    s = first->type.shape.sizes();
    if (has(p, '~')) {
      for (int64_t& d : s)
        if (random_.chance(0.25)) d = 1;
      if (!s.empty() && random_.chance(0.3)) s.erase(s.begin(), s.begin() + random_.between(1, static_cast<int64_t>(s.size())));
      else if (s.size() < 6 && random_.chance(0.08) && first->type.shape.elements() < 500) s.insert(s.begin(), random_.between(1, 3));
    }
  } else {
    constexpr int64_t ranks[] = {0, 1, 1, 2, 2, 2, 3, 3, 3, 4, 4, 5, 6};
    s = sizes(least ? std::max(rank, ranks[random_.bits() % std::size(ranks)]) : rank);
  }
  if (has(p, '*'))
    for (int64_t& d : s) d = std::max<int64_t>(d, 1);
  return tensor(dtype, s);
}

int64_t Generator::axis_of(std::string_view name, int64_t rank) {
  const int64_t axis = random_.between(0, std::max<int64_t>(rank - 1, 0));
  if (name == "axis2" && rank > 1) {
    const int64_t other = (std::stoll(said_["axis"]) + rank) % rank;
    return axis == other ? (axis + 1) % rank : axis;
  }
  return axis;
}

std::string Generator::subscript_of(const TensorType& type) {
  std::string out;
  int64_t axis = 0;
  const auto add = [&](const std::string& part) { out += (out.empty() ? "" : ", ") + part; };
  while (axis < type.rank() && (axis == 0 || random_.chance(0.7))) {
    const int64_t n = type.shape[axis];
    switch (random_.between(0, 7)) {
      case 0: add(n ? fmt::format("{}", random_.between(-n, n - 1)) : ":"), ++axis; break;
      case 1: add(":"), ++axis; break;
      case 2: add(fmt::format("{}:", random_.between(0, n))), ++axis; break;
      case 3: add(fmt::format(":{}", random_.between(-n, n))), ++axis; break;
      case 4: add(fmt::format("::{}", random_.between(2, 3))), ++axis; break;
      case 5: add(fmt::format("{}:{}:{}", random_.between(0, n / 2), n - random_.between(0, n / 3), random_.between(1, 3))), ++axis; break;
      case 6: add("None"); break;
      default:
        if (out.find("...") == std::string::npos && axis + 1 < type.rank()) add("..."), axis = type.rank() - 1;
        else add(":"), ++axis;
    }
    if (out.size() > 60) break;
  }
  return out;
}

bool Generator::apply(std::string text, uint32_t flags, std::string_view op) {
  Statement s{.text = std::move(text), .flags = flags, .reads = {}, .defines = {}, .op = std::string(op)};
  find_variables(s, scenes_.size() > 1);
  if (!scene().apply(s)) {
    ++tally_.refused[s.op];
    return false;
  }
  if (!s.reads.empty()) {
    const TensorType& t = scene().at(s.reads[0]).type;
    ++tally_.cells[fmt::format("{} {} {}", op, name_of(t.dtype), t.rank())];
  }
  if (scenes_.size() == 1) program_.statements.push_back(std::move(s));
  else blocks_.back().push_back(s.text);
  return true;
}

std::string Generator::write(const OpRow& row, const std::string& given, const std::string& result) {
  if (row.build) return row.build(*this);
  said_.clear();
  std::map<char, std::string> operands;
  for (const auto& [letter, pattern] : patterns_of(row.operands)) {
    std::string v;
    if (letter == 'a' && !given.empty()) v = in_class(pattern[0], scene().at(given).type.dtype) ? given : std::string();
    else if (letter == 'a' && row.flags & writes) {
      const std::string_view p = pattern;
      const size_t digit = p.find_first_of("0123456789");
      v = target([&](const Variable& x) {
        return in_class(p[0], x.type.dtype) && (digit == std::string_view::npos || x.type.rank() >= p[digit] - '0') &&
               (!has(p, '*') || x.type.shape.elements() > 0);
      });
    } else {
      v = operand(pattern, operands.count('a') ? operands['a'] : std::string());
    }
    if (v.empty()) return {};
    operands[letter] = v;
  }
  const std::string a = operands['a'];
  const int64_t rank = a.empty() ? 0 : scene().at(a).type.rank();
  const size_t digit = row.operands.find_first_of("0123456789");
  if (!a.empty() && digit == 3 && rank < row.operands[digit] - '0') return {};
  return with_own_locals(fill(row.text, [&](std::string_view name) -> std::string {
    if (name == "d" || name == "e") {
      std::string& said = said_[std::string(name)];
      if (said.empty()) said = !result.empty() && name == "d" ? result : fresh();
      return said;
    }
    return name.size() == 1 ? operands[name[0]] : literal(name, a);
  }));
}

/// q0, q1 ... are any type in any row: each statement has numbers of its own.
std::string Generator::with_own_locals(std::string text) {
  const int first = 10 * next_local_++;
  for (size_t i = 0; i + 1 < text.size(); ++i) {
    if (text[i] != 'q' || !std::isdigit(static_cast<unsigned char>(text[i + 1])) || (i && std::isalpha(static_cast<unsigned char>(text[i - 1]))))
      continue;
    text.replace(i, 2, fmt::format("q{}", first + text[i + 1] - '0'));
    while (i + 1 < text.size() && std::isdigit(static_cast<unsigned char>(text[i + 1]))) ++i;
  }
  return text;
}

bool Generator::step(const OpRow& row) {
  for (int attempt = 0; attempt < 3; ++attempt) {
    const std::string text = write(row);
    if (!text.empty() && apply(text, row.flags, row.name)) return true;
  }
  return false;
}

/// The same operator again, with other attributes: of what it made, or of what it was made of. Rules for two of a kind have something to do.
void Generator::once_more(const OpRow& row) {
  const Statement last = program_.statements.back();
  if (row.build || row.operands.empty() || last.defines.empty() || last.reads.empty()) return;
  const bool on_top = random_.chance(0.6);
  const std::string text = write(row, on_top ? last.defines[0] : last.reads[0]);
  if (text.empty() || !apply(text, row.flags, row.name) || on_top) return;
  const std::string other = program_.statements.back().defines.empty() ? std::string() : program_.statements.back().defines[0];
  if (other.empty() || !(scene().at(other).type.shape == scene().at(last.defines[0]).type.shape)) return;
  apply(fmt::format("{} = {} + {}", fresh(), last.defines[0], other), whole, "add");
}

/// A view of a tensor that may be written to; perhaps somebody reads it; then one of the two is written through, and both are looked at.
void Generator::look_through() {
  const std::string base = target([](const Variable& v) { return v.type.rank() > 0 && v.type.shape.elements() > 0; });
  if (base.empty()) return;
  const auto drawn = [&](uint32_t flag) {
    const OpRow* row = &draw_row();
    for (int i = 0; i < 400 && (!(row->flags & flag) || row->build || row->operands.empty()); ++i) row = &draw_row();
    return row;
  };
  const OpRow* looks = drawn(view);
  const std::string text = write(*looks, base);
  if (text.empty() || !apply(text, looks->flags, looks->name) || program_.statements.back().defines.empty()) return;
  const std::string seen = program_.statements.back().defines[0];
  if (random_.chance(0.4)) apply(fmt::format("{} = {}.clone()", fresh(), seen), exact | whole, "clone");
  for (int i = 0; i < 4; ++i) {
    const OpRow* changes = drawn(writes);
    const std::string change = write(*changes, random_.chance(0.5) ? base : seen);
    if (change.empty() || !apply(change, changes->flags, changes->name)) continue;
    looked_at_.insert(base);
    looked_at_.insert(seen);
    return;
  }
}

const OpRow& Generator::draw_row() {
  static const double total = [] {
    double sum = 0;
    for (const OpRow& r : op_rows()) sum += r.weight;
    return sum;
  }();
  double at = random_.unit() * total;
  for (const OpRow& r : op_rows())
    if ((at -= r.weight) < 0) return r;
  return op_rows()[0];
}

/// Numbers, by the name of the placeholder; `n` is the size of the axis that was said last.
std::string Generator::number_literal(std::string_view name, const TensorType& type, int64_t n) {
  Random& r = random_;
  const auto text = [](int64_t v) { return fmt::format("{}", v); };
  const int64_t some = std::max<int64_t>(n, 1);
  if (name == "num") return number_for(type.dtype);
  if (name == "int") return text(r.between(0, 3));
  if (name == "small") return text(r.between(0, 2));
  if (name == "small1") return text(r.between(1, 2));
  if (name == "k") return text(r.between(0, 1));
  if (name == "k1" || name == "window") return text(r.between(1, some));
  if (name == "keep") return r.chance(0.5) ? "True" : "False";
  if (name == "pos") return program_.whole ? r.one_of({"1", "2"}) : r.one_of({"0.5", "0.25", "1.0", "1.5"});
  if (name == "dtype")
    return fmt::format("{}", torch_number(r.chance(0.2) ? DType::f32 : r.chance(0.3) ? main_dtype_ : static_cast<DType>(r.between(0, 9))));
  if (name == "start") return text(r.between(0, n));
  if (name == "end") return r.chance(0.3) ? "None" : text(n - r.between(0, n / 2));
  if (name == "length") return text(r.between(0, std::max<int64_t>(0, n - (said_.count("start") ? std::stoll(said_["start"]) : 0))));
  if (name == "length9") return text(r.between(1, 9));
  if (name == "step") return text(r.between(1, 3));
  if (name == "index") return text(r.between(-some, some - 1));
  if (name == "offset") return text(r.between(-2, 2));
  if (name != "parts") return {};
  const int64_t cut = r.between(0, n);
  return fmt::format("{}, {}", cut, n - cut);
}

/// Factors of the number of elements, in any order, with a -1 now and then.
std::string Generator::factors(int64_t elements) {
  std::vector<int64_t> f;
  int64_t left = elements;
  while (left > 1 && f.size() < 4) {
    std::vector<int64_t> divisors;
    for (int64_t d = 1; d <= left; ++d)
      if (left % d == 0) divisors.push_back(d);
    f.push_back(random_.one_of(divisors));
    left /= f.back();
  }
  f.push_back(left);
  if (elements > 0 && random_.chance(0.3)) f[random_.bits() % f.size()] = -1;
  return list_text(f);
}

/// Lists of numbers.
std::string Generator::list_literal(std::string_view name, const Shape& shape, int64_t along) {
  const int64_t rank = shape.rank();
  std::vector<int64_t> list;
  const auto rows = [&](int64_t axis, int64_t count) {
    for (; count > 0; --count) list.push_back(random_.between(0, axis < rank ? std::max<int64_t>(shape[axis], 1) - 1 : 0));
    return fmt::format("torch.tensor({})", list_text(list));
  };
  if (name == "rows") return rows(along, random_.between(1, 5));
  if (name == "rows0") return rows(0, random_.between(1, 5));
  // As many as the first list has.
  if (name == "rows1" || name == "rows2") return rows(name == "rows1" ? 1 : 2, std::count(said_["rows0"].begin(), said_["rows0"].end(), ',') + 1);
  if (name == "axes") {
    for (int64_t i = 0; i < rank; ++i)
      if (random_.chance(0.5)) list.push_back(random_.chance(0.3) ? i - rank : i);
    if (list.empty()) list.push_back(random_.between(-rank, std::max<int64_t>(rank - 1, 0)));
  } else if (name == "perm") {
    for (int64_t i = 0; i < rank; ++i) list.push_back(i);
    for (size_t i = list.size(); i > 1; --i) std::swap(list[i - 1], list[random_.bits() % i]);
  } else if (name == "expand") {
    for (int64_t d : shape.sizes()) list.push_back(d == 1 ? random_.between(1, 5) : random_.chance(0.2) ? -1 : d);
    if (list.size() < 5 && shape.elements() < 2000 && random_.chance(0.5)) list.insert(list.begin(), random_.between(1, 4));
  } else if (name == "repeats") {
    for (int64_t i = rank + (rank < 5 && random_.chance(0.3) ? 1 : 0); i > 0; --i) list.push_back(random_.between(1, 2));
  } else if (name == "pads") {
    for (int64_t i = 2 * random_.between(1, std::max<int64_t>(rank, 1)); i > 0; --i) list.push_back(random_.between(-1, 2));
  } else if (name == "sizes") {
    list = sizes(random_.between(0, 3));
  }
  return list_text(list);
}

std::string Generator::literal(std::string_view name, const std::string& a) {
  const std::string key(name);
  const bool again = name != "num" && name != "int";
  if (again && said_.count(key)) return said_[key];
  const TensorType type = a.empty() ? TensorType{main_dtype_, {}, {}} : scene().at(a).type;
  const int64_t rank = type.rank();
  const int64_t along = said_.count("axis") && rank ? (std::stoll(said_["axis"]) + rank) % rank : 0, n = rank ? type.shape[along].size() : 1;
  std::string text;
  if (name == "axis" || name == "axis2") text = fmt::format("{}", axis_of(name, rank) - (random_.chance(0.4) ? std::max<int64_t>(rank, 1) : 0));
  else if (name == "axis0") text = fmt::format("{}", random_.between(0, rank));
  else if (name == "shape") text = factors(type.shape.elements());
  else if (name == "subscript") text = subscript_of(type);
  else if (name == "all_rows") text = fmt::format("torch.arange({}).flip([0])", n);
  else text = number_literal(name, type, n);
  if (text.empty()) text = list_literal(name, type.shape, along);
  if (again) said_[key] = text;
  return text;
}

// ---- blocks ----

void Generator::enter() {
  scenes_.push_back(scene().copy());
  blocks_.emplace_back();
}
void Generator::leave() {
  scenes_.pop_back();
  blocks_.pop_back();
}

std::vector<std::string> Generator::inner_lines(const std::string& variable, int count) {
  blocks_.back().clear();
  for (int i = 0; i < count; ++i) {
    // Something on the side, or the variable itself moved on.
    if (random_.chance(0.4)) {
      const OpRow& row = draw_row();
      if (!row.build) step(row);
      continue;
    }
    const OpRow* row = nullptr;
    for (int k = 0; k < 200 && !(row && row->flags & same_type && !row->build); ++k) row = &draw_row();
    const std::string text = write(*row, variable, variable);
    if (!text.empty()) apply(text, row->flags, row->name);
  }
  return blocks_.back();
}

// ---- whole programs ----

void Generator::choose_outputs() {
  std::set<std::string> read;
  for (const Statement& s : program_.statements) read.insert(s.reads.begin(), s.reads.end());
  std::vector<std::string> ends, others;
  for (const auto& [name, v] : scene().variables()) {
    if (v.type.rank() > 6) continue;
    if (name[0] != 'v') others.push_back(name);
    else (read.count(name) && !random_.chance(0.1) ? others : ends).push_back(name);
  }
  // Some results may stay unused: they are dead code.
  while (ends.size() > 1 && (ends.size() > 6 || random_.chance(0.1)))
    ends.erase(ends.begin() + random_.between(0, static_cast<int64_t>(ends.size()) - 1));
  if (!others.empty() && (ends.empty() || random_.chance(0.05))) ends.push_back(random_.one_of(others));
  for (const std::string& name : looked_at_)
    if (std::ranges::find(ends, name) == ends.end()) ends.push_back(name);
  program_.outputs = ends;
}

void Generator::prune() {
  std::set<std::string> read(program_.outputs.begin(), program_.outputs.end());
  for (const Statement& s : program_.statements) read.insert(s.reads.begin(), s.reads.end());
  std::erase_if(program_.leaves, [&](const Leaf& leaf) { return !read.count(leaf.name); });
  if (std::none_of(program_.leaves.begin(), program_.leaves.end(), [](const Leaf& l) { return !l.parameter(); })) leaf(DType::f32, {2});
}

Program Generator::make(std::vector<Expected>& expected) {
  const auto rows = op_rows();
  const double p = random_.unit();
  const int64_t wanted = p < 0.6 ? random_.between(3, 8) : p < 0.9 ? random_.between(9, 20) : random_.between(21, 40);
  // Each row has its turn: programs of seeds that follow each other start with different ones.
  step(rows[program_.seed % rows.size()]);
  for (int64_t i = 0; i < 4 * wanted && static_cast<int64_t>(program_.statements.size()) < wanted; ++i) {
    const OpRow& row = draw_row();
    if (step(row) && random_.chance(0.25)) once_more(row);
    if (random_.chance(0.12)) look_through();
  }
  choose_outputs();
  prune();
  expected = {scene().expect(program_.outputs)};
  vary(program_, scene(), random_, expected);
  return program_;
}

}  // namespace mica::fuzz
