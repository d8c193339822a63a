// SQUID as a detector (Xiang et al., CVPR 2023, section 3.4): the trained generator and discriminator, and what they
// make of normal images, by which others are judged.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <concepts>
#include <cstdint>
#include <filesystem>
#include <limits>
#include <numeric>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "cuttle/data/resize.hpp"
#include "cuttle/models/anomaly_map.hpp"
#include "cuttle/models/squid_score.hpp"
#include "cuttle/models/squid_training.hpp"
#include "cuttle/models/state.hpp"

namespace cuttle {

// What an image is judged by. Each part is a number that is larger for normal images, in deviations from its mean over
// normal images; their weighted sum z, over the norm of the weights, gives the score 1 - sigmoid(z).
//   reconstruction   the discriminator's logit of the reconstruction (the paper's score: weight 1, the others 0)
//   image            its logit of the image itself
//   memory           what the discriminator's first layer makes of the image, averaged in 32 x 32 cells (a smaller map:
//                    its pixels): minus the mean over the cells of the logarithm of the squared distance between the
//                    cell's feature and the nearest that remember() stored of the same cell of normal images
//   error            minus the logarithm of the mean squared difference between image and reconstruction, over the
//                    variance of the image
struct SquidScoring {
  static constexpr std::size_t parts = 4;
  static constexpr std::array<const char*, parts> names{"reconstruction", "image", "memory", "error"};
  using Parts = std::array<double, parts>;

  Parts weights{1, 0, 0, 0};
  // The discriminator's: those of each image's own activations (the authors' way), or the running ones.
  bool running_statistics = false;

  // What the default recipe scores with, by the configuration it is for.
  static SquidScoring standard(std::string_view config) {
    SquidScoring scoring;
    scoring.running_statistics = true;
    scoring.weights = config == "digit" ? Parts{0, 1, 0, 0.5} : Parts{0, 0, 1, 0.5};
    return scoring;
  }
};

// A trained SQUID: scores of images, maps of where they are anomalous, and how they would look were they normal.
template <std::same_as<float> T>
class BasicSquid {
 public:
  static constexpr const char* method = "squid";

  // Takes over (shares) trained networks, on whose device the detector works; training describes the run for whoever
  // reads the file. fit() comes before any score.
  BasicSquid(SquidNetworks<T> networks, const SquidScoring& scoring, Json training = {})
      : networks_(std::move(networks)), scoring_(scoring), training_(std::move(training)) {
    networks_.generator.set_math(Math::fp32);
    double sum = 0;
    for (const double weight : scoring.weights) {
      require(weight >= 0 && weight <= 1e6 && (weight == 0 || weight >= 1e-6), "Squid: a weight of the score is ",
              weight, ", expected 0 or 1e-6 to 1e6");
      sum += weight;
    }
    require(sum > 0, "Squid: all weights of the score are 0");
    require(
        scoring.running_statistics || config().image_size > 32, "Squid: of an image of ", config().image_size,
        " pixels the discriminator's last map is one pixel, whose own statistics say nothing; use the running ones");
  }

  // Moves the networks; images are always given, and maps returned, on the CPU.
  void move_to(Device device) { nn::move_to<T>(networks_, device); }
  Device device() const noexcept { return networks_.generator.queues().device(); }

  // Stores the features of normal images (N,image_size,image_size,1), bytes, that the memory part of the score measures
  // distances to: those of the training set. More than `most` of them: a seeded subset. progress(done, of how many) is
  // called after each; where it throws, the model stays as it was.
  template <class Progress>
  void remember(const Tensor<std::uint8_t>& images, std::int64_t most, std::uint64_t seed, Progress&& progress) {
    require_images("remember", images);
    require(most >= 1, "Squid::remember: most is ", most);
    constexpr std::uint64_t subset_stream = std::uint64_t{8} << 56;
    const auto rows = random_subset(images.size(0), std::min(most, images.size(0)), seed, subset_stream);
    const std::int64_t N = std::ssize(rows), S = segments(), D = SquidDiscriminator<T>::first_channels;
    auto memory = Tensor<T>::empty({S, N, D});
    for (std::int64_t n = 0; n < N; ++n) {
      const std::int64_t row = rows[static_cast<std::size_t>(n)];
      SquidDiscriminatorMaps<T> maps;
      logit(augment<T>(images.slice(row, row + 1).to(device()), rows_of(1), still, 0, 0), maps);
      const Tensor<T> features = cell_features(maps);
      for (std::int64_t s = 0; s < S; ++s) std::copy_n(features.data() + s * D, D, memory.data() + (s * N + n) * D);
      progress(n + 1, N);
    }
    set_memory(std::move(memory));
  }
  void remember(const Tensor<std::uint8_t>& images, std::int64_t most = 1000, std::uint64_t seed = 0) {
    remember(images, most, seed, [](std::int64_t, std::int64_t) {});
  }

