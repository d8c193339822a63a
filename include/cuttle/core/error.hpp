// Errors are exceptions whose text names the operation, the argument, its shape and, for files, the path.
#pragma once

#if defined(__FAST_MATH__)
#error "cuttle promises NaN handling and reproducible bits, which -ffast-math removes; compile without it"
#endif

#include <sstream>
#include <string>

#include "cuttle/seam/error.hpp"

namespace cuttle {

// A file that cannot be read, written or understood; what() starts with the path.
class IoError : public Error {
 public:
  IoError(std::string path, const std::string& reason) : Error(path + ": " + reason), path_(std::move(path)) {}
  const std::string& path() const noexcept { return path_; }

 private:
  std::string path_;
};

// Joins its arguments with operator<<.
template <class... Parts>
std::string concat(const Parts&... parts) {
  std::ostringstream text;
  (text << ... << parts);
  return text.str();
}

// Throws Error with the joined parts unless ok holds. The first part names the operation: require(ok, "conv2d: ...").
template <class... Parts>
inline void require(bool ok, const Parts&... parts) {
  if (!ok) [[unlikely]]
    throw Error(concat(parts...));
}

}  // namespace cuttle
