#include "actors/consul_watcher.hpp"

#include <chrono>
#include <optional>
#include <random>
#include <unordered_set>
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
  uint64_t names_request = 0;
  bool troubled = false;

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
    ctx->http->cancel(names_request);
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

  /// Unique over all watches: a cancelled request of the one before must not
  /// pass for an answer to this one.
  uint64_t with_generation(uint64_t ticket) const {
    return generation << 32 | ticket;
  }

  void send(consul_watch::step step) {
    watch_request = ctx->http->submit(
        std::move(step.request),
        [me = caf::actor_cast<caf::actor>(self),
         ticket = with_generation(step.ticket)](result<http_response> answer) {
          caf::anon_send(
              me,
              msg::http_done{ticket, std::make_shared<result<http_response>>(
                                         std::move(answer))});
        });
  }

  void on_answer(const msg::http_done& done) {
    if (!watch || done.ticket >> 32 != generation)
      return;
    auto outcome = watch->on_answer(done.ticket & UINT32_MAX,
                                    std::move(*done.answer), steady::now());
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

  /// Forgets the request in flight (if there is one) and reads again.
  void read_again() {
    if (watch->kick())
      ctx->http->cancel(watch_request);
    drive();
  }

  // ---- deletions from further up -------------------------------------------

  std::string instances_prefix() const {
    return ctx->options.prefix + "/instances/";
  }

  /// Consul wakes a blocking query for what is deleted below its prefix, not
  /// for `kv delete -recurse` of the prefix itself or of one above it: the
  /// tombstone lies outside. So the names are compared now and then.
  void list_instances() {
    auto request = consul::list_folders(targets[watch->target_index()],
                                        instances_prefix());
    request.close_after = true;
    names_request = ctx->http->submit(
        std::move(request),
        [me = caf::actor_cast<caf::actor>(self)](result<http_response> answer) {
          if (!answer)
            return;
          auto names = consul::parse_keys(*answer);
          if (names)
            caf::anon_send(me, msg::folders_read{std::move(*names)});
        });
  }

  void on_folders(const std::vector<std::string>& folders) {
    if (!watch || !watch->published())
      return;
    const std::unordered_set<std::string> present(folders.begin(),
                                                  folders.end());
    const auto skip = instances_prefix().size();
    for (auto& entry : watch->published()->entries) {
      auto slash = entry.key.find('/', skip);
      auto folder = entry.key.substr(0, slash + (slash != std::string::npos));
      if (present.count(folder) == 0)
        return read_again();
    }
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
        self->state.list_instances();
        self->state.poll_global();
      },
      [=](const msg::folders_read& read) {
        self->state.on_folders(read.folders);
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
        if (st.watch->failures() > 0)
          st.read_again();
      },
      [=](const msg::pace_is& pace) { self->state.on_pace(pace); },
  };
}

} // namespace

caf::actor spawn_consul_watcher(caf::actor_system& sys, context_ptr ctx) {
  return sys.spawn(consul_watcher, std::move(ctx));
}

} // namespace zedcup
