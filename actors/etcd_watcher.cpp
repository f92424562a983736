#include <chrono>
#include <memory>
#include <optional>
#include <random>
#include <utility>

#include "actors/etcd_actors.hpp"
#include "actors/etcd_caller.hpp"
#include "actors/guard.hpp"
#include "actors/store_trouble.hpp"
#include "store/etcd_stream.hpp"
#include "store/etcd_watch.hpp"

namespace zedcup {

namespace {

/// A message of the stream, at most: etcd's own limit is 1.5 MiB a request,
/// and a fragment is smaller.
constexpr size_t longest_message = size_t{64} << 20;

/// A member that does not answer a look within this has died unseen.
constexpr std::chrono::milliseconds look_timeout{2000};

struct etcd_watcher_state {
  static inline const char* name = "zedcup.watcher";

  /// Nobody may be called back into a state that is half gone.
  ~etcd_watcher_state() {
    if (caller)
      caller->cancel_all();
  }

  caf::event_based_actor* self = nullptr;
  context_ptr ctx;
  std::unique_ptr<etcd_caller> caller;
  std::chrono::seconds look_interval{10};

  std::optional<etcd_watch> watch; ///< engaged while leading
  uint64_t generation = 0;         ///< of `watch`: old wakes are dropped
  uint64_t stream_number = 0;      ///< old messages are dropped
  uint64_t stream_ticket = 0;
  uint64_t looks = 0; ///< their rounds: an older round is dropped
  bool looking = false;
  std::vector<kv_entry> settings; ///< as the syncer was told; empty: nothing
  bool told_settings = false;
  store_trouble_teller trouble{"etcd"};

  // "config/" and "instances/" are neighbours: nothing of zedcup's lies
  // between them, so one range is both.
  std::string first() const {
    return follows_settings() ? ctx->options.settings_prefix() : middle();
  }
  std::string middle() const { return ctx->options.content_prefix(); }
  std::string end() const { return etcd::prefix_end(middle()); }
  bool follows_settings() const {
    return !ctx->options.settings_prefix().empty();
  }

  void start() {
    watch.emplace(etcd_watch_settings{}, std::random_device{}());
    ++generation;
    trouble.forget();
    told_settings = looking = false;
    look_later();
    drive();
  }

  void stop() {
    if (!watch)
      return;
    watch.reset();
    ++generation;
    ++stream_number;
    ++looks;
    caller->cancel_all();
  }

  void drive() {
    for (;;) {
      auto now = self->clock().now();
      auto step = watch->next(now);
      switch (step.what) {
      case etcd_watch::step::action::read:
        read();
        break;
      case etcd_watch::step::action::stream:
        open_stream(step.revision);
        break;
      case etcd_watch::step::action::wait:
        self->delayed_send(self, step.until - now, msg::wake{generation});
        return;
      case etcd_watch::step::action::idle:
        return;
      }
    }
  }

  // ---- reading -------------------------------------------------------------

  void read() {
    caller->call(
        etcd::read_range(first(), end()), [this](result<http_response> answer) {
          auto parsed = answer ? etcd::parse_range(*answer)
                               : result<etcd::range_answer>{answer.error()};
          follow(watch->on_read(std::move(parsed), self->clock().now()));
        });
  }

  void follow(etcd_watch::outcome outcome) {
    if (outcome.close_stream) {
      ++stream_number;
      caller->cancel(stream_ticket);
    }
    if (outcome.problem)
      on_problem(*outcome.problem);
    if (outcome.publish) {
      on_success();
      publish(std::move(*outcome.publish));
    }
    drive();
  }

  void publish(kv_tree read) {
    auto config = std::make_shared<kv_tree>();
    auto instances = std::make_shared<kv_tree>();
    config->revision = instances->revision = read.revision;
    const auto config_prefix = first();
    const auto instances_prefix = middle();
    for (auto& entry : read.entries) {
      if (entry.key.compare(0, instances_prefix.size(), instances_prefix) == 0)
        instances->entries.push_back(std::move(entry));
      else if (entry.key.compare(0, config_prefix.size(), config_prefix) == 0)
        config->entries.push_back(std::move(entry));
    }
    if (follows_settings() && (!told_settings || settings != config->entries)) {
      told_settings = true;
      settings = config->entries;
      tell(self->system(), place::syncer, msg::global_read{std::move(config)});
    }
    tell(self->system(), place::syncer,
         msg::instances_read{std::move(instances)});
  }

