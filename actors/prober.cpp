#include "actors/prober.hpp"

#include <algorithm>
#include <ctime>
#include <deque>
#include <limits>
#include <unordered_map>
#include <utility>

#include "actors/guard.hpp"
#include "actors/prober_notes.hpp"
#include "health/probe.hpp"
#include "health/schedule.hpp"

namespace zedcup {

namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using time_point = schedule::time_point;

constexpr size_t max_in_flight = 256;
constexpr milliseconds tick{20}; ///< probes are begun in groups of so long
constexpr seconds read_timeout{5};
constexpr seconds complaint_interval{60};
constexpr seconds reminder_interval{3600}; ///< of one instance's settings

/// A host that is checked.
struct checked_host {
  std::shared_ptr<const probe> what;
  uint32_t good = 0; ///< probes in a row
  bool failing = false;
};

struct flight {
  uint64_t host = 0;
  time_point due;
  uint64_t request = 0; ///< at the HTTP client
};

struct prober_state {
  static inline const char* name = "zedcup.prober";

  enum class phase {
    idle,    ///< not ours to do
    reading, ///< what the prober before left in the store
    running,
  };

  caf::event_based_actor* self = nullptr;
  context_ptr ctx;
  std::minstd_rand random{std::random_device{}()};

  role current = role::follower;
  phase now_in = phase::idle;
  uint64_t generation = 0; ///< of a time with the lock
  time_point until{};      ///< the lock is ours
  std::map<std::string, std::shared_ptr<const snapshot>> content;

  uint64_t last_id = 0;
  std::map<host_place, uint64_t> ids;
  std::unordered_map<uint64_t, checked_host> hosts;
  schedule calendar;
  std::unordered_map<uint64_t, flight> flights; ///< by ticket
  uint64_t last_ticket = 0;
  std::map<host_place, check_state> inherited;
  std::optional<prober_notes> notes;

  uint64_t timer = 0; ///< the wake that counts
  std::optional<time_point> wakes_at;
  std::optional<time_point> complained;
  std::map<std::string, time_point> named; ///< by instance and its TLS files

  time_point now() const { return self->clock().now(); }

  // ---- beginning and end ---------------------------------------------------

  void set_role(role changed) {
    if (now_in == phase::running && changed == role::follower)
      notes->write_all();
    stop();
    content.clear();
    current = changed;
    if (current == role::leader)
      tell(self->system(), place::session,
           msg::lock_wanted{prober_lock, place::prober});
  }

  void on_lock(const msg::lock_is& lock) {
    if (lock.name != prober_lock || current != role::leader)
      return;
    if (!lock.held)
      return stop();
    until = lock.until;
    if (now_in == phase::idle)
      take_over();
  }

  void stop() {
    for (auto& [ticket, flown] : flights)
      ctx->probe_http->cancel(flown.request);
    now_in = phase::idle;
    ++generation;
    ids.clear();
    hosts.clear();
    calendar.clear();
    flights.clear();
    inherited.clear();
    named.clear();
    notes->clear();
    wakes_at.reset();
  }

  void take_over() {
    now_in = phase::reading;
    auto store = lookup(self->system(), place::store);
    if (!store)
      return run();
    self->request(store, read_timeout, msg::read_order{notes->prefix()})
        .then(
            [this, mine = generation](const msg::read_reply& reply) {
              if (mine != generation)
                return;
              if (reply.content)
                inherited = read_check_states(**reply.content, notes->prefix());
              run();
            },
            // Then the rhythm is a new one: no more is lost.
            [this, mine = generation](const caf::error&) {
              if (mine == generation)
                run();
            });
  }

  void run() {
    now_in = phase::running;
    for (auto& [instance, state] : content)
      take_up(instance);
    arm();
  }

  // ---- whom to check -------------------------------------------------------

  void on_instance(const std::shared_ptr<const snapshot>& changed) {
    const auto& instance = changed->config().name;
    content[instance] = changed;
    if (now_in != phase::running)
      return;
    take_up(instance);
    arm();
  }

