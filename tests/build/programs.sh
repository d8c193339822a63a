#!/usr/bin/env bash
# The programs as their users meet them: a small training from a folder to metrics and overlays, and what they say to
# input that is not as it should be. Uses the programs in build/bin.
source "$(dirname "${BASH_SOURCE[0]}")/tally.sh"

bin=build/bin
for program in write_woven train_patch_svdd detect; do
  [[ -x $bin/$program ]] || { fail "$bin/$program is not built"; exit 1; }
done

set_dir=$scratch/woven model=$scratch/model.safetensors
train=("$bin/train_patch_svdd" --data "$set_dir" --size 128 --steps 3 --bank 500 --seed 4)

# refuses TEXT COMMAND...: ends with status 2 and one line on stderr that holds TEXT.
refuses() {
  local text=$1 status=0
  shift
  "$@" >"$scratch/out" 2>"$scratch/err" || status=$?
  cat "$scratch/err"
  [[ $status == 2 ]] || { echo "status $status, not 2"; return 1; }
  grep -qF -- "$text" "$scratch/err" || { echo "no '$text' in what it says"; return 1; }
}

# holds FILE PATTERN...: each pattern stands in the file.
holds() {
  local file=$1 pattern
  shift
  for pattern in "$@"; do grep -qE -- "$pattern" "$file" || { echo "$file has no $pattern"; return 1; }; done
}

same_at_two_threads() {
  "${train[@]}" --threads 1 --out "$scratch/one.safetensors"
  "${train[@]}" --threads 2 --out "$scratch/two.safetensors"
  cmp "$scratch/one.safetensors" "$scratch/two.safetensors"
}

detects() {
  "$bin/detect" --model "$model" --data "$set_dir" --out "$scratch/overlays" --json "$scratch/detect.json"
  holds "$scratch/detect.json" '"image_auroc": [01]' '"image_ap": ' '"f1_max": ' '"f1_max_threshold": ' \
    '"pixel_auroc": [01]' '"aupro": [01]' '"seconds_per_image": ' '"path": ".*/test/hole/000.png"' '"score": ' '"label": 1'
  [[ $(find "$scratch/overlays" -name '*.png' | wc -l) == 6 ]]
}

# A model file says nothing of where, when or with how many threads it was made.
says_nothing_of_the_run() {
  ! grep -aqE "$scratch|threads|$(date +%Y)-" "$model"
}

check "the woven set" "$bin/write_woven" "$set_dir" --train 4 --test-good 2 --each-defect 1 --size 160
check "training, evaluation on the way" "${train[@]}" --out "$model" --eval "$set_dir" --eval-every 2 --json "$scratch/train.json"
check "the course of the training" holds "$scratch/train.json" '"step": 2' '"step": 3' '"position_loss_64": ' '"image_auroc": ' '"threads": '
check "metrics and overlays of a labelled set" detects
check "the model holds no path, date or number of threads" says_nothing_of_the_run
check "the same bytes at one and two threads" same_at_two_threads
check "the published recipe" "${train[@]}" --recipe published --batch 2 --out "$scratch/published.safetensors"
check "winograd, all rows, tiles" "$bin/train_patch_svdd" --data "$set_dir" --size 128 --steps 1 --tile-overlap 16 \
  --math winograd --bank all --out "$scratch/tiled.safetensors"
check "an image larger than the working size, in tiles" "$bin/detect" --model "$scratch/tiled.safetensors" "$set_dir/test/hole/000.png"

# Images of other kinds, made by ImageMagick or, without it, by Python's imaging library.
python=$(command -v /usr/bin/python3 || true)
if [[ $python ]] && "$python" -c 'import PIL, numpy' 2>/dev/null; then
  "$python" - "$set_dir/test/hole/000.png" "$scratch" <<'PY'
import sys
import numpy as np
from PIL import Image
image, folder = Image.open(sys.argv[1]), sys.argv[2]
image.resize((201, 77)).save(folder + "/other_size.png")
gray = np.asarray(image.convert("L")).astype(np.uint16) * 257
Image.fromarray(gray).save(folder + "/sixteen_bits.png")
image.save(folder + "/whole.jpg", quality=90)
PY
  check "an image of another size" "$bin/detect" --model "$model" "$scratch/other_size.png"
  check "a 16-bit PNG" "$bin/detect" --model "$model" "$scratch/sixteen_bits.png"
  head -c 3000 "$scratch/whole.jpg" >"$scratch/cut.jpg"
  check "a truncated JPEG is named" refuses cut.jpg "$bin/detect" --model "$model" "$scratch/cut.jpg"
  cp "$scratch/cut.jpg" "$set_dir/train/good/"
  check "a bad training image stops the run" refuses cut.jpg "${train[@]}" --out "$scratch/bad.safetensors"
  check "or is left out" "${train[@]}" --skip-bad-files --out "$scratch/bad.safetensors"
  check "without a trace of it" cmp "$scratch/bad.safetensors" "$scratch/one.safetensors"
  rm "$set_dir/train/good/cut.jpg"
else
  skip "images of other kinds: no Python imaging library here"
fi

mkdir "$scratch/empty"
check "an empty folder to train on" refuses "$scratch/empty" "$bin/train_patch_svdd" --data "$scratch/empty" --out "$scratch/no"
check "no such folder" refuses "$scratch/none" "$bin/detect" --model "$model" --data "$scratch/none"
check "no such model" refuses none.safetensors "$bin/detect" --model "$scratch/none.safetensors" "$set_dir"
head -c 5000 "$model" >"$scratch/short.safetensors"
check "a model file cut short" refuses short.safetensors "$bin/detect" --model "$scratch/short.safetensors" "$set_dir"
sed 's/patch_svdd/other_mthd/' "$model" >"$scratch/other.safetensors"
check "a model of another method" refuses other_mthd "$bin/detect" --model "$scratch/other.safetensors" "$set_dir"
check "no CUDA part" refuses "link cuttle::cuda" "$bin/detect" --model "$model" --device cuda "$set_dir"
check "a device that there is not" refuses "none of auto, cpu" "$bin/detect" --model "$model" --device gpu "$set_dir"
check "an option that there is not" refuses "--colour" "$bin/detect" --model "$model" --colour red "$set_dir"
check "no folder for the model" refuses "$scratch/no/such" "${train[@]}" --out "$scratch/no/such/model.safetensors"

# A disk that is full: the file may not grow beyond 40 blocks of 1 KiB. What was there before stays whole.
full_disk() {
  cp "$model" "$scratch/kept.safetensors"
  (ulimit -f 40 && trap '' XFSZ && refuses kept.safetensors "${train[@]}" --out "$scratch/kept.safetensors") &&
    cmp "$model" "$scratch/kept.safetensors" && [[ -z $(find "$scratch" -name '.*' -o -name '*.tmp*' -o -name 'kept.safetensors.*') ]]
}
check "a full disk" full_disk
