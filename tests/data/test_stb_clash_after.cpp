// A user's copy of stb_image with external linkage, after ours, in a second translation unit of the same program.
#include "cuttle/data/image.hpp"

#if defined(STBI_INCLUDE_STB_IMAGE_H) || defined(STB_IMAGE_STATIC) || defined(STBI_ONLY_PNG) || defined(stbi__err)
#error "macros of cuttle's stb_image leak"
#endif

#if defined(__GNUC__)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wunused-function"
#pragma GCC diagnostic ignored "-Wunused-parameter"
#pragma GCC diagnostic ignored "-Wconversion"
#pragma GCC diagnostic ignored "-Wsign-conversion"
#pragma GCC diagnostic ignored "-Wshadow"
#pragma GCC diagnostic ignored "-Wextra"
#endif
#define STB_IMAGE_IMPLEMENTATION
#include <stb_image.h>
#if defined(__GNUC__)
#pragma GCC diagnostic pop
#endif

#include "tests/data/image_fixtures.hpp"
#include "tests/support/catch.hpp"

TEST_CASE("image: a user's stb_image after ours reads all its formats") {
  const auto png = cuttle_test::from_hex(cuttle_test::png_1x1);
  int width = 0, height = 0, channels = 0;
  unsigned char* user = stbi_load_from_memory(reinterpret_cast<const unsigned char*>(png.data()),
                                              static_cast<int>(png.size()), &width, &height, &channels, 0);
  REQUIRE(user != nullptr);
  CHECK(user[0] == 42);
  stbi_image_free(user);
  CHECK(cuttle::decode_image(png, "pixel").item() == 42);
}
