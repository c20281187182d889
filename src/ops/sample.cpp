#include "mica/ops/sample.h"

#include <algorithm>
#include <charconv>
#include <cmath>

namespace mica {

namespace {

/// Walks the text of one sample.
class Reader {
 public:
  explicit Reader(std::string_view text) : rest_(text) {}
  bool take(std::string_view token) {
    skip();
    if (!rest_.starts_with(token)) return false;
    rest_.remove_prefix(token.size());
    return true;
  }
  bool at(char c) {
    skip();
    return !rest_.empty() && rest_.front() == c;
  }
  bool done() {
    skip();
    return rest_.empty();
  }
  std::string_view word() {
    skip();
    size_t n = 0;
    while (n < rest_.size() && (std::isalnum(static_cast<unsigned char>(rest_[n])) || rest_[n] == '_')) ++n;
    const auto w = rest_.substr(0, n);
    rest_.remove_prefix(n);
    return w;
  }
  std::optional<double> number() {
    skip();
    if (take("-inf")) return -HUGE_VAL;
    if (take("inf")) return HUGE_VAL;
    // A range's two dots are not part of a number.
    size_t n = 0;
    while (n < rest_.size() && (std::isdigit(static_cast<unsigned char>(rest_[n])) || rest_[n] == '-' || rest_[n] == 'e' ||
                                (rest_[n] == '.' && rest_.substr(n, 2) != "..")))
      ++n;
    double v = 0;
    const auto [end, error] = std::from_chars(rest_.data(), rest_.data() + n, v);
    if (error != std::errc() || n == 0) return std::nullopt;
    whole_ = rest_.substr(0, n).find_first_of(".e") == std::string_view::npos;
    rest_.remove_prefix(static_cast<size_t>(end - rest_.data()));
    return v;
  }
  bool last_was_whole() const { return whole_; }
  std::string_view rest() const { return rest_; }

