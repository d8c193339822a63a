// conv2d on the CPU: forward, data gradient and weight gradient, directly (no im2col), for any stride, padding,
// dilation.
//
// Method. A convolution and its data gradient are both gathers: every output pixel is a sum, over the taps whose source
// pixel exists, of source channels times packed weights. Per axis, output p and tap k read source
//     q = (p * multiplier + k * dilation - padding) / divisor,      where q is whole and 0 <= q < source:
// forward has multiplier = stride, divisor = 1; the data gradient, with its taps flipped, multiplier = 1, divisor =
// stride, padding = (taps - 1) * dilation - padding. Pixels that share their set of taps form a class (interior,
// borders, corners, phases of a stride), so no work is spent on padding, and pixels of several images of one class fill
// the register tile even where a map is 1 x 1. The weight gradient walks the same classes of the forward gather.
//
// Work is cut by shape alone into tiles of images and rows (gathers), and into groups of such tiles with partial sums
// of their own that a fixed tree combines (weight gradient): the bits do not depend on the number of threads.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <numeric>
#include <tuple>
#include <type_traits>
#include <utility>

#include "cuttle/backend/cpu_simd.hpp"
#include "cuttle/backend/cpu_winograd.hpp"
#include "cuttle/core/parallel.hpp"
#include "cuttle/core/scratch.hpp"
#include "cuttle/core/tensor.hpp"
#include "cuttle/seam/args.hpp"

namespace cuttle::cpu::detail {

// The taps of a class of pixels: rows x columns runs of `length` consecutive source elements. Run (r, c) starts
// r * x_row + c * x_column elements after the pixel's first, at row first + r * w_row + c * w_column of the packed
// weights.
struct Conv2dTaps {
  std::int64_t rows, columns, length;
  std::int64_t x_row, x_column;
  std::int64_t first, w_row, w_column;
};

// Some pixels of a class: where each one's first source element is, and its first output element.
struct Conv2dPiece {
  static constexpr std::size_t capacity = 144;  // a multiple of every register tile; its dz block stays in L1
  std::size_t pixels = 0;
  std::int64_t in[capacity], out[capacity];
};

// The kernels of one instruction set (conv2d_direct.inl). A block is two vectors of channels, the last one perhaps one.
template <class T>
struct Conv2dKernels {
  std::int64_t width;  // elements a vector
  void (*gather)(const Conv2dTaps&, const Conv2dPiece&, const T* x, const T* w, std::int64_t depth, const T* bias,
                 std::int64_t first, std::int64_t last, T* y, seam::Activation, T slope);
  void (*accumulate)(const Conv2dTaps&, const Conv2dPiece&, const T* x, const T* dz, std::size_t channels, T* dw,
                     T* dbias);
  void (*activation_gradient)(std::int64_t n, const T* dy, const T* y, seam::Activation, T slope, T* dz);
};

}  // namespace cuttle::cpu::detail

#define CUTTLE_KERNELS "cuttle/backend/conv2d_direct.inl"
#include "cuttle/backend/foreach_isa.inl"

namespace cuttle::cpu {
namespace detail {

// One output position of an axis: its valid taps are tap, tap + step, ... (count of them), the first reading source.
struct ConvPosition {
  std::int64_t tap, count, source, output;
};

// One axis of a gather (formula at the top).
struct ConvAxis {
  std::int64_t output, source, taps, multiplier, divisor, dilation, padding;

  std::int64_t tap_step() const { return divisor / std::gcd(dilation, divisor); }
  std::int64_t source_step() const { return dilation * tap_step() / divisor; }

