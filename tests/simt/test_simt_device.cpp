// The emulator as a device: its memory, streams, recorded work and convolutions, through the library and its table.
#include "tests/simt/vocab.hpp"
// The words come first.
#include <cmath>
#include <cstring>
#include <thread>
#include <vector>

#include "cuttle/core/graph.hpp"
#include "cuttle/core/random.hpp"
#include "cuttle/core/tensor.hpp"
#include "tests/simt/orders.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/conv2d_oracle.hpp"

using cuttle::Device;
using cuttle::RecordedWork;
using cuttle::StreamScope;
using cuttle::Tensor;
using cuttle::seam::StepState;
using cuttle_test::contains;
using cuttle_test::in_every_order;

namespace cuttle::kernels {
namespace {

// x += 0.1 * sin-like function of the step, which is given by value or lies in the device's memory.
CUTTLE_KERNEL add_step(float* memory, std::int64_t n, std::int64_t step, const StepState* state) {
  const Global<float> x = memory;
  if (state) step = Global<const StepState>(state)->step;
  for (std::int64_t i = threadIdx.x; i < n; i += blockDim.x)
    x[i] = fma(0.37f, tanh(x[i]), 1.0f / static_cast<float>(step + i + 1));
}

CUTTLE_KERNEL next_step(StepState* memory) {
  const Global<StepState> state = memory;
  StepState now = *state;
  ++now.step;
  __syncwarp();
  if (threadIdx.x == 0) *state = now;
}

CUTTLE_KERNEL add(const float* from, float* to, std::int64_t n) {
  for (std::int64_t i = threadIdx.x; i < n; i += blockDim.x) Global<float>{to}[i] += Global<const float>(from)[i];
}

}  // namespace
}  // namespace cuttle::kernels

using cuttle::kernels::launch;

namespace {

const Device device = Device::cuda();
const cuttle::seam::Table& table() { return cuttle::table_of(device); }

template <class T>
Tensor<T> random_tensor(const cuttle::Shape& shape, std::uint32_t stream) {
  Tensor<T> tensor = Tensor<T>::empty(shape);
  for (std::int64_t i = 0; i < tensor.numel(); ++i)
    tensor.data()[i] = static_cast<T>(2 * cuttle::random_uniform_double(7, stream, static_cast<std::uint64_t>(i)) - 1);
  return tensor;
}
template <class T>
std::vector<T> on_host(const Tensor<T>& tensor) {
  const Tensor<T> host = tensor.to(Device::cpu());
  return {host.span().begin(), host.span().end()};
}

// A step of some training: a temporary tensor, a fill, a copy, and kernels that need the number of the step.
struct Training {
  Tensor<float> x = random_tensor<float>({515}, 1).to(device);
  Tensor<float> last = Tensor<float>::zeros({515}, device);
  Tensor<StepState> state = Tensor<StepState>::from({1}, {StepState{0, 0.1}}).to(device);
  std::int64_t step = 0;

  void run(bool step_in_memory, cuttle::seam::Stream stream) {
    Tensor<float> sum = Tensor<float>::empty({515}, device);
    sum.fill(0.25f);
    launch("add", &cuttle::kernels::add, 1, 64, 0, stream, x.data(), sum.data(), std::int64_t{515});
    x.copy_from(sum);
    launch("add_step", &cuttle::kernels::add_step, 1, 96, 0, stream, x.data(), std::int64_t{515}, step,
           step_in_memory ? state.data() : nullptr);
    launch("next_step", &cuttle::kernels::next_step, 1, 32, 0, stream, state.data());
    last.copy_from(x);
    ++step;
  }
};

}  // namespace

TEST_CASE("simt: it is the device that the library finds") {
  CHECK(std::string(table().name) == "simt");
  CHECK(table().device_count() == 1);
  CHECK(cuttle::parse_device("auto") == device);
  CHECK_THROWS_WITH(cuttle::parse_device("cuda:1"), contains("there are 1 CUDA devices here"));
}

