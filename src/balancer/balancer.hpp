// One list of peers with one method of choosing among them. Not thread-safe:
// owned by one worker's event loop.
//
// Every method honours weights, leaves out peers without a weight, those that
// were tried and those at their max_conns, and lets a peer in slow start rise
// linearly from a tenth of its weight. Without such peers a pick pays nothing
// for them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "balancer/load.hpp"
#include "balancer/method.hpp"
#include "balancer/weighted_rr.hpp"
#include "util/hash.hpp"

namespace zedcup {

class balancer {
public:
  struct peer {
    uint64_t id = 0;       ///< identity that outlives a change of the list
    uint32_t weight = 1;   ///< 0: not picked, but its load is kept
    uint32_t slot = 0;     ///< what pick() returns: its place in the list
    uint64_t key = 0;      ///< where it stands for `hash`, 0: its id decides
    uint64_t start_ms = 0; ///< when it began to serve; 0: long ago
    uint32_t slow_start_ms = 0; ///< how long it rises after that
    uint32_t max_conns = 0;     ///< requests under way at a time; 0: any number
  };
  using peer_list = std::vector<peer>;

  struct options {
    balance_method method = balance_method::weighted_rr;
    uint32_t offset = 0; ///< weighted_rr: the first peer, see there
    uint64_t seed = 1;   ///< of what is drawn at random
    /// hash: a peer gets at most so many percent of its share of the requests
    /// under way, the rest of its keys go on to their next peer. 0: any.
    uint32_t hash_balance_factor = 0;
  };

  /// One pick. `tried` are slots, at most a handful; may be null when none.
  struct request {
    const uint32_t* tried = nullptr;
    size_t tried_count = 0;
    uint64_t key = 0;    ///< of hash: hash_key() of some text
    uint64_t now_ms = 0; ///< the clock of start_ms
  };

  balancer() = default;
  explicit balancer(const options& wanted) : options_(wanted) {}
  balancer(const options& wanted, const peer_list& peers, uint64_t now_ms = 0)
      : options_(wanted) {
    update(peers, now_ms);
  }

  /// Takes over a changed list; positions and loads go on by id. A copy of a
  /// balancer shares the loads with it, so that updating a copy makes a next
  /// revision. Slots are distinct and below 2^24. O(n log n), may throw.
  void update(const peer_list& peers, uint64_t now_ms);

  /// As above, with other options: loads go on whatever the method.
  void update(const options& wanted, const peer_list& peers, uint64_t now_ms);

  /// Its loads are those of another balancer from now on, slot by slot.
  /// @param of has the same list
  void share_loads(const balancer& of) noexcept;

  /// The next peer's slot, or nullopt when there is none that is not left out.
  /// Neither allocates nor throws.
  std::optional<uint32_t> pick(const request& wanted) noexcept {
    if (plain_)
      return rr_.pick(wanted.tried, wanted.tried_count);
    return choose(wanted);
  }

  /// A request to the peer begins, is over. Slots that are unknown do nothing.
  void started(uint32_t slot) noexcept;
  void finished(uint32_t slot) noexcept;
  /// As above, with what observe() takes.
  void finished(uint32_t slot, uint64_t latency_us, uint64_t now_ms) noexcept;

  /// An answer of the peer came after that time.
  void observe(uint32_t slot, uint64_t latency_us, uint64_t now_ms) noexcept;
  /// None came: counts as a slow one, lest a peer that fails fast draws all.
  void observe_failure(uint32_t slot, uint64_t now_ms) noexcept;

  /// Whether the callers' reports make a difference to pick().
  bool wants_reports() const noexcept {
    return limited_ || options_.method == balance_method::least_conn ||
           options_.method == balance_method::ewma ||
           (options_.method == balance_method::hash &&
            options_.hash_balance_factor != 0);
  }

  /// The list as it is, by slot.
  peer_list peers() const;

  balance_method method() const noexcept { return options_.method; }
  /// Whether pick() may return that slot.
  bool can_take(uint32_t slot, const request& wanted) const noexcept;
  /// The id of the peer in a slot; 0: there is none.
  uint64_t id_of(uint32_t slot) const noexcept {
    return slot < entries_.size() ? entries_[slot].is.id : 0;
  }

  /// Requests to a peer under way; nullopt when there is no such slot.
  std::optional<uint32_t> active(uint32_t slot) const noexcept;
  /// Whether a peer with that id is in the list with a weight.
  bool serves(uint64_t id) const noexcept;
  /// The ids of all that are, sorted.
  const std::vector<uint64_t>& serving() const noexcept { return ids_; }

private:
  struct entry {
    peer is;
    std::shared_ptr<peer_load> load; ///< null: no such slot
    float factor = 1;                ///< of its weight, below 1 in slow start
    float credit = 0;                ///< of turns, in slow start
  };
  /// For drawing by weight in one step: the half of a column that is its own.
  struct column {
    uint32_t slot = 0;
    uint32_t other = 0;
    uint64_t own = 0; ///< of 2^32
  };
  using found = std::optional<uint32_t>;

  void take_entries(const peer_list& peers);
  void build(const peer_list& peers);
  void build_columns();
  void update_ramps(uint64_t now_ms) noexcept;
  bool is_full(const entry& at) const noexcept;
  bool is_barred(const request& wanted, uint32_t slot) const noexcept;
  bool takes_turn(uint32_t slot) noexcept;

  found choose(const request& wanted) noexcept;
  found in_turn(const request& wanted) noexcept;
  found by_key(const request& wanted) const noexcept;
  found at_random(const request& wanted) noexcept;
  found of_two(const request& wanted) noexcept;
  found any_left(const request& wanted, found but = {}) noexcept;
  found another(const request& wanted, uint32_t first) noexcept;
  bool is_overloaded(const entry& at) const noexcept;
  bool is_better(uint32_t first, uint32_t second, uint64_t now_ms) noexcept;
  double score(const entry& at, uint64_t now_ms) const noexcept;
  double share(const entry& at) const noexcept;
  uint32_t draw() noexcept;
  uint64_t next_random() noexcept;

  options options_;
  bool plain_ = true;            ///< weighted_rr, and nothing else to think of
  bool limited_ = false;         ///< there are max_conns
  std::vector<entry> entries_;   ///< by slot
  std::vector<uint32_t> usable_; ///< slots with a weight
  std::vector<uint64_t> ids_;    ///< of them, sorted
  std::vector<column> columns_;
  weighted_rr rr_;
  uint64_t total_weight_ = 0;
  uint64_t random_ = 0;
  std::shared_ptr<uint32_t> active_; ///< of all peers, also those that went

  bool ramping_ = false;
  float top_factor_ = 1;
  uint64_t next_ramp_ms_ = 0;
};

} // namespace zedcup