  // Learns from normal images (N,image_size,image_size,1), bytes, N at least 2, how the parts of the score and the
  // differences in the maps spread. The authors show the images augmented, as in training. progress(done, N) is called
  // after each; where it throws, the model stays as it was.
  template <class Progress>
  void fit(const Tensor<std::uint8_t>& images, const AugmentOptions& augment_options, std::uint64_t seed,
           Progress&& progress) {
    require_images("fit", images);
    require(images.size(0) >= 2, "Squid::fit: one image has no spread; give more normal images");
    require(scoring_.weights[2] == 0 || memory_.defined(), "Squid::fit: the score has a memory; call remember first");
    std::array<std::vector<double>, SquidScoring::parts> values;
    std::array<double, layers> differences{};
    std::int64_t done = 0;
    for_each_seen(images, augment_options, seed, [&](const Seen& seen) {
      for (std::size_t k = 0; k < values.size(); ++k) values[k].push_back(seen.parts[k]);
      for (std::size_t k = 0; k < differences.size(); ++k) differences[k] += mean_of(seen.differences[k]);
      progress(++done, images.size(0));
    });
    std::vector<LogitNormalisation> normalisation;
    for (std::size_t k = 0; k < values.size(); ++k)
      normalisation.push_back(scoring_.weights[k] > 0 ? LogitNormalisation::from(values[k]) : LogitNormalisation{0, 1});
    normalisation_ = std::move(normalisation);
    for (std::size_t k = 0; k < differences.size(); ++k)
      difference_scale_[k] = std::max(differences[k] / static_cast<double>(images.size(0)), 1e-12);
  }
  void fit(const Tensor<std::uint8_t>& images, const AugmentOptions& augment_options = still, std::uint64_t seed = 0) {
    fit(images, augment_options, seed, [](std::int64_t, std::int64_t) {});
  }

  // What makes decisions of scores, where it was learnt (eval/calibrate.hpp); saved with the model.
  const std::optional<Calibration>& calibration() const noexcept { return calibration_; }
  void set_calibration(const std::optional<Calibration>& calibration) {
    if (calibration) calibration->check();
    calibration_ = calibration;
  }

  // An image (H,W,1 or 3) of any size, which is resized and taken as gray. The map has the size that the networks see:
  // squared differences between image and reconstruction, in pixels and in what the first three layers of the
  // discriminator make of both, each divided by its mean over normal images, averaged.
  AnomalyMap score(const Image& image) const {
    detail::require_image(image, "Squid::score");
    return score(ImageView::of(image));
  }
  AnomalyMap score(const ImageView& image) const {
    require(!normalisation_.empty(), "Squid::score: call fit first");
    const std::int64_t size = networks_.generator.config().image_size;
    const Image gray = to_gray(resize(image, size, size));
    const Tensor<T> image_seen = augment<T>(gray.reshape({1, size, size, 1}).to(device()), rows_of(1), still, 0, 0);
    const Seen seen = look(image_seen, reconstruct(image_seen), 0);
    AnomalyMap result{Tensor<T>::zeros({size, size}), score_of(seen), Image::empty({size, size, 1})};
    for (std::size_t k = 0; k < layers; ++k) {
      const Tensor<T> part = resize_bilinear(seen.differences[k], size, size).to(Device::cpu());
      for (std::int64_t i = 0; i < part.numel(); ++i)
        result.map.data()[i] += part.data()[i] / static_cast<T>(difference_scale_[k] * layers);
    }
    const Tensor<T> made = seen.reconstruction.to(Device::cpu());
    std::transform(made.data(), made.data() + made.numel(), result.reconstruction.data(),
                   [](T x) { return static_cast<std::uint8_t>(std::lround(255 * x)); });
    return result;
  }

