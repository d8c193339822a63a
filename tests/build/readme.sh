#!/usr/bin/env bash
# What README.md and the tutorial show works: every ```cpp block compiles (one with a main links, too), and every command
# of a ```sh block, in any page, names a command of ./run, or a program and options that exist.
source "$(dirname "${BASH_SOURCE[0]}")/tally.sh"

# Writes each fenced block of a language to a file of its own: blocks LANGUAGE FILE FOLDER
blocks() {
  mkdir -p "$3"
  awk -v language="$1" -v folder="$3" '
    /^```/ { if (inside) inside = 0; else if ($0 == "```" language) { inside = 1; file = sprintf("%s/%02d", folder, ++n) }
             next }
    inside { print > file }' "$2"
}

# A block without a main stands inside one, below the includes that it begins with.
complete_program() {
  if grep -qE '^int main\(' "$1"; then
    cat "$1"
  else
    echo '#include "cuttle/cuttle.hpp"'
    grep -E '^#include' "$1" || true
    echo 'int main() {'
    grep -vE '^#include' "$1" || true
    echo '}'
  fi
}

builds() {
  complete_program "$1" >"$1.cpp"
  "${CXX:-g++}" "${library_flags[@]}" -Wall -Wextra "$1.cpp" -o "$1.out"
}

for page in README.md docs/tutorial.md; do
  folder=$scratch/cpp/$page
  blocks cpp "$page" "$folder"
  for block in "$folder"/*; do
    [[ -f $block ]] && check "$page: cpp block ${block##*/}: $(head -n 1 "$block")" builds "$block"
  done
done

# known LINE: its command exists. A program's options have to stand in its source.
known() {
  local line=$1 words word source
  read -ra words <<<"${line%%[|>;&#]*}"
  case "${words[0]:-}" in
    ./run) ./run help | grep -qE "^\./run ${words[1]:-}( |\$)" ;;
    */bin/*)
      source="examples/${words[0]##*/}.cpp"
      [[ ${words[0]##*/} == bench_* ]] && source="bench/${words[0]##*/}.cpp"
      [[ -f $source ]] || { echo "there is no $source"; return 1; }
      for word in "${words[@]:1}"; do
        [[ $word != --* ]] || grep -qrF -- "${word%%=*}" "$source" examples/support || { echo "$source has no ${word%%=*}"; return 1; }
      done
      ;;
    mine/build/*) grep -q "^add_executable(${words[0]##*/} " docs/tutorial.md ;;  # a reader's own
    cmake | git | cd | sudo | apt-get | python3 | "") ;;
    *) command -v "${words[0]}" >/dev/null ;;
  esac
}

for page in README.md docs/*.md; do
  folder=$scratch/sh/$page
  blocks sh "$page" "$folder"
  for block in "$folder"/*; do
    [[ -f $block ]] || continue
    # A line that ends in a backslash goes on in the next.
    while read -r line; do
      [[ -z $line || $line == \#* ]] || check "$page: $line" known "$line"
    done < <(sed -e ':a' -e '/\\$/N; s/\\\n//; ta' "$block")
  done
done

# The checks themselves.
printf '%s\n' 'cuttle::no_such_function();' >"$scratch/planted"
check_fails "a block that does not compile is found" builds "$scratch/planted"
check_fails "a command that ./run lacks is found" known "./run frobnicate"
check_fails "a program that is not there is found" known "build/bin/no_such_program --data x"
