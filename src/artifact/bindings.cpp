#include "mica/artifact/bindings.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <set>

#include "mica/artifact/elf.h"
#include "mica_header.h"

namespace mica::artifact {
namespace {

/// A name as a C and C++ identifier that collides with no keyword and none of `used`.
std::string identifier(std::string_view name, std::set<std::string>& used) {
  static constexpr std::array keywords = {
      "alignas",  "and",     "api",      "asm",     "auto",     "bool",      "break",    "case",     "catch",  "char",    "class",
      "const",    "context", "continue", "default", "delete",   "do",        "double",   "else",     "enum",   "export",  "extern",
      "false",    "float",   "for",      "friend",  "goto",     "if",        "inline",   "int",      "long",   "mutable", "namespace",
      "new",      "not",     "operator", "or",      "private",  "protected", "public",   "register", "return", "short",   "signed",
      "sizeof",   "static",  "struct",   "switch",  "template", "tensors",   "this",     "throw",    "true",   "try",     "typedef",
      "typename", "union",   "unsigned", "using",   "virtual",  "void",      "volatile", "while",    "xor"};
  std::string text;
  for (const char c : name) {
    const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
    text += plain ? c : '_';
  }
  if (text.empty() || (text[0] >= '0' && text[0] <= '9')) text.insert(0, "v");
  if (std::ranges::find(keywords, text) != keywords.end()) text += '_';
  const std::string base = text;
  for (int i = 2; !used.insert(text).second; ++i) text = base + "_" + std::to_string(i);
  return text;
}

struct CType {
  const char* type;
  const char* code;
};
CType c_type(DType t) {
  constexpr std::array<CType, 10> types = {{{"double", "MICA_F64"},
                                            {"float", "MICA_F32"},
                                            {"uint16_t", "MICA_F16"},
                                            {"uint16_t", "MICA_BF16"},
                                            {"int64_t", "MICA_I64"},
                                            {"int32_t", "MICA_I32"},
                                            {"int16_t", "MICA_I16"},
                                            {"int8_t", "MICA_I8"},
                                            {"uint8_t", "MICA_U8"},
                                            {"uint8_t", "MICA_BOOL"}}};
  return types.at(static_cast<size_t>(t));
}

bool has_symbols(const Descriptor& d) {
  const auto symbolic = [](const Value& v) { return std::ranges::any_of(v.shape, [](int64_t size) { return size < 0; }); };
  return std::ranges::any_of(d.inputs, symbolic) || std::ranges::any_of(d.outputs, symbolic);
}

int64_t elements(const Value& v) {
  int64_t n = 1;
  for (const int64_t size : v.shape) n *= size;
  return n;
}

/// "x: f32[1, 3, 224, 224]"; what a comment must not contain is taken out of the name.
std::string described(const Value& v, const std::string& name) {
  std::string shape;
  for (const int64_t size : v.shape) shape += (shape.empty() ? "" : ", ") + std::to_string(size);
  return fmt::format("{}: {}[{}]", name, name_of(v.dtype), shape);
}

std::string run_function(const Descriptor& d, const std::string& model) {
  std::set<std::string> used;
  std::string comment, parameters, shapes, fill;
  size_t i = 0;
  for (const auto* side : {&d.inputs, &d.outputs}) {
    const bool input = side == &d.inputs;
    for (const Value& v : *side) {
      const std::string name = identifier(v.name.empty() ? fmt::format("{}{}", input ? "input" : "output", i) : v.name, used);
      const CType type = c_type(v.dtype);
      comment += fmt::format(" *   {} {}, {} elements\n", input ? "in " : "out", described(v, name), elements(v));
      parameters += fmt::format(", {}{}* {}", input ? "const " : "", type.type, name);
      std::string sizes;
      for (const int64_t size : v.shape) sizes += (sizes.empty() ? "" : ", ") + std::to_string(size);
      if (!v.shape.empty()) shapes += fmt::format("  static const int64_t shape_{}[] = {{{}}};\n", i, sizes);
      const std::string data = input ? fmt::format("(void*){}", name) : name;
      fill += fmt::format(
          "  tensors[{0}].size = sizeof(mica_tensor);\n  tensors[{0}].data = {1};\n  tensors[{0}].nbytes = (size_t){2};\n"
          "  tensors[{0}].dtype = {3};\n  tensors[{0}].rank = {4};\n  tensors[{0}].shape = {5};\n  tensors[{0}].strides = 0;\n",
          i, data, elements(v) * size_of(v.dtype), type.code, v.shape.size(), v.shape.empty() ? "0" : fmt::format("shape_{}", i));
      ++i;
    }
  }
  return fmt::format(
      "/* Runs the model on dense row-major buffers of the caller's:\n{0} * Returns a mica_status; api->last_error(context) says more. */\n"
      "MICA_MODEL_INLINE int {1}_run(const mica_api* api, mica_context* context{2}) {{\n{3}  mica_tensor tensors[{4}];\n{5}"
      "  return api->run(context, tensors, {6}, tensors + {6}, {7});\n}}\n",
      comment, model, parameters, shapes, std::max<size_t>(i, 1), fill, d.inputs.size(), d.outputs.size());
}

std::string model_identifier(const Descriptor& d) {
  std::set<std::string> used;
  return identifier(d.name.empty() ? "model" : d.name, used);
}

}  // namespace

std::string typed_header(const Descriptor& d) {
  const std::string model = model_identifier(d);
  const std::string query = d.name.empty() ? "mica_model_query" : query_symbol(d);
  std::string guard = "MICA_MODEL_" + model + "_H";
  std::ranges::transform(guard, guard.begin(), [](unsigned char c) { return std::toupper(c); });
  return fmt::format(
      "/* The model {0}, compiled by Mica. Made with its .so; not to be edited. */\n#ifndef {1}\n#define {1}\n\n#include \"mica.h\"\n\n"
      "#ifdef __cplusplus\nextern \"C\" {{\n#endif\n\n"
      "#ifndef MICA_MODEL_INLINE\n#if defined(__cplusplus) || (defined(__STDC_VERSION__) && __STDC_VERSION__ >= 199901L)\n"
      "#define MICA_MODEL_INLINE static inline\n#elif defined(__GNUC__)\n#define MICA_MODEL_INLINE static __attribute__((unused))\n#else\n"
      "#define MICA_MODEL_INLINE static\n#endif\n#endif\n\n"
      "/* mica_model_query() of this model, under a name of its own. */\nconst mica_api* {2}(int abi_version);\n\n{3}\n"
      "#ifdef __cplusplus\n}}\n#endif\n#endif\n",
      model, guard, query, has_symbols(d) ? "/* Some sizes are symbolic: call api->run() with the sizes at hand. */\n" : run_function(d, model));
}

std::string pkg_config_file(const Descriptor& d, const std::string& library_file, const std::string& version) {
  const std::string model = model_identifier(d);
  return fmt::format("Name: {0}\nDescription: the model {0}, compiled by Mica\nVersion: {1}\nCflags: -I${{pcfiledir}}\nLibs: ${{pcfiledir}}/{2}\n",
                     model, version, library_file);
}

std::string cmake_package_file(const Descriptor& d, const std::string& library_file) {
  const std::string model = model_identifier(d);
  return fmt::format(
      "# The model {0}, compiled by Mica: target_link_libraries(program PRIVATE {0}::{0}), #include \"{0}.h\"\n"
      "if(NOT TARGET {0}::{0})\n  add_library({0}::{0} SHARED IMPORTED)\n"
      "  set_target_properties({0}::{0} PROPERTIES IMPORTED_LOCATION \"${{CMAKE_CURRENT_LIST_DIR}}/{1}\" IMPORTED_NO_SONAME ON\n"
      "    INTERFACE_INCLUDE_DIRECTORIES \"${{CMAKE_CURRENT_LIST_DIR}}\")\nendif()\n",
      model, library_file);
}

Result<void> write_bindings(const Descriptor& d, const std::filesystem::path& library, Diagnostics& diagnostics) {
  const std::filesystem::path folder = library.parent_path();
  const std::string file = library.filename().string(), model = model_identifier(d);
  const bool good = write_file(folder / (model + ".h"), typed_header(d), diagnostics) &&
                    write_file(folder / (model + ".pc"), pkg_config_file(d, file, MICA_VERSION), diagnostics) &&
                    write_file(folder / (model + "-config.cmake"), cmake_package_file(d, file), diagnostics) &&
                    write_file(folder / "mica.h", mica_header, diagnostics);
  if (!good) return Failure{};
  return {};
}

}  // namespace mica::artifact
