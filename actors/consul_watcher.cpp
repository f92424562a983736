#include "actors/consul_watcher.hpp"

#include <chrono>
#include <optional>
#include <random>
#include <utility>

#include "actors/guard.hpp"
#include "store/consul_protocol.hpp"
#include "store/consul_watch.hpp"

namespace zedcup {

namespace {

using std::chrono::seconds;
using steady = std::chrono::steady_clock;

struct consul_watcher_state {
  static inline const char* name = "zedcup.watcher";

  ~consul_watcher_state() { stop(); }

  caf::event_based_actor* self = nullptr;
  context_ptr ctx;
  std::vector<consul_target> targets;
  seconds wait{600};
  seconds global_interval{10};

  std::optional<consul_watch> watch; ///< engaged while leading
  uint64_t generation = 0;           ///< of `watch`: old wakes are dropped
  uint64_t polls = 0;                ///< its rounds: an older round is dropped
  uint64_t watch_request = 0;        ///< http_driver's id, to cancel
  uint64_t global_request = 0;
  uint64_t probe_request = 0;
  bool troubled = false;

  const consul_options& options() const {
    return std::get<consul_options>(ctx->options.store);
  }

  // ---- the watch -----------------------------------------------------------

  void start() {
    consul_watch_settings settings;
    settings.targets = targets;
    settings.prefix = ctx->options.prefix + "/instances/";
    settings.wait = wait;
    settings.stale_max_age = options().stale_max_age;
    watch.emplace(std::move(settings), std::random_device{}());
    ++generation;
    troubled = false;
    read_global();
    poll_global();
    drive();
  }

  void stop() {
    if (!watch)
      return;
    watch.reset();
    ++generation;
    ++polls;
    ctx->http->cancel(watch_request);
    ctx->http->cancel(global_request);
    ctx->http->cancel(probe_request);
  }

  void drive() {
    for (;;) {
      auto now = steady::now();
      auto step = watch->next(now);
      switch (step.what) {
      case consul_watch::step::action::send:
        send(std::move(step));
        break;
      case consul_watch::step::action::wait:
        self->delayed_send(self, step.until - now, msg::wake{generation});
        return;
      case consul_watch::step::action::idle:
        return;
      }
    }
  }

  void send(consul_watch::step step) {
    watch_request = ctx->http->submit(
        std::move(step.request),
        [me = caf::actor_cast<caf::actor>(self),
         ticket = step.ticket](result<http_response> answer) {
          caf::anon_send(
              me,
              msg::http_done{ticket, std::make_shared<result<http_response>>(
                                         std::move(answer))});
        });
  }

  void on_answer(const msg::http_done& done) {
    if (!watch)
      return;
    auto outcome =
        watch->on_answer(done.ticket, std::move(*done.answer), steady::now());
    if (outcome.problem)
      on_problem(*outcome.problem);
    else if (watch->failures() == 0)
      on_success();
    if (outcome.publish)
      tell(self->system(), place::syncer,
           msg::instances_read{
               std::make_shared<const kv_tree>(std::move(*outcome.publish))});
    drive();
  }

  void on_problem(const error& problem) {
    auto where = targets[watch->target_index()].endpoint->authority();
    auto text = problem.message.rfind(where, 0) == 0
                    ? "consul " + problem.message
                    : "consul " + where + ": " + problem.message;
    // The first of a row is news, the rest would only fill the log.
    if (troubled)
      ctx->log->debug("{}", text);
    else
      ctx->log->warn("{}; trying again", text);
    troubled = true;
    tell(self->system(), place::syncer, msg::trouble{std::move(text)});
  }

  void on_success() {
    if (!troubled)
      return;
    troubled = false;
    ctx->log->info("consul answers again");
    tell(self->system(), place::syncer, msg::trouble{});
  }

  // ---- the global settings -------------------------------------------------

  void read_global() {
    auto& to = targets[watch->target_index()];
    auto prefix = ctx->options.prefix + "/config/";
    auto request = consul::read_tree(to, prefix);
    request.close_after = true; // so that a node rests on one connection
    global_request = ctx->http->submit(
        std::move(request), [me = caf::actor_cast<caf::actor>(self),
                             prefix](result<http_response> answer) {
          if (!answer)
            return; // the watch reports the store's troubles
          auto read = consul::parse_tree(*answer, prefix);
          if (read)
            caf::anon_send(me, msg::global_read{std::make_shared<const kv_tree>(
                                   std::move(read->tree))});
        });
  }

  // ---- what the watch may sleep through (consul::probe_tree) ---------------

  bool serves_something() const {
    return watch && watch->published() && !watch->published()->entries.empty();
  }

  void probe() {
    if (!serves_something() || watch->failures() != 0)
      return;
    auto request = consul::probe_tree(targets[watch->target_index()],
                                      ctx->options.prefix + "/instances/");
    request.close_after = true;
    probe_request = ctx->http->submit(
        std::move(request),
        [me = caf::actor_cast<caf::actor>(self)](result<http_response> answer) {
          if (!answer)
            return;
          auto none = consul::parse_probe(*answer);
          if (none && *none)
            caf::anon_send(me, msg::all_gone{});
        });
  }

  void look_again() {
    if (watch->kick())
      ctx->http->cancel(watch_request);
    drive();
  }

  void poll_global() {
    self->delayed_send(self, global_interval, msg::global_poll{++polls});
  }

  void on_pace(const msg::pace_is& pace) {
    const bool sooner = pace.interval < global_interval;
    global_interval = pace.interval;
    if (wait == pace.wait) {
      if (watch && sooner)
        poll_global(); // not when the old interval is over
      return;
    }
    wait = pace.wait;
    if (watch) {
      stop();
      start();
    }
  }
};

caf::behavior consul_watcher(caf::stateful_actor<consul_watcher_state>* self,
                             context_ptr ctx) {
  log_exceptions(self, ctx);
  auto& state = self->state;
  state.self = self;
  state.ctx = std::move(ctx);
  state.targets = consul_targets(state.options());
  return {
      [=](const msg::role_is& changed) {
        self->state.stop();
        if (changed.now == role::leader)
          self->state.start();
      },
      [=](const msg::http_done& done) { self->state.on_answer(done); },
      [=](const msg::wake& due) {
        if (self->state.watch && due.generation == self->state.generation)
          self->state.drive();
      },
      [=](const msg::global_poll& due) {
        if (!self->state.watch || due.round != self->state.polls)
          return;
        self->state.read_global();
        self->state.probe();
        self->state.poll_global();
      },
      [=](const msg::all_gone&) {
        if (self->state.serves_something())
          self->state.look_again();
      },
      [=](const msg::global_read& read) {
        if (self->state.watch)
          tell(self->system(), place::syncer, read);
      },
      [=](const msg::kick&) {
        auto& st = self->state;
        if (!st.watch)
          return;
        st.read_global();
        // A blocking query in flight sees the news by itself.
        if (st.watch->failures() != 0)
          st.look_again();
      },
      [=](const msg::pace_is& pace) { self->state.on_pace(pace); },
  };
}

} // namespace

caf::actor spawn_consul_watcher(caf::actor_system& sys, context_ptr ctx) {
  return sys.spawn(consul_watcher, std::move(ctx));
}

} // namespace zedcup
