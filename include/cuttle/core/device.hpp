// Device: where a tensor's memory lives and its ops run.
#pragma once

#include <charconv>
#include <ostream>
#include <string_view>

#include "cuttle/core/error.hpp"
#include "cuttle/seam/table.hpp"

namespace cuttle {

// What computes: the processor, or a device behind the seam.
enum class DeviceKind { cpu, cuda };

// Where a tensor lies and its ops run: the CPU, or the index-th CUDA device.
struct Device {
  DeviceKind kind = DeviceKind::cpu;
  int index = 0;

  static constexpr Device cpu() noexcept { return {}; }
  static constexpr Device cuda(int index = 0) noexcept { return {DeviceKind::cuda, index}; }
  constexpr bool is_cpu() const noexcept { return kind == DeviceKind::cpu; }

  friend constexpr bool operator==(const Device&, const Device&) = default;
  friend std::ostream& operator<<(std::ostream& out, const Device& device) {
    if (device.is_cpu()) return out << "cpu";
    return out << "cuda:" << device.index;
  }
};

// The table of the device's entries. Throws for cuda when the program has not linked the CUDA part.
inline const seam::Table& table_of(Device device) {
  const seam::Table* table = device.is_cpu() ? nullptr : seam::cuda_table().load(std::memory_order_acquire);
  require(table != nullptr, "device ", device,
          ": this program has no CUDA part; link cuttle::cuda (find_package(cuttle COMPONENTS cuda)), or use cpu");
  require(device.index >= 0 && device.index < table->device_count(), "device ", device, ": there are ",
          table->device_count(), " CUDA devices here");
  return *table;
}

// "cpu", "cuda", "cuda:N", or "auto": cuda:0 where the CUDA part is linked and finds a device, else cpu.
inline Device parse_device(std::string_view name) {
  if (name == "cpu") return Device::cpu();
  if (name == "auto") {
    const seam::Table* table = seam::cuda_table().load(std::memory_order_acquire);
    return table && table->device_count() > 0 ? Device::cuda(0) : Device::cpu();
  }
  Device device = Device::cuda(0);
  bool ok = name.substr(0, 4) == "cuda";
  if (ok && name.size() > 4) {
    const char* last = name.data() + name.size();
    const auto [end, status] = std::from_chars(name.data() + 5, last, device.index);
    ok = name[4] == ':' && status == std::errc() && end == last && device.index >= 0;
  }
  require(ok, "device: '", name, "' is none of auto, cpu, cuda, cuda:N");
  table_of(device);
  return device;
}

}  // namespace cuttle
