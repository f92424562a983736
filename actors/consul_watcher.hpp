// Follows a Consul while this worker leads: one blocking query on the
// instances, and a plain read of the global settings now and then.
#pragma once

#include "actors/context.hpp"
#include "actors/messages.hpp"

namespace zedcup {

/// Needs `ctx->http` and consul_options in `ctx->options.store`.
caf::actor spawn_consul_watcher(caf::actor_system& sys, context_ptr ctx);

} // namespace zedcup
