// Shape: up to six extents, held inline so that making one never allocates.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <initializer_list>
#include <ostream>

#include "cuttle/core/error.hpp"

namespace cuttle {

// The extents of a tensor, outermost first. Error: more than six of them, a negative one, more than 2^48 elements.
class Shape {
 public:
  static constexpr int max_rank = 6;
  // Products of extents, and bytes, stay far from overflow: a corrupt file's extents are refused, not wrapped around.
  static constexpr std::int64_t max_numel = std::int64_t{1} << 48;

  Shape() = default;
  Shape(std::initializer_list<std::int64_t> extents) {
    require(extents.size() <= max_rank, "Shape: at most ", max_rank, " extents, got ", extents.size());
    for (std::int64_t extent : extents) push_back(extent);
  }

  int rank() const noexcept { return rank_; }
  // Extent i; a negative i counts from the end, as in PyTorch.
  std::int64_t operator[](int i) const noexcept { return extents_[static_cast<std::size_t>(i < 0 ? rank_ + i : i)]; }
  // Number of elements; 1 for rank 0 (a scalar).
  std::int64_t numel() const noexcept {
    std::int64_t n = 1;
    for (int i = 0; i < rank_; ++i) n *= extents_[static_cast<std::size_t>(i)];
    return n;
  }
  // Adds an innermost extent.
  void push_back(std::int64_t extent) {
    require(rank_ < max_rank, "Shape: at most ", max_rank, " extents");
    require(extent >= 0, "Shape: extent ", rank_, " is negative (", extent, ")");
    std::int64_t left = max_numel;
    for (std::int64_t known : *this) left /= std::max<std::int64_t>(known, 1);
    require(extent <= left, "Shape: more than 2^48 elements in ", *this, " times ", extent);
    extents_[static_cast<std::size_t>(rank_++)] = extent;
  }
  const std::int64_t* begin() const noexcept { return extents_.data(); }
  const std::int64_t* end() const noexcept { return extents_.data() + rank_; }

  friend bool operator==(const Shape& a, const Shape& b) noexcept {
    if (a.rank_ != b.rank_) return false;
    for (int i = 0; i < a.rank_; ++i)
      if (a[i] != b[i]) return false;
    return true;
  }
  friend std::ostream& operator<<(std::ostream& out, const Shape& shape) {
    out << '[';
    for (int i = 0; i < shape.rank_; ++i) out << (i ? ", " : "") << shape[i];
    return out << ']';
  }

 private:
  std::array<std::int64_t, max_rank> extents_{};
  int rank_ = 0;
};

}  // namespace cuttle
