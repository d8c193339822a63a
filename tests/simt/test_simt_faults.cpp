// Faults planted in small kernels: the emulator names each of them.
#include "tests/simt/vocab.hpp"
// The words come first.
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <numeric>
#include <string>
#include <vector>

#include "cuttle/core/tensor.hpp"
#include "tests/simt/orders.hpp"
#include "tests/support/catch.hpp"

using cuttle::Device;
using cuttle::Error;
using cuttle::Tensor;
using cuttle_test::contains;
using cuttle_test::in_every_order;

namespace cuttle::kernels {
namespace {

// Sum of n = blockDim.x numbers by a tree, with or without the barrier that each level needs.
template <bool barrier>
CUTTLE_KERNEL tree_sum_in_shared(const float* from, float* to) {
  const Global<const float> x = from;
  const Global<float> y = to;
  CUTTLE_SHARED(float, sum, 256);
  sum[threadIdx.x] = x[threadIdx.x];
  __syncthreads();
  for (unsigned half = blockDim.x / 2; half > 0; half /= 2) {
    if (threadIdx.x < half) sum[threadIdx.x] += sum[threadIdx.x + half];
    if (barrier || half == 1) __syncthreads();
  }
  if (threadIdx.x == 0) y[0] = sum[0];
}

template <bool barrier>
CUTTLE_KERNEL tree_sum_in_global(float* memory) {
  const Global<float> sum = memory;
  for (unsigned half = blockDim.x / 2; half > 0; half /= 2) {
    if (threadIdx.x < half) sum[threadIdx.x] += sum[threadIdx.x + half];
    if (barrier) __syncthreads();
  }
}

CUTTLE_KERNEL read_shared_at(int offset) {
  CUTTLE_SHARED(float, tile, 64);
  CUTTLE_SHARED(float, beside, 64);
  tile[threadIdx.x] = 1;
  beside[threadIdx.x] = 2;
  __syncthreads();
  const float neighbour = tile[static_cast<int>(threadIdx.x) + offset];
  beside[threadIdx.x] = neighbour;
}

CUTTLE_KERNEL read_dynamic_shared_at(unsigned i) {
  CUTTLE_DYNAMIC_SHARED(double, scratch);
  const double value = scratch[i];
  if (value == 1) scratch[0] = 1;
}

CUTTLE_KERNEL read_shared_as_int_at_byte(int byte) {
  CUTTLE_SHARED(unsigned char, bytes, 64);
  const int value = *shared_cast<int>(bytes + byte);
  if (value == 1) bytes[0] = 1;
}

CUTTLE_KERNEL double_all(float* memory, std::int64_t n, std::int64_t first) {
  const Global<float> x = memory;
  for (std::int64_t i = first + threadIdx.x; i < n; i += blockDim.x) x[i] *= 2.0f;
}

CUTTLE_KERNEL copy_all(const float* from, float* to, std::int64_t n) {
  const Global<const float> x = from;
  const Global<float> y = to;
  for (std::int64_t i = threadIdx.x; i < n; i += blockDim.x) y[i] = x[i];
}

CUTTLE_KERNEL read_pack_at(const float* from, float* to, int i) {
  const Global<const float> x = from;
  const Global<float> y = to;
  const auto pack = load_pack<4>(x + i);
  y[threadIdx.x] = pack.at[0];
}

CUTTLE_KERNEL barriers_at_two_lines() {
  if (threadIdx.x < 40)
    __syncthreads();
  else
    __syncthreads();
}

CUTTLE_KERNEL barrier_for_some(unsigned n) {
  if (threadIdx.x < n) __syncthreads();
}

CUTTLE_KERNEL barrier_beside_shuffle(int* to) {
  if (threadIdx.x == 5)
    __syncthreads();
  else
    Global<int>{to}[threadIdx.x] = __shfl_xor_sync(full_mask, 1, 1);
}

CUTTLE_KERNEL shuffle_with_mask(unsigned mask, int* to) {
  Global<int>{to}[threadIdx.x] = __shfl_down_sync(mask, static_cast<int>(threadIdx.x), 1);
}

CUTTLE_KERNEL shuffle_from(int lane, int* to) {
  Global<int>{to}[threadIdx.x] = __shfl_sync(full_mask, static_cast<int>(threadIdx.x), lane);
}

CUTTLE_KERNEL shuffle_without_lane(unsigned missing) {
  if (threadIdx.x != missing) __ballot_sync(full_mask, 1);
}

CUTTLE_KERNEL shuffles_at_two_lines(int* to) {
  if (threadIdx.x % 2 == 0)
    Global<int>{to}[threadIdx.x] = __shfl_xor_sync(full_mask, 1, 1);
  else
    Global<int>{to}[threadIdx.x] = __shfl_xor_sync(full_mask, 2, 1);
}

enum class Race { two_writes, read_then_write, write_then_read, warps_by_syncwarp, lanes_by_shuffle, update, none };

CUTTLE_KERNEL race(Race kind, float* to) {
  CUTTLE_SHARED(float, cell, 2);
  CUTTLE_SHARED(unsigned, count, 1);
  const unsigned t = threadIdx.x;
  const Global<float> y = to;
  if (t == 0) cell[0] = 0, cell[1] = 0, count[0] = 0;
  __syncthreads();
  switch (kind) {
    case Race::two_writes:
      if (t == 3 || t == 40) cell[0] = 1;
      break;
    case Race::read_then_write:
    case Race::write_then_read:
      if (t == (kind == Race::read_then_write ? 3 : 40)) y[t] = cell[0];
      if (t == (kind == Race::read_then_write ? 40 : 3)) cell[0] = 1;
      break;
    case Race::warps_by_syncwarp:
      if (t == 3) cell[0] = 1;
      __syncwarp();
      if (t == 40) y[t] = cell[0];
      break;
    case Race::lanes_by_shuffle:
      if (t == 3) cell[0] = 1;
      y[t] = __shfl_xor_sync(full_mask, 1.0f, 1);
      if (t == 4) y[t] = cell[0];
      break;
    case Race::update:
      if (t == 3) atomicAdd(count, 1u);
      if (t == 40) count[0] = 1;
      break;
    case Race::none:
      // Neighbours, a barrier, lanes that meet, atomic updates, and one thread alone.
      if (t == 3) cell[0] = 1;
      if (t == 4) cell[1] = 1;
      atomicAdd(count, 1u);
      __syncthreads();
      y[t] = cell[0] + cell[1];
      __syncthreads();
      if (t == 3) cell[0] = 2;
      __syncwarp();
      if (t == 4) y[t] = cell[0];
      break;
  }
}

// Bytes of one word, written by different threads.
CUTTLE_KERNEL bytes_of_a_word(bool clash, float* to) {
  CUTTLE_SHARED(float, words, 32);
  const Shared<half_t> halves = shared_cast<half_t>(words);
  if (threadIdx.x < 64) halves[threadIdx.x] = to_half(static_cast<float>(threadIdx.x));
  if (!clash) __syncthreads();
  if (threadIdx.x == 0) Global<float>{to}[0] = words[1];
}

CUTTLE_KERNEL read_unwritten_shared(float* to) {
  CUTTLE_SHARED(float, tile, 32);
  if (blockIdx.x == 0) tile[threadIdx.x] = 1;
  __syncthreads();
  Global<float>{to}[blockIdx.x * blockDim.x + threadIdx.x] = tile[threadIdx.x];
}

template <bool wait>
CUTTLE_KERNEL copy_through_shared(const float* from, float* to) {
  const Global<const float> x = from;
  const Global<float> y = to;
  CUTTLE_SHARED(float, tile, 128);
  const unsigned i = threadIdx.x * 4;
  tile[i] = 7;
  copy_async(tile + i, x + i);
  copy_async_commit();
  if (wait) copy_async_wait<0>();
  y[threadIdx.x] = tile[i];
}

// Reads what another thread copies: the wait of that thread is no barrier.
CUTTLE_KERNEL copy_without_barrier(const float* from, float* to) {
  CUTTLE_SHARED(float, tile, 128);
  copy_async(tile + threadIdx.x * 4, Global<const float>(from) + threadIdx.x * 4);
  copy_async_commit();
  copy_async_wait<0>();
  Global<float>{to}[threadIdx.x] = tile[127 - threadIdx.x];
}

struct NotStandard {};
struct CountsItself {
  explicit CountsItself(int* living) : living_(living) { ++*living_; }
  ~CountsItself() { --*living_; }
  CountsItself(const CountsItself&) = delete;
  CountsItself& operator=(const CountsItself&) = delete;
  int* living_;
};
// One thread throws while all others of its block wait at a barrier or have not begun.
CUTTLE_KERNEL throw_in_thread(int* living, bool standard) {
  const CountsItself one(living);
  if (blockIdx.x == 2 && threadIdx.x == 33) {
    if (!standard) throw NotStandard();
    throw std::runtime_error("out of luck");
  }
  __syncthreads();
}

CUTTLE_KERNEL do_nothing() {}

CUTTLE_KERNEL launch_again() { launch("inner", &do_nothing, 1, 32, 0, nullptr); }

}  // namespace
}  // namespace cuttle::kernels

