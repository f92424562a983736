// Follows a folder of etcd's v2 keys API while this worker leads: a feed's
// alone, since that API has no transactions.
#pragma once

#include "actors/context.hpp"
#include "actors/messages.hpp"

namespace zedcup {

caf::actor spawn_etcd2_watcher(caf::actor_system& sys, context_ptr ctx);

} // namespace zedcup
