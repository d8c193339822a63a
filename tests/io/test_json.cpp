#include "cuttle/io/json.hpp"

#include <cmath>
#include <cstring>
#include <limits>
#include <random>

#include "tests/support/catch.hpp"

using namespace cuttle;

namespace {

std::string error_of(std::string_view text) {
  try {
    Json::parse(text);
  } catch (const Error& error) {
    return error.what();
  }
  return "accepted";
}

}  // namespace

TEST_CASE("json reads every kind of value", "[io]") {
  const Json value = Json::parse(
      " {\"a\" : [1, -2.5, true, false, null, \"x\"],\t\"b\":{},\r\n\"\":[ ], \"n\": 9007199254740993, \"e\":1E+2} ");
  const auto& a = value.at("a").array();
  REQUIRE(a.size() == 6);
  CHECK(a[0].integer() == 1);
  CHECK(a[0].number() == 1.0);
  CHECK(a[1].number() == -2.5);
  CHECK(a[2].boolean());
  CHECK_FALSE(a[3].boolean());
  CHECK(a[4].is_null());
  CHECK(a[5].string() == "x");
  CHECK(value.at("b").object().empty());
  CHECK(value.at("").array().empty());
  CHECK(value.at("n").integer() == 9007199254740993);  // 2^53 + 1, which no double holds
  CHECK(value.at("e").number() == 100.0);
  CHECK(value.object()[0].first == "a");
  CHECK(value.object()[1].first == "b");
  CHECK(value.find("missing") == nullptr);
  CHECK_THROWS_WITH(value.at("missing"), "json: no member \"missing\"");
  CHECK_THROWS_WITH(value.at("e").integer(), "json: expected an integer, got a fraction");
  CHECK_THROWS_WITH(value.at("a").string(), "json: expected a string, got an array");
  CHECK_THROWS_WITH(a[0].at("x"), "json: expected an object, got an integer");
}

TEST_CASE("json integers are exact to the ends of int64", "[io]") {
  CHECK(Json::parse("9223372036854775807").integer() == std::numeric_limits<std::int64_t>::max());
  CHECK(Json::parse("-9223372036854775808").integer() == std::numeric_limits<std::int64_t>::min());
  CHECK(error_of("[9223372036854775808]") == "json: number out of range at byte 1");
  CHECK(error_of("-9223372036854775809") == "json: number out of range at byte 0");
  CHECK(error_of("1e999") == "json: number out of range at byte 0");
  CHECK_THROWS_AS(Json(std::numeric_limits<std::uint64_t>::max()), Error);
}

TEST_CASE("json refuses what RFC 8259 does, with the offset", "[io]") {
  const std::pair<const char*, const char*> cases[] = {
      {"", "expected a value at byte 0"},
      {"  ", "expected a value at byte 2"},
      {"nul", "expected a value at byte 0"},
      {"True", "expected a value at byte 0"},
      {"NaN", "expected a value at byte 0"},
      {"-Infinity", "expected a digit at byte 1"},
      {"+1", "expected a value at byte 0"},
      {".5", "expected a value at byte 0"},
      {"-", "expected a digit at byte 1"},
      {"1.", "expected a digit at byte 2"},
      {"1.e5", "expected a digit at byte 2"},
      {"1e", "expected a digit at byte 2"},
      {"1e+", "expected a digit at byte 3"},
      {"1e+-2", "expected a digit at byte 3"},
      {"01", "trailing characters at byte 1"},
      {"-01", "trailing characters at byte 2"},
      {"0x10", "trailing characters at byte 1"},
      {"1 2", "trailing characters at byte 2"},
      {"{} x", "trailing characters at byte 3"},
      {"[1 2]", "expected ',' or ']' at byte 3"},
      {"[1,]", "expected a value at byte 3"},
      {"[,1]", "expected a value at byte 1"},
      {"[1", "expected ',' or ']' at byte 2"},
      {"[}", "expected a value at byte 1"},
      {"{\"a\"}", "expected ':' at byte 4"},
      {"{\"a\":1,}", "expected '\"' at byte 7"},
      {"{a:1}", "expected '\"' at byte 1"},
      {"{'a':1}", "expected '\"' at byte 1"},
      {"{\"a\":1", "expected ',' or '}' at byte 6"},
      {"{\"a\":}", "expected a value at byte 5"},
      {"{\"a\":1,\"b\":2,\"a\":3}", "key \"a\" again at byte 13"},
      {"{\"a\":1,\"\\u0061\":3}", "key \"a\" again at byte 7"},
      {"\"abc", "string without an end at byte 4"},
      {"\"\\", "unknown escape at byte 2"},
      {"\"\\x\"", "unknown escape at byte 2"},
      {"\"\\u12\"", "expected four hexadecimal digits at byte 3"},
      {"\"\\u-123\"", "expected four hexadecimal digits at byte 3"},
      {"\"\\uD800\"", "half of a surrogate pair at byte 7"},
      {"\"\\uD800\\u0041\"", "half of a surrogate pair at byte 13"},
      {"\"\\uDC00\"", "half of a surrogate pair at byte 7"},
      {"\"a\nb\"", "control character in a string at byte 2"},
      {"\"\xff\"", "invalid UTF-8 at byte 1"},
      {"\"\xc0\x80\"", "invalid UTF-8 at byte 1"},          // overlong NUL
      {"\"\xc3\"", "invalid UTF-8 at byte 1"},              // cut short
      {"\"\xe0\x9f\xbf\"", "invalid UTF-8 at byte 1"},      // overlong
      {"\"\xed\xa0\x80\"", "invalid UTF-8 at byte 1"},      // surrogate
      {"\"\xf0\x8f\xbf\xbf\"", "invalid UTF-8 at byte 1"},  // overlong
      {"\"\xf4\x90\x80\x80\"", "invalid UTF-8 at byte 1"},  // above U+10FFFF
      {"\"\x80\"", "invalid UTF-8 at byte 1"},
      {"\xef\xbb\xbf{}", "expected a value at byte 0"},  // byte order mark
      {"// no\n1", "expected a value at byte 0"},
  };
  for (const auto& [text, reason] : cases) {
    CAPTURE(text);
    CHECK(error_of(text) == "json: " + std::string(reason));
  }
  CHECK(error_of(std::string_view("1\0", 2)) == "json: trailing characters at byte 1");
}

