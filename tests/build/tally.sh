# Sourced by the checks beside it: counts results and, when the script ends, prints the line that ./run adds up.
# A script that stops before its end has failed, whatever it had counted.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

passed=0 failed=0 skipped=0
scratch=$(mktemp -d)

# What a compiler needs to find the library in the source tree, and Eigen and stb where packages put them.
library_flags=(-std=c++20 -Iinclude -pthread)
for folder in /usr{,/local}/include/{eigen3,stb}; do
  if [[ -d $folder ]]; then library_flags+=(-isystem "$folder"); fi
done

pass() { passed=$((passed + 1)); }
fail() { failed=$((failed + 1)); printf 'FAILED: %s\n' "$*"; }
skip() { skipped=$((skipped + 1)); printf 'SKIPPED: %s\n' "$*"; }

# attempt COMMAND...: its status in $status, its output in $scratch/log. Called as a plain command, never as a condition,
# so that a function with several commands stops at the first that fails.
attempt() {
  set +e
  (
    set -e
    "$@"
  ) >"$scratch/log" 2>&1 </dev/null
  status=$?
  set -e
}

# check NAME COMMAND...: passes when the command does; its output is shown only when it fails.
check() {
  local name=$1 status
  shift
  attempt "$@"
  if ((status == 0)); then pass; else fail "$name"; head -n 60 "$scratch/log" | sed 's/^/  /'; fi
}

# check_fails NAME COMMAND...: passes when the command does not; for showing that a check can fail.
check_fails() {
  local name=$1 status
  shift
  attempt "$@"
  if ((status != 0)); then pass; else fail "$name"; fi
}

finish() {
  local status=$?
  rm -rf "$scratch"
  ((status == 0)) || fail "$0 stopped early (status $status)"
  printf '%d passed, %d failed, %d skipped\n' "$passed" "$failed" "$skipped"
  exit $((failed > 0))
}
trap finish EXIT
