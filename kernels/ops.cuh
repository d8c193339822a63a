// Our own kernels as the entries of a device's table; a family that is not here has no entry. The device may replace
// some of them by a library's.
#pragma once

#include "cuttle/seam/table.hpp"
#include "kernels/activation.cuh"
#include "kernels/adam.cuh"
#include "kernels/augment.cuh"
#include "kernels/conv2d.cuh"
#include "kernels/distribute_scores.cuh"
#include "kernels/elementwise.cuh"
#include "kernels/extract_patches.cuh"
#include "kernels/gumbel_shrinkage.cuh"
#include "kernels/k_center_greedy.cuh"
#include "kernels/losses.cuh"
#include "kernels/mean_losses.cuh"
#include "kernels/memory_lookup.cuh"
#include "kernels/misplace_patches.cuh"
#include "kernels/nearest_patch.cuh"
#include "kernels/neighbour_attention.cuh"
#include "kernels/norm.cuh"
#include "kernels/queue_update.cuh"
#include "kernels/resize_bilinear.cuh"

namespace cuttle::kernels {

// What an entry does around a launch unless the device knows better: nothing.
class AnyDevice {
 public:
  AnyDevice(int, seam::Stream stream) : stream_(stream) {}
  seam::Stream stream() const { return stream_; }

 private:
  seam::Stream stream_;
};

// A launcher as a table's entry: OnDevice(device, stream) lives while it runs, and names the stream to use.
template <class OnDevice, auto launch_op, class Args>
void entry(int device, const Args& args, seam::Stream stream) {
  const OnDevice on(device, stream);
  launch_op(args, on.stream());
}

template <class T, class OnDevice = AnyDevice>
seam::OpTable<T> own_ops() {
  seam::OpTable<T> table{};
  table.elementwise = &entry<OnDevice, &launch_elementwise<T>>;
  table.adam = &entry<OnDevice, &launch_adam<T>>;
  table.gather_rows = &entry<OnDevice, &launch_gather_rows<T>>;
  table.add_rows = &entry<OnDevice, &launch_add_rows<T>>;
  table.permute = &entry<OnDevice, &launch_permute<T>>;
  table.cross_entropy = &entry<OnDevice, &launch_cross_entropy<T>>;
  table.cross_entropy_backward = &entry<OnDevice, &launch_cross_entropy_backward<T>>;
  table.mean_distance = &entry<OnDevice, &launch_mean_distance<T>>;
  table.mean_distance_backward = &entry<OnDevice, &launch_mean_distance_backward<T>>;
  table.unit_columns = &entry<OnDevice, &launch_unit_columns<T>>;
  table.standardize = &entry<OnDevice, &launch_standardize<T>>;
  table.random_patch_pairs = &entry<OnDevice, &launch_random_patch_pairs<T>>;
  table.extract_windows = &entry<OnDevice, &launch_extract_windows<T>>;
  table.join_windows = &entry<OnDevice, &launch_join_windows<T>>;
  table.augment = &entry<OnDevice, &launch_augment<T>>;
  table.misplace_patches = &entry<OnDevice, &launch_misplace_patches<T>>;
  table.distribute_scores = &entry<OnDevice, &launch_distribute_scores<T>>;
  table.max_over_pixels = &entry<OnDevice, &launch_max_over_pixels<T>>;
  table.conv2d = &entry<OnDevice, &launch_conv2d<T>>;
  table.conv2d_backward = &entry<OnDevice, &launch_conv2d_backward<T>>;
  table.nearest_patch_survey = &entry<OnDevice, &launch_nearest_patch_survey<T>>;
  table.nearest_patch_filter = &entry<OnDevice, &launch_nearest_patch_filter<T>>;
  table.nearest_patch = &entry<OnDevice, &launch_nearest_patch<T>>;
  table.k_center_greedy = &entry<OnDevice, &launch_k_center_greedy<T>>;
  table.gumbel_shrinkage = &entry<OnDevice, &launch_gumbel_shrinkage<T>>;
  table.gumbel_shrinkage_backward = &entry<OnDevice, &launch_gumbel_shrinkage_backward<T>>;
  table.memory_lookup = &entry<OnDevice, &launch_memory_lookup<T>>;
  table.memory_lookup_backward = &entry<OnDevice, &launch_memory_lookup_backward<T>>;
  table.batch_norm = &entry<OnDevice, &launch_batch_norm<T>>;
  table.batch_norm_backward = &entry<OnDevice, &launch_batch_norm_backward<T>>;
  table.layer_norm = &entry<OnDevice, &launch_layer_norm<T>>;
  table.layer_norm_backward = &entry<OnDevice, &launch_layer_norm_backward<T>>;
  table.activate = &entry<OnDevice, &launch_activate<T>>;
  table.activate_backward = &entry<OnDevice, &launch_activate_backward<T>>;
  table.blend = &entry<OnDevice, &launch_blend<T>>;
  table.blend_backward = &entry<OnDevice, &launch_blend_backward<T>>;
  table.bernoulli_mask = &entry<OnDevice, &launch_bernoulli_mask<T>>;
  table.copy_channels = &entry<OnDevice, &launch_copy_channels<T>>;
  table.resize_bilinear = &entry<OnDevice, &launch_resize_bilinear<T>>;
  table.resize_bilinear_backward = &entry<OnDevice, &launch_resize_bilinear_backward<T>>;
  table.neighbour_attention = &entry<OnDevice, &launch_neighbour_attention<T>>;
  table.neighbour_attention_backward = &entry<OnDevice, &launch_neighbour_attention_backward<T>>;
  table.mean_squared_difference = &entry<OnDevice, &launch_mean_squared_difference<T>>;
  table.mean_squared_difference_backward = &entry<OnDevice, &launch_mean_squared_difference_backward<T>>;
  table.binary_cross_entropy = &entry<OnDevice, &launch_binary_cross_entropy<T>>;
  table.binary_cross_entropy_backward = &entry<OnDevice, &launch_binary_cross_entropy_backward<T>>;
  table.queue_update = &entry<OnDevice, &launch_queue_update<T>>;
  return table;
}

}  // namespace cuttle::kernels
