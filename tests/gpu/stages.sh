#!/usr/bin/env bash
# run test | sanitize | bench: what only a GPU can show, from the folder that `./run gpu-check build` fills: this script,
# as `run`, and carried.tar.gz with programs and fixtures. It needs bash, the driver, and cuBLAS and cuDNN in the usual
# places or in Python's wheels. Each stage ends within four minutes and adds what it prints to results/<stage>.txt as it
# goes; the last line is "N passed, N failed, N skipped".
set -uo pipefail

passed=0 failed=0 skipped=0
pass() { passed=$((passed + 1)); }
fail() { failed=$((failed + 1)); printf 'FAILED: %s\n' "$*"; }
skip() { skipped=$((skipped + 1)); printf 'SKIPPED: %s\n' "$*"; }

# within SECONDS COMMAND...: at most so long, and never past the end of the stage.
stage_seconds=225
within() {
  local limit=$1 left=$((stage_seconds - SECONDS))
  shift
  timeout -k 5 "$((limit < left ? limit : left > 1 ? left : 1))" "$@" </dev/null
}

# Where the loader finds cuBLAS and cuDNN besides its own places.
find_libraries() {
  local folder folders=("$PWD/lib" ${LD_LIBRARY_PATH:+"$LD_LIBRARY_PATH"})
  for folder in /usr/local/cuda/lib64 /usr/local/cuda/targets/x86_64-linux/lib \
    $(python3 -c 'import site, sys; print(*{p + "/nvidia/*/lib" for p in sys.path + site.getsitepackages() if "-packages" in p})' 2>/dev/null); do
    compgen -G "$folder/libcu[bd][ln]*.so*" >/dev/null && folders+=("$folder")
  done
  LD_LIBRARY_PATH=$(IFS=:; echo "${folders[*]}")
  export LD_LIBRARY_PATH
}

# The device's name; status 1, with the reason counted, where there is none that the programs can use.
gpu() {
  local answer status=0
  answer=$(within 60 bin/ceilings --name 2>&1) || status=$?
  if ((status == 0)); then
    printf 'on %s, %s\n' "$answer" "$(date -u '+%F %T UTC')"
  elif ((status == 77)) || ! compgen -G '/dev/nvidia[0-9c]*' >/dev/null; then
    skip "no CUDA device here"
    return 1
  else
    fail "bin/ceilings does not start (status $status): $answer"
    return 1
  fi
}

# Every test program on the real device.
stage_test() {
  local program log status line p f s
  gpu || return 0
  log=$(mktemp)
  for program in bin/test_*; do
    printf -- '-- %s\n' "$program"
    status=0
    CUTTLE_SHARED=$PWD/shared within 200 "$program" 2>&1 | tee "$log" || status=$?
    line=$(grep -E '^[0-9]+ passed, [0-9]+ failed, [0-9]+ skipped$' "$log" | tail -n 1)
    p=0 f=0 s=0
    [[ $line ]] && read -r p f s <<<"${line//[!0-9 ]/}"
    passed=$((passed + p)) failed=$((failed + f)) skipped=$((skipped + s))
    if [[ -z $line ]] || ((status != 0 && f == 0)); then fail "$program (status $status)"; fi
  done
  rm -f "$log"
}

# The tests of the ops under each tool of compute-sanitizer.
stage_sanitize() {
  local sanitizer tool log status options
  gpu || return 0
  for sanitizer in "$(command -v compute-sanitizer)" /usr/local/cuda/bin/compute-sanitizer /opt/nvidia/*/compute-sanitizer; do
    [[ -x $sanitizer ]] && break
  done
  [[ -x $sanitizer ]] || { skip "compute-sanitizer is not installed"; return 0; }
  log=$(mktemp)
  if ! within 60 "$sanitizer" --tool memcheck bin/ceilings --name >"$log" 2>&1 || grep -q 'not supported' "$log"; then
    skip "compute-sanitizer refuses this device: $(grep -m 1 -iE 'not supported|error' "$log")"
    return 0
  fi
  for tool in memcheck racecheck initcheck synccheck; do
    printf -- '-- %s\n' "$tool"
    status=0
    options=(--tool "$tool" --error-exitcode 99 --print-limit 20)
    [[ $tool == memcheck ]] && options+=(--report-api-errors no) # libraries ask what a device cannot do
    CUTTLE_SHARED=$PWD/shared within 50 "$sanitizer" "${options[@]}" bin/test_ops >"$log" 2>&1 || status=$?
    tail -n 40 "$log"
    if grep -qE '^========= (Error|Invalid|Uninitialized|Barrier|.* SUMMARY: [1-9])' "$log" || ((status == 99)); then
      fail "$tool"
    elif ((status == 124 || status == 137)); then
      skip "$tool found nothing in the time there was, and was stopped before its end"
    elif ((status != 0)); then
      fail "$tool (status $status)"
    else
      pass
    fi
  done
  rm -f "$log"
}

# Ceilings, the assumption about the tensor core, every kernel, PyTorch's peers, and the table of all that.
stage_bench() {
  local status=0
  gpu || return 0
  rm -f "$results"/{kernels,peers,squid_peers}.json
  printf -- '-- ceilings\n'
  if within 60 bin/ceilings >"$results"/ceilings.json; then pass; else fail ceilings; fi
  cat "$results"/ceilings.json
  printf -- '-- accumulation\n'
  if within 60 bin/ceilings --accumulation >"$results"/accumulation.json; then pass; else fail "mma_error does not hold"; fi
  cat "$results"/accumulation.json
  printf -- '-- kernels\n'
  if within 150 bin/bench_kernels --device cuda --ceilings "$results"/ceilings.json --json "$results"/kernels.json; then
    pass
  else
    fail bench_kernels
  fi
  printf -- '-- peers\n'
  if ! python3 -c 'import sys, torch; sys.exit(not torch.cuda.is_available())' 2>/dev/null; then
    skip "no PyTorch with CUDA here: peers are not at hand"
  else
    if within 60 python3 peers/gpu_kernels.py --json "$results"/peers.json --seconds 45; then
      pass
    else
      fail "peers/gpu_kernels.py"
    fi
    within 90 python3 peers/squid_step.py --device cuda --json "$results"/squid_peers.json || status=$?
    if ((status == 0)); then
      pass
    elif ((status == 124)) && [[ -s "$results"/squid_peers.json ]]; then
      skip "PyTorch was still compiling SQUID when the time was up; what it did before stands"
    else
      fail "peers/squid_step.py (status $status)"
    fi
  fi
  [[ -s "$results"/kernels.json ]] && command -v python3 >/dev/null || return 0
  python3 peers/table.py "$results"/kernels.json --ceilings "$results"/ceilings.json --peers "$results"/{peers,squid_peers}.json | tee "$results"/table.md
}

stage=${1:-}
case "$stage" in
  test | sanitize | bench) ;;
  *) echo "run test | sanitize | bench" >&2; exit 2 ;;
esac
cd "$(dirname "${BASH_SOURCE[0]}")" || exit 1
results=$PWD/results carried=$PWD/carried.tar.gz
mkdir -p "$results"
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
cd "$scratch" || exit 1
{
  tar xzf "$carried" || fail "$carried cannot be unpacked"
  find_libraries
  "stage_$stage"
  printf '%d passed, %d failed, %d skipped\n' "$passed" "$failed" "$skipped"
  exit $((failed > 0))
} 2>&1 | tee -a "$results/$stage.txt"
exit "${PIPESTATUS[0]}"
