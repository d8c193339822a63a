// The machine: runs a kernel's blocks one after another, each thread of a block on a fiber of its own, with a real
// block barrier and a rendezvous of the 32 lanes of a warp.
//
// A thread runs until it waits; then the next one in the order that can run goes on. A pass over all threads of the
// block in one order ends at a block barrier, and the next begins with another order where orders are shuffled. When no
// thread can run and some have not finished, the kernel is wrong: they wait for threads that will not come.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <exception>
#include <memory>
#include <mutex>
#include <numeric>
#include <random>
#include <sstream>
#include <string>
#include <vector>

#include "cuttle/seam/error.hpp"
#include "tests/simt/fiber.hpp"

namespace cuttle::kernels {

struct uint3 {
  unsigned x = 0, y = 0, z = 0;
};
struct dim3 {
  unsigned x, y, z;
  constexpr dim3(unsigned vx = 1, unsigned vy = 1, unsigned vz = 1) : x(vx), y(vy), z(vz) {}
};

// Of the thread that runs now.
inline uint3 threadIdx, blockIdx;
inline dim3 blockDim, gridDim;

inline std::ostream& operator<<(std::ostream& out, const uint3& index) {
  return out << '(' << index.x << ',' << index.y << ',' << index.z << ')';
}
inline std::ostream& operator<<(std::ostream& out, const dim3& extent) {
  return out << '(' << extent.x << ',' << extent.y << ',' << extent.z << ')';
}

}  // namespace cuttle::kernels

namespace cuttle_simt {

using cuttle::kernels::dim3;
using cuttle::kernels::uint3;

// In which order the threads of a block, and the blocks of a grid, take their turns.
enum class Order { forward, reverse, shuffled_1, shuffled_2 };

template <class... Parts>
std::string text(const Parts&... parts) {
  std::ostringstream out;
  (out << ... << parts);
  return out.str();
}
template <class... Parts>
[[noreturn, gnu::cold, gnu::noinline]] void fail(const Parts&... parts) {
  throw cuttle::Error(text(parts...));
}

// Where in a kernel a thread waits, and by which word.
struct Site {
  const char* word = "";
  const char* file = "";
  int line = 0;
  bool operator==(const Site& other) const { return line == other.line && !std::strcmp(word, other.word); }
};
inline std::ostream& operator<<(std::ostream& out, const Site& site) {
  const char* folder = std::strrchr(site.file, '/');
  return out << site.word << " at " << (folder ? folder + 1 : site.file) << ':' << site.line;
}

class SharedArray;

// Sixteen bytes on their way from global to shared memory.
struct PendingCopy {
  unsigned group;
  SharedArray* array;
  std::size_t offset;
  std::uintptr_t from;
};

struct Warp;

struct Thread {
  enum class State { can_run, running, at_barrier, at_rendezvous, finished };
  State state = State::can_run;
  unsigned number = 0;
  uint3 index;
  Warp* warp = nullptr;
  Fiber* fiber = nullptr;  // once it has begun
  Site site;               // where it waits
  std::vector<PendingCopy> copies;
  unsigned copy_groups = 0;
};

struct Warp {
  unsigned arrived = 0;
  Site site;
  void* operand[32] = {};
  std::uint64_t synchronized = 0;
};

// Times of accesses to shared memory, to tell which of them are ordered: a clock that every barrier advances, then the
// number of the thread in the lower bits.
struct Now {
  static constexpr int shift = 16;
  static constexpr std::uint64_t atomic = 1 << 15, thread_bits = 0x3FF, warp_bits = 0x3E0;
  std::uint64_t stamp = 0;          // of an access made now
  std::uint64_t block_barrier = 0;  // accesses of the block before this are ordered before one made now
  std::uint64_t warp_barrier = 0;   // the same within the warp

  bool ordered(std::uint64_t earlier) const {
    return earlier < block_barrier || ((earlier ^ stamp) & thread_bits) == 0 ||
           (((earlier ^ stamp) & warp_bits) == 0 && earlier < warp_barrier);
  }
};
inline Now now;

class Machine {
 public:
  static constexpr unsigned warp_size = 32, most_threads = 1024;
  static constexpr std::size_t most_static_shared = 48 * 1024, most_shared = 163 * 1024;

  // One for the program; never destroyed, since its fibers may outlive any order of destruction.
  static Machine& the() {
    static Machine& machine = *new Machine;
    return machine;
  }

  // Held by whoever uses the machine or the device's memory.
  std::recursive_mutex mutex;

  void set_order(Order order) {
    std::lock_guard lock(mutex);
    order_ = order;
    orders_.clear();
  }
  Order order() const { return order_; }

