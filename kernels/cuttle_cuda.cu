// The CUDA device: memory, copies, streams, events, graphs, and every op on a stream. The one translation unit that
// nvcc compiles; everyone else meets it through the table of seam/table.hpp, which it registers itself in.
#include <cstring>
#include <memory>
#include <mutex>

#include "cuttle/seam/table.hpp"
#include "kernels/conv2d_cudnn.cuh"
#include "kernels/indexing.cuh"
#include "kernels/matmul_cublas.cuh"
#include "kernels/ops.cuh"

namespace cuttle::kernels {
namespace {

using seam::Stream;

// --- devices --------------------------------------------------------------------------------------------------------

// Without a driver there are no devices, which is not an error.
int device_count() {
  static const int count = [] {
    int n = 0;
    if (cudaGetDeviceCount(&n) == cudaSuccess) return n;
    cudaGetLastError();
    return 0;
  }();
  return count;
}

// Pinned memory through which copies from and to the host go in pieces: one is copied by the processor while the device
// moves the other. The host's memory may then be any, and is not touched after a copy has returned.
class Staging {
 public:
  void to_device(char* to, const char* from, std::size_t bytes, cudaStream_t stream) {
    constexpr const char* what = "copy to the device";
    const std::lock_guard<std::mutex> lock(mutex_);
    prepare(what);
    for (std::size_t at = 0, turn = 0; at < bytes; at += piece, ++turn) {
      const Half& half = halves_[turn % 2];
      const std::size_t n = at + piece < bytes ? piece : bytes - at;
      if (turn >= 2) check(what, cudaEventSynchronize(half.moved));
      std::memcpy(half.memory, from + at, n);
      check(what, cudaMemcpyAsync(to + at, half.memory, n, cudaMemcpyHostToDevice, stream));
      check(what, cudaEventRecord(half.moved, stream));
    }
    check(what, cudaStreamSynchronize(stream));
  }

  void to_host(char* to, const char* from, std::size_t bytes, cudaStream_t stream) {
    constexpr const char* what = "copy to the host";
    const std::lock_guard<std::mutex> lock(mutex_);
    prepare(what);
    const auto size = [&](std::size_t at) { return at + piece < bytes ? piece : bytes - at; };
    const auto start = [&](std::size_t at) {
      const Half& half = halves_[at / piece % 2];
      check(what, cudaMemcpyAsync(half.memory, from + at, size(at), cudaMemcpyDeviceToHost, stream));
      check(what, cudaEventRecord(half.moved, stream));
    };
    start(0);
    for (std::size_t at = 0; at < bytes; at += piece) {
      if (at + piece < bytes) start(at + piece);
      const Half& half = halves_[at / piece % 2];
      check(what, cudaEventSynchronize(half.moved));
      std::memcpy(to + at, half.memory, size(at));
    }
  }

 private:
  static constexpr std::size_t piece = std::size_t{4} << 20;
  struct Half {
    void* memory = nullptr;
    cudaEvent_t moved = nullptr;
  };

  void prepare(const char* what) {
    for (Half& half : halves_) {
      if (!half.memory) check(what, cudaMallocHost(&half.memory, piece));
      if (!half.moved) check(what, cudaEventCreateWithFlags(&half.moved, cudaEventDisableTiming));
    }
  }

