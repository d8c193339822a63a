#!/usr/bin/env bash
# The programs as their users meet them: a small training from a folder to metrics and overlays, and what they say to
# input that is not as it should be. Uses the programs in build/bin.
source "$(dirname "${BASH_SOURCE[0]}")/tally.sh"

bin=build/bin
for program in write_woven train_patch_svdd train_squid calibrate calibration_coverage detect inspect memory_bank; do
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

# ends STATUS COMMAND...: ends with it, 1 of detect where something is anomalous.
ends() {
  local wanted=$1 status=0
  shift
  "$@" || status=$?
  [[ $status == "$wanted" ]] || { echo "status $status, not $wanted"; return 1; }
}

same_at_two_threads() {
  "${train[@]}" --threads 1 --out "$scratch/one.safetensors"
  "${train[@]}" --threads 2 --out "$scratch/two.safetensors"
  cmp "$scratch/one.safetensors" "$scratch/two.safetensors"
}

detects() {
  "$bin/detect" --model "$model" --data "$set_dir" --out "$scratch/overlays" --json "$scratch/detect.json"
  holds "$scratch/detect.json" '"image_auroc": [01]' '"image_ap": ' '"f1_max": ' '"f1_max_threshold": ' \
    '"pixel_auroc": [01]' '"aupro": [01]' '"seconds_per_image": ' '"path": ".*/test/hole/000.png"' '"score": null' '"raw_score": [0-9]' '"anomalous": null' '"label": 1' '"kind": "hole"' \
    '"at_own_threshold": null' '"at_threshold_picked_on_this_set": \{' '"accuracy": ' '"specificity": ' '"method": "patch_svdd"'
  [[ $(find "$scratch/overlays" -name '*.png' | wc -l) == 6 ]]
}

# A page that is whole, the same but for the time, and asks for nothing; a file's name stays a name.
reports() {
  local page=$scratch/report.html evil='<script>alert(1)<script>&".png'
  "$bin/detect" --model "$model" --data "$set_dir" --report "$page" --report-images 4 --report-size 64 --json "$scratch/report.json"
  holds "$page" '<title>model.safetensors on woven</title>' "default-src 'none'" "<dt>Image AUROC</dt><dd>$(sed -n 's/.*"image_auroc": \([0-9]\.[0-9]\{1,3\}\).*/\1/p' "$scratch/report.json")" \
    'Shown are 4 of 6' '<th scope="row">hole</th>' '<path class="curve" ' '</html>'
  if grep -qE 'https?:|<script|src=|url\(' "$page"; then return 1; fi
  [[ $(grep -c '<article' "$page") == 4 ]]
  "$bin/detect" --model "$model" --data "$set_dir" --report "$scratch/again.html" --report-images 4 --report-size 64 >"$scratch/out"
  diff <(grep -v '<dt>Time' "$page") <(grep -v '<dt>Time' "$scratch/again.html")
  mkdir -p "$scratch/evil"
  cp "$set_dir/test/hole/000.png" "$scratch/evil/$evil"
  echo no image >"$scratch/evil/broken.png"
  "$bin/detect" --model "$model" --data "$scratch/evil" --skip-bad-files --report "$page"
  holds "$page" '&lt;script&gt;alert\(1\)&lt;script&gt;&amp;&quot;.png' '<h2>Left out</h2>' '<th scope="row">broken.png</th>'
  ! grep -qE '<script|AUROC' "$page"
}

# A model file says nothing of where, when or with how many threads it was made.
says_nothing_of_the_run() {
  ! grep -aqE "$scratch|threads|$(date +%Y)-" "$model"
}

check "the woven set" "$bin/write_woven" "$set_dir" --train 4 --test-good 2 --each-defect 1 --size 160
# inspect: every frame scored, from one thread and from four at once, as detect scores it.
inspects() {
  local inspect=("$bin/inspect" --model "$model" "$set_dir" --images 120 --threads 2)
  "${inspect[@]}" --decisions >"$scratch/inspect_one"
  "${inspect[@]}" --decisions --callers 4 >"$scratch/inspect_four"
  holds "$scratch/inspect_one" '^120 images, 1 at once, 2 threads: p50 [0-9.]+, p90 [0-9.]+, p99 [0-9.]+, max [0-9.]+ ms; [0-9.]+ images/s$' \
    '^[0-9.]+ MiB resident after image 100$' '^[0-9.]+ MiB resident after image 120$' '^1 undecided [0-9]' '^120 undecided [0-9]'
  diff <(grep undecided "$scratch/inspect_one") <(grep undecided "$scratch/inspect_four")
  # Frames come again in the order of their names.
  local frames
  frames=$(find "$set_dir/test" -name '*.png' | wc -l)
  [[ $(sed -n 's/^1 undecided //p' "$scratch/inspect_one") == $(sed -n "s/^$((frames + 1)) undecided //p" "$scratch/inspect_one") ]]
  "$bin/inspect" --model "$model" "$set_dir/test/hole/000.png" >"$scratch/inspect_quiet"
  [[ $(wc -l <"$scratch/inspect_quiet") == 2 ]]
}

