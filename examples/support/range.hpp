// FIRST:LAST on a command line.
#pragma once

#include <charconv>
#include <cstdint>
#include <optional>
#include <string_view>
#include <system_error>
#include <utility>

namespace console {

using Range = std::pair<std::int64_t, std::int64_t>;

// The two numbers, 0 <= FIRST < LAST; nothing where the text is anything else.
inline std::optional<Range> parse_range(std::string_view text) {
  Range range;
  const char* const end = text.data() + text.size();
  const auto first = std::from_chars(text.data(), end, range.first);
  if (first.ec != std::errc() || first.ptr == end || *first.ptr != ':') return {};
  const auto last = std::from_chars(first.ptr + 1, end, range.second);
  if (last.ec != std::errc() || last.ptr != end || range.first < 0 || range.second <= range.first) return {};
  return range;
}

}  // namespace console
