// Prints what devices a part of the program sees, if this file, with the library's headers of its own, sees the same.
#include <cstdio>
#include <cuttle/cuttle.hpp>

#include "devices.hpp"

int main() {
  std::string seen;
  try {
    seen = cuttle::concat(cuttle::parse_device("cuda:0"));
  } catch (const cuttle::Error& error) {
    seen = error.what();
  }
  if (seen != devices()) return std::printf("main sees '%s', devices() '%s'\n", seen.c_str(), devices().c_str()), 1;
  std::puts(seen.c_str());
}
