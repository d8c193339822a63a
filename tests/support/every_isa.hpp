// Runs a check with each instruction set that this processor has.
#pragma once

#include "cuttle/backend/cpu_simd.hpp"
#include "tests/support/catch.hpp"

namespace cuttle_test {

template <class Body>
void on_every_isa(Body body) {
  struct Restore {
    cuttle::cpu::Isa before = cuttle::cpu::isa();
    ~Restore() { cuttle::cpu::set_isa(before); }
  } restore;
  for (cuttle::cpu::Isa isa : {cuttle::cpu::Isa::baseline, cuttle::cpu::Isa::avx2, cuttle::cpu::Isa::avx512})
    if (isa <= cuttle::cpu::detail::widest_isa()) {
      cuttle::cpu::set_isa(isa);
      INFO("instruction set " << static_cast<int>(isa) << " (baseline 0, avx2 1, avx512 2)");
      body();
    }
}

}  // namespace cuttle_test
