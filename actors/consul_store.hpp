// Answers orders (read, commit, watch, session) with calls to a Consul.
#pragma once

#include "actors/context.hpp"
#include "actors/messages.hpp"

namespace zedcup {

/// Needs `ctx->http` and consul_options in `ctx->options.store`. Goes on to
/// the next address after a call that found nobody, or a server without a
/// leader; retrying is the caller's.
caf::actor spawn_consul_store(caf::actor_system& sys, context_ptr ctx);

} // namespace zedcup
