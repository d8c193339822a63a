#!/usr/bin/env bash
# docs/add_an_op.md works: its program compiles and runs, and its op, built into a copy of the tree as the page says,
# passes its test on the CPU and on the emulated device, which finds the planted fault.
source "$(dirname "${BASH_SOURCE[0]}")/tally.sh"

page=$PWD/docs/add_an_op.md
compiler=(${CXX:-g++} "${library_flags[@]}" -Wall -Wextra)

# parts PAGE FOLDER: a cpp block below a line "`PATH`:" is written to FOLDER/tree/PATH, any other to FOLDER/program.cpp,
# and all diff blocks to FOLDER/patch.
parts() {
  awk -v folder="$2" '
    /^```/ {
      if (file) { close(file); file = "" }
      else if ($0 == "```cpp") {
        file = path ? folder "/tree/" path : folder "/program.cpp"
        if (path) { parent = file; sub(/\/[^\/]*$/, "", parent); system("mkdir -p " parent) }
      }
      else if ($0 == "```diff") file = folder "/patch"
      else if ($0 != "```") file = "/dev/null"
      path = ""
      next
    }
    file { if (file ~ /\/patch$/) print >> file; else print > file; next }
    /^`[^`]*`:$/ { path = $0; gsub(/[`:]/, "", path) }
    /^[^`]/ { path = "" }' "$1"
}
parts "$page" "$scratch"

program() {
  "${compiler[@]}" "$scratch/program.cpp" -o "$scratch/program"
  "$scratch/program"
}
check "the op beside the library" program

# --- the op inside the library --------------------------------------------------------------------------------------

tree=$scratch/copy
mkdir "$tree"
cp -r include kernels tests bench .clang-format "$tree"
cp -r "$scratch/tree/." "$tree"
apply() { cd "$tree" && git apply "$scratch/patch"; }
check "its changes fit the tree" apply
((failed == 0)) || exit 0

format() {
  command -v clang-format >/dev/null || return 0
  cd "$scratch/tree" && find . -type f -exec clang-format --style="file:$tree/.clang-format" --dry-run -Werror {} +
}
check "it is formatted" format

# compile FILE: an object in $scratch; the kernels' own flags, and no optimisation, which would take most of the time.
compile() {
  cd "$tree"
  ${CXX:-g++} "${library_flags[@]}" -I. -O0 -ffp-contract=off -Wno-unknown-pragmas -c "$1" \
    -DCUTTLE_SOURCE_DIR="\"$tree\"" -o "$scratch/$(basename "$1").o"
}
runs() { "$scratch/test_leaky_square" && "$scratch/test_leaky_square" | grep -qE '^3 passed, 0 failed, 0 skipped$'; }
link() { ${CXX:-g++} -pthread "$scratch"/*.cpp.o -lboost_context -o "$scratch/test_leaky_square"; }
build() {
  compile tests/ops/test_leaky_square.cpp
  compile tests/support/main.cpp
  compile tests/simt/device.cpp
  link
}
check "it compiles" build
check "its test passes on every device" runs
syntax() { cd "$tree" && "${compiler[@]}" -I. -fsyntax-only bench/kernels/leaky_square.cpp; }
check "its bench compiles" syntax

plant() {
  local line
  line=$(grep "leaky_square.cuh @@" "$tree/tests/simt/plant_faults.sh")
  perl -0pi -e "$(awk -F ' @@ ' '{ print $3 }' <<<"$line")" "$tree/kernels/leaky_square.cuh"
  ! cmp -s "$tree/kernels/leaky_square.cuh" "$scratch/tree/kernels/leaky_square.cuh"
  compile tests/simt/device.cpp
  link
}
check "its fault is planted" plant
check_fails "its test finds the planted fault" runs
