// Tensor<T>: a contiguous, row-major array with a shape and a device. Copies share memory, as in PyTorch; clone()
// copies.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstring>
#include <initializer_list>
#include <new>
#include <span>
#include <type_traits>
#include <utility>
#include <vector>

#include "cuttle/core/device.hpp"
#include "cuttle/core/memory.hpp"
#include "cuttle/core/shape.hpp"

namespace cuttle {

namespace detail {

// A counted block of one device's memory: from the pool, or the user's (then bytes is 0 and nothing is freed).
struct Storage {
  std::atomic<std::int64_t> count{1};
  void* memory = nullptr;
  std::size_t bytes = 0;
  Device device;
  seam::Stream stream = nullptr;

  static Storage* make(void* memory, std::size_t bytes, Device device, seam::Stream stream) {
    void* place = pool_of(Device::cpu()).take(sizeof(Storage), nullptr);
    auto* storage = new (place) Storage;
    storage->memory = memory;
    storage->bytes = bytes;
    storage->device = device;
    storage->stream = stream;
    return storage;
  }

  static void drop(Storage* storage) noexcept {
    if (!storage || storage->count.fetch_sub(1, std::memory_order_acq_rel) != 1) return;
    if (storage->bytes) pool_of(storage->device).give(storage->memory, storage->bytes, storage->stream);
    storage->~Storage();
    pool_of(Device::cpu()).give(storage, sizeof(Storage), nullptr);
  }
};

}  // namespace detail

// A contiguous, row-major array with a shape and a device. A copy shares its memory with the original; clone() copies
// the elements. Memory comes from the device's pool and goes back to it with the last tensor that shares it. Access to
// an element is not checked: the op that takes a tensor checks its shape once.
template <class T>
class Tensor {
  static_assert(std::is_trivially_copyable_v<T>, "a tensor's elements are plain values");

 public:
  using value_type = T;

  // No tensor at all: defined() is false.
  Tensor() = default;

  // Memory whose contents are undefined.
  static Tensor empty(const Shape& shape, Device device = Device::cpu()) {
    const std::size_t bytes = static_cast<std::size_t>(shape.numel()) * sizeof(T);
    const seam::Stream stream = current_stream(device);
    void* memory = nullptr;
    if (bytes) memory = detail::pool_of(device).take(bytes, stream);
    try {
      return Tensor(shape, static_cast<T*>(memory), detail::Storage::make(memory, bytes, device, stream));
    } catch (...) {
      if (bytes) detail::pool_of(device).give(memory, bytes, stream);
      throw;
    }
  }
  // Every element `value`.
  static Tensor full(const Shape& shape, T value, Device device = Device::cpu()) {
    Tensor tensor = empty(shape, device);
    tensor.fill(value);
    return tensor;
  }
  static Tensor zeros(const Shape& shape, Device device = Device::cpu()) { return full(shape, T{}, device); }
  // A copy of values, in row-major order.
  static Tensor from(const Shape& shape, std::span<const T> values) {
    require(shape.numel() == static_cast<std::int64_t>(values.size()), "Tensor::from: shape ", shape, " needs ",
            shape.numel(), " values, got ", values.size());
    Tensor tensor = empty(shape);
    std::copy(values.begin(), values.end(), tensor.data());
    return tensor;
  }
  static Tensor from(const Shape& shape, std::initializer_list<T> values) {
    return from(shape, std::span<const T>(values.begin(), values.size()));
  }
  // A view of the user's memory, which must outlive every copy of the tensor. Work of the user's own on it must be
  // over, or be queued on the stream of the StreamScope in which the tensor is used.
  static Tensor from_blob(T* memory, const Shape& shape, Device device = Device::cpu()) {
    require(memory != nullptr || shape.numel() == 0, "Tensor::from_blob: memory is null for shape ", shape);
    return Tensor(shape, memory, detail::Storage::make(memory, 0, device, nullptr));
  }

  Tensor(const Tensor& other) noexcept : shape_(other.shape_), data_(other.data_), storage_(other.storage_) {
    if (storage_) storage_->count.fetch_add(1, std::memory_order_relaxed);
  }
  Tensor(Tensor&& other) noexcept
      : shape_(std::exchange(other.shape_, Shape{})),
        data_(std::exchange(other.data_, nullptr)),
        storage_(std::exchange(other.storage_, nullptr)) {}
  Tensor& operator=(Tensor other) noexcept {
    std::swap(shape_, other.shape_);
    std::swap(data_, other.data_);
    std::swap(storage_, other.storage_);
    return *this;
  }
  ~Tensor() { detail::Storage::drop(storage_); }

