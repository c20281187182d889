// The text of kernels and programs, for reading, for --emit=kernel and for tests:
//
//   kernel conv2d_relu_3(%0 x: f32[9408] read align 64, %1 y: f32[9408] write) tasks t in [0, 14) {
//     for i in [0, 8) step 1 unrolled {
//       %1[(t * 8) + i] = max(load(%0, (t * 8) + i), 0)
//     }
//   }
#include "mica/kernel/kernel.h"

#include <fmt/format.h>

namespace mica {

namespace {

std::string type_text(const ExprType& t) { return t.lanes == 1 ? std::string(name_of(t.dtype)) : fmt::format("{}x{}", name_of(t.dtype), t.lanes); }

std::string_view memory_text(const Buffer& b) {
  if (b.memory == Memory::stack) return "stack";
  if (b.memory == Memory::registers) return "registers";
  return b.written ? "write" : "read";
}

class Printer {
 public:
  explicit Printer(const Kernel& kernel) : kernel_(kernel) {}

  std::string run() {
    const uint32_t params = kernel_.params();
    std::string list;
    for (uint32_t i = 0; i < params; ++i) list += (i ? ", " : "") + buffer(i);
    text_ = fmt::format("kernel {}({})", kernel_.name, list);
    if (kernel_.task) text_ += fmt::format(" tasks {} in [0, {})", to_string(kernel_.task), to_string(Expr(kernel_.tasks)));
    text_ += " {\n";
    for (uint32_t i = params; i < kernel_.buffers.size(); ++i) text_ += "  local " + buffer(i) + "\n";
    for (size_t i = 0; i < kernel_.tiles.size(); ++i)
      text_ += fmt::format("  local tile {} has {} rows of {} bytes\n", i, kernel_.tiles[i].rows, kernel_.tiles[i].bytes);
    block(kernel_.body, 1);
    return text_ + "}\n";
  }

 private:
  std::string buffer(uint32_t i) const {
    const Buffer& b = kernel_.buffers[i];
    return fmt::format("%{} {}: {}[{}] {} align {}", i, b.name, type_text(b.element), to_string(Expr(b.elements)), memory_text(b), b.alignment);
  }
  static std::string rows(const Stmt& s) { return fmt::format("%{}[{}] rows {}", s.buffer, to_string(s.index), to_string(s.step)); }
  void block(const std::vector<Stmt>& body, int depth) {
    for (const Stmt& s : body) statement(s, depth);
  }
  void statement(const Stmt& s, int depth) {
    const std::string pad(static_cast<size_t>(depth) * 2, ' ');
    switch (s.kind) {
      case Stmt::Kind::block: block(s.body, depth); return;
      case Stmt::Kind::loop:
        text_ += fmt::format("{}for {} in [{}, {}) step {}{} {{\n", pad, to_string(s.var), to_string(s.low), to_string(s.high), to_string(s.step),
                             s.for_kind == ForKind::unrolled ? " unrolled" : "");
        block(s.body, depth + 1);
        text_ += pad + "}\n";
        return;
      case Stmt::Kind::store:
        text_ += fmt::format("{}%{}[{}] = {}{}\n", pad, s.buffer, to_string(s.index), to_string(s.value), s.mask ? " if " + to_string(s.mask) : "");
        return;
      case Stmt::Kind::let:
        text_ += fmt::format("{}let {} = {}\n", pad, to_string(s.var), to_string(s.value));
        block(s.body, depth);
        return;
      case Stmt::Kind::branch:
        text_ += fmt::format("{}if {} {{\n", pad, to_string(s.condition));
        block(s.body, depth + 1);
        if (!s.otherwise.empty()) {
          text_ += pad + "} else {\n";
          block(s.otherwise, depth + 1);
        }
        text_ += pad + "}\n";
        return;
      case Stmt::Kind::prefetch: text_ += fmt::format("{}prefetch %{}[{}]\n", pad, s.buffer, to_string(s.index)); return;
      case Stmt::Kind::check:
        text_ += fmt::format("{}check {} else fault {}{} of {}\n", pad, to_string(s.condition), s.site,
                             s.fault_code == 1 ? "" : fmt::format(" code {}", s.fault_code), to_string(s.value));
        return;
      case Stmt::Kind::tile_zero: text_ += fmt::format("{}tile {} = 0\n", pad, s.tile); return;
      case Stmt::Kind::tile_load: text_ += fmt::format("{}tile {} = load {}\n", pad, s.tile, rows(s)); return;
      case Stmt::Kind::tile_store: text_ += fmt::format("{}tile {} store {}\n", pad, s.tile, rows(s)); return;
      case Stmt::Kind::tile_dot: text_ += fmt::format("{}tile {} += dot2({}, {})\n", pad, s.tile, s.left, s.right); return;
    }
  }

