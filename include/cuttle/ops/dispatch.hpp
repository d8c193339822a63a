// What every op's wrapper does first: all arguments on one device, and an entry for it there.
#pragma once

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

// For ops that only the CPU has.
template <class... Tensors>
void require_on_cpu(const char* op, const Tensors&... tensors) {
  const Device device = common_device(op, tensors...);
  require(device.is_cpu(), op, ": there is no entry for it on ", device);
}

}  // namespace cuttle::detail
