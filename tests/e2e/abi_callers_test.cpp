// build/release/tests/bin/e2e_abi --gtest_filter='AbiCallers.*'
// Programs as users write them, in C89, C++, Python and as a CMake project; each is built here and run on lookup.c,
// whose first output is w[0, 0] = 0 for inputs of zero (with weights shifted by 7 to be seen).
#include <fstream>

#include "abi_support.h"
#include "mica/artifact/bindings.h"

namespace mica {
namespace {

std::filesystem::path link_shifted(const std::filesystem::path& path) {
  artifact::Image image = lookup_image();
  static const float first = 7;
  image.weights = {{0, 4, reinterpret_cast<const std::byte*>(&first)}};
  return link(image, path);
}

const std::string source = std::string(MICA_SOURCE_DIR) + "/tests/e2e/callers/";
const std::string header_folder = std::string(MICA_SOURCE_DIR) + "/include/mica/runtime";

TEST(AbiCallers, a_c89_program) {
  const TestFolder folder;
  const std::string model = link_shifted(folder / "m.so").string(), program = (folder / "caller").string();
  EXPECT_EQ(shell(MICA_C_COMPILER " -std=c89 -pedantic -Wall -Wextra -Werror -I" + header_folder + " " + source + "caller.c -ldl -o " + program), "");
  EXPECT_EQ(shell(program + " " + model), "input x: 512 bytes\ninput index: 64 bytes\noutput y: 512 bytes\noutput runs: 8 bytes\nfirst value: 7\n");
}

TEST(AbiCallers, a_cpp_program_that_links_the_model) {
  const TestFolder folder;
  const std::string model = link_shifted(folder / "libm1.so").string(), program = (folder / "caller").string();
  EXPECT_EQ(shell(MICA_CXX_COMPILER " -std=c++17 -Wall -Wextra -Werror -I" + header_folder + " " + source + "caller.cpp " + model + " -o " + program),
            "");
  EXPECT_EQ(shell(program), "first value: 7\n");
}

TEST(AbiCallers, two_models_linked_into_one_program_by_their_own_names) {
  const TestFolder folder;
  const std::string a = link(lookup_image(), folder / "liba.so").string(), b = link(floats_image(), folder / "libb.so").string();
  std::ofstream(folder / "two.c") << "#include <stdio.h>\n#include \"mica.h\"\n"
                                     "const mica_api* mica_model_query_lookup(int);\nconst mica_api* mica_model_query_floats(int);\n"
                                     "int main(void) {\n  mica_model_info i = {sizeof i};\n  mica_model_query_lookup(1)->model_info(&i);\n"
                                     "  puts(i.name);\n  mica_model_query_floats(1)->model_info(&i);\n  puts(i.name);\n  return 0;\n}\n";
  const std::string program = (folder / "two").string();
  EXPECT_EQ(shell(MICA_C_COMPILER " -I" + header_folder + " " + (folder / "two.c").string() + " " + a + " " + b + " -o " + program), "");
  EXPECT_EQ(shell(program), "lookup\nfloats\n");
}

TEST(AbiCallers, a_cmake_project) {
  const TestFolder folder;
  const std::string model = link_shifted(folder / "libm1.so").string();
  std::ofstream(folder / "CMakeLists.txt") << "cmake_minimum_required(VERSION 3.25)\nproject(user CXX)\n"
                                              "add_library(m1 SHARED IMPORTED)\n"
                                              "set_target_properties(m1 PROPERTIES IMPORTED_LOCATION "
                                           << model
                                           << " IMPORTED_NO_SONAME ON\n"
                                              "  INTERFACE_INCLUDE_DIRECTORIES "
                                           << header_folder
                                           << ")\n"
                                              "add_executable(caller "
                                           << source << "caller.cpp)\ntarget_link_libraries(caller PRIVATE m1)\n";
  const std::string build = (folder / "build").string();
  const std::string log =
      shell(std::string(MICA_CMAKE) + " -S " + folder.path().string() + " -B " + build + " && " + MICA_CMAKE + " --build " + build);
  EXPECT_EQ(shell(build + "/caller"), "first value: 7\n") << log;
}

TEST(AbiCallers, the_typed_header_and_the_packages_beside_a_model) {
  const TestFolder folder;
  const std::string f = folder.path().string();
  link_shifted(folder / "liblookup.so");
  Diagnostics diagnostics;
  ASSERT_TRUE(artifact::write_bindings(lookup_image().descriptor, folder / "liblookup.so", diagnostics)) << diagnostics.to_string();
  const std::string body =
      "#include <stdio.h>\n#include \"lookup.h\"\nint main(void) {\n  float x[128] = {0}, y[128];\n  int64_t index[8] = {0}, runs[1];\n"
      "  const mica_api* api = mica_model_query_lookup(MICA_ABI_VERSION);\n  mica_model* model;\n  mica_context* context;\n"
      "  if (api->model_create(NULL, &model, NULL, 0) || api->context_create(model, NULL, &context, NULL, 0)) return 1;\n"
      "  if (lookup_run(api, context, x, index, y, runs)) return 2;\n  printf(\"%g %d\\n\", y[0], (int)runs[0]);\n"
      "  api->context_destroy(context);\n  api->model_destroy(model);\n  return 0;\n}\n";
  std::ofstream(folder / "use.c") << body;
  std::ofstream(folder / "use.cpp") << body;
  const std::string strict = " -pedantic -Wall -Wextra -Werror -I" + f + " " + f;
  EXPECT_EQ(shell(MICA_C_COMPILER " -std=c89" + strict + "/use.c " + f + "/liblookup.so -o " + f + "/c && " + f + "/c"), "7 1\n");
  EXPECT_EQ(shell(MICA_CXX_COMPILER " -std=c++11" + strict + "/use.cpp " + f + "/liblookup.so -o " + f + "/cpp && " + f + "/cpp"), "7 1\n");

  std::ofstream(folder / "CMakeLists.txt") << "cmake_minimum_required(VERSION 3.25)\nproject(user C)\nfind_package(lookup REQUIRED PATHS " << f
                                           << ")\nadd_executable(user use.c)\ntarget_link_libraries(user PRIVATE lookup::lookup)\n";
  const std::string log = shell(std::string(MICA_CMAKE) + " -S " + f + " -B " + f + "/b && " + MICA_CMAKE + " --build " + f + "/b");
  EXPECT_EQ(shell(f + "/b/user"), "7 1\n") << log;

  if (shell("pkg-config --version").find("exit") != std::string::npos) GTEST_SKIP() << "no pkg-config";
  const std::string flags = "$(PKG_CONFIG_PATH=" + f + " pkg-config --cflags --libs lookup)";
  EXPECT_EQ(shell(MICA_C_COMPILER " " + f + "/use.c " + flags + " -o " + f + "/p && " + f + "/p"), "7 1\n");
}

TEST(AbiCallers, names_that_are_no_identifiers) {
  artifact::Descriptor d = lookup_image().descriptor;
  d.name = "class";
  d.inputs[0].name = "a.b*/";
  d.inputs[1].name = "a.b*/";
  d.outputs[0].name = "float";
  d.outputs[1].name = "";
  const std::string text = artifact::typed_header(d);
  EXPECT_NE(
      text.find(
          "class__run(const mica_api* api, mica_context* context, const float* a_b__, const int64_t* a_b___2, float* float_, int64_t* output3)"),
      std::string::npos)
      << text;
}

TEST(AbiCallers, a_python_script) {
  if (shell(MICA_PYTHON " -c 'import numpy'") != "") GTEST_SKIP() << "no NumPy for python3";
  const TestFolder folder;
  const std::string model = link(lookup_image(), folder / "m.so").string();
  std::ofstream(folder / "use.py") << read_file(source + "caller.py")
                                   << "x = np.arange(128, dtype=np.float32).reshape(8, 16); index = np.arange(8)\n"
                                      "y = np.empty((8, 16), np.float32); runs = np.empty((), np.int64)\n"
                                      "run(x, index, y, runs, inputs=2)\n"
                                      "assert (y == 2 * x[::-1] + 100 * index[:, None] + np.arange(16)).all()\n"
                                      "try: run(x, index + 30, y, runs, inputs=2)\n"
                                      "except ValueError as error: print(error)\n";
  const std::string text = shell(MICA_PYTHON " " + (folder / "use.py").string() + " " + model);
  EXPECT_EQ(text.find("embedding: index out of range of 32 rows, at model.py:12: the value is "), 0U) << text;
}

}  // namespace
}  // namespace mica
