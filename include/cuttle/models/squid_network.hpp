// The networks of SQUID (Xiang et al., "SQUID: Deep Feature In-Painting for Unsupervised Anomaly Detection", CVPR 2023)
// as its authors' code computes them: a generator that reconstructs an image twice, by a student that sees in-painted
// features and by a teacher that sees the encoder's, and a discriminator of reconstructions.
//
// Maps are in one of two layouts: whole (B,H,W,C), or patches (B*P,H/grid,W/grid,C), image by image and row by row.
// Parameter names are the reference's.
#pragma once

#include <array>
#include <cmath>
#include <cstdint>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "cuttle/models/squid_config.hpp"
#include "cuttle/nn/layers.hpp"

namespace cuttle {

// What a pass leaves for those who look inside: values by the names of the layers.
template <class T>
using SquidTrace = std::vector<std::pair<std::string, Tensor<T>>>;

namespace detail {
template <class T>
void note(SquidTrace<T>* trace, std::string_view name, const Var<T>& value) {
  if (trace) trace->emplace_back(name, value.value());
}

// A tensor that const functions keep for the next call, from many threads at once.
template <class T>
class KeptTensor {
 public:
  KeptTensor() = default;
  KeptTensor(const KeptTensor& other) : tensor_(other.get()) {}
  KeptTensor& operator=(const KeptTensor& other) {
    set(other.get());
    return *this;
  }
  Tensor<T> get() const {
    std::lock_guard lock(mutex_);
    return tensor_;
  }
  void set(Tensor<T> tensor) {
    std::lock_guard lock(mutex_);
    tensor_ = std::move(tensor);
  }

 private:
  mutable std::mutex mutex_;
  Tensor<T> tensor_;
};
}  // namespace detail

// How a pass through the generator goes. In training the batch's statistics normalise, the running ones follow, and
// behind a memory a few pixels keep what was there before (section 3.3, "masked shortcut"): one mask for all channels,
// (N,H,W,1) of 0 and 1, 1 where the memory's map counts. Without masks all of it counts.
template <class T>
struct SquidPass {
  Tape<T>* tape = nullptr;
  bool training = false;
  bool teacher = true;  // also the teacher's reconstruction and the distances to it
  Tensor<T> inpaint_mask;
  std::vector<Tensor<T>> decoder_masks;  // by up-sampling block; undefined for one without a memory
  SquidTrace<T>* trace = nullptr;

  nn::Statistics statistics() const noexcept { return training ? nn::Statistics::training : nn::Statistics::running; }
};

// Three convolutions of 3 x 3, with a shortcut around the last two:
//   a = relu(bn(conv(x))), y = relu(bn(conv(relu(bn(conv(a))))) + a).
template <class T>
class ResidualBlock {
 public:
  ResidualBlock(std::int64_t in, std::int64_t out, std::int64_t stride, nn::Initializer& init)
      : conv1_(in, out, 3, {.stride = stride, .padding = 1}, init),
        conv2_(out, out, 3, {.padding = 1}, init),
        conv3_(out, out, 3, {.padding = 1}, init),
        norm1_(out),
        norm2_(out),
        norm3_(out) {}

  Var<T> operator()(const Var<T>& x, const SquidPass<T>& pass) const {
    const auto normalised = [&](const nn::BatchNorm<T>& norm, const nn::Conv2d<T>& conv, const Var<T>& input,
                                const Var<T>& residual) {
      return norm(conv(input, pass.tape), pass.tape, pass.statistics(), Activation::relu, residual);
    };
    const Var<T> a = normalised(norm1_, conv1_, x, {});
    return normalised(norm3_, conv3_, normalised(norm2_, conv2_, a, {}), a);
  }

  // How the products are computed from now on; Math::winograd takes effect where the shape allows it.
  void set_math(Math math) { conv1_.options.math = conv2_.options.math = conv3_.options.math = math; }

