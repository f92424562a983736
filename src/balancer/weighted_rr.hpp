// Smooth weighted round robin in O(log distinct weights), whatever the number
// of hosts. Not thread-safe: owned by one worker's event loop.
//
// Hosts of equal weight form a ring. Rings are drawn by earliest deadline: a
// ring of total weight W is due W times a cycle at equal distances, the k-th
// time at (k + phase) / W of the cycle, compared exactly in integers. So over
// one cycle (the sum of all weights) every host is picked exactly `weight`
// times, wherever the cycle is taken to begin, and its picks are spread out.
// Phases start at 1/2; a change of the list keeps how far each ring had come
// towards its next pick.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

namespace zedcup {

class weighted_rr {
public:
  struct candidate {
    uint64_t id;     ///< identity that outlives a configuration change
    uint32_t weight; ///< 0: never picked
    uint32_t slot;   ///< what pick() returns: the host's place in its pool
  };

  weighted_rr() = default;

  /// @param hosts their weights add up to less than 2^42; equal ids are
  ///        allowed but then update() cannot tell them apart.
  /// @param offset where in the cycle to start, in hosts: 0 begins at the
  ///        first candidate, 1 at the second, … (modulo the number of those
  ///        with a weight), each at its first turn of the cycle.
  explicit weighted_rr(const std::vector<candidate>& hosts,
                       uint32_t offset = 0);

  /// As the constructor's, for the next list that begins anew.
  void offset(uint32_t hosts) noexcept { offset_ = hosts; }

  /// Takes over a changed host list and keeps the position: the host that was
  /// next stays next unless it is gone, then the one after it. Hosts that stay
  /// in their ring keep their rotation, and rings their phase. When no host
  /// stays it starts anew, at the constructor's offset. O(n log n).
  void update(const std::vector<candidate>& hosts);

  /// The next host's slot, or nullopt when every host is in `tried`.
  /// Does not allocate and never throws.
  /// @param tried slots to leave out, at most a handful; may be null when 0.
  std::optional<uint32_t> pick(const uint32_t* tried = nullptr,
                               size_t tried_count = 0) noexcept;

  /// Which slots to leave out besides; must be the same for the whole pick.
  struct filter {
    bool (*leaves_out)(const void* context, uint32_t slot) noexcept;
    const void* context;
  };
  std::optional<uint32_t> pick(const uint32_t* tried, size_t tried_count,
                               const filter& others) noexcept;

private:
  /// Hosts of one weight: a stretch of `slots_` and the next one in it.
  struct ring {
    uint32_t first = 0;
    uint32_t count = 0;
    uint32_t cursor = 0;
    uint32_t weight = 0;
  };

  /// When a ring's next pick is due: `point` / (step * `total`) of a cycle.
  struct turn {
    uint64_t point = 0; ///< step * (k + phase)
    uint64_t total = 0; ///< the ring's weight times its hosts
    uint32_t ring = 0;
  };

  /// A host's next turn, by which it is found again after a change.
  struct upcoming {
    uint64_t id;
    turn due;
  };

  /// What update() needs of the list before.
  struct past {
    std::vector<ring> rings;
    std::vector<turn> turns;     ///< in the order of the rings
    std::vector<upcoming> hosts; ///< by id
  };

  static constexpr uint64_t step = 1ULL << 20;

  static bool earlier(const turn& a, const turn& b) noexcept;
  static uint64_t first_point_after(const turn& now, const turn& other);

  void build(const std::vector<candidate>& hosts);
  void start(const std::vector<candidate>& hosts);
  past take_past();
  std::optional<turn> resume(uint32_t at, const past& before);
  uint64_t carried_point(const turn& ring_turn, uint64_t lowest,
                         const turn& was_now, const std::optional<turn>& first,
                         const past& before) const;
  void make_heap();

  void keep_in_first_cycle() noexcept;

  uint32_t draw() noexcept;
  template <class Barred>
  std::optional<uint32_t> pick_unless(const Barred& barred) noexcept;
  template <class Barred>
  std::optional<uint32_t> scan(const Barred& barred) noexcept;
  void sift_down() noexcept;

  std::vector<ring> rings_; ///< heaviest first
  std::vector<turn> turns_; ///< one a ring: a heap, the earliest in front
  std::vector<uint32_t> slots_;
  std::vector<uint64_t> ids_; ///< of `slots_`
  uint32_t offset_ = 0;
};

} // namespace zedcup
