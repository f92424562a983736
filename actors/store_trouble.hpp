// How a watcher says that its store fails, and that it works again.
#pragma once

#include <optional>
#include <string>
#include <utility>

#include "actors/context.hpp"
#include "actors/messages.hpp"

namespace zedcup {

/// Tells the syncer and the log. A member of a watcher's state.
class store_trouble_teller {
public:
  /// @param store its name in the log: "consul"
  explicit store_trouble_teller(std::string store) : store_(std::move(store)) {}

  /// The first of a row is news, the rest would only fill the log.
  void failed(caf::actor_system& sys, spdlog::logger& log, std::string text) {
    if (troubled_ == true)
      log.debug("{}", text);
    else
      log.warn("{}; trying again", text);
    troubled_ = true;
    tell(sys, place::syncer, msg::trouble{std::move(text)});
  }

  void works(caf::actor_system& sys, spdlog::logger& log) {
    if (troubled_ == false)
      return;
    if (troubled_ == true)
      log.info("{} answers again", store_);
    troubled_ = false;
    tell(sys, place::syncer, msg::trouble{});
  }

  /// A leadership begins: the zone may still hold what an earlier leader
  /// complained about.
  void forget() { troubled_.reset(); }

private:
  std::string store_;
  std::optional<bool> troubled_; ///< as told last
};

} // namespace zedcup
