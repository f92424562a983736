// The node's session in the store, and the cluster's locks that it holds.
// Works while this worker leads its node.
#pragma once

#include "actors/context.hpp"
#include "actors/messages.hpp"

namespace zedcup {

/// Registers the node as `<prefix>/registry/<session>`, and holds those of the
/// wanted locks (`<prefix>/locks/<name>`) that are free. Whoever wants a lock
/// hears of each change; a session that is lost, or could not be renewed in
/// time, loses all of them at once.
///
/// Consul may keep a session for twice its TTL, and does: it is asked for half
/// of `session_ttl` (or, where it refuses that, 10 s), so that a dead node's
/// locks are free after `session_ttl`.
caf::actor spawn_session(caf::actor_system& sys, context_ptr ctx);

} // namespace zedcup
