// parallel_for: tiles of work over a pool of threads, without allocation and with results that do not depend on the
// number of threads, because tiles are cut by shape alone and each tile is computed by one thread.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <exception>
#include <mutex>
#include <system_error>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

#include "cuttle/core/error.hpp"

namespace cuttle {

namespace detail {

// OpenMP's own functions where the program holds an OpenMP runtime, null where it does not. Asked at run time, because
// of two translation units, one with -fopenmp and one without, the linker keeps one copy of an inline function.
extern "C" int cuttle_omp_get_max_threads() __asm__("omp_get_max_threads") __attribute__((weak));
extern "C" void cuttle_omp_set_num_threads(int) __asm__("omp_set_num_threads") __attribute__((weak));

// A user's -fopenmp makes Eigen split products by thread count, which changes bits; inside our work it is held to one.
class SingleThreadedOpenMp {
 public:
  SingleThreadedOpenMp() noexcept : before_(cuttle_omp_get_max_threads ? cuttle_omp_get_max_threads() : 1) {
    if (before_ > 1) cuttle_omp_set_num_threads(1);
  }
  ~SingleThreadedOpenMp() {
    if (before_ > 1) cuttle_omp_set_num_threads(before_);
  }
  SingleThreadedOpenMp(const SingleThreadedOpenMp&) = delete;
  SingleThreadedOpenMp& operator=(const SingleThreadedOpenMp&) = delete;

 private:
  int before_;
};

inline bool& inside_parallel_region() noexcept {
  thread_local bool inside = false;
  return inside;
}

class ThreadPool {
 public:
  using Body = void (*)(void* context, std::int64_t tile, int worker);

  static ThreadPool& instance() {
    static ThreadPool pool;
    return pool;
  }

  int threads() const noexcept { return threads_.load(std::memory_order_relaxed); }

  void set_threads(int threads) {
    std::lock_guard lock(submit_);
    stop_workers();
    threads_.store(threads, std::memory_order_relaxed);
  }

  void run(std::int64_t tiles, Body body, void* context) {
    std::unique_lock submit(submit_, std::try_to_lock);
    // A second caller at the same time (a user's own threads) computes its tiles itself: same tiles, same bits.
    if (!submit || threads() == 1 || tiles == 1) return run_here(tiles, body, context);
    start_workers();
    {
      std::lock_guard lock(mutex_);
      body_ = body;
      context_ = context;
      tiles_ = tiles;
      next_.store(0, std::memory_order_relaxed);
      error_ = nullptr;
      busy_ = static_cast<int>(workers_.size());
      ++generation_;
    }
    wake_.notify_all();
    work(0);
    std::unique_lock lock(mutex_);
    done_.wait(lock, [this] { return busy_ == 0; });
    if (error_) std::rethrow_exception(std::exchange(error_, nullptr));
  }

  ~ThreadPool() { stop_workers(); }

 private:
  ThreadPool() {
    const unsigned cores = std::thread::hardware_concurrency();
    threads_.store(cores ? static_cast<int>(cores) : 1, std::memory_order_relaxed);
  }

  static void run_here(std::int64_t tiles, Body body, void* context) {
    SingleThreadedOpenMp guard;
    bool& inside = inside_parallel_region();
    const bool before = std::exchange(inside, true);
    struct Restore {
      bool& flag;
      bool value;
      ~Restore() { flag = value; }
    } restore{inside, before};
    for (std::int64_t tile = 0; tile < tiles; ++tile) body(context, tile, 0);
  }

  void work(int number) {
    SingleThreadedOpenMp guard;
    bool& inside = inside_parallel_region();
    inside = true;
    for (std::int64_t tile; (tile = next_.fetch_add(1, std::memory_order_relaxed)) < tiles_;) {
      try {
        body_(context_, tile, number);
      } catch (...) {
        std::lock_guard lock(mutex_);
        if (!error_) error_ = std::current_exception();
        next_.store(tiles_, std::memory_order_relaxed);
      }
    }
    inside = false;
  }

  // Where the system refuses another thread, those that there are do the work: the results are the same.
  void start_workers() {
    try {
      while (static_cast<int>(workers_.size()) + 1 < threads())
        workers_.emplace_back(
            [this, seen = generation_, number = static_cast<int>(workers_.size()) + 1] { worker(seen, number); });
    } catch (const std::system_error&) {
    }
  }

  // seen: the last generation before this worker was started, so that it joins the very next one.
  void worker(std::uint64_t seen, int number) {
    for (;;) {
      {
        std::unique_lock lock(mutex_);
        wake_.wait(lock, [&] { return stop_ || generation_ != seen; });
        if (stop_) return;
        seen = generation_;
      }
      work(number);
      std::lock_guard lock(mutex_);
      if (--busy_ == 0) done_.notify_one();
    }
  }

  void stop_workers() {
    {
      std::lock_guard lock(mutex_);
      stop_ = true;
    }
    wake_.notify_all();
    for (std::thread& worker : workers_) worker.join();
    workers_.clear();
    stop_ = false;
  }

  std::mutex submit_, mutex_;
  std::condition_variable wake_, done_;
  std::vector<std::thread> workers_;
  std::atomic<int> threads_{1};
  std::atomic<std::int64_t> next_{0};
  std::int64_t tiles_ = 0;
  Body body_ = nullptr;
  void* context_ = nullptr;
  std::exception_ptr error_;
  std::uint64_t generation_ = 0;
  int busy_ = 0;
  bool stop_ = false;
};

template <class Body>
void call_tile(Body& body, std::int64_t tile, [[maybe_unused]] int worker) {
  if constexpr (std::is_invocable_v<Body&, std::int64_t, int>)
    body(tile, worker);
  else
    body(tile);
}

}  // namespace detail

// Number of threads the library may use; at first the number of cores. It never changes a result.
inline int num_threads() noexcept { return detail::ThreadPool::instance().threads(); }

// Sets it (at least 1). Waits until no other thread is inside a parallel_for; throws when called from inside one.
inline void set_num_threads(int threads) {
  require(threads >= 1, "set_num_threads: at least 1, got ", threads);
  require(!detail::inside_parallel_region(), "set_num_threads: called from inside a parallel_for");
  detail::ThreadPool::instance().set_threads(threads);
}

// Calls body(tile) for tile = 0 .. tiles-1, each once, in any order and on any of the threads; rethrows the first
// exception. A call from inside a tile runs on the calling thread. Cut tiles by shape, never by num_threads(). A body
// that takes a second number gets that of the thread it runs on, which no other tile has at the same time: 0 ..
// num_threads()-1.
template <class Body>
void parallel_for(std::int64_t tiles, Body&& body) {
  if (tiles <= 0) return;
  if (detail::inside_parallel_region()) {
    for (std::int64_t tile = 0; tile < tiles; ++tile) detail::call_tile(body, tile, 0);
    return;
  }
  using Plain = std::remove_reference_t<Body>;
  detail::ThreadPool::instance().run(
      tiles,
      [](void* context, std::int64_t tile, int worker) {
        detail::call_tile(*static_cast<Plain*>(context), tile, worker);
      },
      const_cast<void*>(static_cast<const void*>(&body)));
}

}  // namespace cuttle
