// The frontend's way: check the file, load it, bind inputs, evaluate the method into a graph, drop what no output needs.
#include "mica/frontend/torchscript.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "baked.h"
#include "binding.h"
#include "module.h"

namespace mica {
namespace {

using namespace frontend;

/// Keeps what the outputs need (and all inputs), with values, constants and nodes numbered anew.
Graph compact(Graph&& from) {
  from.renumber();
  std::vector<bool> live(from.values.size()), keep(from.nodes.size()), mentioned(from.symbols.size());
  const auto spread = [&] {
    for (size_t i = from.nodes.size(); i-- > 0;) {
      const Node& node = from.nodes[i];
      keep[i] = !is_pure(node);
      for (const Value r : node.results) keep[i] = keep[i] || live[r.id];
      if (const auto symbol = measured_by(node)) keep[i] = mentioned.at(*symbol);
      if (!keep[i]) continue;
      node.for_operands([&](Value v) { live[v.id] = true; });
      for_mentions(from, node, [&](uint32_t symbol) { mentioned.at(symbol) = true; });
    }
  };
  for (const Value v : from.outputs) live[v.id] = true;
  spread();
  // A state that nothing reads is none; one that is read keeps alive what it becomes.
  std::vector<State> states;
  for (size_t before = ~size_t{0}; before != states.size();) {
    before = states.size();
    for (const State& s : from.states) {
      const bool known = std::any_of(states.begin(), states.end(), [&](const State& k) { return k.input == s.input; });
      if (known || !live[s.input.id]) continue;
      states.push_back(s);
      live[s.output.id] = live[s.initial.id] = true;
    }
    spread();
  }
  Graph to;
  to.locations = std::move(from.locations);
  to.input_structure = std::move(from.input_structure);
  to.output_structure = std::move(from.output_structure);
  to.output_names = std::move(from.output_names);
  to.symbols = from.symbols;
  std::vector<Value> moved(from.values.size());
  for (const Value v : from.inputs) moved[v.id] = to.add_input(from.values[v.id].type, from.values[v.id].name);
  for (uint32_t id = 0; id < from.values.size(); ++id) {
    if (live[id] && from.values[id].constant >= 0)
      moved[id] = to.add_constant(from.values[id].type, std::move(from.constants[from.values[id].constant]));
  }
  for (const State& s : states) moved[s.input.id] = to.add_state(moved[s.initial.id], s.name);
  for (size_t i = 0; i < from.nodes.size(); ++i) {
    if (!keep[i]) continue;
    Node node = std::move(from.nodes[i]);
    node.map_operands([&](Value v) { return v ? moved[v.id] : v; });
    for (Value& r : node.results) r = moved[r.id] = to.add_value(from.values[r.id].type, from.values[r.id].name);
    to.nodes.push_back(std::move(node));
  }
  for (const Value v : from.outputs) to.outputs.push_back(moved[v.id]);
  for (size_t i = 0; i < states.size(); ++i) to.states[i].output = moved[states[i].output.id];
  to.renumber();
  return to;
}

/// Evaluates `method` into `graph`. False when something was reported.
bool evaluate(const torch::jit::Module& module, const torch::jit::Method& method, const Binding& binding, std::span<const InputSpec> states,
              Graph& graph, Diagnostics& diagnostics) {
  const at::NoGradGuard no_gradients;
  Evaluator evaluator(graph, diagnostics);
  std::vector<Item> inputs, arguments;
  for (const BoundInput& input : binding.inputs) inputs.push_back(evaluator.input_tensor(graph.add_input(input.type, input.name)));
  arguments.emplace_back(evaluator.instance_of(module._ivalue(), {}));
  for (const Argument& a : binding.arguments)
    arguments.push_back(a.kind == Argument::Kind::literal ? evaluator.from_ivalue(a.literal, {}, Origin::fresh) : item_of(a, inputs));
  const size_t errors = diagnostics.error_count();
  bool stopped = false;
  try {
    Item result = evaluator.call_with_state(method.function(), arguments, states);
    evaluator.check_usable(result, "the result", true);
    if (contains_unknown(result)) evaluator.report_lost();
    if (diagnostics.error_count() == errors && !contains_unknown(result)) {
      for (const NamedTensor& output : flatten(result, graph.output_structure.text)) {
        graph.outputs.push_back(evaluator.value_of(output.tensor));
        graph.output_names.push_back(output.name);
      }
    }
  } catch (const Stop&) { stopped = true; } catch (const Raised& raised) {
    diagnostics.error("model-raises", "the model raises an exception for these inputs: {}", raised.message)
        .at(raised.where)
        .help("pass inputs that the model accepts: --input NAME:SHAPE:DTYPE");
  }
  evaluator.report_unsupported();
  if (diagnostics.error_count() != errors) return false;
  MICA_CHECK(!stopped, "an import that stopped has said why");
  if (graph.outputs.empty()) {
    diagnostics.error("no-outputs", "{} returns no tensor", method.name()).note(signature_of(method)).help("compile a method that returns tensors");
    return false;
  }
  return true;
}

/// True when `text` has the number as a word of its own.
bool names_number(const std::string& text, int64_t number) {
  const std::string digits = std::to_string(number);
  const auto is_word = [&](size_t at) {
    return at < text.size() && (std::isalnum(static_cast<unsigned char>(text[at])) || text[at] == '_' || text[at] == '.');
  };
  for (size_t at = text.find(digits); at != std::string::npos; at = text.find(digits, at + 1)) {
    if ((at == 0 || !is_word(at - 1)) && !is_word(at + digits.size())) return true;
  }
  return false;
}

/// Hands on what was reported. A trace keeps sizes as numbers where the model computed with them in Python: an error that names the size
/// which a symbolic dimension had then says so.
void pass_on(const Diagnostics& found, const Binding& binding, Diagnostics& diagnostics) {
  for (const Diagnostic& d : found.all()) {
    Diagnostic& copy = diagnostics.add(d.severity, d.error_class, d.name, d.message);
    copy = d;
    if (d.severity != Severity::error) continue;
    for (const BoundInput& input : binding.inputs) {
      if (static_cast<int64_t>(input.traced_sizes.size()) != input.type.rank()) continue;
      for (int64_t a = 0; a < input.type.rank(); ++a) {
        const Dim& dim = input.type.shape[a];
        const int64_t traced = input.traced_sizes[static_cast<size_t>(a)];
        if (dim.is_static() || traced < 2 || !names_number(d.message, traced)) continue;
        copy.note(fmt::format("{} is the size that {} had when the model was traced (axis {} of '{}'): the trace holds it as a number", traced,
                              dim.to_string(), a, input.name))
            .help(
                "take the size from a tensor in the model (x.size(1), torch.arange(x.size(1))) and trace again, or use torch.jit.script, or "
                "compile for that size");
      }
    }
  }
}

}  // namespace

Result<LoadedModel> load_torchscript(const std::filesystem::path& file, const LoadOptions& options, Diagnostics& diagnostics) {
  auto module = open_module(file, diagnostics);
  if (!module) return Failure{};
  try {
    const auto method = find_method(*module, options.method, diagnostics);
    if (!method) return Failure{};
    const auto binding = bind_inputs(*module, *method, options, diagnostics);
    if (!binding) return Failure{};
    LoadedModel model;
    Graph graph;
    graph.symbols = options.symbols;
    Diagnostics found;
    const bool good = evaluate(*module, *method, *binding, options.states, graph, found);
    pass_on(found, *binding, diagnostics);
    if (!good) return Failure{};
    warn_of_baked_sizes(*method, *binding, diagnostics);
    graph.input_structure.text = binding->structure;
    model.graph = compact(std::move(graph));
    if (binding->has_traced_data) {
      for (const BoundInput& input : binding->inputs) model.traced_inputs.push_back(raw_of(input.traced, input.type).bytes);
    }
    return model;
  } catch (const std::exception& e) {
    diagnostics.error("load-failed", "{} could not be imported: LibTorch says: {}", file.string(), first_line(e))
        .help("check that the model runs in PyTorch on the CPU");
    return Failure{};
  }
}

}  // namespace mica
