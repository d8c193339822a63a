// Patches and windows: random pairs with noise drawn on the spot, rows of crop pairs, windows and back.
#pragma once

#include "cuttle/seam/crop_pair.hpp"
#include "cuttle/seam/philox.hpp"
#include "kernels/indexing.cuh"

namespace cuttle::kernels {

namespace normals {

using vf = float;
using vu = std::uint32_t;
CUTTLE_DEVICE vf fused(vf a, vf b, vf c) { return fma(a, b, c); }
CUTTLE_DEVICE vf root(vf a) { return sqrt(a); }
CUTTLE_DEVICE vf to_float(vu a) { return static_cast<float>(static_cast<std::int32_t>(a)); }
CUTTLE_DEVICE vu bits(vf a) { return bit_cast<vu>(a); }
CUTTLE_DEVICE vf from_bits(vu a) { return bit_cast<vf>(a); }
CUTTLE_DEVICE vf splat(float a) { return a; }
CUTTLE_DEVICE vf choose(vu mask, vf a, vf b) { return mask ? a : b; }
#define CUTTLE_TARGET __device__
#include "cuttle/seam/box_muller.inl"
#undef CUTTLE_TARGET

// Normals 4 * block .. 4 * block + 3 of the stream: the four words of one Philox block are two draws.
CUTTLE_DEVICE void draw_four(std::uint64_t seed, std::uint64_t stream, std::uint64_t block, float (&normal)[4]) {
  const seam::PhiloxBlock words = seam::random_block(seed, stream, block);
  box_muller(words.word[0], words.word[1], normal[0], normal[1]);
  box_muller(words.word[2], words.word[3], normal[2], normal[3]);
}

CUTTLE_DEVICE float draw(std::uint64_t seed, std::uint64_t stream, std::uint64_t index) {
  const std::uint64_t words = seam::random_word_pair(seed, stream, index / 2);
  float first, second;
  box_muller(static_cast<std::uint32_t>(words >> 32), static_cast<std::uint32_t>(words), first, second);
  return index % 2 == 0 ? first : second;
}

}  // namespace normals

constexpr int patch_threads = 128, quads_a_thread = 3, quads_a_block = patch_threads * quads_a_thread;

CUTTLE_DEVICE std::int64_t step_of(const seam::StepState* state, std::int64_t step) {
  if (state == nullptr) return step;
  const Global<const seam::StepState> on_device = state;
  return on_device->step;
}

// op: random_patch_pairs: x = (pixel - mean) / 255 + colour_sigma * colour[channel] + noise_sigma * noise[value] for
//     two patches of each pair (Yi, Yoon, ACCV 2020, section 3); no colour and noise in the svdd task.
// layout: image (images,H,W,C) bytes; mean (H,W,C); x[view] (B * (patch_size/tile_size)^2, tile_size, tile_size, C);
//     label (B). A quad is four neighbouring values of a patch's row in (row, column, channel) order: patch_size is a
//     multiple of 32, so quads do not cross rows, and their normals are one Philox block.
// launch: a block of 128 for each 384 quads of each patch; C floats of shared memory for the colour shifts.
// order: every value is one thread's; fma(noise_sigma, noise, fma(colour_sigma, colour, (pixel - mean) / 255)) as on
//     the CPU, so the bits are the CPU's.
// limits: patch_size^2 * C < 2^32; C <= 40960. packs: tile_size * C a multiple of 4, x aligned to 16 bytes.
// cost: 1 + 4 bytes read and sizeof(T) written a value, 40 integer and 30 float operations a normal; both floors are
//     close, so the first normals are drawn while one thread finds the corner.
template <class T, bool augmented, bool packs>
CUTTLE_KERNEL random_patch_pairs(seam::PatchPairsArgs<T> a) {
  CUTTLE_SHARED(std::int64_t, corner, 2);  // of the patch, in values, inside image and inside mean
  CUTTLE_DYNAMIC_SHARED(float, colour);
  const auto patch_values = static_cast<std::uint32_t>(a.patch_size * a.patch_size * a.C);
  const auto patch_row = static_cast<std::uint32_t>(a.patch_size * a.C);
  const auto C = static_cast<std::uint32_t>(a.C), tile_size = static_cast<std::uint32_t>(a.tile_size);
  const std::uint32_t tile_row = tile_size * C, tiles = static_cast<std::uint32_t>(a.patch_size) / tile_size;
  const std::uint32_t quads = patch_values / 4, chunks = (quads + quads_a_block - 1) / quads_a_block;
  const std::int64_t step = step_of(a.state, a.step);
  const int thread = static_cast<int>(threadIdx.x);

  for (std::int64_t work = blockIdx.x; work < 2 * a.B * chunks; work += gridDim.x) {
    const std::int64_t b = work / chunks / 2, view = work / chunks % 2, slot = a.first_slot + b;
    const std::uint32_t first_quad = static_cast<std::uint32_t>(work % chunks) * quads_a_block;
    const auto name = static_cast<std::uint64_t>(2 * slot + view);
    if (thread == 0) {
      const seam::PatchPair pair =
          seam::sample_patch_pair(a.task, a.patch_size, a.images, a.H, a.W, a.seed, step, slot);
      // An array with a variable index would lie in local memory.
      corner[1] = view == 0 ? (pair.top[0] * a.W + pair.left[0]) * a.C : (pair.top[1] * a.W + pair.left[1]) * a.C;
      corner[0] = pair.image * a.H * a.W * a.C + corner[1];
      if (a.label != nullptr && view == 0 && first_quad == 0) {
        const Global<std::int32_t> label = a.label;
        label[b] = pair.label;
      }
    }
    float noise[quads_a_thread][4];
    if (augmented) {
      const std::uint64_t colours = seam::patch_stream(step, a.patch_size, seam::PatchNumber::colour);
      for (std::uint32_t c = patch_threads - 1 - static_cast<std::uint32_t>(thread); c < C; c += patch_threads)
        colour[c] = normals::draw(a.seed, colours, name * C + c);
      const std::uint64_t noises = seam::patch_stream(step, a.patch_size, seam::PatchNumber::noise);
#pragma unroll
      for (int u = 0; u < quads_a_thread; ++u) {
        const std::uint32_t quad = first_quad + static_cast<std::uint32_t>(u * patch_threads + thread);
        if (quad < quads) normals::draw_four(a.seed, noises, name * quads + quad, noise[u]);
      }
    }
    __syncthreads();

    const Global<const std::uint8_t> image = a.image;
    const Global<const float> mean = a.mean;
    const Global<T> x = view == 0 ? a.x[0] : a.x[1];
#pragma unroll
    for (int u = 0; u < quads_a_thread; ++u) {
      const std::uint32_t quad = first_quad + static_cast<std::uint32_t>(u * patch_threads + thread);
      if (quad >= quads) continue;
      const std::uint32_t r = 4 * quad / patch_row, within = 4 * quad % patch_row;
      const std::int64_t pixel = r * a.W * a.C + within;
      std::uint32_t channel = within % C;
      T values[4];
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        T value = (static_cast<T>(image[corner[0] + pixel + i]) - static_cast<T>(mean[corner[1] + pixel + i])) / T(255);
        if (augmented) {
          const float shift = colour[channel];
          value = fma(static_cast<T>(a.colour_sigma), static_cast<T>(shift), value);
          value = fma(static_cast<T>(a.noise_sigma), static_cast<T>(noise[u][i]), value);
          if (++channel == C) channel = 0;
        }
        values[i] = value;
      }
      const auto place = [&](std::uint32_t j) {  // of value j of the patch's row r
        const std::uint32_t tile = r / tile_size * tiles + j / tile_row;
        return b * patch_values + (std::int64_t{tile} * tile_size + r % tile_size) * tile_row + j % tile_row;
      };
      if (packs)
        store_values(x + place(within), values);
      else
        for (std::uint32_t i = 0; i < 4; ++i) x[place(within + i)] = values[i];
    }
    __syncthreads();  // before the next patch's corner and colours
  }
}