  // All positions, ordered by class (tap, count), then by output.
  Tensor<ConvPosition> positions() const {
    auto list = Tensor<ConvPosition>::empty({output});
    for (std::int64_t p = 0; p < output; ++p) {
      ConvPosition position{0, 0, 0, p};
      for (std::int64_t k = 0; k < taps; ++k) {
        const std::int64_t q = p * multiplier + k * dilation - padding;
        if (q < 0 || q >= source * divisor || q % divisor != 0) continue;
        if (position.count++ == 0) position.tap = k, position.source = q / divisor;
      }
      list.data()[p] = position;
    }
    std::sort(list.data(), list.data() + output, [](const ConvPosition& a, const ConvPosition& b) {
      return a.tap != b.tap ? a.tap < b.tap : a.count != b.count ? a.count < b.count : a.output < b.output;
    });
    return list;
  }
};

// Images [b0, b1) x output rows [h0, h1): `elements` consecutive elements of the output, from element `first`.
struct Conv2dTile {
  std::int64_t b0, b1, h0, h1;
  std::int64_t first, elements;
};

// A gather over B images: source (B, rows.source, columns.source, source_channels) to (B, rows.output, columns.output,
// channels), cut into tiles.
class Conv2dGather {
 public:
  static Conv2dGather forward(const seam::Conv2dShape& s) {
    return {s.B,
            s.C,
            s.O,
            {s.OH, s.H, s.R, s.stride, 1, s.dilation, s.padding},
            {s.OW, s.W, s.S, s.stride, 1, s.dilation, s.padding}};
  }
  static Conv2dGather data_gradient(const seam::Conv2dShape& s) {
    return {s.B,
            s.O,
            s.C,
            {s.H, s.OH, s.R, 1, s.stride, s.dilation, (s.R - 1) * s.dilation - s.padding},
            {s.W, s.OW, s.S, 1, s.stride, s.dilation, (s.S - 1) * s.dilation - s.padding}};
  }

  std::int64_t depth() const { return rows.taps * columns.taps * source_channels; }
  std::int64_t tiles() const { return image_groups_ * bands_; }

  Conv2dTile tile(std::int64_t index) const {
    // Either whole images or a band of rows of one image.
    const std::int64_t b0 = index / bands_ * images_, b1 = std::min(b0 + images_, B);
    const std::int64_t h0 = index % bands_ * band_, h1 = std::min(h0 + band_, rows.output);
    const std::int64_t row = columns.output * channels;
    return {b0, b1, h0, h1, (b0 * rows.output + h0) * row, (b1 - b0) * (h1 - h0) * row};
  }

  // Source rows [first, last) that the tile reads.
  std::pair<std::int64_t, std::int64_t> source_rows(const Conv2dTile& tile) const {
    std::int64_t first = rows.source, last = 0;
    for (const ConvPosition& p : row_positions_.span())
      if (p.count > 0 && p.output >= tile.h0 && p.output < tile.h1) {
        first = std::min(first, p.source);
        last = std::max(last, p.source + (p.count - 1) * rows.source_step() + 1);
      }
    return {std::min(first, last), last};
  }

  // Calls body(taps, piece) until every pixel of the tile was in one piece. Offsets of `in` are from the start of image
  // tile.b0 of a source that holds only rows [source_row, source_row + source_rows) of each image; those of `out` from
  // tile.first.
  template <class Body>
  void for_each_piece(const Conv2dTile& tile, std::int64_t source_row, std::int64_t source_rows, Body&& body) const {
    const std::int64_t x_pixel = source_channels, x_row = columns.source * x_pixel, x_image = source_rows * x_row;
    const bool contiguous = columns.tap_step() == 1 && columns.source_step() == 1;
    Conv2dPiece piece;
    for_each_class(row_positions_, tile.h0, tile.h1, [&](const ConvPosition* r0, const ConvPosition* r1) {
      for_each_class(column_positions_, 0, columns.output, [&](const ConvPosition* c0, const ConvPosition* c1) {
        const Conv2dTaps taps{r0->count,
                              contiguous ? std::min<std::int64_t>(c0->count, 1) : c0->count,
                              contiguous ? c0->count * x_pixel : x_pixel,
                              rows.source_step() * x_row,
                              columns.source_step() * x_pixel,
                              (r0->tap * columns.taps + c0->tap) * x_pixel,
                              rows.tap_step() * columns.taps * x_pixel,
                              columns.tap_step() * x_pixel};
        // Pieces of about the same size, in whole register tiles but for the last.
        constexpr std::int64_t capacity = Conv2dPiece::capacity, tile_multiple = 12;
        const std::int64_t pixels = (tile.b1 - tile.b0) * (r1 - r0) * (c1 - c0),
                           pieces = (pixels + capacity - 1) / capacity;
        const auto full =
            static_cast<std::size_t>((pixels + pieces * tile_multiple - 1) / (pieces * tile_multiple) * tile_multiple);
        piece.pixels = 0;
        for (std::int64_t b = tile.b0; b < tile.b1; ++b)
          for (const ConvPosition* r = r0; r < r1; ++r)
            for (const ConvPosition* c = c0; c < c1; ++c) {
              piece.in[piece.pixels] = (b - tile.b0) * x_image + (r->source - source_row) * x_row + c->source * x_pixel;
              piece.out[piece.pixels] =
                  ((b * rows.output + r->output) * columns.output + c->output) * channels - tile.first;
              if (++piece.pixels == full) {
                body(taps, piece);
                piece.pixels = 0;
              }
            }
        if (piece.pixels) body(taps, piece);
      });
    });
  }

