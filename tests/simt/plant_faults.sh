#!/usr/bin/env bash
# Plants faults in the real kernels, one at a time, in a copy of the tree, and shows that the tests find each of them on
# the emulated device. Not part of ./run test: each fault compiles the kernels again, a minute or so.
#
#   tests/simt/plant_faults.sh [FILTER...]     all faults, or those whose name holds one of the words
#
# The last line is "N passed, N failed, N skipped"; a fault that no test finds is a failure.
source "$(dirname "${BASH_SOURCE[0]}")/../build/tally.sh"

# name @@ file @@ Perl substitution, which must change the file @@ tests that are to find it (Catch's name pattern)
faults=(
  'a barrier removed: slices in use are overwritten @@ kernels/nearest_patch.cuh @@ s/(copy_async_wait<0>\(\);\s+)__syncthreads\(\);/$1/ @@ nearest_patch*'
  'a wait left out: slices are read before they are there @@ kernels/nearest_patch.cuh @@ s/copy_async_wait<0>/copy_async_wait<1>/ @@ nearest_patch*'
  'a wrong tie rule: the later of equal rows @@ kernels/nearest_patch.cuh @@ s/index < other_index/index > other_index/ @@ nearest_patch*'
  'an index off by one: the last row of a block is left out @@ kernels/nearest_patch.cuh @@ s/N - first < rank_threads \? N - first : rank_threads/N - first < rank_threads ? N - first : rank_threads - 1/ @@ nearest_patch*'
  'a missing tail check: rows beyond the bank @@ kernels/nearest_patch.cuh @@ s/N - first < rank_threads \? N - first : rank_threads/N < first ? 0 : rank_threads/ @@ nearest_patch*'
  'a swapped shuffle width: lanes of one group alone @@ kernels/nearest_patch.cuh @@ s/(__shfl_xor_sync\(full_mask, largest, )2\)/${1}1)/ @@ nearest_patch*'
  'a wrong factor: half of the half norm @@ kernels/nearest_patch.cuh @@ s/-0\.5 \* sums\.squared_norm/-0.25 * sums.squared_norm/ @@ nearest_patch*'
  'a wrong stride: half norms of another block @@ kernels/nearest_patch.cuh @@ s/minus_half_norms \+ b \* seam::filter_rows/minus_half_norms + b * (seam::filter_rows \/ 2)/ @@ nearest_patch*'
  'a lost scale in a bound: the reach without s @@ include/cuttle/seam/nearest_patch_filter.hpp @@ s/scale \* std::sqrt\(squared\)/(scale > 0 ? 1 : scale) * std::sqrt(squared)/ @@ nearest_patch*'
  'a lost term in a bound: the residual of the query @@ include/cuttle/seam/nearest_patch_filter.hpp @@ s/reach \+ query\.residual \+ block\.residual/reach + block.residual/ @@ nearest_patch*'
  'a lost term in a bound: the error of the tensor core @@ include/cuttle/seam/nearest_patch_filter.hpp @@ s/norms - far, -E\)/norms - far, 0 * E)/ @@ nearest_patch*'
  'a fragment in the wrong quadrant @@ kernels/nearest_patch.cuh @@ s/8 \* j \+ lane \/ 16 \* 8 \+ lane % 8, 2 \* k \+ lane \/ 8 % 2/8 * j + lane % 16, 2 * k + lane \/ 16/ @@ nearest_patch*'
  'the k-th largest kept as well @@ kernels/gumbel_shrinkage.cuh @@ s/return d <= 0 \? T\(0\) : d \* a/return d < 0 ? T(0) : d == 0 ? a : d * a/ @@ gumbel_shrinkage*'
  'a softmax without its maximum @@ kernels/gumbel_shrinkage.cuh @@ s/exp\(row\.get\(j\) - largest\)/exp(row.get(j))/ @@ gumbel_shrinkage*'
  'ties at the k-th place all kept @@ kernels/gumbel_shrinkage.cuh @@ s/(y == lambda && popcount\(ties & \(\(1u << place\) - 1\)\) >= )left/${1}a_large_number(left)/; s/(\/\/ Sets to 0 what is below)/CUTTLE_DEVICE std::int64_t a_large_number(std::int64_t) { return 1 << 20; }\n$1/ @@ gumbel_shrinkage*'
  'a stage too few: copies of the next slice are read @@ kernels/memory_lookup.cuh @@ s/copy_async_wait<1>/copy_async_wait<2>/ @@ memory_lookup*'
  'another segment of the memory @@ kernels/memory_lookup.cuh @@ s/memory \+ \(\(s \* n\.M \+ first_m\)/memory + (((s + 1) % n.S * n.M + first_m)/ @@ memory_lookup*'
  'noise that depends on the block @@ kernels/extract_patches.cuh @@ s/name \* quads \+ quad, noise/name * quads + quad + blockIdx.x, noise/ @@ *patch_pairs*'
  'the step of a replay not read @@ kernels/extract_patches.cuh @@ s/if \(state == nullptr\) return step;/if (state != nullptr || state == nullptr) return step;/ @@ *patch_pairs*'
  'a corner read before it is written @@ kernels/extract_patches.cuh @@ s/__syncthreads\(\);(\s+const Global<const std::uint8_t> image)/$1/ @@ *patch_pairs*'
  'the shift of the other axis @@ kernels/augment.cuh @@ s/a\.H, map\.down/a.H, map.right/ @@ augment*'
  'pieces laid before they are drawn @@ kernels/misplace_patches.cuh @@ s/(b, std::int64_t\{threadIdx\.x\}\);\s+)__syncthreads\(\);/$1/ @@ misplace_patches*'
  'the later of two rows that are equally far @@ kernels/k_center_greedy.cuh @@ s/other_index < index/other_index > index/ @@ k_center_greedy*'
  'columns in use are overwritten @@ kernels/k_center_greedy.cuh @@ s/__syncthreads\(\);(\s+for \(int e = t; e < threads \* columns)/$1/ @@ k_center_greedy*'
  'a centre that is chosen again @@ kernels/k_center_greedy.cuh @@ s/n == centre \? -1/n == centre ? squared/ @@ k_center_greedy*'
  'the last patch of a run left out @@ kernels/distribute_scores.cuh @@ s/j < cols\.last; \+\+j/j < cols.last - 1; ++j/ @@ distribute_scores*'
  'a NaN that gets lost @@ kernels/distribute_scores.cuh @@ s/return a != a \? a : a < b \|\| b != b \? b : a;/return a < b ? b : a;/ @@ *max_over_pixels*'
  'rows added out of order @@ kernels/elementwise.cuh @@ s/for \(int e = 0; e < warp_size; \+\+e\) \{/for (int e = warp_size - 1; e >= 0; --e) {/ @@ *add_rows*'
  'a tile read before it is full @@ kernels/elementwise.cuh @@ s/__syncthreads\(\);(\s+for \(int k = row; k < transpose_tile; k \+= transpose_rows\)\s+if \(i0 \+ k < I)/$1/ @@ permute*'
  'a step count off by one @@ kernels/adam.cuh @@ s/state->step \+ 1/state->step + 2/ @@ adam*'
  'a tree that forgets half of the sums @@ kernels/reduce.cuh @@ s/int n = threads \/ 2; n >= width/int n = threads \/ 2; n > width/ @@ *cross_entropy*'
  'a running variance over N @@ kernels/norm.cuh @@ s/square \/ \(n - 1\)/square \/ n/ @@ batch_norm*'
)

