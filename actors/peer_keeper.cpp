#include "actors/peer_keeper.hpp"

#include <optional>
#include <utility>

#include "actors/guard.hpp"
#include "actors/kept_file.hpp"

namespace zedcup {

namespace {

struct peer_keeper_state {
  static inline const char* name = "zedcup.peer_keeper";

  std::optional<kept_file> file; ///< by the services' names
};

caf::behavior peer_keeper(caf::stateful_actor<peer_keeper_state>* self,
                          const context_ptr& ctx) {
  log_exceptions(self, ctx);
  auto& options = ctx->options;
  self->state.file.emplace(
      self, ctx, saved_peers_path(options.state_dir, options.store_name()));
  self->set_exit_handler([=](const caf::exit_msg& ended) {
    self->state.file->flush();
    self->quit(ended.reason);
  });
  return {
      [=](const msg::role_is&) {
        self->state.file->end();
        self->state.file->begin();
      },
      [=](const msg::keep_due& due) { self->state.file->on_due(due); },
      [=](const msg::peers_are& seen) {
        self->state.file->note(seen.content->name, seen.revision, seen.json);
      },
      [=](const msg::services_are& seen) {
        self->state.file->keep_only(seen.names);
      },
      [=](const msg::trouble& seen) {
        self->state.file->on_trouble(seen.text);
      },
  };
}

} // namespace

caf::actor spawn_peer_keeper(caf::actor_system& sys, context_ptr ctx,
                             bool own_thread) {
  if (!own_thread)
    return sys.spawn(peer_keeper, std::move(ctx));
  return sys.spawn<caf::detached>(peer_keeper, std::move(ctx));
}

} // namespace zedcup
