#include "actors/feed.hpp"

#include "actors/graph.hpp"
#include "actors/peer_keeper.hpp"
#include "actors/peer_prober.hpp"
#include "actors/peer_syncer.hpp"

namespace zedcup {

namespace {

using known_services = std::shared_ptr<const std::vector<known_service>>;

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

/// Calls `spawn` with whether it is the first time: who is started again cannot
/// know what was told since.
template <class Spawn>
std::function<caf::actor(caf::actor_system&)> counted(Spawn spawn) {
  return [spawn, first = true](caf::actor_system& sys) mutable {
    return spawn(sys, std::exchange(first, false));
  };
}

std::vector<child_spec> children_of(const context_ptr& ctx,
                                    const known_services& before,
                                    const std::optional<peer_checks>& checks) {
  const auto engine = store_actors_of(ctx->options);
  const auto bind = [&](store_actors::spawner spawn) {
    return [spawn, ctx](caf::actor_system& sys) { return spawn(sys, ctx); };
  };
  std::vector<child_spec> all;
  if (engine.store != nullptr) // the embedded store's watcher asks it
    all.push_back({place::store, bind(engine.store)});
  if (checks)
    all.push_back({place::prober,
                   counted([ctx, before, how = *checks](caf::actor_system& sys,
                                                        bool first) {
                     return spawn_peer_prober(sys, ctx, before, how, first);
                   }),
                   true});
  if (!ctx->options.state_dir.empty())
    all.push_back(
        {place::keeper,
         [ctx](caf::actor_system& sys) { return spawn_peer_keeper(sys, ctx); },
         true});
  all.push_back({place::syncer,
                 counted([ctx, before](caf::actor_system& sys, bool first) {
                   return spawn_peer_syncer(sys, ctx, before, first);
                 }),
                 true});
  all.push_back({place::watcher, bind(engine.watcher), true});
  return all;
}

} // namespace

result<std::unique_ptr<feed>> feed::start(system_options options,
                                          std::vector<known_service> known,
                                          std::optional<peer_checks> checks,
                                          outbox<loop_message>& out) {
  auto before =
      std::make_shared<const std::vector<known_service>>(std::move(known));
  auto started =
      graph::start(std::move(options), out, [&](const context_ptr& ctx) {
        return children_of(ctx, before, checks);
      });
  if (!started)
    return started.error();
  return std::unique_ptr<feed>(new running_feed(std::move(*started)));
}

} // namespace zedcup
