// Text for HTML and SVG: escaping, numbers that do not depend on the locale, bytes as data URIs.
#pragma once

#include <charconv>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "cuttle/io/json.hpp"

namespace cuttle::report {

// Any bytes as text of an element or of a quoted attribute: what HTML would read as markup is escaped; what is no UTF-8
// and control characters become U+FFFD.
inline std::string escape(std::string_view text) {
  std::string out;
  while (!text.empty()) {
    const std::size_t length = cuttle::detail::utf8_length(text);
    const auto first = static_cast<unsigned char>(text[0]);
    switch (text[0]) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&quot;";
        break;
      case '\'':
        out += "&#39;";
        break;
      default:
        if (length == 0 || (first < 0x20 && first != '\n' && first != '\t') || first == 0x7F)
          out += "\xEF\xBF\xBD";
        else
          out += text.substr(0, length);
    }
    text.remove_prefix(length ? length : 1);
  }
  return out;
}

inline constexpr std::string_view no_number = "\xE2\x80\x93";  // an en dash

// value with so many digits after the point; an en dash where it is not finite.
inline std::string fixed(double value, int digits) {
  if (!std::isfinite(value)) return std::string(no_number);
  char text[400];
  const auto end = std::to_chars(text, text + sizeof text, value, std::chars_format::fixed, digits).ptr;
  const std::string out(text, end);
  return out.find_first_not_of("-0.") == std::string::npos && out[0] == '-' ? out.substr(1) : out;
}

// value with so many significant digits, as printf's %g has it; an en dash where it is not finite.
inline std::string significant(double value, int digits) {
  if (!std::isfinite(value)) return std::string(no_number);
  char text[64];
  return {text, std::to_chars(text, text + sizeof text, value, std::chars_format::general, digits).ptr};
}

// Base64 (RFC 4648) with padding.
inline std::string base64(std::span<const std::byte> bytes) {
  static constexpr char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string out;
  out.reserve((bytes.size() + 2) / 3 * 4);
  for (std::size_t i = 0; i < bytes.size(); i += 3) {
    std::uint32_t three = 0;
    for (std::size_t k = 0; k < 3; ++k)
      three = three << 8 | (i + k < bytes.size() ? std::to_integer<std::uint32_t>(bytes[i + k]) : 0);
    for (std::size_t k = 0; k < 4; ++k) out += i + k > bytes.size() ? '=' : digits[three >> (18 - 6 * k) & 63];
  }
  return out;
}

}  // namespace cuttle::report