  const std::int64_t B, source_channels, channels;
  const ConvAxis rows, columns;

 private:
  Conv2dGather(std::int64_t images, std::int64_t from, std::int64_t to, ConvAxis r, ConvAxis c)
      : B(images),
        source_channels(from),
        channels(to),
        rows(r),
        columns(c),
        row_positions_(r.positions()),
        column_positions_(c.positions()) {
    // A tile's source stays in L2 with a block of weights; many small images together fill register tiles.
    constexpr std::int64_t tile_elements = 1 << 16, tile_pixels = 1024, most_images = 48;
    const std::int64_t image = std::max<std::int64_t>(r.source * c.source * from, 1);
    const std::int64_t pixels = std::max<std::int64_t>(r.output * c.output, 1);
    images_ = std::clamp<std::int64_t>(std::min(tile_elements / image, tile_pixels / pixels), 1, most_images);
    const std::int64_t row_pixels = std::max<std::int64_t>(c.output, 1);
    const std::int64_t row_elements = std::max<std::int64_t>(image / std::max<std::int64_t>(r.output, 1), 1);
    band_ = images_ > 1 ? std::max<std::int64_t>(r.output, 1)
                        : std::clamp<std::int64_t>(std::min(tile_elements / row_elements, tile_pixels / row_pixels), 1,
                                                   std::max<std::int64_t>(r.output, 1));
    image_groups_ = (B + images_ - 1) / images_;
    bands_ = (r.output + band_ - 1) / band_;
  }

  // Calls body(first, last) for each class of positions with outputs in [begin, end).
  template <class Body>
  static void for_each_class(const Tensor<ConvPosition>& positions, std::int64_t begin, std::int64_t end, Body&& body) {
    const ConvPosition* const stop = positions.data() + positions.numel();
    for (const ConvPosition *first = positions.data(), *last; first < stop; first = last) {
      last = first;
      const ConvPosition *from = nullptr, *to = nullptr;
      for (; last < stop && last->tap == first->tap && last->count == first->count; ++last)
        if (last->output >= begin && last->output < end) {
          if (!from) from = last;
          to = last + 1;
        }
      if (from) body(from, to);
    }
  }

  Tensor<ConvPosition> row_positions_, column_positions_;
  std::int64_t images_, band_, image_groups_, bands_;
};

// Weights of a gather as [channels / block][row tap][column tap][source channel][block], zero where a block has no
// channel; block b starts at channel * depth. The bias, zeros where there is none, follows in the same order.
template <class T>
class Conv2dPacking {
 public:
  Conv2dPacking(const Conv2dGather& gather, std::int64_t width, const T* bias)
      : block(2 * width),
        depth(gather.depth()),
        rounded((gather.channels + width - 1) / width * width),
        memory_(Tensor<T>::empty({rounded * (depth + 1)})) {
    std::fill_n(this->bias(), rounded, T(0));
    if (bias) std::copy_n(bias, gather.channels, this->bias());
  }

  // Packs at(channel, row tap, column tap, source channel).
  template <class At>
  void fill(const Conv2dGather& gather, At&& at) {
    parallel_for((rounded + block - 1) / block, [&](std::int64_t index) {
      const std::int64_t first = index * block, width = std::min(block, rounded - first);
      const std::int64_t channels = std::min(width, gather.channels - first);
      T* to = memory_.data() + first * depth;
      for (std::int64_t r = 0; r < gather.rows.taps; ++r)
        for (std::int64_t s = 0; s < gather.columns.taps; ++s)
          for (std::int64_t c = 0; c < gather.source_channels; ++c, to += width) {
            for (std::int64_t o = 0; o < channels; ++o) to[o] = at(first + o, r, s, c);
            std::fill(to + channels, to + width, T(0));
          }
    });
  }

  const T* weights() const { return memory_.data(); }
  T* bias() { return memory_.data() + rounded * depth; }

  const std::int64_t block, depth, rounded;

