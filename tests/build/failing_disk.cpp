// Preloaded, makes one call of write, fsync or renameat fail with ENOSPC: the one whose number CUTTLE_FAIL says,
// counted from 1 over all three in files other than the standard streams. CUTTLE_CALLS names a file for how many there
// were in the end.
#include <dlfcn.h>
#include <fcntl.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdio>
#include <cstdlib>

namespace {

std::atomic<long> calls{0};

bool fails() {
  const char* const which = std::getenv("CUTTLE_FAIL");
  const long call = ++calls;
  if (!which || call != std::atol(which)) return false;
  errno = ENOSPC;
  return true;
}

template <class F>
F* original(const char* name) {
  return reinterpret_cast<F*>(dlsym(RTLD_NEXT, name));
}

struct Report {
  ~Report() {
    const char* const path = std::getenv("CUTTLE_CALLS");
    if (!path) return;
    if (std::FILE* file = std::fopen(path, "w")) {
      std::fprintf(file, "%ld\n", calls.load());
      std::fclose(file);
    }
  }
} report;

}  // namespace

extern "C" {

ssize_t write(int fd, const void* from, size_t n) {
  static const auto real = original<ssize_t(int, const void*, size_t)>("write");
  return fd > 2 && fails() ? -1 : real(fd, from, n);
}

int fsync(int fd) {
  static const auto real = original<int(int)>("fsync");
  return fails() ? -1 : real(fd);
}

int renameat(int from_folder, const char* from, int to_folder, const char* to) {
  static const auto real = original<int(int, const char*, int, const char*)>("renameat");
  return fails() ? -1 : real(from_folder, from, to_folder, to);
}
}
