# NVIDIA's cuDNN as the target cuDNN::cuDNN: beside the CUDA toolkit, where a system's packages put it, or in the folder
# that cuDNN_ROOT names (a Python wheel's nvidia/cudnn will do).
find_package(CUDAToolkit QUIET)
find_path(CUDNN_INCLUDE_DIR NAMES cudnn_version.h HINTS ${CUDAToolkit_INCLUDE_DIRS} DOC "The folder of cudnn.h")
find_library(CUDNN_LIBRARY NAMES cudnn libcudnn.so.9 NAMES_PER_DIR HINTS ${CUDAToolkit_LIBRARY_DIR} DOC "cuDNN 9")

if(CUDNN_INCLUDE_DIR AND EXISTS "${CUDNN_INCLUDE_DIR}/cudnn_version.h")
  file(STRINGS "${CUDNN_INCLUDE_DIR}/cudnn_version.h" lines REGEX "^#define CUDNN_(MAJOR|MINOR|PATCHLEVEL) ")
  string(REGEX REPLACE ".*MAJOR ([0-9]+).*MINOR ([0-9]+).*PATCHLEVEL ([0-9]+).*" "\\1.\\2.\\3" cuDNN_VERSION "${lines}")
endif()

include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(
  cuDNN REQUIRED_VARS CUDNN_LIBRARY CUDNN_INCLUDE_DIR VERSION_VAR cuDNN_VERSION
  REASON_FAILURE_MESSAGE "install cuDNN 9, or set cuDNN_ROOT to the folder that holds its include and lib")
mark_as_advanced(CUDNN_INCLUDE_DIR CUDNN_LIBRARY)

if(cuDNN_FOUND AND NOT TARGET cuDNN::cuDNN)
  add_library(cuDNN::cuDNN UNKNOWN IMPORTED GLOBAL)
  set_target_properties(cuDNN::cuDNN PROPERTIES IMPORTED_LOCATION "${CUDNN_LIBRARY}"
                                                INTERFACE_INCLUDE_DIRECTORIES "${CUDNN_INCLUDE_DIR}")
endif()
