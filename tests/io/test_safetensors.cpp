#include "cuttle/io/safetensors.hpp"

#include <fstream>
#include <limits>

#include "tests/support/catch.hpp"
#include "tests/support/compare.hpp"
#include "tests/support/shared.hpp"
#include "tests/support/temporary_folder.hpp"

using namespace cuttle;
using cuttle_test::contains;
using cuttle_test::TemporaryFolder;

namespace {

// A file of this header and so many bytes of data, length and all.
std::string file_of(std::string_view header, std::size_t data_bytes) {
  const std::uint64_t length = header.size();
  std::string file(reinterpret_cast<const char*>(&length), 8);
  file += header;
  file.append(data_bytes, '\x01');
  return file;
}

SafetensorsFile open(const std::string& bytes) { return {std::as_bytes(std::span(bytes)), "m.safetensors"}; }

// Parses a copy on the heap of just that length, so that the address sanitiser sees one byte too far.
std::string error_of(const std::string& bytes) {
  const std::vector<char> exact(bytes.begin(), bytes.end());
  try {
    SafetensorsFile(std::as_bytes(std::span(exact)), "m.safetensors");
  } catch (const IoError& error) {
    CHECK(error.path() == "m.safetensors");
    return std::string(error.what()).substr(std::string_view("m.safetensors: ").size());
  }
  return "accepted";
}

std::string small_header() {
  return R"({"__metadata__":{"k":"v"},"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},)"
         R"("b":{"dtype":"U8","shape":[3],"data_offsets":[8,11]}})";
}

}  // namespace

TEST_CASE("safetensors: what is written is read back to the bit", "[io]") {
  const TemporaryFolder folder;
  const auto path = folder / "model.safetensors";
  const float nan = std::numeric_limits<float>::quiet_NaN();
  SafetensorsWriter()
      .add("weight", Tensor<float>::from({2, 1, 3}, {1, -0.0f, nan, 1e-45f, 3, 4}))
      .add("bank", Tensor<double>::from({3}, {0.1, -2, 1e300}))
      .add("index", Tensor<std::int64_t>::from({2}, {-1, std::numeric_limits<std::int64_t>::max()}))
      .add("count", Tensor<std::int32_t>::from({}, {-7}))
      .add("mask", Tensor<std::uint8_t>::from({5}, {0, 1, 2, 254, 255}))
      .add("none", Tensor<float>::empty({0, 4}))
      .set_metadata("method", "patch_svdd")
      .set_metadata("quote", "\"\\\n\xc3\xa9")
      .write(path);
  const SafetensorsFile file(path);
  CHECK(file.path() == path.string());
  CHECK(file.names() == std::vector<std::string>{"bank", "count", "index", "mask", "none", "weight"});
  CHECK(file.metadata() == std::map<std::string, std::string>{{"method", "patch_svdd"}, {"quote", "\"\\\n\xc3\xa9"}});
  CHECK(file.contains("bank"));
  CHECK_FALSE(file.contains("Bank"));
  CHECK(file.dtype("weight") == Dtype::F32);
  CHECK(file.shape("none") == Shape{0, 4});
  const auto weight = file.tensor<float>("weight");
  CHECK(weight.shape() == Shape{2, 1, 3});
  const float expected[] = {1, -0.0f, nan, 1e-45f, 3, 4};
  CHECK(std::memcmp(weight.data(), expected, sizeof expected) == 0);
  CHECK_CLOSE(file.tensor<double>("bank"), Tensor<double>::from({3}, {0.1, -2, 1e300}), {});
  CHECK(file.tensor<std::int64_t>("index").data()[1] == std::numeric_limits<std::int64_t>::max());
  CHECK(file.tensor<std::int32_t>("count").item() == -7);
  CHECK(file.tensor<std::uint8_t>("mask").data()[4] == 255);
  CHECK(file.tensor<float>("none").numel() == 0);
  CHECK_CLOSE(file.tensor_or_widen<double>("weight"), weight, {});
  CHECK_CLOSE(file.tensor_or_widen<double>("bank"), file.tensor<double>("bank"), {});
  CHECK_CLOSE(file.tensor_or_widen<float>("weight"), weight, {});
}

