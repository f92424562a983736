#include "actors/session.hpp"

#include <algorithm>
#include <map>
#include <random>
#include <utility>

#include "actors/guard.hpp"
#include "health/process_mark.hpp"

namespace zedcup {

namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using time_point = std::chrono::steady_clock::time_point;

constexpr seconds order_timeout{10};
constexpr seconds settings_patience{2};
constexpr seconds watch_wait{60};

/// Between two looks at the locks, of which one at least was for nothing.
constexpr milliseconds watch_pace{1000};
/// Between two looks that both saw something new.
constexpr milliseconds busy_pace{100};

/// An answer from before a lock was taken is not on its way for longer.
constexpr seconds old_news{5};

/// Consul's `session_ttl_min`, unless it is configured.
constexpr milliseconds usual_ttl_min{10000};

struct wanted_lock {
  place who;
  bool held = false;
  bool trying = false;
  uint64_t since = 0; ///< revision at which it was taken
  time_point taken{};
};

struct session_state {
  static inline const char* name = "zedcup.session";

  caf::event_based_actor* self = nullptr;
  context_ptr ctx;
  process_mark mark;
  std::string registry_prefix, locks_prefix;

  bool leads = false;
  uint64_t generation = 0; ///< of a session; messages of an old one are dropped
  bool started = false;    ///< the settings are known, or were waited for
  global_config settings;
  milliseconds ttl_min{0}; ///< the store refuses less

  std::string id; ///< empty: none
  milliseconds ttl{0};
  time_point valid_until{};
  unsigned failures = 0; ///< in a row
  std::minstd_rand random{std::random_device{}()};

  std::map<std::string, wanted_lock> wanted;
  uint64_t index = 0;
  bool watching = false;

  /// Sessions that are being destroyed, and who waits for their end.
  size_t ending = 0;
  std::vector<std::shared_ptr<const std::function<void()>>> waiting;
  bool over = false;

  time_point now() const { return self->clock().now(); }

  // ---- beginning and end ---------------------------------------------------

  void set_role(role changed) {
    leads = changed == role::leader;
    started = false;
    drop();
    if (leads && !over)
      self->delayed_send(self, settings_patience, msg::wake{generation});
  }

  void on_settings(const global_config& now_set) {
    const bool same =
        now_set.session_ttl == settings.session_ttl &&
        now_set.session_renew_interval == settings.session_renew_interval;
    settings = now_set;
    if (!leads || over || (started && same))
      return;
    drop();
    open();
  }

  /// Destroys the session, if there is one.
  void drop() {
    ++generation;
    lose_locks();
    index = 0;
    watching = false;
    failures = 0;
    if (!id.empty())
      destroy(std::exchange(id, {}));
  }

  void destroy(std::string old) {
    auto store = lookup(self->system(), place::store);
    if (!store)
      return;
    ++ending;
    const auto ended = [this] {
      if (--ending == 0)
        for (auto& done : std::exchange(waiting, {}))
          (*done)();
    };
    self->request(
            store, order_timeout,
            msg::session_order{
                msg::session_order::verb::destroy, std::move(old), {}, {}})
        .then([ended](const msg::session_reply&) { ended(); },
              [ended](const caf::error&) { ended(); });
  }

  void finish(const msg::session_end& order) {
    over = true;
    drop();
    if (ending == 0)
      return (*order.done)();
    waiting.push_back(order.done);
  }

  // ---- the session ---------------------------------------------------------

  template <class Reply, class Order, class Then>
  void ask(Order order, Then then) {
    auto store = lookup(self->system(), place::store);
    if (!store)
      return retry("the store is being restarted");
    self->request(store, order_timeout, std::move(order))
        .then(
            [this, then, mine = generation](const Reply& reply) {
              if (mine == generation)
                then(reply);
            },
            [this, mine = generation](const caf::error& failure) {
              if (mine == generation)
                retry(self->system().render(failure));
            });
  }

  /// First whatever an earlier leader of this node left behind.
  void open() {
    started = true;
    ask<msg::read_reply>(msg::read_order{registry_prefix},
                         [this](const msg::read_reply& reply) {
                           if (!reply.content)
                             return retry(reply.content.error().message);
                           end_stale(**reply.content);
                           create();
                         });
  }

  void end_stale(const kv_tree& registry) {
    for (auto& entry : registry.entries)
      if (!entry.session.empty() &&
          mark.knows_ended(process_mark::parse(entry.value)))
        destroy(entry.session);
  }

  bool at_consul() const {
    return std::holds_alternative<consul_options>(ctx->options.store);
  }

