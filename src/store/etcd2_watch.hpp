// Follows a folder of etcd's v2 keys API: a state machine without I/O and
// without a clock. One thread at a time. The owner loops: next(), send what it
// says, hand the answer to on_answer().
//
// One request at a time: a read, then a long poll behind it, then a read. That
// a poll returned is the hint, the read is the truth.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "net/http_message.hpp"
#include "store/backoff.hpp"
#include "store/etcd2_protocol.hpp"
#include "store/kv.hpp"
#include "util/result.hpp"

namespace zedcup {

struct etcd2_watch_settings {
  std::vector<etcd2::target> targets; ///< at least one
  std::string path;                   ///< "/v1/services/"

  /// A long poll is renewed after this: a connection may die unseen.
  std::chrono::milliseconds poll_bound{60000};
  std::chrono::milliseconds backoff_min{100};
  std::chrono::milliseconds backoff_max{1500};
  unsigned burst = 20;      ///< polls that may return at once,
  unsigned per_second = 10; ///< and how fast that allowance grows again
};

class etcd2_watch {
public:
  using time_point = std::chrono::steady_clock::time_point;

  /// `seed` feeds the jitter of the back-off.
  etcd2_watch(etcd2_watch_settings settings, uint64_t seed);

  struct step {
    enum class action {
      send, ///< send `request`, give its answer with `ticket` to on_answer
      wait, ///< call next() again at `until`
      idle, ///< a request is in flight: nothing to do before its answer
    };
    action what = action::idle;
    http_request request;
    uint64_t ticket = 0;
    time_point until{};
  };

  /// What to do now. A `send` counts as sent.
  step next(time_point now);

  struct outcome {
    std::optional<kv_tree> publish; ///< new content; empty was confirmed
    std::optional<error> problem;   ///< for the log; it goes on by itself
    bool works = false;             ///< the store was read
    bool cancel = false;            ///< the request in flight is of no more use
  };

  /// The answer to the request of that ticket; stale tickets are ignored.
  outcome on_answer(uint64_t ticket, result<http_response> answer,
                    time_point now);

  /// Whether a look (etcd2::look) beside the long poll makes sense now.
  bool may_look() const { return in_flight_ && polling_; }
  /// The answer to a look: whether the poll sleeps while it should not, and
  /// whether the member still hears the others.
  outcome on_look(result<http_response> answer, time_point now);

  unsigned failures() const { return backoff_.failures(); }
  /// Where requests go now.
  const etcd2::target& target() const { return settings_.targets[target_]; }
  const std::string& path() const { return settings_.path; }

private:
  outcome fail(error problem, time_point now);
  outcome on_tree(etcd2::tree_answer answer);
  outcome on_poll(result<http_response> answer, time_point now);
  bool suspicious(const etcd2::tree_answer& answer) const;
  bool is_another_past(const etcd2::tree_answer& answer) const;
  void pace(time_point now);

  etcd2_watch_settings settings_;
  std::mt19937_64 random_;
  std::optional<kv_tree> published_;
  std::string cluster_id_; ///< of the last read that was believed

  size_t target_ = 0;
  uint64_t index_ = 0; ///< of the last read that was believed
  uint64_t ticket_ = 0;
  bool in_flight_ = false;
  bool polling_ = false; ///< the one in flight, or the one that comes next
  time_point sent_{};    ///< the one in flight
  /// A member that was not agreed with yet may lag behind the others.
  bool unsure_ = true;
  bool confirming_ = false; ///< the read is there to confirm the last one

  backoff backoff_;
  double allowance_; ///< token bucket of returned polls
  time_point refilled_{};
  time_point paced_until_{};
};

} // namespace zedcup