  const SquidConfig& config() const noexcept { return networks_.generator.config(); }
  const SquidScoring& scoring() const noexcept { return scoring_; }
  SquidNetworks<T>& networks() noexcept { return networks_; }
  const Json& training() const noexcept { return training_; }
  // The normalisation of each part of the score; empty before fit.
  const std::vector<LogitNormalisation>& normalisation() const noexcept { return normalisation_; }

  // Everything that a score depends on, in one safetensors file that is there whole or not at all. The networks have
  // the reference's names after "g." and "d.".
  void save(const std::filesystem::path& path) const {
    require(!normalisation_.empty(), "Squid::save: the model knows no normal image yet; call fit");
    SafetensorsWriter file;
    SquidNetworks<T> networks = networks_;
    add_state<T>(file, networks, "");
    if (memory_.defined()) file.add("memory.cells", memory_);
    Json::Object parts;
    for (std::size_t k = 0; k < SquidScoring::parts; ++k)
      parts.emplace_back(SquidScoring::names[k], Json(Json::Object{{"weight", scoring_.weights[k]},
                                                                   {"mu", normalisation_[k].mu},
                                                                   {"sigma", normalisation_[k].sigma}}));
    Json::Array differences;
    for (const double scale : difference_scale_) differences.emplace_back(scale);
    add_method(file, method,
               Json(Json::Object{{"config", config().json()},
                                 {"running_statistics", Json(scoring_.running_statistics)},
                                 {"score", Json(std::move(parts))},
                                 {"differences", Json(std::move(differences))},
                                 {"calibration", calibration_json(calibration_)},
                                 {"training", training_}}));
    file.write(path);
  }

  // IoError names the file and what does not fit: another method or version, settings that make no network, a tensor
  // that is missing, misshapen or not finite.
  static BasicSquid load(const std::filesystem::path& path) { return load(SafetensorsFile(path)); }
  static BasicSquid load(const SafetensorsFile& file) {
    check_method(file, method);
    try {
      const Json settings = model_settings(file);
      SquidScoring scoring;
      scoring.running_statistics = settings.at("running_statistics").boolean();
      std::vector<LogitNormalisation> normalisation;
      for (std::size_t k = 0; k < SquidScoring::parts; ++k) {
        const Json& part = settings.at("score").at(SquidScoring::names[k]);
        scoring.weights[k] = part.at("weight").number();
        normalisation.push_back({part.at("mu").number(), part.at("sigma").number()});
      }
      const SquidConfig config = SquidConfig::from(settings.at("config"));
      SquidNetworks<T> networks(config, initializer_for(file));
      load_state<T>(networks, file, "");
      BasicSquid model(std::move(networks), scoring, settings.at("training"));
      model.normalisation_ = std::move(normalisation);
      if (scoring.weights[2] > 0) {
        Tensor<T> memory = file.tensor<T>("memory.cells");
        const Shape& shape = memory.shape();
        constexpr std::int64_t D = SquidDiscriminator<T>::first_channels;
        require(shape.rank() == 3 && shape[0] == model.segments() && shape[1] >= 1 && shape[2] == D,
                "tensor \"memory.cells\" has shape ", shape, ", expected (", model.segments(), ",N,", D, ")");
        for (const T x : memory.span()) require(std::isfinite(x), "tensor \"memory.cells\" holds ", x);
        model.set_memory(std::move(memory));
      }
      const Json::Array& differences = settings.at("differences").array();
      require(differences.size() == layers, "\"differences\" has ", differences.size(), " numbers, not ", layers);
      for (std::size_t k = 0; k < layers; ++k) {
        model.difference_scale_[k] = differences[k].number();
        require(model.difference_scale_[k] > 0, "a scale of the differences is ", model.difference_scale_[k]);
      }
      model.calibration_ = calibration_from(settings.at("calibration"));
      return model;
    } catch (const IoError&) {
      throw;
    } catch (const Error& error) {
      throw IoError(file.path(), error.what());
    }
  }

 private:
  static constexpr AugmentOptions still{.shift = 0, .least_scale = 1, .most_scale = 1};
  static constexpr std::size_t layers = 4;  // of a map: pixels, and three of the discriminator's

