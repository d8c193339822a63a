// Labelled images as safetensors files.
#include "cuttle/data/labelled_images.hpp"

#include <map>

#include "tests/support/catch.hpp"
#include "tests/support/random_tensor.hpp"
#include "tests/support/shared.hpp"
#include "tests/support/temporary_folder.hpp"

using namespace cuttle;
using cuttle_test::contains;
using cuttle_test::TemporaryFolder;

namespace {

LabelledImages some(std::int64_t channels) {
  return {cuttle_test::integer_tensor<std::uint8_t>({3, 4, 5, channels}, 1, 0, 255),
          {Label::anomalous, Label::normal, Label::unknown},
          {"scratch", "good", "scratch"},
          cuttle_test::integer_tensor<std::uint8_t>({3, 4, 5}, 2, 0, 1)};
}

bool same(const Tensor<std::uint8_t>& a, const Tensor<std::uint8_t>& b) {
  return a.shape() == b.shape() && std::ranges::equal(a.span(), b.span());
}

}  // namespace

TEST_CASE("labelled images: what is written is read back") {
  const TemporaryFolder folder;
  for (const std::int64_t channels : {1, 3}) {
    const LabelledImages set = some(channels);
    write_labelled_images(folder / "set", set);
    const LabelledImages read = read_labelled_images(folder / "set");
    CHECK(same(read.images, set.images));
    CHECK(read.labels == set.labels);
    CHECK(read.kinds == set.kinds);
    CHECK(same(read.masks, set.masks));
  }
  // In the file the channels come before the rows, and kinds are numbered as they appear.
  const SafetensorsFile file(folder / "set");
  CHECK(file.shape("images") == Shape{3, 3, 4, 5});
  const auto images = file.tensor<std::uint8_t>("images");
  CHECK(images.span()[((1 * 3 + 2) * 4 + 3) * 5 + 1] == some(3).images.span()[((1 * 4 + 3) * 5 + 1) * 3 + 2]);
  CHECK(std::ranges::equal(file.tensor<std::int64_t>("kind").span(), std::vector{0, 1, 0}));
  CHECK(file.metadata().at("kinds") == R"(["scratch","good"])");

  LabelledImages bare = some(1);
  bare.kinds.clear();
  bare.masks = {};
  write_labelled_images(folder / "bare", bare);
  const LabelledImages read = read_labelled_images(folder / "bare");
  CHECK(read.kinds.empty());
  CHECK(!read.masks.defined());
}

TEST_CASE("labelled images: each error says what is wrong") {
  const TemporaryFolder folder;
  const auto images = Tensor<std::uint8_t>::zeros({2, 1, 3, 3});
  const auto labels = Tensor<std::int64_t>::from({2}, {0, 1});
  const auto error = [&](const SafetensorsWriter& writer) -> std::string {
    writer.write(folder / "set");
    try {
      read_labelled_images(folder / "set");
    } catch (const IoError& e) {
      CHECK(e.path() == (folder / "set").string());
      return e.what();
    }
    return "accepted";
  };
  const auto writer = [] { return SafetensorsWriter(); };
  const auto good = [&] { return writer().add("images", images).add("labels", labels); };
  const auto kind = Tensor<std::int64_t>::from({2}, {0, 4});
  CHECK(error(good()) == "accepted");
  CHECK_THAT(error(writer().add("labels", labels)), contains("no tensor \"images\""));
  CHECK_THAT(error(writer().add("images", images)), contains("no tensor \"labels\""));
  CHECK_THAT(error(writer().add("images", Tensor<float>::zeros({2, 1, 3, 3})).add("labels", labels)),
             contains("\"images\" is F32"));
  CHECK_THAT(error(writer().add("images", images).add("labels", images.reshape({18}))), contains("\"labels\" is U8"));
  CHECK_THAT(error(writer().add("images", images.reshape({2, 3, 3})).add("labels", labels)),
             contains("images has shape [2, 3, 3]"));
  CHECK_THAT(error(writer().add("images", images.reshape({2, 3, 3, 1}).reshape({1, 9, 2, 1})).add("labels", labels)),
             contains("images has shape [1, 9, 2, 1]"));
  CHECK_THAT(error(writer().add("images", Tensor<std::uint8_t>::zeros({0, 1, 3, 3})).add("labels", labels)),
             contains("images has shape [0, 1, 3, 3]"));
  CHECK_THAT(error(writer().add("images", images).add("labels", Tensor<std::int64_t>::zeros({3}))),
             contains("labels has shape [3], images [2, 1, 3, 3]"));
  CHECK_THAT(error(writer().add("images", images).add("labels", Tensor<std::int64_t>::from({2}, {0, 2}))),
             contains("a label is 2"));
  CHECK_THAT(error(good().add("kind", Tensor<std::int64_t>::zeros({1}))), contains("kind has shape [1]"));
  CHECK_THAT(error(good().add("kind", kind).set_metadata("kinds", R"(["a","b"])")),
             contains("kind 4 is not one of the 2"));
  CHECK_THAT(error(good().add("kind", kind).set_metadata("kinds", "[1]")), contains("metadata \"kinds\": "));
  CHECK_THAT(error(good().add("kind", kind).set_metadata("kinds", "[")), contains("metadata \"kinds\": "));
  CHECK_THAT(error(good().add("masks", Tensor<std::uint8_t>::zeros({2, 3, 4}))), contains("masks has shape [2, 3, 4]"));
  // Kinds without names keep their numbers.
  good().add("kind", kind).write(folder / "set");
  CHECK(read_labelled_images(folder / "set").kinds == std::vector<std::string>{"0", "4"});

  const auto refused = [&](auto change) {
    LabelledImages set = some(1);
    change(set);
    CHECK_THROWS_WITH(write_labelled_images(folder / "not", set), contains("write_labelled_images: "));
    CHECK(!std::filesystem::exists(folder / "not"));
  };
  refused([](LabelledImages& set) { set.images = set.images.reshape({3, 20}); });
  refused([](LabelledImages& set) { set.labels.pop_back(); });
  refused([](LabelledImages& set) { set.kinds.pop_back(); });
  refused([](LabelledImages& set) { set.masks = set.masks.reshape({3, 5, 4}); });
}

TEST_CASE("labelled images: DigitAnatomy's test set") {
  const auto path = cuttle_test::shared_folder() / "fixtures" / "squid" / "digit_test_96.safetensors";
  if (!std::filesystem::exists(path)) CUTTLE_SKIP("digit_test_96.safetensors, which is not here");
  const LabelledImages set = read_labelled_images(path);
  CHECK(set.images.shape() == Shape{200, 96, 96, 1});
  CHECK(!set.masks.defined());
  REQUIRE(set.kinds.size() == 200);
  std::map<std::string, int> count;
  for (std::size_t i = 0; i < 200; ++i) {
    ++count[set.kinds[i]];
    CHECK((set.labels[i] == Label::normal) == (set.kinds[i] == "normal"));
  }
  CHECK(count == std::map<std::string, int>{
                     {"normal", 100}, {"missing", 25}, {"misordered", 25}, {"flipped", 25}, {"novel", 25}});
}
