// What the programs read from their command lines themselves, and lists. The first byte says which it is.
#include <sstream>

#include "cuttle/core/device.hpp"
#include "cuttle/models/squid_config.hpp"
#include "examples/support/groups.hpp"
#include "examples/support/range.hpp"
#include "tests/fuzz/target.hpp"

CUTTLE_FUZZ_TARGET(options, nullptr) {
  if (input.empty()) return;
  const std::string text(cuttle_test::text_of(input.subspan(1)));
  switch (std::to_integer<int>(input[0]) % 4) {
    case 0: {
      const auto range = console::parse_range(text);
      if (!range) return;
      cuttle_test::fuzz_check(range->first >= 0 && range->first < range->second, "an empty range");
      const auto again = console::parse_range(std::to_string(range->first) + ':' + std::to_string(range->second));
      cuttle_test::fuzz_check(again == range, "a range is not what was written of it");
      return;
    }
    case 1: {
      const cuttle::Device device = cuttle::parse_device(text);
      cuttle_test::fuzz_check(device.index >= 0, "a device below 0");
      return;
    }
    case 2: {
      const std::vector<cuttle::Sample> samples{{"set/a.png", {}, {}, {}}, {"set/b/c.png", {}, {}, {}}};
      std::istringstream lines(text);
      const auto groups = console::groups_in(lines, "list", samples, "set");
      cuttle_test::fuzz_check(groups.size() == 2 && groups[0] == 0 && groups[1] <= 1, "groups of no number");
      return;
    }
    default:
      cuttle::SquidConfig::named(text).check();
  }
}
