// Active checks of the peers of a feed.
#pragma once

#include <memory>
#include <vector>

#include "actors/context.hpp"
#include "actors/feed.hpp"
#include "actors/messages.hpp"

namespace zedcup {

/// Needs `ctx->probe_http`. Checks every peer that its key does not call down,
/// each after its interval, never twice at a time, at most 256 at once; tells
/// the event loop who goes out and who comes back.
/// @param before which peers were out when the feed began
/// @param current they still are, and no other. Not so for a prober that takes
///        the place of one that failed: it tells what it finds of each peer
caf::actor
spawn_peer_prober(caf::actor_system& sys, context_ptr ctx,
                  std::shared_ptr<const std::vector<known_service>> before,
                  peer_checks how, bool current);

} // namespace zedcup
