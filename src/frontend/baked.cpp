#include "baked.h"

#include <algorithm>
#include <cmath>
#include <optional>
#include <set>

#include "locate.h"

namespace mica::frontend {
namespace {

using torch::jit::Node;

/// A symbolic dimension, as the sample had it.
struct Sampled {
  int64_t size = 0;
  std::string dim, input;
  int64_t axis = 0;
};

/// Operators whose integers say how large something is or where a part of it ends; which of them are sizes, by the schema's names.
struct Shaping {
  std::string_view op;
  std::vector<std::string_view> arguments;
};
const Shaping all_shaping[] = {
    {"aten::view", {"size"}},
    {"aten::reshape", {"shape"}},
    {"aten::expand", {"size"}},
    {"aten::broadcast_to", {"size"}},
    {"aten::unflatten", {"sizes"}},
    {"aten::repeat", {"repeats"}},
    {"aten::arange", {"end"}},
    {"aten::linspace", {"steps"}},
    {"aten::full", {"size"}},
    {"aten::zeros", {"size"}},
    {"aten::ones", {"size"}},
    {"aten::empty", {"size"}},
    {"aten::new_full", {"size"}},
    {"aten::new_zeros", {"size"}},
    {"aten::new_ones", {"size"}},
    {"aten::slice", {"start", "end"}},
    {"aten::narrow", {"start", "length"}},
    {"aten::split", {"split_size"}},
    {"aten::split_with_sizes", {"split_sizes"}},
    {"aten::one_hot", {"num_classes"}},
    {"aten::upsample_nearest2d", {"output_size"}},
    {"aten::upsample_bilinear2d", {"output_size"}},
    {"aten::upsample_bicubic2d", {"output_size"}},
    {"aten::adaptive_avg_pool2d", {"output_size"}},
};

std::optional<c10::IValue> constant_of(const torch::jit::Value* v) {
  const Node* n = v->node();
  if (n->kind() != c10::prim::Constant || n->outputs().size() != 1) return std::nullopt;
  return torch::jit::toIValue(v);
}

/// The integers that the program itself holds for an argument: a constant, or the constants of a list.
std::vector<int64_t> written_ints(const torch::jit::Value* v) {
  std::vector<int64_t> out;
  if (v->node()->kind() == c10::prim::ListConstruct) {
    for (const auto* item : v->node()->inputs()) {
      for (const int64_t n : written_ints(item)) out.push_back(n);
    }
    return out;
  }
  const auto constant = constant_of(v);
  if (!constant) return out;
  if (constant->isInt()) out.push_back(constant->toInt());
  else if (constant->isIntList()) out = constant->toIntVector();
  return out;
}

/// The number by which a division or a product scales.
std::optional<double> written_factor(const Node& node) {
  const std::string name = node.kind().toQualString();
  if ((name != "aten::div" && name != "aten::mul" && name != "aten::div_" && name != "aten::mul_") || node.inputs().size() < 2) return std::nullopt;
  const auto constant = constant_of(node.inputs()[1]);
  if (!constant) return std::nullopt;
  if (constant->isInt()) return static_cast<double>(constant->toInt());
  if (constant->isDouble()) return constant->toDouble();
  if (constant->isTensor() && constant->toTensor().defined() && constant->toTensor().numel() == 1) return constant->toTensor().item().toDouble();
  return std::nullopt;
}

/// n, sqrt(n), or one over these; not the small numbers and roots that stand in programs for other reasons.
bool is_scale_of(double factor, int64_t n) {
  const double size = static_cast<double>(n), root = std::sqrt(size);
  const auto is = [&](double x) { return std::fabs(factor - x) <= 1e-7 * std::fabs(x); };
  if (n > 8 && (is(size) || is(1 / size))) return true;
  return root != std::floor(root) && n > 8 && (is(root) || is(1 / root));
}

class Search {
 public:
  Search(std::vector<Sampled> dims, Diagnostics& diagnostics) : dims_(std::move(dims)), diagnostics_(diagnostics) {}