  const Kernel& kernel_;
  std::string text_;
};

std::string binding_text(const Binding& b) {
  switch (b.space) {
    case Binding::Space::arena: return b.slot < 0 ? fmt::format("arena+{}", b.offset) : fmt::format("slot{}+{}", b.slot, b.offset);
    case Binding::Space::weights: return fmt::format("weights+{}", b.offset);
    case Binding::Space::prepared: return fmt::format("prepared+{}", b.offset);
    case Binding::Space::state: return fmt::format("state+{}", b.offset);
    case Binding::Space::trip: return fmt::format("trip{}", b.io);
    case Binding::Space::io: return b.offset ? fmt::format("io{}+{}", b.io, b.offset) : fmt::format("io{}", b.io);
  }
  return {};
}

void print_steps(const Program& p, const std::vector<Step>& steps, const std::string& pad, std::string& text) {
  const auto part = [](std::string_view word, const std::optional<Binding>& b) { return b ? fmt::format(" {} {}", word, binding_text(*b)) : ""; };
  for (const Step& s : steps) {
    text += pad + (s.barrier ? "barrier; " : "");
    if (s.kind == Step::Kind::call) {
      std::string list;
      for (const Binding& b : s.bindings) list += (list.empty() ? "" : ", ") + binding_text(b);
      text += fmt::format("{}({})  // {}\n", p.kernels[s.kernel].name, list, s.label);
      continue;
    }
    if (s.kind == Step::Kind::measure) {
      text += fmt::format("measure ${} from {}  // {}\n", p.symbols.at(s.symbol).name, s.count ? binding_text(*s.count) : "?", s.label);
      continue;
    }
    if (s.kind == Step::Kind::branch) text += fmt::format("if {}", s.condition ? binding_text(*s.condition) : "?");
    else
      text += fmt::format("loop trip{}{}{}{}{}", s.depth, part("to", s.trips), part("if", s.condition), part("while", s.go_on), part("stop", s.stop));
    text += fmt::format(" {{  // {}\n", s.label);
    print_steps(p, s.body, pad + "  ", text);
    if (!s.otherwise.empty()) {
      text += pad + "} else {\n";
      print_steps(p, s.otherwise, pad + "  ", text);
    }
    text += pad + "}\n";
  }
}

}  // namespace

std::string to_string(const Kernel& k) { return Printer(k).run(); }

std::string to_string(const Program& p) {
  std::string text = fmt::format("program arena {} weights {}", p.arena_bytes, p.weights_bytes);
  if (p.prepared_bytes) text += fmt::format(" prepared {}", p.prepared_bytes);
  text += p.state_bytes ? fmt::format(" state {} at {}\n", p.state_bytes, p.state_init_at) : "\n";
  for (const Symbol& s : p.symbols)
    text += fmt::format("symbol ${} in [{}, {}]{}\n", s.name, s.low, s.high, s.is_measured() ? " up to " + to_string(s.bound) : "");
  for (const Dim& d : p.derived) text += fmt::format("derived {}\n", to_string(Expr(d)));
  for (const Dim& bytes : p.slots) text += fmt::format("slot {} bytes\n", to_string(Expr(bytes)));
  for (const Weight& w : p.weights) text += fmt::format("weight +{} {} bytes \"{}\"\n", w.offset, w.bytes, w.name);
  for (size_t i = 0; i < p.fault_sites.size(); ++i) text += fmt::format("fault {} \"{}\"\n", i, p.fault_sites[i]);
  for (const Kernel& k : p.kernels) text += "\n" + to_string(k);
  text += "\n";
  if (!p.load_steps.empty()) {
    text += "load {\n";
    print_steps(p, p.load_steps, "  ", text);
    text += "}\n";
  }
  print_steps(p, p.steps, "", text);
  return text;
}

}  // namespace mica
