#!/usr/bin/env bash
# aarch64: programs built by a cross-compiler and run by qemu. The promised bits and the neighbours are those of this
# machine, the losses of the first steps of training close to its, and tests of core and ops pass.
source "$(dirname "${BASH_SOURCE[0]}")/tally.sh"

if [[ $(uname -m) == aarch64 ]]; then
  skip "aarch64 by emulation: this machine is one"
  exit 0
fi
cross=aarch64-linux-gnu-g++ emulator=qemu-aarch64-static
for tool in $cross $emulator; do
  command -v "$tool" >/dev/null || { skip "aarch64: $tool is not installed (Debian: g++-aarch64-linux-gnu, qemu-user-static)"; exit 0; }
done

# The packages that are headers alone, apart from this machine's own headers.
mkdir "$scratch"/{packages,objects}
for folder in /usr{/local,}/include/{eigen3,catch2,stb}; do
  if [[ -d $folder ]]; then ln -sfn "$folder" "$scratch/packages/${folder##*/}"; fi
done
flags="-std=c++20 -Iinclude -I. -isystem $scratch/packages/eigen3 -isystem $scratch/packages -pthread \
  -Wall -Wextra -Wshadow -Wconversion -Wsign-conversion -Werror -ffp-contract=off -DCUTTLE_SOURCE_DIR=\"\\\"$PWD\\\"\""

# --- all objects, as many at a time as there are cores ---------------------------------------------------------------

tests=(tests/core/test_*.cpp tests/ops/test_nearest_patch.cpp tests/ops/test_resize_bilinear.cpp)
consumer=(tests/build/consumer/main.cpp tests/build/consumer/promised_bits.cpp)
training=tests/build/aarch64/training.cpp
{
  # The longest first. Catch's own code is not tested here.
  for source in "$training" "${consumer[@]}"; do
    printf '%s -O2 %s\n' "$cross" "$source" "${CXX:-g++} -O1" "$source"
  done
  printf "$cross -O1 %s\n" "${tests[@]}"
  printf '%s -O0 -g0 %s\n' "$cross" tests/support/main.cpp
} >"$scratch/objects.txt"

# object COMPILER SOURCE: where it goes.
object() {
  local name=${2//\//.}
  echo "$scratch/objects/${1##*/}.${name%.cpp}.o"
}
# compile COMPILER OPTIONS... SOURCE
compile() {
  local out
  out=$(object "$1" "${!#}")
  eval "$1 $flags ${*:2} -c -o $out" >"$out.log" 2>&1 || rm -f "$out"
}
export -f object compile
export scratch flags
xargs -P "$(nproc)" -I{} bash -c 'compile {}' <"$scratch/objects.txt"
while read -r compiler options source; do
  source=${source##* }
  made=$(object "$compiler" "$source")
  check "$compiler compiles $source" bash -c "[[ -s '$made' ]] || { cat '$made.log'; exit 1; }"
done <"$scratch/objects.txt"

# link COMPILER PROGRAM SOURCE...
link() {
  local compiler=$1 program=$2 source objects=()
  shift 2
  for source in "$@"; do objects+=("$(object "$compiler" "$source")"); done
  if [[ $compiler == "$cross" ]]; then objects+=(-static); fi
  "$compiler" "${objects[@]}" -pthread -o "$scratch/$program"
}
check "link for aarch64: promised bits" link "$cross" bits "${consumer[@]}"
check "link for aarch64: training" link "$cross" training "$training"
check "link for aarch64: tests" link "$cross" tests tests/support/main.cpp "${tests[@]}"
check "link: promised bits" link "${CXX:-g++}" bits_here "${consumer[@]}"
check "link: training" link "${CXX:-g++}" training_here "$training"

# --- what they print ------------------------------------------------------------------------------------------------

same_bits() { diff <("$emulator" "$scratch/bits") <("$scratch/bits_here"); }
check "the promised bits" same_bits

# close FILE FILE: the same neighbours; losses that differ by rounding at the first step of each method, and by what a
# step makes of that at the second.
close() {
  [[ $(wc -l <"$1") -gt 90 ]] || { echo "there are $(wc -l <"$1") lines"; return 1; }
  diff <(grep '^nearest' "$1") <(grep '^nearest' "$2")
  paste -d ' ' "$1" "$2" | awk '
    /^nearest/ { next }
    { tolerance = seen[$1]++ ? 0.05 : 0.001
      for (i = 2; i <= NF / 2; i++) {
        other = $(i + NF / 2); difference = $i - other; if (difference < 0) difference = -difference
        if ($i !~ /^-?[0-9]/ || !(difference <= tolerance * (other < 0 ? -other : other))) { print; bad = 1 }
        numbers++ } }
    END { exit bad || numbers != 16 }'
}
trains_alike() {
  "$emulator" "$scratch/training" >"$scratch/training.txt"
  "$scratch/training_here" >"$scratch/training_here.txt"
  close "$scratch/training.txt" "$scratch/training_here.txt"
}
check "neighbours with ties, training" trains_alike
sed '0,/^squid [0-9]*/s//squid 9/' "$scratch/training_here.txt" >"$scratch/planted.txt"
check_fails "another loss is found" close "$scratch/training_here.txt" "$scratch/planted.txt"
sed '0,/^nearest [0-9]*/s//nearest 515/' "$scratch/training_here.txt" >"$scratch/planted.txt"
check_fails "another neighbour is found" close "$scratch/training_here.txt" "$scratch/planted.txt"

passes() {
  "$emulator" "$scratch/tests" "$@" | tee "$scratch/tests.txt"
  grep -qE '^[1-9][0-9]+ passed, 0 failed, [0-9]+ skipped$' "$scratch/tests.txt"
}
check "tests of core, nearest_patch and resize_bilinear" passes