  // Throws unless a device could start this.
  static void check_launch(const char* what, dim3 grid, dim3 block, std::size_t dynamic_shared_bytes) {
    const std::uint64_t threads = std::uint64_t{block.x} * block.y * block.z;
    if (threads == 0 || threads > most_threads || threads % warp_size != 0 || block.z > 64)
      fail(what, ": a block of ", block, " threads: not a multiple of 32 up to 1024");
    if (grid.x > 0x7FFFFFFFu || grid.y > 0xFFFFu || grid.z > 0xFFFFu)
      fail(what, ": a grid of ", grid, " blocks is more than a device takes");
    if (dynamic_shared_bytes > most_shared)
      fail(what, ": ", dynamic_shared_bytes, " bytes of shared memory; a device has ", most_shared);
  }

  // Runs call(context) once in every thread of the grid. Throws cuttle::Error that names the kernel, the block and the
  // thread if one of them fails, after all others were unwound.
  void run(const char* what, dim3 grid, dim3 block, std::size_t dynamic_shared_bytes, void (*call)(const void*),
           const void* context) {
    std::lock_guard lock(mutex);
    if (running_) fail(what, ": a kernel cannot launch a kernel");
    check_launch(what, grid, block, dynamic_shared_bytes);
    call_ = call;
    context_ = context;
    dynamic_shared_bytes_ = dynamic_shared_bytes;
    cuttle::kernels::gridDim = grid;
    make_block(block);
    running_ = true;
    pass_ = 0;
    const std::uint64_t blocks = std::uint64_t{grid.x} * grid.y * grid.z;
    const std::vector<std::uint32_t> order = block_order(blocks);
    for (std::uint64_t i = 0; i < blocks && failure_.empty(); ++i) {
      const std::uint64_t number = order.empty() ? i : order[i];
      cuttle::kernels::blockIdx = {static_cast<unsigned>(number % grid.x),
                                   static_cast<unsigned>(number / grid.x % grid.y),
                                   static_cast<unsigned>(number / grid.x / grid.y)};
      run_block();
    }
    running_ = false;
    current_ = nullptr;
    failed_ = false;
    if (!failure_.empty()) {
      const std::string failure = text(what, ": ", failure_);
      failure_.clear();
      throw cuttle::Error(failure);
    }
  }

  // --- for the words of kernels: all of this is called by a thread ---------------------------------------------------

  Thread& current() {
    if (!current_) fail("a kernel's word outside of a kernel");
    return *current_;
  }
  bool running() const { return running_; }

  // Different for every block that was ever run.
  std::uint64_t block_serial() const { return block_serial_; }
  std::size_t dynamic_shared_bytes() const { return dynamic_shared_bytes_; }
  void count_static_shared(std::size_t bytes) {
    static_shared_bytes_ += bytes;
    if (static_shared_bytes_ > most_static_shared || static_shared_bytes_ + dynamic_shared_bytes_ > most_shared)
      fail("the block's shared arrays have ", static_shared_bytes_, " bytes beside ", dynamic_shared_bytes_,
           " dynamic ones; a device has ", most_static_shared, " and ", most_shared, " in all");
  }

  void barrier(const Site& site) {
    Thread& self = current();
    self.site = site;
    self.state = Thread::State::at_barrier;
    if (++at_barrier_ == threads_) {
      for (Thread* thread : thread_list_)
        if (!(thread->site == site)) {
          self.state = Thread::State::running;
          fail(site, ", while thread ", thread->number, " waits in ", thread->site,
               ": all threads of a block meet at one barrier");
        }
      release_block();
    }
    wait();
  }

  // Waits until all lanes of the warp are here; the last one calls complete(operands), lane by lane the address that
  // each came with.
  template <class Operand>
  void rendezvous(const Site& site, unsigned mask, Operand& operand, void (*complete)(Operand* const*),
                  bool orders_memory = false) {
    Thread& self = current();
    Warp& warp = *self.warp;
    if (mask != 0xFFFFFFFFu) fail(site, ": mask ", mask, " leaves lanes out; only the full mask is allowed");
    if (warp.arrived == 0) warp.site = site;
    if (!(warp.site == site))
      fail(site, ", while other lanes of its warp are in ", warp.site, ": all 32 lanes meet at one place");
    warp.operand[self.number % warp_size] = &operand;
    self.site = site;
    if (++warp.arrived < warp_size) {
      self.state = Thread::State::at_rendezvous;
    } else {
      if (complete) {
        Operand* operands[warp_size];
        for (unsigned lane = 0; lane < warp_size; ++lane) operands[lane] = static_cast<Operand*>(warp.operand[lane]);
        complete(operands);
      }
      warp.arrived = 0;
      if (orders_memory) warp.synchronized = ++clock_;
      const unsigned first = self.number / warp_size * warp_size;
      for (unsigned lane = 0; lane < warp_size; ++lane) thread_list_[first + lane]->state = Thread::State::can_run;
      can_run_ += warp_size;
    }
    wait();
  }

