#include "actors/consul_watcher.hpp"

#include <chrono>
#include <optional>
#include <random>
#include <unordered_set>
#include <utility>

#include "actors/guard.hpp"
#include "actors/store_trouble.hpp"
#include "store/consul_protocol.hpp"
#include "store/consul_watch.hpp"

namespace zedcup {

namespace {

using std::chrono::seconds;

/// Of the short calls beside the watch, whose own tickets count up from 1.
constexpr uint64_t global_ticket = 0;
constexpr uint64_t names_ticket = UINT64_MAX;

/// A store that is back is asked within this, and served within two seconds.
constexpr std::chrono::milliseconds catch_up{1500};

struct consul_watcher_state {
  static inline const char* name = "zedcup.watcher";

  ~consul_watcher_state() { stop(); }

  caf::event_based_actor* self = nullptr;
  context_ptr ctx;
  std::vector<consul_target> targets;
  seconds wait{600};
  seconds global_interval{10};

  std::optional<consul_watch> watch; ///< engaged while leading
  uint64_t generation = 0;    ///< of `watch`: old wakes and answers are dropped
  uint64_t polls = 0;         ///< its rounds: an older round is dropped
  uint64_t watch_request = 0; ///< http_driver's id, to cancel
  uint64_t global_request = 0;
  uint64_t names_request = 0;
  bool reading_global = false; ///< one at a time, so that answers keep order
  bool global_again = false;   ///< kicked meanwhile
  bool listing_names = false;
  store_trouble_teller trouble{"consul"};

  const consul_options& options() const {
    return std::get<consul_options>(ctx->options.store);
  }

  // ---- the watch -----------------------------------------------------------

  void start() {
    consul_watch_settings settings;
    settings.targets = targets;
    settings.prefix = instances_prefix();
    settings.wait = wait;
    settings.stale_max_age = options().stale_max_age;
    settings.backoff_max = catch_up;
    watch.emplace(std::move(settings), std::random_device{}());
    ++generation;
    trouble.forget();
    reading_global = global_again = listing_names = false;
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
    ctx->http->cancel(names_request);
  }

  void drive() {
    for (;;) {
      auto now = self->clock().now();
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
    watch_request = submit(std::move(step.request), step.ticket);
  }

  uint64_t submit(http_request request, uint64_t ticket) {
    return ctx->http->submit(
        std::move(request),
        [me = caf::actor_cast<caf::actor>(self), mine = generation,
         ticket](result<http_response> answer) {
          caf::anon_send(me,
                         msg::http_done{mine, ticket,
                                        std::make_shared<result<http_response>>(
                                            std::move(answer))});
        });
  }

  void on_answer(const msg::http_done& done) {
    if (!watch || done.generation != generation)
      return;
    if (done.ticket == global_ticket)
      return on_global(*done.answer);
    if (done.ticket == names_ticket)
      return on_names(*done.answer);
    auto from = watch->target_index(); // a failure moves on to the next
    auto outcome = watch->on_answer(done.ticket, std::move(*done.answer),
                                    self->clock().now());
    if (outcome.problem)
      on_problem(*outcome.problem, from);
    else if (watch->failures() == 0)
      on_success();
    if (outcome.publish)
      tell(self->system(), place::syncer,
           msg::instances_read{
               std::make_shared<const kv_tree>(std::move(*outcome.publish))});
    drive();
  }

  void on_problem(const error& problem, size_t target) {
    auto where = targets[target].endpoint->authority();
    auto text = problem.message.rfind(where, 0) == 0
                    ? "consul " + problem.message
                    : "consul " + where + ": " + problem.message;
    trouble.failed(self->system(), *ctx->log, std::move(text));
  }

  void on_success() { trouble.works(self->system(), *ctx->log); }

  /// Forgets the request in flight (if there is one) and reads again.
  void read_again() {
    if (watch->kick())
      ctx->http->cancel(watch_request);
    drive();
  }

  // ---- what a blocking query does not tell ----------------------------------

  std::string instances_prefix() const { return ctx->options.content_prefix(); }

  /// Consul wakes a blocking query for what is deleted below its prefix, not
  /// for `kv delete -recurse` of the prefix itself or of one above it: the
  /// tombstone lies outside. And a connection may die without a sign (a
  /// firewall that forgot it): the query would sleep out its wait. So the names
  /// and the index are compared now and then.
  void list_instances() {
    if (listing_names || watch->failures() != 0 || !watch->published() ||
        watch->published()->entries.empty())
      return;
    listing_names = true;
    auto request = consul::list_folders(targets[watch->target_index()],
                                        instances_prefix());
    request.close_after = true;
    names_request = submit(std::move(request), names_ticket);
  }

  void on_names(const result<http_response>& answer) {
    listing_names = false;
    if (!answer || !watch->published())
      return;
    auto names = consul::parse_keys(*answer);
    if (!names)
      return;
    if (watch->blocks_on() != 0 && names->revision > watch->blocks_on())
      return read_again();
    const std::unordered_set<std::string> present(names->keys.begin(),
                                                  names->keys.end());
    const auto skip = instances_prefix().size();
    for (auto& entry : watch->published()->entries) {
      auto slash = entry.key.find('/', skip);
      auto folder = entry.key.substr(0, slash + (slash != std::string::npos));
      if (present.count(folder) == 0)
        return read_again();
    }
  }

  // ---- the global settings -------------------------------------------------

  std::string global_prefix() const { return ctx->options.settings_prefix(); }

  void read_global() {
    if (global_prefix().empty())
      return;
    if (reading_global) {
      global_again = true;
      return;
    }
    reading_global = true;
    auto request =
        consul::read_tree(targets[watch->target_index()], global_prefix());
    request.close_after = true; // so that a node rests on one connection
    global_request = submit(std::move(request), global_ticket);
  }

  /// An error is left to the watch, which meets it too, and to the next poll.
  void on_global(const result<http_response>& answer) {
    reading_global = false;
    if (answer)
      if (auto read = consul::parse_tree(*answer, global_prefix()))
        tell(self->system(), place::syncer,
             msg::global_read{
                 std::make_shared<const kv_tree>(std::move(read->tree))});
    if (std::exchange(global_again, false))
      read_global();
  }

  void poll_global() {
    self->delayed_send(self, global_interval, msg::global_poll{++polls});
  }

  void on_kick() {
    if (!watch)
      return;
    read_global();
    // A blocking query in flight sees the news by itself.
    if (watch->failures() > 0)
      read_again();
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
        self->state.list_instances();
        self->state.poll_global();
      },
      [=](const msg::kick&) { self->state.on_kick(); },
      [=](const msg::pace_is& pace) { self->state.on_pace(pace); },
  };
}

} // namespace

caf::actor spawn_consul_watcher(caf::actor_system& sys, context_ptr ctx) {
  return sys.spawn(consul_watcher, std::move(ctx));
}

} // namespace zedcup