  // What the networks make of one image.
  struct Seen {
    Tensor<T> reconstruction;                   // (1,S,S,1)
    SquidScoring::Parts parts{};                // 0 where the weight is
    std::array<Tensor<T>, layers> differences;  // (1,s,s,1), squared
  };

  void require_images(const char* where, const Tensor<std::uint8_t>& images) const {
    const std::int64_t size = networks_.generator.config().image_size;
    require(images.rank() == 4 && images.size(0) >= 1 && images.size(1) == size && images.size(2) == size &&
                images.size(3) == 1,
            "Squid::", where, ": images have shape ", images.shape(), ", expected (N,", size, ",", size, ",1)");
  }
  // 0 .. n-1 on the device.
  Tensor<std::int64_t> rows_of(std::int64_t n) const {
    auto rows = Tensor<std::int64_t>::empty({n});
    std::iota(rows.data(), rows.data() + n, 0);
    return rows.to(device());
  }
  static double mean_of(const Tensor<T>& x) {
    double sum = 0;
    const Tensor<T> here = x.to(Device::cpu());
    for (const T value : here.span()) sum += static_cast<double>(value);
    return sum / static_cast<double>(x.numel());
  }
  // (1,H,W,C), (1,H,W,C) -> (1,H,W,1): the mean over the channels of the squared difference.
  static Tensor<T> squared_difference(const Tensor<T>& a, const Tensor<T>& b) {
    const Tensor<T> d = sub(a, b);
    const std::int64_t C = d.size(3), pixels = d.numel() / C;
    const Tensor<T> mean = Tensor<T>::full({C, 1}, 1 / static_cast<T>(C)).to(d.device());
    return matmul(multiply(d, d).reshape({pixels, C}), mean).reshape({1, d.size(1), d.size(2), 1});
  }
  // Cells a side of the discriminator's first map, which has half the image's size, and all of them.
  std::int64_t cells() const { return std::min<std::int64_t>(32, (config().image_size + 1) / 2); }
  std::int64_t segments() const { return cells() * cells(); }
  // What the discriminator's first layer made of an image, (1,h,h,D) -> (S,D) on the CPU: means over the cells, row by
  // row.
  Tensor<T> cell_features(const SquidDiscriminatorMaps<T>& of_image) const {
    const Tensor<T> map = of_image[0].to(Device::cpu());
    const std::int64_t h = map.size(1), D = map.size(3), k = cells();
    auto means = Tensor<T>::empty({k * k, D});
    parallel_for(k * k, [&](std::int64_t s) {
      const std::int64_t row = s / k, column = s % k;
      const std::int64_t y0 = row * h / k, y1 = (row + 1) * h / k, x0 = column * h / k, x1 = (column + 1) * h / k;
      for (std::int64_t d = 0; d < D; ++d) {
        double sum = 0;
        for (std::int64_t y = y0; y < y1; ++y)
          for (std::int64_t x = x0; x < x1; ++x) sum += static_cast<double>(map.data()[(y * h + x) * D + d]);
        means.data()[s * D + d] = static_cast<T>(sum / static_cast<double>((y1 - y0) * (x1 - x0)));
      }
    });
    return means;
  }
  // features (S,D) -> minus the mean over the segments of log(|feature - nearest stored|^2 + 1e-4 m), where m is the
  // mean squared length of all that is stored: in cells where normal images are all alike, such as a black margin,
  // any difference would count without end; one of a hundredth of a feature counts as the least.
  double familiarity(const Tensor<T>& features) const {
    const std::int64_t S = memory_.size(0), N = memory_.size(1), D = memory_.size(2);
    auto logs = Tensor<double>::empty({S});
    parallel_for(S, [&](std::int64_t s) {
      const T* const f = features.data() + s * D;
      double nearest = std::numeric_limits<double>::infinity();
      for (std::int64_t n = 0; n < N; ++n)
        nearest = std::min(nearest, squared_distance(f, memory_.data() + (s * N + n) * D, D));
      logs.data()[s] = std::log(nearest + 1e-4 * memory_length_ + 1e-30);
    });
    double sum = 0;
    for (const double value : logs.span()) sum += value;
    return -sum / static_cast<double>(S);
  }
  static double squared_distance(const T* a, const T* b, std::int64_t n) {
    double sum = 0;
    for (std::int64_t i = 0; i < n; ++i) {
      const double d = static_cast<double>(a[i]) - static_cast<double>(b[i]);
      sum += d * d;
    }
    return sum;
  }
  void set_memory(Tensor<T> memory) {
    memory_ = std::move(memory);
    double squares = 0;
    for (const T x : memory_.span()) squares += static_cast<double>(x) * static_cast<double>(x);
    memory_length_ = squares / static_cast<double>(memory_.size(0) * memory_.size(1));
  }
  static double log_relative_error(const Tensor<T>& image, double squared_error) {
    const Tensor<T> here = image.to(Device::cpu());
    const double mean = mean_of(here);
    double squares = 0;
    for (const T x : here.span()) squares += (static_cast<double>(x) - mean) * (static_cast<double>(x) - mean);
    // Spread or error below 1e-4, a fortieth of a gray level, counts as none.
    return std::log((squared_error + 1e-8) / (squares / static_cast<double>(here.numel()) + 1e-8));
  }

