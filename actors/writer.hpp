// Carries out what zedcup.configure, configure_instance and remove_instance
// order, and finishes what a dead writer left half done.
#pragma once

#include "actors/context.hpp"
#include "actors/messages.hpp"

namespace zedcup {

/// Checks the whole content first; then commits step by step as write_plan
/// says. A store that is away is tried again for some seconds, each time with
/// the whole plan; a conflict means that another writer was faster and ends
/// the order.
caf::actor spawn_writer(caf::actor_system& sys, context_ptr ctx);

/// Gives an order to the writer of the moment. Answered into `out` exactly
/// once, whatever becomes of the writer.
void tell_writer(caf::actor_system& sys, outbox<loop_message>* out,
                 write_order order);

} // namespace zedcup
