// The two actors of the embedded store: the one that owns the SQLite file, on
// a thread of its own because SQLite blocks, and the one that follows it.
#pragma once

#include "actors/context.hpp"
#include "actors/messages.hpp"

namespace zedcup {

/// Answers all orders (read, commit, watch, session, ask_revision). A file that
/// cannot be opened is tried again with each order; the order gets the error.
caf::actor spawn_embedded_store(caf::actor_system& sys, context_ptr ctx);

/// While this worker leads: looks at the revision at each kick (another worker
/// of this node wrote) and every 200 ms (somebody else may have), and reads
/// the tree when it moved.
caf::actor spawn_embedded_watcher(caf::actor_system& sys, context_ptr ctx);

} // namespace zedcup
