// What list_images finds in each kind of folder, and what load_images does with good and bad files.
#include "cuttle/data/folder.hpp"

#include <fstream>

#include "tests/data/image_fixtures.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/shared.hpp"
#include "tests/support/temporary_folder.hpp"

using namespace cuttle;
namespace fs = std::filesystem;

namespace {

void write(const fs::path& path, const Image& image) {
  fs::create_directories(path.parent_path());
  write_png(path, image);
}
void write_text(const fs::path& path, const std::string& text) {
  fs::create_directories(path.parent_path());
  std::ofstream(path, std::ios::binary) << text;
}

Image flat(int value) { return Image::full({6, 8, 1}, static_cast<std::uint8_t>(value)); }

// "relative path:label" of each sample.
std::vector<std::string> names(const std::vector<Sample>& samples, const fs::path& root) {
  std::vector<std::string> out;
  for (const Sample& s : samples)
    out.push_back(s.path.lexically_relative(root).generic_string() + ":" + std::to_string(static_cast<int>(s.label)));
  return out;
}

std::string error_of(const auto& action) {
  try {
    action();
  } catch (const IoError& error) {
    return error.what();
  }
  return "";
}
bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

using Names = std::vector<std::string>;

}  // namespace

TEST_CASE("list_images: an MVTec tree") {
  const cuttle_test::TemporaryFolder folder;
  const fs::path root = folder.path();
  for (const char* name : {"train/good/b.png", "train/good/a.PNG", "train/other/z.png", "test/good/0.png",
                           "test/scratch/10.png", "test/scratch/9.png", "test/Dent/0.png", "test/dent.png"})
    write(root / name, flat(10));
  write_text(root / "train/good/notes.txt", "no image");
  write_text(root / "train/good/.hidden.png", "no image");
  fs::create_directories(root / "test/empty");

  const auto train = list_images(root, Split::train);
  CHECK(names(train, root) == Names{"train/good/a.PNG:0", "train/good/b.png:0"});
  CHECK(train[0].kind == "good");
  // Byte order: capitals before small letters, "10" before "9".
  auto test = list_images(root, Split::test);
  CHECK(names(test, root) ==
        Names{"test/Dent/0.png:1", "test/good/0.png:0", "test/scratch/10.png:1", "test/scratch/9.png:1"});
  CHECK(test[2].kind == "scratch");
  for (const Sample& sample : test) CHECK(sample.mask.empty());

  write(root / "ground_truth/scratch/10_mask.png", flat(255));
  write(root / "ground_truth/scratch/9.png", flat(255));
  test = list_images(root, Split::test);
  CHECK(test[0].mask == root / "ground_truth/Dent/0_mask.png");  // expected, though it is not there
  CHECK(test[1].mask.empty());
  CHECK(test[2].mask == root / "ground_truth/scratch/10_mask.png");
  CHECK(test[3].mask == root / "ground_truth/scratch/9.png");

  fs::remove_all(root / "train");
  CHECK(contains(error_of([&] { list_images(root, Split::train); }), "train"));
}

TEST_CASE("list_images: a plain tree, files alone, one file") {
  const cuttle_test::TemporaryFolder folder;
  const fs::path tree = folder.path() / "tree", files = folder.path() / "files";
  for (const char* name : {"good/0.png", "bad/0.png", "ugly/1.png", "ground_truth/bad/0_mask.png"})
    write(tree / name, flat(10));
  CHECK(names(list_images(tree, Split::train), tree) == Names{"good/0.png:0"});
  const auto test = list_images(tree, Split::test);
  CHECK(names(test, tree) == Names{"bad/0.png:1", "good/0.png:0", "ugly/1.png:1"});
  CHECK(test[0].mask == tree / "ground_truth/bad/0_mask.png");

  for (const char* name : {"2.png", "1.png", "sub/3.png"}) write(files / name, flat(10));
  CHECK(names(list_images(files, Split::train), files) == Names{"1.png:0", "2.png:0"});
  CHECK(names(list_images(files, Split::test), files) == Names{"1.png:-1", "2.png:-1"});
  CHECK(names(list_images(files / "2.png", Split::test), files) == Names{"2.png:-1"});
  CHECK(names(list_images(files / "2.png", Split::train), files) == Names{"2.png:0"});
}

TEST_CASE("list_images: nothing to be found is an error that names the folder") {
  const cuttle_test::TemporaryFolder folder;
  const fs::path root = folder.path();
  CHECK(error_of([&] { list_images(root / "none", Split::test); }) == (root / "none").string() + ": does not exist");
  CHECK(contains(error_of([&] { list_images(root, Split::test); }), root.string() + ": holds no image"));
  write_text(root / "readme.txt", "text");
  fs::create_directories(root / "folder");
  CHECK(contains(error_of([&] { list_images(root, Split::test); }), "holds no image"));
  fs::create_directories(root / "good");
  CHECK(contains(error_of([&] { list_images(root, Split::train); }), (root / "good").string() + ": holds no image"));
  CHECK(contains(error_of([&] { list_images(root, Split::test); }), "holds no image"));
}

