// k_center_greedy: a few rows that cover all the others (Gonzalez 1985, farthest-first traversal; Sener and Savarese,
// ICLR 2018, algorithm 1; how PatchCore keeps its memory bank small: Roth et al., CVPR 2022, algorithm 1).
#pragma once

#include <cmath>
#include <cstdint>

#include "cuttle/backend/cpu_k_center_greedy.hpp"
#include "cuttle/core/tensor.hpp"
#include "cuttle/ops/dispatch.hpp"
#include "cuttle/seam/args.hpp"

namespace cuttle {

// index (K), in the order of choice, and radius (K): with the first j + 1 centres no row is farther than radius[j] from
// the nearest of them, and one is just that far.
template <class T>
struct Centres {
  Tensor<std::int64_t> index;
  Tensor<T> radius;
};

// rows (N,D), every value finite, 1 <= D <= 4096; 1 <= K <= N; the first centre is row `first`. Each further one is the
// row farthest from its nearest centre, of equally far ones the lowest index; no row is chosen twice, also where
// others are equal to it. Distances are those of nearest_patch, in double and exact in its sense, so that the bits of
// the result do not depend on the number of threads, the instruction set or the device. The radius is at most twice
// the least that K centres can have.
template <class T>
Centres<T> k_center_greedy(const Tensor<T>& rows, std::int64_t K, std::int64_t first = 0) {
  const char* op = "k_center_greedy";
  require(rows.rank() == 2 && rows.size(0) >= 1, op, ": rows has shape ", rows.shape(), ", expected (N,D), N >= 1");
  const std::int64_t N = rows.size(0), D = rows.size(1);
  require(D >= 1 && D <= cpu::max_dim, op, ": rows ", rows.shape(), " has rows of length ", D, ", expected 1 to ",
          cpu::max_dim);
  require(K >= 1 && K <= N, op, ": K is ", K, ", expected 1 to the number of rows ", N);
  require(first >= 0 && first < N, op, ": first is ", first, ", expected 0 to ", N - 1);
  const Tensor<T> here = rows.to(Device::cpu());
  for (std::int64_t n = 0; n < N; ++n)
    require(cpu::detail::all_finite(here.data() + n * D, D), op, ": row ", n, " of rows ", rows.shape(),
            " holds a NaN or an infinity");

  const Device device = rows.device();
  Centres<T> centres{Tensor<std::int64_t>::full({K}, first, device), Tensor<T>::empty({K}, device)};
  Tensor<double> nearest = Tensor<double>::empty({N}, device), partial;
  Tensor<std::int64_t> partial_index;
  if (!device.is_cpu()) {
    partial = Tensor<double>::empty({seam::k_center_blocks(N)}, device);
    partial_index = Tensor<std::int64_t>::empty({seam::k_center_blocks(N)}, device);
  }
  detail::dispatch<T>(op, device, &cpu::k_center_greedy<T>, &seam::OpTable<T>::k_center_greedy,
                      seam::KCenterGreedyArgs<T>{N, D, K, rows.data(), centres.index.data(), centres.radius.data(),
                                                 nearest.data(), partial.data(), partial_index.data()});
  return centres;
}

}  // namespace cuttle