check "training, evaluation on the way" "${train[@]}" --out "$model" --eval "$set_dir" --eval-every 2 --json "$scratch/train.json"
check "the course of the training" holds "$scratch/train.json" '"step": 2' '"step": 3' '"position_loss_64": ' '"image_auroc": ' '"threads": '
check "metrics and overlays of a labelled set" detects
check "frames inspected, latencies and memory reported" inspects
check "inspect: no frames" refuses "$scratch/none" "$bin/inspect" --model "$model" "$scratch/none"
check "a report of a labelled set, and of a folder" reports
check "no folder for the report" refuses "$scratch/no/such" "$bin/detect" --model "$model" --data "$set_dir" --report "$scratch/no/such/page.html"
check "the model holds no path, date or number of threads" says_nothing_of_the_run
check "the same bytes at one and two threads" same_at_two_threads
check "the published recipe" "${train[@]}" --recipe published --batch 2 --out "$scratch/published.safetensors"
check "winograd, all rows, tiles" "$bin/train_patch_svdd" --data "$set_dir" --size 128 --steps 1 --tile-overlap 16 \
  --math winograd --bank all --out "$scratch/tiled.safetensors"
check "an image larger than the working size, in tiles" "$bin/detect" --model "$scratch/tiled.safetensors" "$set_dir/test/hole/000.png"

# without_names FILE: detect's JSON but for times and for what its images are called.
without_names() { grep -vE '"(seconds_per_image|path)": ' "$1"; }

# The test part of the woven set in one file says what its folder says, in metrics, decisions and overlays.
detects_in_one_file() {
  "$bin/detect" --model "$model" --data "$scratch/woven.safetensors" --out "$scratch/overlays_of_file" --json "$scratch/file.json"
  holds "$scratch/file.json" '"path": ".*/woven.safetensors/5"' '"image_auroc": [01]' '"aupro": [01]'
  diff <(without_names "$scratch/detect.json") <(without_names "$scratch/file.json")
  [[ $(find "$scratch/overlays_of_file" -name '*.png' | wc -l) == 6 ]]
  diff <(cd "$scratch/overlays" && cat *.png | sha256sum) <(cd "$scratch/overlays_of_file" && cat *.png | sha256sum)
}

# An evaluation of the file on the way is that of detect.
evaluates_in_one_file() {
  "${train[@]}" --out "$scratch/again.safetensors" --eval "$scratch/woven.safetensors" --json "$scratch/again.json"
  diff <(grep -oE '"(image_auroc|image_ap|aupro|f1_max)": .*' "$scratch/detect.json") \
    <(grep -oE '"(image_auroc|image_ap|aupro|f1_max)": .*' "$scratch/again.json")
}

# Images of other kinds and in one file, made by Python's imaging library.
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
  "$python" - "$set_dir" "$scratch" <<'PY'
import json, os, struct, sys
import numpy as np
from PIL import Image
source, folder = sys.argv[1:]

def write(path, images, **more):
    tensors = {"images": np.stack(images), **{name: np.array(value) for name, value in more.items() if name != "kinds"}}
    header, at, body = {}, 0, b""
    for name, tensor in tensors.items():
        data = np.ascontiguousarray(tensor).tobytes()
        dtype = {"uint8": "U8", "int64": "I64"}[tensor.dtype.name]
        header[name] = {"dtype": dtype, "shape": tensor.shape, "data_offsets": [at, at + len(data)]}
        at, body = at + len(data), body + data
    if "kinds" in more:
        header["__metadata__"] = {"kinds": json.dumps(more["kinds"])}
    head = json.dumps(header).encode()
    open(path, "wb").write(struct.pack("<Q", len(head)) + head + body)

