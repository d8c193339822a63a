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
  [data]="core seam"
  [eval]="core seam"
  [models]="nn io autograd ops core seam data eval"
)

# The folders of ours that the header includes, one a line.
included_folders() {
  grep -ohE '^ *# *include +["<]cuttle/[a-z_]+/' "$1" | grep -oE '[a-z_]+/$' | tr -d / | sort -u
}

# layered FILE FOLDER: FILE, a header of FOLDER, includes nothing of ours but FOLDER and what stands under it.
layered() {
  [[ -v may_include[$2] ]] || { echo "include/cuttle/$2 has no line in may_include"; return 1; }
  local folder
  for folder in $(included_folders "$1"); do
    [[ " $2 ${may_include[$2]} " == *" $folder "* ]] || { echo "$1 includes $folder, which stands above $2"; return 1; }
  done
}

# Eigen costs everyone who includes it, and its results depend on the user's flags: only the backend may see it.
without_eigen() { ! grep -nE '^ *# *include +["<](Eigen|unsupported/Eigen)' "$1"; }

# The library is independent of a device's headers, of the programs' packages and of the terminal.
without_outsiders() {
  ! grep -nE '^ *# *include +["<](cuda|cublas|cudnn|CLI|nlohmann|catch2|kernels/|tests/|iostream|cstdio)' "$1"
}
without_exit() { ! sed 's|//.*||' "$1" | grep -nE '\b(std::)?(exit|abort|_Exit|quick_exit|printf|puts)\(|\bassert\('; }

for header in $(find include/cuttle -mindepth 2 -name '*.hpp' -o -mindepth 2 -name '*.inl' | sort); do
  folder=${header#include/cuttle/}
  folder=${folder%%/*}
  check "$header: arrows" layered "$header" "$folder"
  [[ $folder == backend ]] || check "$header: no Eigen outside backend" without_eigen "$header"
  check "$header: no outside header" without_outsiders "$header"
  check "$header: returns or throws" without_exit "$header"
done

# The umbrella names every header but those that need stb, so that one include is the whole library.
umbrella_is_complete() {
  diff <(grep -oE 'cuttle/[a-z_]+/[a-z0-9_]+\.hpp' include/cuttle/cuttle.hpp | sort) \
    <(cd include && find cuttle -mindepth 2 -name '*.hpp' | xargs grep -LE 'stb_image|data/image\.hpp' | sort)
}
check "cuttle.hpp names every header" umbrella_is_complete

# The checks themselves: a planted fault of each kind is found.
plant() { printf '%s\n' "$1" >"$scratch/planted.hpp"; }
plant '#include "cuttle/ops/conv2d.hpp"'
check_fails "an arrow upwards is found" layered "$scratch/planted.hpp" core
check "an arrow downwards is allowed" layered "$scratch/planted.hpp" nn
check_fails "a folder without a rule is found" layered "$scratch/planted.hpp" attic
plant '# include <Eigen/Core>'
check_fails "Eigen outside the backend is found" without_eigen "$scratch/planted.hpp"
plant '#include <cuda_runtime.h>'
check_fails "a CUDA header is found" without_outsiders "$scratch/planted.hpp"
plant 'inline void stop() { std::exit(1); }'
check_fails "an exit is found" without_exit "$scratch/planted.hpp"
