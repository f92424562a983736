// Brings back hosts that zedcup took down and nobody checks, when their errors
// are old enough.
#pragma once

#include "actors/context.hpp"
#include "actors/messages.hpp"

namespace zedcup {

/// The lock `<prefix>/locks/<…>`, under the name that the original has too.
constexpr const char* reviver_lock = "revive";

/// While this node holds the lock, looks every `host_revive_interval`; reads
/// the store only when such a host is there. A host whose last error, or,
/// where the store knows of none, whose fall as it was seen here, is
/// `error_timeout` ago is reported to `outcomes`. One that an operator put
/// down is left alone.
caf::actor spawn_host_reviver(caf::actor_system& sys, context_ptr ctx);

} // namespace zedcup
