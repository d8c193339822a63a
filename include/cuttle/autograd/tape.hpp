// Reverse-mode differentiation: ops on Var record themselves on a Tape, backward() runs the records in reverse.
//
// The tape keeps its memory between steps (records live in an arena that clear() empties), so that a training loop
// allocates nothing after its first step.
#pragma once

#include <cstddef>
#include <memory>
#include <new>
#include <type_traits>
#include <utility>
#include <vector>

#include "cuttle/core/tensor.hpp"
#include "cuttle/ops/elementwise.hpp"

namespace cuttle {

template <class T>
class Tape;

// A tensor in a computation. One made from a tensor alone is a constant: ops on constants only compute.
template <class T>
class Var {
 public:
  Var() = default;
  Var(Tensor<T> value) : value_(std::move(value)) {}  // NOLINT: a tensor is a constant

  const Tensor<T>& value() const noexcept { return value_; }
  const Shape& shape() const noexcept { return value_.shape(); }
  Tape<T>* tape() const noexcept { return tape_; }
  // Whether a gradient flows to it: it belongs to a tape.
  bool needs_grad() const noexcept { return tape_ != nullptr; }

 private:
  friend class Tape<T>;
  Var(Tensor<T> value, Tape<T>* tape, int id) : value_(std::move(value)), tape_(tape), id_(id) {}

  Tensor<T> value_;
  Tape<T>* tape_ = nullptr;
  int id_ = -1;
};

// The value alone: no gradient flows through it (PyTorch's detach).
template <class T>
Var<T> detach(const Var<T>& x) {
  return Var<T>(x.value());
}

// The record of one computation. An op that meets a value of the tape records how its gradient goes back; backward()
// then runs the records in reverse and adds to the leaves' gradients. For one thread at a time.
template <class T>
class Tape {
 public:
  Tape() = default;
  Tape(const Tape&) = delete;
  Tape& operator=(const Tape&) = delete;
  ~Tape() { clear(); }

  // A parameter: backward() adds its gradient to `grad`, of the same shape.
  Var<T> leaf(const Tensor<T>& value, const Tensor<T>& grad) {
    require(value.shape() == grad.shape(), "Tape::leaf: value of shape ", value.shape(), ", gradient of shape ",
            grad.shape());
    grads_.push_back(grad);
    return Var<T>(value, this, static_cast<int>(grads_.size()) - 1);
  }
  // A leaf whose gradient the tape itself holds; read it with grad().
  Var<T> leaf(const Tensor<T>& value) {
    grads_.emplace_back();
    return Var<T>(value, this, static_cast<int>(grads_.size()) - 1);
  }

  // The result of an op whose gradient is computed by backward(tape, dy), called once at most. The closure keeps alive
  // what it captures until clear().
  template <class Backward>
  Var<T> record(Tensor<T> value, Backward backward) {
    static_assert(std::is_invocable_v<Backward&, Tape&, const Tensor<T>&>, "backward(Tape&, const Tensor<T>& dy)");
    grads_.emplace_back();
    const int id = static_cast<int>(grads_.size()) - 1;
    void* place = arena_.take(sizeof(Backward), alignof(Backward));
    auto* closure = new (place) Backward(std::move(backward));
    records_.push_back({id, closure,
                        [](void* self, Tape& tape, const Tensor<T>& dy) { (*static_cast<Backward*>(self))(tape, dy); },
                        [](void* self) { static_cast<Backward*>(self)->~Backward(); }});
    return Var<T>(std::move(value), this, id);
  }

  // For backward closures: adds dx to x's gradient; x may be a constant.
  void add_grad(const Var<T>& x, Tensor<T> dx) {
    if (!x.needs_grad()) return;
    Tensor<T>& grad = grads_[checked(x)];
    require(dx.shape() == x.shape(), "Tape::add_grad: gradient of shape ", dx.shape(), " for a value of shape ",
            x.shape());
    if (!grad.defined())
      grad = std::move(dx);
    else
      add_into(grad, dx);
  }
  // For backward closures that add to a gradient in place: its tensor, zero where nothing has been added yet.
  Tensor<T> grad_to_add_to(const Var<T>& x) {
    Tensor<T>& grad = grads_[checked(x)];
    if (!grad.defined()) grad = Tensor<T>::zeros(x.shape(), x.value().device());
    return grad;
  }

  // Runs the records in reverse from a scalar; d(loss)/d(loss) = 1.
  void backward(const Var<T>& loss) {
    require(loss.shape().numel() == 1, "Tape::backward: the loss has shape ", loss.shape(), ", not one element");
    if (!loss.needs_grad()) return;
    add_grad(loss, Tensor<T>::full(loss.shape(), T(1), loss.value().device()));
    for (std::size_t i = records_.size(); i-- > 0;) {
      // Taken out of the list, so that its memory serves the records still to come.
      const Tensor<T> dy = std::exchange(grads_[static_cast<std::size_t>(records_[i].id)], Tensor<T>());
      if (dy.defined()) records_[i].run(records_[i].closure, *this, dy);
    }
  }

  // The gradient of a leaf after backward(); zeros where the loss does not depend on it.
  Tensor<T> grad(const Var<T>& x) { return grad_to_add_to(x); }

  // Forgets all records, keeping their memory for the next step. Vars made before may no longer be used with the tape.
  void clear() noexcept {
    for (std::size_t i = records_.size(); i-- > 0;) records_[i].destroy(records_[i].closure);
    records_.clear();
    grads_.clear();
    arena_.clear();
  }

 private:
  struct Record {
    int id;
    void* closure;
    void (*run)(void*, Tape&, const Tensor<T>&);
    void (*destroy)(void*);
  };

  // Chunks that are refilled from the front after clear().
  class Arena {
   public:
    void* take(std::size_t bytes, std::size_t alignment) {
      static_assert(chunk_bytes % alignof(std::max_align_t) == 0);
      require(bytes <= chunk_bytes && alignment <= alignof(std::max_align_t), "Tape: a record of ", bytes, " bytes");
      used_ = (used_ + alignment - 1) / alignment * alignment;
      if (chunks_.empty() || used_ + bytes > chunk_bytes) {
        if (!chunks_.empty()) ++current_;
        if (current_ == chunks_.size()) chunks_.push_back(std::make_unique<Chunk>());
        used_ = 0;
      }
      void* place = chunks_[current_]->bytes + used_;
      used_ += bytes;
      return place;
    }
    void clear() noexcept { current_ = used_ = 0; }

   private:
    static constexpr std::size_t chunk_bytes = 1 << 16;
    struct Chunk {
      alignas(std::max_align_t) std::byte bytes[chunk_bytes];
    };
    std::vector<std::unique_ptr<Chunk>> chunks_;
    std::size_t current_ = 0, used_ = 0;
  };

  std::size_t checked(const Var<T>& x) const {
    require(x.tape_ == this && static_cast<std::size_t>(x.id_) < grads_.size(),
            "Tape: the value belongs to another tape");
    return static_cast<std::size_t>(x.id_);
  }

  Arena arena_;
  std::vector<Record> records_;
  std::vector<Tensor<T>> grads_;
};

// The tape that ops on these values record on: the first one's that has any; mixing two tapes is an error.
template <class T, class... Rest>
Tape<T>* tape_of(const char* op, const Var<T>& first, const Rest&... rest) {
  Tape<T>* tape = first.tape();
  for (Tape<T>* other : {first.tape(), rest.tape()...}) {
    if (!tape) tape = other;
    require(!other || other == tape, op, ": its arguments belong to two tapes");
  }
  return tape;
}

}  // namespace cuttle
