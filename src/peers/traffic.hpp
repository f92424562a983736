// What upstream peers answered, counted until it is taken: by upstream and peer
// the statuses, and how long answers took. One thread; bounded memory.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

namespace zedcup {

/// Durations by size: steps of a quarter at most, up to 2^19 ms and beyond.
class duration_histogram {
public:
  static constexpr size_t buckets = 72;

  /// 0..71; durations that differ by less than a quarter share one.
  static size_t bucket_of(uint32_t ms) noexcept;
  /// The longest duration of a bucket, in ms.
  static uint32_t upper_ms(size_t bucket) noexcept;

  void add(uint32_t ms) noexcept { ++counts_[bucket_of(ms)]; }
  uint32_t count(size_t bucket) const noexcept { return counts_[bucket]; }

private:
  std::array<uint32_t, buckets> counts_{};
};

class traffic {
public:
  /// Further peers are counted together, as peer "other" of upstream "other".
  static constexpr size_t most_peers = 4096;
  /// Further statuses of a peer are counted as 0.
  static constexpr size_t most_statuses = 64;

  /// One try. @param status 0: none came
  void record(std::string_view upstream, std::string_view peer, int status,
              uint32_t ms);
  /// One request, whatever its tries.
  void count_request() noexcept { ++requests_; }

  bool empty() const noexcept { return peers_.empty() && requests_ == 0; }

  /// {"requests": n, "peers": [{"upstream", "peer", "ms": sum, "codes":
  /// {"200": n, …}, "times": {"<bucket>": n, …}}, …]}, and begins anew.
  std::string take_json();

private:
  struct counters {
    std::string upstream;
    std::string peer;
    uint64_t ms = 0;
    std::vector<std::pair<int, uint32_t>> codes;
    duration_histogram times;

    uint32_t& count_of(int status);
  };

  counters& find(std::string_view upstream, std::string_view peer);

  std::unordered_map<std::string, counters> peers_;
  std::string key_; ///< kept for its memory
  uint64_t requests_ = 0;
};

} // namespace zedcup
