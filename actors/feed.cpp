#include "actors/feed.hpp"

#include "actors/graph.hpp"
#include "actors/peer_prober.hpp"
#include "actors/peer_syncer.hpp"

namespace zedcup {

namespace {

class running_feed final : public feed {
public:
  explicit running_feed(std::unique_ptr<graph> started)
      : graph_(std::move(started)) {
    graph_->tell_to(place::supervisor, msg::role_is{role::leader});
  }

  bool stop(std::chrono::milliseconds deadline) override {
    return graph_->stop(std::chrono::steady_clock::now() + deadline);
  }

private:
  std::unique_ptr<graph> graph_;
};

} // namespace

result<std::unique_ptr<feed>> feed::start(system_options options,
                                          std::vector<known_service> known,
                                          std::optional<peer_checks> checks,
                                          outbox<loop_message>& out) {
  auto before =
      std::make_shared<const std::vector<known_service>>(std::move(known));
  auto children = [&](const context_ptr& ctx) {
    auto engine = store_actors_of(ctx->options);
    auto bind = [&](store_actors::spawner spawn) {
      return [spawn, ctx](caf::actor_system& sys) { return spawn(sys, ctx); };
    };
    std::vector<child_spec> all{
        {place::store, bind(engine.store)},
        {place::syncer,
         [ctx, before](caf::actor_system& sys) {
           return spawn_peer_syncer(sys, ctx, before);
         },
         true},
        {place::watcher, bind(engine.watcher), true},
    };
    if (checks)
      all.insert(all.begin() + 1,
                 {place::prober,
                  [ctx, before, how = *checks](caf::actor_system& sys) {
                    return spawn_peer_prober(sys, ctx, before, how);
                  },
                  true});
    return all;
  };
  auto started = graph::start(std::move(options), out, children);
  if (!started)
    return started.error();
  return std::unique_ptr<feed>(new running_feed(std::move(*started)));
}

} // namespace zedcup