TEST_CASE("safetensors: the bytes depend on names and values alone", "[io]") {
  const TemporaryFolder folder;
  const auto u8 = Tensor<std::uint8_t>::from({3}, {1, 2, 3});
  const auto f32 = Tensor<float>::from({1, 1}, {1});
  const auto f64 = Tensor<double>::from({1}, {2});
  SafetensorsWriter()
      .add("b", u8)
      .add("d", f32)
      .add("c", f64)
      .add("a", f32)
      .set_metadata("y", "1")
      .set_metadata("x", "2")
      .write(folder / "1");
  SafetensorsWriter()
      .set_metadata("x", "2")
      .add("a", f32)
      .add("c", f64)
      .set_metadata("y", "1")
      .add("d", f32)
      .add("b", u8)
      .write(folder / "2");
  const std::string bytes = read_file(folder / "1");
  CHECK(bytes == read_file(folder / "2"));
  std::string header =
      R"({"__metadata__":{"x":"2","y":"1"},"c":{"dtype":"F64","shape":[1],"data_offsets":[0,8]},)"
      R"("a":{"dtype":"F32","shape":[1,1],"data_offsets":[8,12]},"d":{"dtype":"F32","shape":[1,1],"data_offsets":[12,16]},)"
      R"("b":{"dtype":"U8","shape":[3],"data_offsets":[16,19]}})";
  header.resize((header.size() + 7) / 8 * 8, ' ');
  const std::string data = std::string("\0\0\0\0\0\0\0\x40", 8) + std::string("\0\0\x80\x3f\0\0\x80\x3f\1\2\3", 11);
  CHECK(bytes == file_of(header, 0) + data);
}

TEST_CASE("safetensors: a checksum finds whatever was changed", "[io]") {
  const TemporaryFolder folder;
  const auto write = [&](const char* name, const Tensor<float>& tensor, const char* key, const char* value) {
    SafetensorsWriter().set_metadata(key, value).add(name, tensor).add_checksum().write(folder / "1");
    return SafetensorsFile(folder / "1").metadata().at("checksum");
  };
  const auto x = Tensor<float>::from({2, 3}, {1, 2, 3, 4, 5, 6});
  const std::string checksum = write("x", x, "k", "v");
  CHECK(checksum == write("x", x, "k", "v"));
  CHECK(checksum != write("y", x, "k", "v"));
  CHECK(checksum != write("x", x, "kv", ""));
  CHECK(checksum != write("x", x, "k", "w"));
  CHECK(checksum != write("x", x.reshape({3, 2}), "k", "v"));
  CHECK(checksum != write("x", Tensor<float>::from({2, 3}, {1, 2, 3, 4, 5, -6}), "k", "v"));

  write("x", x, "k", "v");
  const std::string whole = read_file(folder / "1");
  SafetensorsFile(folder / "1").verify();
  const std::size_t data = whole.size() - 24;
  for (std::size_t at = data; at < whole.size(); ++at)
    for (int bit = 0; bit < 8; ++bit) {
      std::string damaged = whole;
      damaged[at] = static_cast<char>(damaged[at] ^ 1 << bit);
      const SafetensorsFile file(std::as_bytes(std::span(damaged)), "damaged");
      CHECK_THROWS_WITH(file.verify(), contains("damaged: is damaged: its checksum is " + checksum));
    }
  std::string other = whole;
  other.replace(other.find(checksum), 16, "0123456789abcdef");
  CHECK_THROWS_WITH(SafetensorsFile(std::as_bytes(std::span(other)), "other").verify(),
                    "other: is damaged: its checksum is 0123456789abcdef, that of its contents " + checksum);

  // What was copied from a file with a checksum gets one of its own; a file without one cannot be verified.
  SafetensorsWriter().set_metadata("checksum", checksum).add("z", x).write(folder / "2");
  SafetensorsFile(folder / "2").verify();
  SafetensorsWriter().add("x", x).write(folder / "3");
  CHECK_THROWS_WITH(SafetensorsFile(folder / "3").verify(), contains("its metadata lack \"checksum\""));
}

