// Streams and recorded work. Work is done at once, in the order of the calls, unless its stream records: then it is
// kept with its arguments' values, and a graph does it again in the same order.
#pragma once

#include <functional>
#include <memory>
#include <set>
#include <utility>
#include <vector>

#include "cuttle/seam/table.hpp"
#include "tests/simt/machine.hpp"

namespace cuttle_simt {

using cuttle::seam::Stream;

using Graph = std::vector<std::function<void()>>;

class Streams {
 public:
  static Streams& the() {
    static Streams& streams = *new Streams;
    return streams;
  }

  Stream make() {
    std::lock_guard lock(mutex());
    auto* state = new State;
    states_.insert(state);
    return state;
  }
  void drop(Stream stream) {
    std::lock_guard lock(mutex());
    State* state = &find("drop_stream", stream);
    if (state == &own_) fail("drop_stream: the library's own stream");
    if (state->recording) abandon(stream);
    states_.erase(state);
    delete state;
  }

  // Does it now, or puts a copy of it into what the stream records.
  template <class Work>
  void queue(const char* what, Stream stream, const Work& work) {
    std::lock_guard lock(mutex());
    State& state = find(what, stream);
    if (state.recording)
      state.recording->push_back(work);
    else
      work();
  }

  // Puts work that was done already into what the stream records, if it does; it may be a stream that was.
  template <class Work>
  void record(Stream stream, const Work& work) {
    std::lock_guard lock(mutex());
    if (stream && !states_.contains(static_cast<State*>(stream))) return;
    if (State& state = find("record", stream); state.recording) state.recording->push_back(work);
  }

  void begin(Stream stream) {
    std::lock_guard lock(mutex());
    State& state = find("begin_recording", stream);
    if (state.recording) fail("begin_recording: the stream records already");
    state.recording = std::make_unique<Graph>();
    ++recordings_;
  }
  Graph* end(Stream stream) {
    std::lock_guard lock(mutex());
    State& state = find("end_recording", stream);
    if (!state.recording) fail("end_recording: the stream does not record");
    --recordings_;
    return state.recording.release();
  }
  void abandon(Stream stream) { delete end(stream); }

  // For what a device refuses while anything is recorded.
  void require_no_recording(const char* what) {
    std::lock_guard lock(mutex());
    if (recordings_ > 0) fail(what, ": not while a stream records");
  }

  // Throws unless the stream is the device's.
  void check(const char* what, Stream stream) {
    std::lock_guard lock(mutex());
    find(what, stream);
  }

 private:
  struct State {
    std::unique_ptr<Graph> recording;
  };

  static std::recursive_mutex& mutex() { return Machine::the().mutex; }

  State& find(const char* what, Stream stream) {
    if (!stream) return own_;
    const auto found = states_.find(static_cast<State*>(stream));
    if (found == states_.end()) fail(what, ": ", stream, " is no stream of the device");
    return **found;
  }

  State own_;
  std::set<State*> states_;
  int recordings_ = 0;
};

}  // namespace cuttle_simt
