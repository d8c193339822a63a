// Model files for fuzzing: one that is whole, and what an input makes of it.
#pragma once

#include <algorithm>
#include <filesystem>
#include <limits>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "cuttle/io/safetensors.hpp"
#include "tests/fuzz/target.hpp"
#include "tests/support/temporary_folder.hpp"

namespace cuttle_test {

// The input is the text of the settings (none: those of the file), a zero byte, and edits of four bytes each: the
// tensor's number, what is done to it, and a number of two bytes. One input in 32 meets all tensors; the others go
// without those for which `heavy` is true, which take most of the time.
class ModelFile {
 public:
  explicit ModelFile(const cuttle::SafetensorsWriter& writer) {
    const TemporaryFolder folder;
    writer.write(folder / "model");
    const cuttle::SafetensorsFile file(folder / "model");
    metadata_ = file.metadata();
    for (const std::string& name : file.names()) {
      const auto bytes = file.bytes(name);
      tensors_.push_back({name, file.dtype(name), file.shape(name), {bytes.begin(), bytes.end()}});
    }
  }

  const std::string& settings() const { return metadata_.at("settings"); }

  // The bytes of the file that the input makes.
  template <class Heavy>
  std::vector<std::byte> edited(std::span<const std::byte> input, Heavy&& heavy) const {
    std::uint32_t hash = 2166136261;
    for (const std::byte byte : input) hash = (hash ^ std::to_integer<std::uint32_t>(byte)) * 16777619;
    const bool whole = hash >> 27 == 0;

    const std::string_view text = text_of(input);
    const std::size_t end = std::min(text.find('\0'), text.size());
    std::vector<const Stored*> kept;
    for (const Stored& tensor : tensors_)
      if (whole || !heavy(tensor.name)) kept.push_back(&tensor);
    std::vector<Stored> changed;
    changed.reserve((input.size() - end) / 4 + 1);
    for (std::size_t at = end + 1; at + 4 <= input.size() && !kept.empty(); at += 4) {
      const auto byte = [&](std::size_t i) { return std::to_integer<std::size_t>(input[at + i]); };
      const std::size_t which = byte(0) % kept.size();
      changed.push_back(*kept[which]);
      kept[which] = &changed.back();
      if (!changed.back().edit(byte(1), byte(2) | byte(3) << 8))
        kept.erase(kept.begin() + static_cast<std::ptrdiff_t>(which));
    }
    return file_of(kept, end > 0 ? std::string(text.substr(0, end)) : settings());
  }

 private:
  struct Stored {
    std::string name;
    cuttle::Dtype dtype;
    cuttle::Shape shape;
    std::vector<std::byte> bytes;

    // False where nothing is left of the tensor.
    bool edit(std::size_t what, std::size_t number) {
      switch (what % 7) {
        case 0:
          return false;
        case 1:
          shape = {shape.numel()};
          return true;
        case 2: {
          cuttle::Shape reversed;
          for (int i = shape.rank() - 1; i >= 0; --i) reversed.push_back(shape[i]);
          shape = reversed;
          return true;
        }
        case 3: {  // fewer rows
          if (shape.rank() == 0 || shape[0] == 0) return true;
          const std::int64_t rows = static_cast<std::int64_t>(number) % (shape[0] + 1);
          bytes.resize(bytes.size() / static_cast<std::size_t>(shape[0]) * static_cast<std::size_t>(rows));
          cuttle::Shape shorter{rows};
          for (int i = 1; i < shape.rank(); ++i) shorter.push_back(shape[i]);
          shape = shorter;
          return true;
        }
        case 4:
          dtype = dtype == cuttle::Dtype::F32 ? cuttle::Dtype::I32 : cuttle::Dtype::F32;
          return true;
        case 5: {  // another value
          constexpr float values[] = {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity(),
                                      std::numeric_limits<float>::max(), 0};
          if (bytes.size() >= 4)
            std::memcpy(bytes.data() + number / 4 % (bytes.size() / 4) * 4, &values[number % 4], 4);
          return true;
        }
        default:
          name += static_cast<char>('a' + number % 26);
          return true;
      }
    }
  };

  std::vector<std::byte> file_of(const std::vector<const Stored*>& kept, const std::string& settings) const {
    using cuttle::Json;
    std::map<std::string, std::string> metadata = metadata_;
    metadata["settings"] = settings;
    std::map<std::string, cuttle::detail::StoredTensor> views;
    for (const Stored* tensor : kept) views[tensor->name] = {tensor->dtype, tensor->shape, tensor->bytes};
    metadata["checksum"] = cuttle::detail::checksum_of(metadata, views);
    Json::Object header{{"__metadata__", Json(Json::Object(metadata.begin(), metadata.end()))}};
    std::size_t offset = 0;
    for (const Stored* tensor : kept) {
      const std::size_t last = offset + tensor->bytes.size();
      header.emplace_back(tensor->name,
                          Json(Json::Object{{"dtype", cuttle::detail::traits_of(tensor->dtype).name},
                                            {"shape", Json(Json::Array(tensor->shape.begin(), tensor->shape.end()))},
                                            {"data_offsets", Json(Json::Array{offset, last})}}));
      offset = last;
    }
    // Settings that are no UTF-8 cannot be written down; such a file is the safetensors target's.
    const std::string text = Json(std::move(header)).dump();
    const std::uint64_t length = text.size();
    std::vector<std::byte> file(8 + text.size() + offset);
    std::memcpy(file.data(), &length, 8);
    std::memcpy(file.data() + 8, text.data(), text.size());
    std::byte* out = file.data() + 8 + text.size();
    for (const Stored* tensor : kept) out = std::copy(tensor->bytes.begin(), tensor->bytes.end(), out);
    return file;
  }

  std::map<std::string, std::string> metadata_;
  std::vector<Stored> tensors_;
};

}  // namespace cuttle_test
