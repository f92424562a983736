// Keeps the last good peers of a feed in a file of system_options::state_dir.
#pragma once

#include "actors/context.hpp"
#include "actors/messages.hpp"

namespace zedcup {

/// Of a feed, which runs while its worker leads; on a thread of its own. Who
/// starts without the store reads the file: saved_peers_path().
/// @param own_thread false: on those of the system, where tests move the clock
caf::actor spawn_peer_keeper(caf::actor_system& sys, context_ptr ctx,
                             bool own_thread = true);

} // namespace zedcup
