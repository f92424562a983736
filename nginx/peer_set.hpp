// The peers of one service as lreu.picker of this worker picks from them.
// Event-loop thread only.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <string_view>

#include "balancer/balancer.hpp"

namespace zedcup {

/// One content of the list, with a balancer for each method that is in use;
/// they share their loads, also with the revisions before and after. A request
/// that is under way holds the one that it was picked from.
class peer_revision {
public:
  peer_revision(const peer_revision* before, balancer::peer_list peers,
                uint32_t offset, uint64_t now_ms);

  /// May throw at the first use of a method.
  std::optional<uint32_t> pick(balance_method method,
                               const balancer::request& wanted) {
    auto& mine = by_method_[static_cast<size_t>(method)];
    if (!mine)
      use(method, wanted.now_ms);
    return mine->pick(wanted);
  }

  /// Whether requests should be reported to base().
  bool wants_reports() const { return wants_reports_; }
  /// The balancer that counts for all.
  balancer& base() { return *by_method_[0]; }
  size_t size() const { return peers_.size(); }

private:
  void use(balance_method method, uint64_t now_ms);

  balancer::peer_list peers_;
  uint32_t offset_ = 0;
  bool wants_reports_ = false;
  std::array<std::optional<balancer>, 5> by_method_; ///< weighted_rr always
};

} // namespace zedcup

/// What Lua holds.
struct zedcup_picker_s {
  std::shared_ptr<zedcup::peer_revision> now;
  uint32_t offset = 0; ///< where the round robin of this worker begins
};
