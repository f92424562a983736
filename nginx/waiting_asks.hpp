// Asks that are answered when this worker has applied something, or when that
// takes too long. Event-loop thread only.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <string>
#include <unordered_set>
#include <vector>

#include "nginx/registry.hpp"

namespace zedcup {

/// How far this worker has come.
struct applied_state {
  const registry& instances;
  bool has_content = false;     ///< of the store, or saved content of it
  bool synced = false;          ///< the store was read at least once
  uint64_t revision = 0;        ///< of the store
  uint64_t global_revision = 0; ///< of the read that gave the settings
  const std::string& trouble;   ///< why the store cannot be read, or empty
  /// Instances whose newest content found no room in the zone.
  const std::unordered_set<std::string>& refused;
};

class waiting_asks {
public:
  using clock = std::chrono::steady_clock;

  struct ask {
    uint64_t id = 0;
    int what = 0; ///< ZEDCUP_ASK_*
    std::string instance;
    uint64_t revision = 0; ///< to be reached; for the CONFIGUREs
    clock::time_point deadline{};
  };

  void add(ask waiting) { asks_.push_back(std::move(waiting)); }

  /// Calls answer(id, problem) for each ask that is satisfied (no problem) or
  /// overdue. `answer` may add asks.
  void check(const applied_state& now,
             const std::function<void(uint64_t, std::string)>& answer);

private:
  std::vector<ask> asks_;
};

} // namespace zedcup