TEST_CASE("safetensors: a file without tensors, and data that is aligned to nothing", "[io]") {
  const TemporaryFolder folder;
  SafetensorsWriter().write(folder / "empty");
  CHECK(read_file(folder / "empty") == file_of("{}      ", 0));
  CHECK(SafetensorsFile(folder / "empty").names().empty());
  const std::string odd = file_of(R"({"f":{"dtype":"F64","shape":[2],"data_offsets":[0,16]}} )", 16);
  for (std::size_t shift = 0; shift < 8; ++shift) {
    const std::string moved = std::string(shift, ' ') + odd;
    const SafetensorsFile file(std::as_bytes(std::span(moved)).subspan(shift), "odd");
    double expected;
    std::memcpy(&expected, "\1\1\1\1\1\1\1\1", 8);
    CHECK(file.tensor<double>("f").data()[1] == expected);
    // Where the elements lie right for their type, a view is those themselves.
    const Tensor<double> view = file.view<double>("f");
    CHECK(view.data()[1] == expected);
    const std::byte* const place = file.bytes("f").data();
    const bool aligned = reinterpret_cast<std::uintptr_t>(place) % alignof(double) == 0;
    CHECK((static_cast<const void*>(view.data()) == place) == aligned);
    CHECK_THROWS_WITH(file.view<float>("f"), "odd: tensor \"f\" is F64 [2], not F32");
  }
}

TEST_CASE("safetensors: wrong names and types are explained", "[io]") {
  const std::string bytes = file_of(small_header(), 11);
  const SafetensorsFile file = open(bytes);
  CHECK_THROWS_WITH(file.tensor<float>("A"), "m.safetensors: no tensor \"A\" among its 2; nearest: \"a\", \"b\"");
  CHECK_THROWS_AS(file.shape("A"), IoError);
  CHECK_THROWS_AS(file.dtype("A"), IoError);
  CHECK_THROWS_AS(file.bytes("A"), IoError);
  CHECK_THROWS_WITH(file.tensor<double>("a"), "m.safetensors: tensor \"a\" is F32 [2], not F64");
  CHECK_THROWS_WITH(file.tensor<std::int8_t>("b"), "m.safetensors: tensor \"b\" is U8 [3], not I8");
  CHECK_THROWS_WITH(file.tensor_or_widen<double>("b"), "m.safetensors: tensor \"b\" is U8 [3], not F64");
  const std::string none = file_of("{}", 0);
  CHECK_THROWS_WITH(open(none).tensor<float>("A"), "m.safetensors: no tensor \"A\" among its 0");
  const std::string many = file_of(R"({"enc.conv1.weight":{"dtype":"U8","shape":[0],"data_offsets":[0,0]},)"
                                   R"("enc.conv2.weight":{"dtype":"U8","shape":[0],"data_offsets":[0,0]},)"
                                   R"("enc.conv2.bias":{"dtype":"U8","shape":[0],"data_offsets":[0,0]},)"
                                   R"("z":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}})",
                                   0);
  CHECK_THROWS_WITH(open(many).shape("enc.conv2.wieght"),
                    "m.safetensors: no tensor \"enc.conv2.wieght\" among its 4; nearest: \"enc.conv2.weight\", "
                    "\"enc.conv1.weight\", \"enc.conv2.bias\"");
}

TEST_CASE("safetensors: the writer refuses what the reader would", "[io]") {
  SafetensorsWriter writer;
  writer.add("a", Tensor<float>::zeros({1}));
  CHECK_THROWS_WITH(writer.add("a", Tensor<double>::zeros({1})), "SafetensorsWriter: tensor \"a\" is there already");
  CHECK_THROWS_WITH(writer.add("b", Tensor<float>()), "SafetensorsWriter: tensor \"b\" is undefined");
  CHECK_THROWS_AS(writer.add("__metadata__", Tensor<float>::zeros({1})), Error);
  const TemporaryFolder folder;
  writer.set_metadata("bad", "\xff");
  CHECK_THROWS_AS(writer.write(folder / "bad"), Error);
  CHECK_FALSE(std::filesystem::exists(folder / "bad"));
  CHECK_THROWS_AS(SafetensorsWriter().write(folder / "no" / "folder"), IoError);
}

