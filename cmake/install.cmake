# find_package(cuttle [COMPONENTS image cuda]) from an installed copy, wherever it is moved.
include(CMakePackageConfigHelpers)
include(GNUInstallDirs)

set(package_dir "${CMAKE_INSTALL_LIBDIR}/cmake/cuttle")
set(kernels_parent "${CMAKE_INSTALL_DATADIR}/cuttle")
configure_package_config_file(cmake/cuttleConfig.cmake.in "${CMAKE_CURRENT_BINARY_DIR}/cuttleConfig.cmake"
                              INSTALL_DESTINATION "${package_dir}" PATH_VARS kernels_parent)
write_basic_package_version_file("${CMAKE_CURRENT_BINARY_DIR}/cuttleConfigVersion.cmake" COMPATIBILITY SameMinorVersion
                                                                                         ARCH_INDEPENDENT)
install(DIRECTORY include/cuttle TYPE INCLUDE FILES_MATCHING PATTERN "*.hpp" PATTERN "*.inl")
install(FILES "${CMAKE_CURRENT_BINARY_DIR}/cuttleConfig.cmake" "${CMAKE_CURRENT_BINARY_DIR}/cuttleConfigVersion.cmake"
              cmake/FindStb.cmake cmake/FindcuDNN.cmake cmake/cuda.cmake DESTINATION "${package_dir}")
install(DIRECTORY kernels DESTINATION "${kernels_parent}" FILES_MATCHING PATTERN "*.cu" PATTERN "*.cuh")
install(FILES LICENSE TYPE DOC)
install(TARGETS cuttle cuttle_native EXPORT cuttleTargets)
install(EXPORT cuttleTargets NAMESPACE cuttle:: DESTINATION "${package_dir}")
if(TARGET cuttle_image)
  install(TARGETS cuttle_image EXPORT cuttleImageTargets)
  install(EXPORT cuttleImageTargets NAMESPACE cuttle:: DESTINATION "${package_dir}")
endif()
