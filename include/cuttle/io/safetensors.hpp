// The safetensors format, strictly (https://github.com/huggingface/safetensors, "Format"): eight bytes with the length
// of the header, little endian; a JSON header; the tensors' bytes, row-major, without gaps.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <map>
#include <memory>
#include <numeric>
#include <optional>
#include <ostream>
#include <span>
#include <string>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

#include "cuttle/core/tensor.hpp"
#include "cuttle/io/checksum.hpp"
#include "cuttle/io/file.hpp"
#include "cuttle/io/json.hpp"

namespace cuttle {

// Elements go between file and memory as they are.
static_assert(std::endian::native == std::endian::little, "cuttle reads and writes files on little-endian hosts only");

// The format's element types, by the format's names.
enum class Dtype { BOOL, U8, I8, F8_E5M2, F8_E4M3, I16, U16, F16, BF16, I32, U32, F32, I64, U64, F64 };

namespace detail {

struct DtypeTraits {
  std::string_view name;
  std::int64_t bytes;
};

inline constexpr std::array<DtypeTraits, 15> dtypes{{{"BOOL", 1},
                                                     {"U8", 1},
                                                     {"I8", 1},
                                                     {"F8_E5M2", 1},
                                                     {"F8_E4M3", 1},
                                                     {"I16", 2},
                                                     {"U16", 2},
                                                     {"F16", 2},
                                                     {"BF16", 2},
                                                     {"I32", 4},
                                                     {"U32", 4},
                                                     {"F32", 4},
                                                     {"I64", 8},
                                                     {"U64", 8},
                                                     {"F64", 8}}};

constexpr const DtypeTraits& traits_of(Dtype dtype) { return dtypes[static_cast<std::size_t>(dtype)]; }

inline Dtype parse_dtype(std::string_view name) {
  const auto found = std::find_if(dtypes.begin(), dtypes.end(), [name](const auto& d) { return d.name == name; });
  require(found != dtypes.end(), "unknown dtype \"", name, '"');
  return static_cast<Dtype>(found - dtypes.begin());
}

// Levenshtein's distance, for naming what a misspelt name may have meant; its time is the product of the lengths.
inline std::size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), std::size_t{0});
  for (std::size_t i = 1; i <= a.size(); ++i) {
    std::size_t diagonal = std::exchange(row[0], i);
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const std::size_t substituted = diagonal + (a[i - 1] != b[j - 1]);
      diagonal = row[j];
      row[j] = std::min({substituted, row[j] + 1, row[j - 1] + 1});
    }
  }
  return row[b.size()];
}

// A tensor of a file, which stays where it is.
struct StoredTensor {
  Dtype dtype;
  Shape shape;
  std::span<const std::byte> bytes;

  void add_to(Checksum& checksum, std::string_view name) const {
    checksum.add(name).add(traits_of(dtype).name).add(static_cast<std::uint64_t>(shape.rank()));
    for (const std::int64_t extent : shape) checksum.add(static_cast<std::uint64_t>(extent));
    checksum.add(bytes);
  }
};

// Of all that a file says: metadata (but for the checksum itself) and tensors, each in the order of their names.
template <class String, class Tensors>
String checksum_of(const std::map<String, String>& metadata, const Tensors& tensors) {
  Checksum checksum;
  for (const auto& [key, value] : metadata)
    if (key != "checksum") checksum.add(key).add(value);
  for (const auto& [name, tensor] : tensors) tensor.add_to(checksum, name);
  return checksum.text();
}

}  // namespace detail

// The format's name for it.
inline std::ostream& operator<<(std::ostream& out, Dtype dtype) { return out << detail::traits_of(dtype).name; }

// The dtype whose elements are T's: double, float, and the integers of 8 to 64 bits.
template <class T>
constexpr Dtype dtype_of() {
  static_assert((std::is_floating_point_v<T> && sizeof(T) <= 8) || (std::is_integral_v<T> && !std::is_same_v<T, bool>),
                "no safetensors dtype has elements of this type");
  if constexpr (std::is_floating_point_v<T>) {
    return sizeof(T) == 8 ? Dtype::F64 : Dtype::F32;
  } else if constexpr (std::is_signed_v<T>) {
    return sizeof(T) == 8 ? Dtype::I64 : sizeof(T) == 4 ? Dtype::I32 : sizeof(T) == 2 ? Dtype::I16 : Dtype::I8;
  } else {
    return sizeof(T) == 8 ? Dtype::U64 : sizeof(T) == 4 ? Dtype::U32 : sizeof(T) == 2 ? Dtype::U16 : Dtype::U8;
  }
}