TEST_CASE("safetensors: a file cut at any byte, or grown, is refused", "[io]") {
  const std::string whole = file_of(small_header(), 11);
  CHECK(error_of(whole) == "accepted");
  for (std::size_t length = 0; length < whole.size(); ++length) {
    CAPTURE(length);
    CHECK(error_of(whole.substr(0, length)) != "accepted");
  }
  CHECK(error_of(whole + 'x') == "the tensors end at byte 11 of 12");
  CHECK(error_of(whole.substr(0, 8 + 40)).find("cut short: a header of") == 0);
  CHECK(error_of(whole.substr(0, whole.size() - 1)) == "tensor \"b\": cut short: ends at byte 11 of 10");

  const TemporaryFolder folder;
  write_file_atomically(folder / "cut", whole.substr(0, whole.size() - 1));
  CHECK_THROWS_WITH(SafetensorsFile(folder / "cut"),
                    (folder / "cut").string() + ": tensor \"b\": cut short: ends at byte 11 of 10");
  write_file_atomically(folder / "empty", "");
  CHECK_THROWS_WITH(SafetensorsFile(folder / "empty"),
                    (folder / "empty").string() + ": not a safetensors file: 0 bytes");
}

TEST_CASE("safetensors: every changed byte of the header gives a file or an IoError", "[io]") {
  const std::string whole = file_of(small_header(), 11);
  int accepted = 0;
  for (std::size_t i = 0; i < whole.size() - 11; ++i) {
    for (const int byte : {0, 1, 9, 32, 34, 44, 45, 48, 49, 57, 92, 93, 123, 125, 127, 128, 255}) {
      std::string changed = whole;
      changed[i] = static_cast<char>(byte);
      accepted += error_of(changed) == "accepted";
    }
  }
  CHECK(accepted > 0);  // changed names and metadata
}

