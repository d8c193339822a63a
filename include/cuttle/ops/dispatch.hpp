// What every op's wrapper does first: all arguments on one device, and an entry for it there.
#pragma once

#include <type_traits>

#include "cuttle/core/tensor.hpp"

namespace cuttle::detail {

// The device that all of these tensors are on; undefined ones (left-out arguments) do not count.
template <class First, class... Rest>
Device common_device(const char* op, const First& first, const Rest&... rest) {
  Device device = first.device();
  bool known = first.defined();
  [[maybe_unused]] const auto join = [&](const auto& tensor) {
    if (!tensor.defined()) return;
    require(!known || tensor.device() == device, op, ": arguments on ", device, " and on ", tensor.device());
    device = tensor.device();
    known = true;
  };
  (join(rest), ...);
  return device;
}

template <class T>
const seam::OpTable<T>& op_table(Device device) {
  if constexpr (std::is_same_v<T, float>)
    return table_of(device).float_ops;
  else
    return table_of(device).double_ops;
}

// Runs an entry of the table of a device that is not the CPU, on the current stream.
template <class T, class Args>
void run_entry(const char* op, Device device, seam::Entry<Args> seam::OpTable<T>::*entry, const Args& args) {
  seam::Entry<Args> on_device = nullptr;  // of element types other than float and double there is none
  if constexpr (std::is_floating_point_v<T>) on_device = op_table<T>(device).*entry;
  require(on_device != nullptr, op, ": there is no entry for it on ", device);
  on_device(device.index, args, current_stream(device));
}

// Runs an op where its arguments are: the CPU's function, or the entry of the device's table on the current stream.
//   dispatch("conv2d", device, &cpu::conv2d<T>, &seam::OpTable<T>::conv2d, args);
template <class T, class Args>
void dispatch(const char* op, Device device, void (*on_cpu)(const Args&), seam::Entry<Args> seam::OpTable<T>::*entry,
              const Args& args) {
  if (device.is_cpu()) return on_cpu(args);
  run_entry(op, device, entry, args);
}

// For ops that only the CPU has.
template <class... Tensors>
void require_on_cpu(const char* op, const Tensors&... tensors) {
  const Device device = common_device(op, tensors...);
  require(device.is_cpu(), op, ": there is no entry for it on ", device);
}

}  // namespace cuttle::detail