using namespace cuttle::kernels;

namespace {

Tensor<float> on_device(const std::vector<float>& values) {
  return Tensor<float>::from({static_cast<std::int64_t>(values.size())}, values).to(Device::cuda());
}
std::vector<float> on_host(const Tensor<float>& tensor) {
  const Tensor<float> host = tensor.to(Device::cpu());
  return {host.span().begin(), host.span().end()};
}
std::vector<float> counted(std::size_t n) {
  std::vector<float> values(n);
  std::iota(values.begin(), values.end(), 1.0f);
  return values;
}

}  // namespace

TEST_CASE("simt: a missing barrier is a race in every order, and without it the sum is right") {
  const Tensor<float> x = on_device(counted(256));
  Tensor<float> y = Tensor<float>::zeros({1}, Device::cuda());
  in_every_order([&] {
    launch("tree", &tree_sum_in_shared<true>, 1, 256, 0, nullptr, x.data(), y.data());
    CHECK(y.item() == 256 * 257 / 2);
    CHECK_THROWS_WITH(launch("tree", &tree_sum_in_shared<false>, 1, 256, 0, nullptr, x.data(), y.data()),
                      contains("tree: block (0,0,0), thread") && contains("race on shared array sum") &&
                          contains("with no barrier between"));
  });
}

