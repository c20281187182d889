# The few functions that every folder's CMakeLists.txt is written with.

# What every target of ours is compiled with: headers, warnings, and which backends this build has.
add_library(mica_options INTERFACE)
target_include_directories(mica_options INTERFACE
  $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/include> $<BUILD_INTERFACE:${PROJECT_BINARY_DIR}/include>)
target_compile_options(mica_options INTERFACE -Wall -Wextra $<$<BOOL:${MICA_WERROR}>:-Werror>)
target_compile_definitions(mica_options INTERFACE
  MICA_TORCH=$<BOOL:${MICA_TORCH}> MICA_LLVM=$<BOOL:${MICA_LLVM}> MICA_CUDA=$<BOOL:${MICA_CUDA}>)

# mica_folder(DIR): add_subdirectory where the folder has a CMakeLists.txt.
macro(mica_folder dir)
  if(EXISTS ${PROJECT_SOURCE_DIR}/${dir}/CMakeLists.txt)
    add_subdirectory(${PROJECT_SOURCE_DIR}/${dir})
  endif()
endmacro()

# Links `targets` to `target`, naming the one that does not exist: a bare name would become -lname at link time.
function(_mica_link target scope)
  foreach(dep ${ARGN})
    if(dep MATCHES "^mica_" AND NOT TARGET ${dep})
      message(FATAL_ERROR "${target} depends on ${dep}, which is not built here (order in the root CMakeLists.txt, or an option that is OFF)")
    endif()
    target_link_libraries(${target} ${scope} ${dep})
  endforeach()
endfunction()

# mica_library(NAME SOURCES a.cpp ... [DEPS x ...] [PRIVATE_DEPS y ...]): the static library mica_NAME.
# DEPS are those whose headers NAME's own headers include; whatever only the .cpp files use, third parties first of
# all, goes into PRIVATE_DEPS, so that a wrong include elsewhere fails the build.
function(mica_library name)
  cmake_parse_arguments(arg "" "" "SOURCES;DEPS;PRIVATE_DEPS" ${ARGN})
  if(arg_UNPARSED_ARGUMENTS)
    message(FATAL_ERROR "mica_library(${name}): unexpected ${arg_UNPARSED_ARGUMENTS}")
  endif()
  add_library(mica_${name} STATIC ${arg_SOURCES})
  target_link_libraries(mica_${name} PUBLIC mica_options)
  target_include_directories(mica_${name} PRIVATE ${CMAKE_CURRENT_SOURCE_DIR})
  _mica_link(mica_${name} PUBLIC ${arg_DEPS})
  _mica_link(mica_${name} PRIVATE ${arg_PRIVATE_DEPS})
endfunction()

# mica_test(NAME SOURCES a.cpp ... [DEPS mica_x ...] [LABELS l ...] [SHARDS n]): a GoogleTest binary. Its cases run in n processes, each a test of
# ctest's (tests/shard): NAME.1 ... NAME.n.
function(mica_test name)
  cmake_parse_arguments(arg "" "SHARDS" "SOURCES;DEPS;LABELS" ${ARGN})
  add_executable(${name} ${arg_SOURCES})
  set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/tests/bin)
  target_compile_definitions(${name} PRIVATE
    MICA_SOURCE_DIR="${PROJECT_SOURCE_DIR}" MICA_BINARY_DIR="${PROJECT_BINARY_DIR}")
  target_link_libraries(${name} PRIVATE mica_options GTest::gtest_main)
  _mica_link(${name} PRIVATE ${arg_DEPS})
  if(NOT arg_SHARDS)
    set(arg_SHARDS 1)
  endif()
  set(seconds 1500)
  math(EXPR limit "${seconds} + 60")
  foreach(shard RANGE 1 ${arg_SHARDS})
    math(EXPR index "${shard} - 1")
    add_test(NAME ${name}.${shard} WORKING_DIRECTORY ${PROJECT_SOURCE_DIR}
      COMMAND ${PROJECT_SOURCE_DIR}/tests/shard ${seconds} $<TARGET_FILE:${name}> ${index} ${arg_SHARDS})
    # The binaries with the most shards take longest, and begin first.
    set_tests_properties(${name}.${shard} PROPERTIES LABELS "${arg_LABELS}" TIMEOUT ${limit} COST ${arg_SHARDS})
  endforeach()
endfunction()
