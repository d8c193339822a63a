// Folders of images: which files they hold, what is known of each, and loading them as one tensor.
#pragma once

#include <algorithm>
#include <cctype>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <mutex>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

#include "cuttle/core/parallel.hpp"
#include "cuttle/core/tensor.hpp"
#include "cuttle/data/image.hpp"
#include "cuttle/data/resize.hpp"

namespace cuttle {

// What is known of an image.
enum class Label : std::int8_t { unknown = -1, normal = 0, anomalous = 1 };
// The part of a data set that is learnt from, and the part that is scored.
enum class Split { train, test };

// An image in a file, and what is known of it.
struct Sample {
  std::filesystem::path path;
  Label label = Label::unknown;
  std::string kind;            // the sub-folder: "good", "scratch", ...; empty where there is none
  std::filesystem::path mask;  // where the mask is, or should be; empty where none is expected
};

namespace detail {

inline bool has_image_extension(const std::filesystem::path& path) {
  std::string extension = path.extension().string();
  std::transform(extension.begin(), extension.end(), extension.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  constexpr std::string_view known[] = {".png", ".jpg", ".jpeg", ".bmp", ".pgm", ".ppm", ".pbm", ".pnm"};
  return std::find(std::begin(known), std::end(known), extension) != std::end(known);
}

// The entries of a folder that are not hidden and satisfy `keep`, in byte order of their names.
template <class Keep>
std::vector<std::filesystem::path> entries_of(const std::filesystem::path& folder, Keep keep) {
  std::vector<std::filesystem::path> entries;
  try {
    for (const auto& entry : std::filesystem::directory_iterator(folder))
      if (!entry.path().filename().string().starts_with('.') && keep(entry)) entries.push_back(entry.path());
  } catch (const std::filesystem::filesystem_error& error) {
    throw IoError(folder.string(), "cannot be listed: " + error.code().message());
  }
  std::sort(entries.begin(), entries.end(),
            [](const auto& a, const auto& b) { return a.filename().native() < b.filename().native(); });
  return entries;
}

inline std::vector<std::filesystem::path> image_files(const std::filesystem::path& folder) {
  return entries_of(folder,
                    [](const auto& entry) { return entry.is_regular_file() && has_image_extension(entry.path()); });
}

// Where the mask of an anomalous image is: NAME_mask.png, NAME.png or the image's own file name; if none of them
// exists, the first, for the error to name.
inline std::filesystem::path mask_path(const std::filesystem::path& folder, const std::filesystem::path& image) {
  const std::string stem = image.stem().string();
  for (const std::string& name : {stem + "_mask.png", stem + ".png", image.filename().string()})
    if (std::filesystem::exists(folder / name)) return folder / name;
  return folder / (stem + "_mask.png");
}

}  // namespace detail

// The images of a data set, in byte order of their relative paths. `root` is one of
//  - an MVTec AD tree: train/good, test/good, test/KIND, and optionally ground_truth/KIND/NAME_mask.png;
//  - a plain tree: good/ and one folder for each kind of defect, optionally ground_truth/ too; it has no split of its
//  own;
//  - a folder of files (its sub-folders are not searched), or a single file.
// Images in good/ are normal, in other kinds anomalous. Split::train gives the normal ones alone; files without a tree
// around them are taken to be normal for training and are of unknown label otherwise. Where ground_truth/ exists every
// anomalous image is expected to have a mask. Hidden entries and files of other types are passed over.
// IoError: root does not exist, has no such split, or gives no image.
inline std::vector<Sample> list_images(const std::filesystem::path& root, Split split) {
  namespace fs = std::filesystem;
  const bool train = split == Split::train;
  const Label without_tree = train ? Label::normal : Label::unknown;
  std::error_code ignored;
  if (!fs::exists(root, ignored)) throw IoError(root.string(), "does not exist");
  if (!fs::is_directory(root, ignored)) return {{root, without_tree, "", {}}};

  const bool mvtec = fs::is_directory(root / "train", ignored) || fs::is_directory(root / "test", ignored);
  const fs::path tree = mvtec ? root / (train ? "train" : "test") : root, truth = root / "ground_truth";
  if (!fs::is_directory(tree, ignored))
    throw IoError(root.string(), concat("has no folder ", train ? "train" : "test"));
  std::vector<Sample> samples;
  if (mvtec || fs::is_directory(root / "good", ignored)) {
    const bool has_truth = fs::is_directory(truth, ignored);
    for (const fs::path& folder : detail::entries_of(tree, [](const auto& entry) { return entry.is_directory(); })) {
      const std::string kind = folder.filename().string();
      const bool good = kind == "good";
      if (kind == "ground_truth" || (train && !good)) continue;
      for (const fs::path& file : detail::image_files(folder))
        samples.push_back({file, good ? Label::normal : Label::anomalous, kind,
                           has_truth && !good ? detail::mask_path(truth / kind, file) : fs::path()});
    }
    if (samples.empty())
      throw IoError((train ? tree / "good" : tree).string(),
                    "holds no image (png, jpg, jpeg, bmp, pgm, ppm, pbm, pnm)");
  } else {
    for (const fs::path& file : detail::image_files(root)) samples.push_back({file, without_tree, "", {}});
    if (samples.empty())
      throw IoError(root.string(),
                    "holds no image (png, jpg, jpeg, bmp, pgm, ppm, pbm, pnm) and no folder good, train or test");
  }
  return samples;
}

// Whether a file that cannot be used ends the work, or is left out and reported.
enum class BadFile { stop, skip };

// How load_images reads.
struct LoadOptions {
  std::int64_t size = 256;           // images become size x size
  bool masks = false;                // load masks too
  BadFile bad_file = BadFile::stop;  // what a file that cannot be used does
  // Called after each file, by one thread at a time; what it throws ends the loading.
  std::function<void(std::int64_t done, std::int64_t total)> progress = {};
};

// A file that was left out.
struct SkippedFile {
  std::filesystem::path path;
  std::string reason;  // the error's whole text, which names the file
};

// Images of one size in memory, with where each came from.
struct ImageSet {
  Tensor<std::uint8_t> images;       // [N, size, size, 3]
  Tensor<std::uint8_t> masks;        // [N, size, size], 0 or 1; not defined unless asked for
  std::vector<Sample> samples;       // N, in the order given
  std::vector<SkippedFile> skipped;  // what BadFile::skip left out
};

// The mask of a sample whose image is `image`, as height x width of 0 and 1; all zero for a sample that is not
// anomalous. IoError: an anomalous sample without a mask, a mask of another size than its image.
inline Tensor<std::uint8_t> read_mask(const Sample& sample, const Image& image, std::int64_t height,
                                      std::int64_t width) {
  if (sample.label != Label::anomalous) return Tensor<std::uint8_t>::zeros({height, width});
  if (sample.mask.empty()) throw IoError(sample.path.string(), "is anomalous and has no mask");
  const Image mask = read_image(sample.mask);
  if (mask.size(0) != image.size(0) || mask.size(1) != image.size(1))
    throw IoError(sample.mask.string(), concat("the mask is ", mask.size(0), " x ", mask.size(1), ", its image ",
                                               sample.path.string(), " is ", image.size(0), " x ", image.size(1)));
  return resize_mask(mask, height, width);
}

// Decodes, resizes and stacks the samples' images, and on demand their masks (of normal and unknown images: all zero),
// in parallel. A file that cannot be decoded, an anomalous image without its mask, or a mask of another size than its
// image throws IoError, or under BadFile::skip is left out and reported; if nothing is left, IoError.
inline ImageSet load_images(std::span<const Sample> samples, const LoadOptions& options) {
  require(!samples.empty(), "load_images: no samples");
  require(options.size > 0, "load_images: size must be positive, got ", options.size);
  const auto total = static_cast<std::int64_t>(samples.size());
  const std::int64_t size = options.size;
  ImageSet set;
  set.images = Tensor<std::uint8_t>::empty({total, size, size, 3});
  if (options.masks) set.masks = Tensor<std::uint8_t>::empty({total, size, size});
  std::vector<std::string> failures(samples.size());
  std::mutex mutex;
  std::int64_t done = 0;
  parallel_for(total, [&](std::int64_t i) {
    const Sample& sample = samples[static_cast<std::size_t>(i)];
    try {
      const Image image = read_image(sample.path);
      set.images.slice(i, i + 1).reshape({size, size, 3}).copy_from(to_rgb(resize(image, size, size)));
      if (options.masks)
        set.masks.slice(i, i + 1).reshape({size, size}).copy_from(read_mask(sample, image, size, size));
    } catch (const IoError& error) {
      if (options.bad_file == BadFile::stop) throw;
      failures[static_cast<std::size_t>(i)] = error.what();
    }
    if (!options.progress) return;
    const std::lock_guard lock(mutex);
    options.progress(++done, total);
  });

  std::int64_t kept = 0;
  for (std::int64_t i = 0; i < total; ++i) {
    const Sample& sample = samples[static_cast<std::size_t>(i)];
    if (std::string& failure = failures[static_cast<std::size_t>(i)]; !failure.empty()) {
      set.skipped.push_back({sample.path, std::move(failure)});
      continue;
    }
    if (kept != i) {
      set.images.slice(kept, kept + 1).copy_from(set.images.slice(i, i + 1));
      if (options.masks) set.masks.slice(kept, kept + 1).copy_from(set.masks.slice(i, i + 1));
    }
    set.samples.push_back(sample);
    ++kept;
  }
  if (kept == 0)
    throw IoError(samples[0].path.string(),
                  concat("none of ", total, " images can be used; the first: ", set.skipped[0].reason));
  set.images = set.images.slice(0, kept);
  if (options.masks) set.masks = set.masks.slice(0, kept);
  return set;
}

}  // namespace cuttle