  void on_names(const std::vector<std::string>& names) {
    for (auto at = content.begin(); at != content.end();) {
      const bool there =
          std::find(names.begin(), names.end(), at->first) != names.end();
      if (!there)
        drop_others(at->first, {});
      at = there ? std::next(at) : content.erase(at);
    }
  }

  void take_up(const std::string& instance) {
    const auto& config = content.at(instance)->config();
    std::map<host_place, uint64_t> wanted;
    for (const auto& pool : config.pools)
      for (const auto& host : pool.hosts)
        if (pool.up && (host.up || host.down_by_zedcup))
          if (auto what = make_probe(config, pool, host)) {
            const auto where = place_of(what->host);
            wanted[where] = take_up(where, std::move(what));
          }
    drop_others(instance, wanted);
    ids.merge(wanted);
  }

  uint64_t take_up(const host_place& where, std::shared_ptr<const probe> what) {
    const auto known = ids.find(where);
    if (known == ids.end())
      return add(where, std::move(what));
    auto& host = hosts.at(known->second);
    if (!(host.what->host == what->host))
      return add(where, std::move(what)); // another server at that place
    // Good probes from before it was taken down prove nothing.
    if (what->taken_down && !host.what->taken_down)
      host.good = 0;
    const bool other_rhythm = what->interval != host.what->interval;
    host.what = std::move(what);
    if (other_rhythm && !in_flight(known->second))
      calendar.set(known->second, first_check(now(), host.what->interval,
                                              std::nullopt, random));
    return known->second;
  }

  uint64_t add(const host_place& where, std::shared_ptr<const probe> what) {
    const auto id = ++last_id;
    checked_host host;
    host.what = std::move(what);
    std::optional<seconds> age;
    if (const auto left = inherited.find(where); left != inherited.end()) {
      host.good = left->second.good;
      age = seconds{std::time(nullptr) - left->second.last_check};
      inherited.erase(left);
    }
    calendar.set(id, first_check(now(), host.what->interval, age, random));
    hosts.emplace(id, std::move(host));
    return id;
  }

  /// Forgets the hosts of an instance that are not wanted.
  void drop_others(const std::string& instance,
                   const std::map<host_place, uint64_t>& wanted) {
    for (auto at = ids.lower_bound({instance, 0, 0});
         at != ids.end() && std::get<0>(at->first) == instance;) {
      const auto kept = wanted.find(at->first);
      if (kept != wanted.end() && kept->second == at->second) {
        ++at;
        continue;
      }
      drop(at->second);
      at = ids.erase(at);
    }
  }

  void drop(uint64_t id) {
    notes->forget(hosts.at(id).what->host);
    hosts.erase(id);
    calendar.remove(id);
    for (auto at = flights.begin(); at != flights.end();) {
      if (at->second.host == id)
        ctx->probe_http->cancel(at->second.request);
      at = at->second.host == id ? flights.erase(at) : std::next(at);
    }
  }

  bool in_flight(uint64_t id) const {
    return std::any_of(flights.begin(), flights.end(),
                       [&](const auto& one) { return one.second.host == id; });
  }

  // ---- probes --------------------------------------------------------------

  /// Sees to it that on_tick() comes in time for the first that is due.
  void arm() {
    auto next = calendar.next();
    if (flights.size() >= max_in_flight)
      next.reset(); // an answer makes room, and arms again
    if (const auto write = notes->next_write(); write && now_in != phase::idle)
      next = std::min(next.value_or(*write), *write);
    if (!next)
      return;
    const auto when = std::max(*next, now()) + tick;
    if (wakes_at && *wakes_at <= when)
      return;
    wakes_at = when;
    self->delayed_send(self,
                       std::chrono::duration_cast<milliseconds>(when - now()),
                       msg::wake{++timer});
  }

  void on_tick(uint64_t which) {
    if (which != timer)
      return;
    wakes_at.reset();
    if (now_in != phase::running)
      return;
    if (now() >= until) {
      ctx->log->warn("the session may have lapsed: no health checks from here");
      return stop();
    }
    for (auto [id, due] :
         calendar.take_due(now(), max_in_flight - flights.size()))
      launch(id, due);
    notes->write_due(now());
    arm();
  }