  milliseconds wanted_ttl() const {
    const milliseconds whole = settings.session_ttl;
    if (!at_consul())
      return whole;
    return std::max<milliseconds>({whole / 2, seconds{1}, ttl_min});
  }

  void create() {
    ttl = wanted_ttl();
    msg::session_order order{msg::session_order::verb::create,
                             {},
                             "zedcup: " + std::to_string(mark.pid),
                             ttl};
    ask<msg::session_reply>(std::move(order),
                            [this, sent = now()](const msg::session_reply& r) {
                              if (!r.id)
                                return refused(r.id.error());
                              id = *r.id;
                              valid_until = sent + ttl;
                              enroll();
                            });
  }

  void refused(const error& problem) {
    if (ttl < usual_ttl_min &&
        problem.message.find("Session TTL") != std::string::npos) {
      ctx->log->warn("the store refuses a session of {} ms ({}); a dead node's "
                     "locks become free after up to {} s",
                     ttl.count(), problem.message,
                     2 * usual_ttl_min.count() / 1000);
      ttl_min = usual_ttl_min;
      return create();
    }
    retry(problem.message);
  }

  void enroll() {
    kv_op op;
    op.what = kv_op::verb::lock;
    op.key = registry_prefix + id;
    op.value = mark.to_json();
    op.session = id;
    ask<msg::commit_reply>(msg::commit_order{{op}},
                           [this](const msg::commit_reply& reply) {
                             if (!reply.outcome)
                               return retry(reply.outcome.error().message);
                             established();
                           });
  }

  void established() {
    if (std::exchange(failures, 0) != 0)
      ctx->log->info("the session is there again");
    renew_later(renew_interval());
    look();
  }

  milliseconds renew_interval() const {
    return std::min<milliseconds>(settings.session_renew_interval, ttl / 3);
  }

  void renew_later(milliseconds delay) {
    self->delayed_send(self, delay, msg::renew_due{generation});
  }

  /// Whatever failed, there is no usable session: another, a little later.
  void retry(const std::string& why) {
    const auto failed = failures;
    drop();
    failures = failed + 1;
    if (failures == 1)
      ctx->log->warn("no session in the store: {}; trying again", why);
    auto delay = std::min(milliseconds{500} * (1 << std::min(failures, 5U)),
                          milliseconds{10000});
    std::uniform_int_distribution<int64_t> jitter(0, delay.count() / 4);
    started = false;
    self->delayed_send(self, delay + milliseconds{jitter(random)},
                       msg::wake{generation});
  }

  void renew() {
    if (now() >= valid_until)
      return retry("it could not be renewed in time");
    auto store = lookup(self->system(), place::store);
    if (!store)
      return renew_later(watch_pace);
    const auto left =
        std::chrono::duration_cast<milliseconds>(valid_until - now());
    const auto again = [this, mine = generation] {
      if (mine == generation)
        renew_later(std::min(renew_interval(), watch_pace));
    };
    self->request(
            store, std::min<milliseconds>(left, order_timeout),
            msg::session_order{msg::session_order::verb::renew, id, {}, {}})
        .then(
            [this, again, sent = now(),
             mine = generation](const msg::session_reply& reply) {
              if (mine != generation)
                return;
              if (reply.id)
                return renewed(sent);
              if (reply.id.error().code != errc::not_found)
                return again();
              id.clear(); // nothing to destroy
              lost();
            },
            [again](const caf::error&) { again(); });
  }

  void renewed(time_point sent) {
    valid_until = sent + ttl;
    for (auto& [lock, mine] : wanted)
      if (mine.held)
        report(lock, mine);
    renew_later(renew_interval());
  }

  void lost() {
    ctx->log->warn("the session has ended in the store; making another");
    drop();
    open();
  }

  // ---- the locks -----------------------------------------------------------

  void report(const std::string& lock, const wanted_lock& mine) {
    tell(self->system(), mine.who, msg::lock_is{lock, mine.held, valid_until});
  }

  void set_held(const std::string& lock, wanted_lock& mine, bool held) {
    if (std::exchange(mine.held, held) == held)
      return;
    ctx->log->info("this node {} the lock {}{}",
                   held ? "holds" : "no longer holds", locks_prefix, lock);
    report(lock, mine);
  }

  void lose_locks() {
    for (auto& [lock, mine] : wanted) {
      mine.trying = false;
      mine.since = 0;
      set_held(lock, mine, false);
    }
  }

  void want(const msg::lock_wanted& order) {
    auto& mine = wanted[order.name];
    mine.who = order.who;
    report(order.name, mine);
    if (!id.empty() && !watching)
      look();
  }