TEST_CASE("simt: copies and fills stay within their buffers") {
  const auto x = random_tensor<float>({33}, 1);
  Tensor<float> there = x.to(device);
  CHECK(on_host(there) == on_host(x));
  CHECK(on_host(there.clone().slice(3, 20)) == on_host(x.slice(3, 20)));
  there.fill(2);
  CHECK(on_host(there) == std::vector<float>(33, 2));
  for (const std::size_t size : {1u, 2u, 4u, 8u}) {
    const std::uint64_t value = 0x0123456789ABCDEF;
    Tensor<std::uint8_t> bytes = Tensor<std::uint8_t>::zeros({24}, device);
    table().fill(0, bytes.data(), &value, size, 16 / size, nullptr);
    const auto got = on_host(bytes);
    for (std::size_t i = 0; i < 24; ++i) CHECK(got[i] == (i < 16 ? value >> (8 * (i % size)) & 0xFF : 0));
  }
  float host[64] = {};
  CHECK_THROWS_WITH(table().copy_to_host(0, host, there.data(), 136, nullptr),
                    contains("copy_to_host of 136 bytes at byte 0 of a buffer of 132"));
  CHECK_THROWS_WITH(table().copy_to_device(0, there.data() + 32, host, 8, nullptr), contains("at byte 128"));
  CHECK_THROWS_WITH(table().copy_on_device(0, there.data(), host, 8, nullptr), contains("which is host memory"));
  CHECK_THROWS_WITH(table().copy_to_device(0, there.data(), there.data(), 8, nullptr), contains("not the host's"));
  CHECK_THROWS_WITH(table().fill(0, there.data() + 1, host, 4, 33, nullptr), contains("fill of 132 bytes at byte 4"));
  CHECK_THROWS_WITH(table().synchronize(0, host), contains("is no stream of the device"));
}

TEST_CASE("simt: a write beyond a buffer by the host's own code is seen at the next copy") {
  Tensor<float> x = Tensor<float>::zeros({64}, device);
  unsigned char* end = cuttle_simt::Memory::real(reinterpret_cast<std::uintptr_t>(x.data() + 64));
  const unsigned char before = *end;
  *end = 0;
  CHECK_THROWS_WITH(x.to(Device::cpu()), contains("something wrote beyond a buffer of 256 bytes"));
  *end = before;
  CHECK_NOTHROW(x.to(Device::cpu()));
}

TEST_CASE("simt: five replays equal five eager steps to the bit where the step lies in memory") {
  in_every_order([] {
    for (const bool in_memory : {true, false}) {
      const cuttle::Stream stream(device);
      Training eager, recorded;
      {
        const StreamScope scope(device, stream.get());
        recorded.run(in_memory, stream.get());
        for (int step = 0; step < 6; ++step) eager.run(in_memory, stream.get());
      }
      const auto before = on_host(recorded.x);
      const RecordedWork work(stream, [&] { recorded.run(in_memory, stream.get()); });
      CHECK(on_host(recorded.x) == before);
      for (int step = 0; step < 5; ++step) work.launch();
      CHECK(on_host(recorded.state)[0].step == 6);
      // A number that was recorded with the launch is the same in every replay, and the result is wrong.
      CHECK((on_host(recorded.x) == on_host(eager.x)) == in_memory);
      CHECK(on_host(recorded.last) == on_host(recorded.x));
    }
  });
}

TEST_CASE("simt: what cannot be recorded throws, and the stream is as it was") {
  const cuttle::Stream stream(device);
  Tensor<float> x = random_tensor<float>({100}, 1).to(device);
  cuttle::trim_pool(device);
  float* pointer = x.data();
  const auto add = [&] {
    launch("add", &cuttle::kernels::add, 1, 32, 0, stream.get(), pointer, pointer, std::int64_t{1});
  };
  const auto record = [&](auto&& body) {
    const RecordedWork work(stream, [&] {
      add();
      body();
    });
  };
  const auto before = on_host(x);
  CHECK_THROWS_WITH(record([&] { Tensor<float>::empty({54321}, device); }), contains("allocate: not while"));
  CHECK_THROWS_WITH(record([&] { x.slice(0, 1).item(); }), contains("not while a stream records"));
  CHECK_THROWS_WITH(record([&] { x.copy_from(random_tensor<float>({100}, 2)); }),
                    contains("copy_to_device: not while"));
  CHECK_THROWS_WITH(record([&] { cuttle::synchronize(device); }), contains("synchronize: not while"));
  CHECK_THROWS_WITH(record([&] { table().begin_recording(0, stream.get()); }), contains("records already"));
  CHECK_THROWS_WITH(record([&] { table().record_event(0, stream.get()); }), contains("record_event: not while"));
  CHECK_THROWS_WITH(table().end_recording(0, stream.get()), contains("does not record"));
  // Nothing of it was done, and now things work again.
  CHECK(on_host(x) == before);
  add();
  CHECK(on_host(x)[0] == 2 * before[0]);
  // Work on another stream is done while one records.
  const RecordedWork work(
      stream, [&] { launch("add", &cuttle::kernels::add, 1, 32, 0, nullptr, x.data(), x.data(), std::int64_t{1}); });
  CHECK(on_host(x)[0] == 4 * before[0]);
}

