# How this project builds its own programs and tests; nothing here reaches a user's target.
option(CUTTLE_NATIVE "Build the project's own targets with cuttle::native" OFF)
set(CUTTLE_SANITIZE OFF CACHE STRING "Build the project's own targets with sanitizers: ON (address and undefined) or thread")

if(NOT CMAKE_BUILD_TYPE AND NOT CMAKE_CONFIGURATION_TYPES)
  set(CMAKE_BUILD_TYPE Release CACHE STRING "Build type" FORCE)
endif()
set(CMAKE_RUNTIME_OUTPUT_DIRECTORY "${CMAKE_BINARY_DIR}/bin")

add_library(cuttle_own_flags INTERFACE)
# Contraction off: the tests compare bits between builds.
target_compile_options(cuttle_own_flags INTERFACE -Wall -Wextra -Wshadow -Wconversion -Wsign-conversion -Werror
                                                  -ffp-contract=off)
if(CUTTLE_SANITIZE)
  if(CUTTLE_SANITIZE STREQUAL "thread")
    set(sanitizers thread)
  else()
    set(sanitizers address,undefined)
  endif()
  target_compile_options(
    cuttle_own_flags INTERFACE -O1 -g1 -fno-omit-frame-pointer -fsanitize=${sanitizers} -fno-sanitize-recover=all)
  target_link_options(cuttle_own_flags INTERFACE -fsanitize=${sanitizers})
endif()
target_link_libraries(cuttle_own_flags INTERFACE cuttle::cuttle $<$<BOOL:${CUTTLE_NATIVE}>:cuttle::native>)

# A program of this project from one or more sources.
function(cuttle_add_program name)
  add_executable(${name} ${ARGN})
  target_link_libraries(${name} PRIVATE cuttle_own_flags $<$<BOOL:${CUTTLE_CUDA}>:cuttle_own_cuda>)
  target_include_directories(${name} PRIVATE "${PROJECT_SOURCE_DIR}")
endfunction()

# The CUDA part for this project's own programs: one shared copy of its kernels for all of them.
if(TARGET cuttle_cuda)
  file(GENERATE OUTPUT "${CMAKE_BINARY_DIR}/own_cuda.cpp" CONTENT "")
  add_library(cuttle_own_cuda SHARED "${CMAKE_BINARY_DIR}/own_cuda.cpp")
  target_link_libraries(cuttle_own_cuda PRIVATE cuttle::cuda)
  target_link_options(cuttle_own_cuda INTERFACE "LINKER:-u,cuttle_cuda_linked")
endif()
