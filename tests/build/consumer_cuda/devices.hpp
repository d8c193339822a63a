#pragma once

#include <string>

// The device that `auto` chose, or why there is no cuda:0.
std::string devices();