TEST_CASE("simt: a replay that uses a temporary after it was given back is caught") {
  const cuttle::Stream stream(device);
  Tensor<float> x = Tensor<float>::zeros({64}, device);
  const auto body = [&] {
    float* gone = nullptr;
    {
      Tensor<float> temporary = Tensor<float>::zeros({64}, device);
      gone = temporary.data();
    }
    launch("add", &cuttle::kernels::add, 1, 32, 0, stream.get(), gone, x.data(), std::int64_t{64});
  };
  {
    const StreamScope scope(device, stream.get());
    CHECK_THROWS_WITH(body(), contains("given back"));
  }
  const RecordedWork work(stream, body);
  CHECK_THROWS_WITH(work.launch(), contains("given back"));
}

TEST_CASE("simt: streams and points in time") {
  CHECK_THROWS_WITH(table().drop_stream(0, nullptr), contains("own stream"));
  cuttle::seam::Stream stream = table().make_stream(0);
  const auto from = table().record_event(0, stream);
  Tensor<float> x = Tensor<float>::zeros({1000}, device);
  launch("add", &cuttle::kernels::add, 1, 32, 0, stream, x.data(), x.data(), std::int64_t{1000});
  const auto to = table().record_event(0, stream);
  CHECK(table().milliseconds(0, from, to) > 0);
  CHECK(table().milliseconds(0, from, to) == -table().milliseconds(0, to, from));
  table().drop_event(0, from);
  table().drop_event(0, to);
  table().drop_stream(0, stream);
  CHECK_THROWS_WITH(launch("add", &cuttle::kernels::add, 1, 32, 0, stream, x.data(), x.data(), std::int64_t{1000}),
                    contains("is no stream of the device"));
}

TEST_CASE("simt: a tensor may outlive the stream that it was taken on") {
  Tensor<float> x;
  {
    const cuttle::Stream stream(device);
    const StreamScope scope(device, stream.get());
    x = Tensor<float>::full({33}, 3, device);
  }
  CHECK(on_host(x)[32] == 3);
  CHECK_NOTHROW(x = Tensor<float>());
}

TEST_CASE("simt: host threads take turns, and fibers that one of them began serve the others") {
  std::vector<std::vector<float>> results(4);
  std::vector<std::thread> threads;
  for (auto& result : results)
    threads.emplace_back([&result] {
      Training training;
      for (int step = 0; step < 5; ++step) training.run(true, nullptr);
      result = on_host(training.x);
    });
  for (std::thread& thread : threads) thread.join();
  for (const auto& result : results) CHECK(result == results[0]);
}

// --- convolution -----------------------------------------------------------------------------------------------------

namespace {

using cuttle::seam::Activation;
using cuttle::seam::Conv2dShape;
using cuttle_test::activated;
using cuttle_test::activation_slope;
using cuttle_test::for_each_product;

template <class T>
bool close(const std::vector<T>& got, const std::vector<double>& expected, double tolerance) {
  for (std::size_t i = 0; i < got.size(); ++i)
    if (!(std::fabs(static_cast<double>(got[i]) - expected[i]) <= tolerance)) return false;
  return got.size() == expected.size();
}

template <class T>
const cuttle::seam::OpTable<T>& ops() {
  if constexpr (std::is_same_v<T, float>)
    return table().float_ops;
  else
    return table().double_ops;
}

template <class T>
void check_conv2d(Conv2dShape s) {
  s.OH = (s.H + 2 * s.padding - s.dilation * (s.R - 1) - 1) / s.stride + 1;
  s.OW = (s.W + 2 * s.padding - s.dilation * (s.S - 1) - 1) / s.stride + 1;
  const auto x = random_tensor<T>({s.B, s.H, s.W, s.C}, 1), weight = random_tensor<T>({s.O, s.R, s.S, s.C}, 2);
  const auto bias = random_tensor<T>({s.O}, 3), dy = random_tensor<T>({s.B, s.OH, s.OW, s.O}, 4);
  const auto there = [](const Tensor<T>& tensor) { return tensor.to(device); };
  const auto x_there = there(x), weight_there = there(weight), bias_there = there(bias), dy_there = there(dy);
  auto y = Tensor<T>::empty(dy.shape(), device);
  const auto bytes = table().conv2d_workspace(0, s, sizeof(T), false);
  auto workspace = Tensor<unsigned char>::empty({static_cast<std::int64_t>(bytes)}, device);
  // Sums of at most S R C terms, or of as many as there are pixels.
  const double place = std::is_same_v<T, float> ? 0x1p-24 : 0x1p-53;
  const double tolerance = 4 * place * static_cast<double>(s.R * s.S * std::max(s.C, s.O) + s.B * s.OH * s.OW);

  ops<T>().conv2d(0, {s, x_there.data(), weight_there.data(), bias_there.data(), y.data(), workspace.data(), bytes},
                  nullptr);
  const std::vector<T> xs = on_host(x), weights = on_host(weight), dys = on_host(dy);
  std::vector<double> expected(dys.size());
  for (std::size_t i = 0; i < expected.size(); ++i)
    expected[i] = static_cast<double>(bias.data()[i % static_cast<std::size_t>(s.O)]);
  for_each_product(s, [&](std::size_t in_y, std::size_t in_x, std::size_t in_weight) {
    expected[in_y] += static_cast<double>(xs[in_x]) * static_cast<double>(weights[in_weight]);
  });
  for (double& value : expected) value = activated(s, value);
  CHECK(close(on_host(y), expected, tolerance));
  CHECK_THROWS_WITH(
      ops<T>().conv2d(0, {s, x_there.data(), weight_there.data(), nullptr, y.data(), workspace.data(), bytes - 1},
                      nullptr),
      contains("conv2d: workspace"));

  const auto more = table().conv2d_workspace(0, s, sizeof(T), true);
  auto scratch = Tensor<unsigned char>::empty({static_cast<std::int64_t>(more)}, device);
  auto dx = Tensor<T>::empty(x.shape(), device), dweight = Tensor<T>::full(weight.shape(), T(2), device),
       dbias = Tensor<T>::full(bias.shape(), T(3), device);
  ops<T>().conv2d_backward(0,
                           {s, x_there.data(), weight_there.data(), y.data(), dy_there.data(), dx.data(),
                            dweight.data(), dbias.data(), scratch.data(), more},
                           nullptr);
  const std::vector<T> ys = on_host(y);
  std::vector<double> want_dx(xs.size(), 0), want_dweight(weights.size(), 2),
      want_dbias(static_cast<std::size_t>(s.O), 3), dz(ys.size());
  for (std::size_t i = 0; i < dz.size(); ++i) {
    dz[i] = static_cast<double>(dys[i]) * activation_slope(s, static_cast<double>(ys[i]));
    want_dbias[i % want_dbias.size()] += dz[i];
  }
  for_each_product(s, [&](std::size_t in_y, std::size_t in_x, std::size_t in_weight) {
    want_dx[in_x] += dz[in_y] * static_cast<double>(weights[in_weight]);
    want_dweight[in_weight] += dz[in_y] * static_cast<double>(xs[in_x]);
  });
  CHECK(close(on_host(dx), want_dx, tolerance));
  CHECK(close(on_host(dweight), want_dweight, tolerance));
  CHECK(close(on_host(dbias), want_dbias, tolerance));
}

}  // namespace

