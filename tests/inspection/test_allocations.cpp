// What a detector asks of the system for an image when it has seen one of that size: nothing.
#include <atomic>
#include <cstdlib>
#include <new>

#include "cuttle/models/detector.hpp"
#include "tests/inspection/small_detectors.hpp"
#include "tests/support/catch.hpp"

namespace {

std::atomic<bool> counting{false};
std::atomic<int> allocations{0};

void* counted(std::size_t bytes, std::size_t alignment) {
  if (counting.load(std::memory_order_relaxed)) allocations.fetch_add(1, std::memory_order_relaxed);
  alignment = alignment < sizeof(void*) ? sizeof(void*) : alignment;
  void* memory = std::aligned_alloc(alignment, (bytes + alignment) / alignment * alignment);
  if (!memory) throw std::bad_alloc();
  return memory;
}

}  // namespace

// Not to be inlined: g++ would take the free() of one for a mismatch with the new of the other.
#define CUTTLE_OUT_OF_LINE __attribute__((noinline))
CUTTLE_OUT_OF_LINE void* operator new(std::size_t bytes) { return counted(bytes, alignof(std::max_align_t)); }
CUTTLE_OUT_OF_LINE void* operator new(std::size_t bytes, std::align_val_t alignment) {
  return counted(bytes, static_cast<std::size_t>(alignment));
}
CUTTLE_OUT_OF_LINE void operator delete(void* memory) noexcept { std::free(memory); }
CUTTLE_OUT_OF_LINE void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }
CUTTLE_OUT_OF_LINE void operator delete(void* memory, std::align_val_t) noexcept { std::free(memory); }
CUTTLE_OUT_OF_LINE void operator delete(void* memory, std::size_t, std::align_val_t) noexcept { std::free(memory); }

using namespace cuttle;

TEST_CASE("Detector: no image after the first takes memory from the system") {
  const int before = num_threads();
  for (const int threads : {1, 2})
    for (const auto& [name, detector] : cuttle_test::small_detectors()) {
      set_num_threads(threads);
      const Image frame = cuttle_test::integer_tensor<std::uint8_t>({90, 75, 3}, 5, 0, 255);
      // Blue first, upside down: the whole way from a camera's memory.
      const ImageView view{frame.data() + 89 * 75 * 3, 90, 75, PixelFormat::bgr8, -75 * 3};
      Detection detection;
      for (int i = 0; i < 2; ++i) detector.score(view, detection);
      const PoolStatistics pool = pool_statistics();
      allocations = 0;
      counting = true;
      for (int i = 0; i < 10; ++i) detector.score(view, detection);
      counting = false;
      INFO(name << " with " << threads << " threads");
      CHECK(allocations == 0);
      CHECK(pool_statistics().allocations == pool.allocations);
      CHECK(pool_statistics().bytes_held == pool.bytes_held);
      CHECK(pool_statistics().requests > pool.requests);  // it does count
    }
  set_num_threads(before);
}

TEST_CASE("the count of allocations counts") {
  allocations = 0;
  counting = true;
  ::operator delete(::operator new(4));  // a new-expression may be optimised away
  counting = false;
  CHECK(allocations == 1);
}
