// mica opt: runs passes on a graph in text form. Tests of passes are written with it.
#include <iostream>
#include <iterator>
#include <set>

#include "command.h"
#include "mica/driver/file.h"
#include "mica/ir/text.h"
#include "mica/ir/verify.h"
#include "mica/pass/pipeline.h"
#include "mica/target/target.h"

namespace mica::cli {

namespace {

constexpr const char* usage = "mica opt --pass=NAME[,NAME] FILE.mica";
constexpr const char* help = R"(mica opt: runs passes on a graph in text form, and prints the result.

usage: mica opt [--pass=NAME[,NAME...] | --pipeline] FILE.mica [options]

FILE.mica is what `mica compile --emit graph -o FILE.mica` writes (FILE.mica.weights beside it holds its constants), or one written by
hand; - reads stdin. Without --pass and --pipeline the graph is only read, verified and printed.

  --pass NAME[,NAME]   passes to run, in that order (repeatable)
  --pipeline           all passes, in the order of `mica compile`
  --disable-pass NAME  leave a pass out of the pipeline (repeatable)
  --print-after NAME   also print the graph after a pass, to stderr (repeatable; `all`)
  --precision NAME     what lower_precision lowers to (as for `mica compile`)
  --cpu NAME, --cpu-features +A,-B
                       the target that passes may ask (default: native)
  -o, --output FILE    write FILE and FILE.weights (default: stdout, large constants left out)
  --list-passes        names and summaries of all passes

examples:
  mica opt --pass=fold_batch_norm tests/passes/graph/fold_batch_norm.mica
  mica compile model.pt --emit graph -o model.mica && mica opt --pipeline model.mica -o optimised.mica
)";

struct Flags {
  std::string file, output, cpu = "native", cpu_features, precision{full_precision};
  std::vector<std::string> passes, disabled, print_after;
  bool pipeline = false, list = false;
};

Result<Graph> read_input(const Flags& f, Diagnostics& diagnostics) {
  if (f.file != "-") return check_readable(f.file, "graph", diagnostics) ? read_graph(f.file, diagnostics) : Result<Graph>(Failure{});
  const std::string text((std::istreambuf_iterator<char>(std::cin)), std::istreambuf_iterator<char>());
  return parse_graph(text, "<stdin>", diagnostics);
}

int optimise(const Flags& f, Diagnostics& diagnostics) {
  if (f.list) {
    std::vector<std::vector<std::string>> rows;
    for (const Pass* p : all_passes()) rows.push_back({std::string(p->name), std::string(p->summary)});
    fmt::print("{}", format_table(rows, {}));
    return 0;
  }
  if (!require(f.file, "the graph", usage, diagnostics)) return 0;
  PipelineOptions options;
  options.disabled = split_list(f.disabled);
  options.print_after = split_list(f.print_after);
  for (std::string& name : options.print_after)
    if (name == "all") name = "*";
  auto target = make_target(f.cpu, f.cpu_features, diagnostics);
  const bool names_known = static_cast<bool>(check_pass_names(options, diagnostics));
  auto graph = read_input(f, diagnostics);
  if (!graph || !target || !names_known || !verify(*graph, diagnostics)) return 0;
  PassContext context{.target = &*target, .diagnostics = &diagnostics, .precision = find_precision(f.precision)};
  for (const std::string& name : split_list(f.passes))
    if (!run_pass_by_name(name, *graph, context, options)) return 0;
  if (f.pipeline && !run_graph_pipeline(*graph, context, options)) return 0;
  if (!f.output.empty() && f.output != "-") (void)write_graph(*graph, f.output, diagnostics);
  else fmt::print("{}", to_string(*graph));
  return 0;
}

std::set<std::string> precision_names() {
  std::set<std::string> names{std::string(full_precision)};
  for (const NamedPrecision& p : lower_precisions) names.emplace(p.name);
  return names;
}

Action declare(CLI::App& app) {
  auto f = std::make_shared<Flags>();
  app.add_option("FILE", f->file);
  add_repeated(app, "--pass", f->passes);
  app.add_flag("--pipeline", f->pipeline);
  add_repeated(app, "--disable-pass", f->disabled);
  add_repeated(app, "--print-after", f->print_after);
  app.add_option("--precision", f->precision)->check(CLI::IsMember(precision_names()));
  app.add_option("--cpu", f->cpu);
  app.add_option("--cpu-features", f->cpu_features);
  app.add_option("-o,--output", f->output);
  app.add_flag("--list-passes", f->list);
  return [f](Diagnostics& diagnostics) { return optimise(*f, diagnostics); };
}

}  // namespace

const Command opt_command = {"opt", "runs passes on a graph in text form", help, declare};

}  // namespace mica::cli
