# Sourced by the checks beside it: counts results and, when the script ends, prints the line that ./run adds up.
# A script that stops before its end has failed, whatever it had counted.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

passed=0 failed=0 skipped=0
scratch=$(mktemp -d)

pass() { passed=$((passed + 1)); }
fail() { failed=$((failed + 1)); printf 'FAILED: %s\n' "$*"; }
skip() { skipped=$((skipped + 1)); printf 'SKIPPED: %s\n' "$*"; }

# check NAME COMMAND...: passes when the command does; its output is shown only when it fails.
check() {
  local name=$1 log="$scratch/log"
  shift
  if "$@" >"$log" 2>&1 </dev/null; then pass; else fail "$name"; head -n 60 "$log" | sed 's/^/  /'; fi
}

# check_fails NAME COMMAND...: passes when the command does not; for showing that a check can fail.
check_fails() {
  local name=$1
  shift
  if "$@" >/dev/null 2>&1 </dev/null; then fail "$name"; else pass; fi
}

finish() {
  local status=$?
  rm -rf "$scratch"
  ((status == 0)) || fail "$0 stopped early (status $status)"
  printf '%d passed, %d failed, %d skipped\n' "$passed" "$failed" "$skipped"
  exit $((failed > 0))
}
trap finish EXIT