template <class T>
void launch_random_patch_pairs(const seam::PatchPairsArgs<T>& a, seam::Stream stream) {
  const char* op = "random_patch_pairs";
  const std::int64_t quads = a.patch_size * a.patch_size * a.C / 4;
  if (quads >= std::int64_t{1} << 30) throw Error(std::string(op) + ": a patch has 2^32 or more values");
  const std::int64_t blocks = 2 * a.B * ((quads + quads_a_block - 1) / quads_a_block);
  const bool augmented = a.task != seam::PatchTask::svdd, packs = a.tile_size * a.C % 4 == 0 && aligned(a.x[0], a.x[1]);
  const auto kernel = augmented ? packs ? &random_patch_pairs<T, true, true> : &random_patch_pairs<T, true, false>
                      : packs ? &random_patch_pairs<T, false, true>
                                : &random_patch_pairs<T, false, false>;
  launch(op, kernel, blocks_for(blocks, 1), patch_threads,
         static_cast<std::size_t>(augmented ? a.C : 0) * sizeof(float), stream, a);
}

// op: draw_crop_rows: where the patches of a step's pairs lie in the trunk's maps of crops (seam/crop_pair.hpp).
// layout: position[view], svdd[view] (pairs * (patch_size/32)^2); labels (pairs).
// launch: a thread for each pair, blocks of 128.
// order: every number is one thread's, integers alone: the CPU's numbers.
// limits: what fits 32-bit rows; no pairs are no launch.
// cost: nine Philox blocks a pair; microseconds.
template <int = 0>  // so that several translation units may hold it
CUTTLE_KERNEL draw_crop_rows(seam::DrawCropRowsArgs a) {
  const std::int64_t step = step_of(a.state, a.step);
  const std::int64_t across = a.patch_size / seam::small_patch, quadrants = across * across;
  const Global<std::int32_t> labels = a.labels;
  for (std::int64_t i = thread_index(); i < a.pairs; i += thread_count()) {
    const seam::CropPair pair = seam::sample_crop_pair(a.patch_size, a.crops, a.size, a.seed, step, i);
    labels[i] = pair.label;
    for (int view = 0; view < 2; ++view) {
      const Global<std::int32_t> position = a.position[view], svdd = a.svdd[view];
      for (std::int64_t q = 0; q < quadrants; ++q) {
        position[i * quadrants + q] =
            seam::crop_row(a.patch_size, a.crops, a.size, view, pair.crop, pair.top[view], pair.left[view], q);
        svdd[i * quadrants + q] =
            seam::crop_row(a.patch_size, a.crops, a.size, view, pair.svdd_crop, pair.svdd_top, pair.svdd_left, q);
      }
    }
  }
}