TEST_CASE("simt: a missing barrier that nothing reports is right in one order and wrong in others") {
  std::vector<bool> right;
  in_every_order([&] {
    const Tensor<float> good = on_device(counted(256)), bad = on_device(counted(256));
    launch("tree", &tree_sum_in_global<true>, 1, 256, 0, nullptr, const_cast<float*>(good.data()));
    CHECK(on_host(good)[0] == 256 * 257 / 2);
    launch("tree", &tree_sum_in_global<false>, 1, 256, 0, nullptr, const_cast<float*>(bad.data()));
    right.push_back(on_host(bad)[0] == 256 * 257 / 2);
  });
  CHECK(right == std::vector<bool>{false, true, false, false});
}

TEST_CASE("simt: an index beyond a shared array is named with the thread") {
  CHECK_NOTHROW(launch("shift", &read_shared_at, 1, 32, 0, nullptr, 32));
  CHECK_THROWS_WITH(launch("shift", &read_shared_at, 3, 64, 0, nullptr, 1),
                    contains("shift: block (0,0,0), thread (63,0,0): read of 4 bytes at byte 256 of shared array tile, "
                             "which has 256 (index 64 of 64)"));
  CHECK_THROWS_WITH(launch("shift", &read_shared_at, 1, 64, 0, nullptr, -1),
                    contains("thread (0,0,0): read of 4 bytes at byte -4 of shared array tile"));
  CHECK_NOTHROW(launch("dynamic", &read_dynamic_shared_at, 1, 32, 80, nullptr, 9u));
  CHECK_THROWS_WITH(launch("dynamic", &read_dynamic_shared_at, 1, 32, 80, nullptr, 10u),
                    contains("shared array scratch, which has 80"));
  CHECK_THROWS_WITH(launch("dynamic", &read_dynamic_shared_at, 1, 32, 0, nullptr, 0u),
                    contains("shared array scratch, which has 0"));
  CHECK_NOTHROW(launch("cast", &read_shared_as_int_at_byte, 1, 32, 0, nullptr, 60));
  CHECK_THROWS_WITH(launch("cast", &read_shared_as_int_at_byte, 1, 32, 0, nullptr, 6), contains("not a multiple of 4"));
}