images, labels, kind, masks = [], [], [], []
kinds = sorted(os.listdir(source + "/test"))
for k, name in enumerate(kinds):
    for file in sorted(os.listdir(f"{source}/test/{name}")):
        images.append(np.asarray(Image.open(f"{source}/test/{name}/{file}").convert("RGB")).transpose(2, 0, 1))
        labels.append(int(name != "good"))
        kind.append(k)
        mask = f"{source}/ground_truth/{name}/{file[:-4]}_mask.png"
        masks.append((np.asarray(Image.open(mask).convert("L")) > 128).astype(np.uint8) if name != "good" else np.zeros_like(images[-1][0]))
write(folder + "/woven.safetensors", images, labels=labels, kind=kind, masks=np.stack(masks), kinds=kinds)
normal = [np.asarray(Image.open(f"{source}/train/good/{f}").convert("RGB")).transpose(2, 0, 1) for f in sorted(os.listdir(source + "/train/good"))]
write(folder + "/train.safetensors", normal + images[-1:], labels=[0] * len(normal) + [1])
write(folder + "/gray.safetensors", [image[:1] for image in images], labels=[-1] * len(images))
write(folder + "/defects.safetensors", images[-1:], labels=[1])
PY
  check "a data set in one file" detects_in_one_file
  check "an evaluation on one file" evaluates_in_one_file
  check "training on the normal images of one file" "$bin/train_patch_svdd" --data "$scratch/train.safetensors" --size 128 \
    --steps 3 --bank 500 --seed 4 --out "$scratch/of_file.safetensors"
  check "gives what training on the folder gives" cmp "$scratch/of_file.safetensors" "$scratch/one.safetensors"
  check "gray images in one file, of unknown labels" "$bin/detect" --model "$model" --data "$scratch/gray.safetensors" --out "$scratch/gray"
  check "one file without a normal image to train on" refuses "defects.safetensors: holds no image that is labelled normal" "$bin/train_patch_svdd" \
    --data "$scratch/defects.safetensors" --out "$scratch/no"
  check "a file that holds no images" refuses model.safetensors "$bin/detect" --model "$model" --data "$model"
  check "an image of another size" "$bin/detect" --model "$model" "$scratch/other_size.png"
  check "a 16-bit PNG" "$bin/detect" --model "$model" "$scratch/sixteen_bits.png"
  "$python" - "$scratch" <<'PY'
import sys
from PIL import Image
whole = Image.new("L", (160, 160))
whole.save(sys.argv[1] + "/roi_empty.png")
whole.paste(255, (0, 0, 80, 160))
whole.save(sys.argv[1] + "/roi.png")
PY
  check "a region of interest" "$bin/detect" --model "$model" --data "$set_dir" --roi "$scratch/roi.png" --out "$scratch/roi_overlays"
  check "an empty one" refuses "roi_empty.png: no pixel" "$bin/detect" --model "$model" --data "$set_dir" --roi "$scratch/roi_empty.png"
  check "one of another size" refuses "is 160 x 160, an image is 77 x 201" "$bin/detect" --model "$model" --roi "$scratch/roi.png" "$scratch/other_size.png"
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