// A safetensors file, checked whole when it is opened: IoError for anything the format does not allow. Tensors are
// copied out on request, so the file may go away before they do.
template <class String>
class BasicSafetensorsFile {
 public:
  static constexpr std::uint64_t max_header_bytes = 100'000'000;

  // Maps the file into memory and checks all of it but the values of the elements.
  explicit BasicSafetensorsFile(const std::filesystem::path& path) : path_(path.string()), file_(path) {
    parse(file_->bytes());
  }
  // The same from memory, which must outlive this object; `name` stands for the path in errors.
  BasicSafetensorsFile(std::span<const std::byte> bytes, String name) : path_(std::move(name)) { parse(bytes); }

  const String& path() const noexcept { return path_; }
  // What the file says of itself: texts by names, none of which the format prescribes.
  const std::map<String, String>& metadata() const noexcept { return metadata_; }
  // Every tensor's name, sorted.
  std::vector<String> names() const {
    std::vector<String> names;
    for (const auto& [name, entry] : entries_) names.push_back(name);
    return names;
  }
  bool contains(const String& name) const { return entries_.contains(name); }
  // IoError where there is no tensor of that name, as for what follows; it suggests the nearest names.
  const Shape& shape(const String& name) const { return at(name).shape; }
  Dtype dtype(const String& name) const { return at(name).dtype; }
  // The tensor's elements as they lie in the file, aligned to nothing.
  std::span<const std::byte> bytes(const String& name) const { return at(name).bytes; }

  // IoError unless the metadata hold the checksum that SafetensorsWriter::add_checksum gave the file, and the contents
  // are what it was made of. Reads all of the file.
  void verify() const {
    const auto found = metadata_.find("checksum");
    check(found != metadata_.end(), "its metadata lack \"checksum\"");
    const String contents = detail::checksum_of(metadata_, entries_);
    check(found->second == contents, "is damaged: its checksum is ", found->second, ", that of its contents ",
          contents);
  }

  // A copy of the tensor, whose dtype must be T's own.
  template <class T>
  Tensor<T> tensor(const String& name) const {
    const Entry& entry = at(name);
    check(entry.dtype == dtype_of<T>(), "tensor \"", name, "\" is ", entry.dtype, ' ', entry.shape, ", not ",
          dtype_of<T>());
    auto tensor = Tensor<T>::empty(entry.shape);
    if (!entry.bytes.empty()) std::memcpy(tensor.data(), entry.bytes.data(), entry.bytes.size());
    return tensor;
  }
  // The tensor where it lies, without a copy; not to be written to, and this object (or the bytes that it was made of)
  // must outlive it. Elements that are not aligned for T are copied after all.
  template <class T>
  Tensor<T> view(const String& name) const {
    const Entry& entry = at(name);
    if (entry.dtype != dtype_of<T>() || reinterpret_cast<std::uintptr_t>(entry.bytes.data()) % alignof(T) != 0)
      return tensor<T>(name);
    return Tensor<T>::from_blob(const_cast<T*>(reinterpret_cast<const T*>(entry.bytes.data())), entry.shape);
  }
  // As tensor(), with F32 also given as double, which is exact.
  template <class T>
  Tensor<T> tensor_or_widen(const String& name) const {
    if constexpr (std::is_same_v<T, double>) {
      if (dtype(name) == Dtype::F32) {
        const auto narrow = tensor<float>(name);
        auto wide = Tensor<double>::empty(narrow.shape());
        std::copy_n(narrow.data(), narrow.numel(), wide.data());
        return wide;
      }
    }
    return tensor<T>(name);
  }

 private:
  using Entry = detail::StoredTensor;

  template <class... Parts>
  void check(bool ok, const Parts&... reason) const {
    if (!ok) [[unlikely]]
      throw IoError(path_, concat(reason...));
  }

