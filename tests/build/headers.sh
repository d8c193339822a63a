#!/usr/bin/env bash
# Every header compiles on its own, included twice, with each compiler that is here and no warning.
source "$(dirname "${BASH_SOURCE[0]}")/tally.sh"

flags=("${library_flags[@]}" -fsyntax-only -Wall -Wextra -Wshadow -Wconversion -Wsign-conversion -Werror)

# compiles COMPILER HEADER
compiles() {
  printf '#include "%s"\n#include "%s"\n' "$2" "$2" | "$1" "${flags[@]}" -x c++ -
}

# Compiles every header with one compiler, as many at a time as there are cores; one check for each.
check_headers() {
  local compiler=$1 headers=$2 logs="$scratch/$1" header
  mkdir -p "$logs"
  export -f compiles
  export flags_text="${flags[*]}"
  xargs -P "$(nproc)" -I{} bash -c \
    'read -ra flags <<<"$flags_text"; log="$2/${3//\//.}"; compiles "$1" "$3" >"$log" 2>&1 && rm "$log"' \
    _ "$compiler" "$logs" {} <<<"$headers" || true
  while read -r header; do
    check "$header alone, $compiler" bash -c "! cat '$logs/${header//\//.}' 2>/dev/null"
  done <<<"$headers"
}

headers=$(cd include && find cuttle -name '*.hpp' | sort)

# A header that leans on what its includer included has to be caught.
mkdir -p "$scratch/planted"
echo 'inline std::size_t length(const std::string& text) { return text.size(); }' >"$scratch/planted/leans.hpp"
check_fails "a header that lacks an include is caught" compiles "${CXX:-g++}" "$scratch/planted/leans.hpp"

compilers=0
# Clang 15 is the oldest that is promised: it where it is here, else the newest that is.
for clang in clang++-15 clang++-{25..16} clang++; do
  if version=$("$clang" -dumpversion 2>/dev/null) && ((${version%%.*} >= 15)); then break; fi
  clang=""
done
for compiler in g++ $clang; do
  if command -v "$compiler" >/dev/null; then
    check_headers "$compiler" "$headers"
    compilers=$((compilers + 1))
  fi
done
[[ $clang ]] || skip "headers alone with clang: none of version 15 or later is installed"
((compilers > 0)) || fail "no compiler was found"
