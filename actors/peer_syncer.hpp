// Turns the keys of a feed into services, and hands those that changed to the
// event loop.
#pragma once

#include <memory>
#include <vector>

#include "actors/context.hpp"
#include "actors/feed.hpp"
#include "actors/messages.hpp"

namespace zedcup {

/// Tells `prober`, too, where there is one: everything, after each role_is.
/// Every complaint about a key is logged once per content.
/// @param before what was served when the feed began: whoever is new beside it
///        begins slowly
/// @param current `before` is what is served now: not told again. Not so for
///        a syncer that takes the place of one that failed
caf::actor
spawn_peer_syncer(caf::actor_system& sys, context_ptr ctx,
                  std::shared_ptr<const std::vector<known_service>> before,
                  bool current);

} // namespace zedcup
