# Makes the target cuttle::cuda, a static library of the one file that nvcc compiles, from the sources in
# ${cuttle_kernels_parent}/kernels; enables the language CUDA where it is not. Where something for it is not here,
# cuttle_cuda_missing says what, and there is no target.
set(cuttle_cuda_missing "")
if(TARGET cuttle_cuda)
  return()
endif()

# nvcc, also where it is not in the PATH.
if(NOT CMAKE_CUDA_COMPILER AND NOT DEFINED ENV{CUDACXX})
  find_program(CUTTLE_NVCC nvcc HINTS ENV CUDA_PATH PATHS /usr/local/cuda /opt/cuda PATH_SUFFIXES bin DOC "nvcc")
  mark_as_advanced(CUTTLE_NVCC)
  if(NOT CUTTLE_NVCC)
    set(cuttle_cuda_missing "nvcc of the CUDA toolkit 12 or later (set CMAKE_CUDA_COMPILER, or put it in the PATH)")
    return()
  endif()
  set(CMAKE_CUDA_COMPILER "${CUTTLE_NVCC}")
endif()

# The user's architectures, read before CMake puts nvcc's default there. The kernels need 80 and later.
if(NOT DEFINED CUTTLE_CUDA_ARCHITECTURES)
  set(architectures 80-real 90a-real 80-virtual)
  if(DEFINED CMAKE_CUDA_ARCHITECTURES AND NOT CMAKE_CUDA_ARCHITECTURES MATCHES "(^|;)[1-7][0-9](-|;|$)")
    set(architectures ${CMAKE_CUDA_ARCHITECTURES})
  elseif(DEFINED CMAKE_CUDA_ARCHITECTURES)
    message(STATUS "cuttle::cuda is for ${architectures}, not for ${CMAKE_CUDA_ARCHITECTURES}: it needs 80 or later")
  endif()
  set(CUTTLE_CUDA_ARCHITECTURES "${architectures}" CACHE STRING "What cuttle::cuda is compiled for")
endif()
if(NOT CMAKE_CUDA_COMPILER_LOADED)
  enable_language(CUDA)
endif()

find_package(CUDAToolkit 12 QUIET)
foreach(library cudart_static cublas)
  if(NOT TARGET CUDA::${library})
    list(APPEND cuttle_cuda_missing "${library} of the CUDA toolkit 12 or later")
  endif()
endforeach()
list(PREPEND CMAKE_MODULE_PATH "${CMAKE_CURRENT_LIST_DIR}")
find_package(cuDNN 9 QUIET)
list(POP_FRONT CMAKE_MODULE_PATH)
if(NOT cuDNN_FOUND)
  list(APPEND cuttle_cuda_missing "cuDNN 9 (set cuDNN_ROOT to the folder that holds its include and lib)")
endif()
if(cuttle_cuda_missing)
  list(JOIN cuttle_cuda_missing ", " cuttle_cuda_missing)
  return()
endif()

add_library(cuttle_cuda STATIC "${cuttle_kernels_parent}/kernels/cuttle_cuda.cu")
add_library(cuttle::cuda ALIAS cuttle_cuda)
# C++17: CMake up to 3.25 knows no CUDA_STANDARD 20 for nvcc 13. PIC: for users' shared libraries.
set_target_properties(
  cuttle_cuda PROPERTIES CUDA_ARCHITECTURES "${CUTTLE_CUDA_ARCHITECTURES}" CUDA_STANDARD 17 CUDA_STANDARD_REQUIRED ON
                         POSITION_INDEPENDENT_CODE ON)
# Contraction off: where bits are promised, every fused multiply-add is written.
target_compile_options(cuttle_cuda PRIVATE -fmad=false --expt-relaxed-constexpr "SHELL:--threads 0")
target_include_directories(cuttle_cuda PRIVATE "${cuttle_kernels_parent}"
                                               "$<TARGET_PROPERTY:cuttle::cuttle,INTERFACE_INCLUDE_DIRECTORIES>")
target_link_libraries(
  cuttle_cuda
  PRIVATE CUDA::cudart_static CUDA::cublas cuDNN::cuDNN
  INTERFACE cuttle::cuttle)
# The file registers itself when the program starts, and nothing in it is called by name: ask for it.
target_link_options(cuttle_cuda INTERFACE "LINKER:-u,cuttle_cuda_linked")
