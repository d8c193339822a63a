#include "cuttle/core/tensor.hpp"

#include <limits>
#include <numeric>
#include <utility>

#include "tests/support/catch.hpp"

using cuttle::Device;
using cuttle::Shape;
using cuttle::Tensor;

namespace {

// 0, 1, 2, ... in row-major order.
Tensor<float> counting(const Shape& shape) {
  auto tensor = Tensor<float>::empty(shape);
  std::iota(tensor.span().begin(), tensor.span().end(), 0.0f);
  return tensor;
}

}  // namespace

TEST_CASE("shape: extents, rank and number of elements") {
  const Shape shape{33, 1, 129};
  CHECK(shape.rank() == 3);
  CHECK(shape[0] == 33);
  CHECK(shape[-1] == 129);
  CHECK(shape[-3] == 33);
  CHECK(shape.numel() == 33 * 129);
  CHECK(Shape{}.rank() == 0);
  CHECK(Shape{}.numel() == 1);
  CHECK(Shape{5, 0, 3}.numel() == 0);
  CHECK(cuttle::concat(shape) == "[33, 1, 129]");
  CHECK(cuttle::concat(Shape{}) == "[]");
}

TEST_CASE("shape: equal means the same rank and extents") {
  CHECK(Shape{2, 3} == Shape{2, 3});
  CHECK_FALSE(Shape{2, 3} == Shape{3, 2});
  CHECK_FALSE(Shape{2, 3} == Shape{2, 3, 1});
  CHECK_FALSE(Shape{} == Shape{1});
}

TEST_CASE("shape: refuses what is no shape, and says what it got") {
  CHECK_THROWS_WITH(Shape({2, -3}), "Shape: extent 1 is negative (-3)");
  CHECK_THROWS_WITH(Shape({1, 1, 1, 1, 1, 1, 1}), "Shape: at most 6 extents, got 7");
  Shape full{1, 1, 1, 1, 1, 1};
  CHECK_THROWS_AS(full.push_back(1), cuttle::Error);
}

TEST_CASE("shape: products that would overflow are refused") {
  const std::int64_t large = std::int64_t{1} << 40, largest = std::numeric_limits<std::int64_t>::max();
  CHECK_THROWS_AS(Shape({large, large}), cuttle::Error);
  CHECK_THROWS_AS(Shape({largest}), cuttle::Error);
  CHECK_THROWS_AS(Shape({0, large, large}), cuttle::Error);
  CHECK_THROWS_AS(Shape({large, 0, large}), cuttle::Error);
  CHECK(Shape({large, 255}).numel() == 255 * large);
}

TEST_CASE("tensor: none at all") {
  const Tensor<float> none;
  CHECK_FALSE(none.defined());
  CHECK(none.numel() == 0);
  CHECK(none.device() == Device::cpu());
  CHECK(none.data() == nullptr);
  CHECK(none.span().empty());
}

TEST_CASE("tensor: empty, full, zeros, from") {
  CHECK(Tensor<float>::empty({3, 5}).shape() == Shape{3, 5});
  const auto full = Tensor<double>::full({2, 2}, 2.5);
  CHECK(std::vector<double>(full.span().begin(), full.span().end()) == std::vector<double>{2.5, 2.5, 2.5, 2.5});
  const auto zeros = Tensor<std::int64_t>::zeros({515});
  CHECK(std::count(zeros.span().begin(), zeros.span().end(), 0) == 515);
  const auto from = Tensor<float>::from({2, 2}, {1, 2, 3, 4});
  CHECK(from.data()[3] == 4);
  CHECK_THROWS_WITH(Tensor<float>::from({2, 2}, {1, 2, 3}), "Tensor::from: shape [2, 2] needs 4 values, got 3");
}

TEST_CASE("tensor: no elements is a tensor, too") {
  const auto tensor = Tensor<float>::zeros({4, 0, 2});
  CHECK(tensor.defined());
  CHECK(tensor.numel() == 0);
  CHECK(tensor.clone().shape() == Shape{4, 0, 2});
  CHECK(tensor.slice(1, 3).shape() == Shape{2, 0, 2});
  CHECK(tensor.reshape({0}).defined());
}

TEST_CASE("tensor: a scalar has rank 0 and one item") {
  const auto scalar = Tensor<double>::full({}, 7);
  CHECK(scalar.rank() == 0);
  CHECK(scalar.item() == 7);
  CHECK(Tensor<double>::full({1, 1}, 8).item() == 8);
  CHECK_THROWS_WITH(Tensor<double>::zeros({2}).item(), "Tensor::item: shape [2] has 2 elements, not 1");
}

