// JSON (RFC 8259), strictly: for the headers and settings of model files, and for reports.
#pragma once

#include <algorithm>
#include <charconv>
#include <cmath>
#include <concepts>
#include <cstdint>
#include <limits>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "cuttle/core/error.hpp"

namespace cuttle {

namespace detail {

// Bytes of the UTF-8 sequence at the start of text, 0 where there is none (overlong forms, surrogates and code points
// above U+10FFFF included; Unicode 15, table 3-7).
inline std::size_t utf8_length(std::string_view text) noexcept {
  const auto byte = [text](std::size_t i) { return i < text.size() ? static_cast<unsigned char>(text[i]) : 0u; };
  const auto follows = [byte](std::size_t i) { return (byte(i) & 0xC0) == 0x80; };
  const unsigned first = byte(0), second = byte(1);
  if (text.empty()) return 0;
  if (first < 0x80) return 1;
  if (first >= 0xC2 && first <= 0xDF) return follows(1) ? 2 : 0;
  if (first >= 0xE0 && first <= 0xEF) {
    const bool ok = second >= (first == 0xE0 ? 0xA0u : 0x80u) && second <= (first == 0xED ? 0x9Fu : 0xBFu);
    return ok && follows(2) ? 3 : 0;
  }
  if (first >= 0xF0 && first <= 0xF4) {
    const bool ok = second >= (first == 0xF0 ? 0x90u : 0x80u) && second <= (first == 0xF4 ? 0x8Fu : 0xBFu);
    return ok && follows(2) && follows(3) ? 4 : 0;
  }
  return 0;
}

}  // namespace detail

// A JSON value. Integers are exact (int64) and distinct from doubles; objects keep their order.
template <class String>
class BasicJson {
 public:
  using Array = std::vector<BasicJson>;
  using Object = std::vector<std::pair<String, BasicJson>>;
  static constexpr int max_depth = 64;
  // A value takes some 50 bytes, and two of text: a hostile file must not become many times its size in memory.
  static constexpr std::int64_t max_values = 1'000'000;

  BasicJson() = default;  // null
  BasicJson(std::nullptr_t) {}
  BasicJson(std::same_as<bool> auto value) : value_(value) {}
  template <std::integral Integer>
  requires(!std::same_as<Integer, bool>) BasicJson(Integer value) : value_(static_cast<std::int64_t>(value)) {
    require(std::in_range<std::int64_t>(value), "json: integer ", value, " is out of range");
  }
  BasicJson(std::floating_point auto value) : value_(static_cast<double>(value)) {}
  BasicJson(const char* value) : value_(String(value)) {}
  BasicJson(std::string_view value) : value_(String(value)) {}
  BasicJson(String value) : value_(std::move(value)) {}
  BasicJson(Array value) : value_(std::move(value)) {}
  BasicJson(Object value) : value_(std::move(value)) {}

  // Reads one value that fills the whole text. Refused with the byte's offset: anything outside the grammar, invalid
  // UTF-8, a key twice in one object, nesting beyond max_depth, more than max_values values, an integer outside int64,
  // a number outside double.
  static BasicJson parse(std::string_view text);
  // The text, compact, or with `indent` spaces for each level. parse(dump()) gives the same value. Throws for NaN,
  // infinities and invalid UTF-8, which JSON cannot hold.
  String dump(int indent = 0) const {
    String out;
    dump(out, indent, 0);
    return out;
  }

  bool is_null() const noexcept { return std::holds_alternative<std::monostate>(value_); }
  bool is_object() const noexcept { return std::holds_alternative<Object>(value_); }
  // The value as that type; throws where it is of another.
  bool boolean() const { return get<bool>("true or false"); }
  // See boolean(); no fraction, however whole.
  std::int64_t integer() const { return get<std::int64_t>("an integer"); }
  // See boolean(); integers count as numbers.
  double number() const {
    if (const auto* exact = std::get_if<std::int64_t>(&value_)) return static_cast<double>(*exact);
    return get<double>("a number");
  }
  // See boolean().
  const String& string() const { return get<String>("a string"); }
  // See boolean().
  const Array& array() const { return get<Array>("an array"); }
  // See boolean().
  const Object& object() const { return get<Object>("an object"); }
  // An object's member; a null pointer where there is none.
  const BasicJson* find(std::string_view key) const {
    const auto& members = object();
    const auto found = std::find_if(members.begin(), members.end(), [key](const auto& m) { return m.first == key; });
    return found == members.end() ? nullptr : &found->second;
  }
  // An object's member; an error that names it where there is none.
  const BasicJson& at(std::string_view key) const {
    const BasicJson* value = find(key);
    require(value != nullptr, "json: no member \"", key, '"');
    return *value;
  }

  friend bool operator==(const BasicJson& a, const BasicJson& b) { return a.value_ == b.value_; }

