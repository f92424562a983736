// What the prober notes down in the store, for the next prober: part of it,
// used on its thread only.
#pragma once

#include <deque>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "actors/context.hpp"
#include "actors/messages.hpp"
#include "health/check_state.hpp"

namespace zedcup {

/// Writes are bounded: every second at most, a host at most every five seconds
/// (one that is down: every second), so many transactions at a time, and none
/// for a while after one failed.
class prober_notes {
public:
  using time_point = std::chrono::steady_clock::time_point;

  /// Both must outlive it.
  prober_notes(caf::event_based_actor* self, context_ptr ctx);

  /// "<prefix>/state/"
  const std::string& prefix() const { return prefix_; }

  void take(const host_ref& host, int64_t unix_time, uint32_t good,
            bool pressing, time_point now);
  void forget(const host_ref& host);
  void clear();

  /// When write_due() should be called; nullopt: there is nothing.
  std::optional<time_point> next_write() const;
  void write_due(time_point now);

  /// All that there is, without waiting for the end of it.
  void write_all();

private:
  struct note {
    host_ref host;
    int64_t unix_time = 0;
    uint32_t good = 0;
    bool waiting = false; ///< to be written
    time_point not_before{};
  };
  using batch = std::vector<kv_op>;

  std::deque<batch> batches(time_point now, size_t most);
  void send_next();
  void failed();

  caf::event_based_actor* self_;
  context_ptr ctx_;
  std::string prefix_;
  size_t max_ops_;
  std::map<host_place, note> notes_;
  std::deque<host_place> queue_; ///< those that wait, in order
  std::deque<batch> sending_;
  bool busy_ = false;
  time_point next_write_{};
  uint64_t generation_ = 0;
};

} // namespace zedcup
