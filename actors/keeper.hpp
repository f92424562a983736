// Keeps the last good content in a file of system_options::state_dir, and gives
// it out where the store has none to give.
#pragma once

#include "actors/context.hpp"
#include "actors/messages.hpp"

namespace zedcup {

/// Works while this worker leads; on a thread of its own, for it reads and
/// writes a file. A file that cannot be written is a warning, once.
/// When this worker begins to lead, `content_found` goes out with all of the
/// file: for a start, until the store was read. When the store is read but
/// holds an instance with nothing usable in it, it goes out with the file's of
/// that.
/// @param own_thread false: on those of the system, where tests move the clock
caf::actor spawn_keeper(caf::actor_system& sys, context_ptr ctx,
                        bool own_thread = true);

} // namespace zedcup
