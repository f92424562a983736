// Smooth weighted round robin in O(distinct weights), whatever the number of
// hosts. Not thread-safe: owned by one worker's event loop.
//
// Hosts of equal weight form a ring. Rings are drawn by earliest deadline:
// the k-th pick of a ring of total weight W is due at (2k+1)/(2W) of a cycle,
// compared exactly in integers; so over one cycle (the sum of all weights)
// every host is picked exactly `weight` times and its picks are spread out.
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

  /// @param offset where in the cycle to start, in hosts: 0 begins at the
  ///        first candidate, 1 at the second, … (modulo their number).
  explicit weighted_rr(std::vector<candidate> hosts, uint32_t offset = 0);

  /// Takes over a changed host list and keeps the position: the host that was
  /// next stays next unless it is gone, then the one after it.
  void update(std::vector<candidate> hosts);

  /// The next host's slot, or nullopt when every host is in `tried`.
  /// @param tried slots to leave out, at most a handful; may be null when 0.
  std::optional<uint32_t> pick(const uint32_t* tried = nullptr,
                               size_t tried_count = 0);
};

} // namespace zedcup