# Thresholds: what a calibration learns, what detect then says and returns, and what both refuse.
calibrated=$scratch/calibrated.safetensors lot=$scratch/lot
mkdir -p "$lot"/{good,hole} "$scratch/few" "$scratch/parts"
for i in 0 1 2 3; do cp "$set_dir/train/good/00$i.png" "$lot/good/part$((i / 2))_$i.png"; done
cp "$set_dir/test/hole/000.png" "$lot/hole/"
cp "$set_dir"/test/good/*.png "$scratch/few/"
cp "$lot"/good/*.png "$scratch/parts/"
for i in 0 1; do cp "$set_dir/test/good/00$i.png" "$scratch/parts/part2_$i.png"; done
calibrate=("$bin/calibrate" --model "$model" --out "$calibrated")

# The file but for its header is that of the model that was calibrated: lengths of headers stand in the first 8 bytes.
same_tensors() {
  local a b
  a=$(($(od -An -tu8 -N8 "$1") + 8)) b=$(($(od -An -tu8 -N8 "$2") + 8))
  cmp <(tail -c +"$((a + 1))" "$1") <(tail -c +"$((b + 1))" "$2")
}
calibrates() {
  "${calibrate[@]}" --data "$lot" --false-positives 0.3 >"$scratch/said"
  holds "$scratch/said" 'learnt from 4 normal images$' '30 % asked for, 20 % expected of new images, 95 % interval 0.631 to 60.2 %'
  ! grep -q promised "$scratch/said"
  same_tensors "$model" "$calibrated"
  cp "$calibrated" "$scratch/in_place.safetensors"
  "$bin/calibrate" --model "$scratch/in_place.safetensors" --data "$lot" --false-positives 0.3
  cmp "$calibrated" "$scratch/in_place.safetensors"
}
calibrates_few() {
  "${calibrate[@]}" --data "$scratch/few" >"$scratch/said"
  holds "$scratch/said" '5 % asked for, 33.3 % expected' 'with so few images no rate below 33.3 % can be promised'
}
calibrates_groups() {
  "${calibrate[@]}" --data "$lot" --group 'part([0-9])_' --false-positives 0.3 >"$scratch/said"
  holds "$scratch/said" 'learnt from 4 normal images in 2 groups, which count as [0-9.]+$'
}
calibrates_labelled() {
  "${calibrate[@]}" --labelled "$lot" >"$scratch/said"
  holds "$scratch/said" 'learnt from 4 normal and 1 anomalous images, whose F1 is [01]'
}
detects_anomalies() {
  ends 1 "$bin/detect" --model "$model" --data "$set_dir" --threshold 0 --csv "$scratch/scores.csv" --jsonl "$scratch/scores.jsonl" >"$scratch/said"
  holds "$scratch/said" '^0\.[5-9][0-9]+  anomalous  .*/test/hole/000.png$'
  holds "$scratch/scores.csv" '^path,score,raw_score,anomalous,label,kind$' '/test/hole/000.png,0\.[0-9]+,[0-9.]+,true,1,hole$'
  holds "$scratch/scores.jsonl" '^\{"path":".*/test/good/000.png","score":0\.[0-9]+,"raw_score":[0-9.]+,"anomalous":true,"label":0,"kind":"good"\}$'
  [[ $(wc -l <"$scratch/scores.csv") == 7 && $(wc -l <"$scratch/scores.jsonl") == 6 ]]
}
detects_none() {
  ends 0 "$bin/detect" --model "$model" "$set_dir/test/hole/000.png" --threshold 1e9 --jsonl - >"$scratch/said" 2>"$scratch/err"
  holds "$scratch/said" '"anomalous":false,"label":null,"kind":null\}$'
  [[ $(wc -l <"$scratch/said") == 1 ]]
  holds "$scratch/err" '^0\.[0-4][0-9]+  normal     .*/test/hole/000.png$'
}
decides_as_its_model() {
  "${calibrate[@]}" --labelled "$lot" >/dev/null
  ends 1 "$bin/detect" --model "$calibrated" "$lot/hole/000.png"
  ends 1 "$bin/detect" --model "$calibrated" --data "$lot" --csv - 2>/dev/null >"$scratch/said"
  holds "$scratch/said" ',true,1,hole$'
}
holds_out() {
  "$bin/train_patch_svdd" --data "$scratch/parts" --size 128 --steps 3 --bank 500 --hold-out 0.3 --group 'part([0-9])_' --out "$scratch/held.safetensors" >"$scratch/said"
  holds "$scratch/said" ' 4 images held out' 'learnt from 4 normal images in 2 groups'
  refuses "too few groups, 2, to hold some out" "$bin/train_patch_svdd" --data "$lot" --size 128 --steps 3 --bank 500 --hold-out 0.3 --group 'part([0-9])_' \
    --out "$scratch/no"
}
check "a threshold from normal images, in another file and in place" calibrates
check "few of them promise little" calibrates_few
check "from normal images in groups" calibrates_groups
check "from labelled images" calibrates_labelled
check "anomalous: status 1, a row of CSV and of JSON Lines each" detects_anomalies
check "normal: status 0; rows on standard output alone" detects_none
check "decisions by the model's own threshold" decides_as_its_model
check "a training that holds out a group" holds_out
check "thresholds are not learnt from a data set's own images" refuses "data set with a folder train" "${calibrate[@]}" --data "$set_dir"
check "nor from images of one kind" refuses "$lot/good" "${calibrate[@]}" --labelled "$lot/good"
check "one group says nothing" refuses "belong to one group" "${calibrate[@]}" --data "$lot" --group '(part)'
check "a group without a capture" refuses "captures nothing" "${calibrate[@]}" --data "$lot" --group part
check "an expression that is none" refuses "is no regular expression" "${calibrate[@]}" --data "$lot" --group '(part'
check "a share that is none" refuses "'1' is no share" "${calibrate[@]}" --data "$lot" --false-positives 1
check "nothing to learn from" refuses "give --data or --labelled" "${calibrate[@]}"
check "a threshold that is no number" refuses "'nan' is no number" "$bin/detect" --model "$model" --threshold nan "$set_dir"
check "two kinds of rows on standard output" refuses "takes one of" "$bin/detect" --model "$model" --csv - --jsonl - "$set_dir"
check "no folder for the rows" refuses "$scratch/no/such" "$bin/detect" --model "$model" --csv "$scratch/no/such/x.csv" "$set_dir"
full_output() { refuses "standard output" bash -c '"$@" >/dev/full' - "$bin/detect" --model "$model" "$set_dir/test/hole/000.png"; }
check "standard output that is full is an error" full_output
check "coverage over splits" "$bin/calibration_coverage" --model "$model" --data "$lot" --false-positives 0.3 --splits 3 --csv "$scratch/splits.csv"
check "a row of each split" holds "$scratch/splits.csv" '^asked,split,' '^0.3,2,2,2,'
check "too few groups to halve" refuses "has 2 groups" "$bin/calibration_coverage" --model "$model" --data "$lot" --group 'part([0-9])_'
tells_defects_by_embeddings() {
  "$bin/memory_bank" >"$scratch/memory_bank"
  holds "$scratch/memory_bank" '^[1-9][0-9]* of [1-9][0-9]* rows kept, image AUROC (1\.0|0\.[6-9])'
}
check "a memory bank of embeddings of one's own" tells_defects_by_embeddings

