// queue_update, on every device, and against the reference's tensors.
#include "cuttle/ops/queue_update.hpp"

#include <vector>

#include "cuttle/core/graph.hpp"
#include "cuttle/io/safetensors.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/compare.hpp"
#include "tests/support/devices.hpp"
#include "tests/support/random_tensor.hpp"
#include "tests/support/shared.hpp"

using namespace cuttle;
using cuttle_test::on_every_device;
using cuttle_test::uniform_tensor;

TEST_CASE("queue_update: queues with pointers of their own wrap around") {
  const std::int64_t S = 3, M = 5, E = 33;
  auto memory = uniform_tensor<float>({S, M, E}, 1);
  auto pointer = Tensor<std::int64_t>::from({S}, {0, 3, 4});
  std::vector<Tensor<float>> values, memories;
  std::vector<Tensor<std::int64_t>> pointers;
  const auto first_memory = memory.clone();
  const auto first_pointer = pointer.clone();
  std::uint64_t seed = 2;
  for (const std::int64_t B : {1, 3, 5, 0, 4}) {
    values.push_back(uniform_tensor<float>({B, S, E}, seed++));
    for (std::int64_t s = 0; s < S; ++s)
      for (std::int64_t b = 0; b < B; ++b) {
        for (std::int64_t e = 0; e < E; ++e)
          memory.data()[(s * M + pointer.data()[s]) * E + e] = values.back().data()[(b * S + s) * E + e];
        if (++pointer.data()[s] == M) pointer.data()[s] = 0;
      }
    memories.push_back(memory.clone());
    pointers.push_back(pointer.clone());
  }
  on_every_device([&](Device device) {
    auto on_memory = first_memory.clone().to(device);
    auto on_pointer = first_pointer.clone().to(device);
    for (std::size_t i = 0; i < values.size(); ++i) {
      queue_update(on_memory, on_pointer, values[i].to(device));
      CHECK_CLOSE(on_memory, memories[i], {});
      CHECK_CLOSE(on_pointer, pointers[i], {});
    }
  });
}

TEST_CASE("queue_update: a pointer outside of the queue counts modulo its slots") {
  on_every_device([](Device device) {
    auto memory = Tensor<double>::zeros({2, 4, 1}, device);
    auto pointer = Tensor<std::int64_t>::from({2}, {-1, 9}).to(device);
    queue_update(memory, pointer, Tensor<double>::from({2, 2, 1}, {1, 2, 3, 4}).to(device));
    CHECK_CLOSE(memory, Tensor<double>::from({2, 4, 1}, {3, 0, 0, 1, 0, 2, 4, 0}), {});
    CHECK_CLOSE(pointer, Tensor<std::int64_t>::from({2}, {1, 3}), {});
  });
}

TEST_CASE("queue_update: recorded once, every replay goes on where the last one ended") {
  on_every_device([](Device device) {
    if (device.is_cpu()) return;
    const Stream stream(device);
    const StreamScope scope(device, stream.get());
    const auto values = uniform_tensor<float>({3, 2, 5}, 31).to(device);
    auto eager = Tensor<float>::zeros({2, 7, 5}, device), replayed = eager.clone();
    auto eager_pointer = Tensor<std::int64_t>::zeros({2}, device), pointer = eager_pointer.clone();
    const RecordedWork work(stream, [&] { queue_update(replayed, pointer, values); });
    for (int step = 0; step < 5; ++step) {
      queue_update(eager, eager_pointer, values);
      work.launch();
      CHECK_CLOSE(replayed, eager, {});
      CHECK_CLOSE(pointer, eager_pointer, {});
    }
  });
  CHECK(cuttle_test::every_device().front().is_cpu());
}

TEST_CASE("queue_update: the reference's sequence of updates, to the bit") {
  CUTTLE_NEED_SHARED_FOLDER();
  const SafetensorsFile file(cuttle_test::shared_folder() / "fixtures" / "squid" / "squid_ops.safetensors");
  const auto pointers = file.tensor<std::int64_t>("queue_seq.ptr_after");
  on_every_device([&](Device device) {
    auto memory = file.tensor<float>("queue_seq.initial").clone().reshape({1, 20, 6}).to(device);
    auto pointer = Tensor<std::int64_t>::zeros({1}, device);
    for (std::int64_t i = 0; i < pointers.numel(); ++i) {
      const auto values = file.tensor<float>(concat("queue_seq.values", i));
      queue_update(memory, pointer, values.reshape({values.size(0), 1, 6}).to(device));
      CHECK_CLOSE(memory.reshape({20, 6}), file.tensor<float>(concat("queue_seq.after", i)), {});
      CHECK(pointer.item() == pointers.data()[i]);
    }
  });
}

TEST_CASE("queue_update: bad shapes are named") {
  auto memory = Tensor<float>::zeros({2, 4, 3});
  auto pointer = Tensor<std::int64_t>::zeros({2}), three = Tensor<std::int64_t>::zeros({3});
  CHECK_THROWS_WITH(queue_update(memory, pointer, Tensor<float>::zeros({5, 2, 3})),
                    cuttle_test::contains("5 rows for a queue of 4 slots"));
  CHECK_THROWS_WITH(queue_update(memory, pointer, Tensor<float>::zeros({1, 2, 4})), cuttle_test::contains("[1, 2, 4]"));
  CHECK_THROWS_WITH(queue_update(memory, three, Tensor<float>::zeros({1, 2, 3})), cuttle_test::contains("pointer"));
}
