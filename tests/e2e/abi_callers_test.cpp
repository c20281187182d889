// build/release/tests/bin/e2e_abi --gtest_filter='AbiCallers.*'
// Programs as users write them, in C89, C++, Python and as a CMake project; each is built here and run on lookup.c,
// whose first output is w[0, 0] = 0 for inputs of zero (with weights shifted by 7 to be seen).
#include <fstream>

#include "abi_support.h"

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
  const TemporaryFolder folder;
  const std::string model = link_shifted(folder / "m.so").string(), program = (folder / "caller").string();
  EXPECT_EQ(shell(MICA_C_COMPILER " -std=c89 -pedantic -Wall -Wextra -Werror -I" + header_folder + " " + source + "caller.c -ldl -o " + program), "");
  EXPECT_EQ(shell(program + " " + model),
            "input x: 512 bytes\ninput index: 64 bytes\noutput y: 512 bytes\noutput runs: 8 bytes\nfirst value: 7\n");
}

TEST(AbiCallers, a_cpp_program_that_links_the_model) {
  const TemporaryFolder folder;
  const std::string model = link_shifted(folder / "libm1.so").string(), program = (folder / "caller").string();
  EXPECT_EQ(shell(MICA_CXX_COMPILER " -std=c++17 -Wall -Wextra -Werror -I" + header_folder + " " + source + "caller.cpp " + model + " -o " + program), "");
  EXPECT_EQ(shell(program), "first value: 7\n");
}

TEST(AbiCallers, two_models_linked_into_one_program_by_their_own_names) {
  const TemporaryFolder folder;
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
  const TemporaryFolder folder;
  const std::string model = link_shifted(folder / "libm1.so").string();
  std::ofstream(folder / "CMakeLists.txt") << "cmake_minimum_required(VERSION 3.25)\nproject(user CXX)\n"
                                              "add_library(m1 SHARED IMPORTED)\n"
                                              "set_target_properties(m1 PROPERTIES IMPORTED_LOCATION " << model << " IMPORTED_NO_SONAME ON\n"
                                              "  INTERFACE_INCLUDE_DIRECTORIES " << header_folder << ")\n"
                                              "add_executable(caller " << source << "caller.cpp)\ntarget_link_libraries(caller PRIVATE m1)\n";
  const std::string build = (folder / "build").string();
  const std::string log = shell(std::string(MICA_CMAKE) + " -S " + folder.path().string() + " -B " + build + " && " + MICA_CMAKE + " --build " + build);
  EXPECT_EQ(shell(build + "/caller"), "first value: 7\n") << log;
}

TEST(AbiCallers, a_python_script) {
  if (shell("python3 -c 'import numpy'") != "") GTEST_SKIP() << "no NumPy for python3";
  const TemporaryFolder folder;
  const std::string model = link(lookup_image(), folder / "m.so").string();
  std::ofstream(folder / "use.py") << read_file(source + "caller.py")
                                   << "x = np.arange(128, dtype=np.float32).reshape(8, 16); index = np.arange(8)\n"
                                      "y = np.empty((8, 16), np.float32); runs = np.empty((), np.int64)\n"
                                      "run(x, index, y, runs, inputs=2)\n"
                                      "assert (y == 2 * x[::-1] + 100 * index[:, None] + np.arange(16)).all()\n"
                                      "try: run(x, index + 30, y, runs, inputs=2)\n"
                                      "except ValueError as error: print(error)\n";
  const std::string text = shell("python3 " + (folder / "use.py").string() + " " + model);
  EXPECT_EQ(text.find("embedding: index out of range of 32 rows, at model.py:12: the value is "), 0U) << text;
}

}  // namespace
}  // namespace mica