 private:
  Tensor<T> memory_;
};

template <class T>
Conv2dKernels<T> conv2d_kernels() {
  return CUTTLE_ISA_CALL(conv2d_direct::kernels<T>);
}

// How many ways to cut the channels of a gather so that a few large tiles still feed many threads.
inline std::int64_t channel_parts(std::int64_t tiles, std::int64_t blocks) {
  constexpr std::int64_t enough = 16;
  return std::clamp<std::int64_t>(enough / std::max<std::int64_t>(tiles, 1), 1, std::max<std::int64_t>(blocks, 1));
}

template <class T>
void conv2d_forward(const seam::Conv2dArgs<T>& args) {
  const seam::Conv2dShape& s = args.shape;
  const auto kernels = conv2d_kernels<T>();
  const auto gather = Conv2dGather::forward(s);
  Conv2dPacking<T> packing(gather, kernels.width, args.bias);
  packing.fill(gather, [&](std::int64_t o, std::int64_t r, std::int64_t k, std::int64_t c) {
    return args.weight[((o * s.R + r) * s.S + k) * s.C + c];
  });
  const std::int64_t blocks = (packing.rounded + packing.block - 1) / packing.block;
  const std::int64_t parts = channel_parts(gather.tiles(), blocks);
  parallel_for(gather.tiles() * parts, [&](std::int64_t index) {
    const Conv2dTile tile = gather.tile(index / parts);
    const std::int64_t part = index % parts;
    const std::int64_t first = blocks * part / parts * packing.block;
    const std::int64_t last = std::min(blocks * (part + 1) / parts * packing.block, s.O);
    gather.for_each_piece(tile, 0, s.H, [&](const Conv2dTaps& taps, const Conv2dPiece& piece) {
      kernels.gather(taps, piece, args.x + tile.b0 * s.H * s.W * s.C, packing.weights(), packing.depth, packing.bias(),
                     first, last, args.y + tile.first, s.activation, static_cast<T>(s.slope));
    });
  });
}

template <class T>
void conv2d_data_gradient(const seam::Conv2dBackwardArgs<T>& args) {
  const seam::Conv2dShape& s = args.shape;
  const auto kernels = conv2d_kernels<T>();
  const auto gather = Conv2dGather::data_gradient(s);
  Conv2dPacking<T> packing(gather, kernels.width, nullptr);
  packing.fill(gather, [&](std::int64_t c, std::int64_t r, std::int64_t k, std::int64_t o) {
    return args.weight[((o * s.R + s.R - 1 - r) * s.S + s.S - 1 - k) * s.C + c];
  });
  const bool activated = s.activation != seam::Activation::none;
  const std::int64_t row = s.OW * s.O;
  std::int64_t most = 0;
  for (std::int64_t index = 0; activated && index < gather.tiles(); ++index) {
    const Conv2dTile tile = gather.tile(index);
    const auto [first, last] = gather.source_rows(tile);
    most = std::max(most, (tile.b1 - tile.b0) * (last - first) * row);
  }
  parallel_for_with_scratch<T>(gather.tiles(), most, [&](std::int64_t index, T* scratch) {
    const Conv2dTile tile = gather.tile(index);
    const T* dz = args.dy + tile.b0 * s.OH * row;
    std::int64_t first = 0, last = s.OH;
    if (activated) {
      std::tie(first, last) = gather.source_rows(tile);
      const std::int64_t n = (last - first) * row;
      for (std::int64_t b = tile.b0; b < tile.b1; ++b) {
        const std::int64_t at = (b * s.OH + first) * row;
        kernels.activation_gradient(n, args.dy + at, args.y + at, s.activation, static_cast<T>(s.slope),
                                    scratch + (b - tile.b0) * n);
      }
      dz = scratch;
    }
    gather.for_each_piece(tile, first, last - first, [&](const Conv2dTaps& taps, const Conv2dPiece& piece) {
      kernels.gather(taps, piece, dz, packing.weights(), packing.depth, packing.bias(), 0, s.C, args.dx + tile.first,
                     seam::Activation::none, T(0));
    });
  });
}

template <class T>
void conv2d_weight_gradient(const seam::Conv2dBackwardArgs<T>& args) {
  const seam::Conv2dShape& s = args.shape;
  const auto kernels = conv2d_kernels<T>();
  const auto gather = Conv2dGather::forward(s);
  const std::int64_t width = kernels.width, block = 2 * width, rounded = (s.O + width - 1) / width * width;
  const std::int64_t blocks = (rounded + block - 1) / block, depth = args.dweight ? gather.depth() : 0;
  // One partial sum is (dbias row, then depth rows) for each block. A group has enough pixels to pay for its sum, and
  // all sums together stay below the activations.
  constexpr std::int64_t most_groups = 32, group_pixels = 2048, most_elements = 4 << 20;
  const std::int64_t size = rounded * (depth + 1);
  if (size == 0 || gather.tiles() == 0) return;
  const std::int64_t groups = std::clamp<std::int64_t>(
      std::min({gather.tiles(), s.B * s.OH * s.OW / group_pixels, most_elements / size}), 1, most_groups);
  auto partial = Tensor<T>::empty({groups * size});

  const bool activated = s.activation != seam::Activation::none;
  std::int64_t most = 0;
  for (std::int64_t t = 0; activated && t < gather.tiles(); ++t) most = std::max(most, gather.tile(t).elements);
  const std::int64_t parts = channel_parts(groups, blocks);
  parallel_for_with_scratch<T>(groups * parts, most, [&](std::int64_t index, T* scratch) {
    const std::int64_t group = index / parts, part = index % parts;
    const std::int64_t first = blocks * part / parts * block,
                       last = std::min(blocks * (part + 1) / parts * block, rounded);
    T* const sums = partial.data() + group * size;
    std::fill(sums + first * (depth + 1), sums + last * (depth + 1), T(0));
    for (std::int64_t t = gather.tiles() * group / groups; t < gather.tiles() * (group + 1) / groups; ++t) {
      const Conv2dTile tile = gather.tile(t);
      const T* dz = args.dy + tile.first;
      if (activated) {
        kernels.activation_gradient(tile.elements, dz, args.y + tile.first, s.activation, static_cast<T>(s.slope),
                                    scratch);
        dz = scratch;
      }
      for (std::int64_t o = first; o < last; o += block) {
        T* dbias = sums + o * (depth + 1);
        T* dweight = depth ? dbias + std::min(block, rounded - o) : nullptr;
        const auto channels = static_cast<std::size_t>(std::min(block, s.O - o));
        gather.for_each_piece(tile, 0, s.H, [&](const Conv2dTaps& taps, const Conv2dPiece& piece) {
          kernels.accumulate(taps, piece, args.x + tile.b0 * s.H * s.W * s.C, dz + o, channels, dweight, dbias);
        });
      }
    }
  });

  constexpr std::int64_t chunk = 64;  // rows of a block
  const std::int64_t chunks = (depth + 1 + chunk - 1) / chunk;
  parallel_for(blocks * chunks, [&](std::int64_t index) {
    const std::int64_t o = index / chunks * block, w = std::min(block, rounded - o), channels = std::min(w, s.O - o);
    const std::int64_t k0 = index % chunks * chunk, k1 = std::min(k0 + chunk, depth + 1);
    T* const sum = partial.data() + o * (depth + 1) + k0 * w;
    for (std::int64_t step = 1; step < groups; step *= 2)
      for (std::int64_t g = 0; g + step < groups; g += 2 * step) {
        T* to = sum + g * size;
        const T* from = to + step * size;
        for (std::int64_t i = 0; i < (k1 - k0) * w; ++i) to[i] += from[i];
      }
    for (std::int64_t c = 0; c < channels; ++c)
      for (std::int64_t k = k0; k < k1; ++k) {
        const T value = sum[(k - k0) * w + c];
        if (k > 0)
          args.dweight[(o + c) * depth + k - 1] += value;
        else if (args.dbias)
          args.dbias[o + c] += value;
      }
  });
}

}  // namespace detail

// y = act(x * weight + bias); shapes and formula in seam/args.hpp, which ops/conv2d.hpp has checked. T is float or
// double. Math::winograd takes effect on floats of the shapes that cpu_winograd.hpp supports; all else is direct. NaN
// in x, weight or bias reaches every y whose sum it enters.
template <class T>
void conv2d(const seam::Conv2dArgs<T>& args) {
  if constexpr (std::is_same_v<T, float>)
    if (args.shape.math == seam::Math::winograd && winograd_supported(args.shape)) return winograd_conv2d(args);
  detail::conv2d_forward(args);
}

// Writes dx, adds to dweight and dbias; null leaves one out. The slope of a leaky ReLU must not be negative.
template <class T>
void conv2d_backward(const seam::Conv2dBackwardArgs<T>& arguments) {
  seam::Conv2dBackwardArgs<T> args = arguments;
  if (args.shape.activation == seam::Activation::none) args.y = args.dy;  // unused, so it may be null
  if constexpr (std::is_same_v<T, float>)
    if (args.shape.math == seam::Math::winograd && winograd_supported(args.shape))
      return winograd_conv2d_backward(args);
  if (args.dx) detail::conv2d_data_gradient(args);
  if (args.dweight || args.dbias) detail::conv2d_weight_gradient(args);
}

}  // namespace cuttle::cpu
