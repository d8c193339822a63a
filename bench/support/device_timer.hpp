// Time on a device's stream, by its own events.
#pragma once

#include "cuttle/core/stream.hpp"

namespace cuttle_bench {

// A point in the current stream's work.
class Event {
 public:
  explicit Event(cuttle::Device device)
      : device_(device), event_(cuttle::table_of(device).record_event(device.index, cuttle::current_stream(device))) {}
  ~Event() { cuttle::table_of(device_).drop_event(device_.index, event_); }
  Event(const Event&) = delete;
  Event& operator=(const Event&) = delete;

  // Waits for both.
  double seconds_since(const Event& from) const {
    return 1e-3 * static_cast<double>(cuttle::table_of(device_).milliseconds(device_.index, from.event_, event_));
  }

 private:
  cuttle::Device device_;
  cuttle::seam::Event event_;
};

}  // namespace cuttle_bench