TEST_CASE("safetensors: hostile headers", "[io]") {
  const auto entry = [](std::string_view dtype, std::string_view shape, std::string_view offsets) {
    return concat(R"({"dtype":")", dtype, R"(","shape":)", shape, R"(,"data_offsets":)", offsets, "}");
  };
  const auto one = [&](std::string_view dtype, std::string_view shape, std::string_view offsets, std::size_t data) {
    return error_of(file_of(concat(R"({"t":)", entry(dtype, shape, offsets), "}"), data));
  };
  const auto two = [&](std::string_view first, std::string_view second, std::size_t data) {
    return error_of(
        file_of(concat(R"({"s":)", entry("U8", "[4]", first), R"(,"t":)", entry("U8", "[4]", second), "}"), data));
  };
  CHECK(one("F32", "[2]", "[0,8]", 8) == "accepted");
  CHECK(one("BF16", "[2]", "[0,4]", 4) == "accepted");
  CHECK(one("F32", "[]", "[0,4]", 4) == "accepted");
  CHECK(one("F32", "[1,1,1,1,1,2]", "[0,8]", 8) == "accepted");

  SECTION("lengths") {
    const auto with_length = [](std::uint64_t length) {
      std::string bytes = file_of(small_header(), 11);
      std::memcpy(bytes.data(), &length, 8);
      return error_of(bytes);
    };
    CHECK(with_length(0) == "not a safetensors file: its header is no JSON object");
    CHECK(with_length(small_header().size() + 12).find("cut short") == 0);
    CHECK(with_length(100'000'000).find("cut short") == 0);
    for (const std::uint64_t length : {std::uint64_t{100'000'001}, ~std::uint64_t{0}, std::uint64_t{1} << 63})
      CHECK(with_length(length) == concat("not a safetensors file: a header of ", length, " bytes"));
    CHECK(error_of("").find("not a safetensors file") == 0);
    CHECK(error_of("\x89PNG\r\n\x1a\n________").find("not a safetensors file") == 0);
  }
  SECTION("offsets") {
    CHECK(two("[0,4]", "[4,8]", 8) == "accepted");
    CHECK(two("[4,8]", "[0,4]", 8) == "accepted");
    CHECK(two("[0,4]", "[0,4]", 4) == "tensor \"t\" starts at byte 0 where the one before ends at 4");
    CHECK(two("[0,4]", "[2,6]", 6) == "tensor \"t\" starts at byte 2 where the one before ends at 4");
    CHECK(two("[0,4]", "[5,9]", 9) == "tensor \"t\" starts at byte 5 where the one before ends at 4");
    CHECK(two("[1,5]", "[5,9]", 9) == "tensor \"s\" starts at byte 1 where the one before ends at 0");
    CHECK(two("[0,4]", "[4,8]", 9) == "the tensors end at byte 8 of 9");
    CHECK(two("[0,4]", "[4,8]", 7) == "tensor \"t\": cut short: ends at byte 8 of 7");
    CHECK(one("F32", "[2]", "[8,0]", 8) == "tensor \"t\": data_offsets [8, 0] are out of order");
    CHECK(one("F32", "[2]", "[-8,0]", 8) == "tensor \"t\": data_offsets [-8, 0] are out of order");
    CHECK(one("F32", "[2]", "[0,8.0]", 8) == "tensor \"t\": json: expected an integer, got a fraction");
    CHECK(one("F32", "[2]", "[0,9223372036854775807]", 8).find("tensor \"t\": cut short") == 0);
    CHECK(one("F32", "[2]", "[0,18446744073709551615]", 8).find("header: json: number out of range") == 0);
    CHECK(one("F32", "[2]", "[0]", 8) == "tensor \"t\": data_offsets needs two numbers");
    CHECK(one("F32", "[2]", "[0,8,8]", 8) == "tensor \"t\": data_offsets needs two numbers");
    CHECK(error_of(file_of("{}", 1)) == "the tensors end at byte 0 of 1");
  }
  SECTION("shapes and dtypes") {
    CHECK(one("F32", "[3]", "[0,8]", 8) == "tensor \"t\": F32 [3] needs 12 bytes, has 8");
    CHECK(one("F64", "[2]", "[0,8]", 8) == "tensor \"t\": F64 [2] needs 16 bytes, has 8");
    CHECK(one("F32", "[-2]", "[0,8]", 8) == "tensor \"t\": Shape: extent 0 is negative (-2)");
    CHECK(one("F32", "[-1,-2]", "[0,8]", 8) == "tensor \"t\": Shape: extent 0 is negative (-1)");
    CHECK(one("F32", "[1,1,1,1,1,1,2]", "[0,8]", 8) == "tensor \"t\": Shape: at most 6 extents");
    // 4 n = 4, n n = 0 and 0 n n = 0 in 64 bits.
    const std::string too_large = "tensor \"t\": Shape: more than 2^48 elements";
    CHECK(one("F32", "[4611686018427387905]", "[0,4]", 4).find(too_large) == 0);
    CHECK(one("U8", "[4294967296,4294967296]", "[0,0]", 0).find(too_large) == 0);
    CHECK(one("U8", "[0,9223372036854775807,9223372036854775807]", "[0,0]", 0).find(too_large) == 0);
    CHECK(one("f32", "[2]", "[0,8]", 8) == "tensor \"t\": unknown dtype \"f32\"");
    CHECK(one("F32", "2", "[0,8]", 8) == "tensor \"t\": json: expected an array, got an integer");
  }
  SECTION("structure") {
    CHECK(error_of(file_of("[]", 0)) == "not a safetensors file: its header is no JSON object");
    CHECK(error_of(file_of(" {}", 0)) == "not a safetensors file: its header is no JSON object");
    CHECK(error_of(file_of("{}\n ", 0)) == "accepted");
    CHECK(error_of(file_of("{} {}", 0)).find("header: json: trailing characters") == 0);
    CHECK(error_of(file_of(R"({"t":1})", 0)) == "tensor \"t\": json: expected an object, got an integer");
    CHECK(error_of(file_of(R"({"t":{}})", 0)) == "tensor \"t\": needs dtype, shape and data_offsets, and nothing else");
    CHECK(error_of(file_of(R"({"t":{"dtype":"U8","shape":[0],"offsets":[0,0]}})", 0)) ==
          "tensor \"t\": json: no member \"data_offsets\"");
    CHECK(error_of(file_of(R"({"__metadata__":{"k":1}})", 0)) == "header: json: expected a string, got an integer");
    CHECK(error_of(file_of(R"({"__metadata__":[]})", 0)) == "header: json: expected an object, got an array");
    const std::string t = concat(R"("t":)", entry("U8", "[4]", "[0,4]"));
    CHECK(error_of(file_of(concat('{', t, ',', t, '}'), 4)).find("header: json: key \"t\" again") == 0);
    CHECK(error_of(file_of("{\"\xff\":{}}", 0)).find("header: json: invalid UTF-8") == 0);
    CHECK(error_of(file_of(std::string(1'000'000, '{'), 0)).find("header: json: expected '\"'") == 0);
  }
}

