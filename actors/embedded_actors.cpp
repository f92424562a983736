#include "actors/embedded_actors.hpp"

#include <chrono>
#include <optional>
#include <utility>

#include "actors/guard.hpp"
#include "store/embedded_store.hpp"

namespace zedcup {

namespace {

constexpr std::chrono::milliseconds poll_interval{200};
constexpr std::chrono::seconds order_timeout{10};

// ---- the owner of the file -------------------------------------------------

struct embedded_store_state {
  static inline const char* name = "zedcup.store";

  context_ptr ctx;
  std::optional<embedded_store> store;

  /// Runs `use` on the open store; opens it first where needed.
  template <class T, class Use>
  result<T> with_store(Use&& use) {
    if (!store) {
      auto& target = std::get<embedded_target>(ctx->options.store);
      auto opened = embedded_store::open(target.path);
      if (!opened)
        return opened.error();
      store.emplace(std::move(*opened));
    }
    return use(*store);
  }

  using tree_ptr = std::shared_ptr<const kv_tree>;

  result<tree_ptr> read(const std::string& prefix) {
    return with_store<tree_ptr>(
        [&](embedded_store& open_store) -> result<tree_ptr> {
          auto read = open_store.read_tree(prefix);
          if (!read)
            return read.error();
          return std::make_shared<const kv_tree>(std::move(*read));
        });
  }

  /// Nobody else may be writing, and locks of the dead must become free.
  result<tree_ptr> watch(const std::string& prefix) {
    auto ended = with_store<size_t>([](embedded_store& open_store) {
      return open_store.expire_sessions();
    });
    if (!ended)
      return ended.error();
    return read(prefix);
  }

  result<std::string> session(const msg::session_order& order) {
    return with_store<std::string>(
        [&](embedded_store& open_store) -> result<std::string> {
          using verb = msg::session_order::verb;
          if (order.what == verb::create)
            return open_store.create_session(order.name, order.ttl, true);
          auto done = order.what == verb::renew
                          ? open_store.renew_session(order.id)
                          : open_store.destroy_session(order.id);
          if (!done)
            return done.error();
          return order.id;
        });
  }
};

caf::behavior
embedded_store_actor(caf::stateful_actor<embedded_store_state>* self,
                     context_ptr ctx) {
  log_exceptions(self, ctx);
  self->state.ctx = std::move(ctx);
  return {
      [=](const msg::read_order& order) {
        return msg::read_reply{self->state.read(order.prefix)};
      },
      [=](const msg::commit_order& order) {
        return msg::commit_reply{self->state.with_store<commit_result>(
            [&](embedded_store& store) { return store.commit(order.ops); })};
      },
      [=](const msg::watch_order& order) {
        return msg::read_reply{self->state.watch(order.prefix)};
      },
      [=](const msg::session_order& order) {
        return msg::session_reply{self->state.session(order)};
      },
      [=](const msg::ask_revision&) {
        return msg::revision_reply{self->state.with_store<uint64_t>(
            [](embedded_store& store) { return store.revision(); })};
      },
  };
}

// ---- the follower ----------------------------------------------------------

struct embedded_watcher_state {
  static inline const char* name = "zedcup.watcher";

  caf::event_based_actor* self = nullptr;
  context_ptr ctx;
  bool leads = false;
  uint64_t generation = 0;         ///< of a leadership: old polls are dropped
  std::optional<uint64_t> applied; ///< revision that the syncer has
  bool looking = false;            ///< a look is under way
  bool again = false;              ///< and there was news meanwhile
  /// What the syncer was told last; nullopt: nothing in this leadership, and
  /// the zone may still hold what an earlier leader complained about.
  std::optional<bool> troubled;

  void set_role(role now) {
    leads = now == role::leader;
    ++generation;
    applied.reset();
    looking = again = false;
    troubled.reset();
    if (leads)
      poll(generation);
  }

