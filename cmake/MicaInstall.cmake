# cmake --install: the program, the C header of compiled models, and a CMake package that names both.
include(CMakePackageConfigHelpers)
if(TARGET mica)
  install(TARGETS mica RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
endif()
if(EXISTS ${PROJECT_SOURCE_DIR}/include/mica/runtime/mica.h)
  install(FILES ${PROJECT_SOURCE_DIR}/include/mica/runtime/mica.h DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
endif()
configure_package_config_file(${PROJECT_SOURCE_DIR}/cmake/mica-config.cmake.in ${PROJECT_BINARY_DIR}/mica-config.cmake
  INSTALL_DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/mica PATH_VARS CMAKE_INSTALL_INCLUDEDIR CMAKE_INSTALL_BINDIR)
write_basic_package_version_file(${PROJECT_BINARY_DIR}/mica-config-version.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/mica-config.cmake ${PROJECT_BINARY_DIR}/mica-config-version.cmake
  DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/mica)
