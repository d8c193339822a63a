// Fibers: functions with stacks of their own, between which one host thread switches by hand. Boost.Context's bare
// switch costs a few nanoseconds; a freshly mapped stack a thousand times that, so fibers are kept and used again.
#pragma once

#include <sys/mman.h>
#include <unistd.h>

#include <boost/context/detail/fcontext.hpp>
#include <cstddef>
#include <new>

namespace cuttle_simt {

// The address sanitizer has to know which stack it is on; null in programs without it.
extern "C" void cuttle_simt_start_switch(void** fake_stack, const void* bottom,
                                         std::size_t size) __asm__("__sanitizer_start_switch_fiber")
    __attribute__((weak));
extern "C" void cuttle_simt_finish_switch(void* fake_stack, const void** bottom,
                                          std::size_t* size) __asm__("__sanitizer_finish_switch_fiber")
    __attribute__((weak));

class Fiber {
 public:
  // Stands for the stack that the host thread runs on anyway.
  Fiber() = default;

  // Calls body() when it is first switched to; body never returns. Stacks lie a little off each other's place in their
  // pages: hundreds with their frames at one offset would share a handful of cache lines.
  Fiber(void (*body)(), std::size_t number) : body_(body) {
    const auto page = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
    void* memory =
        ::mmap(nullptr, page + stack_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED) throw std::bad_alloc();
    ::mprotect(memory, page, PROT_NONE);
    bottom_ = static_cast<char*>(memory) + page;
    size_ = stack_bytes - number % 16 * 256;
    context_ = boost::context::detail::make_fcontext(static_cast<char*>(memory) + page + size_, size_, &Fiber::enter);
  }
  Fiber(const Fiber&) = delete;
  Fiber& operator=(const Fiber&) = delete;

  // Goes on in `to`; returns when something switches back to `from`, on whose stack this is called.
  static void switch_to(Fiber& from, Fiber& to) {
    leaving_ = &from;
    if (cuttle_simt_start_switch) cuttle_simt_start_switch(&from.fake_stack_, to.bottom_, to.size_);
    arrive(boost::context::detail::jump_fcontext(to.context_, &to), from);
  }

 private:
  static constexpr std::size_t stack_bytes = 256 * 1024;

  static void arrive(boost::context::detail::transfer_t transfer, Fiber& self) {
    leaving_->context_ = transfer.fctx;
    if (cuttle_simt_finish_switch) cuttle_simt_finish_switch(self.fake_stack_, &leaving_->bottom_, &leaving_->size_);
  }
  static void enter(boost::context::detail::transfer_t transfer) {
    Fiber& self = *static_cast<Fiber*>(transfer.data);
    arrive(transfer, self);
    self.body_();
  }

  static inline Fiber* leaving_ = nullptr;

  void (*body_)() = nullptr;
  boost::context::detail::fcontext_t context_ = nullptr;
  void* fake_stack_ = nullptr;
  const void* bottom_ = nullptr;
  std::size_t size_ = 0;
};

}  // namespace cuttle_simt
