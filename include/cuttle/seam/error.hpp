// The exception that everything in the library throws. C++17.
#pragma once

#include <stdexcept>

namespace cuttle {

// Base of everything the library throws itself (std::bad_alloc passes through unchanged). The text names the operation,
// the argument, its shape and, for files, the path.
class Error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

}  // namespace cuttle
