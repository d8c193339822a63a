// Global<T> and Shared<T>, which are plain pointers on a GPU: every access is checked. An element of a constant array
// is its value; one of a writable array is a Ref, which is read by conversion and written by assignment. A Ref is used
// on the spot: `const auto v = p[i]` would read later what p[i] has become, so it does not compile where v is used.
//
// Shared<T> derives from Shared<const T>, so that it converts to it and a function template that takes a Shared<const
// T> finds its T; the same for Global.
#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>
#include <utility>

#include "tests/simt/memory.hpp"
#include "tests/simt/shared.hpp"

namespace cuttle::kernels {

template <class Pointer>
class Ref;

// A Ref's element, and any other type itself.
template <class T>
struct ValueOf {
  using type = T;
};
template <class Pointer>
struct ValueOf<Ref<Pointer>> {
  using type = typename Pointer::element;
};
template <class T>
using Value = typename ValueOf<std::remove_cvref_t<T>>::type;

template <class Pointer>
class Ref {
  using T = typename Pointer::element;

 public:
  explicit Ref(Pointer p) : p_(p) {}
  Ref(const Ref&) = default;

  operator T() const&& { return p_.load(); }
  template <class U>
  requires std::is_arithmetic_v<U> && std::is_arithmetic_v<T> &&(!std::is_same_v<U, T>)explicit operator U() const&& {
    return static_cast<U>(p_.load());
  }
  void operator=(T value) const&& { p_.store(value); }
  void operator=(Ref&& other) const&& { p_.store(other.p_.load()); }
  void operator=(const Ref&) const&& = delete;

  template <class U>
  void operator+=(U&& u) const&& {
    p_.store(static_cast<T>(value<U>(p_.load()) + value<U>(std::forward<U>(u))));
  }
  template <class U>
  void operator-=(U&& u) const&& {
    p_.store(static_cast<T>(value<U>(p_.load()) - value<U>(std::forward<U>(u))));
  }
  template <class U>
  void operator*=(U&& u) const&& {
    p_.store(static_cast<T>(value<U>(p_.load()) * value<U>(std::forward<U>(u))));
  }
  template <class U>
  void operator/=(U&& u) const&& {
    p_.store(static_cast<T>(value<U>(p_.load()) / value<U>(std::forward<U>(u))));
  }
  template <class U>
  void operator&=(U&& u) const&& {
    p_.store(static_cast<T>(value<U>(p_.load()) & value<U>(std::forward<U>(u))));
  }
  template <class U>
  void operator|=(U&& u) const&& {
    p_.store(static_cast<T>(value<U>(p_.load()) | value<U>(std::forward<U>(u))));
  }
  template <class U>
  void operator^=(U&& u) const&& {
    p_.store(static_cast<T>(value<U>(p_.load()) ^ value<U>(std::forward<U>(u))));
  }
  T operator++() const&& { return step(1); }
  T operator--() const&& { return step(-1); }
  T operator++(int) const&& { return static_cast<T>(step(1) - 1); }
  T operator--(int) const&& { return static_cast<T>(step(-1) + 1); }

 private:
  // As the operators of the language convert their operands.
  template <class U, class From>
  static auto value(From&& from) {
    return static_cast<std::common_type_t<T, Value<U>>>(std::forward<From>(from));
  }
  T step(int by) const {
    const T value = static_cast<T>(p_.load() + static_cast<T>(by));
    p_.store(value);
    return value;
  }
  Pointer p_;
};

// What `pointer->member` reads a member of.
template <class T>
class Loaded {
 public:
  explicit Loaded(const T& value) : value_(value) {}
  const T* operator->() const { return &value_; }

 private:
  T value_;
};

// --- global memory ---------------------------------------------------------------------------------------------------

template <class T>
class Global;

template <class T>
class Global<const T> {
  static_assert(std::is_trivially_copyable_v<T>);

 public:
  using element = T;

  Global() = default;
  Global(const T* p)
      : address_(reinterpret_cast<std::uintptr_t>(p)), buffer_(cuttle_simt::Memory::the().find(address_)) {}

  T load() const { return load_as<T>(); }
  T operator*() const { return load(); }
  Loaded<T> operator->() const { return Loaded<T>(load()); }
  template <std::integral I>
  T operator[](I i) const {
    Global p = *this;
    p.advance(i);
    return p.load();
  }

  template <class As>
  As load_as() const {
    As value;
    std::memcpy(static_cast<void*>(&value), at("read", sizeof(As), alignof(As)), sizeof value);
    return value;
  }

  // Where `bytes` bytes are for the host, once they are known to be inside their buffer.
  unsigned char* at(const char* what, std::size_t bytes, std::size_t alignment) const {
    const std::uintptr_t offset = buffer_ ? address_ - buffer_->begin : 0;
    if (!buffer_ || offset > buffer_->used || bytes > buffer_->used - offset || address_ % alignment != 0) [[unlikely]]
      recheck(what, bytes, alignment);
    return cuttle_simt::Memory::real(address_);
  }

  template <class I>
  void advance(I n) {
    address_ += static_cast<std::uintptr_t>(n) * sizeof(T);
  }
  std::uintptr_t address() const { return address_; }
  explicit operator bool() const { return address_ != 0; }

