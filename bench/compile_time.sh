#!/usr/bin/env bash
# What a one-line program costs to compile that includes the umbrella header, beside one that includes Eigen/Core: the
# compiler's process CPU seconds, the least of ROUNDS (5) runs of each, one after the other; the same program where the
# umbrella is precompiled, as CMake's target_precompile_headers does it; and one that includes the standard headers which
# the umbrella needs, and nothing else.
#
#   bench/compile_time.sh [ROUNDS]     CXX names the compiler
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

rounds=${1:-5}
compiler=${CXX:-g++}
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
flags=(-std=c++20 -O2 -Iinclude -pthread $(pkg-config --cflags eigen3 | sed 's/-I/-isystem /g'))

program() { printf '#include <%s>\nint main() {}\n' "$2" >"$scratch/$1.cpp"; }
program eigen Eigen/Core
program umbrella cuttle/cuttle.hpp
program precompiled cuttle/cuttle.hpp
"$compiler" "${flags[@]}" -MM "$scratch/umbrella.cpp" | grep -oE 'include/cuttle/[a-z0-9_/]+\.(hpp|inl)' |
  xargs grep -hE '^#include <' | grep -v 'intrin\.h>' | sort -u >"$scratch/standard.cpp"
printf '#include <%s>\n' "$PWD/include/cuttle/cuttle.hpp" >"$scratch/whole.hpp"
"$compiler" "${flags[@]}" -x c++-header "$scratch/whole.hpp" -o "$scratch/whole.hpp.gch"

# seconds PROGRAM OPTIONS...: CPU seconds, user and system, of one compilation.
seconds() {
  local name=$1
  shift
  [[ $name != precompiled ]] || set -- "$@" -include "$scratch/whole.hpp"
  TIMEFORMAT='%U %S'
  { time "$compiler" "${flags[@]}" "$@" "$scratch/$name.cpp" >/dev/null 2>"$scratch/errors"; } 2>&1 | awk '{ print $1 + $2 }'
  [[ ! -s $scratch/errors ]] || { cat "$scratch/errors" >&2; return 1; }
}

"$compiler" --version | head -n 1
for what in "-fsyntax-only" "-c -o /dev/null"; do
  declare -A least=()
  for ((round = 0; round < rounds; ++round)); do
    for name in eigen umbrella precompiled standard; do
      now=$(seconds "$name" $what)
      least[$name]=$(awk -v a="${least[$name]:-1e9}" -v b="$now" 'BEGIN { print (b < a ? b : a) }')
    done
  done
  awk -v what="-O2 $what" -v e="${least[eigen]}" -v u="${least[umbrella]}" -v p="${least[precompiled]}" \
    -v s="${least[standard]}" 'BEGIN {
    printf "%-20s Eigen/Core %.2f s, cuttle/cuttle.hpp %.2f s, ratio %.2f; precompiled %.2f s, ratio %.2f; standard headers %.2f s, ratio %.2f\n",
      what, e, u, u / e, p, p / e, s, s / e }'
done