TEST_CASE("simt: an access past a tensor's own bytes is caught though its block of the pool is larger") {
  Tensor<float> x = Tensor<float>::zeros({33}, Device::cuda());
  CHECK_NOTHROW(launch("twice", &double_all, 1, 32, 0, nullptr, x.data(), std::int64_t{33}, std::int64_t{0}));
  CHECK_THROWS_WITH(launch("twice", &double_all, 1, 32, 0, nullptr, x.data(), std::int64_t{34}, std::int64_t{0}),
                    contains("twice: block (0,0,0), thread (1,0,0): read of 4 bytes at byte 132 of a buffer of 132"));
  CHECK_THROWS_WITH(launch("twice", &double_all, 1, 32, 0, nullptr, x.data(), std::int64_t{33}, std::int64_t{-1}),
                    contains("thread (0,0,0): read of 4 bytes, 4 bytes before a buffer of 132"));
  // From one buffer into the next.
  const Tensor<float> other = Tensor<float>::zeros({33}, Device::cuda());
  CHECK_THROWS_WITH(launch("twice", &double_all, 1, 32, 0, nullptr, x.data(), std::int64_t{1} << 62,
                           static_cast<std::int64_t>(other.data() - x.data())),
                    contains("read of 4 bytes"));
  CHECK_NOTHROW(launch("pack", &read_pack_at, 1, 32, 0, nullptr, other.data(), x.data(), 28));
  CHECK_THROWS_WITH(launch("pack", &read_pack_at, 1, 32, 0, nullptr, other.data(), x.data(), 32),
                    contains("read of 16 bytes at byte 128 of a buffer of 132"));
  CHECK_THROWS_WITH(launch("pack", &read_pack_at, 1, 32, 0, nullptr, other.data(), x.data(), 2),
                    contains("not a multiple of 16"));
}

TEST_CASE("simt: memory that was given back, and memory of the host") {
  float* memory = nullptr;
  {
    Tensor<float> x = Tensor<float>::zeros({64}, Device::cuda());
    memory = x.data();
  }
  CHECK_THROWS_WITH(launch("twice", &double_all, 1, 32, 0, nullptr, memory, std::int64_t{64}, std::int64_t{0}),
                    contains("given back"));
  cuttle::trim_pool(Device::cuda());
  CHECK_THROWS_WITH(launch("twice", &double_all, 1, 32, 0, nullptr, memory, std::int64_t{64}, std::int64_t{0}),
                    contains("read of 4 bytes"));
  float here[64] = {};
  CHECK_THROWS_WITH(launch("twice", &double_all, 1, 32, 0, nullptr, &here[0], std::int64_t{64}, std::int64_t{0}),
                    contains("which is host memory"));
  CHECK_THROWS_WITH(
      launch("twice", &double_all, 1, 32, 0, nullptr, static_cast<float*>(nullptr), std::int64_t{64}, std::int64_t{0}),
      contains("null pointer"));
}

