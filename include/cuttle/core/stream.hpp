// Streams: queues of work on a device. Work goes to the current stream of the calling thread, as in PyTorch; that is
// the library's own one of the device unless a StreamScope says otherwise. On the CPU there are none and work is done
// when a call returns.
#pragma once

#include <utility>

#include "cuttle/core/device.hpp"

namespace cuttle {

namespace detail {
struct CurrentStream {
  Device device;
  seam::Stream stream = nullptr;
};
inline CurrentStream& innermost_stream() noexcept {
  thread_local CurrentStream current;
  return current;
}
}  // namespace detail

// The stream that the calling thread's work on the device is queued on; nullptr is the library's own.
inline seam::Stream current_stream(Device device) noexcept {
  const detail::CurrentStream& current = detail::innermost_stream();
  return !device.is_cpu() && current.device == device ? current.stream : nullptr;
}

// Makes `stream`, for example the user's own cudaStream_t, the calling thread's current stream of the device while it
// lives. Memory taken meanwhile goes back to that stream's share of the pool, so blocks never wander between streams;
// tensors that another stream wrote must be complete (synchronize) before they are used here.
class StreamScope {
 public:
  StreamScope(Device device, seam::Stream stream) noexcept
      : before_(std::exchange(detail::innermost_stream(), {device, stream})) {}
  ~StreamScope() { detail::innermost_stream() = before_; }
  StreamScope(const StreamScope&) = delete;
  StreamScope& operator=(const StreamScope&) = delete;

 private:
  detail::CurrentStream before_;
};

// Waits until the current stream of the device has done its work.
inline void synchronize(Device device) {
  if (!device.is_cpu()) table_of(device).synchronize(device.index, current_stream(device));
}

// A stream of one's own; on the CPU it is nothing.
class Stream {
 public:
  explicit Stream(Device device)
      : device_(device), stream_(device.is_cpu() ? nullptr : table_of(device).make_stream(device.index)) {}
  ~Stream() {
    if (stream_) table_of(device_).drop_stream(device_.index, stream_);
  }
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;

  Device device() const noexcept { return device_; }
  // What a StreamScope and the table take.
  seam::Stream get() const noexcept { return stream_; }

 private:
  Device device_;
  seam::Stream stream_;
};

}  // namespace cuttle