TEST_CASE("json limits its depth", "[io]") {
  const auto nested = [](std::size_t depth) { return std::string(depth, '[') + "1" + std::string(depth, ']'); };
  CHECK(error_of(nested(Json::max_depth)) == "accepted");
  CHECK(error_of(nested(Json::max_depth + 1)) == "json: nested too deeply at byte 65");
  CHECK(error_of(std::string(1'000'000, '[')) == "json: nested too deeply at byte 65");
}

TEST_CASE("json limits the number of its values, which take more memory than their text", "[io]") {
  const auto list = [](std::int64_t items) {
    std::string text = "[0";
    for (std::int64_t i = 1; i < items; ++i) text += ",0";
    return text + ']';
  };
  CHECK(error_of(list(Json::max_values - 1)) == "accepted");  // and the list itself
  CHECK(error_of(list(Json::max_values)) == "json: too many values at byte 1999999");
}

TEST_CASE("json strings: escapes and UTF-8", "[io]") {
  CHECK(Json::parse(R"("\"\\\/\b\f\n\r\t")").string() == "\"\\/\b\f\n\r\t");
  CHECK(Json::parse(R"("\u0041\u00e9\u20AC\uD834\uDD1E")").string() == "A\xc3\xa9\xe2\x82\xac\xf0\x9d\x84\x9e");
  CHECK(Json::parse(R"("\u0000")").string() == std::string(1, '\0'));
  const std::string edges = "\x7f\xc2\x80\xdf\xbf\xe0\xa0\x80\xed\x9f\xbf\xee\x80\x80\xf0\x90\x80\x80\xf4\x8f\xbf\xbf";
  CHECK(Json::parse('"' + edges + '"').string() == edges);
}

TEST_CASE("json writes what it reads", "[io]") {
  const Json value = Json::Object{{"integer", 7},
                                  {"double", 7.0},
                                  {"third", 1.0 / 3},
                                  {"tiny", 5e-324},
                                  {"text", "tab\t \"quoted\" \\ \x01 \xc3\xa9"},
                                  {"list", Json::Array{true, nullptr, -1, Json::Array{}, Json::Object{}}}};
  CHECK(value.dump() ==
        "{\"integer\":7,\"double\":7.0,\"third\":0.3333333333333333,\"tiny\":5e-324,"
        "\"text\":\"tab\\u0009 \\\"quoted\\\" \\\\ \\u0001 \xc3\xa9\",\"list\":[true,null,-1,[],{}]}");
  CHECK(Json::parse(value.dump()) == value);
  CHECK(Json::parse(value.dump(2)) == value);
  CHECK(Json(Json::Array{1, Json::Object{{"a", 2}}, Json::Array{}}).dump(2) ==
        "[\n  1,\n  {\n    \"a\": 2\n  },\n  []\n]");
  CHECK_THROWS_AS(Json(std::numeric_limits<double>::quiet_NaN()).dump(), Error);
  CHECK_THROWS_AS(Json(std::numeric_limits<double>::infinity()).dump(), Error);
  CHECK_THROWS_WITH(Json("\xff").dump(), "json: a string to be written is not UTF-8");
}

TEST_CASE("json doubles come back to the bit", "[io]") {
  std::mt19937_64 random(5);
  for (int i = 0; i < 2000; ++i) {
    double value;
    const std::uint64_t bits = random();
    std::memcpy(&value, &bits, 8);
    if (!std::isfinite(value)) continue;
    const Json back = Json::parse(Json(value).dump());
    CHECK(back == Json(value));
  }
}

TEST_CASE("json survives every cut and every changed byte", "[io]") {
  const std::string text = R"({"a":[1,-2.5e3,"\u00e9\n"],"b":{"c":null,"d":true}})";
  for (std::size_t length = 0; length < text.size(); ++length)
    CHECK_THROWS_AS(Json::parse(text.substr(0, length)), Error);
  int accepted = 0, refused = 0;
  for (std::size_t i = 0; i < text.size(); ++i) {
    for (int byte = 0; byte < 256; ++byte) {
      std::string changed = text;
      changed[i] = static_cast<char>(byte);
      try {
        const Json value = Json::parse(changed);
        ++accepted;
        if (!(Json::parse(value.dump()) == value)) FAIL_CHECK("not the same after writing: " << changed);
      } catch (const Error&) {
        ++refused;
      }
    }
  }
  CHECK(accepted > 500);
  CHECK(refused > 5000);
}
