#include "cuttle/io/json.hpp"
#include "tests/fuzz/target.hpp"

using cuttle::Json;

CUTTLE_FUZZ_TARGET(json, nullptr) {
  const Json value = Json::parse(cuttle_test::text_of(input));
  for (const int indent : {0, 2})
    cuttle_test::fuzz_check(Json::parse(value.dump(indent)) == value, "a value is not what was written of it");
  if (value.is_object())
    for (const auto& [name, member] : value.object())
      cuttle_test::fuzz_check(value.at(name) == member, "a member is not found by its name");
}
