// One plain struct of pointers and sizes for each op: what the wrapper in ops/ hands to the kernel of a device, after
// it has checked everything. C++17, on the seam alone. Pointers never alias unless a comment says so.
#pragma once

#include <cstddef>
#include <cstdint>

#include "cuttle/seam/misplaced_piece.hpp"
#include "cuttle/seam/patch_pair.hpp"
#include "cuttle/seam/random_affine.hpp"

namespace cuttle::seam {

// What follows a linear op inside its own kernel; leaky_relu uses a slope.
enum class Activation : std::int32_t { none, relu, leaky_relu, tanh, sigmoid };

// How float32 products are computed: fp32 everywhere by default; winograd is a faster CPU convolution with a larger
// rounding error; tf32 and bf16 are the tensor cores' modes.
enum class Math : std::int32_t { fp32, winograd, tf32, bf16 };

// y[b,oh,ow,o] = act(bias[o] + sum_{r,s,c} x[b, oh*stride+r-padding, ow*stride+s-padding, c] * weight[o,r,s,c])
struct Conv2dShape {
  std::int64_t B, H, W, C;  // x (B,H,W,C)
  std::int64_t O, R, S;     // weight (O,R,S,C): R rows, S columns
  std::int64_t OH, OW;      // y (B,OH,OW,O)
  std::int64_t stride, padding, dilation;
  Activation activation;
  double slope;
  Math math;
};

template <class T>
struct Conv2dArgs {
  Conv2dShape shape;
  const T* x;
  const T* weight;
  const T* bias;  // (O), or null for none
  T* y;
  void* workspace = nullptr;  // of the size that the device's table asks for; null on the CPU
  std::size_t workspace_bytes = 0;
};

// Gradients of the above: dz = dy * act'(y), where act' is taken from y.
// dx = d(loss)/dx is written; dweight and dbias are added to. A null pointer leaves that gradient out.
template <class T>
struct Conv2dBackwardArgs {
  Conv2dShape shape;
  const T* x;
  const T* weight;
  const T* y;
  const T* dy;
  T* dx;
  T* dweight;
  T* dbias;
  void* workspace = nullptr;
  std::size_t workspace_bytes = 0;
};

// What changes from one training step to the next, in the device's memory, so that a recorded step can be replayed.
struct StepState {
  std::int64_t step;  // updates made before this one
  double learning_rate;
};

// One step of Adam over n parameters: value, m and v are updated in place.
template <class T>
struct AdamArgs {
  std::int64_t n;
  T* value;
  const T* grad;
  T* m;
  T* v;
  std::int64_t step;  // of this update, from 1
  double learning_rate, beta1, beta2, epsilon, weight_decay;
  const StepState* state;  // where not null, step is state->step + 1 and learning_rate is state->learning_rate
};

// y[i] = f(a[i], b[i]); y may be a or b.
enum class Elementwise : std::int32_t { add, sub, multiply, scale };  // scale: factor * a[i], b is null
template <class T>
struct ElementwiseArgs {
  Elementwise f;
  std::int64_t n;
  const T* a;
  const T* b;
  double factor;
  T* y;
};

// gather_rows: y[q,:] = x[index[q],:]. add_rows: x[index[q],:] += y[q,:], q ascending for each row of x.
// On a device that the host cannot look into, an index outside [0, N) makes the row NaN (gather) or is left out (add).
template <class T>
struct GatherRowsArgs {
  std::int64_t N, D, Q;
  T* x;                       // (N,D); read by gather_rows, added to by add_rows
  const std::int32_t* index;  // (Q)
  T* y;                       // (Q,D); written by gather_rows, read by add_rows
};

// y of extents `extent`, row-major; its element i_0, i_1, ... is x at sum_k i_k * stride[k].
template <class T>
struct PermuteArgs {
  int rank;
  std::int64_t extent[8], stride[8];
  const T* x;
  T* y;
};

// cross_entropy: loss[0] = mean_b (log sum_i exp(logits[b,i]) - logits[b,label_b]), right[0] = how many rows have their
// largest logit (the first of equal ones) at the label; the sum in double. A label outside
// [0, classes) makes the loss NaN. backward: dlogits[b,i] = dloss[0]/B * (softmax(logits[b])_i - [i = label_b]).
template <class T>
struct CrossEntropyArgs {
  std::int64_t B, classes;
  const T* logits;
  const std::int32_t* labels;
  T* loss;
  T* right;
  const T* dloss;
  T* dlogits;
};

// mean_distance: loss[0] = mean_b |a[b] - b[b]|. backward: da[b,:] = dloss[0]/B * (a[b] - b[b]) / |a[b] - b[b]|, zero
// where the rows are equal.
template <class T>
struct MeanDistanceArgs {
  std::int64_t B, D;
  const T* a;
  const T* b;
  T* loss;
  const T* dloss;
  T* da;
};

// unit[o,c] = weight[o,c] / sqrt(sum_o weight[o,c]^2), the sum in double in ascending o; a column of zeros becomes NaN.
template <class T>
struct UnitColumnsArgs {
  std::int64_t O, C;
  const T* weight;
  T* unit;
};

// x[n,i] = (image[n,i] - mean[i]) / 255.
template <class T>
struct StandardizeArgs {
  std::int64_t N, pixels;     // pixels = H*W*C
  const std::uint8_t* image;  // (N,pixels)
  const float* mean;          // (pixels)
  T* x;                       // (N,pixels)
};

// distance[q][j], index[q][j] = the j-th nearest bank row of query q by (squared distance, row index), where the
// squared distance is sum_i fma((double)x_i - (double)y_i, same, acc) in index order. NaN or infinity in a query: NaN
// and -1.
template <class T>
struct NearestPatchArgs {
  std::int64_t Q, N, D, k;
  const T* queries;     // (Q,D)
  const T* bank;        // (N,D), finite
  T* distance;          // (Q,k)
  std::int64_t* index;  // (Q,k)
};

// nearest_patch on a device with tensor cores (seam/nearest_patch_filter.hpp has the formulas).
//
// What is known of a bank (N,D), its rows taken in `tiles` tiles.
template <class T>
struct NearestPatchSurveyArgs {
  std::int64_t N, D, tiles;
  const T* bank;
  double* partial;  // (tiles, 3D + 1), scratch
  double* centre;   // (D), the mean of the rows
  double*
      summary;  // (3): the first row that holds a NaN or an infinity, or N; the largest |y_i|; the largest |y_i - c_i|
};

// Writes what the filter keeps of a bank (N,D), in blocks of 128 rows: s (x - c) in fp16.
template <class T>
struct NearestPatchFilterArgs {
  std::int64_t N, D;
  const T* bank;
  double scale;             // s > 0
  const double* centre;     // (D), c
  std::uint16_t* rows;      // (blocks * 128, filter_dim(D)) in fp16, y^; zeros beyond row N and column D
  float* minus_half_norms;  // (blocks * 128), -|y^|^2/2
  float* bounds;            // (blocks, 2), at least |y^| and the residual of the block's rows
};

// The same where it is read. Scale 0 stands for no filter at all: every row is ranked.
struct NearestPatchFilter {
  double scale;
  const double* centre;
  const std::uint16_t* rows;
  const float* minus_half_norms;
  const float* bounds;
};

template <class T>
struct NearestPatchSearchArgs {
  NearestPatchArgs<T> search;
  NearestPatchFilter filter;
  std::uint16_t* rounded_queries;  // (ceil(Q / 128) * 128, filter_dim(D)) in fp16, x^; scratch, as are the next two
  double* query_bounds;            // (ceil(Q / 128) * 128, 2), |x^| and the residual
  float* best;                     // (ceil(Q / 128) * 128, blocks), the largest v of each block
};

// Pairs of patches for one task of a Patch SVDD step, cut into square tiles (seam/patch_pair.hpp names the numbers):
//   x = (pixel - mean) / 255                                                                       svdd
//   x = (pixel - mean) / 255 + colour_sigma * normal[channel] + noise_sigma * normal[value]        position
template <class T>
struct PatchPairsArgs {
  PatchTask task;
  std::int64_t images, H, W, C;
  std::int64_t B, first_slot;  // pairs first_slot .. first_slot + B - 1 of the step
  std::int64_t patch_size, tile_size;
  float colour_sigma, noise_sigma;
  std::uint64_t seed;
  std::int64_t step;
  const StepState* state;     // where not null, step is state->step
  const std::uint8_t* image;  // (images,H,W,C)
  const float* mean;          // (H,W,C)
  T* x[2];                    // first and second patches: (B * (patch_size / tile_size)^2, tile_size, tile_size, C)
  std::int32_t* label;        // (B), position only
};

// patches[b*rows*cols + r*cols + c, i, j, :] = x[b, r*stride + i, c*stride + j, :]; joining goes from patches to x.
template <class T>
struct WindowsArgs {
  std::int64_t B, H, W, C;
  std::int64_t window, stride, rows, cols;
  const T* from;
  T* to;
};

// Pairs of patches inside crops, as rows of the trunk's map (seam/crop_pair.hpp); one patch size.
struct DrawCropRowsArgs {
  std::int64_t crops, size, pairs, patch_size;
  std::uint64_t seed;
  std::int64_t step;
  const StepState* state;     // where not null, step is state->step
  std::int32_t* position[2];  // (pairs * (patch_size/32)^2), first and second patch
  std::int32_t* svdd[2];
  std::int32_t* labels;  // (pairs)
};

// y[b,i,j,:] = image[rows[b],i',j',:] / 255, where the random map of (step, b) moves pixel (i', j') to (i, j), 0 where
// there is none (seam/random_affine.hpp). On a device a row outside [0, N) makes its image NaN.
template <class T>
struct AugmentArgs {
  std::int64_t N, H, W, C, B;
  AugmentOptions options;
  std::uint64_t seed;
  std::int64_t step;
  const StepState* state;      // where not null, step is state->step
  const std::uint8_t* images;  // (N,H,W,C)
  const std::int64_t* rows;    // (B)
  T* y;                        // (B,H,W,C)
};

// y = images with the pieces of (stream + step, b) laid on image b one after the other (seam/misplaced_piece.hpp):
// y[b,i,j,:] = opacity * content + (1 - opacity) * y[b,i,j,:] where a piece covers (i, j).
template <class T>
struct MisplacePatchesArgs {
  std::int64_t B, H, C, grid;
  MisplaceOptions options;
  std::uint64_t seed, stream;
  std::int64_t step;
  const StepState* state;  // where not null, step is state->step
  const T* images;         // (B,H,H,C)
  T* y;                    // (B,H,H,C)
};

// maps[b,y,x] = mean of scores[b,i,j] over all patches (i, j), with corner (i*stride, j*stride), that cover (y, x).
template <class T>
struct DistributeScoresArgs {
  std::int64_t B, I, J;  // scores (B,I,J)
  std::int64_t H, W;     // maps (B,H,W)
  std::int64_t patch_size, stride;
  const T* scores;
  T* maps;
};

// scores[b] = the largest of maps[b,0..n-1]; NaN where one of them is.
template <class T>
struct MaxOverPixelsArgs {
  std::int64_t B, n;
  const T* maps;
  T* scores;
};

// c[i] = alpha * op(a[i]) op(b[i]) + beta * c[i] for i < batch, row-major: op(a[i]) is (M,K), op(b[i]) (K,N), c[i]
// (M,N), where op is the identity or the transpose of what is stored. Neighbouring rows of what is stored are row_*
// elements apart, neighbouring matrices stride_* (0: one matrix for all). With beta = 0 c is not read.
template <class T>
struct MatmulArgs {
  std::int64_t batch, M, N, K;
  bool transpose_a, transpose_b;
  std::int64_t row_a, row_b, row_c;
  std::int64_t stride_a, stride_b, stride_c;
  double alpha, beta;
  Math math;  // winograd means fp32
  const T* a;
  const T* b;
  T* c;
};

// Batch normalisation of N rows (every pixel of every image) of C channels:
//   y[n,c] = act((x[n,c] - mean[c]) * inverse[c] * weight[c] + bias[c] + residual[n,c]), inverse = (var + epsilon)^-1/2
// In training mean and var are the batch's (var biased) and the running ones move towards them by `momentum` (there var
// is unbiased); else they are the running ones. Sums in double over `tiles` ranges of rows, then over the tiles.
template <class T>
struct BatchNormArgs {
  std::int64_t N, C;
  bool training;
  double epsilon, momentum;
  Activation activation;  // none, relu or leaky_relu
  double slope;
  const T* x;
  const T* weight;
  const T* bias;
  const T* residual;  // null for none
  T* running_mean;    // (C), null for none in training
  T* running_var;
  T* y;
  double* statistics;  // (2,C): mean and inverse, which backward reads
  std::int64_t tiles;
  double* partial;  // (tiles,2,C)
};

// With dz = dy * act'(y): dresidual = dz is written, dbias[c] += sum_n dz, dweight[c] += sum_n dz * xhat, and
// dx = weight * inverse * (dz - [training] (mean_n dz + xhat * mean_n(dz * xhat))), xhat = (x - mean) * inverse.
// A null gradient is left out.
template <class T>
struct BatchNormBackwardArgs {
  std::int64_t N, C;
  bool training;
  Activation activation;
  double slope;
  const T* x;
  const T* weight;
  const T* y;
  const T* dy;
  const double* statistics;
  T* dx;
  T* dresidual;
  T* dweight;
  T* dbias;
  double* sums;  // (2,C): sum_n dz and sum_n dz * (x - mean)
  std::int64_t tiles;
  double* partial;  // (tiles,2,C)
};

// Layer normalisation of each of N rows of D values (var biased; sums in double):
//   y[n,d] = act((x[n,d] - mean[n]) * inverse[n] * weight[d] + bias[d] + residual[n,d])
template <class T>
struct LayerNormArgs {
  std::int64_t N, D;
  double epsilon;
  Activation activation;  // none, relu or leaky_relu
  double slope;
  const T* x;
  const T* weight;
  const T* bias;
  const T* residual;  // null for none
  T* y;
  double* statistics;  // (N,2): mean and inverse
};

// As BatchNormBackwardArgs, but dx = inverse * (g - mean_d g - xhat * mean_d(g * xhat)) with g = dz * weight.
template <class T>
struct LayerNormBackwardArgs {
  std::int64_t N, D;
  Activation activation;
  double slope;
  const T* x;
  const T* weight;
  const T* y;
  const T* dy;
  const double* statistics;
  T* dx;
  T* dresidual;
  T* dweight;
  T* dbias;
};

// y[i] = act(x[i]); backward: dx[i] = dy[i] * act'(x[i]), taken from y[i].
template <class T>
struct ActivationArgs {
  std::int64_t n;
  Activation activation;
  double slope;
  const T* x;
  T* y;  // read by backward
  const T* dy;
  T* dx;
};

// Bilinear resizing of x (B,H,W,C) to y (B,OH,OW,C); seam/bilinear.hpp has the weights. Backward writes dx from dy.
template <class T>
struct ResizeBilinearArgs {
  std::int64_t B, H, W, C, OH, OW;
  const T* x;
  T* y;
  const T* dy;
  T* dx;
};

// to[n * to_row + c] = from[n * from_row + c] for n < N, c < C.
template <class T>
struct CopyChannelsArgs {
  std::int64_t N, C, from_row, to_row;
  const T* from;
  T* to;
};

// Multi-head attention of each patch of a grid x grid image to its eight neighbours (seam/neighbour.hpp); those beyond
// the edge are tokens as well, whose key is k0 and whose value is v0. Head h has channels h*D .. (h+1)*D-1, D =
// E/heads, and with key_j and value_j of neighbour j = 0..7
//   weights[p,h,j] = softmax_j (q[p] . key_j / sqrt(D)),  y[p] = sum_j weights[p,h,j] * value_j.
template <class T>
struct NeighbourAttentionArgs {
  std::int64_t B, grid, E, heads;
  const T* q;  // (B*grid^2,E), as are k, v and y
  const T* k;
  const T* v;
  const T* k0;  // (E)
  const T* v0;
  T* y;
  T* weights;  // (B*grid^2,heads,8)
};

// dq, dk and dv are written, dk0 and dv0 added to; a null one is left out.
template <class T>
struct NeighbourAttentionBackwardArgs {
  std::int64_t B, grid, E, heads;
  const T* q;
  const T* k;
  const T* v;
  const T* k0;
  const T* v0;
  const T* weights;
  const T* dy;
  T* dscores;  // (B*grid^2,heads,8): the gradient of q . key_j, which this op uses on its way
  T* dq;
  T* dk;
  T* dv;
  T* dk0;
  T* dv0;
};

// mean_squared_difference: loss[0] = mean_i (a[i] - b[i])^2; backward: da[i] = dloss[0] * 2/n * (a[i] - b[i]), db =
// -da. The sum is in double over `tiles` ranges, then over the tiles.
template <class T>
struct MeanSquaredDifferenceArgs {
  std::int64_t n;
  const T* a;
  const T* b;
  T* loss;
  std::int64_t tiles;
  double* partial;  // (tiles)
  const T* dloss;
  T* da;  // null leaves it out, as for db
  T* db;
};

// loss[0] = mean_i (log(1 + exp(x_i)) - t_i x_i), where t_i is labels[i], or `label` where labels is null: the binary
// cross-entropy of sigmoid(x_i) and t_i. backward: dlogits[i] = dloss[0]/n * (sigmoid(x_i) - t_i). Sums as above.
template <class T>
struct BinaryCrossEntropyArgs {
  std::int64_t n;
  const T* logits;
  const T* labels;
  double label;
  T* loss;
  std::int64_t tiles;
  double* partial;  // (tiles)
  const T* dloss;
  T* dlogits;
};

// y[n,c] = mask[n] * a[n,c] + (1 - mask[n]) * b[n,c]; backward: da = mask * dy, db = (1 - mask) * dy, null leaves out.
template <class T>
struct BlendArgs {
  std::int64_t N, C;
  const T* mask;  // (N)
  const T* a;
  const T* b;
  T* y;
  const T* dy;
  T* da;
  T* db;
};

// mask[i] = 1 where random_uniform(seed, stream + step, i) < p, else 0.
template <class T>
struct BernoulliMaskArgs {
  std::int64_t n;
  float p;
  std::uint64_t seed, stream;
  std::int64_t step;
  const StepState* state;  // where not null, step is state->step
  T* mask;
};

// The slot of the b-th row after a queue's pointer. A pointer outside of [0, M) counts modulo M.
constexpr std::int64_t queue_slot(std::int64_t pointer, std::int64_t b, std::int64_t M) noexcept {
  return ((pointer % M + M) % M + b) % M;
}

// memory[s, (pointer[s] + b) mod M, :] = values[b,s,:] for b < B, then pointer[s] = (pointer[s] + B) mod M; B <= M.
template <class T>
struct QueueUpdateArgs {
  std::int64_t S, M, E, B;
  const T* values;        // (B,S,E)
  std::int64_t* pointer;  // (S)
  T* memory;              // (S,M,E)
};

// Blocks in which a device looks for the farthest of N rows.
constexpr std::int64_t k_center_blocks(std::int64_t N) noexcept {
  const std::int64_t blocks = (N + 127) / 128;
  return blocks < 1024 ? blocks : 1024;
}

// index[0] is given. For j = 0 .. K-1, with d^2 = sum over d of fma((double)x_d - (double)y_d, same, acc):
//   nearest[n] = min(nearest[n], d^2(rows[n], rows[index[j]])), infinite at first; -1 from then on for n = index[j]
//   radius[j] = sqrt(max_n nearest[n]), 0 where every row was chosen; index[j+1] = the lowest n where that is
template <class T>
struct KCenterGreedyArgs {
  std::int64_t N, D, K;
  const T* rows;                // (N,D)
  std::int64_t* index;          // (K)
  T* radius;                    // (K)
  double* nearest;              // (N), scratch
  double* partial;              // (blocks), scratch; null on the CPU
  std::int64_t* partial_index;  // (blocks), scratch; null on the CPU
};

// How a row of scores becomes weights (ops/gumbel_shrinkage.hpp has the formulas). k is of the keep_ kinds, lambda of
// hard_threshold.
enum class ShrinkageKind : std::int32_t { none, keep_above_kth, keep_k, hard_threshold };
struct ShrinkageRule {
  ShrinkageKind kind;
  std::int64_t k;
  double lambda;
};
// Longest row, so that one fits a CUDA block's shared memory.
inline constexpr std::int64_t max_shrinkage_row = 8192;

// weights[r,:] = shrinkage(scores[r,:]); the backward reads scores and dweights and writes dscores.
template <class T>
struct GumbelShrinkageArgs {
  std::int64_t R, M;
  ShrinkageRule rule;
  const T* scores;    // (R,M)
  T* weights;         // (R,M)
  const T* dweights;  // (R,M)
  T* dscores;         // (R,M)
};

struct MemoryLookupShape {
  std::int64_t B, S, M, E;
  ShrinkageRule rule;
  std::int64_t chunks;  // ranges of columns whose share of the scores is summed apart, on a device
};

// scores[b,s,m] = sum_e queries[b,s,e] * memory[s,m,e], weights[b,s,:] = shrinkage(scores[b,s,:]),
// read[b,s,e] = sum_m weights[b,s,m] * memory[s,m,e], m ascending, slots of weight 0 left out.
template <class T>
struct MemoryLookupArgs {
  MemoryLookupShape shape;
  const T* queries;  // (B,S,E)
  const T* memory;   // (S,M,E)
  T* scores;         // (B,S,M)
  T* weights;        // (B,S,M)
  T* read;           // (B,S,E)
  T* partial;        // (chunks,B,S,M), scratch; null on the CPU
};

// Gradients of the above: dweights[b,s,m] = sum_e dread[b,s,e] * memory[s,m,e], dscores from them by the shrinkage,
// dqueries[b,s,e] = sum_m dscores[b,s,m] * memory[s,m,e] is written,
// dmemory[s,m,e] += sum_b (weights[b,s,m] * dread[b,s,e] + dscores[b,s,m] * queries[b,s,e]), b ascending; factors of 0
// leave their products out. A null dqueries or dmemory leaves that gradient out.
template <class T>
struct MemoryLookupBackwardArgs {
  MemoryLookupShape shape;
  const T* queries;
  const T* memory;
  const T* scores;
  const T* weights;
  const T* dread;
  T* dscores;  // (B,S,M), scratch
  T* dqueries;
  T* dmemory;
  T* partial;  // (chunks,B,S,M), scratch; null on the CPU
};

}  // namespace cuttle::seam
