#!/usr/bin/env bash
# Every C++ file is as clang-format, with .clang-format, would write it. Its versions differ, so it is one version's word.
source "$(dirname "${BASH_SOURCE[0]}")/tally.sh"

formatted() { clang-format --dry-run --Werror --style=file "$@"; }

version=14
if clang-format --version 2>/dev/null | grep -q "version $version\."; then
  mapfile -t sources < <(find include kernels tests examples bench \( -name '*.?pp' -o -name '*.inl' -o -name '*.cu' -o -name '*.cuh' \) | sort)
  check "the format of the sources" formatted "${sources[@]}"
  cp .clang-format "$scratch"
  echo 'int  main( ) {return 0;}' >"$scratch/planted.cpp"
  check_fails "a file of another style is found" formatted "$scratch/planted.cpp"
else
  skip "the format of the sources: clang-format $version is not installed"
fi
