// A check of the emulator's own in each of its thread orders.
#pragma once

#include "tests/simt/machine.hpp"
#include "tests/support/catch.hpp"

namespace cuttle_test {

template <class Body>
void in_every_order(Body&& body) {
  using cuttle_simt::Order;
  for (const Order order : {Order::forward, Order::reverse, Order::shuffled_1, Order::shuffled_2}) {
    INFO("order " << static_cast<int>(order) << " (forward 0, reverse 1, shuffled 2 and 3)");
    cuttle_simt::set_order(order);
    body();
  }
  cuttle_simt::set_order(Order::forward);
}

}  // namespace cuttle_test
