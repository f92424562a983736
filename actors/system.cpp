#include "actors/system.hpp"

#include <algorithm>
#include <future>

#include "actors/graph.hpp"
#include "actors/host_reviver.hpp"
#include "actors/keeper.hpp"
#include "actors/outcomes.hpp"
#include "actors/prober.hpp"
#include "actors/session.hpp"
#include "actors/syncer.hpp"
#include "actors/writer.hpp"

namespace zedcup {

namespace {

/// What the end of the session may take of the deadline of stop().
constexpr std::chrono::milliseconds session_patience{40};

std::vector<child_spec> children_for(const context_ptr& ctx) {
  auto engine = store_actors_of(ctx->options);
  auto bind = [&](store_actors::spawner spawn) {
    return [spawn, ctx](caf::actor_system& sys) { return spawn(sys, ctx); };
  };
  std::vector<child_spec> children = {
      {place::store, bind(engine.store)},
      {place::syncer, bind(spawn_syncer), true},
      {place::writer, bind(spawn_writer)},
      {place::outcomes, bind(spawn_outcomes)},
      // Before the watcher, so that they know the role when content comes.
      {place::session, bind(spawn_session), true},
      {place::prober, bind(spawn_prober), true},
      {place::host_reviver, bind(spawn_host_reviver), true},
  };
  if (!ctx->options.state_dir.empty())
    children.push_back(
        {place::keeper,
         [ctx](caf::actor_system& sys) { return spawn_keeper(sys, ctx); },
         true});
  children.push_back({place::watcher, bind(engine.watcher), true});
  return children;
}

class running_system final : public system {
public:
  explicit running_system(std::unique_ptr<graph> started)
      : graph_(std::move(started)) {}

  void set_role(role now) override {
    graph_->tell_to(place::supervisor, msg::role_is{now});
  }

  void follow_instance(std::string name, uint64_t revision,
                       std::string json) override {
    graph_->tell_to(place::syncer, msg::zone_instance{std::move(name), revision,
                                                      std::move(json)});
  }

  void follow_global(uint64_t revision, std::string json) override {
    graph_->tell_to(place::syncer, msg::zone_global{revision, std::move(json)});
  }

  void follow_synced(uint64_t revision, uint64_t restored) override {
    graph_->tell_to(place::syncer, msg::zone_synced{revision, restored});
  }

  void kick() override { graph_->tell_to(place::watcher, msg::kick{}); }

  void write(write_order order) override {
    if (graph_->runs())
      return tell_writer(graph_->actors(), graph_->ctx().out, std::move(order));
    write_ask(graph_->ctx().out, std::move(order))
        .answer("the actors have ended", 0);
  }

  uint64_t report(std::vector<host_errors> errors) override {
    for (auto& one : errors)
      graph_->tell_to(place::outcomes,
                      msg::errors_seen{std::move(one.host), one.count,
                                       one.window, one.max_errors, one.by_probe,
                                       std::move(one.err)});
    return settle(false);
  }

  void order(host_order wanted) override {
    if (graph_->runs())
      return tell_outcomes(graph_->actors(), graph_->ctx().out,
                           std::move(wanted));
    host_ask(graph_->ctx().out, std::move(wanted))
        .answer("the actors have ended");
  }

  uint64_t leave() override { return settle(true); }

  bool stop(std::chrono::milliseconds deadline) override {
    if (!graph_->runs())
      return true;
    const auto end = std::chrono::steady_clock::now() + deadline;
    end_session(std::min(deadline / 2, session_patience));
    return graph_->stop(end);
  }

private:
  uint64_t settle(bool leaving) {
    graph_->tell_to(place::outcomes,
                    msg::settle_wanted{++settle_number_, leaving});
    return settle_number_;
  }

  /// A node that says good-bye need not be waited for: its locks are free at
  /// once. Where the store is slow, they are when the session lapses.
  void end_session(std::chrono::milliseconds patience) {
    auto ended = std::make_shared<std::promise<void>>();
    auto over = ended->get_future();
    auto session = lookup(graph_->actors(), place::session);
    if (!session)
      return;
    // An actor that has just failed never calls; hence the bound.
    caf::anon_send(
        session, msg::session_end{std::make_shared<const std::function<void()>>(
                     [ended] { ended->set_value(); })});
    (void)over.wait_for(patience);
  }

  std::unique_ptr<graph> graph_;
  uint64_t settle_number_ = 0;
};

} // namespace

result<std::unique_ptr<system>> system::start(system_options options,
                                              outbox<loop_message>& out) {
  auto started = graph::start(std::move(options), out, children_for);
  if (!started)
    return started.error();
  return std::unique_ptr<system>(new running_system(std::move(*started)));
}

} // namespace zedcup
