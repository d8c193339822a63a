// What the library promises to be the same bits on every build, machine and instruction set, as one number.
#pragma once

#include <cstdint>

std::uint64_t promised_bits();