  const Entry& at(const String& name) const {
    const auto found = entries_.find(name);
    check(found != entries_.end(), "no tensor \"", name, '"', found == entries_.end() ? suggestion(name) : "");
    return found->second;
  }

  // Looks at no more names than a model has, and at none that no model would have.
  String suggestion(const String& name) const {
    constexpr std::size_t most_names = 10'000, longest = 256;
    struct Near {
      std::size_t distance;
      std::string_view name;
    };
    std::vector<Near> near;
    if (entries_.size() <= most_names && name.size() <= longest)
      for (const auto& [other, entry] : entries_)
        if (other.size() <= longest) near.push_back({detail::edit_distance(name, other), other});
    const std::size_t count = std::min<std::size_t>(near.size(), 3);
    std::partial_sort(near.begin(), near.begin() + static_cast<std::ptrdiff_t>(count), near.end(),
                      [](const Near& a, const Near& b) {
                        return a.distance < b.distance || (a.distance == b.distance && a.name < b.name);
                      });
    String text = concat(" among its ", entries_.size());
    for (std::size_t i = 0; i < count; ++i) text += concat(i ? ", " : "; nearest: ", '"', near[i].name, '"');
    return text;
  }

  void parse(std::span<const std::byte> bytes) {
    check(bytes.size() >= 8, "not a safetensors file: ", bytes.size(), " bytes");
    std::uint64_t length;
    std::memcpy(&length, bytes.data(), 8);
    check(length <= max_header_bytes, "not a safetensors file: a header of ", length, " bytes");
    check(length <= bytes.size() - 8, "cut short: a header of ", length, " bytes in a file of ", bytes.size());
    const std::string_view header(reinterpret_cast<const char*>(bytes.data() + 8), static_cast<std::size_t>(length));
    check(header.starts_with('{'), "not a safetensors file: its header is no JSON object");
    try {
      read_header(BasicJson<String>::parse(header), bytes.subspan(8 + header.size()));
    } catch (const IoError&) {
      throw;
    } catch (const Error& error) {
      throw IoError(path_, concat("header: ", error.what()));
    }
  }

  void read_header(const BasicJson<String>& header, std::span<const std::byte> data) {
    struct Extent {
      std::int64_t first, last;
      std::string_view name;
    };
    std::vector<Extent> extents;
    for (const auto& [name, value] : header.object()) {
      if (name == "__metadata__") {
        for (const auto& [key, text] : value.object()) metadata_.emplace(key, text.string());
        continue;
      }
      try {
        const auto [first, last] = read_entry(name, value, data);
        extents.push_back({first, last, name});
      } catch (const Error& error) {
        throw IoError(path_, concat("tensor \"", name, "\": ", error.what()));
      }
    }
    std::sort(extents.begin(), extents.end(), [](const Extent& a, const Extent& b) {
      return a.first != b.first ? a.first < b.first : a.last != b.last ? a.last < b.last : a.name < b.name;
    });
    std::int64_t end = 0;
    for (const auto& [first, last, name] : extents) {
      check(first == end, "tensor \"", name, "\" starts at byte ", first, " where the one before ends at ", end);
      end = last;
    }
    check(static_cast<std::size_t>(end) == data.size(), "the tensors end at byte ", end, " of ", data.size());
  }

  std::pair<std::int64_t, std::int64_t> read_entry(const String& name, const BasicJson<String>& value,
                                                   std::span<const std::byte> data) {
    require(value.object().size() == 3, "needs dtype, shape and data_offsets, and nothing else");
    Entry entry{detail::parse_dtype(value.at("dtype").string()), {}, {}};
    for (const BasicJson<String>& extent : value.at("shape").array()) entry.shape.push_back(extent.integer());
    const auto& offsets = value.at("data_offsets").array();
    require(offsets.size() == 2, "data_offsets needs two numbers");
    const std::int64_t first = offsets[0].integer(), last = offsets[1].integer();
    require(0 <= first && first <= last, "data_offsets [", first, ", ", last, "] are out of order");
    require(static_cast<std::size_t>(last) <= data.size(), "cut short: ends at byte ", last, " of ", data.size());
    const std::int64_t needed = entry.shape.numel() * detail::traits_of(entry.dtype).bytes;
    require(last - first == needed, entry.dtype, ' ', entry.shape, " needs ", needed, " bytes, has ", last - first);
    entry.bytes = data.subspan(static_cast<std::size_t>(first), static_cast<std::size_t>(needed));
    entries_.emplace(name, entry);
    return {first, last};
  }

