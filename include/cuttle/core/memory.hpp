// Memory from a pool: after the first step of a training loop every request is met by a block freed before.
#pragma once

#include <sys/mman.h>

#include <algorithm>
#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <exception>
#include <mutex>
#include <new>
#include <vector>

#include "cuttle/core/device.hpp"
#include "cuttle/core/stream.hpp"

namespace cuttle {

// What the pool has done so far; allocations counts requests that had to go to the system.
struct PoolStatistics {
  std::uint64_t requests = 0;
  std::uint64_t allocations = 0;
  std::uint64_t bytes_held = 0;
};

namespace detail {

// The address sanitizer's functions in a program built with it, null in all others: a block of the pool is poisoned
// past the bytes asked for, and as a whole while it is free, so that the sanitizer sees tensors as it sees malloc.
extern "C" void cuttle_asan_poison(const void*, std::size_t) __asm__("__asan_poison_memory_region")
    __attribute__((weak));
extern "C" void cuttle_asan_unpoison(const void*, std::size_t) __asm__("__asan_unpoison_memory_region")
    __attribute__((weak));

// One pool for each device. Blocks are rounded up to one of eight sizes per power of two, so that shapes which differ a
// little from step to step share blocks at a waste of at most one eighth. A block goes back to the stream it was taken
// on and serves no other, because only there the work that still uses it comes before the work that will.
class Pool {
 public:
  static constexpr std::size_t alignment = 256;

  static std::size_t rounded(std::size_t bytes) noexcept {
    if (bytes <= 4096) return (bytes + alignment - 1) / alignment * alignment;
    const std::size_t step = std::bit_floor(bytes) / 8;
    return (bytes + step - 1) / step * step;
  }

  explicit Pool(Device device) : device_(device) {}

  void* take(std::size_t bytes, seam::Stream stream) {
    void* block = take_rounded(rounded(bytes), stream);
    mark(block, rounded(bytes), bytes, stream);
    return block;
  }

  void give(void* block, std::size_t bytes, seam::Stream stream) noexcept {
    bytes = rounded(bytes);
    mark(block, bytes, 0, stream);
    std::lock_guard lock(mutex_);
    try {
      shelf_of(bytes, stream).blocks.push_back(block);
    } catch (...) {
      release(block, bytes);
    }
  }

  void trim() noexcept {
    std::lock_guard lock(mutex_);
    for (Shelf& shelf : shelves_)
      while (!shelf.blocks.empty() && release(shelf.blocks.back(), shelf.bytes)) shelf.blocks.pop_back();
  }

  PoolStatistics statistics() const {
    std::lock_guard lock(mutex_);
    return statistics_;
  }

 private:
  // The free blocks of one size and stream.
  struct Shelf {
    std::size_t bytes;
    std::uintptr_t stream;
    std::vector<void*> blocks;
  };

  // Made where there is none. Shelves are in order and few, since sizes are rounded. The caller holds the mutex.
  Shelf& shelf_of(std::size_t bytes, seam::Stream stream) {
    const auto which = reinterpret_cast<std::uintptr_t>(stream);
    const auto before = [which](const Shelf& shelf, std::size_t size) {
      return shelf.bytes != size ? shelf.bytes < size : shelf.stream < which;
    };
    const auto place = std::lower_bound(shelves_.begin(), shelves_.end(), bytes, before);
    if (place != shelves_.end() && place->bytes == bytes && place->stream == which) return *place;
    return *shelves_.insert(place, {bytes, which, {}});
  }

  void* take_rounded(std::size_t bytes, seam::Stream stream) {
    {
      std::lock_guard lock(mutex_);
      ++statistics_.requests;
      if (std::vector<void*>& blocks = shelf_of(bytes, stream).blocks; !blocks.empty()) {
        void* block = blocks.back();
        blocks.pop_back();
        return block;
      }
      ++statistics_.allocations;
    }
    void* block = nullptr;
    try {
      block = allocate(bytes);
    } catch (const std::exception&) {
      // Blocks of other sizes may be all that stands in the way.
      trim();
      block = allocate(bytes);
    }
    std::lock_guard lock(mutex_);
    statistics_.bytes_held += bytes;
    return block;
  }

  void* allocate(std::size_t bytes) const {
    if (!device_.is_cpu()) return table_of(device_).allocate(device_.index, bytes);
    constexpr std::size_t huge_page = std::size_t{2} << 20;
    const bool huge = bytes >= 2 * huge_page;
    void* block = std::aligned_alloc(huge ? huge_page : alignment,
                                     huge ? (bytes + huge_page - 1) / huge_page * huge_page : bytes);
    if (!block) throw std::bad_alloc();
    // Activations of hundreds of MB on 4 KB pages spend a tenth of a convolution on page walks.
    if (huge) ::madvise(block, bytes, MADV_HUGEPAGE);
    return block;
  }

  // Back to the system; false where the device refuses, as it does while it records. The caller holds the mutex.
  bool release(void* block, std::size_t bytes) noexcept {
    if (device_.is_cpu()) {
      mark(block, bytes, bytes, nullptr);
      std::free(block);
    } else {
      try {
        table_of(device_).release(device_.index, block, bytes);
      } catch (...) {
        return false;
      }
    }
    statistics_.bytes_held -= bytes;
    return true;
  }

  // Tells the address sanitizer, or a device that checks accesses, that the first `used` of the block's bytes may be
  // touched, and no others.
  void mark(void* block, std::size_t bytes, std::size_t used, seam::Stream stream) const noexcept {
    if (!device_.is_cpu()) {
      const seam::Table* table = seam::cuda_table().load(std::memory_order_acquire);
      if (table && table->mark) table->mark(device_.index, block, used, stream);
    } else if (cuttle_asan_poison) {
      cuttle_asan_poison(block, bytes);
      cuttle_asan_unpoison(block, used);
    }
  }

  Device device_;
  mutable std::mutex mutex_;
  std::vector<Shelf> shelves_;
  PoolStatistics statistics_;
};

// Never destroyed: tensors in a user's static variables may outlive any order of destruction.
inline Pool& pool_of(Device device) {
  if (device.is_cpu()) {
    static Pool& cpu = *new Pool(Device::cpu());
    return cpu;
  }
  static std::mutex& mutex = *new std::mutex;
  static std::vector<Pool*>& pools = *new std::vector<Pool*>;
  std::lock_guard lock(mutex);
  while (static_cast<int>(pools.size()) <= device.index)
    pools.push_back(new Pool(Device::cuda(static_cast<int>(pools.size()))));
  return *pools[static_cast<std::size_t>(device.index)];
}

}  // namespace detail

// Counters of the device's pool; a training step that allocates nothing leaves `allocations` as it was.
inline PoolStatistics pool_statistics(Device device = Device::cpu()) { return detail::pool_of(device).statistics(); }

// Returns the pool's unused blocks to the system.
inline void trim_pool(Device device = Device::cpu()) { detail::pool_of(device).trim(); }

}  // namespace cuttle
