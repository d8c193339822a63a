// Runs a check on every device there is: the CPU and, where a CUDA part is linked, its first device.
#pragma once

#include <string>
#include <vector>

#include "cuttle/core/device.hpp"
#include "tests/support/catch.hpp"

namespace cuttle_test {

// Another way of running the work of a device, which results must not depend on. The emulator adds its thread orders.
struct DeviceVariant {
  std::string name;
  void (*choose)();
};
inline std::vector<DeviceVariant>& device_variants() {
  static std::vector<DeviceVariant> variants;
  return variants;
}

// The CPU, and cuda:0 where there is one.
inline std::vector<cuttle::Device> every_device() {
  std::vector<cuttle::Device> devices{cuttle::Device::cpu()};
  const auto* table = cuttle::seam::cuda_table().load();
  if (table && table->device_count() > 0) devices.push_back(cuttle::Device::cuda(0));
  return devices;
}

// In every variant: for ops.
template <class Body>
void on_every_device(Body body) {
  for (const cuttle::Device device : every_device()) {
    INFO("device " << device);
    if (device.is_cpu() || device_variants().empty()) {
      body(device);
      continue;
    }
    for (const DeviceVariant& variant : device_variants()) {
      INFO(variant.name);
      variant.choose();
      body(device);
    }
    device_variants().front().choose();
  }
}

// In the first variant alone: for whole models.
template <class Body>
void on_every_device_once(Body body) {
  for (const cuttle::Device device : every_device()) {
    INFO("device " << device);
    body(device);
  }
}

}  // namespace cuttle_test
