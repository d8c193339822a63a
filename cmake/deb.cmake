# Read by cpack once for each generator: a Debian package has its copyright file where Debian looks for it.
if(CPACK_GENERATOR STREQUAL "DEB")
  set(CPACK_PACKAGING_INSTALL_PREFIX /usr)
  list(APPEND CPACK_INSTALLED_DIRECTORIES "${CPACK_CUTTLE_COPYRIGHT_DIR}" "usr/share/doc/${CPACK_DEBIAN_PACKAGE_NAME}")
endif()
