// RecordedWork: work on a device that is recorded once and then queued again and again by a single launch (a CUDA
// graph).
#pragma once

#include "cuttle/core/stream.hpp"

namespace cuttle {

// What the body queues is recorded with its arguments, addresses and numbers alike: whatever has to change from one
// replay to the next lies in the device's memory. The body must have run once on the same stream before, so that the
// pool has every block it needs; an allocation while recording throws, and so does reading from the device.
class RecordedWork {
 public:
  // Records body() on `stream`, which outlives the record and serves no other work that keeps memory.
  template <class Body>
  RecordedWork(const Stream& stream, Body&& body) : stream_(&stream) {
    const Device device = stream.device();
    const seam::Table& table = table_of(device);
    StreamScope scope(device, stream.get());
    table.begin_recording(device.index, stream.get());
    try {
      body();
    } catch (...) {
      table.abandon_recording(device.index, stream.get());
      throw;
    }
    graph_ = table.end_recording(device.index, stream.get());
  }
  ~RecordedWork() { table_of(stream_->device()).drop_graph(stream_->device().index, graph_); }
  RecordedWork(const RecordedWork&) = delete;
  RecordedWork& operator=(const RecordedWork&) = delete;

  // Queues all of it on its stream.
  void launch() const {
    const Device device = stream_->device();
    table_of(device).launch_graph(device.index, graph_, stream_->get());
  }

 private:
  const Stream* stream_;
  seam::Graph graph_ = nullptr;
};

}  // namespace cuttle