  /// Waits until something changes below locks/.
  void look() {
    if (watching || wanted.empty() || id.empty())
      return;
    watching = true;
    auto store = lookup(self->system(), place::store);
    if (!store)
      return look_later(watch_pace);
    // Longer than Consul's own bound, and than the request's.
    constexpr seconds bound = watch_wait + watch_wait / 16 + seconds{60};
    self->request(store, bound,
                  msg::watch_order{locks_prefix, index, watch_wait})
        .then(
            [this, mine = generation](const msg::read_reply& reply) {
              if (mine == generation)
                on_look(reply.content);
            },
            [this, mine = generation](const caf::error&) {
              if (mine == generation)
                look_later(watch_pace);
            });
  }

  void look_later(milliseconds delay) {
    self->delayed_send(self, delay, msg::watch_due{generation});
  }

  void on_look(const result<std::shared_ptr<const kv_tree>>& content) {
    if (!content)
      return look_later(watch_pace); // the renewal tells whether it is serious
    const auto& tree = **content;
    const bool news = tree.revision != index;
    index = tree.revision < index ? 0 : tree.revision;
    bool all_settled = true;
    for (auto& [lock, mine] : wanted)
      all_settled = settle(lock, mine, tree) && all_settled;
    // A free lock that is refused has a lock-delay, which no change will end.
    if (!all_settled)
      index = 0;
    // Only Consul waits for news; the others' revision grows with every write.
    look_later(at_consul() && news && all_settled ? busy_pace : watch_pace);
  }

  /// @returns false when the lock is free as far as `tree` knows.
  bool settle(const std::string& lock, wanted_lock& mine, const kv_tree& tree) {
    // From before we took it; but a store that was restored counts anew.
    if (tree.revision < mine.since && now() - mine.taken < old_news)
      return true;
    std::string holder;
    for (auto& entry : tree.entries)
      if (entry.key == locks_prefix + lock)
        holder = entry.session;
    set_held(lock, mine, holder == id);
    if (holder.empty())
      acquire(lock, mine);
    return !holder.empty();
  }

  void acquire(const std::string& lock, wanted_lock& mine) {
    auto store = lookup(self->system(), place::store);
    if (mine.trying || !store)
      return;
    mine.trying = true;
    kv_op op;
    op.what = kv_op::verb::lock;
    op.key = locks_prefix + lock;
    op.value = "locked: " + std::to_string(mark.pid);
    op.session = id;
    self->request(store, order_timeout, msg::commit_order{{op}})
        .then(
            [this, lock = lock, was = generation](const msg::commit_reply& r) {
              if (was == generation)
                on_acquired(wanted[lock], lock, r.outcome);
            },
            [this, lock = lock, was = generation](const caf::error&) {
              if (was == generation)
                wanted[lock].trying = false;
            });
  }

  void on_acquired(wanted_lock& mine, const std::string& lock,
                   const result<commit_result>& outcome) {
    mine.trying = false;
    if (!outcome)
      return; // somebody was quicker, or the next look tries again
    mine.since = outcome->revision;
    mine.taken = now();
    set_held(lock, mine, true);
  }
};

caf::behavior session(caf::stateful_actor<session_state>* self,
                      context_ptr ctx) {
  log_exceptions(self, ctx);
  auto& state = self->state;
  state.self = self;
  state.mark = process_mark::own(ctx->run);
  state.registry_prefix = ctx->options.prefix + "/registry/";
  state.locks_prefix = ctx->options.prefix + "/locks/";
  state.ctx = std::move(ctx);
  const auto current = [self](uint64_t generation) {
    return self->state.leads && !self->state.over &&
           generation == self->state.generation;
  };
  return {
      [=](const msg::role_is& changed) { self->state.set_role(changed.now); },
      [=](const msg::global_is& set) { self->state.on_settings(set.config); },
      [=](const msg::lock_wanted& order) { self->state.want(order); },
      [=](const msg::session_end& order) { self->state.finish(order); },
      [=](const msg::wake& due) {
        if (current(due.generation) && !self->state.started)
          self->state.open();
      },
      [=](const msg::renew_due& due) {
        if (current(due.generation))
          self->state.renew();
      },
      [=](const msg::watch_due& due) {
        if (!current(due.generation))
          return;
        self->state.watching = false;
        self->state.look();
      },
  };
}

} // namespace

caf::actor spawn_session(caf::actor_system& sys, context_ptr ctx) {
  return sys.spawn(session, std::move(ctx));
}

} // namespace zedcup
