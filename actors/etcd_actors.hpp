// The two actors that speak with an etcd.
#pragma once

#include "actors/context.hpp"
#include "actors/messages.hpp"

namespace zedcup {

/// Short calls: reads, transactions, sessions.
caf::actor spawn_etcd_store(caf::actor_system& sys, context_ptr ctx);

/// Follows the configuration by one stream while this worker leads.
caf::actor spawn_etcd_watcher(caf::actor_system& sys, context_ptr ctx);

} // namespace zedcup
