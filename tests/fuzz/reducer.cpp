#include "reducer.h"

#include <algorithm>
#include <cstring>

#include "mica/driver/tensor_file.h"

namespace mica::fuzz {

namespace {

constexpr int most_trials = 600;

/// `text` with every whole word `from` replaced.
std::string renamed(const std::string& text, const std::string& from, const std::string& to) {
  const auto is_word = [](char c) { return std::isalnum(static_cast<unsigned char>(c)) || c == '_'; };
  std::string out;
  for (size_t i = 0; i < text.size();) {
    const bool starts = i == 0 || !is_word(text[i - 1]);
    const size_t end = i + from.size();
    if (starts && text.compare(i, from.size(), from) == 0 && (end >= text.size() || !is_word(text[end]))) {
      // A decimal point on either side makes it another number.
      if (!(end < text.size() && text[end] == '.' && std::isdigit(static_cast<unsigned char>(from[0]))) && !(i && text[i - 1] == '.')) {
        out += to;
        i = end;
        continue;
      }
    }
    out += text[i++];
  }
  return out;
}

/// The part of the tensor that the smaller sizes leave.
RawTensor cropped(const RawTensor& t, const std::vector<int64_t>& sizes) {
  RawTensor out{{t.type.dtype, Shape(sizes), {}}, {}};
  const auto bytes = static_cast<size_t>(size_of(t.type.dtype));
  const std::vector<Dim> strides = t.type.strides();
  std::vector<int64_t> at(sizes.size());
  for (int64_t n = out.type.shape.elements(); n > 0; --n) {
    int64_t offset = 0;
    for (size_t i = 0; i < at.size(); ++i) offset += at[i] * strides[i];
    const std::byte* from = t.bytes.data() + static_cast<size_t>(offset) * bytes;
    out.bytes.insert(out.bytes.end(), from, from + bytes);
    for (size_t i = at.size(); i-- > 0 && ++at[i] == sizes[i];) at[i] = 0;
  }
  return out;
}

class Reducer {
 public:
  Reducer(Program program, Config config, const std::filesystem::path& folder, const Limits& limits)
      : best_(std::move(program)), config_(std::move(config)), folder_(folder), limits_(limits) {}

  std::optional<Reduced> run() {
    const auto first = try_program(best_, config_, folder_, limits_);
    if (!first || first->outcome == Outcome::passed) return std::nullopt;
    verdict_ = *first;
    fewer_runs();
    for (size_t before = ~size_t{0}; size() < before;) {
      before = size();
      keep_one_output();
      remove_statements();
      cut_at_values();
      shrink_sizes();
    }
    simplify_values();
    enable_passes();
    return Reduced{best_, verdict_, config_, tried_};
  }

 private:
  size_t size() const {
    size_t n = 100 * best_.statements.size() + 10 * best_.leaves.size() + best_.outputs.size();
    for (const Leaf& leaf : best_.leaves) n += leaf.value.bytes.size();
    return n;
  }

  /// Keeps `p` if it fails as before.
  bool keep(Program p) {
    if (tried_ >= most_trials) return false;
    ++tried_;
    drop_unread(p);
    const auto v = try_program(p, config_, folder_, limits_);
    if (!v || v->outcome != verdict_.outcome || v->kind != verdict_.kind) return false;
    best_ = std::move(p);
    verdict_ = *v;
    return true;
  }

  static void drop_unread(Program& p) {
    std::set<std::string> read(p.outputs.begin(), p.outputs.end());
    for (size_t i = p.statements.size(); i-- > 0;) {
      const Statement& s = p.statements[i];
      const bool needed = (s.flags & writes) || std::any_of(s.defines.begin(), s.defines.end(), [&](const auto& d) { return read.count(d) > 0; });
      if (needed) read.insert(s.reads.begin(), s.reads.end());
      else p.statements.erase(p.statements.begin() + static_cast<std::ptrdiff_t>(i));
    }
    const auto is_input = [](const Leaf& l) { return !l.parameter(); };
    const auto spare = std::find_if(p.leaves.begin(), p.leaves.end(), is_input);
    const Leaf kept = spare == p.leaves.end() ? Leaf{} : *spare;
    std::erase_if(p.leaves, [&](const Leaf& leaf) { return !read.count(leaf.name); });
    // A program without an input is another kind of program.
    if (!kept.name.empty() && std::none_of(p.leaves.begin(), p.leaves.end(), is_input)) p.leaves.push_back(kept);
  }

  /// One run, no symbols, one function, where that is enough.
  void fewer_runs() {
    if (best_.runs() > 1) keep(best_.first_run());
    for (size_t i = best_.more_runs.size(); i-- > 0;) {
      Program p = best_;
      if (i < p.more_runs.size()) p.more_runs.erase(p.more_runs.begin() + static_cast<std::ptrdiff_t>(i));
      keep(std::move(p));
    }
    Program flat = best_;
    for (Statement& s : flat.statements) s.group = -1;
    keep(std::move(flat));
  }

