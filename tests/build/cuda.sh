#!/usr/bin/env bash
# The CUDA part: nvcc compiles every kernel without a warning or a spilled register, once, inside a user's project of
# language CXX that finds an installed copy; and that project's programs see the device, however it is linked to them.
source "$(dirname "${BASH_SOURCE[0]}")/tally.sh"

# Kernels that may spill registers, as an extended regular expression of the names in the table.
may_spill='^$'

project=$PWD
consumer=$project/tests/build/consumer_cuda
command -v ninja >/dev/null && export CMAKE_GENERATOR="${CMAKE_GENERATOR:-Ninja}"

nvcc=${CUDACXX:-$(PATH=$PATH:/usr/local/cuda/bin:/opt/cuda/bin command -v nvcc || true)}
if [[ ! $nvcc ]]; then
  skip "nvcc, registers, consumers of cuttle::cuda: nvcc is not found"
  exit 0
fi
export CUDACXX=$nvcc

# --- an installed copy, moved, and what it says where something is missing -------------------------------------------

install_and_move() {
  cmake -S "$project" -B "$scratch/library" -DCUTTLE_TESTS=OFF -DCUTTLE_EXAMPLES=OFF -DCUTTLE_BENCH=OFF \
    -DCMAKE_INSTALL_PREFIX="$scratch/first"
  cmake --install "$scratch/library"
  mv "$scratch/first" "$scratch/installed-copy"
  rm -r "$scratch/library"
}

# find_only CMAKE_LINES: a project that is nothing but these lines configures.
find_only() {
  rm -rf "$scratch/find"
  mkdir "$scratch/find"
  printf 'cmake_minimum_required(VERSION 3.22)\nproject(find LANGUAGES CXX)\n%s\n' "$1" >"$scratch/find/CMakeLists.txt"
  cmake -S "$scratch/find" -B "$scratch/find/build" -DCMAKE_PREFIX_PATH="$scratch/installed-copy"
}

# says TEXT CMAKE_LINES: they do not, and the error holds TEXT.
says() {
  local status=0
  find_only "$2" >"$scratch/says" 2>&1 || status=$?
  cat "$scratch/says"
  ((status != 0)) && tr -s ' \n' ' ' <"$scratch/says" | grep -qF -- "$1"
}
without_nvcc() (
  unset CUDACXX
  "$@"
)
nvcc_folders="$(type -aP nvcc | xargs -rn 1 dirname | paste -sd ';');/usr/local/cuda/bin;/opt/cuda/bin"

