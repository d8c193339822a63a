#include "promised_bits.hpp"

#include <cuttle/cuttle.hpp>
#include <stdexcept>
#include <vector>

namespace {

// FNV-1a over the bytes.
class Checksum {
 public:
  template <class T>
  void add(std::span<const T> values) {
    for (std::byte byte : std::as_bytes(values)) sum_ = (sum_ ^ static_cast<std::uint64_t>(byte)) * 0x100000001B3u;
  }
  template <class T>
  void add(const cuttle::Tensor<T>& tensor) {
    add(tensor.span());
  }
  std::uint64_t value() const { return sum_; }

 private:
  std::uint64_t sum_ = 0xCBF29CE484222325u;
};

cuttle::Tensor<float> normals(const cuttle::Shape& shape, std::uint64_t stream) {
  auto tensor = cuttle::Tensor<float>::empty(shape);
  cuttle::cpu::fill_normal(tensor.span(), 7, stream);
  return tensor;
}

std::uint64_t promised_bits_here() {
  Checksum sum;
  std::vector<float> uniforms;
  for (std::uint64_t i = 0; i < 1000; ++i) uniforms.push_back(cuttle::random_uniform(1, 2, i));
  sum.add<float>(uniforms);
  sum.add<std::int64_t>(cuttle::random_permutation(515, 3, 4));

  std::vector<float> one_by_one;
  for (std::uint64_t i = 0; i < 4001; ++i) one_by_one.push_back(cuttle::random_normal(7, 0, i));
  sum.add<float>(one_by_one);
  const auto queries = normals({129, 33}, 0);
  sum.add(queries);

  // Spread rows, each of the first hundred twice; then the same rows collapsed to a thousandth of their spread around a
  // common point, where float32 distances would name the wrong neighbours.
  auto rows = normals({1030, 33}, 1);
  rows.slice(900, 1000).copy_from(rows.slice(0, 100));
  auto collapsed = rows.clone();
  for (float& x : collapsed.span()) x = 1 + x / 1024;  // exact but for the sum
  auto collapsed_queries = queries.clone();
  for (float& x : collapsed_queries.span()) x = 1 + x / 1024;
  for (const auto& [q, bank] : {std::pair(queries, rows), std::pair(collapsed_queries, collapsed)})
    for (int k : {1, 5}) {
      const auto found = cuttle::nearest_patch(q, bank, k);
      sum.add(found.distance);
      sum.add(found.index);
    }
  return sum.value();
}

}  // namespace

std::uint64_t promised_bits() {
  namespace cpu = cuttle::cpu;
  const cpu::Isa widest = cpu::isa();
  const std::uint64_t bits = promised_bits_here();
  for (cpu::Isa isa : {cpu::Isa::baseline, cpu::Isa::avx2})
    if (isa < widest) {
      cpu::set_isa(isa);
      if (promised_bits_here() != bits) throw std::runtime_error("the bits depend on the instruction set");
    }
  cpu::set_isa(widest);
  cuttle::set_num_threads(3);
  if (promised_bits_here() != bits) throw std::runtime_error("the bits depend on the number of threads");
  return bits;
}
