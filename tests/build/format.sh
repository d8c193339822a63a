#!/usr/bin/env bash
# Every C++ file is as clang-format, with .clang-format, would write it.
source "$(dirname "${BASH_SOURCE[0]}")/tally.sh"

formatted() { clang-format --dry-run --Werror --style=file "$1"; }

if command -v clang-format >/dev/null; then
  while read -r file; do
    check "$file: clang-format" formatted "$file"
  done < <(find include tests examples bench \( -name '*.hpp' -o -name '*.cpp' -o -name '*.inl' \) | sort)
  cp .clang-format "$scratch"
  echo 'int  main( ) {return 0;}' >"$scratch/planted.cpp"
  check_fails "a file of another style is found" formatted "$scratch/planted.cpp"
else
  skip "the format of the sources: clang-format is not installed"
fi