  void poll(uint64_t mine) {
    if (!leads || mine != generation)
      return;
    look();
    self->delayed_send(self, poll_interval, msg::wake{generation});
  }

  void look() {
    if (looking) {
      again = true;
      return;
    }
    auto store = lookup(self->system(), place::store);
    if (!store)
      return; // being restarted; the next poll finds it
    looking = true;
    self->request(store, order_timeout, msg::ask_revision{})
        .then(
            [this, mine = generation](const msg::revision_reply& reply) {
              if (mine == generation)
                on_revision(reply.revision);
            },
            [this, mine = generation](const caf::error& failure) {
              if (mine == generation)
                finish(self->system().render(failure));
            });
  }

  void on_revision(const result<uint64_t>& revision) {
    if (!revision)
      return finish(revision.error().message);
    if (applied && *applied == *revision)
      return finish({});
    if (ctx->options.settings_prefix().empty())
      return read_content(
          [](const kv_tree& content) { return content.revision; });
    read(ctx->options.settings_prefix(),
         [this](std::shared_ptr<const kv_tree> config) {
           // Not the revision of the later read: settings may change between
           // the two, and the next look must see that.
           auto read_at = config->revision;
           tell(self->system(), place::syncer,
                msg::global_read{std::move(config)});
           read_content([read_at](const kv_tree&) { return read_at; });
         });
  }

  /// @param revision_of says what the next look compares with
  template <class Revision>
  void read_content(Revision revision_of) {
    read(ctx->options.content_prefix(),
         [this, revision_of](std::shared_ptr<const kv_tree> content) {
           applied = revision_of(*content);
           tell(self->system(), place::syncer,
                msg::instances_read{std::move(content)});
           finish({});
         });
  }

  template <class Then>
  void read(std::string prefix, Then then) {
    auto store = lookup(self->system(), place::store);
    if (!store)
      return finish("the store is being restarted");
    self->request(store, order_timeout, msg::read_order{std::move(prefix)})
        .then(
            [this, then, mine = generation](const msg::read_reply& reply) {
              if (mine != generation)
                return;
              if (reply.content)
                then(*reply.content);
              else
                finish(reply.content.error().message);
            },
            [this, mine = generation](const caf::error& failure) {
              if (mine == generation)
                finish(self->system().render(failure));
            });
  }

  /// The engine's own errors begin with the words already.
  static std::string in_words(const std::string& problem) {
    constexpr const char* engine = "embedded store: ";
    return problem.empty() || problem.rfind(engine, 0) == 0 ? problem
                                                            : engine + problem;
  }

  void finish(const std::string& problem) {
    looking = false;
    bool failed = !problem.empty();
    if (failed && troubled != true)
      ctx->log->warn("{}; trying again", in_words(problem));
    if (failed || troubled != false)
      tell(self->system(), place::syncer, msg::trouble{in_words(problem)});
    troubled = failed;
    if (std::exchange(again, false))
      look();
  }
};

caf::behavior
embedded_watcher(caf::stateful_actor<embedded_watcher_state>* self,
                 context_ptr ctx) {
  log_exceptions(self, ctx);
  auto& state = self->state;
  state.self = self;
  state.ctx = std::move(ctx);
  return {
      [=](const msg::role_is& changed) { self->state.set_role(changed.now); },
      [=](const msg::wake& due) { self->state.poll(due.generation); },
      [=](const msg::kick&) {
        if (self->state.leads)
          self->state.look();
      },
      [=](const msg::pace_is&) {}, // nothing to wait on but the poll
  };
}

} // namespace

caf::actor spawn_embedded_store(caf::actor_system& sys, context_ptr ctx) {
  return sys.spawn<caf::detached>(embedded_store_actor, std::move(ctx));
}

caf::actor spawn_embedded_watcher(caf::actor_system& sys, context_ptr ctx) {
  return sys.spawn(embedded_watcher, std::move(ctx));
}

} // namespace zedcup