 private:
  void skip() {
    while (!rest_.empty() && rest_.front() == ' ') rest_.remove_prefix(1);
  }
  std::string_view rest_;
  bool whole_ = true;
};

std::optional<std::vector<int64_t>> read_ints(Reader& r) {
  if (!r.take("[")) return std::nullopt;
  std::vector<int64_t> out;
  while (!r.at(']')) {
    const auto v = r.number();
    if (!v) return std::nullopt;
    out.push_back(static_cast<int64_t>(*v));
    if (!r.take(",") && !r.at(']')) return std::nullopt;
  }
  r.take("]");
  return out;
}

/// "f32[2, 3] in -1..1"
std::optional<SampleInput> read_input(Reader& r, std::string name) {
  const auto dtype = parse_dtype(r.word());
  const auto sizes = dtype ? read_ints(r) : std::nullopt;
  if (!sizes) return std::nullopt;
  SampleInput in{std::move(name), {*dtype, Shape(*sizes), {}}, -2, 2};
  if (!is_float(*dtype)) {
    in.low = 0;
    in.high = is_bool(*dtype) ? 2 : 3;
  }
  if (r.take("in ")) {
    const auto low = r.number();
    if (!low || !r.take("..")) return std::nullopt;
    const auto high = r.number();
    if (!high) return std::nullopt;
    in.low = *low;
    in.high = *high;
  }
  return in;
}

/// Replaces a field's default by what the text says, in the type that the default has. False when it does not parse.
bool read_field(Reader& r, Attr& field, const std::string& name, Sample& sample) {
  const auto input = [&](const std::string& input_name) -> Value {
    auto in = read_input(r, input_name);
    if (!in) return {};
    const Value v = sample.graph.add_input(in->type, input_name);
    sample.inputs.push_back(std::move(*in));
    return v;
  };
  if (auto v = std::get_if<Value>(&field)) return static_cast<bool>(*v = input(name));
  if (auto v = std::get_if<OptValue>(&field)) return static_cast<bool>(v->value = input(name));
  if (auto list = std::get_if<Values>(&field)) {
    list->items.clear();
    if (!r.take("[")) return false;
    while (!r.at(']')) {
      list->items.push_back(input(name + std::to_string(list->size())));
      if (!list->items.back() || (!r.take(",") && !r.at(']'))) return false;
    }
    return r.take("]");
  }
  if (auto ints = std::get_if<Ints>(&field)) {
    auto list = read_ints(r);
    if (list) ints->items = std::move(*list);
    return list.has_value();
  }
  if (auto sizes = std::get_if<Dims>(&field)) {
    auto list = read_ints(r);
    if (list) *sizes = Dims(*list);
    return list.has_value();
  }
  if (auto text = std::get_if<std::string>(&field)) {
    *text = r.word();
    return !text->empty();
  }
  if (auto flag = std::get_if<bool>(&field)) {
    *flag = r.take("true");
    return *flag || r.take("false");
  }
  if (auto dtype = std::get_if<DType>(&field)) {
    const auto t = parse_dtype(r.word());
    *dtype = t.value_or(*dtype);
    return t.has_value();
  }
  const auto number = r.number();
  if (!number) return false;
  if (auto i = std::get_if<int64_t>(&field)) *i = static_cast<int64_t>(*number);
  else if (auto size = std::get_if<Dim>(&field)) *size = Dim(static_cast<int64_t>(*number));
  else if (auto f = std::get_if<double>(&field)) *f = *number;
  else if (auto s = std::get_if<Scalar>(&field)) *s = r.last_was_whole() ? Scalar(static_cast<int64_t>(*number)) : Scalar(*number);
  else return false;
  return true;
}

/// splitmix64: small, and the same everywhere.
uint64_t next_random(uint64_t& state) {
  uint64_t z = (state += 0x9e3779b97f4a7c15ull);
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
  return z ^ (z >> 31);
}

}  // namespace

Result<Sample> parse_sample(const OpInfo& op, std::string_view text, Diagnostics& diagnostics) {
  Sample sample;
  sample.text = std::string(text);
  std::vector<Attr> fields = op.defaults();
  Reader r(text);
  const auto wrong = [&](std::string_view what) -> Failure {
    diagnostics.error("sample-syntax", "sample `{}` of {}: {} before `{}`", text, op.name(), what, r.rest());
    return Failure{};
  };
  while (!r.done()) {
    const std::string name(r.word());
    const auto& params = op.spec->signature.params;
    const auto it = std::find(params.begin(), params.begin() + op.spec->signature.count, name);
    if (it == params.begin() + op.spec->signature.count) return wrong(fmt::format("`{}` is not a field", name));
    if (!r.take("=")) return wrong("a `=` is missing");
    if (!read_field(r, fields[it - params.begin()], name, sample)) return wrong(fmt::format("no value for `{}`", name));
    if (!r.take(",") && !r.done()) return wrong("a comma is missing");
  }
  Builder builder(sample.graph, diagnostics);
  const auto results = builder.append(&op, std::move(fields));
  if (results.empty()) {
    if (!diagnostics.has_errors()) return wrong("a tensor operand is missing");
    return Failure{};
  }
  sample.graph.outputs = results;
  for (size_t i = 0; i < results.size(); ++i) sample.graph.output_names.push_back(fmt::format("y{}", i));
  sample.graph.renumber();
  return sample;
}

Result<std::vector<SampleInput>> parse_sample_inputs(std::string_view text, Diagnostics& diagnostics) {
  std::vector<SampleInput> inputs;
  Reader r(text);
  while (!r.done()) {
    const std::string name(r.word());
    auto in = r.take("=") ? read_input(r, name) : std::nullopt;
    if (!in || (!r.take(",") && !r.done())) {
      diagnostics.error("sample-syntax", "inputs `{}`: no tensor before `{}`", text, r.rest());
      return Failure{};
    }
    inputs.push_back(std::move(*in));
  }
  return inputs;
}

std::vector<std::vector<std::byte>> draw_inputs(const std::vector<SampleInput>& inputs, uint64_t seed) {
  std::vector<std::vector<std::byte>> out;
  uint64_t state = seed;
  for (const SampleInput& in : inputs) {
    std::vector<std::byte> bytes;
    for (int64_t i = 0; i < in.type.shape.elements(); ++i) {
      const double unit = static_cast<double>(next_random(state) >> 11) * 0x1p-53;
      double v = in.low + unit * (in.high - in.low);
      if (!is_float(in.type.dtype)) v = std::min(std::floor(v), in.high - 1);
      const auto one = scalar_bytes(in.type.dtype, v);
      bytes.insert(bytes.end(), one.begin(), one.end());
    }
    out.push_back(std::move(bytes));
  }
  return out;
}

}  // namespace mica
