// gumbel_shrinkage of R rows of 200 scores, forward and backward: bound by memory where R is large.
#include <memory>

#include "bench/support/harness.hpp"
#include "cuttle/ops/gumbel_shrinkage.hpp"
#include "tests/ops/shrinkage_oracle.hpp"

namespace cuttle_bench {
namespace {

constexpr std::int64_t M = 200;

Case shrinkage_case(Device device, std::int64_t R, bool backward) {
  struct State {
    Tensor<float> scores, dweights, out;
  };
  auto s = std::make_shared<State>(State{normal({R, M}, 1, 3).to(device), {}, {}});
  if (backward) s->dweights = normal({R, M}, 2).to(device);
  const auto check = [s, R, backward] {
    const auto scores = on_host(s->scores), dweights = on_host(s->dweights), out = on_host(s->out);
    for_some(R, [&](std::int64_t r) {
      const auto row = [r](const Tensor<float>& x) {
        return cuttle_test::Row(x.data() + r * M, x.data() + (r + 1) * M);
      };
      const cuttle::Shrinkage shrinkage;
      const cuttle_test::Row expected =
          backward ? cuttle_test::shrinkage_gradient_oracle(row(scores), row(dweights), shrinkage)
                   : cuttle_test::shrinkage_oracle(row(scores), shrinkage);
      for (std::int64_t i = 0; i < M; ++i)
        check_value("gumbel_shrinkage", r * M + i, as_double(out.data()[r * M + i]),
                    expected[static_cast<std::size_t>(i)], 1e-5);
    });
  };
  return {.run =
              [s, backward] {
                s->out = backward ? cuttle::gumbel_shrinkage_backward(s->scores, s->dweights)
                                  : cuttle::gumbel_shrinkage(s->scores);
              },
          .check = check,
          .bytes = (backward ? 12.0 : 8.0) * static_cast<double>(R * M),
          .flop = 30.0 * static_cast<double>(R * M)};
}

const bool added = [] {
  for (const bool backward : {false, true})
    for (const std::int64_t R : {64, 65536, 1048576})
      add(
          cuttle::concat("gumbel_shrinkage/", backward ? "backward" : "forward", "/R=", R, "/M=", M),
          [=](Device device) { return shrinkage_case(device, R, backward); },
          R > 100000 ? Where::cuda : Where::everywhere);
  return true;
}();

}  // namespace
}  // namespace cuttle_bench