  template <class Visit>
  void parameters(Visit&& visit, const std::string& prefix) {
    conv1_.parameters(visit, prefix + "conv1.0.");
    norm1_.parameters(visit, prefix + "conv1.1.");
    conv2_.parameters(visit, prefix + "conv2.0.");
    norm2_.parameters(visit, prefix + "conv2.1.");
    conv3_.parameters(visit, prefix + "conv2.3.");
    norm3_.parameters(visit, prefix + "conv2.4.");
  }

 private:
  nn::Conv2d<T> conv1_, conv2_, conv3_;
  nn::BatchNorm<T> norm1_, norm2_, norm3_;
};

// Replaces each patch's feature by what memories of its neighbours suggest (sections 3.2 and 3.3).
template <class T>
class InpaintingBlock {
 public:
  static constexpr std::int64_t heads = 8;

  InpaintingBlock(const SquidConfig& config, nn::Initializer& init)
      : config_(config),
        reduce_(channels(), channels() / 4, 1, {}, init, nn::Bias::none),
        reduce_norm_(channels() / 4),
        memory_{init.uniform<T>({config.patches(), config.slots, config.E()}, bound()), {}, false},
        in_proj_weight_{init.uniform<T>({3 * config.E(), config.E()}, std::sqrt(1.5) * bound()), {}, true},
        in_proj_bias_{Tensor<T>::zeros({3 * config.E()}), {}, true},
        out_proj_(config.E(), config.E(), {}, init),
        norm1_(config.E()),
        ff1_(config.E(), config.E() / 4, {Activation::relu}, init),
        ff2_(config.E() / 4, config.E(), {}, init),
        norm2_(config.E()),
        expand_(channels() / 4 + code_bits(), channels(), 1, {}, init),
        expand_norm_(channels()) {
    out_proj_.bias.value.fill(T(0));
  }

  // x (B*P,h,w,C) -> the same shape; remembered takes the features that the queues may store, (B,P,E).
  Var<T> operator()(const Var<T>& x, const SquidPass<T>& pass, Tensor<T>& remembered) const {
    const std::int64_t P = config_.patches(), E = config_.E();
    const std::int64_t N = x.value().size(0), h = x.value().size(1), w = x.value().size(2);
    const Var<T> reduced = reduce_norm_(reduce_(x, pass.tape), pass.tape, pass.statistics(), Activation::relu);
    detail::note(pass.trace, "inpaint.bottleneck_conv1", reduced);
    // Flattened channel by channel: the order of the reference's weights.
    const Var<T> f = reshape(permute(reduced, {0, 3, 1, 2}), {N, E});
    remembered = f.value().reshape({N / P, P, E});
    const Var<T> m =
        reshape(memory_lookup(reshape(f, {N / P, P, E}), Var<T>(memory_.value), KeepAboveKth{config_.kept}), {N, E});
    detail::note(pass.trace, "inpaint.mem.out", m);

    // Each patch's own feature asks, the memories of its eight neighbours answer; a neighbour beyond the border is a
    // token of zeros, whose key and value are the biases.
    const Var<T> weight = in_proj_weight_.on(pass.tape), bias = in_proj_bias_.on(pass.tape);
    const auto part = [E](const Var<T>& all, std::int64_t i) { return slice(all, i * E, (i + 1) * E); };
    const Var<T> no_key = part(bias, 1), no_value = part(bias, 2);
    const Var<T> attention = neighbour_attention(
        linear(f, part(weight, 0), part(bias, 0)), linear(m, part(weight, 1), no_key),
        linear(m, part(weight, 2), no_value), no_key, no_value, {.grid = config_.grid, .heads = heads});
    const Var<T> attended = out_proj_(attention, pass.tape);
    detail::note(pass.trace, "inpaint.attn.out", attended);
    const Var<T> z1 = norm1_(attended, pass.tape, Activation::relu, m);
    detail::note(pass.trace, "inpaint.after_attention", z1);
    const Var<T> fed = ff2_(ff1_(z1, pass.tape), pass.tape);
    detail::note(pass.trace, "inpaint.ff.out", fed);
    const Var<T> z2 = norm2_(fed, pass.tape, Activation::relu, z1);
    detail::note(pass.trace, "inpaint.after_ff", z2);

    const Var<T> z = permute(reshape(z2, {N, channels() / 4, h, w}), {0, 2, 3, 1});
    const Var<T> coded = concat_channels(z, Var<T>(position_code(N, h, w, x.value().device())));
    detail::note(pass.trace, "inpaint.conv2.in", coded);
    const Var<T> out = expand_norm_(expand_(coded, pass.tape), pass.tape, pass.statistics(), Activation::relu);
    detail::note(pass.trace, "inpaint.conv2.out", out);
    return pass.inpaint_mask.defined() ? blend(pass.inpaint_mask, out, x) : out;
  }

