#include "cuttle/io/file.hpp"

#include <signal.h>
#include <sys/resource.h>

#include <array>
#include <fstream>

#include "tests/support/catch.hpp"
#include "tests/support/temporary_folder.hpp"

using namespace cuttle;
using cuttle_test::TemporaryFolder;

namespace {

std::string slurp(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

std::size_t entries(const TemporaryFolder& folder) {
  return static_cast<std::size_t>(std::distance(std::filesystem::directory_iterator(folder.path()), {}));
}

template <class Action>
std::string io_error_of(const std::filesystem::path& path, Action&& action) {
  try {
    action();
  } catch (const IoError& error) {
    CHECK(error.path() == path.string());
    CHECK(std::string(error.what()).substr(0, path.string().size()) == path.string());
    return error.what();
  }
  return "no error";
}

// Files cannot grow beyond a few bytes while this lives: the nearest to a full disk that needs no rights.
class FullDisk {
 public:
  explicit FullDisk(rlim_t bytes) : handler_(::signal(SIGXFSZ, SIG_IGN)) {
    ::getrlimit(RLIMIT_FSIZE, &before_);
    const rlimit limit{bytes, before_.rlim_max};
    ::setrlimit(RLIMIT_FSIZE, &limit);
  }
  ~FullDisk() {
    ::setrlimit(RLIMIT_FSIZE, &before_);
    ::signal(SIGXFSZ, handler_);
  }

 private:
  sighandler_t handler_;
  rlimit before_;
};

}  // namespace

TEST_CASE("write_file_atomically, read_file and MappedFile agree on the bytes", "[io]") {
  const TemporaryFolder folder;
  const auto path = folder / "file.bin";
  for (const std::size_t size : {0u, 1u, 4095u, 4096u, 4097u, 100'003u}) {
    std::string contents(size, '\0');
    for (std::size_t i = 0; i < size; ++i) contents[i] = static_cast<char>(i * 131 % 251);
    write_file_atomically(path, contents);
    CHECK(slurp(path) == contents);
    CHECK(read_file(path) == contents);
    const MappedFile mapped(path);
    REQUIRE(mapped.bytes().size() == size);
    CHECK(std::equal(contents.begin(), contents.end(), reinterpret_cast<const char*>(mapped.bytes().data())));
  }
  CHECK(entries(folder) == 1);
}

TEST_CASE("write_file_atomically joins its parts in order", "[io]") {
  const TemporaryFolder folder;
  const auto path = folder / "parts";
  const std::string big(300'001, 'x');
  const auto bytes = [](std::string_view text) { return std::as_bytes(std::span(text)); };
  const std::array parts{bytes("head"), bytes(""), bytes(big), bytes("tail")};
  write_file_atomically(path, parts);
  CHECK(slurp(path) == "head" + big + "tail");
  write_file_atomically(path, std::span(parts).first(0));
  CHECK(slurp(path).empty());
}

TEST_CASE("read_file holds to its limit", "[io]") {
  const TemporaryFolder folder;
  const auto path = folder / "file";
  write_file_atomically(path, std::string(5000, 'a'));
  CHECK(read_file(path, 5000).size() == 5000);
  CHECK(io_error_of(path, [&] { read_file(path, 4999); }) == path.string() + ": larger than the limit of 4999 bytes");
  // An endless file whose size says 0.
  CHECK(io_error_of("/dev/zero", [&] { read_file("/dev/zero", 100'000); }) ==
        "/dev/zero: larger than the limit of 100000 bytes");
}

TEST_CASE("files that cannot be read are named with the reason", "[io]") {
  const TemporaryFolder folder;
  const auto missing = folder / "missing";
  CHECK(io_error_of(missing, [&] { read_file(missing); }) ==
        missing.string() + ": cannot open: No such file or directory");
  CHECK(io_error_of(missing, [&] { MappedFile{missing}; }) ==
        missing.string() + ": cannot open: No such file or directory");
  CHECK(io_error_of(folder.path(), [&] { read_file(folder.path()); }) ==
        folder.path().string() + ": cannot read: Is a directory");
  CHECK(io_error_of(folder.path(), [&] { MappedFile{folder.path()}; }) ==
        folder.path().string() + ": cannot read: Is a directory");
  CHECK(io_error_of("/dev/zero", [&] { MappedFile{"/dev/zero"}; }) == "/dev/zero: cannot map: not a regular file");
}

TEST_CASE("a mapped file keeps its contents while it is replaced, and moves", "[io]") {
  const TemporaryFolder folder;
  const auto path = folder / "file";
  write_file_atomically(path, "old contents");
  MappedFile first(path);
  write_file_atomically(path, "new");
  CHECK(static_cast<char>(first.bytes()[0]) == 'o');
  MappedFile second(std::move(first));
  CHECK(second.bytes().size() == 12);
  second = MappedFile(path);
  CHECK(second.bytes().size() == 3);
  CHECK(static_cast<char>(second.bytes()[2]) == 'w');
}

TEST_CASE("a failed write leaves the old file and nothing else", "[io]") {
  const TemporaryFolder folder;
  const auto path = folder / "model";
  write_file_atomically(path, "the old model");
  const std::string big(1 << 20, 'n');
  const std::string error = io_error_of(path, [&] {
    const FullDisk full(65536);
    write_file_atomically(path, big);
  });
  CHECK(error == path.string() + ": cannot write: File too large");
  CHECK(slurp(path) == "the old model");
  CHECK(entries(folder) == 1);

  const auto fresh = folder / "fresh";
  io_error_of(fresh, [&] {
    const FullDisk full(65536);
    write_file_atomically(fresh, big);
  });
  CHECK_FALSE(std::filesystem::exists(fresh));
  CHECK(entries(folder) == 1);
  write_file_atomically(path, big);
  CHECK(slurp(path) == big);
}

TEST_CASE("targets that cannot be written are refused before anything is written", "[io]") {
  const TemporaryFolder folder;
  const auto write = [](const std::filesystem::path& path) {
    return io_error_of(path, [&] { write_file_atomically(path, "text"); });
  };
  const auto in_missing = folder / "no" / "such" / "folder";
  CHECK(write(in_missing) == in_missing.string() + ": cannot write: No such file or directory");
  CHECK(write(folder.path()) == folder.path().string() + ": cannot write: Is a directory");
  CHECK(write(folder / "") == (folder / "").string() + ": cannot write: Is a directory");
  CHECK(write("/dev/full") == "/dev/full: cannot write: not a regular file");
  write_file_atomically(folder / "plain", "x");
  const auto below_file = folder / "plain" / "below";
  CHECK(write(below_file) == below_file.string() + ": cannot write: Not a directory");
  const auto long_name = folder / std::string(300, 'x');
  CHECK(write(long_name) == long_name.string() + ": cannot write: File name too long");
  std::filesystem::create_symlink("loop", folder / "loop");
  CHECK(write(folder / "loop").find("symbolic links") != std::string::npos);
  CHECK(entries(folder) == 2);
}

TEST_CASE("replacing keeps permissions and follows symbolic links", "[io]") {
  namespace fs = std::filesystem;
  const TemporaryFolder folder;
  write_file_atomically(folder / "target", "old");
  fs::permissions(folder / "target", fs::perms::owner_read | fs::perms::owner_write);
  fs::create_symlink("target", folder / "link");
  write_file_atomically(folder / "link", "new");
  CHECK(fs::is_symlink(folder / "link"));
  CHECK_FALSE(fs::is_symlink(folder / "target"));
  CHECK(slurp(folder / "target") == "new");
  CHECK(fs::status(folder / "target").permissions() == (fs::perms::owner_read | fs::perms::owner_write));
}