TEST_CASE("simt: the host faults on the device's memory") {
  const Tensor<float> x = Tensor<float>::zeros({64}, Device::cuda());
  const pid_t child = ::fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    std::signal(SIGSEGV, SIG_DFL);
    std::signal(SIGBUS, SIG_DFL);
    ::close(STDERR_FILENO);
    const volatile float* p = x.data();
    ::_exit(*p == 0 ? 0 : 1);
  }
  int status = 0;
  REQUIRE(::waitpid(child, &status, 0) == child);
  CHECK(WIFSIGNALED(status));
}

TEST_CASE("simt: barriers that not all threads of a block reach together") {
  in_every_order([&] {
    CHECK_THROWS_WITH(launch("split", &barriers_at_two_lines, 1, 64, 0, nullptr),
                      contains("__syncthreads at test_simt_faults.cpp:") && contains(", while thread ") &&
                          contains("all threads of a block meet at one barrier"));
    CHECK_THROWS_WITH(launch("some", &barrier_for_some, 1, 64, 0, nullptr, 40u),
                      contains("thread 0 waits in __syncthreads at test_simt_faults.cpp:") &&
                          contains("for all threads of its block, but thread 40 has finished"));
    CHECK_NOTHROW(launch("some", &barrier_for_some, 2, 64, 0, nullptr, 64u));
    Tensor<int> y = Tensor<int>::zeros({64}, Device::cuda());
    CHECK_THROWS_WITH(launch("beside", &barrier_beside_shuffle, 1, 32, 0, nullptr, y.data()),
                      contains("thread 0 waits in __shfl_xor_sync") &&
                          contains("for all 32 lanes of its warp, but thread 5 waits in __syncthreads"));
  });
}

TEST_CASE("simt: shuffles and votes without all lanes of a warp") {
  Tensor<int> y = Tensor<int>::zeros({64}, Device::cuda());
  in_every_order([&] {
    CHECK_NOTHROW(launch("mask", &shuffle_with_mask, 1, 64, 0, nullptr, full_mask, y.data()));
    CHECK_THROWS_WITH(launch("mask", &shuffle_with_mask, 1, 64, 0, nullptr, 0xFFFFu, y.data()),
                      contains("__shfl_down_sync at") && contains("only the full mask"));
    CHECK_THROWS_WITH(launch("from", &shuffle_from, 1, 32, 0, nullptr, 32, y.data()), contains("there is no lane 32"));
    CHECK_THROWS_WITH(launch("missing", &shuffle_without_lane, 1, 64, 0, nullptr, 37u),
                      contains("waits in __ballot_sync") && contains("but thread 37 has finished"));
    CHECK_THROWS_WITH(launch("lines", &shuffles_at_two_lines, 1, 32, 0, nullptr, y.data()),
                      contains("all 32 lanes meet at one place"));
  });
}

TEST_CASE("simt: races on shared memory") {
  Tensor<float> y = Tensor<float>::zeros({64}, Device::cuda());
  const auto run = [&](Race kind) { launch("race", &race, 1, 64, 0, nullptr, kind, y.data()); };
  in_every_order([&] {
    CHECK_THROWS_WITH(run(Race::two_writes), contains("race on shared array cell: write of 4 bytes at byte 0") &&
                                                 contains("thread 3") && contains("thread 40"));
    CHECK_THROWS_WITH(run(Race::read_then_write),
                      contains("race on shared array cell") && contains("thread 3") && contains("thread 40"));
    CHECK_THROWS_WITH(run(Race::write_then_read),
                      contains("race on shared array cell") && contains("thread 3") && contains("thread 40"));
    CHECK_THROWS_WITH(run(Race::warps_by_syncwarp),
                      contains("race on shared array cell") && contains("thread 3") && contains("thread 40"));
    CHECK_THROWS_WITH(run(Race::lanes_by_shuffle), contains("thread 4, which thread 3 wrote"));
    CHECK_THROWS_WITH(run(Race::update),
                      contains("race on shared array count") && contains("thread 3") && contains("thread 40"));
    CHECK_NOTHROW(run(Race::none));
    CHECK_NOTHROW(launch("bytes", &bytes_of_a_word, 1, 64, 0, nullptr, false, y.data()));
  });
  cuttle_simt::set_order(cuttle_simt::Order::reverse);
  CHECK_THROWS_WITH(launch("bytes", &bytes_of_a_word, 1, 64, 0, nullptr, true, y.data()),
                    contains("race on shared array words"));
  cuttle_simt::set_order(cuttle_simt::Order::forward);
}