  // The queues, (P,slots,E).
  Tensor<T>& memory() noexcept { return memory_.value; }
  const Tensor<T>& memory() const noexcept { return memory_.value; }

  template <class Visit>
  void parameters(Visit&& visit, const std::string& prefix) {
    reduce_.parameters(visit, prefix + "bottleneck_conv1.0.");
    reduce_norm_.parameters(visit, prefix + "bottleneck_conv1.1.");
    visit(prefix + "memory.*.memMatrix", memory_);
    visit(prefix + "attention.in_proj_weight", in_proj_weight_);
    visit(prefix + "attention.in_proj_bias", in_proj_bias_);
    out_proj_.parameters(visit, prefix + "attention.out_proj.");
    norm1_.parameters(visit, prefix + "attn_norm1.");
    ff1_.parameters(visit, prefix + "ff.0.");
    ff2_.parameters(visit, prefix + "ff.3.");
    norm2_.parameters(visit, prefix + "attn_norm2.");
    expand_.parameters(visit, prefix + "bottleneck_conv2.0.");
    expand_norm_.parameters(visit, prefix + "bottleneck_conv2.1.");
  }

 private:
  std::int64_t channels() const { return config_.channels(config_.levels); }
  double bound() const { return 1 / std::sqrt(static_cast<double>(config_.E())); }
  // floor(log2(P) + 1)
  std::int64_t code_bits() const {
    std::int64_t bits = 0;
    while (config_.patches() >> bits) ++bits;
    return bits;
  }

  // (N,h,w,bits): the patch's index in binary, its highest bit first, the same at every pixel.
  Tensor<T> position_code(std::int64_t N, std::int64_t h, std::int64_t w, Device device) const {
    const Shape shape{N, h, w, code_bits()};
    if (const Tensor<T> kept = code_.get(); kept.defined() && kept.shape() == shape && kept.device() == device)
      return kept;
    auto code = Tensor<T>::empty(shape);
    for (std::int64_t i = 0; i < code.numel(); ++i) {
      const std::int64_t bit = code_bits() - 1 - i % code_bits(), patch = i / (h * w * code_bits()) % config_.patches();
      code.data()[i] = static_cast<T>(patch >> bit & 1);
    }
    code = code.to(device);
    code_.set(code);
    return code;
  }

  SquidConfig config_;
  nn::Conv2d<T> reduce_;
  nn::BatchNorm<T> reduce_norm_;
  nn::Parameter<T> memory_, in_proj_weight_, in_proj_bias_;
  nn::Linear<T> out_proj_;
  nn::LayerNorm<T> norm1_;
  nn::Linear<T> ff1_, ff2_;
  nn::LayerNorm<T> norm2_;
  nn::Conv2d<T> expand_;
  nn::BatchNorm<T> expand_norm_;
  mutable detail::KeptTensor<T> code_;  // of the last batch
};

// A trained memory behind an up-sampling block of the student.
template <class T>
class DecoderMemory {
 public:
  DecoderMemory(const SquidConfig& config, std::int64_t level, nn::Initializer& init)
      : kind_(config.memory_at(level).kind), kept_(config.kept), windows_(1) {
    const std::int64_t matrices = config.memory_at(level).matrices;
    if (kind_ == SquidDecoderMemory::Kind::windows)
      while (windows_ * windows_ < matrices) ++windows_;
    const std::int64_t side = config.size_at(level) / windows_, dim = config.channels(level) * side * side;
    memory_ = {
        init.uniform<T>({matrices, config.decoder_slots, dim}, 1 / std::sqrt(static_cast<double>(dim))), {}, true};
  }

