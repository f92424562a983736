// The health checks of the whole cluster, while this node holds their lock.
#pragma once

#include "actors/context.hpp"
#include "actors/messages.hpp"

namespace zedcup {

/// The lock `<prefix>/locks/<…>`, under the name that the original has too.
constexpr const char* prober_lock = "healthcheck";

/// Needs `ctx->probe_http`. Checks the hosts that are up, and those that
/// zedcup took down, of pools that are up; each after its interval, never
/// twice at a time, at most 256 at once. Tells `outcomes` of bad probes, and
/// of hosts that have shown `min_rises` good ones in a row. Writes `last_check`
/// now and then, from which the next prober goes on.
caf::actor spawn_prober(caf::actor_system& sys, context_ptr ctx);

} // namespace zedcup
