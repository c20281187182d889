# mica::libtorch: LibTorch's headers and the three libraries that loading and running TorchScript needs.
#
# Defined here and not by find_package(Torch), because the wheel's own TorchConfig.cmake asks for CUDA and Kineto in
# some builds. MICA_LIBTORCH names a folder with include/ and lib/ (an unpacked libtorch.zip, or site-packages/torch
# of any wheel >= 2.4); the default is the wheel that tools/setup puts into .venv.

set(_torch "${MICA_LIBTORCH}")
if(NOT _torch)
  file(GLOB _torch ${PROJECT_SOURCE_DIR}/.venv/lib/python3*/site-packages/torch)
  if(NOT _torch)
    message(FATAL_ERROR "no LibTorch: run tools/setup, or give -DMICA_LIBTORCH=<folder with include/ and lib/>, or -DMICA_TORCH=OFF")
  endif()
  list(GET _torch 0 _torch)
endif()
foreach(_file include/torch/script.h lib/libtorch.so lib/libtorch_cpu.so lib/libc10.so)
  if(NOT EXISTS ${_torch}/${_file})
    message(FATAL_ERROR "LibTorch in ${_torch} has no ${_file}: give -DMICA_LIBTORCH=<folder with include/ and lib/>")
  endif()
endforeach()

# The version from its own header (torch/headeronly/version.h since 2.9, torch/version.h before).
set(_major 0)
set(_minor 0)
foreach(_header torch/headeronly/version.h torch/version.h torch/csrc/api/include/torch/version.h)
  if(EXISTS ${_torch}/include/${_header})
    file(STRINGS ${_torch}/include/${_header} _lines REGEX "#define TORCH_VERSION_(MAJOR|MINOR) +[0-9]+")
    foreach(_line ${_lines})
      if(_line MATCHES "MAJOR +([0-9]+)")
        set(_major ${CMAKE_MATCH_1})
      elseif(_line MATCHES "MINOR +([0-9]+)")
        set(_minor ${CMAKE_MATCH_1})
      endif()
    endforeach()
    if(_major)
      break()
    endif()
  endif()
endforeach()
if("${_major}.${_minor}" VERSION_LESS 2.4)
  message(FATAL_ERROR "LibTorch in ${_torch} is version ${_major}.${_minor}; Mica needs 2.4 or later")
endif()

# Old wheels were built with the pre-C++11 ABI of libstdc++; the library's own mangled names tell.
execute_process(COMMAND ${CMAKE_NM} -D --defined-only ${_torch}/lib/libc10.so OUTPUT_VARIABLE _symbols ERROR_QUIET)
if(_symbols MATCHES "__cxx11")
  set(_abi 1)
else()
  set(_abi 0)
  message(FATAL_ERROR "LibTorch in ${_torch} was built with _GLIBCXX_USE_CXX11_ABI=0, which fmt and LLVM of Debian do not share: take a cxx11-abi build")
endif()

foreach(_lib torch torch_cpu c10)
  add_library(mica::lib${_lib}_so SHARED IMPORTED)
  set_target_properties(mica::lib${_lib}_so PROPERTIES IMPORTED_LOCATION ${_torch}/lib/lib${_lib}.so)
endforeach()
add_library(mica::libtorch INTERFACE IMPORTED)
target_compile_definitions(mica::libtorch INTERFACE _GLIBCXX_USE_CXX11_ABI=${_abi})
# -idirafter: the wheel ships headers of third parties (fmt, google) that must not hide the system's, which the rest
# of Mica is compiled with. It also makes them system headers, so our warnings do not apply to them.
target_compile_options(mica::libtorch INTERFACE
  "SHELL:-idirafter ${_torch}/include" "SHELL:-idirafter ${_torch}/include/torch/csrc/api/include")
# libtorch.so itself is a shell that pulls in libtorch_cpu: without --no-as-needed the linker would drop its operators.
target_link_libraries(mica::libtorch INTERFACE mica::libtorch_cpu_so mica::libc10_so)
target_link_options(mica::libtorch INTERFACE "LINKER:--no-as-needed" "LINKER:-rpath,${_torch}/lib")
message(STATUS "LibTorch ${_major}.${_minor} in ${_torch}")
