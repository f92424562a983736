#include "actors/host_reviver.hpp"

#include <algorithm>
#include <ctime>
#include <map>
#include <utility>
#include <vector>

#include "actors/guard.hpp"
#include "health/check_state.hpp"
#include "health/probe.hpp"

namespace zedcup {

namespace {

using std::chrono::seconds;
using time_point = std::chrono::steady_clock::time_point;

constexpr seconds read_timeout{10};

/// A host that is down by zedcup's own doing, and that no check watches.
struct fallen_host {
  host_ref host;
  seconds error_timeout{60};
  time_point seen_since{};
};

struct reviver_state {
  static inline const char* name = "zedcup.reviver";

  caf::event_based_actor* self = nullptr;
  context_ptr ctx;
  std::string prefix; ///< "<prefix>/state/"
  role current = role::follower;
  bool held = false;
  time_point until{};
  uint64_t generation = 0; ///< of a time with the lock and an interval
  seconds interval = global_config{}.host_revive_interval;
  std::map<std::string, std::vector<fallen_host>> fallen; ///< by instance

  time_point now() const { return self->clock().now(); }

  void set_role(role changed) {
    current = changed;
    held = false;
    ++generation;
    fallen.clear();
    if (current == role::leader)
      tell(self->system(), place::session,
           msg::lock_wanted{reviver_lock, place::host_reviver});
  }

  void on_lock(const msg::lock_is& lock) {
    if (lock.name != reviver_lock || current != role::leader)
      return;
    until = lock.until;
    if (std::exchange(held, lock.held) == lock.held)
      return;
    ++generation;
    if (held)
      look_later();
  }

  void set_interval(seconds wanted) {
    if (std::exchange(interval, wanted) == wanted || !held)
      return;
    ++generation;
    look_later();
  }

  void on_instance(const instance_config& config) {
    std::vector<fallen_host> found;
    for (const auto& pool : config.pools)
      for (const auto& host : pool.hosts)
        if (host.down_by_zedcup &&
            (!pool.up || check_in_force(config, pool, host) == nullptr))
          found.push_back(
              {{config.name, pool.index, host.index, host.address, host.port},
               pool.error_timeout,
               now()});
    keep_times(config.name, found);
    if (found.empty())
      fallen.erase(config.name);
    else
      fallen[config.name] = std::move(found);
  }

  void keep_times(const std::string& instance,
                  std::vector<fallen_host>& found) const {
    const auto known = fallen.find(instance);
    if (known == fallen.end())
      return;
    for (auto& one : found)
      for (const auto& old : known->second)
        if (old.host == one.host)
          one.seen_since = old.seen_since;
  }

  void on_names(const std::vector<std::string>& names) {
    for (auto at = fallen.begin(); at != fallen.end();)
      at = std::find(names.begin(), names.end(), at->first) == names.end()
               ? fallen.erase(at)
               : std::next(at);
  }

  void look_later() {
    self->delayed_send(self, interval, msg::wake{generation});
  }

  void look() {
    look_later();
    auto store = lookup(self->system(), place::store);
    if (fallen.empty() || !store || now() >= until)
      return;
    self->request(store, read_timeout, msg::read_order{prefix})
        .then(
            [this, mine = generation](const msg::read_reply& reply) {
              if (mine == generation && reply.content)
                revive(read_check_states(**reply.content, prefix));
            },
            [](const caf::error&) {}); // the next look is not far
  }

  void revive(const std::map<host_place, check_state>& states) const {
    for (const auto& [instance, hosts] : fallen)
      for (const auto& one : hosts)
        if (is_due(one, states))
          tell(self->system(), place::outcomes,
               msg::revival_due{one.host, false});
  }

  bool is_due(const fallen_host& one,
              const std::map<host_place, check_state>& states) const {
    const auto known = states.find(place_of(one.host));
    const int64_t clock = std::time(nullptr);
    // A time to come is another node's clock, of which nothing follows.
    if (known == states.end() || known->second.last_error == 0 ||
        known->second.last_error > clock)
      return now() - one.seen_since >= one.error_timeout;
    return clock - known->second.last_error >= one.error_timeout.count();
  }
};

caf::behavior host_reviver(caf::stateful_actor<reviver_state>* self,
                           context_ptr ctx) {
  log_exceptions(self, ctx);
  auto& state = self->state;
  state.self = self;
  state.prefix = ctx->options.prefix + "/state/";
  state.ctx = std::move(ctx);
  return {
      [=](const msg::role_is& changed) { self->state.set_role(changed.now); },
      [=](const msg::lock_is& lock) { self->state.on_lock(lock); },
      [=](const msg::global_is& set) {
        self->state.set_interval(set.config.host_revive_interval);
      },
      [=](const msg::instance_is& changed) {
        self->state.on_instance(changed.content->config());
      },
      [=](const msg::instances_are& all) { self->state.on_names(all.names); },
      [=](const msg::wake& due) {
        if (self->state.held && due.generation == self->state.generation)
          self->state.look();
      },
  };
}

} // namespace

caf::actor spawn_host_reviver(caf::actor_system& sys, context_ptr ctx) {
  return sys.spawn(host_reviver, std::move(ctx));
}

} // namespace zedcup
