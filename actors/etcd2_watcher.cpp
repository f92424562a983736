#include "actors/etcd2_watcher.hpp"

#include <chrono>
#include <memory>
#include <optional>
#include <random>
#include <utility>

#include "actors/guard.hpp"
#include "actors/store_trouble.hpp"
#include "store/etcd2_watch.hpp"

namespace zedcup {

namespace {

/// Tickets of looks count up from here; the watch's own from 1.
constexpr uint64_t first_look = uint64_t{1} << 63;

/// A member that does not answer a look within this has died unseen.
constexpr std::chrono::milliseconds look_timeout{2000};

struct etcd2_watcher_state {
  static inline const char* name = "zedcup.watcher";

  ~etcd2_watcher_state() { stop(); }

  caf::event_based_actor* self = nullptr;
  context_ptr ctx;
  std::chrono::seconds look_interval{10};

  std::optional<etcd2_watch> watch; ///< engaged while leading
  uint64_t generation = 0; ///< of `watch`: old wakes and answers are dropped
  uint64_t looks = 0;      ///< their rounds: an older round is dropped
  uint64_t request = 0;    ///< http_client's id, to cancel
  uint64_t look_request = 0;
  uint64_t looking = 0; ///< the ticket of the look in flight; 0: none
  store_trouble_teller trouble{"etcd"};

  void start() {
    etcd2_watch_settings settings;
    settings.targets =
        etcd2::make_targets(std::get<etcd_options>(ctx->options.store));
    settings.path = ctx->options.content_prefix();
    watch.emplace(std::move(settings), std::random_device{}());
    ++generation;
    trouble.forget();
    looking = 0;
    look_later();
    drive();
  }

  void stop() {
    if (!watch)
      return;
    watch.reset();
    ++generation;
    ++looks;
    ctx->http->cancel(request);
    ctx->http->cancel(look_request);
  }

  void drive() {
    for (;;) {
      auto now = self->clock().now();
      auto step = watch->next(now);
      switch (step.what) {
      case etcd2_watch::step::action::send:
        request = submit(std::move(step.request), step.ticket);
        break;
      case etcd2_watch::step::action::wait:
        self->delayed_send(self, step.until - now, msg::wake{generation});
        return;
      case etcd2_watch::step::action::idle:
        return;
      }
    }
  }

  uint64_t submit(http_request what, uint64_t ticket) {
    return ctx->http->submit(
        std::move(what),
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
    const auto where = watch->target()->authority(); // a failure moves on
    const auto now = self->clock().now();
    if (done.ticket < first_look)
      return follow(watch->on_answer(done.ticket, std::move(*done.answer), now),
                    where);
    if (done.ticket != looking)
      return; // of a member that calls no longer go to
    looking = 0;
    follow(watch->on_look(std::move(*done.answer), now), where);
  }

  void follow(etcd2_watch::outcome outcome, const std::string& where) {
    if (outcome.cancel)
      ctx->http->cancel(request);
    if (outcome.problem) {
      looking = 0;
      ctx->http->cancel(look_request);
      trouble.failed(self->system(), *ctx->log,
                     placed(outcome.problem->message, where));
    }
    if (outcome.works)
      trouble.works(self->system(), *ctx->log);
    if (outcome.publish)
      tell(self->system(), place::syncer,
           msg::instances_read{
               std::make_shared<const kv_tree>(std::move(*outcome.publish))});
    drive();
  }

  static std::string placed(const std::string& text, const std::string& where) {
    if (text.find(where) != std::string::npos)
      return "etcd " + text;
    constexpr std::string_view head = "etcd: ";
    return "etcd " + where + ": " +
           (text.rfind(head, 0) == 0 ? text.substr(head.size()) : text);
  }

  // ---- beside the long poll ------------------------------------------------

  void look_later() {
    self->delayed_send(self, look_interval, msg::global_poll{++looks});
  }

  /// A connection may die without a sign (a firewall that forgot it), and a
  /// member that lost the others has no news: asked now and then.
  void look() {
    if (looking != 0 || !watch->may_look())
      return;
    looking = first_look + looks;
    auto what = etcd2::look(watch->target(), watch->path());
    what.timeout = look_timeout;
    look_request = submit(std::move(what), looking);
  }
};

caf::behavior etcd2_watcher(caf::stateful_actor<etcd2_watcher_state>* self,
                            context_ptr ctx) {
  log_exceptions(self, ctx);
  auto& state = self->state;
  state.self = self;
  state.ctx = std::move(ctx);
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
        if (!self->state.watch || due.round != self->state.looks)
          return;
        self->state.look();
        self->state.look_later();
      },
  };
}

} // namespace

caf::actor spawn_etcd2_watcher(caf::actor_system& sys, context_ptr ctx) {
  return sys.spawn(etcd2_watcher, std::move(ctx));
}

} // namespace zedcup