TEST_CASE("load_images: resized, three channels, in order, with masks") {
  const cuttle_test::TemporaryFolder folder;
  const fs::path root = folder.path();
  Image half = Image::zeros({6, 8, 1});
  for (std::int64_t i = 0; i < half.numel(); ++i) half.data()[i] = i % 8 < 4 ? 255 : 0;
  write(root / "good/0.png", flat(50));
  write(root / "bad/0.png", flat(200));
  write(root / "ground_truth/bad/0_mask.png", half);
  const auto samples = list_images(root, Split::test);
  std::vector<std::int64_t> seen;
  const ImageSet set =
      load_images(samples, {.size = 33, .masks = true, .progress = [&](std::int64_t done, std::int64_t total) {
                              seen.push_back(10 * total + done);
                            }});
  CHECK(set.images.shape() == Shape{2, 33, 33, 3});
  CHECK(set.masks.shape() == Shape{2, 33, 33});
  CHECK(seen == std::vector<std::int64_t>{21, 22});
  CHECK(set.samples.size() == 2);
  const std::int64_t plane = 33 * 33;
  for (std::int64_t i = 0; i < 3 * plane; ++i) {
    REQUIRE(set.images.data()[i] == 200);
    REQUIRE(set.images.data()[3 * plane + i] == 50);
  }
  for (std::int64_t y = 0; y < 33; ++y)
    for (std::int64_t x = 0; x < 33; ++x) {
      if (x != 16) REQUIRE(set.masks.data()[y * 33 + x] == (x < 16));
      REQUIRE(set.masks.data()[plane + y * 33 + x] == 0);
    }
  CHECK(!load_images(samples, {.size = 33}).masks.defined());
}

TEST_CASE("load_images: a bad file stops with its name, or is skipped and reported") {
  const cuttle_test::TemporaryFolder folder;
  const fs::path root = folder.path();
  for (int i = 0; i < 5; ++i) write(root / ("good/" + std::to_string(i) + ".png"), flat(40 * i));
  auto bytes = read_file(root / "good/3.png");
  write_text(root / "good/1.png", bytes.substr(0, bytes.size() / 2));
  write_text(root / "good/3.png", "");
  const auto samples = list_images(root, Split::train);
  CHECK(contains(error_of([&] { load_images(std::span(samples).first(2), {.size = 16}); }), "1.png: truncated"));
  const ImageSet set = load_images(samples, {.size = 16, .bad_file = BadFile::skip});
  REQUIRE(set.images.shape() == Shape{3, 16, 16, 3});
  REQUIRE(set.samples.size() == 3);
  for (std::int64_t i = 0; i < 3; ++i) {
    CHECK(set.images.data()[i * 16 * 16 * 3] == 80 * i);
    CHECK(set.samples[static_cast<std::size_t>(i)].path.filename() == std::to_string(2 * i) + ".png");
  }
  REQUIRE(set.skipped.size() == 2);
  CHECK(set.skipped[0].path == root / "good/1.png");
  CHECK(contains(set.skipped[0].reason, "truncated"));
  CHECK(contains(set.skipped[1].reason, "3.png: is empty"));
  // Nothing left is an error under either rule.
  const std::vector<Sample> bad{samples[1], samples[3]};
  CHECK(contains(error_of([&] { load_images(bad, {.size = 16, .bad_file = BadFile::skip}); }), "none of 2"));
  CHECK_THROWS_AS(load_images({}, {}), Error);
  CHECK_THROWS_AS(load_images(samples, {.size = 0}), Error);
}

TEST_CASE("load_images: a mask that is missing or of another size") {
  const cuttle_test::TemporaryFolder folder;
  const fs::path root = folder.path();
  write(root / "good/0.png", flat(1));
  write(root / "bad/0.png", flat(1));
  write(root / "bad/1.png", flat(1));
  write(root / "ground_truth/bad/0_mask.png", Image::zeros({8, 6, 1}));
  const auto samples = list_images(root, Split::test);
  CHECK(contains(error_of([&] { load_images(std::span(samples).first(1), {.size = 16, .masks = true}); }),
                 "0_mask.png: the mask is 8 x 6"));
  CHECK(contains(error_of([&] { load_images(std::span(samples).subspan(1), {.size = 16, .masks = true}); }),
                 "1_mask.png"));
  const ImageSet set = load_images(samples, {.size = 16, .masks = true, .bad_file = BadFile::skip});
  CHECK(set.samples.size() == 1);
  CHECK(set.skipped.size() == 2);
  CHECK(load_images(samples, {.size = 16}).samples.size() == 3);  // without masks there is nothing wrong
}

TEST_CASE("load_images: what the progress callback throws ends the loading") {
  const cuttle_test::TemporaryFolder folder;
  for (int i = 0; i < 4; ++i) write(folder.path() / (std::to_string(i) + ".png"), flat(i));
  const auto samples = list_images(folder.path(), Split::train);
  CHECK_THROWS_AS(
      load_images(samples,
                  {.size = 16, .progress = [](std::int64_t, std::int64_t) { throw std::logic_error("stop"); }}),
      std::logic_error);
}

TEST_CASE("load_images: the magnetic-tile set") {
  const fs::path root = cuttle_test::shared_folder() / "data/magnetic_tile";
  if (!fs::is_directory(root)) CUTTLE_SKIP("the magnetic tiles, which are not here");
  CHECK(list_images(root, Split::train).size() == 640);
  const auto test = list_images(root, Split::test);
  CHECK(test.size() == 354);
  const auto first_defect =
      std::find_if(test.begin(), test.end(), [](const Sample& s) { return s.label == Label::anomalous; });
  REQUIRE(first_defect != test.end());
  const ImageSet set = load_images({&*first_defect, 1}, {.size = 256, .masks = true});
  const auto marked = std::count(set.masks.data(), set.masks.data() + set.masks.numel(), 1);
  CHECK((marked > 0 && marked < 256 * 256 / 2));
}
