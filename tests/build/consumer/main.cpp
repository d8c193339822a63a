// Prints the checksum of what has the same bits everywhere.
#include <cstdio>
#include <cuttle/cuttle.hpp>

#include "promised_bits.hpp"

int main() {
  const auto scores = cuttle::Tensor<float>::from({2}, {1, 2});
  if (scores.numel() != 2) return 1;
  std::printf("%016llx\n", static_cast<unsigned long long>(promised_bits()));
}
