// What a worker knows about the load of one peer: requests under way and how
// long answers take. Shared by all revisions of a list that has the peer, so
// that a request counts where it began and where it ends. Event-loop thread.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>

namespace zedcup {

struct peer_load {
  uint32_t active = 0;   ///< requests under way
  double latency_us = 0; ///< peak EWMA at `seen_ms`; 0: none is known
  uint64_t seen_ms = 0;

  /// An average over this time, and how fast an old peak is forgotten.
  static constexpr double window_ms = 10'000;

  static double kept(uint64_t from_ms, uint64_t now_ms) noexcept {
    if (now_ms <= from_ms)
      return 1;
    return std::exp(-static_cast<double>(now_ms - from_ms) / window_ms);
  }

  /// What is to be expected now: without answers the past fades, so that a
  /// peer that was slow once is tried again.
  double expected_us(uint64_t now_ms) const noexcept {
    return latency_us * kept(seen_ms, now_ms);
  }

  /// A peak counts at once, a better answer only by and by.
  void observe(double sample_us, uint64_t now_ms) noexcept {
    const double old = kept(seen_ms, now_ms);
    latency_us = latency_us == 0 || sample_us > latency_us
                     ? sample_us
                     : latency_us * old + sample_us * (1 - old);
    seen_ms = std::max(seen_ms, now_ms);
  }
};

} // namespace zedcup