 private:
  class Parser;

  template <class T>
  const T& get(const char* what) const {
    static constexpr const char* names[] = {"null",     "true or false", "an integer", "a fraction",
                                            "a string", "an array",      "an object"};
    const T* value = std::get_if<T>(&value_);
    require(value != nullptr, "json: expected ", what, ", got ", names[value_.index()]);
    return *value;
  }

  static void dump_string(String& out, std::string_view text);
  void dump(String& out, int indent, int depth) const;

  std::variant<std::monostate, bool, std::int64_t, double, String, Array, Object> value_;
};

// With the standard strings, the only one there is.
using Json = BasicJson<std::string>;

// Recursive descent; position_ is the offset that errors name.
template <class String>
class BasicJson<String>::Parser {
 public:
  explicit Parser(std::string_view text) : text_(text) {}

  BasicJson document() {
    BasicJson value = this->value(0);
    skip_space();
    expect(position_ == text_.size(), "trailing characters");
    return value;
  }

 private:
  void expect(bool ok, std::string_view what) const { expect(ok, what, position_); }
  static void expect(bool ok, std::string_view what, std::size_t position) {
    require(ok, "json: ", what, " at byte ", position);
  }

  char peek() const noexcept { return position_ < text_.size() ? text_[position_] : '\0'; }
  bool take(char c) noexcept {
    if (position_ == text_.size() || text_[position_] != c) return false;
    ++position_;
    return true;
  }
  void skip_space() noexcept { position_ = std::min(text_.find_first_not_of(" \t\n\r", position_), text_.size()); }

  BasicJson value(int depth) {
    expect(depth <= max_depth, "nested too deeply");
    expect(++values_ <= max_values, "too many values");
    skip_space();
    switch (peek()) {
      case '{':
        return object(depth);
      case '[':
        return array(depth);
      case '"':
        return string();
      case 't':
        return word("true", true);
      case 'f':
        return word("false", false);
      case 'n':
        return word("null", nullptr);
      default:
        return number();
    }
  }

  BasicJson word(std::string_view name, BasicJson value) {
    expect(text_.substr(position_, name.size()) == name, "expected a value");
    position_ += name.size();
    return value;
  }

  BasicJson array(int depth) {
    Array items;
    ++position_;
    skip_space();
    if (take(']')) return items;
    do {
      items.push_back(value(depth + 1));
      skip_space();
    } while (take(','));
    expect(take(']'), "expected ',' or ']'");
    return items;
  }

  BasicJson object(int depth) {
    Object members;
    std::vector<std::size_t> offsets;
    ++position_;
    skip_space();
    if (take('}')) return members;
    do {
      skip_space();
      offsets.push_back(position_);
      String key = string();
      skip_space();
      expect(take(':'), "expected ':'");
      members.emplace_back(std::move(key), value(depth + 1));
      skip_space();
    } while (take(','));
    expect(take('}'), "expected ',' or '}'");
    refuse_duplicates(members, offsets);
    return members;
  }

  static void refuse_duplicates(const Object& members, const std::vector<std::size_t>& offsets) {
    struct Key {
      std::string_view name;
      std::size_t offset;
    };
    std::vector<Key> keys;
    keys.reserve(members.size());
    for (std::size_t i = 0; i < members.size(); ++i) keys.push_back({members[i].first, offsets[i]});
    std::sort(keys.begin(), keys.end(),
              [](const Key& a, const Key& b) { return a.name < b.name || (a.name == b.name && a.offset < b.offset); });
    for (std::size_t i = 1; i < keys.size(); ++i)
      expect(keys[i].name != keys[i - 1].name, concat("key \"", keys[i].name, "\" again"), keys[i].offset);
  }

  String string() {
    expect(take('"'), "expected '\"'");
    String out;
    while (!take('"')) {
      expect(position_ < text_.size(), "string without an end");
      if (take('\\')) {
        escape(out);
        continue;
      }
      const std::size_t length = detail::utf8_length(text_.substr(position_));
      expect(length > 0, "invalid UTF-8");
      expect(static_cast<unsigned char>(text_[position_]) >= 0x20, "control character in a string");
      out.append(text_, position_, length);
      position_ += length;
    }
    return out;
  }

  void escape(String& out) {
    static constexpr std::string_view letters = "\"\\/bfnrt", meanings = "\"\\/\b\f\n\r\t";
    if (take('u')) return append_utf8(out, code_point());
    const std::size_t which = position_ < text_.size() ? letters.find(text_[position_]) : std::string_view::npos;
    expect(which != std::string_view::npos, "unknown escape");
    out += meanings[which];
    ++position_;
  }

