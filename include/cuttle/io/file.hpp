// Whole files: read, mapped, and written so that a reader finds the old contents or the new, never half of either.
#pragma once

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

#include "cuttle/core/error.hpp"

namespace cuttle {

namespace detail {

[[noreturn]] inline void throw_io(const std::filesystem::path& path, std::string_view what, int error_number) {
  throw IoError(path.string(), concat(what, ": ", std::generic_category().message(error_number)));
}

class FileDescriptor {
 public:
  explicit FileDescriptor(int fd) noexcept : fd_(fd) {}
  FileDescriptor(const FileDescriptor&) = delete;
  FileDescriptor& operator=(const FileDescriptor&) = delete;
  ~FileDescriptor() {
    if (fd_ >= 0) ::close(fd_);
  }

  static int open_to_read(const std::filesystem::path& path, int flags = 0) {
    const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | flags);
    if (fd < 0) throw_io(path, "cannot open", errno);
    return fd;
  }

  int get() const noexcept { return fd_; }
  // Network file systems report a full disk here.
  bool close() noexcept { return ::close(std::exchange(fd_, -1)) == 0; }

 private:
  int fd_;
};

inline struct ::stat status_of(const FileDescriptor& file, const std::filesystem::path& path) {
  struct ::stat status;
  if (::fstat(file.get(), &status) != 0) throw_io(path, "cannot read", errno);
  if (S_ISDIR(status.st_mode)) throw_io(path, "cannot read", EISDIR);
  return status;
}

}  // namespace detail

// The contents of a file (or pipe) of at most max_bytes bytes.
inline std::string read_file(const std::filesystem::path& path, std::uint64_t max_bytes = std::uint64_t{1} << 30) {
  const detail::FileDescriptor file(detail::FileDescriptor::open_to_read(path));
  const auto expected = static_cast<std::uint64_t>(detail::status_of(file, path).st_size);
  std::string contents;
  std::size_t used = 0;
  // One byte of room beyond what is expected, so that one read finds the end as well.
  for (std::size_t room = static_cast<std::size_t>(std::min(expected, max_bytes)) + 1;; room = used) {
    if (used == contents.size()) contents.resize(used + std::max<std::size_t>(room, 4096));
    const ::ssize_t got = ::read(file.get(), contents.data() + used, contents.size() - used);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) detail::throw_io(path, "cannot read", errno);
    if (got == 0) break;
    used += static_cast<std::size_t>(got);
    if (used > max_bytes) throw IoError(path.string(), concat("larger than the limit of ", max_bytes, " bytes"));
  }
  contents.resize(used);
  return contents;
}

// A regular file's contents as read-only memory. The file must not be cut short while it is mapped:
// write_file_atomically never does that, since it replaces the file and leaves the mapped one alone.
class MappedFile {
 public:
  explicit MappedFile(const std::filesystem::path& path) {
    const detail::FileDescriptor file(detail::FileDescriptor::open_to_read(path));
    const auto status = detail::status_of(file, path);
    if (!S_ISREG(status.st_mode)) throw IoError(path.string(), "cannot map: not a regular file");
    const auto size = static_cast<std::size_t>(status.st_size);
    if (size == 0) return;
    void* memory = ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE, file.get(), 0);
    if (memory == MAP_FAILED) detail::throw_io(path, "cannot map", errno);
    bytes_ = {static_cast<const std::byte*>(memory), size};
  }
  MappedFile(MappedFile&& other) noexcept : bytes_(std::exchange(other.bytes_, {})) {}
  MappedFile& operator=(MappedFile&& other) noexcept {
    std::swap(bytes_, other.bytes_);
    return *this;
  }
  ~MappedFile() {
    if (!bytes_.empty()) ::munmap(const_cast<std::byte*>(bytes_.data()), bytes_.size());
  }

  std::span<const std::byte> bytes() const noexcept { return bytes_; }

 private:
  std::span<const std::byte> bytes_;
};

// Makes `path` a file that holds the parts one after the other: written beside it, synced, then renamed over it. On any
// failure (full disk, missing folder, ...) throws IoError, removes what it wrote and leaves an old file as it was. A
// symbolic link to a file is followed, an old file's permissions are kept, and what is no regular file is refused.
inline void write_file_atomically(const std::filesystem::path& path,
                                  std::span<const std::span<const std::byte>> parts) {
  const auto fail = [&path](int error_number = errno) { detail::throw_io(path, "cannot write", error_number); };
  std::error_code error;
  std::filesystem::path target = path;
  if (std::filesystem::is_symlink(path, error)) target = std::filesystem::weakly_canonical(path, error);
  if (error && error != std::errc::no_such_file_or_directory) fail(error.value());
  const std::filesystem::path name = target.filename();
  if (name.empty()) fail(EISDIR);

  const std::filesystem::path parent = target.has_parent_path() ? target.parent_path() : ".";
  const detail::FileDescriptor folder(::open(parent.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (folder.get() < 0) fail();
  struct ::stat old;
  const bool exists = ::fstatat(folder.get(), name.c_str(), &old, 0) == 0;
  if (exists && S_ISDIR(old.st_mode)) fail(EISDIR);
  if (exists && !S_ISREG(old.st_mode)) throw IoError(path.string(), "cannot write: not a regular file");

  static std::atomic<std::uint64_t> counter{0};
  std::string temporary;
  int fd;
  do {
    temporary = concat(".cuttle-", ::getpid(), '-', counter.fetch_add(1), ".tmp");
    fd = ::openat(folder.get(), temporary.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
  } while (fd < 0 && errno == EEXIST);
  if (fd < 0) fail();

  detail::FileDescriptor file(fd);
  struct RemoveUnlessRenamed {
    int folder;
    const char* name;
    ~RemoveUnlessRenamed() {
      if (name) ::unlinkat(folder, name, 0);
    }
  } guard{folder.get(), temporary.c_str()};
  if (exists && ::fchmod(file.get(), old.st_mode & 07777) != 0) fail();
  for (std::span<const std::byte> part : parts) {
    while (!part.empty()) {
      const ::ssize_t written = ::write(file.get(), part.data(), part.size());
      if (written < 0 && errno == EINTR) continue;
      if (written < 0) fail();
      part = part.subspan(static_cast<std::size_t>(written));
    }
  }
  if (::fsync(file.get()) != 0 || !file.close()) fail();
  if (::renameat(folder.get(), temporary.c_str(), folder.get(), name.c_str()) != 0) fail();
  guard.name = nullptr;
  // The new file is in place; some file systems cannot sync a folder.
  if (::fsync(folder.get()) != 0 && errno != EINVAL)
    detail::throw_io(path, "written, but its folder could not be synced", errno);
}

// The same for one part.
inline void write_file_atomically(const std::filesystem::path& path, std::string_view contents) {
  const std::span<const std::byte> part = std::as_bytes(std::span(contents));
  write_file_atomically(path, std::span(&part, 1));
}

}  // namespace cuttle