# SQUID: the smallest network that has every part.
digits=("$bin/train_squid" --digits drawn --digit-images 40 --width 4 --slots 8 --steps 3 --seed 4)
squid=("${digits[@]}" --size 48 --batch 4)
squid_model=$scratch/squid.safetensors

detects_with_squid() {
  ends 1 "$bin/detect" --model "$squid_model" --data "$set_dir" --out "$scratch/squid_overlays" --json "$scratch/squid_detect.json" \
    --report "$scratch/squid.html"
  holds "$scratch/squid_detect.json" '"method": "squid"' '"image_auroc": [01]' '"threshold": [01]' '"anomalous": (true|false)' '"aupro": [01]'
  holds "$scratch/squid.html" '<figcaption>reconstruction' 'false-positive rate expected: ' 'called anomalous'
  [[ $(find "$scratch/squid_overlays" -name '*.png' | wc -l) == 6 ]]
}
squid_says_nothing_of_the_run() {
  ! grep -aqE "$scratch|threads|$(date +%Y)-" "$squid_model"
}
squid_at_two_threads() {
  "${squid[@]}" --threads 1 --out "$scratch/squid_one.safetensors" >/dev/null
  "${squid[@]}" --threads 2 --out "$scratch/squid_two.safetensors" >/dev/null
  cmp "$scratch/squid_one.safetensors" "$scratch/squid_two.safetensors"
  cmp "$scratch/squid_one.safetensors" "$squid_model"
}

check "SQUID on drawn digits, evaluation on the way" "${squid[@]}" --out "$squid_model" --eval-every 2 --json "$scratch/squid.json"
check "the course of its training" holds "$scratch/squid.json" '"step": 2' '"step": 3' '"reconstruction_loss": ' '"critic_loss_real": ' '"image_auroc_of_kind": ' '"misordered": '
check "its model holds no path, date or number of threads" squid_says_nothing_of_the_run
check "the same bytes at one and two threads" squid_at_two_threads
check "detect with its model: decisions, maps, reconstructions" detects_with_squid
check "its score has no region" refuses "crop the images" "$bin/detect" --model "$squid_model" --roi "$set_dir/test/hole/000.png" "$set_dir/test/hole/000.png"
check "the published recipe, on a folder, in colour" "$bin/train_squid" --data "$set_dir" --recipe published --config zhanglab --size 64 --width 4 --slots 8 \
  --batch 3 --steps 2 --hold-out 0.25 --out "$scratch/squid_published.safetensors"