  // False for Tensor() alone.
  bool defined() const noexcept { return storage_ != nullptr; }
  const Shape& shape() const noexcept { return shape_; }
  int rank() const noexcept { return shape_.rank(); }
  // Extent i; a negative i counts from the end.
  std::int64_t size(int i) const noexcept { return shape_[i]; }
  // Number of elements; 0 where not defined.
  std::int64_t numel() const noexcept { return defined() ? shape_.numel() : 0; }
  Device device() const noexcept { return storage_ ? storage_->device : Device::cpu(); }

  // The elements, on whatever device they are.
  T* data() noexcept { return data_; }
  const T* data() const noexcept { return data_; }
  // The elements of a tensor in host memory; throws for another device.
  std::span<T> span() { return {host_data(), static_cast<std::size_t>(numel())}; }
  std::span<const T> span() const { return {host_data(), static_cast<std::size_t>(numel())}; }
  // The value of a one-element tensor, copied from its device.
  T item() const {
    require(numel() == 1, "Tensor::item: shape ", shape_, " has ", numel(), " elements, not 1");
    return *to(Device::cpu()).data();
  }

  // The same memory under another shape of as many elements.
  Tensor reshape(const Shape& shape) const {
    require(shape.numel() == numel(), "Tensor::reshape: ", shape_, " has ", numel(), " elements, ", shape, " has ",
            shape.numel());
    Tensor view(*this);
    view.shape_ = shape;
    return view;
  }
  // Rows [first, last) of the first dimension, sharing memory.
  Tensor slice(std::int64_t first, std::int64_t last) const {
    require(rank() >= 1 && 0 <= first && first <= last && last <= size(0), "Tensor::slice: rows ", first, " to ", last,
            " of shape ", shape_);
    Tensor view(*this);
    view.shape_ = Shape{last - first};
    std::int64_t row = 1;
    for (int i = 1; i < rank(); ++i) {
      view.shape_.push_back(size(i));
      row *= size(i);
    }
    view.data_ += first * row;
    return view;
  }
  // A copy in memory of its own, on the same device.
  Tensor clone() const {
    Tensor copy = empty(shape_, device());
    copy.copy_from(*this);
    return copy;
  }
  // This tensor where it is already there, a copy elsewhere.
  Tensor to(Device device) const {
    if (device == this->device() || !defined()) return *this;
    Tensor copy = empty(shape_, device);
    copy.copy_from(*this);
    return copy;
  }
  // Overwrites every element with `value`.
  void fill(T value) {
    if (numel() == 0) return;
    if (device().is_cpu())
      std::fill_n(data_, numel(), value);
    else
      table_of(device()).fill(device().index, data_, &value, sizeof(T), static_cast<std::size_t>(numel()),
                              current_stream(device()));
  }
  // Overwrites the elements with those of `source`, from any device.
  void copy_from(const Tensor& source) {
    require(source.shape_ == shape_, "Tensor::copy_from: shape ", source.shape_, " into shape ", shape_);
    const std::size_t bytes = static_cast<std::size_t>(numel()) * sizeof(T);
    if (!bytes) return;
    if (device().is_cpu() && source.device().is_cpu()) {
      std::memcpy(data_, source.data_, bytes);
    } else if (source.device().is_cpu()) {
      table_of(device()).copy_to_device(device().index, data_, source.data_, bytes, current_stream(device()));
    } else if (device().is_cpu()) {
      table_of(source.device())
          .copy_to_host(source.device().index, data_, source.data_, bytes, current_stream(source.device()));
    } else if (device() == source.device()) {
      table_of(device()).copy_on_device(device().index, data_, source.data_, bytes, current_stream(device()));
    } else {
      copy_from(source.to(Device::cpu()));
    }
  }

 private:
  Tensor(const Shape& shape, T* data, detail::Storage* storage) : shape_(shape), data_(data), storage_(storage) {}

  T* host_data() const {
    require(device().is_cpu(), "Tensor::span: the tensor of shape ", shape_, " is on ", device(),
            "; copy it with to(Device::cpu())");
    return data_;
  }

  Shape shape_;
  T* data_ = nullptr;
  detail::Storage* storage_ = nullptr;
};

}  // namespace cuttle
