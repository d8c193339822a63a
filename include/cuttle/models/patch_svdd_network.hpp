// The networks of Patch SVDD (Yi and Yoon, "Patch SVDD: patch-level SVDD for anomaly detection and segmentation", ACCV
// 2020): the hierarchical encoder (their section 3.3) and the classifier of relative positions (section 3.2).
#pragma once

#include <array>
#include <cstdint>
#include <string>

#include "cuttle/nn/layers.hpp"
#include "cuttle/ops/losses.hpp"

namespace cuttle {

// Sizes of the method: two patch sizes (the paper's K), their strides at test time (S), the length of an embedding (D).
struct PatchSvddSizes {
  static constexpr std::int64_t small = 32, large = 64;
  static constexpr std::int64_t stride_small = 4, stride_large = 16;
  static constexpr std::int64_t D = 64;
  static constexpr std::int64_t directions = 8;
  static constexpr double slope = 0.1;  // of every leaky ReLU
};

// The embeddings of all patches of an image on the test strides.
template <class T>
struct PatchEmbeddings {
  Tensor<T> small;  // (B, I, J, 64) with I = (H - 32)/4 + 1: patch (i,j) has its corner at (4i, 4j)
  Tensor<T> large;  // (B, I, J, 64) with I = (H - 64)/16 + 1: corner at (16i, 16j)
};

// Both encoders: the small one embeds a 32 x 32 patch by eight 3x3 convolutions; the large one embeds a 64 x 64 patch
// by the small one on its four quadrants and two more layers. Parameter names are the reference's.
template <class T>
class PatchEncoder {
 public:
  explicit PatchEncoder(nn::Initializer& init)
      : trunk_{layer(3, 32, init, 2), layer(32, 64, init),
               layer(64, 128, init),  layer(128, 128, init),
               layer(128, 64, init),  layer(64, 32, init),
               layer(32, 32, init),   nn::Conv2d<T>(32, PatchSvddSizes::D, 3, {.activation = Activation::tanh}, init)},
        head1_(PatchSvddSizes::D, 128, 2, {.activation = Activation::leaky_relu, .slope = PatchSvddSizes::slope}, init),
        head2_(128, PatchSvddSizes::D, 1, {.activation = Activation::tanh}, init) {}

  // How the trunk's products are computed from now on.
  void set_math(Math math) {
    for (nn::Conv2d<T>& conv : trunk_) conv.options.math = math;
  }

  // Patches (B,32,32,3) -> embeddings (B,64) in (-1, 1).
  Var<T> embed_small(const Var<T>& patches, Tape<T>* tape) const {
    require(patches.value().rank() == 4 && patches.value().size(1) == PatchSvddSizes::small &&
                patches.value().size(2) == PatchSvddSizes::small,
            "PatchEncoder::embed_small: patches have shape ", patches.shape(), ", expected (B,32,32,3)");
    return reshape(embed_densely(patches, tape), {patches.value().size(0), PatchSvddSizes::D});
  }

  // The small embeddings of the quadrants of 64 x 64 patches, four rows a patch (top left, top right, bottom left,
  // bottom right): (4B,64) -> embeddings of the large patches (B,64).
  Var<T> embed_large(const Var<T>& quadrants, Tape<T>* tape) const {
    require(quadrants.value().rank() == 2 && quadrants.value().size(0) % 4 == 0,
            "PatchEncoder::embed_large: quadrants have shape ", quadrants.shape(), ", expected (4B,64)");
    const std::int64_t B = quadrants.value().size(0) / 4;
    const Var<T> grid = reshape(quadrants, {B, 2, 2, PatchSvddSizes::D});
    return reshape(head2_(head1_(grid, tape), tape), {B, PatchSvddSizes::D});
  }

  // Every second pixel's 32-patch of images (B,H,W,3): (B, (H-32)/2+1, (W-32)/2+1, 64), patch (r,c) with corner
  // (2r,2c).
  Var<T> embed_densely(const Var<T>& images, Tape<T>* tape) const {
    Var<T> x = images;
    for (const nn::Conv2d<T>& conv : trunk_) x = conv(x, tape);
    return x;
  }

  // All patches of images (B,H,W,3) at the test strides by evaluating the trunk once over each image. The trunk has no
  // padding and strides 2 once, so its output at (r,c) is the embedding of the patch with corner (2r,2c); its last
  // layer is taken with stride 2, which leaves the corners (4i,4j). The quadrants of a 64-patch lie 32 pixels apart,
  // that is 8 rows of that map, and large patches 16 pixels, 4 rows.
  PatchEmbeddings<T> embed_images(const Tensor<T>& images) const {
    require(images.rank() == 4 && images.size(1) >= PatchSvddSizes::large && images.size(2) >= PatchSvddSizes::large,
            "PatchEncoder::embed_images: images have shape ", images.shape(),
            ", expected (B,H,W,3) of at least 64 x 64");
    constexpr std::int64_t step = PatchSvddSizes::stride_small;
    Var<T> x = images;
    for (const nn::Conv2d<T>& conv : trunk_) {
      Conv2dOptions options = conv.options;
      if (&conv == &trunk_.back()) options.stride = step / 2;
      x = conv(x, nullptr, options);
    }
    Conv2dOptions apart = head1_.options;
    apart.dilation = PatchSvddSizes::small / step;
    apart.stride = PatchSvddSizes::stride_large / step;
    return {x.value(), head2_(head1_(x, nullptr, apart), nullptr).value()};
  }

  template <class Visit>
  void parameters(Visit&& visit, const std::string& prefix) {
    for (std::size_t i = 0; i < trunk_.size(); ++i)
      trunk_[i].parameters(visit, prefix + "enc.conv" + std::to_string(i + 1) + ".");
    head1_.parameters(visit, prefix + "conv1.");
    head2_.parameters(visit, prefix + "conv2.");
  }

 private:
  static nn::Conv2d<T> layer(std::int64_t in, std::int64_t out, nn::Initializer& init, std::int64_t stride = 1) {
    return {in, out, 3, {.stride = stride, .activation = Activation::leaky_relu, .slope = PatchSvddSizes::slope}, init};
  }

  std::array<nn::Conv2d<T>, 8> trunk_;
  nn::Conv2d<T> head1_, head2_;
};

// Which of eight neighbours the second patch is, from the difference of the two embeddings. As in the reference, the
// last weight W never learns and acts with its columns at unit length: V[o,i] = W[o,i] / |W[:,i]|.
template <class T>
class PositionClassifier {
 public:
  explicit PositionClassifier(nn::Initializer& init)
      : fc1_(PatchSvddSizes::D, 128, {Activation::leaky_relu, PatchSvddSizes::slope}, init),
        fc2_(128, 128, {Activation::leaky_relu, PatchSvddSizes::slope}, init),
        fc3_(128, PatchSvddSizes::directions, {}, init) {
    fc3_.weight.trainable = false;
  }

  // h1, h2 (B,64) -> logits (B,8).
  Var<T> operator()(const Var<T>& h1, const Var<T>& h2, Tape<T>* tape) const {
    const Var<T> a = fc2_(fc1_(sub(h1, h2), tape), tape);
    return linear(a, Var<T>(unit_columns(fc3_.weight.value)), fc3_.bias.on(tape));
  }

  template <class Visit>
  void parameters(Visit&& visit, const std::string& prefix) {
    fc1_.parameters(visit, prefix + "fc1.");
    fc2_.parameters(visit, prefix + "fc2.");
    fc3_.parameters(visit, prefix + "fc3.");
  }

 private:
  nn::Linear<T> fc1_, fc2_, fc3_;
};

}  // namespace cuttle