inline void launch_draw_crop_rows(const seam::DrawCropRowsArgs& a, seam::Stream stream) {
  launch("draw_crop_rows", &draw_crop_rows<>, blocks_for(a.pairs, 128), 128, 0, stream, a);
}

// op: extract_windows: patches[b*rows*cols + r*cols + q, i, j, c] = x[b, r*stride + i, q*stride + j, c]; with `join`,
//     join_windows: the other way.
// layout: x (B,H,W,C); patches (B*rows*cols, window, window, C); they do not overlap.
// launch: a thread for each pack of N neighbouring values of a window's row, blocks of 256, striding over the grid.
// order: a copy.
// limits: N > 1 where window * C, stride * C and W * C are multiples of N and both addresses of 16 bytes.
// cost: each value is read and written once: copy bandwidth; overlapping windows read again from the caches.
template <class T, class Index, int N, bool join>
CUTTLE_KERNEL windows(seam::WindowsArgs<T> a, Index packs) {
  const Global<const T> from = a.from;
  const Global<T> to = a.to;
  const Index row = static_cast<Index>(a.window * a.C / N), window = static_cast<Index>(a.window);
  const Index rows = static_cast<Index>(a.rows), cols = static_cast<Index>(a.cols);
  for (Index e = static_cast<Index>(thread_index()); e < packs; e += static_cast<Index>(thread_count())) {
    Index rest = e / row;
    const std::int64_t k = e % row, i = rest % window;
    rest /= window;
    const std::int64_t q = rest % cols;
    rest /= cols;
    const std::int64_t r = rest % rows, b = rest / rows;
    const std::int64_t in_x = ((b * a.H + r * a.stride + i) * a.W + q * a.stride) * a.C + k * N;
    const std::int64_t in_patches = std::int64_t{e} * N;
    store_pack(to + (join ? in_x : in_patches), load_pack<N>(from + (join ? in_patches : in_x)));
  }
}

template <class T, bool join>
void launch_windows(const char* op, const seam::WindowsArgs<T>& a, seam::Stream stream) {
  constexpr std::int64_t N = pack_size<T>;
  const std::int64_t values = a.B * a.rows * a.cols * a.window * a.window * a.C;
  const bool packs = a.window * a.C % N == 0 && a.stride * a.C % N == 0 && a.W * a.C % N == 0 && aligned(a.from, a.to);
  const std::int64_t n = packs ? values / N : values;
  with_index(n, [&](auto count) {
    using Index = decltype(count);
    const auto kernel = packs ? &windows<T, Index, N, join> : &windows<T, Index, 1, join>;
    launch(op, kernel, blocks_for(n, 256), 256, 0, stream, a, count);
  });
}
template <class T>
void launch_extract_windows(const seam::WindowsArgs<T>& a, seam::Stream stream) {
  launch_windows<T, false>("extract_windows", a, stream);
}
template <class T>
void launch_join_windows(const seam::WindowsArgs<T>& a, seam::Stream stream) {
  launch_windows<T, true>("join_windows", a, stream);
}

}  // namespace cuttle::kernels