  void on_problem(const error& problem) {
    trouble.failed(self->system(), *ctx->log, problem.message);
  }

  void on_success() { trouble.works(self->system(), *ctx->log); }

  // ---- the stream ----------------------------------------------------------

  void open_stream(uint64_t revision) {
    auto mine = ++stream_number;
    auto splitter = std::make_shared<json_splitter>(longest_message);
    auto sink = [me = caf::actor_cast<caf::actor>(self), mine,
                 splitter](std::string_view piece) {
      return splitter->feed(piece, [&](std::string_view object) {
        caf::anon_send(me, msg::etcd_event{mine, etcd::parse_watch(object)});
      });
    };
    stream_ticket = caller->stream(
        etcd::watch_range(first(), end(), revision), std::move(sink),
        [this, mine](result<http_response> answer) {
          if (!watch || mine != stream_number)
            return;
          auto why = !answer ? answer.error()
                     : answer->status == 200
                         ? error{errc::unavailable, "etcd " + caller->where() +
                                                        ": the watch ended"}
                         : etcd::refusal(*answer);
          follow(watch->on_stream_end(std::move(why), self->clock().now()));
        });
  }

  void on_event(const msg::etcd_event& event) {
    if (!watch || event.stream != stream_number)
      return;
    auto now = self->clock().now();
    if (event.message)
      return follow(watch->on_message(*event.message, now));
    ++stream_number;
    caller->cancel(stream_ticket);
    follow(watch->on_stream_end(event.message.error(), now));
  }

  // ---- beside the stream ---------------------------------------------------

  void look_later() {
    self->delayed_send(self, look_interval, msg::global_poll{++looks});
  }

  /// A connection may die without a sign (a firewall that forgot it): whether
  /// the stream sleeps while it should not is looked at now and then.
  void look() {
    if (looking || !watch->streaming())
      return;
    looking = true;
    caller->call(
        etcd::look_range(first(), end()),
        [this](result<http_response> answer) {
          looking = false;
          auto seen = answer ? etcd::parse_look(*answer)
                             : result<etcd::look_answer>{answer.error()};
          if (seen)
            return follow(watch->on_look(*seen));
          ++stream_number;
          caller->cancel(stream_ticket);
          follow(watch->on_stream_end(seen.error(), self->clock().now()));
        },
        look_timeout);
  }

  void on_kick() {
    if (!watch)
      return;
    watch->kick();
    drive();
  }
};

caf::behavior etcd_watcher(caf::stateful_actor<etcd_watcher_state>* self,
                           context_ptr ctx) {
  log_exceptions(self, ctx);
  auto& state = self->state;
  state.self = self;
  state.ctx = std::move(ctx);
  state.caller = std::make_unique<etcd_caller>(self, state.ctx);
  return {
      [=](const msg::role_is& changed) {
        self->state.stop();
        if (changed.now == role::leader)
          self->state.start();
      },
      [=](const msg::http_done& done) { self->state.caller->on_answer(done); },
      [=](const msg::etcd_event& event) { self->state.on_event(event); },
      [=](const msg::wake& due) {
        if (self->state.watch && due.generation == self->state.generation)
          self->state.drive();
      },
      [=](const msg::global_poll& due) {
        if (!self->state.watch || due.round != self->state.looks)
          return;
        self->state.look();
        self->state.look_later();
      },
      [=](const msg::kick&) { self->state.on_kick(); },
      [=](const msg::pace_is& pace) {
        const bool sooner = pace.interval < self->state.look_interval;
        self->state.look_interval = pace.interval;
        if (self->state.watch && sooner)
          self->state.look_later(); // not when the old interval is over
      },
  };
}

} // namespace

caf::actor spawn_etcd_watcher(caf::actor_system& sys, context_ptr ctx) {
  return sys.spawn(etcd_watcher, std::move(ctx));
}

} // namespace zedcup