  std::mutex mutex_;
  Half halves_[2];
};

// What the library keeps for a device. Never destroyed: at the end of a program the driver may be gone before it.
struct DeviceState {
  Staging staging;
  std::mutex mutex;  // guards what follows
  cudaStream_t stream = nullptr;
  std::unique_ptr<CudnnConv2d> cudnn;
  std::unique_ptr<CublasMatmul> cublas;
};

DeviceState& state_of(int device) {
  static DeviceState* const states = new DeviceState[static_cast<std::size_t>(device_count())];
  if (device < 0 || device >= device_count())
    throw Error("device cuda:" + std::to_string(device) + ": there are " + std::to_string(device_count()) +
                " CUDA devices here");
  return states[device];
}

// Makes a device current while it lives, and a null stream the library's own one of it.
class OnDevice {
 public:
  explicit OnDevice(int device) : state_(state_of(device)), device_(device) {
    check("set the device", cudaGetDevice(&before_));
    if (before_ != device_) check("set the device", cudaSetDevice(device_));
  }
  OnDevice(int device, Stream stream) : OnDevice(device) {
    stream_ = static_cast<cudaStream_t>(stream);
    if (stream_) return;
    const std::lock_guard<std::mutex> lock(state_.mutex);
    if (!state_.stream) check("make a stream", cudaStreamCreateWithFlags(&state_.stream, cudaStreamNonBlocking));
    stream_ = state_.stream;
  }
  ~OnDevice() {
    if (before_ != device_) cudaSetDevice(before_);
  }
  OnDevice(const OnDevice&) = delete;
  OnDevice& operator=(const OnDevice&) = delete;

  cudaStream_t stream() const { return stream_; }
  DeviceState& state() const { return state_; }