 private:
  // Unwinds a thread that waits when another one has failed. Not a std::exception, so that nothing takes it for one.
  struct Abandoned {};

  static constexpr std::size_t shuffles = 8;  // orders that shuffled passes take in turn

  void make_block(dim3 block) {
    cuttle::kernels::blockDim = block;
    const unsigned threads = block.x * block.y * block.z;
    while (pool_.size() < threads) pool_.push_back(std::make_unique<Thread>());
    while (warps_.size() < threads / warp_size) warps_.push_back(std::make_unique<Warp>());
    if (threads != threads_) orders_.clear();
    threads_ = threads;
    thread_list_.resize(threads);
    for (unsigned i = 0; i < threads; ++i) {
      Thread& thread = *(thread_list_[i] = pool_[i].get());
      thread.number = i;
      thread.index = {i % block.x, i / block.x % block.y, i / block.x / block.y};
      thread.warp = warps_[i / warp_size].get();
    }
    if (orders_.empty()) make_orders();
  }

  std::mt19937 generator() const { return std::mt19937(order_ == Order::shuffled_1 ? 1u : 2u); }
  bool shuffled() const { return order_ == Order::shuffled_1 || order_ == Order::shuffled_2; }

  // Fisher and Yates, written out so that every standard library gives the same.
  template <class T>
  static void shuffle(std::vector<T>& list, std::mt19937& random) {
    for (std::size_t i = list.size(); i > 1; --i) std::swap(list[i - 1], list[random() % i]);
  }

  void make_orders() {
    std::mt19937 random = generator();
    for (std::size_t i = 0; i < (shuffled() ? shuffles : 1); ++i) {
      std::vector<Thread*> order = thread_list_;
      if (order_ == Order::reverse) std::reverse(order.begin(), order.end());
      if (shuffled()) shuffle(order, random);
      orders_.push_back(std::move(order));
    }
  }

  // Empty for 0, 1, 2, ...
  std::vector<std::uint32_t> block_order(std::uint64_t blocks) const {
    std::vector<std::uint32_t> order;
    if (order_ == Order::forward) return order;
    order.resize(blocks);
    std::iota(order.begin(), order.end(), 0u);
    if (order_ == Order::reverse) std::reverse(order.begin(), order.end());
    std::mt19937 random = generator();
    if (shuffled()) shuffle(order, random);
    return order;
  }

  void run_block() {
    ++block_serial_;
    static_shared_bytes_ = 0;
    for (Thread* thread : thread_list_) {
      thread->state = Thread::State::can_run;
      thread->fiber = nullptr;
      thread->copies.clear();
      thread->copy_groups = 0;
    }
    for (unsigned i = 0; i < threads_ / warp_size; ++i) warps_[i]->arrived = 0;
    unfinished_ = threads_;
    release_block();
    Thread* first = next();
    activate(*first);
    Fiber::switch_to(host_, fiber_of(*first));
  }

  void release_block() {
    for (Thread* thread : thread_list_) thread->state = Thread::State::can_run;
    can_run_ = threads_;
    at_barrier_ = 0;
    block_barrier_ = ++clock_;
    begin_pass();
  }

  void begin_pass() {
    turn_ = 0;
    pass_order_ = orders_[pass_++ % orders_.size()].data();
  }

  // The thread whose turn it is, taken off those that can run; null if there is nothing left to do but go back to the
  // host.
  Thread* next() {
    while (!failed_) {
      for (; turn_ < threads_; ++turn_) {
        Thread* thread = pass_order_[turn_];
        if (thread->state != Thread::State::can_run) continue;
        ++turn_;
        --can_run_;
        thread->state = Thread::State::running;
        return thread;
      }
      if (can_run_ == 0) {
        if (unfinished_ == 0) return nullptr;
        note_failure(diagnosis());
        break;
      }
      begin_pass();
    }
    for (Thread* thread : thread_list_)
      if (thread->fiber && thread->state != Thread::State::finished && thread->state != Thread::State::running) {
        thread->state = Thread::State::running;
        return thread;
      }
    return nullptr;
  }

