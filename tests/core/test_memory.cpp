#include "cuttle/core/memory.hpp"

#include <cstring>
#include <set>
#include <thread>

#include "cuttle/core/tensor.hpp"
#include "tests/support/catch.hpp"

// Null but in a program with the address sanitizer.
extern "C" int asan_is_poisoned(const volatile void*) __asm__("__asan_address_is_poisoned") __attribute__((weak));

using cuttle::pool_statistics;
using cuttle::Tensor;
using cuttle::trim_pool;
using cuttle::detail::Pool;

TEST_CASE("pool: a size is rounded up by at most an eighth or 256 bytes, and rounding again changes nothing") {
  for (std::size_t bytes : {1u, 255u, 256u, 257u, 4095u, 4096u, 4097u, 5000u, 65535u, 65537u, 1000003u, 123456789u}) {
    const std::size_t rounded = Pool::rounded(bytes);
    CHECK(rounded >= bytes);
    CHECK(rounded - bytes < std::max<std::size_t>(256, bytes / 8 + 1));
    CHECK(rounded % Pool::alignment == 0);
    CHECK(Pool::rounded(rounded) == rounded);
  }
}

TEST_CASE("pool: blocks are aligned, distinct and whole") {
  // 300 B to 9 MB, the last beyond the limit for huge pages.
  std::vector<Tensor<unsigned char>> tensors;
  for (std::int64_t bytes : {1, 300, 300, 5000, 70001, 9000001})
    tensors.push_back(Tensor<unsigned char>::full({bytes}, static_cast<unsigned char>(tensors.size())));
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    CHECK(reinterpret_cast<std::uintptr_t>(tensors[i].data()) % Pool::alignment == 0);
    const auto span = tensors[i].span();
    CHECK(std::all_of(span.begin(), span.end(), [&](unsigned char byte) { return byte == i; }));
  }
}

TEST_CASE("pool: the second round of a loop allocates nothing") {
  const auto step = [] {
    const auto a = Tensor<float>::empty({33, 129});
    auto b = Tensor<double>::empty({515});
    b = Tensor<double>::zeros({515});
    const auto c = a.clone();
    const auto view = c.reshape({129, 33}).slice(1, 5);
    return view.numel();
  };
  step();
  const auto before = pool_statistics();
  for (int round = 0; round < 20; ++round) CHECK(step() == 4 * 33);
  const auto after = pool_statistics();
  CHECK(after.allocations == before.allocations);
  CHECK(after.bytes_held == before.bytes_held);
  CHECK(after.requests > before.requests);
}

TEST_CASE("pool: shapes that differ a little share a block") {
  trim_pool();
  const void* first = Tensor<char>::empty({100000}).data();
  const auto before = pool_statistics();
  for (std::int64_t bytes : {100001, 99000, 101000}) CHECK(Tensor<char>::empty({bytes}).data() == first);
  CHECK(pool_statistics().allocations == before.allocations);
}

TEST_CASE("trim_pool: gives back what is free and keeps what is used") {
  trim_pool();
  const auto kept = Tensor<float>::full({1000}, 3.0f);
  const auto held = pool_statistics().bytes_held;
  { const auto dropped = Tensor<float>::empty({1 << 20}); }
  CHECK(pool_statistics().bytes_held >= held + (4u << 20));
  trim_pool();
  CHECK(pool_statistics().bytes_held == held);
  CHECK(std::all_of(kept.span().begin(), kept.span().end(), [](float x) { return x == 3.0f; }));
  const auto again = Tensor<float>::empty({1 << 20});
  CHECK(pool_statistics().bytes_held >= held + (4u << 20));
}

TEST_CASE("pool: the address sanitizer sees the end of a tensor, and its death") {
  if (!asan_is_poisoned) CUTTLE_SKIP("the address sanitizer is not in this build");
  const char* memory = nullptr;
  {
    const auto tensor = Tensor<char>::empty({515});
    memory = tensor.data();
    CHECK_FALSE(asan_is_poisoned(memory));
    CHECK_FALSE(asan_is_poisoned(memory + 514));
    CHECK(asan_is_poisoned(memory + 515));
    CHECK(asan_is_poisoned(memory + 767));
  }
  CHECK(asan_is_poisoned(memory));
  const auto again = Tensor<char>::full({600}, 'x');
  CHECK(again.data() == memory);
  CHECK_FALSE(asan_is_poisoned(memory + 599));
}

TEST_CASE("pool: a request that no machine meets throws, and leaves the counters as they were") {
  const auto before = pool_statistics();
  CHECK_THROWS_AS(Tensor<double>::empty({std::int64_t{1} << 45}), std::bad_alloc);
  CHECK(pool_statistics().bytes_held <= before.bytes_held);
  CHECK(Tensor<double>::full({10}, 1.0).span()[9] == 1.0);
}

TEST_CASE("pool: many threads take and give at once without sharing a live block") {
  std::atomic<int> wrong{0};
  const auto user = [&](int id) {
    for (int round = 0; round < 500; ++round) {
      const auto tensor = Tensor<int>::full({64 + round % 7}, id * 1000 + round);
      for (int value : tensor.span())
        if (value != id * 1000 + round) ++wrong;
    }
  };
  std::vector<std::thread> threads;
  for (int id = 0; id < 4; ++id) threads.emplace_back(user, id);
  for (std::thread& thread : threads) thread.join();
  CHECK(wrong == 0);
}
