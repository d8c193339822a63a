#!/usr/bin/env bash
# Kills small trainings of both methods at random moments (SIGKILL, which nothing can prepare for) and shows that each,
# taken up with --resume, ends with the bytes of the training that was left alone. Uses the programs in build/bin.
#
#   tests/build/resume.sh [MOMENTS [SEED]]     2 of each method by default, as in ./run test
source "$(dirname "${BASH_SOURCE[0]}")/tally.sh"

moments=${1:-2}
RANDOM=${2:-1}
bin=build/bin
"$bin/write_woven" "$scratch/woven" --train 4 --test-good 1 --each-defect 1 --size 160 >/dev/null
patch_svdd=("$bin/train_patch_svdd" --data "$scratch/woven" --size 128 --steps 6 --bank 500 --checkpoint-every 1)
squid=("$bin/train_squid" --digits drawn --digit-images 40 --size 48 --width 4 --steps 12 --checkpoint-every 1)

now() { date +%s%N; }

# killed OUT NANOSECONDS COMMAND...: the command, killed after the time if it has not ended before, or (soon) when its
# first checkpoint is there.
killed() {
  local out=$1 nanoseconds=$2 id
  shift 2
  "$@" --out "$out" >/dev/null 2>&1 &
  id=$!
  if [[ $nanoseconds == soon ]]; then
    while [[ ! -e $out.checkpoint ]] && kill -0 "$id" 2>/dev/null; do sleep 0.02; done
  else
    sleep "$(printf '%d.%09d' $((nanoseconds / 1000000000)) $((nanoseconds % 1000000000)))"
  fi
  kill -9 "$id" 2>/dev/null || true
  wait "$id" 2>/dev/null || true
}

# resumes METHOD NANOSECONDS COMMAND...: killed then, the command ends with the bytes of the undisturbed run.
resumes() {
  local method=$1 nanoseconds=$2 out=$scratch/killed.safetensors
  shift 2
  rm -f "$out" "$out.checkpoint"
  killed "$out" "$nanoseconds" "$@"
  local left=no
  [[ ! -e $out.checkpoint ]] || left=yes
  "$@" --out "$out" --resume >"$scratch/resumed"
  [[ $nanoseconds != soon || $left == yes ]] || { echo "no checkpoint was left"; return 1; }
  if grep -q 'going on after' "$scratch/resumed"; then
    [[ $left == yes ]] && echo >>"$scratch/went_on"
  else
    [[ $left == no ]] || { echo "the checkpoint was passed over"; return 1; }
  fi
  cmp "$out" "$scratch/$method.safetensors"
  [[ ! -e $out.checkpoint ]] || { echo "a checkpoint was left behind"; return 1; }
}

for method in patch_svdd squid; do
  declare -n command=$method
  start=$(now)
  check "$method, left alone" "${command[@]}" --out "$scratch/$method.safetensors"
  whole=$(($(now) - start))
  check "$method, killed behind its first checkpoint" resumes $method soon "${command[@]}"
  for ((i = 1; i <= moments; ++i)); do
    after=$((whole / 32768 * RANDOM))
    check "$method, killed after $((after / 1000000)) of $((whole / 1000000)) ms" resumes $method $after "${command[@]}"
  done
done
went_on=$(grep -c '' "$scratch/went_on" 2>/dev/null || true)
printf '%d of %d trainings went on from a checkpoint, the others from the beginning or had ended\n' "${went_on:-0}" $((2 * moments + 2))
