// The steps of a training, with somebody who watches and somebody who may stop it.
#pragma once

#include <stop_token>

namespace cuttle {

// Makes the steps that are left of trainer.recipe().steps, of a trainer of any method (models/checkpoint.hpp says what
// one has). progress(losses) is called after each. Returns true when all are made, false where `stop` was asked for
// before that, which ends it behind the step in hand: the trainer is whole, can be saved, and may be trained on. So it
// is when progress throws, which comes out of here.
template <class Trainer, class Progress>
bool train(Trainer& trainer, Progress&& progress, const std::stop_token& stop = {}) {
  while (trainer.steps() < trainer.recipe().steps) {
    if (stop.stop_requested()) return false;
    progress(trainer.step());
  }
  return true;
}

}  // namespace cuttle