check "the default recipe on a folder" "$bin/train_squid" --data "$set_dir" --size 64 --width 4 --slots 8 --batch 3 --steps 2 --hold-out 0 --eval "$set_dir" \
  --out "$scratch/squid_folder.safetensors"

# SIGINT once the training listens to it, which it does when the first checkpoint is there.
stops_and_goes_on() {
  local long=("$bin/train_squid" --digits drawn --digit-images 40 --width 4 --slots 8 --size 48 --batch 4 --steps 100 --checkpoint-every 1)
  local out=$scratch/stopped.safetensors status=0 id
  "${long[@]}" --out "$scratch/unstopped.safetensors"
  "${long[@]}" --out "$out" >"$scratch/stopped" 2>&1 &
  id=$!
  while [[ ! -e $out.checkpoint ]] && kill -0 "$id" 2>/dev/null; do sleep 0.02; done
  kill -INT "$id" || true
  wait "$id" || status=$?
  [[ $status == 130 ]] || { echo "status $status, not 130"; return 1; }
  holds "$scratch/stopped" 'stopped after [0-9]+ of 100 steps; --resume goes on'
  [[ -e $out.checkpoint && ! -e $out ]]
  refuses "go on with --resume" "${long[@]}" --out "$out"
  refuses "its seed is" "${long[@]}" --out "$out" --seed 5 --resume
  "${long[@]}" --out "$out" --resume >"$scratch/stopped"
  holds "$scratch/stopped" 'going on after [1-9][0-9]* steps'
  cmp "$out" "$scratch/unstopped.safetensors"
  [[ ! -e $out.checkpoint ]]
}
check "a training that was stopped goes on" stops_and_goes_on

# SIGINT in the last step is heeded; and what is killed behind it goes on from there.
stops_in_the_last_step() {
  local signal=$1 steps=$2 expected=$3 going_on=$4 status=0 id out=$scratch/last.safetensors
  local last=("$bin/train_patch_svdd" --data "$set_dir" --size 128 --steps "$steps" --bank 500 --checkpoint-every 1 --out "$out")
  rm -f "$out" "$out.checkpoint"
  "${last[@]}" >"$scratch/stopped" 2>&1
  mv "$out" "$scratch/last_alone.safetensors"
  "${last[@]}" >"$scratch/stopped" 2>&1 &
  id=$!
  while [[ ! -e $out.checkpoint ]] && kill -0 "$id" 2>/dev/null; do sleep 0.01; done
  kill "-$signal" "$id" || true
  wait "$id" || status=$?
  [[ $status == "$expected" ]] || { echo "status $status, not $expected"; return 1; }
  [[ -e $out.checkpoint && ! -e $out ]]
  "${last[@]}" --resume >"$scratch/resumed"
  holds "$scratch/resumed" "going on after $going_on steps" "last $steps steps: "
  cmp "$out" "$scratch/last_alone.safetensors"
}
check "a signal in the last step" stops_in_the_last_step INT 2 130 2
check "a kill behind the last step" stops_in_the_last_step KILL 1 137 1
check "an image size that the patches do not divide" refuses "image_size 50 is no multiple of grid * 2^levels = 24" "${digits[@]}" --batch 4 --size 50 --out "$scratch/no"
check "a batch larger than the queue" refuses "a batch of 9 does not fit into queues of 8 slots" "${digits[@]}" --size 48 --batch 9 --out "$scratch/no"
check "neither images nor digits" refuses "give --data or --digits" "$bin/train_squid" --out "$scratch/no"
check "digits that are not there" refuses "$scratch/empty" "$bin/train_squid" --digits "$scratch/empty" --out "$scratch/no"
check "a range of digits that is none" refuses "'9:3' is not FIRST:LAST" "${squid[@]}" --digits-train 9:3 --out "$scratch/no"
head -c 20000 "$squid_model" >"$scratch/squid_cut.safetensors"
check "a truncated model is named" refuses squid_cut.safetensors "$bin/detect" --model "$scratch/squid_cut.safetensors" "$set_dir/test/hole/000.png"
mkdir -p "$scratch/single/good"
cp "$set_dir/train/good/000.png" "$scratch/single/good/"
check "one training image" refuses "holds one usable image" "$bin/train_squid" --data "$scratch/single" --size 64 --width 4 --slots 8 --batch 3 --steps 2 --out "$scratch/no"
