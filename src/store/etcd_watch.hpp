// Follows a range of keys in etcd: a state machine without I/O and without a
// clock. One thread at a time. The owner loops: next(), do what it says, tell
// what came of it.
//
// The stream of events is the hint, a read of the whole range is the truth:
// events of one transaction may come in several messages (fragments), a read
// shows one revision. So nobody ever sees half of a change.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <random>
#include <string>

#include "store/backoff.hpp"
#include "store/etcd_protocol.hpp"
#include "store/kv.hpp"
#include "util/result.hpp"

namespace zedcup {

struct etcd_watch_settings {
  std::chrono::milliseconds backoff_min{100};
  std::chrono::milliseconds backoff_max{1500};
};

class etcd_watch {
public:
  using time_point = std::chrono::steady_clock::time_point;

  /// `seed` feeds the jitter of the back-off.
  etcd_watch(etcd_watch_settings settings, uint64_t seed);

  struct step {
    enum class action {
      read,   ///< read the range, give the answer to on_read()
      stream, ///< open a stream at `revision`; on_message(), on_stream_end()
      wait,   ///< call next() again at `until`
      idle,   ///< nothing to do before one of these tells something
    };
    action what = action::idle;
    uint64_t revision = 0;
    time_point until{};
  };

  /// What to do now; what it says counts as begun. Call until it says wait or
  /// idle.
  step next(time_point now);

  struct outcome {
    std::optional<kv_tree> publish; ///< believed content, changed or not
    std::optional<error> problem;   ///< for the log; it goes on by itself
    bool close_stream = false;      ///< the stream under way is of no more use
  };

  outcome on_read(result<etcd::range_answer> answer, time_point now);
  outcome on_message(const etcd::watch_message& message, time_point now);
  /// The stream ended, by itself or by an error.
  outcome on_stream_end(error why, time_point now);
  /// The answer to a look beside the stream: a connection may die unseen.
  outcome on_look(const etcd::look_answer& seen);

  /// Somebody wrote, or what comes next is awaited: read, also out of a
  /// back-off.
  void kick();

  unsigned failures() const { return backoff_.failures(); }
  bool streaming() const { return streaming_; }

private:
  outcome fail(error problem, time_point now);
  bool suspicious(const kv_tree& tree) const;
  bool is_another_past(uint64_t cluster_id, uint64_t revision) const;
  outcome start_over();

  std::mt19937_64 random_;

  std::optional<kv_tree> published_;
  uint64_t cluster_id_ = 0; ///< of `published_`
  uint64_t newest_ = 0;     ///< highest revision that a message told of
  bool wanted_ = true;      ///< a read
  bool reading_ = false;
  bool streaming_ = false;
  bool confirming_ = false; ///< the read is there to confirm the last one

  backoff backoff_;
};

} // namespace zedcup