TEST_CASE("simt: memory that nothing was written to is NaN, in every block anew") {
  Tensor<float> y = Tensor<float>::zeros({64}, Device::cuda());
  launch("unwritten", &read_unwritten_shared, 2, 32, 0, nullptr, y.data());
  const std::vector<float> values = on_host(y);
  CHECK(values[31] == 1);
  CHECK(std::isnan(values[32]));
  // A block of the pool that another tensor has filled.
  for (int round = 0; round < 2; ++round) {
    Tensor<float> fresh = Tensor<float>::empty({77}, Device::cuda());
    for (const float value : on_host(fresh)) CHECK(std::isnan(value));
    fresh.fill(1);
  }
}

TEST_CASE("simt: an asynchronous copy is not there before it was waited for") {
  const Tensor<float> x = on_device(counted(128));
  Tensor<float> y = Tensor<float>::zeros({32}, Device::cuda());
  in_every_order([&] {
    launch("copy", &copy_through_shared<true>, 1, 32, 0, nullptr, x.data(), y.data());
    CHECK(on_host(y)[31] == 125);
    launch("copy", &copy_through_shared<false>, 1, 32, 0, nullptr, x.data(), y.data());
    for (const float value : on_host(y)) CHECK(std::isnan(value));
    CHECK_THROWS_WITH(launch("copy", &copy_without_barrier, 1, 32, 0, nullptr, x.data(), y.data()),
                      contains("race on shared array tile"));
  });
}

TEST_CASE("simt: an exception in one thread ends the launch and unwinds the others") {
  int living = 0;
  in_every_order([&] {
    CHECK_THROWS_WITH(launch("unlucky", &throw_in_thread, 5, 64, 0, nullptr, &living, true),
                      contains("unlucky: block (2,0,0), thread (33,0,0): out of luck"));
    CHECK(living == 0);
    CHECK_THROWS_AS(launch("unlucky", &throw_in_thread, 5, 64, 0, nullptr, &living, false), Error);
    CHECK(living == 0);
    CHECK_NOTHROW(launch("lucky", &throw_in_thread, 2, 64, 0, nullptr, &living, true));
  });
}

TEST_CASE("simt: launches that no device would take") {
  for (const dim3 block : {dim3(33), dim3(0), dim3(16), dim3(2048), dim3(32, 32, 2), dim3(31, 1, 1)})
    CHECK_THROWS_WITH(launch("odd", &do_nothing, 1, block, 0, nullptr), contains("not a multiple of 32 up to 1024"));
  CHECK_THROWS_WITH(launch("tall", &do_nothing, dim3(1, 65536), 32, 0, nullptr), contains("a grid of (1,65536,1)"));
  CHECK_THROWS_WITH(launch("greedy", &do_nothing, 1, 32, 163 * 1024 + 1, nullptr), contains("bytes of shared memory"));
  CHECK_THROWS_WITH(launch("outer", &launch_again, 1, 32, 0, nullptr), contains("a kernel cannot launch a kernel"));
  CHECK_NOTHROW(launch("empty", &do_nothing, 0, 32, 0, nullptr));
  CHECK_NOTHROW(launch("largest", &do_nothing, 2, dim3(32, 16, 2), 163 * 1024, nullptr));
}
