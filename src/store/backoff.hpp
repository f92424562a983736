// How long to wait after a failure. One thread at a time.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <random>

namespace zedcup {

/// Full jitter: any time up to a bound that doubles with each failure in a row,
/// so that the clients of a store that comes back do not all come at once.
class backoff {
public:
  using time_point = std::chrono::steady_clock::time_point;
  using milliseconds = std::chrono::milliseconds;

  backoff(milliseconds least, milliseconds most) : least_(least), most_(most) {}

  void failed(time_point now, std::mt19937_64& random) {
    const auto doublings = std::min(failures_, 20U);
    const auto bound =
        std::min<int64_t>(least_.count() << doublings, most_.count());
    until_ = now + milliseconds(random() % (static_cast<uint64_t>(bound) + 1));
    ++failures_;
  }
  void succeeded() { failures_ = 0; }
  /// Somebody knows better: do not wait any longer.
  void skip() { until_ = {}; }

  unsigned failures() const { return failures_; } ///< in a row
  time_point until() const { return until_; }

private:
  milliseconds least_;
  milliseconds most_;
  unsigned failures_ = 0;
  time_point until_{};
};

} // namespace zedcup
