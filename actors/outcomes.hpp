// Counts the errors of hosts in the store, takes hosts down and brings them
// back there, and says so when it was this worker's write that did it.
#pragma once

#include "actors/context.hpp"
#include "actors/messages.hpp"

namespace zedcup {

/// Every worker has one. What it is told of a host while a write for that host
/// is under way is added up and written next, and a host that keeps failing is
/// written for less and less often, down to once a second, so that thousands of
/// failures make few commits. A store that is away is tried again for three
/// quarters of the time that errors count, of a minute at most.
caf::actor spawn_outcomes(caf::actor_system& sys, context_ptr ctx);

/// Gives an order to the outcomes of the moment. Answered into `out` exactly
/// once, whatever becomes of it.
void tell_outcomes(caf::actor_system& sys, outbox<loop_message>* out,
                   host_order order);

} // namespace zedcup
