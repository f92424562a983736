// Spawns the other actors, watches them and replaces those that fail.
#pragma once

#include <functional>
#include <vector>

#include "actors/context.hpp"
#include "actors/messages.hpp"

namespace zedcup {

/// How to make the actor of one place.
struct child_spec {
  place where;
  std::function<caf::actor(caf::actor_system&)> spawn;
  bool follows_role = false; ///< wants msg::role_is
};

/// A child that fails is started again after 100 ms, doubling with each
/// failure in a row up to 10 s, with jitter; a minute without a failure starts
/// the count over. Restarting one sends everyone the current role anew, so
/// that nobody waits for what the old one had promised.
/// Told to exit, it ends its children first and itself with the last of them.
/// @param started called, on its thread, when every child had its first start.
caf::actor spawn_supervisor(caf::actor_system& sys, context_ptr ctx,
                            std::vector<child_spec> children,
                            std::function<void()> started = {});

} // namespace zedcup
