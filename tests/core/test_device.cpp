#include "cuttle/core/device.hpp"

#include <cstring>

#include "cuttle/core/tensor.hpp"
#include "tests/support/catch.hpp"

using cuttle::Device;
using cuttle::parse_device;
using cuttle::Tensor;

namespace {

// A second device for these tests: two of them, in host memory, whose pointers are marked by an offset, so that the
// host would read the wrong bytes if it took one for its own.
constexpr std::size_t offset = 1 << 12;
int allocations = 0, releases = 0;

const cuttle::seam::Table pretend = [] {
  using cuttle::seam::Stream;
  cuttle::seam::Table table{};
  table.name = "pretend";
  table.device_count = [] { return 2; };
  table.allocate = [](int, std::size_t bytes) -> void* {
    ++allocations;
    return static_cast<char*>(std::aligned_alloc(offset, (bytes + 2 * offset - 1) / offset * offset)) + offset;
  };
  table.release = [](int, void* memory, std::size_t) {
    ++releases;
    std::free(static_cast<char*>(memory) - offset);
  };
  table.copy_to_device = [](int, void* to, const void* from, std::size_t bytes, Stream) {
    std::memcpy(static_cast<char*>(to) - offset, from, bytes);
  };
  table.copy_to_host = [](int, void* to, const void* from, std::size_t bytes, Stream) {
    std::memcpy(to, static_cast<const char*>(from) - offset, bytes);
  };
  table.copy_on_device = [](int, void* to, const void* from, std::size_t bytes, Stream) {
    std::memcpy(static_cast<char*>(to) - offset, static_cast<const char*>(from) - offset, bytes);
  };
  table.fill = [](int, void* memory, const void* value, std::size_t size, std::size_t n, Stream) {
    for (std::size_t i = 0; i < n; ++i) std::memcpy(static_cast<char*>(memory) - offset + i * size, value, size);
  };
  table.synchronize = [](int, Stream) {};
  return table;
}();

class Linked {
 public:
  Linked() { cuttle::seam::cuda_table().store(&pretend); }
  ~Linked() {
    for (int index : {0, 1}) cuttle::trim_pool(Device::cuda(index));
    cuttle::seam::cuda_table().store(nullptr);
  }
};

}  // namespace

TEST_CASE("device: names") {
  CHECK(cuttle::concat(Device::cpu()) == "cpu");
  CHECK(cuttle::concat(Device::cuda(3)) == "cuda:3");
  CHECK(Device::cuda() == Device::cuda(0));
  CHECK_FALSE(Device::cuda(1) == Device::cuda(0));
  CHECK(parse_device("cpu") == Device::cpu());
}

TEST_CASE("device: without the CUDA part, asking for it says what to link") {
  CHECK(parse_device("auto") == Device::cpu());
  const std::string text =
      "device cuda:0: this program has no CUDA part; link cuttle::cuda (find_package(cuttle COMPONENTS cuda)), or use "
      "cpu";
  CHECK_THROWS_WITH(parse_device("cuda"), text);
  CHECK_THROWS_WITH(Tensor<float>::zeros({3}, Device::cuda()), text);
  CHECK_THROWS_WITH(Tensor<float>::empty({3}, Device::cuda()), text);
}

TEST_CASE("device: what is no device's name is refused") {
  for (const char* name :
       {"", "gpu", "cuda:", "cuda:-1", "cuda:x", "cuda:1x", "cuda1", "CPU", "cuda:99999999999", " cpu"})
    CHECK_THROWS_WITH(parse_device(name), cuttle::concat("device: '", name, "' is none of auto, cpu, cuda, cuda:N"));
}

TEST_CASE("device: with a second device linked, names are checked against how many there are") {
  Linked linked;
  CHECK(parse_device("auto") == Device::cuda(0));
  CHECK(parse_device("cuda") == Device::cuda(0));
  CHECK(parse_device("cuda:1") == Device::cuda(1));
  CHECK_THROWS_WITH(parse_device("cuda:2"), "device cuda:2: there are 2 CUDA devices here");
}

TEST_CASE("device: tensors go there and back, and between two of them") {
  Linked linked;
  const auto host = Tensor<float>::from({5}, {1, 2, 3, 4, 5});
  const auto first = host.to(Device::cuda(0));
  CHECK(first.device() == Device::cuda(0));
  CHECK(first.slice(3, 5).to(Device::cpu()).data()[1] == 5);
  const auto second = first.to(Device::cuda(1));
  CHECK(second.device() == Device::cuda(1));
  CHECK(second.to(Device::cpu()).data()[4] == 5);
  CHECK(first.clone().device() == Device::cuda(0));
  CHECK(first.slice(2, 3).item() == 3);
  CHECK(Tensor<float>::full({2}, 6, Device::cuda(1)).to(Device::cpu()).data()[1] == 6);
  CHECK_THROWS_WITH(first.span(), "Tensor::span: the tensor of shape [5] is on cuda:0; copy it with to(Device::cpu())");
}

TEST_CASE("device: each device has a pool of its own") {
  Linked linked;
  const auto round = [] { return Tensor<double>::empty({515}, Device::cuda(1)).data(); };
  const double* first = round();
  const int before = allocations;
  CHECK(round() == first);
  CHECK(allocations == before);
  const int released = releases;
  cuttle::trim_pool(Device::cuda(1));
  CHECK(releases > released);
  CHECK(cuttle::pool_statistics(Device::cuda(1)).bytes_held == 0);
}
