// Adam over one flat array.
#pragma once

#include <cmath>

#include "kernels/indexing.cuh"

namespace cuttle::kernels {

// What a step does to every parameter alike.
template <class T>
struct AdamRates {
  T rate, root;  // learning_rate / (1 - beta1^step), sqrt(1 - beta2^step)
};

// op: adam: g = grad + decay * value; m = beta1 * m + (1 - beta1) * g; v = beta2 * v + (1 - beta2) * g^2; value -=
//     rate * m / (sqrt(v) / root + epsilon), rate and root as above (Kingma, Ba 2015, algorithm 1).
// layout: value, grad, m, v (n); none overlap. state, where not null, one StepState on the device.
// launch: a thread for each pack of N, blocks of 256, striding over the grid.
// order: every element is one thread's, the CPU's operations one by one and each rounded: the CPU's bits, but where a
//     state is given: then one thread a block computes the rates in double with the device's pow, an ulp from the
//     host's.
// limits: N > 1 where every address is a multiple of 16 bytes.
// cost: 7 * sizeof(T) bytes a parameter: copy bandwidth.
template <class T, int N>
CUTTLE_KERNEL adam(seam::AdamArgs<T> a, AdamRates<T> rates) {
  CUTTLE_SHARED(T, shared_rates, 2);
  if (a.state != nullptr) {
    if (threadIdx.x == 0) {
      const Global<const seam::StepState> state = a.state;
      const double step = static_cast<double>(state->step + 1), learning_rate = state->learning_rate;
      shared_rates[0] = static_cast<T>(learning_rate / (1 - pow(a.beta1, step)));
      shared_rates[1] = static_cast<T>(sqrt(1 - pow(a.beta2, step)));
    }
    __syncthreads();
    rates.rate = shared_rates[0];
    rates.root = shared_rates[1];
  }
  const T beta1 = static_cast<T>(a.beta1), beta2 = static_cast<T>(a.beta2);
  const T rest1 = static_cast<T>(1 - a.beta1), rest2 = static_cast<T>(1 - a.beta2);
  const T epsilon = static_cast<T>(a.epsilon), decay = static_cast<T>(a.weight_decay);
  const Global<const T> grad = a.grad;
  const Global<T> value = a.value, m = a.m, v = a.v;
  const auto update = [&](T& p, T gradient, T& first, T& second) {
    const T g = gradient + decay * p;
    first = beta1 * first + rest1 * g;
    second = beta2 * second + rest2 * g * g;
    p -= rates.rate * first / (sqrt(second) / rates.root + epsilon);
  };
  const std::int64_t packs = a.n / N;
  for (std::int64_t i = thread_index(); i < packs; i += thread_count()) {
    Pack<T, N> p = load_pack<N>(value + i * N), first = load_pack<N>(m + i * N), second = load_pack<N>(v + i * N);
    const Pack<T, N> gradient = load_pack<N>(grad + i * N);
    for (int k = 0; k < N; ++k) update(p.at[k], gradient.at[k], first.at[k], second.at[k]);
    store_pack(value + i * N, p);
    store_pack(m + i * N, first);
    store_pack(v + i * N, second);
  }
  for (std::int64_t i = packs * N + thread_index(); i < a.n; i += thread_count()) {
    T p = value[i], first = m[i], second = v[i];
    update(p, grad[i], first, second);
    value[i] = p;
    m[i] = first;
    v[i] = second;
  }
}

template <class T>
void launch_adam(const seam::AdamArgs<T>& a, seam::Stream stream) {
  constexpr int N = pack_size<T>;
  AdamRates<T> rates{};
  if (a.state == nullptr) {
    const double step = static_cast<double>(a.step);
    rates = {static_cast<T>(a.learning_rate / (1 - std::pow(a.beta1, step))),
             static_cast<T>(std::sqrt(1 - std::pow(a.beta2, step)))};
  }
  const auto kernel = aligned(a.value, a.grad, a.m, a.v) ? &adam<T, N> : &adam<T, 1>;
  launch("adam", kernel, blocks_for((a.n + N - 1) / N, 256), 256, 0, stream, a, rates);
}

}  // namespace cuttle::kernels
