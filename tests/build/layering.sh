#!/usr/bin/env bash
# Dependencies run one way: each folder of include/cuttle includes only the folders named for it here.
source "$(dirname "${BASH_SOURCE[0]}")/tally.sh"

declare -A may_include=(
  [seam]=""
  [core]="seam"
  [backend]="core seam"
  [ops]="backend core seam"
  [autograd]="ops backend core seam"
  [nn]="autograd ops core seam"
  [io]="core seam"
  [data]="io core seam" # files are read and written by io/file.hpp alone
  [eval]="core seam"
  [models]="nn autograd ops eval data io core seam"
  [report]="models eval data io core seam"
)

# Each of the following rules takes headers and names those that break it.

# layered FOLDER HEADER...: headers of FOLDER include nothing of ours but FOLDER and what stands under it.
layered() {
  local folder=$1 header other good=0
  shift
  [[ -v may_include[$folder] ]] || { echo "include/cuttle/$folder has no line in may_include"; return 1; }
  for header in "$@"; do
    for other in $(grep -ohE '^ *# *include +["<]cuttle/[a-z_]+/' "$header" | grep -oE '[a-z_]+/$' | tr -d / | sort -u); do
      [[ " $folder ${may_include[$folder]} " == *" $other "* ]] || { echo "$header includes $other"; good=1; }
    done
  done
  return $good
}

# Eigen costs everyone who includes it, and its results depend on the user's flags: only the backend may see it.
without_eigen() { ! grep -nE '^ *# *include +["<](Eigen|unsupported/Eigen)' /dev/null "$@"; }

# The library does not depend on a device's headers, on the packages of programs and tests, or on the terminal.
without_outsiders() {
  ! grep -nE '^ *# *include +["<](cuda|cublas|cudnn|CLI|nlohmann|catch2|kernels/|tests/|iostream)' /dev/null "$@"
}

# Kernels stand on the seam and on each other, and what CUDA has they get from vocab.cuh, so that the emulator can stand
# in for it; the two that wrap a library of CUDA's apart.
kernels_layered() {
  ! grep -nE '^ *# *include +["<]' /dev/null "$@" |
    grep -vE 'include +("kernels/[a-z0-9_/]+\.cuh"|"cuttle/seam/[a-z_]+\.(hpp|inl)"|<[a-z_]+>)|kernels/vocab\.cuh:' |
    grep -vE '/(conv2d_cudnn\.cuh:.*<cudnn\.h>|matmul_cublas\.cuh:.*<cublas_v2\.h>)'
}

# Errors are exceptions.
without_exit() {
  ! sed 's|//.*||' "$@" | grep -nE '\b(exit|abort|_Exit|quick_exit|printf|puts|assert)\(|\bstd::c(out|err)\b'
}

# The umbrella names every header but those that need stb and those that only such include, so that one include is the
# whole library, and what images in files need is paid for by who has them.
umbrella_is_complete() {
  local need_stb more header users
  need_stb=$(grep -rlE '^#include ["<]stb_image' include/cuttle)
  while more=$(grep -rlF "$(sed 's|^include/\(.*\)|#include "\1"|' <<<"$need_stb")" include/cuttle --exclude=cuttle.hpp &&
    cat <<<"$need_stb") && more=$(sort -u <<<"$more") && [[ $more != "$need_stb" ]]; do need_stb=$more; done
  while more=$need_stb; do
    for header in $(find include/cuttle -mindepth 2 -name '*.hpp' | grep -vxF "$need_stb"); do
      users=$(grep -rlF "#include \"${header#include/}\"" include/cuttle --exclude=cuttle.hpp) || continue
      grep -qvxF "$need_stb" <<<"$users" || need_stb+=$'\n'$header
    done
    [[ $more != "$need_stb" ]] || break
  done
  diff <(grep -oE '^#include "cuttle/[a-z_]+/[a-z0-9_]+\.hpp' include/cuttle/cuttle.hpp | cut -d '"' -f 2 | sort) \
    <(find include/cuttle -mindepth 2 -name '*.hpp' | grep -vxF "$need_stb" | sed 's|^include/||' | sort)
}

mapfile -t headers < <(find include -name '*.hpp' -o -name '*.inl' | sort)
mapfile -t outside_backend < <(printf '%s\n' "${headers[@]}" | grep -v '/backend/')
for folder in $(printf '%s\n' "${headers[@]}" | grep -oE '^include/cuttle/[a-z_]+/' | sort -u | xargs -n 1 basename); do
  check "the arrows of $folder" layered "$folder" $(printf '%s\n' "${headers[@]}" | grep "/cuttle/$folder/")
done
check "Eigen in the backend alone" without_eigen "${outside_backend[@]}"
mapfile -t kernels < <(find kernels -name '*.cuh' -o -name '*.cu' | sort)
check "the arrows of kernels" kernels_layered "${kernels[@]}"
check "no header from outside" without_outsiders "${headers[@]}"
check "no exit, abort, assert or print" without_exit "${headers[@]}"
check "cuttle.hpp names every header but those of images in files" umbrella_is_complete

# The rules themselves: a planted fault of each kind is found.
plant() { printf '%s\n' "$1" >"$scratch/planted.hpp"; }
plant '#include "cuttle/ops/conv2d.hpp"'
check_fails "an arrow upwards is found" layered core "$scratch/planted.hpp"
check "an arrow downwards is allowed" layered nn "$scratch/planted.hpp"
check_fails "a folder without a rule is found" layered attic "$scratch/planted.hpp"
plant '# include <Eigen/Core>'
check_fails "Eigen outside the backend is found" without_eigen "$scratch/planted.hpp"
plant '#include <cuda_runtime.h>'
check_fails "a CUDA header is found" without_outsiders "$scratch/planted.hpp"
check_fails "a CUDA header in a kernel is found" kernels_layered "$scratch/planted.hpp"
plant '#include "cuttle/core/tensor.hpp"'
check_fails "a kernel that includes more than the seam is found" kernels_layered "$scratch/planted.hpp"
plant 'inline void stop() { std::exit(1); }'
check_fails "an exit is found" without_exit "$scratch/planted.hpp"
