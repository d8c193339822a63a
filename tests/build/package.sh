#!/usr/bin/env bash
# ./run package: what the archive and the Debian package hold, that they say the version of the header, that a consumer
# compiles against one and the examples, alone, against the other.
source "$(dirname "${BASH_SOURCE[0]}")/tally.sh"

command -v ninja >/dev/null && export CMAKE_GENERATOR="${CMAKE_GENERATOR:-Ninja}"
compiler=${CXX:-g++}
check "./run package" ./run package
archives=(out/package/*.tar.gz) debs=(out/package/*.deb)
archive=${archives[0]} deb=${debs[0]}
root=$scratch/root
mkdir "$scratch/archive"
check "unpack the archive" tar -xzf "$archive" -C "$scratch/archive"
unpacked=$(echo "$scratch"/archive/*)

# --- one version ---------------------------------------------------------------------------------------------------

printed_version() {
  cat >"$scratch/version.cpp" <<'CPP'
#include <cstdio>
#include <cuttle/version.hpp>
#define TEXT_(x) #x
#define TEXT(x) TEXT_(x)
static_assert(cuttle::version_string ==
              TEXT(CUTTLE_VERSION_MAJOR) "." TEXT(CUTTLE_VERSION_MINOR) "." TEXT(CUTTLE_VERSION_PATCH));
int main() { std::printf("%d.%d.%d\n", cuttle::version_major, cuttle::version_minor, cuttle::version_patch); }
CPP
  "$compiler" -std=c++20 -I"$1" "$scratch/version.cpp" -o "$scratch/version" && "$scratch/version"
}
attempt printed_version "$unpacked/include"
version=$(tail -n 1 "$scratch/log")
is_version() { [[ $version =~ ^[0-9]+\.[0-9]+\.[0-9]+$ && $1 == "$version" ]] || { echo "'$1', and the header says '$version'"; return 1; }; }

cmake_version() {
  mkdir -p "$scratch/find"
  printf 'cmake_minimum_required(VERSION 3.22)\nproject(find LANGUAGES CXX)\nfind_package(cuttle REQUIRED)\n%s\n' \
    'file(WRITE "${CMAKE_BINARY_DIR}/version" "${cuttle_VERSION}")' >"$scratch/find/CMakeLists.txt"
  cmake -S "$scratch/find" -B "$scratch/find/build" -DCMAKE_PREFIX_PATH="$unpacked" >/dev/null && cat "$scratch/find/build/version"
}
check "the archive is named by the version" is_version "$(basename "$archive" | sed -n 's/^cuttle-\(.*\)\.tar\.gz$/\1/p')"
check "the version of find_package" is_version "$(cmake_version)"
check "the newest version of CHANGELOG.md" is_version "$(sed -nE 's/^## ([0-9.]+).*/\1/p' CHANGELOG.md | head -n 1)"
check "the version of CITATION.cff" is_version "$(sed -nE 's/^version: (.*)/\1/p' CITATION.cff)"
check_fails "another version is found" is_version 0.0.1

# --- what is in them -----------------------------------------------------------------------------------------------

# complete PREFIX: every header, kernel and example of the tree, the two ways to find them, the licence.
complete() {
  local file
  diff <(cd include && find cuttle -name '*.hpp' -o -name '*.inl' | sort) <(cd "$1/include" && find cuttle -type f | sort)
  diff -r kernels "$1/share/cuttle/kernels"
  diff <(cd examples && find . -type f | sort) <(cd "$1/share/doc/cuttle/examples" && find . -type f | sort)
  for file in cmake/cuttle/cuttleConfig.cmake cmake/cuttle/cuttleImageTargets.cmake pkgconfig/cuttle.pc doc/cuttle/LICENSE; do
    [[ -s $1/share/$file ]] || { echo "there is no share/$file"; return 1; }
  done
  # Wherever it is put it works, so it names no place of the machine that packed it.
  ! grep -rnF -e "$PWD" -e build-package "$1"
}
check "what is in the archive" complete "$unpacked"
cp -r "$unpacked" "$scratch/planted"
rm "$scratch/planted/include/cuttle/core/error.hpp"
check_fails "a header that is missing is found" complete "$scratch/planted"

# field NAME PATTERN: of the Debian package.
field() { dpkg-deb -f "$deb" "$1" | grep -xE -- "$2"; }
owned_by_root() { ! dpkg-deb -c "$deb" | awk '{ print $1, $2 }' | grep -vxE '(drwxr-xr-x|-rw-r--r--) root/root'; }
nothing_but_usr() { [[ $(ls "$root") == usr ]]; }
sums_are_right() { dpkg-deb --ctrl-tarfile "$deb" | tar -xO ./md5sums | (cd "$root" && md5sum --quiet -c); }

if command -v dpkg-deb >/dev/null; then
  check "unpack the Debian package" dpkg-deb -x "$deb" "$root"
  check "the Debian package's version" is_version "$(dpkg-deb -f "$deb" Version)"
  check "its name" field Package libcuttle-dev
  check "it is for every architecture" field Architecture all
  check "it depends on Eigen and nothing else" field Depends 'libeigen3-dev \(>= 3\.4\)'
  check "it suggests stb" field Suggests '.*libstb-dev.*'
  check "what is in the Debian package" complete "$root/usr"
  check "it holds nothing outside of /usr" nothing_but_usr
  check "its copyright file" grep -q '^License: Apache-2.0' "$root/usr/share/doc/libcuttle-dev/copyright"
  check "its files belong to root and are for all to read" owned_by_root
  check "its checksums" sums_are_right
else
  skip "the Debian package: dpkg-deb is not installed"
  mkdir "$root"
  cp -r "$unpacked" "$root/usr"
fi

# --- programs against them -----------------------------------------------------------------------------------------

# Debian's place for .pc files that are of no architecture, in the unpacked package.
export PKG_CONFIG_PATH=$root/usr/share/pkgconfig
consume() {
  cat >"$scratch/consumer.cpp" <<'CPP'
#include <cstdio>
#include <cuttle/ops/nearest_patch.hpp>
int main() {
  const auto rows = cuttle::Tensor<float>::from({3, 1}, {1, 5, 5});
  const auto found = cuttle::nearest_patch(cuttle::Tensor<float>::from({1, 1}, {7}), rows, 1);
  std::printf("%lld at %g\n", static_cast<long long>(found.index.item()), static_cast<double>(found.distance.item()));
}
CPP
  local flags
  read -ra flags <<<"$(pkg-config --cflags --libs cuttle)"
  [[ " ${flags[*]} " == *" -I$root/usr/"* ]] || { echo "the flags are ${flags[*]}"; return 1; }
  "$compiler" -std=c++20 "$scratch/consumer.cpp" "${flags[@]}" -o "$scratch/consumer"
  diff <("$scratch/consumer") <(echo '1 at 2')
}
if command -v pkg-config >/dev/null; then
  check "the version of pkg-config" is_version "$(pkg-config --modversion cuttle)"
  check "a consumer of the Debian package, by pkg-config" consume
else
  skip "the version and a consumer by pkg-config, which is not installed"
fi

# The examples as the archive brings them, in a folder of their own; -O0, for they only have to compile.
examples() {
  cp -r "$unpacked/share/doc/cuttle/examples" "$scratch/examples"
  cmake -S "$scratch/examples" -B "$scratch/programs" -DCMAKE_PREFIX_PATH="$unpacked" -DCMAKE_BUILD_TYPE=None \
    -DCMAKE_EXPORT_COMPILE_COMMANDS=ON
  ! grep -F -- "$PWD/" "$scratch/programs/compile_commands.json"
  cmake --build "$scratch/programs" --target write_woven detect
  "$scratch/programs/write_woven" "$scratch/woven" --train 1 --test-good 1 --each-defect 1 --size 64
  "$scratch/programs/detect" --help | grep -q -- --model
}
check "the examples alone, against the archive" examples
