// Follows one prefix of Consul with blocking queries: a state machine without
// I/O and without a clock. One thread at a time. The owner loops: next(), do
// what it says, hand the answer to on_answer().
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "net/http_message.hpp"
#include "store/backoff.hpp"
#include "store/consul_protocol.hpp"
#include "store/kv.hpp"
#include "util/result.hpp"

namespace zedcup {

struct consul_watch_settings {
  std::vector<consul_target> targets; ///< at least one
  std::string prefix;                 ///< "zedcup/"
  std::chrono::seconds wait{600};     ///< of a blocking query, 1 s .. 600 s
  std::optional<std::chrono::milliseconds> stale_max_age;

  std::chrono::milliseconds backoff_min{100};
  std::chrono::milliseconds backoff_max{10000};
  unsigned burst = 20;      ///< answers without news that may come at once,
  unsigned per_second = 10; ///< and how fast that allowance grows again
};

class consul_watch {
public:
  using time_point = std::chrono::steady_clock::time_point;

  /// `seed` feeds the jitter: equal seeds, equal delays. `known` is what the
  /// owner already serves (from disk, say): not published again, and it guards
  /// against an empty first answer.
  consul_watch(consul_watch_settings settings, uint64_t seed,
               std::optional<kv_tree> known = std::nullopt);

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

  /// What to do now. A `send` counts as sent. Cheap.
  step next(time_point now);

  struct outcome {
    /// New content, to be published. May be empty: that was confirmed.
    std::optional<kv_tree> publish;
    /// With `publish`: keys, values, flags and sessions are as before, and only
    /// modify_index differs (written again): nothing to apply, but the next
    /// compare-and-set needs it.
    bool indexes_only = false;
    /// What went wrong; the machine goes on by itself. For the log and status.
    std::optional<error> problem;
  };

  /// The answer to the request of that ticket; stale tickets are ignored.
  outcome on_answer(uint64_t ticket, result<http_response> answer,
                    time_point now);

  /// Someone says there is news: read soon, also out of a back-off; a long poll
  /// in flight is forgotten. Kicks beyond the allowance are served late.
  /// @returns whether the owner should cancel the request in flight.
  bool kick();

  /// What was published last; nullopt: nothing yet.
  const std::optional<kv_tree>& published() const { return published_; }
  /// When an answer last agreed with what is published; nullopt: never.
  std::optional<time_point> last_confirmed() const { return confirmed_; }
  /// What the query in flight blocks on; 0: a plain read, or none.
  uint64_t blocks_on() const { return in_flight_ ? index_ : 0; }
  /// Errors in a row; 0 when all is well.
  unsigned failures() const { return backoff_.failures(); }
  /// Which target serves now, for messages.
  size_t target_index() const { return target_; }

private:
  http_request make_request() const;
  consul::read_mode mode() const;
  outcome fail(error problem, time_point now);
  outcome on_tree(consul::tree_answer answer, time_point now);
  outcome believe(kv_tree tree, time_point now);
  bool suspicious(const kv_tree& tree) const;
  void take_index(uint64_t index);
  void pace(time_point now);

  consul_watch_settings settings_;
  std::mt19937_64 random_;
  std::optional<kv_tree> published_;
  std::optional<time_point> confirmed_;

  size_t target_ = 0;
  uint64_t index_ = 0;  ///< to block on; 0: plain read
  uint64_t ticket_ = 0; ///< of the last request
  bool in_flight_ = false;
  bool stale_read_ = false; ///< the one in flight
  bool kicked_ = false;     ///< the next request is on a kick's account
  bool again_ = false;      ///< kicked during a plain read
  /// The server may be starting up and not know all that it stored: plain reads
  /// would show it half; consistent ones wait for its log. At the beginning and
  /// after every error.
  bool unsure_ = true;
  bool confirm_ = false; ///< the next read is a ?consistent re-read
  bool fresh_ = false;   ///< the next read must not be a stale one

  backoff backoff_;
  double allowance_; ///< token bucket for answers without news, and kicks
  time_point refilled_{};
  time_point paced_until_{};
};

} // namespace zedcup
