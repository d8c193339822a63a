# find_package(cuttle [COMPONENTS image cuda]) and pkg-config's cuttle from an installed copy, wherever it is moved; and
# that copy as an archive and as a Debian package, by cpack. Nothing in it is of one architecture, so nothing is in lib.
include(CMakePackageConfigHelpers)
include(GNUInstallDirs)

set(package_dir "${CMAKE_INSTALL_DATADIR}/cmake/cuttle")
set(pkgconfig_dir "${CMAKE_INSTALL_DATADIR}/pkgconfig")
set(kernels_parent "${CMAKE_INSTALL_DATADIR}/cuttle")
configure_package_config_file(cmake/cuttleConfig.cmake.in "${CMAKE_CURRENT_BINARY_DIR}/cuttleConfig.cmake"
                              INSTALL_DESTINATION "${package_dir}" PATH_VARS kernels_parent)
write_basic_package_version_file("${CMAKE_CURRENT_BINARY_DIR}/cuttleConfigVersion.cmake" COMPATIBILITY SameMinorVersion
                                                                                         ARCH_INDEPENDENT)
install(DIRECTORY include/cuttle TYPE INCLUDE FILES_MATCHING PATTERN "*.hpp" PATTERN "*.inl")
install(FILES "${CMAKE_CURRENT_BINARY_DIR}/cuttleConfig.cmake" "${CMAKE_CURRENT_BINARY_DIR}/cuttleConfigVersion.cmake"
              cmake/FindStb.cmake cmake/FindcuDNN.cmake cmake/cuda.cmake DESTINATION "${package_dir}")
install(DIRECTORY kernels DESTINATION "${kernels_parent}" FILES_MATCHING PATTERN "*.cu" PATTERN "*.cuh")
install(FILES LICENSE README.md CHANGELOG.md TYPE DOC)
install(DIRECTORY examples TYPE DOC FILES_MATCHING PATTERN "*.cpp" PATTERN "*.hpp" PATTERN "CMakeLists.txt")
install(TARGETS cuttle cuttle_native EXPORT cuttleTargets)
install(EXPORT cuttleTargets NAMESPACE cuttle:: DESTINATION "${package_dir}")
if(TARGET cuttle_image)
  install(TARGETS cuttle_image EXPORT cuttleImageTargets)
  install(EXPORT cuttleImageTargets NAMESPACE cuttle:: DESTINATION "${package_dir}")
endif()

file(RELATIVE_PATH pkgconfig_to_include "${CMAKE_INSTALL_PREFIX}/${pkgconfig_dir}" "${CMAKE_INSTALL_FULL_INCLUDEDIR}")
configure_file(cmake/cuttle.pc.in "${CMAKE_CURRENT_BINARY_DIR}/cuttle.pc" @ONLY)
install(FILES "${CMAKE_CURRENT_BINARY_DIR}/cuttle.pc" DESTINATION "${pkgconfig_dir}")

if(NOT PROJECT_IS_TOP_LEVEL)
  return()
endif()
set(CPACK_GENERATOR TGZ DEB)
set(CPACK_PACKAGE_FILE_NAME "cuttle-${PROJECT_VERSION}")
set(CPACK_PACKAGE_CONTACT "cuttle's maintainers <maintainers@localhost>")
set(CPACK_PACKAGE_DESCRIPTION
    "Learns what normal images look like and finds what is not: Patch SVDD and SQUID, their training, exact
nearest neighbours, calibration and evaluation, on the processor and, where CUDA is, on a GPU.")
set(CPACK_DEBIAN_PACKAGE_NAME libcuttle-dev)
set(CPACK_DEBIAN_PACKAGE_ARCHITECTURE all)
set(CPACK_DEBIAN_PACKAGE_SECTION libdevel)
set(CPACK_DEBIAN_PACKAGE_DEPENDS "libeigen3-dev (>= 3.4)")
set(CPACK_DEBIAN_PACKAGE_SUGGESTS "libstb-dev, libcli11-dev, nvidia-cuda-toolkit")
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_CONTROL_STRICT_PERMISSION ON)
set(CPACK_INSTALL_DEFAULT_DIRECTORY_PERMISSIONS OWNER_READ OWNER_WRITE OWNER_EXECUTE GROUP_READ GROUP_EXECUTE WORLD_READ
                                                WORLD_EXECUTE)
set(CPACK_PROJECT_CONFIG_FILE "${CMAKE_CURRENT_SOURCE_DIR}/cmake/deb.cmake")
set(CPACK_CUTTLE_COPYRIGHT_DIR "${CMAKE_CURRENT_SOURCE_DIR}/cmake/debian")
include(CPack)