  void launch(uint64_t id, time_point due) {
    const auto ticket = ++last_ticket;
    auto& flown = flights[ticket];
    flown = {id, due, 0};
    flown.request = ctx->probe_http->submit(
        hosts.at(id).what->request,
        [me = caf::actor_cast<caf::actor>(self), mine = generation,
         ticket](result<http_response> answer) {
          caf::anon_send(me,
                         msg::http_done{mine, ticket,
                                        std::make_shared<result<http_response>>(
                                            std::move(answer))});
        });
  }

  void on_answer(const msg::http_done& done) {
    const auto at = flights.find(done.ticket);
    if (done.generation != generation || at == flights.end())
      return;
    const auto flown = at->second;
    flights.erase(at);
    auto& host = hosts.at(flown.host);
    calendar.set(flown.host,
                 next_check(flown.due, now(), host.what->interval, random));
    if (now() < until)
      conclude(host, judge(*host.what, *done.answer));
    arm();
  }

  void conclude(checked_host& host, const judgement& found) {
    if (found.what == verdict::none)
      return complain(found.why);
    if (found.what == verdict::misconfigured)
      return complain_of_settings(*host.what, found.why);
    const bool good = found.what == verdict::good;
    if (!good)
      host.good = 0;
    else if (host.good < std::numeric_limits<uint32_t>::max())
      ++host.good;
    notes->take(host.what->host, std::time(nullptr), host.good,
                host.what->taken_down, now());
    if (!good)
      failed(host, found.why);
    else if (host.what->taken_down && host.good >= host.what->min_rises)
      tell(self->system(), place::outcomes,
           msg::revival_due{host.what->host, true});
    host.failing = !good;
  }

  void failed(const checked_host& host, const std::string& why) {
    const auto& what = *host.what;
    if (!host.failing)
      ctx->log->info("{}: pools[{}].hosts[{}] fails its health check: {}",
                     what.host.instance, what.host.pool, what.host.host, why);
    if (what.taken_down)
      return; // no need to take it down twice
    msg::errors_seen seen;
    seen.host = what.host;
    seen.window = what.window;
    seen.max_errors = what.max_errors;
    seen.by_probe = true;
    seen.err = why;
    tell(self->system(), place::outcomes, std::move(seen));
  }

  /// This node's own trouble says nothing about a host.
  void complain(const std::string& why) {
    if (complained && now() - *complained < complaint_interval)
      return;
    complained = now();
    ctx->log->error("a health check could not be made: {}", why);
  }

  /// Nor do settings that make its probes impossible: one line for all hosts.
  void complain_of_settings(const probe& what, const std::string& why) {
    const auto& with = *what.request.endpoint;
    const auto key = what.host.instance + '\n' + with.ca_cert + '\n' +
                     with.client_cert + '\n' + with.client_key;
    const auto [last, first_time] = named.try_emplace(key, now());
    if (!first_time && now() - last->second < reminder_interval)
      return;
    last->second = now();
    ctx->log->error(
        "{}: health checks of its hosts count for nothing: pools[{}].hosts[{}] "
        "at {}",
        what.host.instance, what.host.pool, what.host.host, why);
  }
};

caf::behavior prober(caf::stateful_actor<prober_state>* self, context_ptr ctx) {
  log_exceptions(self, ctx);
  auto& state = self->state;
  state.self = self;
  state.notes.emplace(self, ctx);
  state.ctx = std::move(ctx);
  return {
      [=](const msg::role_is& changed) { self->state.set_role(changed.now); },
      [=](const msg::lock_is& lock) { self->state.on_lock(lock); },
      [=](const msg::global_is&) {},
      [=](const msg::instance_is& changed) {
        self->state.on_instance(changed.content);
      },
      [=](const msg::instances_are& all) { self->state.on_names(all.names); },
      [=](const msg::http_done& done) { self->state.on_answer(done); },
      [=](const msg::wake& due) { self->state.on_tick(due.generation); },
  };
}

} // namespace

caf::actor spawn_prober(caf::actor_system& sys, context_ptr ctx) {
  return sys.spawn(prober, std::move(ctx));
}

} // namespace zedcup