words=("$@")
# Whether a name holds one of the words, where there are any.
wanted() {
  ((${#words[@]})) || return 0
  local word
  for word in "${words[@]}"; do [[ $1 == *"$word"* ]] && return 0; done
  return 1
}

copy=$scratch/tree
mkdir "$copy"
cp -r CMakeLists.txt CMakePresets.json LICENSE cmake include kernels tests examples bench "$copy"
build=$copy/build
cmake -S "$copy" -B "$build" ${CMAKE_GENERATOR:+-G "$CMAKE_GENERATOR"} -DCMAKE_BUILD_TYPE=None \
  "-DCMAKE_CXX_FLAGS=-O1 -Wno-maybe-uninitialized" -DCUTTLE_EXAMPLES=OFF -DCUTTLE_BENCH=OFF >"$scratch/configure" 2>&1 || { cat "$scratch/configure"; exit 1; }
rebuild() { cmake --build "$build" --target test_ops --parallel >"$scratch/build.log" 2>&1; }
rebuild || { tail -n 40 "$scratch/build.log"; exit 1; }

for fault in "${faults[@]}"; do
  mapfile -t part < <(awk -F ' @@ ' '{ for (i = 1; i <= NF; i++) print $i }' <<<"$fault")
  name=${part[0]} file=${part[1]} substitution=${part[2]} tests=${part[3]}
  wanted "$name" || continue
  cp "$copy/$file" "$scratch/right"
  perl -0pi -e "$substitution" "$copy/$file"
  if cmp -s "$scratch/right" "$copy/$file"; then
    fail "$name: the substitution changes nothing in $file any more"
  elif ! rebuild; then
    fail "$name: does not compile"
    grep -m 3 error "$scratch/build.log" || true
  elif (cd "$copy" && timeout 200 "$build/tests/test_ops" "$tests" >"$scratch/log" 2>&1); then
    fail "$name: no test of '$tests' finds it"
  else
    pass
    printf 'found: %s\n    %s\n' "$name" "$(grep -m 1 -E 'thread|expanded|mismatch|bits|failed' "$scratch/log" | cut -c1-110)"
  fi
  cp "$scratch/right" "$copy/$file"
done