check "install, and move what was installed" install_and_move
check "without nvcc the error says so" without_nvcc says "the component cuda needs nvcc" "
  set(CMAKE_IGNORE_PATH \"$nvcc_folders\")
  find_package(cuttle REQUIRED COMPONENTS cuda)"
check "without nvcc there is cuttle::cuttle" without_nvcc find_only "
  set(CMAKE_IGNORE_PATH \"$nvcc_folders\")
  find_package(cuttle REQUIRED OPTIONAL_COMPONENTS cuda)
  get_target_property(include cuttle::cuttle INTERFACE_INCLUDE_DIRECTORIES)"
check "without cuDNN the error says so" says "the component cuda needs cuDNN" '
  set(CMAKE_DISABLE_FIND_PACKAGE_cuDNN ON)
  find_package(cuttle REQUIRED COMPONENTS cuda)'

attempt find_only 'find_package(cuttle REQUIRED COMPONENTS cuda)'
if ((status != 0)) && needs=$(tr -s ' \n' ' ' <"$scratch/log" | grep -oE 'the component cuda needs [^.]*'); then
  needs=${needs%% -- *}
  skip "registers, consumers of cuttle::cuda: $needs"
  exit 0
fi

# --- one compilation: warnings, registers, spills --------------------------------------------------------------------

configure() {
  local folder=$scratch/$1
  shift
  cmake --log-level=WARNING -Wno-dev -S "$consumer" -B "$folder" -DCMAKE_BUILD_TYPE=Release \
    -DCMAKE_EXPORT_COMPILE_COMMANDS=ON "$@"
}

# compiled_for FOLDER CODE...: nvcc makes these of the kernels and no others.
compiled_for() {
  local folder=$1
  shift
  diff <(grep -oE 'code=\[[a-z0-9_,]+\]' "$folder/compile_commands.json" | sort -u) <(printf 'code=[%s]\n' "$@" | sort -u)
}

# usage LOG: a line "kernel architecture registers shared-bytes spilled-bytes", between tabs, for each kernel that
# ptxas -v reported.
usage() {
  awk -v OFS='\t' '
    /Compiling entry function/ { split($0, part, "\047"); kernel = part[2]; arch = part[4] }
    /bytes spill stores/ { spilled = $5 + $9 }
    /ptxas info *: Used/ {
      shared = 0
      for (i = 1; i <= NF; i++) if ($i ~ /^smem/) shared = $(i - 2)
      for (i = 1; i <= NF; i++) if ($i ~ /^registers/) registers = $(i - 1)
      if (kernel) print kernel, arch, registers, shared, spilled
      kernel = ""
    }' "$1" | c++filt | sed -E '
    s/\(anonymous namespace\):://g
    s/\(cuttle::[A-Za-z0-9_:]+\)([0-9])/\1/g
    s/^void //
    s/cuttle::(kernels|seam):://g
    s/\(.*\)\t/\t/
    s/, /,/g' | sort -u
}

# A line for each kernel, its architectures beside each other.
table() {
  awk -F'\t' '
    { if (!($1 in seen)) rows[++n] = $1; seen[$1]; archs[$2]
      cell[$1, $2] = sprintf("%4d %6d %5d", $3, $4, $5) }
    END {
      printf "%-58s", "kernel: registers, shared bytes, spilled bytes"
      for (arch in archs) printf "  %17s", arch
      print ""
      for (i = 1; i <= n; i++) {
        printf "%-58s", rows[i]
        for (arch in archs) printf "  %17s", cell[rows[i], arch]
        print ""
      }
    }' "$1"
}

no_spills() { ! awk -F'\t' '$5 > 0' "$1" | grep -vE -- "$may_spill"; }
no_warnings() { ! grep -n 'warning' "$1"; }

# Each of sm_80 and sm_90a has kernels, and as many as the other.
both_architectures() {
  local counts
  mapfile -t counts < <(awk -F'\t' '{ n[$2]++ } END { print n["sm_80"] + 0; print n["sm_90a"] + 0 }' "$1")
  echo "kernels for sm_80: ${counts[0]}, for sm_90a: ${counts[1]}"
  ((counts[0] > 20 && counts[0] == counts[1]))
}

check "configure a consumer of the installed copy" configure installed -DCONSUME=installed \
  -DCMAKE_PREFIX_PATH="$scratch/installed-copy" -DCMAKE_CUDA_FLAGS="-Xptxas -v -Xcompiler=-Wall,-Wextra"
start=$SECONDS
check "build it" cmake --build "$scratch/installed"
cp "$scratch/log" "$scratch/build.log"
printf 'nvcc and the consumer: %d s\n' $((SECONDS - start))
usage "$scratch/build.log" >"$scratch/usage"
table "$scratch/usage"
check "for sm_80, sm_90a and what comes after" compiled_for "$scratch/installed" sm_80 sm_90a compute_80
check "kernels for both architectures" both_architectures "$scratch/usage"
check "no warning" no_warnings "$scratch/build.log"
check "no register is spilled" no_spills "$scratch/usage"

# The checks themselves.
printf '%s\n' "ptxas info    : Compiling entry function '_Z1fv' for 'sm_80'" \
  '    8 bytes stack frame, 4 bytes spill stores, 8 bytes spill loads' \
  'ptxas info    : Used 255 registers, used 1 barriers, 1024 bytes smem' >"$scratch/planted.log"
usage "$scratch/planted.log" >"$scratch/planted"
check "the usage of a kernel is read" grep -qx $'f\tsm_80\t255\t1024\t12' "$scratch/planted"
check_fails "a spill is found" no_spills "$scratch/planted"

# --- the consumer's programs -----------------------------------------------------------------------------------------

expected="device cuda:0: there are 0 CUDA devices here"
if nvidia-smi -L 2>/dev/null | grep -q '^GPU'; then expected="cuda:0"; fi
prints() { diff <(echo "$1") <("$2"); }
for program in direct through_static through_shared; do
  check "what a program sees, $program" prints "$expected" "$scratch/installed/$program"
done

# Without the symbol that cuttle::cuda has the linker ask for, the archive's one file stays out of the program.
link_without_anchor() {
  "${CXX:-g++}" "$scratch"/installed/CMakeFiles/direct.dir/*.o "$scratch/installed/libcuttle_cuda.a" -pthread \
    -o "$scratch/bare"
}
check "link without the anchor" link_without_anchor
check "and there is no CUDA part" bash -c "'$scratch/bare' | grep -q 'this program has no CUDA part'"

check "a consumer by add_subdirectory, for one architecture of its own" configure subdirectory -DCONSUME=subdirectory \
  -DCUTTLE_SOURCE="$project" -DCMAKE_CUDA_ARCHITECTURES=80-virtual
check "build it" cmake --build "$scratch/subdirectory" --target direct
check "for that architecture alone" compiled_for "$scratch/subdirectory" compute_80
check "what a program sees, add_subdirectory" prints "$expected" "$scratch/subdirectory/direct"