  // x (B*P,h,w,C) -> the same shape.
  Var<T> operator()(const Var<T>& x, const Tensor<T>& mask, Tape<T>* tape) const {
    const Var<T> memory = memory_.on(tape);
    const std::int64_t N = x.value().size(0), h = x.value().size(1), w = x.value().size(2), C = x.value().size(3);
    const std::int64_t S = memory.value().size(0), E = memory.value().size(2);
    const auto look_up = [&](const Var<T>& flat) {
      return memory_lookup(reshape(flat, {flat.shape().numel() / (S * E), S, E}), memory, KeepAboveKth{kept_});
    };
    Var<T> read;
    if (kind_ == SquidDecoderMemory::Kind::windows) {
      // Every map of the batch is cut again; its windows are flattened channel-last.
      read = join_windows(reshape(look_up(extract_windows(x, h / windows_)), {N * S, h / windows_, w / windows_, C}),
                          windows_, windows_);
    } else {
      read = permute(reshape(look_up(permute(x, {0, 3, 1, 2})), {N, C, h, w}), {0, 2, 3, 1});
    }
    return mask.defined() ? blend(mask, read, x) : read;
  }

  template <class Visit>
  void parameters(Visit&& visit, const std::string& prefix) {
    visit(prefix + "memory.*.memMatrix", memory_);
  }

 private:
  SquidDecoderMemory::Kind kind_;
  std::int64_t kept_, windows_;
  nn::Parameter<T> memory_;
};

// What a pass through the generator gives. The teacher's parts are undefined where it was left out.
template <class T>
struct SquidReconstruction {
  Var<T> student, teacher;  // (B,H,W,1), in (0, 1)
  Var<T> distance;          // (1): the sum over the levels of the mean squared distance between student and teacher
  Tensor<T> remembered;     // (B,P,E)
};

// Reconstructs images (Xiang et al. 2023, figure 2): the encoder sees isolated patches, the in-painting block replaces
// their features, the student decodes these and the teacher the encoder's own.
template <class T>
class SquidGenerator {
 public:
  SquidGenerator(const SquidConfig& config, nn::Initializer& init)
      : config_(checked(config)),
        in_conv_(1, config.channels(0), 1, init),
        down_(blocks_down(config, init)),
        inpaint_(config, init),
        up_(blocks_up(config, init)),
        out_(config.channels(0), 1, 1, {}, init),
        teacher_up_(blocks_up(config, init)),
        teacher_out_(config.channels(0), 1, 1, {}, init) {
    for (std::int64_t level = 0; level < config.levels; ++level) {
      memory_.emplace_back();
      if (config.memory_at(level).kind != SquidDecoderMemory::Kind::none) memory_.back().emplace(config, level, init);
    }
  }

  const SquidConfig& config() const noexcept { return config_; }
  // The queues of the in-painting block, (P,slots,E).
  Tensor<T>& queues() noexcept { return inpaint_.memory(); }
  const Tensor<T>& queues() const noexcept { return inpaint_.memory(); }
  // Whether up-sampling block i is followed by a memory, and so takes a mask.
  bool has_memory(std::int64_t block) const { return memory_[at(config_.levels - 1 - block)].has_value(); }

  // How the products of the residual blocks are computed from now on.
  void set_math(Math math) {
    in_conv_.set_math(math);
    for (auto* blocks : {&down_, &up_, &teacher_up_})
      for (ResidualBlock<T>& block : *blocks) block.set_math(math);
  }

