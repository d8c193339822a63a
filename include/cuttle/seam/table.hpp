// The seam to a second device: a table of plain functions that the CUDA part fills in when it is linked.
// C++17 and free of CUDA headers, so that a program compiled by a host compiler alone can use either device.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "cuttle/seam/args.hpp"
#include "cuttle/seam/error.hpp"

namespace cuttle::seam {

// A stream of the device's runtime, opaque here; nullptr is the library's own stream of the device.
using Stream = void*;
// Recorded work and a point in a stream's work, opaque as well.
using Graph = void*;
using Event = void*;

// One op: queued on the stream, in order after what is there. Every pointer in the arguments is the device's.
template <class Args>
using Entry = void (*)(int device, const Args& args, Stream stream);

// The ops of one element type.
template <class T>
struct OpTable {
  Entry<ElementwiseArgs<T>> elementwise;
  Entry<Conv2dArgs<T>> conv2d;
  Entry<Conv2dBackwardArgs<T>> conv2d_backward;
  Entry<AdamArgs<T>> adam;
  Entry<GatherRowsArgs<T>> gather_rows, add_rows;
  Entry<PermuteArgs<T>> permute;
  Entry<CrossEntropyArgs<T>> cross_entropy, cross_entropy_backward;
  Entry<MeanDistanceArgs<T>> mean_distance, mean_distance_backward;
  Entry<UnitColumnsArgs<T>> unit_columns;
  Entry<StandardizeArgs<T>> standardize;
  Entry<PatchPairsArgs<T>> random_patch_pairs;
  Entry<WindowsArgs<T>> extract_windows, join_windows;
  Entry<AugmentArgs<T>> augment;
  Entry<MisplacePatchesArgs<T>> misplace_patches;
  Entry<NearestPatchSurveyArgs<T>> nearest_patch_survey;
  Entry<NearestPatchFilterArgs<T>> nearest_patch_filter;
  Entry<NearestPatchSearchArgs<T>> nearest_patch;
  Entry<KCenterGreedyArgs<T>> k_center_greedy;
  Entry<DistributeScoresArgs<T>> distribute_scores;
  Entry<MaxOverPixelsArgs<T>> max_over_pixels;
  Entry<MatmulArgs<T>> matmul;
  Entry<BatchNormArgs<T>> batch_norm;
  Entry<BatchNormBackwardArgs<T>> batch_norm_backward;
  Entry<LayerNormArgs<T>> layer_norm;
  Entry<LayerNormBackwardArgs<T>> layer_norm_backward;
  Entry<ActivationArgs<T>> activate, activate_backward;
  Entry<ResizeBilinearArgs<T>> resize_bilinear, resize_bilinear_backward;
  Entry<CopyChannelsArgs<T>> copy_channels;
  Entry<NeighbourAttentionArgs<T>> neighbour_attention;
  Entry<NeighbourAttentionBackwardArgs<T>> neighbour_attention_backward;
  Entry<MeanSquaredDifferenceArgs<T>> mean_squared_difference, mean_squared_difference_backward;
  Entry<BinaryCrossEntropyArgs<T>> binary_cross_entropy, binary_cross_entropy_backward;
  Entry<BlendArgs<T>> blend, blend_backward;
  Entry<BernoulliMaskArgs<T>> bernoulli_mask;
  Entry<QueueUpdateArgs<T>> queue_update;
  Entry<GumbelShrinkageArgs<T>> gumbel_shrinkage, gumbel_shrinkage_backward;
  Entry<MemoryLookupArgs<T>> memory_lookup;
  Entry<MemoryLookupBackwardArgs<T>> memory_lookup_backward;
};

// What a device offers. Every function reports failure by throwing cuttle::Error.
struct Table {
  const char* name;
  int (*device_count)();

  // Memory: bytes > 0; allocate returns memory aligned to at least 256 bytes. Copies from and to the host are over when
  // they return; the others are queued. While a stream records, allocate, release, synchronize and copies from and to
  // the host throw.
  void* (*allocate)(int device, std::size_t bytes);
  void (*release)(int device, void* memory, std::size_t bytes);
  // Null, or told which bytes of a block from allocate() may be touched from now on: the first `used`, whose contents
  // are undefined, or none. For a device that checks accesses; part of what a stream records, and allowed while it
  // does.
  void (*mark)(int device, void* memory, std::size_t used, Stream stream);
  void (*copy_to_device)(int device, void* destination, const void* source, std::size_t bytes, Stream stream);
  void (*copy_to_host)(int device, void* destination, const void* source, std::size_t bytes, Stream stream);
  void (*copy_on_device)(int device, void* destination, const void* source, std::size_t bytes, Stream stream);
  // n elements of `size` bytes (1, 2, 4 or 8), each a copy of *value.
  void (*fill)(int device, void* memory, const void* value, std::size_t size, std::size_t n, Stream stream);
  void (*synchronize)(int device, Stream stream);

  Stream (*make_stream)(int device);
  void (*drop_stream)(int device, Stream stream);

  // Points in time on a stream: milliseconds waits for both.
  Event (*record_event)(int device, Stream stream);
  float (*milliseconds)(int device, Event from, Event to);
  void (*drop_event)(int device, Event event);

  // Between begin and end, what is queued on the stream is recorded, arguments by value, and not run; launch_graph
  // queues all of it. abandon_recording ends a recording that failed and forgets it.
  void (*begin_recording)(int device, Stream stream);
  Graph (*end_recording)(int device, Stream stream);
  void (*abandon_recording)(int device, Stream stream);
  void (*launch_graph)(int device, Graph graph, Stream stream);
  void (*drop_graph)(int device, Graph graph);

  // Scratch that conv2d and its backward want from their caller for this shape, in bytes.
  std::size_t (*conv2d_workspace)(int device, const Conv2dShape& shape, std::size_t element_size, bool backward);
  // How many products of convolutions the device's own library had no way to do, so that a kernel of ours did them.
  std::uint64_t (*conv2d_fallbacks)();
  Entry<DrawCropRowsArgs> draw_crop_rows;

  OpTable<float> float_ops;
  OpTable<double> double_ops;
};

// Where the CUDA part registers itself. Default visibility: one pointer for the whole program, shared objects included.
__attribute__((visibility("default"))) inline std::atomic<const Table*>& cuda_table() noexcept {
  static std::atomic<const Table*> table{nullptr};
  return table;
}

}  // namespace cuttle::seam
