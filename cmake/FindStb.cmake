# stb's single-header image readers and writers, as the target Stb::Stb (Debian: libstb-dev).
# Nothing is copied into this project; CUTTLE_FETCH_STB=ON downloads them where they are not installed.
find_path(STB_INCLUDE_DIR NAMES stb_image.h PATH_SUFFIXES stb DOC "The folder of stb_image.h and stb_image_write.h")

if(NOT STB_INCLUDE_DIR AND CUTTLE_FETCH_STB)
  include(FetchContent)
  FetchContent_Declare(stb GIT_REPOSITORY https://github.com/nothings/stb.git
                           GIT_TAG 5736b15f7ea0ffb08dd38af21067c314d6a3aae9)
  FetchContent_MakeAvailable(stb)
  set(STB_INCLUDE_DIR "${stb_SOURCE_DIR}" CACHE PATH "" FORCE)
endif()

include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(
  Stb REQUIRED_VARS STB_INCLUDE_DIR
  REASON_FAILURE_MESSAGE "install libstb-dev (Debian, Ubuntu), or set CUTTLE_FETCH_STB=ON or STB_INCLUDE_DIR")
mark_as_advanced(STB_INCLUDE_DIR)

if(Stb_FOUND AND NOT TARGET Stb::Stb)
  add_library(Stb::Stb INTERFACE IMPORTED GLOBAL)
  set_target_properties(Stb::Stb PROPERTIES INTERFACE_INCLUDE_DIRECTORIES "${STB_INCLUDE_DIR}")
endif()
