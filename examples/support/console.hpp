// What the programs share in talking to people: a progress line, one way out for errors, JSON with stable members.
#pragma once

#include <unistd.h>

#include <chrono>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <filesystem>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>

#include "cuttle/core/device.hpp"
#include "cuttle/core/parallel.hpp"
#include "cuttle/io/file.hpp"
#include "cuttle/io/json.hpp"

namespace console {

inline std::string duration(double seconds) {
  const auto s = static_cast<long>(seconds + 0.5);
  char text[32];
  if (s >= 3600)
    std::snprintf(text, sizeof text, "%ld h %02ld min", s / 3600, s / 60 % 60);
  else if (s >= 60)
    std::snprintf(text, sizeof text, "%ld min %02ld s", s / 60, s % 60);
  else
    std::snprintf(text, sizeof text, "%ld s", s);
  return text;
}

// Progress on stderr: one line that is rewritten on a terminal, a line every half minute in a log.
class Progress {
 public:
  // before: how much was done earlier, which takes no part in the estimate of the time left.
  explicit Progress(std::string what, std::int64_t before = 0) : what_(std::move(what)), before_(before) {}
  ~Progress() { finish(); }

  void show(std::int64_t done, std::int64_t total, const std::string& detail = "") {
    const auto now = Clock::now();
    const bool last = done == total;
    if (!last && now - shown_ < (terminal_ ? std::chrono::milliseconds(200) : std::chrono::milliseconds(30000))) return;
    shown_ = now;
    const double seconds = std::chrono::duration<double>(now - start_).count();
    const double left = seconds / static_cast<double>(done - before_) * static_cast<double>(total - done);
    std::fprintf(stderr, "%s%s %lld/%lld%s%s, %s %s%s", terminal_ ? "\r\033[K" : "", what_.c_str(),
                 static_cast<long long>(done), static_cast<long long>(total), detail.empty() ? "" : "  ",
                 detail.c_str(), duration(last ? seconds : left).c_str(), last ? "in all" : "left",
                 terminal_ ? "" : "\n");
    open_ = terminal_;
  }
  // Ends the line, so that something else can be printed.
  void finish() {
    if (open_) std::fputc('\n', stderr);
    open_ = false;
  }
  double seconds() const { return std::chrono::duration<double>(Clock::now() - start_).count(); }

 private:
  using Clock = std::chrono::steady_clock;
  std::string what_;
  std::int64_t before_;
  bool terminal_ = ::isatty(STDERR_FILENO) != 0, open_ = false;
  Clock::time_point start_ = Clock::now(), shown_ = start_;
};

// Throws now rather than after an hour's work where a file could not be written in the end.
inline void require_writable(const std::filesystem::path& path) {
  if (path.empty() || path == "-") return;
  const std::filesystem::path folder = path.has_parent_path() ? path.parent_path() : ".";
  if (!std::filesystem::is_directory(folder)) throw cuttle::IoError(path.string(), "its folder does not exist");
  if (std::filesystem::is_directory(path)) throw cuttle::IoError(path.string(), "is a folder");
  if (::access(folder.c_str(), W_OK) != 0) throw cuttle::IoError(path.string(), "its folder cannot be written to");
}

// What --threads (0: all cores) and --device ask for.
inline cuttle::Device use(int threads, const std::string& name) {
  if (threads) cuttle::set_num_threads(threads);
  return cuttle::parse_device(name);
}

// null where there is no number, or one that JSON cannot hold.
inline cuttle::Json json_or_null(const std::optional<double>& value) {
  return value && std::isfinite(*value) ? cuttle::Json(*value) : cuttle::Json();
}

// What stands in the buffer is on its way, or there is an error: a full disk must not look like success.
inline void flush_standard_output() {
  if (std::fflush(stdout) != 0 || std::ferror(stdout)) throw cuttle::IoError("standard output", "cannot be written to");
}

// "-" is standard output.
inline void write_text(const std::filesystem::path& path, const std::string& text) {
  if (path == "-") {
    std::fwrite(text.data(), 1, text.size(), stdout);
    return flush_standard_output();
  }
  const std::span<const std::byte> part = std::as_bytes(std::span(text));
  cuttle::write_file_atomically(path, std::span(&part, 1));
}
inline void write_json(const std::filesystem::path& path, const cuttle::Json& value) {
  write_text(path, value.dump(2) + "\n");
}

// Somebody wanted the program to end, and it did so in an orderly way.
struct Stopped : std::runtime_error {
  Stopped(int by_signal, const std::string& what) : std::runtime_error(what), signal(by_signal) {}
  int signal;
};

// Runs a program's body; an exception becomes one line on stderr and status 2, or that of the signal that stopped it.
template <class Body>
int run(const char* program, Body&& body) {
  try {
    return body();
  } catch (const Stopped& stopped) {
    std::fprintf(stderr, "%s: %s\n", program, stopped.what());
    return 128 + stopped.signal;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s: %s\n", program, error.what());
    return 2;
  }
}

}  // namespace console