  // Makes it the one that runs, just before its fiber goes on.
  void activate(Thread& thread) {
    current_ = &thread;
    cuttle::kernels::threadIdx = thread.index;
    now.stamp = clock_ << Now::shift | thread.number;
    now.block_barrier = block_barrier_ << Now::shift;
    now.warp_barrier = thread.warp->synchronized << Now::shift;
  }

  Fiber& fiber_of(Thread& thread) {
    if (!thread.fiber) {
      if (idle_.empty()) {
        fibers_.push_back(std::make_unique<Fiber>(&Machine::work, fibers_.size()));
        idle_.reserve(fibers_.size());
        idle_.push_back(fibers_.back().get());
      }
      thread.fiber = idle_.back();
      idle_.pop_back();
    }
    return *thread.fiber;
  }

  // The current thread gives way; its state says what it waits for.
  void wait() {
    Thread& self = *current_;
    Thread* thread = next();
    if (thread) activate(*thread);
    if (thread != &self) Fiber::switch_to(*self.fiber, thread ? fiber_of(*thread) : host_);
    if (failed_) throw Abandoned{};
  }

  // What a fiber does: runs the current thread to its end, then the next one that has not begun, on the same stack; so
  // threads that never wait cost no switch.
  static void work() {
    Machine& machine = the();
    for (;;) {
      Thread& self = *machine.current_;
      Fiber& fiber = *self.fiber;
      machine.run_thread();
      self.state = Thread::State::finished;
      --machine.unfinished_;
      Thread* thread = machine.next();
      if (thread) machine.activate(*thread);
      if (thread && !thread->fiber) {
        thread->fiber = &fiber;
        continue;
      }
      machine.idle_.push_back(&fiber);
      Fiber::switch_to(fiber, thread ? *thread->fiber : machine.host_);
    }
  }

  void run_thread() {
    try {
      call_(context_);
    } catch (const Abandoned&) {
    } catch (const std::exception& error) {
      note_failure(text("thread ", current_->index, ": ", error.what()));
    } catch (...) {
      note_failure(text("thread ", current_->index, ": an exception that is no std::exception"));
    }
  }

  void note_failure(const std::string& failure) {
    if (failed_) return;
    failed_ = true;
    failure_ = text("block ", cuttle::kernels::blockIdx, ", ", failure);
  }

  // Why no thread can run: which one waits for whom.
  std::string diagnosis() const {
    const auto find = [&](Thread::State state, unsigned first, unsigned last) -> const Thread* {
      for (unsigned i = first; i < last; ++i)
        if (thread_list_[i]->state == state) return thread_list_[i];
      return nullptr;
    };
    const auto is = [](const Thread* thread) {
      return thread->state == Thread::State::finished ? std::string("has finished") : text("waits in ", thread->site);
    };
    if (const Thread* lane = find(Thread::State::at_rendezvous, 0, threads_)) {
      const unsigned first = lane->number / warp_size * warp_size;
      const Thread* missing = find(Thread::State::finished, first, first + warp_size);
      if (!missing) missing = find(Thread::State::at_barrier, first, first + warp_size);
      return text("thread ", lane->number, " waits in ", lane->site, " for all 32 lanes of its warp, but thread ",
                  missing->number, " ", is(missing));
    }
    const Thread* waiting = find(Thread::State::at_barrier, 0, threads_);
    const Thread* missing = find(Thread::State::finished, 0, threads_);
    return text("thread ", waiting->number, " waits in ", waiting->site, " for all threads of its block, but thread ",
                missing->number, " ", is(missing));
  }

  Order order_ = Order::forward;
  std::vector<std::unique_ptr<Thread>> pool_;
  std::vector<std::unique_ptr<Warp>> warps_;
  std::vector<std::unique_ptr<Fiber>> fibers_;
  std::vector<Fiber*> idle_;
  Fiber host_;

  void (*call_)(const void*) = nullptr;
  const void* context_ = nullptr;
  std::size_t dynamic_shared_bytes_ = 0, static_shared_bytes_ = 0;
  bool running_ = false;

  unsigned threads_ = 0;
  std::vector<Thread*> thread_list_;          // of the block, by number
  std::vector<std::vector<Thread*>> orders_;  // in which they take their turns
  std::size_t pass_ = 0;
  Thread* const* pass_order_ = nullptr;
  unsigned turn_ = 0;
  unsigned unfinished_ = 0, can_run_ = 0, at_barrier_ = 0;
  Thread* current_ = nullptr;
  std::uint64_t block_serial_ = 0, clock_ = 0, block_barrier_ = 0;

  bool failed_ = false;
  std::string failure_;
};

inline void set_order(Order order) { Machine::the().set_order(order); }

}  // namespace cuttle_simt