  SquidReconstruction<T> reconstruct(const Tensor<T>& images) const {
    SquidPass<T> pass;
    pass.teacher = false;
    return networks_.generator(images, pass);
  }
  // Calls take(what the networks make of it) for each of the images, which the generator sees in batches.
  template <class Take>
  void for_each_seen(const Tensor<std::uint8_t>& images, const AugmentOptions& augment_options, std::uint64_t seed,
                     Take&& take) const {
    constexpr std::int64_t most = 16, after_training = std::int64_t{1} << 42;  // steps that no training reaches
    for (std::int64_t first = 0; first < images.size(0); first += most) {
      const std::int64_t n = std::min(most, images.size(0) - first);
      const Tensor<T> batch = augment<T>(images.slice(first, first + n).to(device()), rows_of(n), augment_options, seed,
                                         after_training + first);
      const SquidReconstruction<T> made = reconstruct(batch);
      for (std::int64_t i = 0; i < n; ++i) take(look(batch.slice(i, i + 1), made, i));
    }
  }

  // The discriminator's of one image, and what its layers made of it.
  double logit(const Tensor<T>& image, SquidDiscriminatorMaps<T>& maps) const {
    const nn::Statistics statistics = scoring_.running_statistics ? nn::Statistics::running : nn::Statistics::batch;
    const Tensor<T> value = networks_.discriminator(Var<T>(image), nullptr, statistics, &maps).value();
    return static_cast<double>(value.to(Device::cpu()).data()[0]);
  }
  // What the networks make of an image and its reconstruction, the i-th of a batch.
  Seen look(const Tensor<T>& image, const SquidReconstruction<T>& made, std::int64_t i) const {
    Seen seen;
    seen.reconstruction = made.student.value().slice(i, i + 1);
    SquidDiscriminatorMaps<T> of_image, of_reconstruction;
    seen.parts[0] = logit(seen.reconstruction, of_reconstruction);
    seen.parts[1] = logit(image, of_image);
    if (scoring_.weights[2] > 0) seen.parts[2] = familiarity(cell_features(of_image));
    seen.differences[0] = squared_difference(image, seen.reconstruction);
    for (std::size_t k = 1; k < layers; ++k)
      seen.differences[k] = squared_difference(of_image[k - 1], of_reconstruction[k - 1]);
    seen.parts[3] = -log_relative_error(image, mean_of(seen.differences[0]));
    return seen;
  }
  double score_of(const Seen& seen) const {
    double z = 0, squares = 0;
    for (const double weight : scoring_.weights) squares += weight * weight;
    for (std::size_t k = 0; k < SquidScoring::parts; ++k) z += scoring_.weights[k] * normalisation_[k].z(seen.parts[k]);
    return LogitNormalisation(0, std::sqrt(squares)).score(z);
  }

  SquidNetworks<T> networks_;
  SquidScoring scoring_;
  Json training_;
  Tensor<T> memory_;          // (S,N,D) on the CPU
  double memory_length_ = 0;  // the mean squared length of its features
  std::vector<LogitNormalisation> normalisation_;
  std::array<double, layers> difference_scale_{};
  std::optional<Calibration> calibration_;
};

// The detector in float, the only one there is.
using Squid = BasicSquid<float>;

}  // namespace cuttle