  void keep_one_output() {
    if (best_.outputs.size() < 2) return;
    for (const std::string& name : std::vector<std::string>(best_.outputs)) {
      Program p = best_;
      p.outputs = {name};
      if (keep(std::move(p))) return;
    }
    for (size_t i = best_.outputs.size(); i-- > 0;) {
      Program p = best_;
      p.outputs.erase(p.outputs.begin() + static_cast<std::ptrdiff_t>(i));
      if (!p.outputs.empty()) keep(std::move(p));
    }
  }

  void remove_statements() {
    for (size_t i = best_.statements.size(); i-- > 0;) {
      if (i >= best_.statements.size()) continue;
      Program p = best_;
      p.statements.erase(p.statements.begin() + static_cast<std::ptrdiff_t>(i));
      if (keep(std::move(p))) continue;
      // What it makes may do as well: another value of the same type in the place of the one it defines.
      const Statement s = best_.statements[i];
      if (s.defines.size() != 1 || s.reads.empty()) continue;
      for (const std::string& r : s.reads) {
        Program q = best_;
        q.statements.erase(q.statements.begin() + static_cast<std::ptrdiff_t>(i));
        for (Statement& other : q.statements) other.text = renamed(other.text, s.defines[0], r), find_variables(other);
        for (std::string& o : q.outputs) o = o == s.defines[0] ? r : o;
        if (keep(std::move(q))) break;
      }
    }
  }

  /// Everything up to statement `count` goes; what is read of it behind becomes inputs.
  bool cut(size_t count) {
    if (best_.runs() > 1) return false;  // what the head makes differs from run to run
    Program head = best_;
    head.statements.resize(count);
    head.outputs.clear();
    auto scene = stage(head);
    if (!scene) return false;
    Program p = best_;
    p.statements.erase(p.statements.begin(), p.statements.begin() + static_cast<std::ptrdiff_t>(count));
    std::set<std::string> made;
    for (const Statement& s : head.statements) made.insert(s.defines.begin(), s.defines.end());
    for (const std::string& name : made) {
      const std::string leaf = fmt::format("x{}", 900 + next_leaf_++);
      p.leaves.push_back({leaf, scene->value(name)});
      for (Statement& s : p.statements) s.text = renamed(s.text, name, leaf), find_variables(s);
      for (std::string& o : p.outputs) o = o == name ? leaf : o;
    }
    return keep(std::move(p));
  }

  void cut_at_values() {
    for (size_t count = best_.statements.size(); count-- > 1;)
      if (count < best_.statements.size() && cut(count)) return;
  }

  /// A size and the same number in the text become smaller together.
  void shrink_sizes() {
    std::set<int64_t, std::greater<>> sizes;
    for (const Leaf& leaf : best_.leaves)
      for (int64_t d : leaf.value.type.shape.sizes())
        if (d > 1) sizes.insert(d);
    for (int64_t n : sizes)
      for (int64_t less : {int64_t{1}, int64_t{2}, int64_t{3}, n / 2, n - 1})
        if (less < n && less > 0 && shrink(n, less)) break;
  }

  bool shrink(int64_t n, int64_t less) {
    if (best_.runs() > 1) return false;
    Program p = best_;
    for (Leaf& leaf : p.leaves) {
      std::vector<int64_t> sizes = leaf.value.type.shape.sizes();
      std::replace(sizes.begin(), sizes.end(), n, less);
      leaf.value = cropped(leaf.value, sizes);
    }
    Program plain = p;
    for (Statement& s : p.statements) s.text = renamed(s.text, std::to_string(n), std::to_string(less)), find_variables(s);
    return keep(std::move(p)) || keep(std::move(plain));
  }

  void simplify_values() {
    for (size_t i = 0; i < best_.leaves.size(); ++i) {
      for (int how = 0; how < 3; ++how) {
        Program p = best_;
        std::vector<double> values = doubles_of(p.leaves[i].value);
        for (size_t k = 0; k < values.size(); ++k) values[k] = how == 0 ? 1 : how == 1 ? static_cast<double>(k + 1) : std::round(values[k] * 4) / 4;
        RawTensor wide{{DType::f64, p.leaves[i].value.type.shape, {}}, std::vector<std::byte>(values.size() * 8)};
        if (!values.empty()) std::memcpy(wide.bytes.data(), values.data(), wide.bytes.size());
        p.leaves[i].value = convert(wide, p.leaves[i].value.type.dtype);
        if (keep(std::move(p))) break;
      }
    }
  }

  void enable_passes() {
    for (const std::string& pass : std::vector<std::string>(config_.disabled_passes)) {
      Config c = config_;
      std::erase(c.disabled_passes, pass);
      const auto v = try_program(best_, c, folder_, limits_);
      if (v && v->outcome == verdict_.outcome && v->kind == verdict_.kind) config_ = c;
    }
  }

  Program best_;
  Config config_;
  const std::filesystem::path& folder_;
  const Limits& limits_;
  Verdict verdict_;
  int tried_ = 0, next_leaf_ = 0;
};

}  // namespace

std::optional<Reduced> reduce(const Program& program, const Config& config, const std::filesystem::path& folder, const Limits& limits) {
  return Reducer(program, config, folder, limits).run();
}

}  // namespace mica::fuzz