TEST_CASE("tensor: copies share memory, clones do not") {
  auto a = counting({5, 7});
  auto shared = a;
  const auto cloned = a.clone();
  shared.data()[3] = -1;
  CHECK(a.data()[3] == -1);
  CHECK(cloned.data()[3] == 3);
  CHECK(shared.data() == a.data());
  CHECK(cloned.data() != a.data());
}

TEST_CASE("tensor: memory lives as long as the last tensor on it") {
  const void* memory = nullptr;
  Tensor<float> view;
  {
    const auto owner = counting({33, 3});
    memory = owner.data();
    view = owner.slice(30, 33);
  }
  // Were the block free, this request of the same size would be given it.
  const auto other = Tensor<float>::full({33, 3}, -1.0f);
  CHECK(static_cast<const void*>(other.data()) != memory);
  CHECK(view.data()[0] == 90);
  view = Tensor<float>();
  CHECK(static_cast<const void*>(Tensor<float>::empty({33, 3}).data()) == memory);
}

TEST_CASE("tensor: assignment to itself, from a view of itself, and moves") {
  auto a = counting({4, 4});
  const float* memory = a.data();
  auto& alias = a;
  a = alias;
  CHECK(a.data() == memory);
  a = a.slice(1, 3);
  CHECK(a.data() == memory + 4);
  CHECK(a.shape() == Shape{2, 4});
  auto moved = std::move(a);
  CHECK(moved.data() == memory + 4);
  a = counting({2});
  CHECK(a.numel() == 2);
  std::swap(a, moved);
  CHECK(a.data()[0] == 4);
  CHECK(moved.numel() == 2);
}

TEST_CASE("tensor: reshape shares memory and keeps the number of elements") {
  auto a = counting({6, 10});
  auto b = a.reshape({3, 20});
  CHECK(b.data() == a.data());
  b.data()[59] = 1;
  CHECK(a.data()[59] == 1);
  CHECK_THROWS_WITH(a.reshape({7, 9}), "Tensor::reshape: [6, 10] has 60 elements, [7, 9] has 63");
}

TEST_CASE("tensor: slice takes rows of the first dimension") {
  const auto a = counting({33, 2, 5});
  const auto rows = a.slice(31, 33);
  CHECK(rows.shape() == Shape{2, 2, 5});
  CHECK(rows.data()[0] == 310);
  CHECK(rows.span().back() == 329);
  CHECK(a.slice(33, 33).numel() == 0);
  CHECK(a.slice(0, 33).shape() == a.shape());
  CHECK_THROWS_WITH(a.slice(5, 34), "Tensor::slice: rows 5 to 34 of shape [33, 2, 5]");
  CHECK_THROWS_AS(a.slice(-1, 3), cuttle::Error);
  CHECK_THROWS_AS(a.slice(4, 3), cuttle::Error);
  CHECK_THROWS_AS(Tensor<float>::full({}, 1).slice(0, 1), cuttle::Error);
}

TEST_CASE("tensor: from_blob views the user's memory and never frees it") {
  std::vector<float> memory(515, 1.0f);
  {
    auto view = Tensor<float>::from_blob(memory.data(), {5, 103});
    CHECK(view.data() == memory.data());
    view.slice(4, 5).data()[102] = 9;
  }
  CHECK(memory.back() == 9);
  CHECK(Tensor<float>::from_blob(memory.data(), {515}).clone().data() != memory.data());
  CHECK(Tensor<float>::from_blob(nullptr, {0, 3}).defined());
  CHECK_THROWS_WITH(Tensor<float>::from_blob(nullptr, {2}), "Tensor::from_blob: memory is null for shape [2]");
}

TEST_CASE("tensor: copy_from overwrites in place and checks the shape") {
  auto a = Tensor<float>::zeros({3, 4});
  const float* memory = a.data();
  a.copy_from(counting({3, 4}));
  CHECK(a.data() == memory);
  CHECK(a.data()[11] == 11);
  CHECK_THROWS_WITH(a.copy_from(counting({4, 3})), "Tensor::copy_from: shape [4, 3] into shape [3, 4]");
  CHECK(a.data()[11] == 11);
}

TEST_CASE("tensor: to the device it is on is the same tensor") {
  const auto a = counting({3});
  CHECK(a.to(Device::cpu()).data() == a.data());
  CHECK_THROWS_AS(a.to(Device::cuda()), cuttle::Error);
}