TEST_CASE("safetensors: every fixture opens, and every tensor can be copied out", "[io][shared]") {
  CUTTLE_NEED_SHARED_FOLDER();
  const auto shared = cuttle_test::shared_folder();
  int files = 0;
  std::size_t tensors = 0;
  for (const auto& item : std::filesystem::recursive_directory_iterator(shared / "fixtures")) {
    if (item.path().extension() != ".safetensors") continue;
    const SafetensorsFile file(item.path());
    ++files;
    for (const std::string& name : file.names()) {
      CAPTURE(item.path().string(), name);
      const std::int64_t numel = file.shape(name).numel();
      switch (file.dtype(name)) {
        case Dtype::F32:
          REQUIRE(file.tensor_or_widen<double>(name).numel() == numel);
          break;
        case Dtype::I64:
          REQUIRE(file.tensor<std::int64_t>(name).numel() == numel);
          break;
        case Dtype::U8:
          REQUIRE(file.tensor<std::uint8_t>(name).numel() == numel);
          break;
        default:
          FAIL("unexpected dtype " << file.dtype(name));
      }
      ++tensors;
    }
    // Rewritten, it holds the same.
    if (item.path().filename() == "psvdd_bottle_encoder.safetensors") {
      const TemporaryFolder folder;
      SafetensorsWriter writer;
      for (const auto& [key, value] : file.metadata()) writer.set_metadata(key, value);
      for (const std::string& name : file.names()) writer.add(name, file.tensor<float>(name));
      writer.write(folder / "copy");
      const SafetensorsFile copy(folder / "copy");
      CHECK(copy.metadata() == file.metadata());
      REQUIRE(copy.names() == file.names());
      for (const std::string& name : file.names()) CHECK(std::ranges::equal(copy.bytes(name), file.bytes(name)));
      CHECK(file.shape("enc.conv1.weight") == Shape{32, 3, 3, 3});
    }
  }
  CHECK(files >= 14);
  CHECK(tensors >= 1740);
}

TEST_CASE("safetensors: a missing tensor is looked for among names that a model may have, and no others", "[io]") {
  const auto named = [](const std::vector<std::string>& names) {
    std::string header = "{";
    for (const std::string& name : names)
      header +=
          (header.size() > 1 ? ",\"" : "\"") + name + "\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]}";
    return file_of(header + "}", 0);
  };
  const std::string some = named({"weights", std::string(257, 'w')});
  CHECK_THROWS_WITH(open(some).shape("weight"),
                    "m.safetensors: no tensor \"weight\" among its 2; nearest: \"weights\"");
  CHECK_THROWS_WITH(open(some).shape(std::string(300, 'w')), contains("among its 2"));
  std::vector<std::string> names;
  for (int i = 0; i < 10'001; ++i) names.push_back("weight" + std::to_string(i));
  const std::string many = named(names);
  CHECK_THROWS_WITH(open(many).shape("weight"), "m.safetensors: no tensor \"weight\" among its 10001");
  names.pop_back();
  const std::string fewer = named(names);
  CHECK_THROWS_WITH(open(fewer).shape("weight"), contains("nearest: \"weight0\""));
}
