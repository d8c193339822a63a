#!/usr/bin/env bash
# Users' projects: an installed copy, add_subdirectory and FetchContent, each of language CXX alone and with the library
# in two translation units; the installed copy by pkg-config; other compilers' flags; and the bits that are promised to be
# the same in all of them.
source "$(dirname "${BASH_SOURCE[0]}")/tally.sh"

project=$PWD
consumer=$project/tests/build/consumer
command -v ninja >/dev/null && export CMAKE_GENERATOR="${CMAKE_GENERATOR:-Ninja}"
compiler=${CXX:-g++}

# --- the three ways to find the library ---------------------------------------------------------------------------

# Installed in one place and moved to another, as packages are.
install_and_move() {
  cmake -S "$project" -B "$scratch/library" -DCUTTLE_TESTS=OFF -DCUTTLE_EXAMPLES=OFF -DCUTTLE_BENCH=OFF \
    -DCMAKE_INSTALL_PREFIX="$scratch/first"
  cmake --build "$scratch/library"
  cmake --install "$scratch/library"
  mv "$scratch/first" "$scratch/installed"
  rm -r "$scratch/library"
}

# configure_consumer FOLDER ARGUMENTS
configure_consumer() {
  local folder=$1
  shift
  cmake --log-level=WARNING -Wno-dev -S "$consumer" -B "$folder" -DCMAKE_BUILD_TYPE=Release -DCMAKE_EXPORT_COMPILE_COMMANDS=ON "$@"
}

# consume WAY CMAKE_ARGUMENT: configures and builds the consumer, runs it, keeps its checksums.
consume() {
  configure_consumer "$scratch/$1" -DCONSUME="$1" "$2"
  cmake --build "$scratch/$1"
  "$scratch/$1/consumer" >"$scratch/$1.bits"
  "$scratch/$1/image_consumer" | diff - "$scratch/$1.bits"
}

# The user's compile commands hold nothing of ours but the include folder and the standard.
no_flags_of_ours() {
  ! grep -nE -- '-m(arch|avx|fma|tune)|-ffp-contract|-Werror|-Wall|-fno-|-O[^3]' "$1/compile_commands.json"
}

archive=$scratch/cuttle.tar.gz
tar -czf "$archive" --exclude=./build* --exclude=./out --exclude=./.git --transform='s,^\.,cuttle,' .

check "install, and move what was installed" install_and_move
check "a consumer of the installed copy" consume installed -DCMAKE_PREFIX_PATH="$scratch/installed"
check "a consumer by add_subdirectory" consume subdirectory -DCUTTLE_SOURCE="$project"
check "a consumer by FetchContent" consume fetched -DCUTTLE_ARCHIVE="$archive"
check "no flags of ours in a user's commands, installed" no_flags_of_ours "$scratch/installed"
check "no flags of ours in a user's commands, add_subdirectory" no_flags_of_ours "$scratch/subdirectory"
check "add_subdirectory prints the checksum of the installed copy" diff "$scratch"/{installed,subdirectory}.bits
check "FetchContent prints the checksum of the installed copy" diff "$scratch"/{installed,fetched}.bits

# --- what has to be refused ---------------------------------------------------------------------------------------

# find CMAKE_LINES: a project that is nothing but these lines configures.
find_only() {
  rm -rf "$scratch/find"
  mkdir "$scratch/find"
  printf 'cmake_minimum_required(VERSION 3.22)\nproject(find LANGUAGES CXX)\n%s\n' "$1" >"$scratch/find/CMakeLists.txt"
  cmake -S "$scratch/find" -B "$scratch/find/build" -DCMAKE_PREFIX_PATH="$scratch/installed"
}
check "find_package of this version" find_only 'find_package(cuttle 0.1.0 REQUIRED)'
check_fails "a version that is not there is refused" find_only 'find_package(cuttle 0.2 REQUIRED)'
check_fails "a component that is not there is refused" find_only 'find_package(cuttle REQUIRED COMPONENTS frobnicate)'
check "without stb there is cuttle::cuttle" find_only '
  set(CMAKE_DISABLE_FIND_PACKAGE_Stb ON)
  find_package(cuttle REQUIRED)
  get_target_property(include cuttle::cuttle INTERFACE_INCLUDE_DIRECTORIES)'
check_fails "without stb the component image is refused" find_only '
  set(CMAKE_DISABLE_FIND_PACKAGE_Stb ON)
  find_package(cuttle REQUIRED COMPONENTS image)'

# --- other flags, the same bits -----------------------------------------------------------------------------------

# same_bits NAME SOURCE FLAGS: a program of SOURCE and promised_bits.cpp prints what the installed consumer printed.
same_bits() {
  local program=$scratch/$1 source=$consumer/$2
  shift 2
  "$compiler" "${library_flags[@]}" "$@" "$source" "$consumer/promised_bits.cpp" -o "$program" &&
    "$program" | diff - "$scratch/installed.bits"
}
check "the same bits with -O3 -march=native" same_bits native main.cpp -O3 -march=native
# What pkg-config says of the installed copy, in place of the flags for the source tree.
by_pkg_config() {
  local library_flags
  read -ra library_flags <<<"-std=c++20 $(PKG_CONFIG_PATH=$scratch/installed/share/pkgconfig pkg-config --cflags --libs cuttle)"
  [[ " ${library_flags[*]} " == *" -I$scratch/installed/"* ]] || { echo "the flags are ${library_flags[*]}"; return 1; }
  same_bits "$@"
}
check "the same bits with -O1 and no contraction, by pkg-config from the installed copy" \
  by_pkg_config plain main.cpp -O1 -ffp-contract=off
check "the same bits with -fopenmp, Eigen first" same_bits openmp openmp.cpp -O2 -fopenmp

refuses_fast_math() {
  ! "$compiler" "${library_flags[@]}" -ffast-math -fsyntax-only "$consumer/main.cpp" 2>"$scratch/errors" &&
    grep -q 'compile without it' "$scratch/errors"
}
check "-ffast-math is refused, and the error says why" refuses_fast_math
