#!/usr/bin/env bash
# Trains over an older model, again and again, and each time another write, fsync or rename fails, once: of checkpoints
# and of the model. What lies at the end is the older model or the new one, whole, and taken up again the run ends with
# the new one. Uses the programs in build/bin.
#
#   tests/build/failing_disk.sh [STRIDE]     every STRIDE-th call; 11 by default, as in ./run test
source "$(dirname "${BASH_SOURCE[0]}")/tally.sh"

stride=${1:-11}
bin=build/bin
preload=$scratch/failing_disk.so
"${CXX:-c++}" -std=c++20 -shared -fPIC -o "$preload" tests/build/failing_disk.cpp -ldl
"$bin/write_woven" "$scratch/woven" --train 2 --test-good 1 --each-defect 1 --size 128 >/dev/null
train=("$bin/train_patch_svdd" --data "$scratch/woven" --size 128 --steps 2 --bank 50)
"${train[@]}" --seed 5 --out "$scratch/old.safetensors" >/dev/null 2>&1
# Calls for the model alone, and for a checkpoint before it.
counted() {
  CUTTLE_CALLS=$scratch/calls LD_PRELOAD=$preload "${train[@]}" --seed 4 "$@" --out "$scratch/new.safetensors" >/dev/null 2>&1
  cat "$scratch/calls"
}
for_model=$(counted --checkpoint-every 0)
calls=$(counted --checkpoint-every 1)
train+=(--checkpoint-every 1)

# survives CALL: with that call failing.
survives() {
  local out=$scratch/out.safetensors status=0
  rm -f "$out.checkpoint"
  cp "$scratch/old.safetensors" "$out"
  CUTTLE_FAIL=$1 LD_PRELOAD=$preload "${train[@]}" --seed 4 --out "$out" || status=$?
  [[ $status == 0 || $status == 2 ]] || { echo "status $status"; return 1; }
  if ((status == 2)); then
    (($1 > calls - for_model)) || { echo "a checkpoint that could not be written ended the training"; return 1; }
    cmp "$out" "$scratch/old.safetensors" || cmp "$out" "$scratch/new.safetensors"
  else
    cmp "$out" "$scratch/new.safetensors"
  fi
  [[ -z $(find "$scratch" -name '.cuttle-*') ]] || { echo "a temporary file was left behind"; return 1; }
  "${train[@]}" --seed 4 --out "$out" --resume
  cmp "$out" "$scratch/new.safetensors"
}

((for_model > 20 && calls > for_model)) || fail "$calls calls were counted, $for_model for the model"
for ((call = 1; call <= calls; call += stride)); do check "call $call of $calls fails" survives $call; done
# The last ones rename the model and sync its folder.
for ((call = calls - 3; call <= calls; ++call)); do check "call $call of $calls fails" survives $call; done