  String path_;
  std::optional<MappedFile> file_;
  std::map<String, Entry> entries_;
  std::map<String, String> metadata_;
};

// With the standard strings, the only one there is.
using SafetensorsFile = BasicSafetensorsFile<std::string>;

// Collects tensors and writes them as one file. The bytes depend on names, values and metadata alone, not on the order
// of the calls: metadata by key, tensors by element size from large to small (which aligns them all), then by name.
template <class String>
class BasicSafetensorsWriter {
 public:
  // Keeps a handle to the tensor, not a copy (one from another device is copied to the host).
  template <class T>
  BasicSafetensorsWriter& add(const String& name, const Tensor<T>& tensor) {
    require(tensor.defined(), "SafetensorsWriter: tensor \"", name, "\" is undefined");
    require(name != "__metadata__", "SafetensorsWriter: the name __metadata__ is taken by the format");
    auto host = std::make_shared<const Tensor<T>>(tensor.to(Device::cpu()));
    const auto bytes = std::as_bytes(host->span());
    const bool is_new = entries_.try_emplace(name, Entry{{dtype_of<T>(), tensor.shape(), bytes}, host}).second;
    require(is_new, "SafetensorsWriter: tensor \"", name, "\" is there already");
    return *this;
  }
  BasicSafetensorsWriter& set_metadata(const String& key, String value) {
    metadata_[key] = std::move(value);
    return *this;
  }

  // Lets the metadata have a "checksum" of all the rest, which SafetensorsFile::verify looks for. Where metadata of
  // another file brought one along, it is made anew.
  BasicSafetensorsWriter& add_checksum() { return set_metadata("checksum", ""); }

  // Writes through write_file_atomically; the tensors' bytes go from where they are, without a copy.
  void write(const std::filesystem::path& path) const {
    std::vector<const std::pair<const String, Entry>*> order;
    for (const auto& entry : entries_) order.push_back(&entry);
    const auto element_bytes = [](const auto* entry) { return detail::traits_of(entry->second.dtype).bytes; };
    std::stable_sort(order.begin(), order.end(),
                     [&](const auto* a, const auto* b) { return element_bytes(a) > element_bytes(b); });

    using J = BasicJson<String>;
    typename J::Object header;
    auto metadata = metadata_;
    if (const auto found = metadata.find("checksum"); found != metadata.end())
      found->second = detail::checksum_of(metadata_, entries_);
    if (!metadata.empty()) header.emplace_back("__metadata__", typename J::Object(metadata.begin(), metadata.end()));
    std::vector<std::span<const std::byte>> parts(1);
    std::size_t offset = 0;
    for (const auto* item : order) {
      const auto& [name, entry] = *item;
      const std::size_t end = offset + entry.bytes.size();
      header.emplace_back(name, typename J::Object{{"dtype", detail::traits_of(entry.dtype).name},
                                                   {"shape", typename J::Array(entry.shape.begin(), entry.shape.end())},
                                                   {"data_offsets", typename J::Array{offset, end}}});
      parts.push_back(entry.bytes);
      offset = end;
    }
    String text = J(std::move(header)).dump();
    text.resize((text.size() + 7) / 8 * 8, ' ');
    const std::uint64_t length = text.size();
    require(length <= BasicSafetensorsFile<String>::max_header_bytes, "SafetensorsWriter: the header has ", length,
            " bytes");
    text.insert(0, reinterpret_cast<const char*>(&length), 8);
    parts[0] = std::as_bytes(std::span(text));
    write_file_atomically(path, parts);
  }

 private:
  struct Entry : detail::StoredTensor {
    std::shared_ptr<const void> keep;
  };

  std::map<String, Entry> entries_;
  std::map<String, String> metadata_;
};

// With the standard strings, the only one there is.
using SafetensorsWriter = BasicSafetensorsWriter<std::string>;

}  // namespace cuttle