 private:
  DeviceState& state_;
  int device_, before_ = 0;
  cudaStream_t stream_ = nullptr;
};

// For what destructors and handlers of exceptions call: reports nothing. A fault of the device meets its next user.
template <class Body>
void quietly(Body body) noexcept {
  try {
    body();
  } catch (...) {
  }
  cudaGetLastError();
}

// --- recording ------------------------------------------------------------------------------------------------------

// Whether this thread records. CUDA would spoil the recording at calls that cannot be recorded; they are refused first.
thread_local bool recording = false;

void not_while_recording(const char* what) {
  if (recording) throw Error(std::string(what) + ": cannot be recorded; work has to run once before it is recorded");
}

void begin_recording(int device, Stream stream) {
  not_while_recording("begin a recording");
  const OnDevice on(device, stream);
  check("begin a recording", cudaStreamBeginCapture(on.stream(), cudaStreamCaptureModeThreadLocal));
  recording = true;
}

seam::Graph end_recording(int device, Stream stream) {
  const OnDevice on(device, stream);
  recording = false;
  cudaGraph_t graph = nullptr;
  check("end a recording", cudaStreamEndCapture(on.stream(), &graph));
  cudaGraphExec_t ready = nullptr;
  const cudaError_t status = cudaGraphInstantiate(&ready, graph, 0);
  cudaGraphDestroy(graph);
  check("end a recording", status);
  return ready;
}

// What went wrong is on its way already: nothing more is reported.
void abandon_recording(int device, Stream stream) {
  quietly([&] {
    recording = false;
    const OnDevice on(device, stream);
    cudaGraph_t graph = nullptr;
    cudaStreamEndCapture(on.stream(), &graph);
    if (graph) cudaGraphDestroy(graph);
  });
}

void launch_graph(int device, seam::Graph graph, Stream stream) {
  const OnDevice on(device, stream);
  check("launch a graph", cudaGraphLaunch(static_cast<cudaGraphExec_t>(graph), on.stream()));
  sync_if_asked("launch a graph", on.stream());
}

// --- memory ---------------------------------------------------------------------------------------------------------

void* allocate(int device, std::size_t bytes) {
  not_while_recording("allocate memory on the device");
  const OnDevice on(device);
  void* memory = nullptr;
  const cudaError_t status = cudaMalloc(&memory, bytes);
  if (status != cudaSuccess) check(("allocate " + std::to_string(bytes) + " bytes on the device").c_str(), status);
  return memory;
}

void release(int device, void* memory, std::size_t) {
  not_while_recording("release memory of the device");
  const OnDevice on(device);
  check("release memory of the device", cudaFree(memory));
}

void copy_to_device(int device, void* destination, const void* source, std::size_t bytes, Stream stream) {
  not_while_recording("copy to the device");
  const OnDevice on(device, stream);
  if (bytes)
    on.state().staging.to_device(static_cast<char*>(destination), static_cast<const char*>(source), bytes, on.stream());
}

void copy_to_host(int device, void* destination, const void* source, std::size_t bytes, Stream stream) {
  not_while_recording("copy to the host");
  const OnDevice on(device, stream);
  if (bytes)
    on.state().staging.to_host(static_cast<char*>(destination), static_cast<const char*>(source), bytes, on.stream());
}

void copy_on_device(int device, void* destination, const void* source, std::size_t bytes, Stream stream) {
  const OnDevice on(device, stream);
  check("copy on the device", cudaMemcpyAsync(destination, source, bytes, cudaMemcpyDeviceToDevice, on.stream()));
  sync_if_asked("copy on the device", on.stream());
}

// op:     to[i] = value
// layout: to (n)
// launch: blocks_for(n, 256) blocks of 256 that stride over the grid
// order:  elementwise
// limits: none; n = 0: nothing is launched
// cost:   n elements written; bound by memory
template <class T>
CUTTLE_KERNEL fill_elements(T* memory, T value, std::int64_t n) {
  const Global<T> to = memory;
  for (std::int64_t i = thread_index(); i < n; i += thread_count()) to[i] = value;
}

template <class T>
void fill_with(void* memory, const void* value, std::size_t n, cudaStream_t stream) {
  T bits;
  std::memcpy(&bits, value, sizeof bits);
  const auto count = static_cast<std::int64_t>(n);
  launch("fill", &fill_elements<T>, blocks_for(count, 256), 256, 0, stream, static_cast<T*>(memory), bits, count);
}

void fill(int device, void* memory, const void* value, std::size_t size, std::size_t n, Stream stream) {
  const OnDevice on(device, stream);
  const auto* bytes = static_cast<const unsigned char*>(value);
  bool one_byte = true;
  for (std::size_t i = 1; i < size; ++i) one_byte = one_byte && bytes[i] == bytes[0];
  if (one_byte) {
    check("fill", cudaMemsetAsync(memory, bytes[0], n * size, on.stream()));
    return sync_if_asked("fill", on.stream());
  }
  if (size == 2) return fill_with<std::uint16_t>(memory, value, n, on.stream());
  if (size == 4) return fill_with<std::uint32_t>(memory, value, n, on.stream());
  if (size == 8) return fill_with<std::uint64_t>(memory, value, n, on.stream());
  throw Error("fill: elements of " + std::to_string(size) + " bytes");
}

// --- streams and events ---------------------------------------------------------------------------------------------

void synchronize(int device, Stream stream) {
  not_while_recording("synchronize");
  const OnDevice on(device, stream);
  check("synchronize", cudaStreamSynchronize(on.stream()));
}

Stream make_stream(int device) {
  const OnDevice on(device);
  cudaStream_t stream = nullptr;
  check("make a stream", cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
  return stream;
}

// Waits first: the pool may give the stream's memory to the next stream of the same address.
void drop_stream(int device, Stream stream) {
  quietly([&] {
    const OnDevice on(device, stream);
    cudaStreamSynchronize(on.stream());
    const std::lock_guard<std::mutex> lock(on.state().mutex);
    if (on.state().cublas) on.state().cublas->forget(on.stream());
    cudaStreamDestroy(on.stream());
  });
}

seam::Event record_event(int device, Stream stream) {
  not_while_recording("record an event");
  const OnDevice on(device, stream);
  cudaEvent_t event = nullptr;
  check("record an event", cudaEventCreate(&event));
  check("record an event", cudaEventRecord(event, on.stream()));
  return event;
}

float milliseconds(int device, seam::Event from, seam::Event to) {
  not_while_recording("wait for an event");
  const OnDevice on(device);
  float elapsed = 0;
  check("wait for an event", cudaEventSynchronize(static_cast<cudaEvent_t>(from)));
  check("wait for an event", cudaEventSynchronize(static_cast<cudaEvent_t>(to)));
  check("wait for an event",
        cudaEventElapsedTime(&elapsed, static_cast<cudaEvent_t>(from), static_cast<cudaEvent_t>(to)));
  return elapsed;
}

void drop_event(int device, seam::Event event) {
  quietly([&] {
    const OnDevice on(device);
    cudaEventDestroy(static_cast<cudaEvent_t>(event));
  });
}

void drop_graph(int device, seam::Graph graph) {
  quietly([&] {
    const OnDevice on(device);
    cudaGraphExecDestroy(static_cast<cudaGraphExec_t>(graph));
  });
}

// --- the ops of cuDNN and cuBLAS ------------------------------------------------------------------------------------

// A device's handles serve one call at a time.
template <class Body>
auto with_cudnn(const OnDevice& on, Body body) {
  const std::lock_guard<std::mutex> lock(on.state().mutex);
  if (!on.state().cudnn) on.state().cudnn = std::make_unique<CudnnConv2d>();
  return body(*on.state().cudnn);
}

std::size_t conv2d_workspace(int device, const seam::Conv2dShape& shape, std::size_t element_size, bool backward) {
  const OnDevice on(device);
  return with_cudnn(on, [&](CudnnConv2d& cudnn) { return cudnn.workspace(shape, element_size, backward); });
}

std::uint64_t conv2d_fallbacks() { return cudnn_fallbacks().load(std::memory_order_relaxed); }

template <class T>
void conv2d(int device, const seam::Conv2dArgs<T>& args, Stream stream) {
  const OnDevice on(device, stream);
  with_cudnn(on, [&](CudnnConv2d& cudnn) { cudnn.forward(args, on.stream()); });
}

template <class T>
void conv2d_backward(int device, const seam::Conv2dBackwardArgs<T>& args, Stream stream) {
  const OnDevice on(device, stream);
  with_cudnn(on, [&](CudnnConv2d& cudnn) { cudnn.backward(args, on.stream()); });
}

template <class T>
void matmul(int device, const seam::MatmulArgs<T>& args, Stream stream) {
  const OnDevice on(device, stream);
  const std::lock_guard<std::mutex> lock(on.state().mutex);
  if (!on.state().cublas) on.state().cublas = std::make_unique<CublasMatmul>();
  on.state().cublas->run(args, on.stream());
}

// --- the table ------------------------------------------------------------------------------------------------------

template <class T>
seam::OpTable<T> ops() {
  seam::OpTable<T> table = own_ops<T, OnDevice>();
  table.conv2d = &conv2d<T>;
  table.conv2d_backward = &conv2d_backward<T>;
  table.matmul = &matmul<T>;
  return table;
}

seam::Table make_table() {
  seam::Table table{};
  table.name = "cuda";
  table.device_count = &device_count;
  table.allocate = &allocate;
  table.release = &release;
  table.copy_to_device = &copy_to_device;
  table.copy_to_host = &copy_to_host;
  table.copy_on_device = &copy_on_device;
  table.fill = &fill;
  table.synchronize = &synchronize;
  table.make_stream = &make_stream;
  table.drop_stream = &drop_stream;
  table.record_event = &record_event;
  table.milliseconds = &milliseconds;
  table.drop_event = &drop_event;
  table.begin_recording = &begin_recording;
  table.end_recording = &end_recording;
  table.abandon_recording = &abandon_recording;
  table.launch_graph = &launch_graph;
  table.drop_graph = &drop_graph;
  table.conv2d_workspace = &conv2d_workspace;
  table.conv2d_fallbacks = &conv2d_fallbacks;
  table.draw_crop_rows = &entry<OnDevice, &launch_draw_crop_rows>;
  table.float_ops = ops<float>();
  table.double_ops = ops<double>();
  return table;
}

}  // namespace
}  // namespace cuttle::kernels

// A program that links this archive asks the linker for this symbol by name (CMake: cuttle::cuda), for else nothing
// would draw this file, and with it the registration, out of the archive.
extern "C" {
__attribute__((visibility("default"))) bool cuttle_cuda_linked = [] {
  static const cuttle::seam::Table table = cuttle::kernels::make_table();
  // A program may hold several copies, its own and those of shared libraries; all of it uses the first.
  const cuttle::seam::Table* none = nullptr;
  return cuttle::seam::cuda_table().compare_exchange_strong(none, &table);
}();
}