  std::uint32_t hex4() {
    std::uint32_t unit = 0;
    const char* first = text_.data() + position_;
    const char* last = first + std::min<std::size_t>(4, text_.size() - position_);
    const auto [end, status] = std::from_chars(first, last, unit, 16);
    expect(status == std::errc() && end == first + 4, "expected four hexadecimal digits");
    position_ += 4;
    return unit;
  }

  std::uint32_t code_point() {
    const std::uint32_t high = hex4();
    if (high < 0xD800 || high > 0xDFFF) return high;
    expect(high < 0xDC00 && take('\\') && take('u'), "half of a surrogate pair");
    const std::uint32_t low = hex4();
    expect(low >= 0xDC00 && low <= 0xDFFF, "half of a surrogate pair");
    return 0x10000 + ((high - 0xD800) << 10) + (low - 0xDC00);
  }

  static void append_utf8(String& out, std::uint32_t code) {
    const auto put = [&out](std::uint32_t byte) { out += static_cast<char>(static_cast<unsigned char>(byte)); };
    const auto tail = [&](int shift) { put(0x80 | ((code >> shift) & 0x3F)); };
    if (code < 0x80) return put(code);
    if (code < 0x800) return put(0xC0 | (code >> 6)), tail(0);
    if (code < 0x10000) return put(0xE0 | (code >> 12)), tail(6), tail(0);
    put(0xF0 | (code >> 18)), tail(12), tail(6), tail(0);
  }

  bool digits() noexcept {
    const std::size_t first = position_;
    while (peek() >= '0' && peek() <= '9') ++position_;
    return position_ > first;
  }

  BasicJson number() {
    const std::size_t first = position_;
    take('-');
    expect(take('0') || digits(), position_ == first ? "expected a value" : "expected a digit");
    bool integer = true;
    if (take('.')) {
      integer = false;
      expect(digits(), "expected a digit");
    }
    if (take('e') || take('E')) {
      integer = false;
      if (!take('+')) take('-');
      expect(digits(), "expected a digit");
    }
    const auto read = [&](auto number) -> BasicJson {
      const auto [end, status] = std::from_chars(text_.data() + first, text_.data() + position_, number);
      expect(status == std::errc() && end == text_.data() + position_, "number out of range", first);
      return number;
    };
    return integer ? read(std::int64_t{}) : read(double{});
  }

  std::string_view text_;
  std::size_t position_ = 0;
  std::int64_t values_ = 0;
};

template <class String>
BasicJson<String> BasicJson<String>::parse(std::string_view text) {
  return Parser(text).document();
}

template <class String>
void BasicJson<String>::dump_string(String& out, std::string_view text) {
  static constexpr char hex[] = "0123456789abcdef";
  out += '"';
  while (!text.empty()) {
    const std::size_t length = detail::utf8_length(text);
    require(length > 0, "json: a string to be written is not UTF-8");
    const auto c = static_cast<unsigned char>(text[0]);
    if (c < 0x20) {
      ((out += "\\u00") += hex[c >> 4]) += hex[c & 15];
    } else {
      if (c == '"' || c == '\\') out += '\\';
      out += text.substr(0, length);
    }
    text.remove_prefix(length);
  }
  out += '"';
}

template <class String>
void BasicJson<String>::dump(String& out, int indent, int depth) const {
  const auto list = [&](char open, char close, const auto& items, auto&& dump_item) {
    const auto new_line = [&](int level) {
      if (indent > 0) (out += '\n').append(static_cast<std::size_t>(indent * level), ' ');
    };
    out += open;
    for (bool first = true; const auto& item : items) {
      if (!std::exchange(first, false)) out += ',';
      new_line(depth + 1);
      dump_item(item);
    }
    if (!items.empty()) new_line(depth);
    out += close;
  };
  const auto number = [&](auto value) {
    char buffer[32];
    out.append(buffer, std::to_chars(buffer, buffer + sizeof buffer, value).ptr);
  };
  switch (value_.index()) {
    case 0:
      out += "null";
      break;
    case 1:
      out += std::get<bool>(value_) ? "true" : "false";
      break;
    case 2:
      number(std::get<std::int64_t>(value_));
      break;
    case 3: {
      const double value = std::get<double>(value_);
      require(std::isfinite(value), "json: cannot write the number ", value);
      const std::size_t first = out.size();
      number(value);
      // So that it is read as a double again.
      if (out.find_first_of(".e", first) == String::npos) out += ".0";
      break;
    }
    case 4:
      dump_string(out, std::get<String>(value_));
      break;
    case 5:
      list('[', ']', std::get<Array>(value_), [&](const BasicJson& item) { item.dump(out, indent, depth + 1); });
      break;
    default:
      list('{', '}', std::get<Object>(value_), [&](const auto& member) {
        dump_string(out, member.first);
        out += indent > 0 ? ": " : ":";
        member.second.dump(out, indent, depth + 1);
      });
  }
}

}  // namespace cuttle