  void walk(const torch::jit::Block& block) {
    for (const Node* node : block.nodes()) {
      look(*node);
      for (const auto* inner : node->blocks()) walk(*inner);
      if (node->kind() == c10::prim::CallMethod) enter(*node);
    }
  }

 private:
  void enter(const Node& call) {
    const auto type = call.inputs()[0]->type()->cast<c10::ClassType>();
    auto* function = type ? type->findMethod(call.s(c10::attr::name)) : nullptr;
    auto* graph = function ? torch::jit::tryToGraphFunction(*function) : nullptr;
    if (!graph || !entered_.insert(function).second) return;
    callers_.push_back(&call);
    walk(*graph->graph()->block());
    callers_.pop_back();
  }

  void look(const Node& node) {
    const std::string name = node.kind().toQualString();
    const auto* schema = node.maybeSchema();
    for (const Shaping& s : all_shaping) {
      if (s.op != name || !schema) continue;
      for (size_t i = 0; i < node.inputs().size() && i < schema->arguments().size(); ++i) {
        const std::string argument = schema->arguments()[i].name();
        const bool shapes =
            std::ranges::any_of(s.arguments, [&](std::string_view a) { return argument == a || argument.starts_with(std::string(a) + "."); });
        if (!shapes) continue;
        for (const int64_t n : written_ints(node.inputs()[i])) {
          for (const Sampled& d : dims_) {
            if (n == d.size || n == -d.size) warn(node, name, std::to_string(n), d);
          }
        }
      }
    }
    if (const auto factor = written_factor(node)) {
      for (const Sampled& d : dims_) {
        if (is_scale_of(*factor, d.size)) warn(node, name, fmt::format("{:.8g}", *factor), d);
      }
    }
  }

  void warn(const Node& node, const std::string& op, const std::string& number, const Sampled& d) {
    const Location where = locate(node, {}, callers_);
    if (!reported_.insert(fmt::format("{} {} {} {} {}", op, number, d.dim, where.file, where.line)).second) return;
    const bool same = number == std::to_string(d.size);
    diagnostics_.warning("baked-size", "{}: the number {} may be the size of {}, and does not vary with it", op, number, d.dim)
        .at(where)
        .note(fmt::format("axis {} of '{}' had {} elements when the model was traced{}", d.axis, d.input, d.size,
                          same ? "" : fmt::format(", and {} follows from that", number)))
        .help("take the size from a tensor in the model (x.shape[1], torch.arange(x.shape[1])) and trace again, or use torch.jit.script")
        .help(fmt::format("if it only happens to be {}, trace with another size of {} and the warning goes", number, d.dim));
  }

  std::vector<Sampled> dims_;
  Diagnostics& diagnostics_;
  std::vector<const Node*> callers_;
  std::set<const torch::jit::Function*> entered_;
  std::set<std::string> reported_;
};

}  // namespace

void warn_of_baked_sizes(const torch::jit::Method& method, const Binding& binding, Diagnostics& diagnostics) {
  std::vector<Sampled> dims;
  for (const BoundInput& input : binding.inputs) {
    if (static_cast<int64_t>(input.traced_sizes.size()) != input.type.rank()) continue;
    for (int64_t a = 0; a < input.type.rank(); ++a) {
      const Dim& dim = input.type.shape[a];
      const int64_t size = input.traced_sizes[static_cast<size_t>(a)];
      const bool known = std::ranges::any_of(dims, [&](const Sampled& d) { return d.size == size && d.dim == dim.to_string(); });
      // 0 and 1 stand everywhere.
      if (!dim.is_static() && size > 1 && !known) dims.push_back({size, dim.to_string(), input.name, a});
    }
  }
  if (!dims.empty()) Search(std::move(dims), diagnostics).walk(*method.graph()->block());
}

}  // namespace mica::frontend
