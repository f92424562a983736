// Turns what the store (leader) or the zone (follower) holds into snapshots,
// and hands those that changed to the event loop.
#pragma once

#include "actors/context.hpp"
#include "actors/messages.hpp"

namespace zedcup {

/// Every complaint about a key is logged once per content, by the leader.
/// An instance with nothing usable in it keeps its last good content.
caf::actor spawn_syncer(caf::actor_system& sys, context_ptr ctx);

} // namespace zedcup
