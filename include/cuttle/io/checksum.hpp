// A checksum that finds damage; it keeps nobody from writing another file with the same one.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <span>
#include <string>
#include <string_view>

namespace cuttle {

// Of bytes and numbers in the order in which they are added, by FNV-1a's multiplication eight bytes at a time. Every
// step is one to one in the word that it takes up, so that whatever is changed in one word alone is found for certain.
class Checksum {
 public:
  Checksum& add(std::uint64_t word) noexcept {
    hash_ = (hash_ ^ word) * 0x100000001b3;
    hash_ ^= hash_ >> 32;  // the product alone keeps high bits high
    return *this;
  }
  // Their number first, so that what ends one piece cannot begin the next.
  Checksum& add(std::span<const std::byte> bytes) noexcept {
    add(bytes.size());
    for (std::size_t i = 0; i < bytes.size(); i += 8) {
      std::uint64_t word = 0;
      std::memcpy(&word, bytes.data() + i, std::min<std::size_t>(8, bytes.size() - i));
      add(word);
    }
    return *this;
  }
  Checksum& add(std::string_view text) noexcept { return add(std::as_bytes(std::span(text))); }

  // 16 hexadecimal digits.
  std::string text() const {
    char digits[17];
    std::snprintf(digits, sizeof digits, "%016llx", static_cast<unsigned long long>(hash_));
    return digits;
  }

 private:
  std::uint64_t hash_ = 0xcbf29ce484222325;
};

}  // namespace cuttle
