// Turns the keys of a feed into services, and hands those that changed to the
// event loop.
#pragma once

#include <memory>
#include <vector>

#include "actors/context.hpp"
#include "actors/feed.hpp"
#include "actors/messages.hpp"

namespace zedcup {

/// Tells `prober`, too, where there is one. Every complaint about a key is
/// logged once per content.
/// @param before what is served already: not told again, and whoever is new
///        beside it begins slowly
caf::actor
spawn_peer_syncer(caf::actor_system& sys, context_ptr ctx,
                  std::shared_ptr<const std::vector<known_service>> before);

} // namespace zedcup