 protected:
  // A pointer made from an address outside of all buffers finds its buffer where it is used.
  [[gnu::cold, gnu::noinline]] void recheck(const char* what, std::size_t bytes, std::size_t alignment) const {
    auto& memory = cuttle_simt::Memory::the();
    const cuttle_simt::Buffer* buffer = memory.find(address_);
    if (!buffer || buffer != (buffer_ ? buffer_ : buffer) || address_ - buffer->begin > buffer->used ||
        bytes > buffer->used - (address_ - buffer->begin))
      memory.fail_access(what, address_, bytes);
    if (address_ % alignment != 0)
      cuttle_simt::fail(what, " of ", bytes, " bytes at byte ", address_ - buffer->begin,
                        " of a buffer, not a multiple of ", alignment);
  }

  std::uintptr_t address_ = 0;
  const cuttle_simt::Buffer* buffer_ = nullptr;
};

template <class T>
class Global : public Global<const T> {
 public:
  Global() = default;
  Global(T* p) : Global<const T>(p) {}

  void store(const T& value) const { store_as(value); }
  Ref<Global> operator*() const { return Ref<Global>(*this); }
  template <std::integral I>
  Ref<Global> operator[](I i) const {
    Global p = *this;
    p.advance(i);
    return Ref<Global>(p);
  }
  template <class As>
  void store_as(const As& value) const {
    std::memcpy(this->at("write", sizeof(As), alignof(As)), &value, sizeof value);
  }
  unsigned char* update_atomically() const { return this->at("atomic update", sizeof(T), sizeof(T)); }
};

// --- shared memory ---------------------------------------------------------------------------------------------------

template <class T>
class Shared;

template <class T>
class Shared<const T> {
  static_assert(std::is_trivially_copyable_v<T>);

 public:
  using element = T;

  Shared() = default;
  explicit Shared(cuttle_simt::SharedArray& array, std::size_t offset = 0) : array_(&array), offset_(offset) {}

  T load() const { return load_as<T>(); }
  T operator*() const { return load(); }
  Loaded<T> operator->() const { return Loaded<T>(load()); }
  template <std::integral I>
  T operator[](I i) const {
    Shared p = *this;
    p.advance(i);
    return p.load();
  }

  template <class As>
  As load_as() const {
    As value;
    std::memcpy(static_cast<void*>(&value), array().read(offset_, sizeof(As), alignof(As)), sizeof value);
    return value;
  }

  template <class I>
  void advance(I n) {
    offset_ += static_cast<std::size_t>(n) * sizeof(T);
  }
  std::uintptr_t address() const { return reinterpret_cast<std::uintptr_t>(array_) + offset_; }
  explicit operator bool() const { return array_ != nullptr; }

  cuttle_simt::SharedArray& array() const {
    if (!array_) cuttle_simt::fail("access through a Shared that points nowhere");
    return *array_;
  }
  std::size_t offset() const { return offset_; }

 protected:
  cuttle_simt::SharedArray* array_ = nullptr;
  std::size_t offset_ = 0;
};

template <class T>
class Shared : public Shared<const T> {
 public:
  Shared() = default;
  explicit Shared(cuttle_simt::SharedArray& array, std::size_t offset = 0) : Shared<const T>(array, offset) {}

  void store(const T& value) const { store_as(value); }
  Ref<Shared> operator*() const { return Ref<Shared>(*this); }
  template <std::integral I>
  Ref<Shared> operator[](I i) const {
    Shared p = *this;
    p.advance(i);
    return Ref<Shared>(p);
  }
  template <class As>
  void store_as(const As& value) const {
    std::memcpy(this->array().write(this->offset_, sizeof(As), alignof(As)), &value, sizeof value);
  }
  unsigned char* update_atomically() const { return this->array().update_atomically(this->offset_, sizeof(T)); }
};

// --- arithmetic and comparison, of both ------------------------------------------------------------------------------

template <class P>
concept DevicePointer = requires(P p) {
  typename P::element;
  p.advance(1);
  p.address();
};

template <DevicePointer P, std::integral I>
P operator+(P p, I n) {
  p.advance(n);
  return p;
}
template <DevicePointer P, std::integral I>
P operator+(I n, P p) {
  return p + n;
}
template <DevicePointer P, std::integral I>
P operator-(P p, I n) {
  p.advance(-static_cast<std::ptrdiff_t>(n));
  return p;
}
template <DevicePointer P, std::integral I>
P& operator+=(P& p, I n) {
  return p = p + n;
}
template <DevicePointer P, std::integral I>
P& operator-=(P& p, I n) {
  return p = p - n;
}
template <DevicePointer P>
P& operator++(P& p) {
  return p += 1;
}
template <DevicePointer P>
P operator++(P& p, int) {
  const P before = p;
  p += 1;
  return before;
}
template <DevicePointer P, DevicePointer Q>
std::ptrdiff_t operator-(const P& p, const Q& q) {
  static_assert(std::is_same_v<typename P::element, typename Q::element>);
  return static_cast<std::ptrdiff_t>(p.address() - q.address()) /
         static_cast<std::ptrdiff_t>(sizeof(typename P::element));
}
template <DevicePointer P, DevicePointer Q>
auto operator<=>(const P& p, const Q& q) {
  return p.address() <=> q.address();
}
template <DevicePointer P, DevicePointer Q>
bool operator==(const P& p, const Q& q) {
  return p.address() == q.address();
}
template <DevicePointer P>
bool operator==(const P& p, std::nullptr_t) {
  return !p;
}

template <class To, class From>
Shared<To> shared_cast(const Shared<From>& p) {
  static_assert(std::is_const_v<To> || !std::is_const_v<From>);
  return Shared<To>(p.array(), p.offset());
}

}  // namespace cuttle::kernels