TEMPLATE_TEST_CASE("simt: the convolution that stands in for a library's", "", float, double) {
  // B H W C, O R S, (OH OW), stride padding dilation, activation
  for (const Conv2dShape& shape : {
           Conv2dShape{2, 9, 7, 3, 17, 3, 3, 0, 0, 1, 0, 1, Activation::none, 0, {}},
           Conv2dShape{1, 8, 11, 33, 40, 3, 2, 0, 0, 1, 1, 1, Activation::leaky_relu, 0.1, {}},
           Conv2dShape{3, 13, 12, 16, 32, 5, 3, 0, 0, 2, 2, 1, Activation::relu, 0, {}},
           Conv2dShape{1, 15, 15, 5, 1, 3, 3, 0, 0, 1, 3, 2, Activation::tanh, 0, {}},
           Conv2dShape{2, 6, 6, 18, 16, 2, 2, 0, 0, 3, 0, 3, Activation::sigmoid, 0, {}},
           Conv2dShape{5, 1, 1, 64, 33, 1, 1, 0, 0, 1, 0, 1, Activation::none, 0, {}},
       })
    check_conv2d<TestType>(shape);
}

TEST_CASE("simt: a recorded convolution is replayed") {
  const cuttle::Stream stream(device);
  Conv2dShape s{1, 6, 6, 2, 3, 3, 3, 4, 4, 1, 0, 1, Activation::none, 0, {}};
  Tensor<float> x = random_tensor<float>({1, 6, 6, 2}, 1).to(device),
                weight = random_tensor<float>({3, 3, 3, 2}, 2).to(device);
  Tensor<float> y = Tensor<float>::zeros({1, 4, 4, 3}, device);
  const auto bytes = table().conv2d_workspace(0, s, sizeof(float), false);
  auto workspace = Tensor<unsigned char>::empty({static_cast<std::int64_t>(bytes)}, device);
  const auto run = [&] {
    table().float_ops.conv2d(0, {s, x.data(), weight.data(), nullptr, y.data(), workspace.data(), bytes}, stream.get());
  };
  const RecordedWork work(stream, run);
  CHECK(on_host(y) == std::vector<float>(48, 0));
  work.launch();
  const auto once = on_host(y);
  CHECK(once != std::vector<float>(48, 0));
  x.fill(1);
  work.launch();
  const auto replayed = on_host(y);
  run();
  CHECK(on_host(y) == replayed);
  CHECK(replayed != once);
}
