// The folder of fixtures and data sets, which is no part of the repository.
#pragma once

#include <cstdlib>
#include <filesystem>

#include "tests/support/catch.hpp"

namespace cuttle_test {

// $CUTTLE_SHARED, else ../shared beside the working folder or the source tree; an empty path where there is none.
inline std::filesystem::path shared_folder() {
  namespace fs = std::filesystem;
  const auto usable = [](const fs::path& folder) {
    std::error_code ignored;
    return fs::is_directory(folder, ignored);
  };
  if (const char* named = std::getenv("CUTTLE_SHARED")) return usable(named) ? fs::path(named) : fs::path();
  if (usable("../shared")) return "../shared";
#if defined(CUTTLE_SOURCE_DIR)
  if (const fs::path beside = fs::path(CUTTLE_SOURCE_DIR) / ".." / "shared"; usable(beside)) return beside;
#endif
  return {};
}

}  // namespace cuttle_test

// Leaves the test case, counted as skipped, where there is no such folder.
#define CUTTLE_NEED_SHARED_FOLDER() \
  if (cuttle_test::shared_folder().empty()) CUTTLE_SKIP("the shared folder is not here (CUTTLE_SHARED)")
