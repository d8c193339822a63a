// Images of one size with what is known of each, in memory and as one safetensors file.
#pragma once

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "cuttle/core/tensor.hpp"
#include "cuttle/data/folder.hpp"
#include "cuttle/io/json.hpp"
#include "cuttle/io/safetensors.hpp"

namespace cuttle {

// Images of one size, N of them, with a label each and what else is known.
struct LabelledImages {
  Tensor<std::uint8_t> images;     // (N,H,W,C), C = 1 or 3
  std::vector<Label> labels;       // N
  std::vector<std::string> kinds;  // N, as a Sample's kind; empty where none is known
  Tensor<std::uint8_t> masks;      // (N,H,W), not 0 where anomalous; not defined where unknown

  // Image i (H,W,C), which shares memory.
  Image image(std::int64_t i) const {
    return images.slice(i, i + 1).reshape({images.size(1), images.size(2), images.size(3)});
  }

  // Throws, with the name of the operation that asks, where the members do not fit together.
  void check(const char* op) const {
    const Shape& shape = images.shape();
    require(images.rank() == 4 && images.numel() > 0 && (shape[3] == 1 || shape[3] == 3), op, ": images has shape ",
            shape, ", not [N, H, W, 1 or 3]");
    const std::int64_t n = shape[0];
    require(std::ssize(labels) == n, op, ": ", labels.size(), " labels for ", n, " images");
    require(kinds.empty() || std::ssize(kinds) == n, op, ": ", kinds.size(), " kinds for ", n, " images");
    require(!masks.defined() || masks.shape() == Shape{n, shape[1], shape[2]}, op, ": masks has shape ", masks.shape(),
            ", images ", shape);
  }
};

namespace detail {

// (N,H,W,C) as (N,C,H,W), and back.
inline Tensor<std::uint8_t> channels_first(const Tensor<std::uint8_t>& from) {
  const std::int64_t n = from.size(0), pixels = from.size(1) * from.size(2), channels = from.size(3);
  if (channels == 1) return from.reshape({n, 1, from.size(1), from.size(2)});
  auto to = Tensor<std::uint8_t>::empty({n, channels, from.size(1), from.size(2)});
  for (std::int64_t i = 0; i < n; ++i)
    for (std::int64_t p = 0; p < pixels; ++p)
      for (std::int64_t c = 0; c < channels; ++c)
        to.data()[(i * channels + c) * pixels + p] = from.data()[(i * pixels + p) * channels + c];
  return to;
}

inline Tensor<std::uint8_t> channels_last(const Tensor<std::uint8_t>& from) {
  const std::int64_t n = from.size(0), channels = from.size(1), pixels = from.size(2) * from.size(3);
  if (channels == 1) return from.reshape({n, from.size(2), from.size(3), 1});
  auto to = Tensor<std::uint8_t>::empty({n, from.size(2), from.size(3), channels});
  for (std::int64_t i = 0; i < n; ++i)
    for (std::int64_t p = 0; p < pixels; ++p)
      for (std::int64_t c = 0; c < channels; ++c)
        to.data()[(i * pixels + p) * channels + c] = from.data()[(i * channels + c) * pixels + p];
  return to;
}

}  // namespace detail

// A safetensors file of
//  - images U8 (N,C,H,W), C = 1 or 3;
//  - labels I64 (N): 0 normal, 1 anomalous, -1 unknown;
//  - optionally kind I64 (N), numbers of names in the metadata's "kinds", a JSON list (without it the number is the
//    name);
//  - optionally masks U8 (N,H,W).
// Other tensors are passed over. IoError: anything else.
inline LabelledImages read_labelled_images(const SafetensorsFile& file) {
  const auto expect = [&](bool ok, const auto&... reason) {
    if (!ok) throw IoError(file.path(), concat(reason...));
  };
  const auto images = file.tensor<std::uint8_t>("images");
  const Shape& shape = images.shape();
  expect(images.rank() == 4 && images.numel() > 0 && (images.size(1) == 1 || images.size(1) == 3), "images has shape ",
         shape, ", not [N, 1 or 3, H, W]");
  const std::int64_t n = images.size(0);
  LabelledImages set{detail::channels_last(images), {}, {}, {}};

  const auto labels = file.tensor<std::int64_t>("labels");
  expect(labels.shape() == Shape{n}, "labels has shape ", labels.shape(), ", images ", shape);
  for (const std::int64_t label : labels.span()) {
    expect(label >= -1 && label <= 1, "a label is ", label, ", not 0 (normal), 1 (anomalous) or -1 (unknown)");
    set.labels.push_back(static_cast<Label>(label));
  }
  if (file.contains("kind")) {
    const auto kind = file.tensor<std::int64_t>("kind");
    expect(kind.shape() == Shape{n}, "kind has shape ", kind.shape(), ", images ", shape);
    std::vector<std::string> names;
    const auto named = file.metadata().find("kinds");
    try {
      const Json list = named == file.metadata().end() ? Json(Json::Array()) : Json::parse(named->second);
      for (const Json& name : list.array()) names.push_back(name.string());
    } catch (const Error& error) {
      throw IoError(file.path(), concat("metadata \"kinds\": ", error.what()));
    }
    for (const std::int64_t k : kind.span()) {
      expect(names.empty() || (k >= 0 && k < std::ssize(names)), "kind ", k, " is not one of the ", names.size(),
             " that the metadata name");
      set.kinds.push_back(names.empty() ? std::to_string(k) : names[static_cast<std::size_t>(k)]);
    }
  }
  if (file.contains("masks")) {
    set.masks = file.tensor<std::uint8_t>("masks");
    expect(set.masks.shape() == Shape{n, shape[2], shape[3]}, "masks has shape ", set.masks.shape(), ", images ",
           shape);
  }
  return set;
}
// The same from a path.
inline LabelledImages read_labelled_images(const std::filesystem::path& path) {
  return read_labelled_images(SafetensorsFile(path));
}

// Writes what read_labelled_images reads; kinds are numbered in the order in which they first appear.
inline void write_labelled_images(const std::filesystem::path& path, const LabelledImages& set) {
  set.check("write_labelled_images");
  const std::int64_t n = set.images.size(0);
  SafetensorsWriter writer;
  writer.add("images", detail::channels_first(set.images));
  auto labels = Tensor<std::int64_t>::empty({n});
  std::transform(set.labels.begin(), set.labels.end(), labels.data(),
                 [](Label label) { return static_cast<std::int64_t>(label); });
  writer.add("labels", labels);
  if (!set.kinds.empty()) {
    Json::Array names;
    auto kind = Tensor<std::int64_t>::empty({n});
    std::transform(set.kinds.begin(), set.kinds.end(), kind.data(), [&](const std::string& name) {
      const auto found = std::ranges::find(names, name, [](const Json& known) { return known.string(); });
      const auto number = found - names.begin();
      if (found == names.end()) names.push_back(name);
      return number;
    });
    writer.add("kind", kind).set_metadata("kinds", Json(std::move(names)).dump());
  }
  if (set.masks.defined()) writer.add("masks", set.masks);
  writer.write(path);
}

}  // namespace cuttle
