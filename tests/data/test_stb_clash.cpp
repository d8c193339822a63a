// A user's own stb_image, with other options, before and after ours: it must compile, keep its options and link.
#define STB_IMAGE_IMPLEMENTATION
#define STB_IMAGE_STATIC
#define STBI_NO_LINEAR
#define STBI_ONLY_PNM
#if defined(__GNUC__)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wunused-function"
#pragma GCC diagnostic ignored "-Wunused-parameter"
#pragma GCC diagnostic ignored "-Wconversion"
#pragma GCC diagnostic ignored "-Wsign-conversion"
#pragma GCC diagnostic ignored "-Wshadow"
#pragma GCC diagnostic ignored "-Wextra"
#endif
#include <stb_image.h>

#include "cuttle/data/image.hpp"

#if !defined(STBI_ONLY_PNM) || defined(STBI_ONLY_PNG) || !defined(STBI_INCLUDE_STB_IMAGE_H) || \
    !defined(STB_IMAGE_IMPLEMENTATION) || STBI_MAX_DIMENSIONS != (1 << 24)
#error "the user's stb_image macros were not restored"
#endif

#if defined(__GNUC__)
#pragma GCC diagnostic pop
#endif

#include "tests/data/image_fixtures.hpp"
#include "tests/support/catch.hpp"

TEST_CASE("image: a user's own stb_image is not disturbed and does not disturb ours") {
  // The user's copy knows PNM alone, ours knows PNG.
  const unsigned char pgm[] = {'P', '5', ' ', '2', ' ', '1', ' ', '2', '5', '5', '\n', 7, 9};
  int width = 0, height = 0, channels = 0;
  unsigned char* user = stbi_load_from_memory(pgm, sizeof pgm, &width, &height, &channels, 0);
  REQUIRE(user != nullptr);
  CHECK((width == 2 && height == 1 && user[0] == 7 && user[1] == 9));
  stbi_image_free(user);
  const auto png = cuttle_test::from_hex(cuttle_test::png_1x1);
  CHECK(stbi_load_from_memory(reinterpret_cast<const unsigned char*>(png.data()), static_cast<int>(png.size()), &width,
                              &height, &channels, 0) == nullptr);
  CHECK(cuttle::decode_image(png, "pixel").item() == 42);
}
