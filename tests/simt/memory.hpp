// The device's memory. Addresses that leave here are the real ones plus an offset that no program has mapped: the host
// faults on them, and only Global and the copies of the table take the offset off, after they have found the buffer and
// checked that the bytes are its own. Fresh memory is full of 0xFF, which is NaN in every float.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>
#include <new>

#include "tests/simt/machine.hpp"

namespace cuttle_simt {

struct Buffer {
  std::uintptr_t begin;  // the device's address
  std::size_t bytes;     // from the allocator
  std::size_t used;      // may be touched, from the first
  unsigned char* block;  // the host's; also what keeps it from being taken for a leak
};

class Memory {
 public:
  static constexpr std::uintptr_t offset = std::uintptr_t{0x00DE} << 48;

  static Memory& the() {
    static Memory& memory = *new Memory;
    return memory;
  }

  static bool is_device_address(const void* p) { return reinterpret_cast<std::uintptr_t>(p) >> 48 == offset >> 48; }
  static unsigned char* real(std::uintptr_t address) { return reinterpret_cast<unsigned char*>(address - offset); }

  void* allocate(std::size_t bytes) {
    const std::size_t whole = (bytes + 2 * guard + alignment - 1) / alignment * alignment;
    auto* block = static_cast<unsigned char*>(std::aligned_alloc(alignment, whole));
    if (!block) throw std::bad_alloc();
    std::memset(block, guard_byte, guard);
    std::memset(block + guard, 0xFF, bytes);
    std::memset(block + guard + bytes, guard_byte, whole - guard - bytes);
    const std::uintptr_t address = reinterpret_cast<std::uintptr_t>(block + guard) + offset;
    std::lock_guard lock(Machine::the().mutex);
    buffers_[address] = {address, bytes, bytes, block};
    forget();
    return reinterpret_cast<void*>(address);
  }

  void release(void* memory) {
    std::lock_guard lock(Machine::the().mutex);
    const Buffer& buffer = whole_buffer("release", memory);
    check_guards(buffer);
    std::free(buffer.block);
    buffers_.erase(buffer.begin);
    forget();
  }

  // From now on the first `used` bytes may be touched; their contents are undefined.
  void mark(void* memory, std::size_t used) {
    std::lock_guard lock(Machine::the().mutex);
    Buffer& buffer = whole_buffer("mark", memory);
    if (used > buffer.bytes) fail("mark: ", used, " bytes of a buffer of ", buffer.bytes);
    buffer.used = used;
    std::memset(real(buffer.begin), 0xFF, used);
  }

  // Null where the address is neither in a buffer nor just behind one.
  Buffer* find(std::uintptr_t address) {
    Found& found = found_[(address ^ address >> 9) >> 2 & (found_size - 1)];
    if (found.address != address) found = {address, search(address)};
    return found.buffer;
  }

  // Host access to `bytes` bytes at a device's address; null stays null where nothing is to be touched.
  template <class T>
  T* host_view(const char* what, T* address, std::size_t bytes) {
    if (bytes == 0) return nullptr;
    const auto at = reinterpret_cast<std::uintptr_t>(address);
    const Buffer* buffer = find(at);
    if (!buffer || at - buffer->begin > buffer->used || bytes > buffer->used - (at - buffer->begin))
      fail_access(what, at, bytes);
    check_guards(*buffer);
    return reinterpret_cast<T*>(real(at));
  }

  [[noreturn, gnu::cold, gnu::noinline]] void fail_access(const char* what, std::uintptr_t address, std::size_t bytes) {
    const Buffer* buffer = find(address);
    if (!buffer) {
      auto after = buffers_.upper_bound(address);
      if (after != buffers_.end() && after->first - address <= guard)
        fail(what, " of ", bytes, " bytes, ", after->first - address, " bytes before a buffer of ", after->second.used);
      if (after != buffers_.begin()) {
        const Buffer& before = std::prev(after)->second;
        if (address - before.begin - before.bytes <= guard) buffer = &before;
      }
    }
    if (buffer)
      fail(what, " of ", bytes, " bytes at byte ", address - buffer->begin, " of a buffer of ", buffer->used,
           buffer->used == 0 ? " (it was given back)" : "");
    const auto* pointer = reinterpret_cast<const void*>(address);
    if (address == 0) fail(what, " of ", bytes, " bytes at a null pointer");
    if (!is_device_address(pointer)) fail(what, " of ", bytes, " bytes at ", pointer, ", which is host memory");
    fail(what, " of ", bytes, " bytes at ", pointer, ", which is in no buffer");
  }

 private:
  static constexpr std::size_t alignment = 256, guard = 256, found_size = 256;
  static constexpr unsigned char guard_byte = 0xA5;
  struct Found {
    std::uintptr_t address = 0;
    Buffer* buffer = nullptr;
  };

  Buffer* search(std::uintptr_t address) {
    auto after = buffers_.upper_bound(address);
    if (after == buffers_.begin()) return nullptr;
    Buffer& buffer = std::prev(after)->second;
    return address - buffer.begin <= buffer.bytes ? &buffer : nullptr;
  }

  Buffer& whole_buffer(const char* what, void* memory) {
    const auto found = buffers_.find(reinterpret_cast<std::uintptr_t>(memory));
    if (found == buffers_.end()) fail(what, ": ", memory, " is no buffer of the device");
    return found->second;
  }

  static void check_guards(const Buffer& buffer) {
    const unsigned char* first = real(buffer.begin);
    for (std::size_t i = 1; i <= guard; ++i)
      if (first[-static_cast<std::ptrdiff_t>(i)] != guard_byte || first[buffer.bytes + i - 1] != guard_byte)
        fail("something wrote beyond a buffer of ", buffer.bytes, " bytes");
  }

  void forget() {
    for (Found& found : found_) found = {};
  }

  std::map<std::uintptr_t, Buffer> buffers_;
  Found found_[found_size];
};

}  // namespace cuttle_simt
