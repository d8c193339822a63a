// The emulator as a device: registers itself as Device::cuda, with its four thread orders, in whatever program it is
// linked into.
#include "tests/simt/vocab.hpp"
// The words come first.
#include <chrono>

#include "kernels/ops.cuh"
#include "tests/simt/conv2d.hpp"
#include "tests/simt/matmul_twin.hpp"
#include "tests/support/devices.hpp"

namespace cuttle_simt {
namespace {

using cuttle::seam::Event;
using cuttle::seam::OpTable;
using cuttle::seam::Table;
using Clock = std::chrono::steady_clock;

void require_host(const char* what, const void* p) {
  if (Memory::is_device_address(p)) fail(what, ": ", p, " is not the host's memory but the device's");
}

void copy_to_device(int, void* destination, const void* source, std::size_t bytes, Stream stream) {
  Streams::the().require_no_recording("copy_to_device");
  Streams::the().check("copy_to_device", stream);
  require_host("copy_to_device", source);
  std::lock_guard lock(Machine::the().mutex);
  if (bytes) std::memcpy(Memory::the().host_view("copy_to_device", destination, bytes), source, bytes);
}

void copy_to_host(int, void* destination, const void* source, std::size_t bytes, Stream stream) {
  Streams::the().require_no_recording("copy_to_host");
  Streams::the().check("copy_to_host", stream);
  require_host("copy_to_host", destination);
  std::lock_guard lock(Machine::the().mutex);
  if (bytes) std::memcpy(destination, Memory::the().host_view("copy_to_host", source, bytes), bytes);
}

void copy_on_device(int, void* destination, const void* source, std::size_t bytes, Stream stream) {
  Streams::the().queue("copy_on_device", stream, [=] {
    Memory& memory = Memory::the();
    if (bytes)
      std::memmove(memory.host_view("copy_on_device: destination", destination, bytes),
                   memory.host_view("copy_on_device: source", source, bytes), bytes);
  });
}

void fill(int, void* memory, const void* value, std::size_t size, std::size_t n, Stream stream) {
  if (size != 1 && size != 2 && size != 4 && size != 8) fail("fill: elements of ", size, " bytes");
  std::uint64_t bits = 0;
  std::memcpy(&bits, value, size);
  Streams::the().queue("fill", stream, [=] {
    auto* bytes = Memory::the().host_view("fill", static_cast<unsigned char*>(memory), size * n);
    for (std::size_t i = 0; i < n; ++i) std::memcpy(bytes + i * size, &bits, size);
  });
}

void mark(int, void* memory, std::size_t used, Stream stream) {
  Memory::the().mark(memory, used);
  Streams::the().record(stream, [=] { Memory::the().mark(memory, used); });
}

Event record_event(int, Stream stream) {
  Streams::the().require_no_recording("record_event");
  Streams::the().check("record_event", stream);
  return new Clock::time_point(Clock::now());
}

float milliseconds(int, Event from, Event to) {
  return std::chrono::duration<float, std::milli>(*static_cast<Clock::time_point*>(to) -
                                                  *static_cast<Clock::time_point*>(from))
      .count();
}

template <class T>
OpTable<T> ops() {
  OpTable<T> table = cuttle::kernels::own_ops<T>();
  table.conv2d = [](int, const cuttle::seam::Conv2dArgs<T>& args, Stream stream) {
    Streams::the().queue("conv2d", stream, [args] { conv2d(args); });
  };
  table.conv2d_backward = [](int, const cuttle::seam::Conv2dBackwardArgs<T>& args, Stream stream) {
    Streams::the().queue("conv2d_backward", stream, [args] { conv2d_backward(args); });
  };
  table.matmul = [](int, const cuttle::seam::MatmulArgs<T>& args, Stream stream) {
    Streams::the().queue("matmul", stream, [args] { matmul(args); });
  };
  return table;
}

Table make_table() {
  Table table{};
  table.name = "simt";
  table.device_count = [] { return 1; };
  table.allocate = [](int, std::size_t bytes) {
    Streams::the().require_no_recording("allocate");
    return Memory::the().allocate(bytes);
  };
  table.release = [](int, void* memory, std::size_t) {
    Streams::the().require_no_recording("release");
    Memory::the().release(memory);
  };
  table.copy_to_device = &copy_to_device;
  table.copy_to_host = &copy_to_host;
  table.copy_on_device = &copy_on_device;
  table.fill = &fill;
  table.synchronize = [](int, Stream stream) {
    Streams::the().require_no_recording("synchronize");
    Streams::the().check("synchronize", stream);
  };
  table.make_stream = [](int) { return Streams::the().make(); };
  table.drop_stream = [](int, Stream stream) { Streams::the().drop(stream); };
  table.record_event = &record_event;
  table.milliseconds = &milliseconds;
  table.drop_event = [](int, Event event) { delete static_cast<Clock::time_point*>(event); };
  table.begin_recording = [](int, Stream stream) { Streams::the().begin(stream); };
  table.end_recording = [](int, Stream stream) -> cuttle::seam::Graph { return Streams::the().end(stream); };
  table.abandon_recording = [](int, Stream stream) { Streams::the().abandon(stream); };
  table.launch_graph = [](int, cuttle::seam::Graph graph, Stream stream) {
    for (const auto& work : *static_cast<Graph*>(graph)) Streams::the().queue("launch_graph", stream, work);
  };
  table.drop_graph = [](int, cuttle::seam::Graph graph) { delete static_cast<Graph*>(graph); };
  table.mark = &mark;
  table.conv2d_workspace = [](int, const Conv2dShape& shape, std::size_t element_size, bool backward) {
    return Conv2dSizes(shape).workspace(backward) * element_size;
  };
  table.draw_crop_rows = &cuttle::kernels::entry<cuttle::kernels::AnyDevice, &cuttle::kernels::launch_draw_crop_rows>;
  table.float_ops = ops<float>();
  table.double_ops = ops<double>();
  return table;
}

[[maybe_unused]] const bool registered = [] {
  static const Table table = make_table();
  cuttle::seam::cuda_table().store(&table, std::memory_order_release);
  cuttle_test::device_variants() = {{"forward order", [] { set_order(Order::forward); }},
                                    {"reverse order", [] { set_order(Order::reverse); }},
                                    {"shuffled order 1", [] { set_order(Order::shuffled_1); }},
                                    {"shuffled order 2", [] { set_order(Order::shuffled_2); }}};
  return true;
}();

}  // namespace
}  // namespace cuttle_simt
