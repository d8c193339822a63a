// The version of the library. This header is its only owner: CMakeLists.txt reads it here.
#pragma once

#include <string_view>

#define CUTTLE_VERSION_MAJOR 0
#define CUTTLE_VERSION_MINOR 1
#define CUTTLE_VERSION_PATCH 0

#define CUTTLE_VERSION_TEXT_(major, minor, patch) #major "." #minor "." #patch
#define CUTTLE_VERSION_TEXT(major, minor, patch) CUTTLE_VERSION_TEXT_(major, minor, patch)

namespace cuttle {

// Until 1.0 the minor version changes when code that used the library may have to change, the patch version when not.
inline constexpr int version_major = CUTTLE_VERSION_MAJOR;
inline constexpr int version_minor = CUTTLE_VERSION_MINOR;
inline constexpr int version_patch = CUTTLE_VERSION_PATCH;

// "major.minor.patch".
inline constexpr std::string_view version_string =
    CUTTLE_VERSION_TEXT(CUTTLE_VERSION_MAJOR, CUTTLE_VERSION_MINOR, CUTTLE_VERSION_PATCH);

}  // namespace cuttle

#undef CUTTLE_VERSION_TEXT
#undef CUTTLE_VERSION_TEXT_
