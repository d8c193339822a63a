// The seam to a second device: a table of plain functions that the CUDA part fills in when it is linked.
// C++17 and free of CUDA headers, so that a program compiled by a host compiler alone can use either device.
#pragma once

#include <atomic>
#include <cstddef>

namespace cuttle::seam {

// A stream of the device's runtime, opaque here; nullptr is the device's default stream.
using Stream = void*;

// What a device offers. Every function reports failure by throwing cuttle::Error.
struct Table {
  const char* name;
  int (*device_count)();
  // Memory: bytes > 0; allocate returns memory aligned to at least 256 bytes.
  void* (*allocate)(int device, std::size_t bytes);
  void (*release)(int device, void* memory, std::size_t bytes);
  void (*copy_to_device)(int device, void* destination, const void* source, std::size_t bytes, Stream stream);
  void (*copy_to_host)(int device, void* destination, const void* source, std::size_t bytes, Stream stream);
  void (*synchronize)(int device, Stream stream);
};

// Where the CUDA part registers itself. Default visibility: one pointer for the whole program, shared objects included.
__attribute__((visibility("default"))) inline std::atomic<const Table*>& cuda_table() noexcept {
  static std::atomic<const Table*> table{nullptr};
  return table;
}

}  // namespace cuttle::seam