  // images (B,image_size,image_size,1) in [0, 1].
  SquidReconstruction<T> operator()(const Tensor<T>& images, const SquidPass<T>& pass) const {
    require(images.rank() == 4 && images.size(1) == config_.image_size && images.size(2) == config_.image_size &&
                images.size(3) == 1,
            "SquidGenerator: images have shape ", images.shape(), ", expected (B,", config_.image_size, ",",
            config_.image_size, ",1)");
    const std::int64_t L = config_.levels, grid = config_.grid;
    const auto named = [&](const char* name, std::int64_t i, const char* rest) {
      return pass.trace ? concat(name, i, rest) : std::string();
    };
    SquidReconstruction<T> result;

    Var<T> x = in_conv_(Var<T>(extract_windows(images, config_.patch_size(), config_.patch_size())), pass);
    detail::note(pass.trace, "enc.in_conv", x);
    std::array<Var<T>, SquidConfig::most_levels> skips;
    for (std::int64_t i = 0; i < L; ++i) {
      skips[at(i)] = i < config_.initial_combine ? join_windows(x, grid, grid) : x;
      x = down_[at(i)](x, pass);
      detail::note(pass.trace, named("enc.down", i, ""), x);
    }
    Var<T> t = detach(x);
    x = inpaint_(x, pass, result.remembered);
    detail::note(pass.trace, "inpaint.out", x);

    for (std::int64_t i = 0; i < L; ++i) {
      const std::int64_t level = L - 1 - i;
      if (config_.initial_combine == L - i) {
        x = join_windows(x, grid, grid);
        t = join_windows(t, grid, grid);
      }
      const Var<T>& skip = skips[at(level)];
      const auto up = [&](const ResidualBlock<T>& block, const Var<T>& from, const Var<T>& features) {
        const Var<T> u = resize_bilinear(from, skip.value().size(1), skip.value().size(2));
        return block(config_.concat[at(i)] ? concat_channels(features, u) : u, pass);
      };
      x = up(up_[at(i)], x, skip);
      detail::note(pass.trace, named("dec.up", i, ".out"), x);
      if (memory_[at(level)]) {
        x = (*memory_[at(level)])(x, at(i) < pass.decoder_masks.size() ? pass.decoder_masks[at(i)] : Tensor<T>(),
                                  pass.tape);
        detail::note(pass.trace, named("dec.mem_after_up", i, ""), x);
      }
      if (pass.teacher) {
        t = up(teacher_up_[at(i)], t, detach(skip));
        detail::note(pass.trace, named("teacher.up", i, ".out"), t);
        const Var<T> distance = mean_squared_difference(x, t);
        detail::note(pass.trace, named("dist_loss.level", i, ""), distance);
        result.distance = i == 0 ? distance : add(result.distance, distance);
      }
    }
    const Var<T> logits = out_(x, pass.tape);
    detail::note(pass.trace, "dec.out_conv", logits);
    result.student = activate(logits, Activation::sigmoid);
    if (pass.teacher) result.teacher = activate(teacher_out_(t, pass.tape), Activation::sigmoid);
    return result;
  }

  template <class Visit>
  void parameters(Visit&& visit, const std::string& prefix) {
    const auto each = [&](std::vector<ResidualBlock<T>>& blocks, const std::string& name, const std::string& inner) {
      for (std::size_t i = 0; i < blocks.size(); ++i)
        blocks[i].parameters(visit, prefix + name + "." + std::to_string(i) + "." + inner + ".");
    };
    in_conv_.parameters(visit, prefix + "in_conv.conv.");
    each(down_, "down_blocks", "mpconv");
    each(up_, "up_blocks", "conv");
    inpaint_.parameters(visit, prefix + "inpaint_block.");
    for (std::size_t level = 0; level < memory_.size(); ++level)
      if (memory_[level]) memory_[level]->parameters(visit, prefix + "memory_blocks." + std::to_string(level) + ".");
    out_.parameters(visit, prefix + "out_conv.conv.");
    each(teacher_up_, "teacher_ups", "conv");
    teacher_out_.parameters(visit, prefix + "teacher_out.conv.");
  }

