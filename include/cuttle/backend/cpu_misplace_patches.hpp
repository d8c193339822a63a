// misplace_patches on the CPU; formula in seam/args.hpp.
#pragma once

#include <algorithm>
#include <cstdint>

#include "cuttle/core/parallel.hpp"
#include "cuttle/seam/args.hpp"
#include "cuttle/seam/misplaced_piece.hpp"

namespace cuttle::cpu {

// One tile of work for each image.
template <class T>
void misplace_patches(const seam::MisplacePatchesArgs<T>& a) {
  const std::uint64_t stream = a.stream + static_cast<std::uint64_t>(a.state ? a.state->step : a.step);
  const std::int64_t values = a.H * a.H * a.C;
  parallel_for(a.B, [&](std::int64_t b, int) {
    T* const y = a.y + b * values;
    std::copy_n(a.images + b * values, values, y);
    const std::int64_t pieces = seam::count_misplaced_pieces(a.options, a.seed, stream, b);
    for (std::int64_t piece = 0; piece < pieces; ++piece) {
      const seam::MisplacedPiece p =
          seam::sample_misplaced_piece(a.options, a.B, a.H, a.grid, a.seed, stream, b, piece);
      const T gray = static_cast<T>(p.gray);
      for (std::int64_t i = p.top; i < p.top + p.side; ++i)
        for (std::int64_t j = p.left; j < p.left + p.side; ++j) {
          T* const pixel = y + (i * a.H + j) * a.C;
          if (p.image < 0) {
            for (std::int64_t c = 0; c < a.C; ++c) pixel[c] = seam::lay_piece(p.opacity, gray, pixel[c]);
            continue;
          }
          const seam::PiecePixel from = seam::piece_source(p, i, j);
          const T* const content = a.images + p.image * values + (from.row * a.H + from.column) * a.C;
          for (std::int64_t c = 0; c < a.C; ++c) pixel[c] = seam::lay_piece(p.opacity, content[c], pixel[c]);
        }
    }
  });
}

}  // namespace cuttle::cpu
