#pragma once
// A random program as the generator writes it and the reducer cuts it: TorchScript text, with the values of its inputs and parameters.
#include <map>
#include <string>
#include <vector>

#include "mica/frontend/script.h"
#include "mica/frontend/torchscript.h"

namespace mica::fuzz {

/// What the results of a statement may be off by, and so how it is judged; see scene.h.
enum Flag : uint32_t {
  exact = 1,       ///< no rounding of its own: choices, moves, comparisons
  function = 2,    ///< exp, tanh ...: some ULP rather than half of one
  sums = 4,        ///< adds up products: what cancels is as wrong as the largest term
  writes = 8,      ///< into its first operand
  whole = 16,      ///< whole numbers in, whole numbers out
  view = 32,       ///< may share its operand's storage
  same_type = 64,  ///< the result has the first operand's type
  block = 128      ///< if, for, while: may write into what it reads
};

/// An input, parameter or buffer and its value.
struct Leaf {
  std::string name;  ///< "x0" for inputs, "w0" for parameters, "s0" for what the module keeps between runs
  RawTensor value;
  bool parameter() const { return name[0] != 'x'; }
  bool state() const { return name[0] == 's'; }
};

struct Statement {
  std::string text;  ///< one or more lines
  uint32_t flags = 0;
  std::vector<std::string> reads, defines;
  std::string op;  ///< of the table
  int group = -1;  ///< those of one number stand side by side and are a method (even) or a submodule (odd) of their own
};

/// Values of the inputs in a further run, by name; their sizes may differ where symbols stand.
using Run = std::map<std::string, RawTensor>;

struct Program {
  uint64_t seed = 0;
  bool whole = false;    ///< every number in it is whole and small: results must be equal bit for bit
  bool special = false;  ///< inputs hold NaN and infinities: where they end up is compared too
  std::vector<Leaf> leaves;
  std::vector<Statement> statements;
  std::vector<std::string> outputs;
  std::vector<Run> more_runs;                                 ///< one after the other in one context, behind the first
  std::map<std::string, std::vector<std::string>> symbols{};  ///< by input: the symbol of every axis, or "-"

  std::string source() const;  ///< "def forward(self, x0):\n  ...\n", all of it in one function
  ScriptModule module() const;
  bool stateful() const;
  size_t runs() const { return 1 + more_runs.size(); }
  /// Inputs of run 0, 1 ...
  std::vector<RawTensor> inputs(size_t run = 0) const;
  LoadOptions load_options() const;
  /// With symbols in the place of sizes, of the range that all runs span.
  LoadOptions symbolic_options() const;
  /// Its first run alone, for these sizes.
  Program first_run() const;
};

/// Fills in what the text reads and defines: variables are x0, w0, s0, v0 ..., and t0 ... inside a block; other names are local to a statement.
void find_variables(Statement& statement, bool inside_block = false);

/// "f32[2, 3] = 1 2.5 ..." with every element, and back.
std::string leaf_text(const Leaf& leaf);

/// The program as a file of tests/fuzz/cases: comments with the leaves' values, then the source.
std::string case_text(const Program& program, const std::string& comment);
/// Reads it back; statements are the lines of forward and what is indented below them. None when it is no such text.
std::optional<Program> parse_case(const std::string& text);

}  // namespace mica::fuzz