 private:
  static std::size_t at(std::int64_t i) noexcept { return static_cast<std::size_t>(i); }
  static const SquidConfig& checked(const SquidConfig& config) {
    config.check();
    return config;
  }
  static std::vector<ResidualBlock<T>> blocks_down(const SquidConfig& config, nn::Initializer& init) {
    std::vector<ResidualBlock<T>> blocks;
    for (std::int64_t i = 0; i < config.levels; ++i)
      blocks.emplace_back(config.channels(i), config.channels(i + 1), 2, init);
    return blocks;
  }
  static std::vector<ResidualBlock<T>> blocks_up(const SquidConfig& config, nn::Initializer& init) {
    std::vector<ResidualBlock<T>> blocks;
    for (std::int64_t i = 0; i < config.levels; ++i) {
      const std::int64_t from = config.channels(config.levels - i), to = config.channels(config.levels - 1 - i);
      blocks.emplace_back(config.concat[at(i)] ? from + to : from, to, 1, init);
    }
    return blocks;
  }

  SquidConfig config_;
  ResidualBlock<T> in_conv_;
  std::vector<ResidualBlock<T>> down_;
  InpaintingBlock<T> inpaint_;
  std::vector<ResidualBlock<T>> up_;
  nn::Conv2d<T> out_;
  std::vector<ResidualBlock<T>> teacher_up_;
  nn::Conv2d<T> teacher_out_;
  std::vector<std::optional<DecoderMemory<T>>> memory_;  // by level from the top
};

// What each of the discriminator's five layers makes of images, (B,h,w,C) behind its activation.
template <class T>
using SquidDiscriminatorMaps = std::array<Tensor<T>, 5>;

// Tells images from reconstructions: five convolutions of 5 x 5 with stride 2, batch normalisation behind all but the
// first, a leaky ReLU of slope 0.2 behind each, and one linear layer.
template <class T>
class SquidDiscriminator {
 public:
  static constexpr double slope = 0.2;
  static constexpr std::int64_t first_channels = 16;  // of the first layer's map

  SquidDiscriminator(std::int64_t image_size, nn::Initializer& init)
      : size_((image_size + 31) / 32), regressor_(channels[5] * size_ * size_, 1, {}, init) {
    for (std::size_t i = 0; i < 5; ++i) {
      Conv2dOptions options{.stride = 2, .padding = 2};
      if (i == 0) {
        options.activation = Activation::leaky_relu;
        options.slope = slope;
      }
      convs_.emplace_back(channels[i], channels[i + 1], 5, options, init);
      if (i > 0) norms_.emplace_back(channels[i + 1]);
    }
  }

  // images (B,H,W,1) -> logits (B,1). The reference never uses the running statistics: it scores images one at a time
  // with the batch statistics of that one image.
  Var<T> operator()(const Var<T>& images, Tape<T>* tape, nn::Statistics statistics,
                    SquidDiscriminatorMaps<T>* maps = nullptr) const {
    Var<T> x = images;
    for (std::size_t i = 0; i < 5; ++i) {
      x = convs_[i](x, tape);
      if (i > 0) x = norms_[i - 1](x, tape, statistics, Activation::leaky_relu, {}, slope);
      if (maps) (*maps)[i] = x.value();
    }
    const std::int64_t B = x.value().size(0);
    return regressor_(reshape(permute(x, {0, 3, 1, 2}), {B, x.shape().numel() / B}), tape);
  }

  template <class Visit>
  void parameters(Visit&& visit, const std::string& prefix) {
    for (std::size_t i = 0; i < 5; ++i) {
      // A convolution, its normalisation and a leaky ReLU take three numbers, the first one two.
      const std::size_t number = i == 0 ? 0 : 3 * i - 1;
      convs_[i].parameters(visit, prefix + "conv_model." + std::to_string(number) + ".");
      if (i > 0) norms_[i - 1].parameters(visit, prefix + "conv_model." + std::to_string(number + 1) + ".");
    }
    regressor_.parameters(visit, prefix + "regressor.");
  }

 private:
  static constexpr std::int64_t channels[6] = {1, first_channels, 32, 64, 128, 128};

  std::int64_t size_;
  std::vector<nn::Conv2d<T>> convs_;
  std::vector<nn::BatchNorm<T>> norms_;
  nn::Linear<T> regressor_;
};

}  // namespace cuttle
