#include "actors/peer_prober.hpp"

#include <algorithm>
#include <map>
#include <optional>
#include <random>
#include <set>
#include <string>
#include <unordered_map>
#include <utility>

#include "actors/guard.hpp"
#include "health/probe.hpp"
#include "health/schedule.hpp"
#include "peers/peer_check.hpp"
#include "peers/service.hpp"

namespace zedcup {

namespace {

using std::chrono::milliseconds;
using time_point = schedule::time_point;

constexpr size_t max_in_flight = 256;
constexpr milliseconds tick{20}; ///< probes are begun in groups of so long
constexpr std::chrono::seconds complaint_interval{60};

/// Service and peer.
using peer_place = std::pair<std::string, std::string>;

struct checked_peer {
  peer_place where;
  std::string url;
  std::shared_ptr<const probe> what;
  uint32_t fails = 0;       ///< in a row
  uint32_t rises = 0;       ///< in a row
  std::optional<bool> down; ///< as the event loop has it; nullopt: unknown
};

struct flight {
  uint64_t peer = 0;
  time_point due;
  uint64_t request = 0; ///< at the HTTP client
};

struct peer_prober_state {
  static inline const char* name = "zedcup.peer_prober";

  ~peer_prober_state() {
    for (auto& [ticket, flown] : flights)
      ctx->probe_http->cancel(flown.request);
  }

  caf::event_based_actor* self = nullptr;
  context_ptr ctx;
  /// Peers that are out since before this prober began, and that no service
  /// has named yet.
  std::map<std::string, std::set<std::string>> before;
  bool current = true; ///< nobody else is out
  peer_checks how;
  std::set<std::string> bad_statuses;
  std::minstd_rand random{std::random_device{}()};

  uint64_t last_id = 0;
  std::map<peer_place, uint64_t> ids;
  std::unordered_map<uint64_t, checked_peer> peers;
  schedule calendar;
  std::unordered_map<uint64_t, flight> flights; ///< by ticket
  uint64_t last_ticket = 0;
  uint64_t timer = 0; ///< the wake that counts
  std::optional<time_point> wakes_at;
  std::optional<time_point> complained;

  time_point now() const { return self->clock().now(); }

  // ---- whom to check -------------------------------------------------------

  void begin(const std::vector<known_service>& known) {
    for (const auto& one : known)
      if (!one.down.empty())
        before[one.name] = one.down;
  }

  void on_service(const service& content) {
    std::map<peer_place, uint64_t> wanted;
    for (const auto& one : content.peers)
      if (one.up) {
        const peer_place where{content.name, one.name()};
        wanted[where] = take_up(where, one);
      }
    drop_others(content.name, wanted);
    ids.merge(wanted);
    forget_before(content.name);
    arm();
  }

  void on_names(const std::vector<std::string>& names) {
    const std::set<std::string> present(names.begin(), names.end());
    std::set<std::string> gone;
    for (const auto& [where, id] : ids)
      if (present.count(where.first) == 0)
        gone.insert(where.first);
    for (const auto& [service_name, peers_out] : before)
      if (present.count(service_name) == 0)
        gone.insert(service_name);
    for (const auto& service_name : gone) {
      drop_others(service_name, {});
      forget_before(service_name);
    }
  }

  /// Who was out and is not checked now is out no longer.
  void forget_before(const std::string& service_name) {
    const auto at = before.find(service_name);
    if (at == before.end())
      return;
    for (const auto& peer_name : at->second)
      if (ids.count({service_name, peer_name}) == 0)
        tell_loop({service_name, peer_name}, false, {});
    before.erase(at);
  }

  uint64_t take_up(const peer_place& where, const peer& one) {
    const auto known = ids.find(where);
    if (known != ids.end() && peers.at(known->second).url == one.check_url)
      return known->second;
    const auto id = ++last_id;
    auto& made = peers[id];
    made.where = where;
    made.url = one.check_url;
    made.what = make_peer_probe(where.first, one, how, bad_statuses);
    made.down =
        known != ids.end() ? peers.at(known->second).down : as_before(where);
    calendar.set(id, first_check(now(), how.interval, std::nullopt, random));
    return id;
  }

  std::optional<bool> as_before(const peer_place& where) const {
    if (!current)
      return std::nullopt;
    const auto at = before.find(where.first);
    return at != before.end() && at->second.count(where.second) != 0;
  }

  /// Forgets the peers of a service that are not wanted, and that they were
  /// out: who comes back later is a new peer.
  void drop_others(const std::string& service_name,
                   const std::map<peer_place, uint64_t>& wanted) {
    for (auto at = ids.lower_bound({service_name, {}});
         at != ids.end() && at->first.first == service_name;) {
      const auto kept = wanted.find(at->first);
      if (kept == wanted.end() && peers.at(at->second).down != false)
        tell_loop(at->first, false, {});
      if (kept != wanted.end() && kept->second == at->second) {
        ++at;
        continue;
      }
      drop(at->second);
      at = ids.erase(at);
    }
  }

  void drop(uint64_t id) {
    peers.erase(id);
    calendar.remove(id);
    for (auto at = flights.begin(); at != flights.end();) {
      if (at->second.peer == id)
        ctx->probe_http->cancel(at->second.request);
      at = at->second.peer == id ? flights.erase(at) : std::next(at);
    }
  }

  // ---- probes --------------------------------------------------------------

  void arm() {
    const auto next = calendar.next();
    if (!next || flights.size() >= max_in_flight)
      return; // an answer makes room, and arms again
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
    for (auto [id, due] :
         calendar.take_due(now(), max_in_flight - flights.size()))
      launch(id, due);
    arm();
  }

  void launch(uint64_t id, time_point due) {
    const auto ticket = ++last_ticket;
    auto& flown = flights[ticket];
    flown = {id, due, 0};
    flown.request = ctx->probe_http->submit(
        peers.at(id).what->request, [me = caf::actor_cast<caf::actor>(self),
                                     ticket](result<http_response> answer) {
          caf::anon_send(me,
                         msg::http_done{0, ticket,
                                        std::make_shared<result<http_response>>(
                                            std::move(answer))});
        });
  }

  void on_answer(const msg::http_done& done) {
    const auto at = flights.find(done.ticket);
    if (at == flights.end())
      return;
    const auto flown = at->second;
    flights.erase(at);
    calendar.set(flown.peer,
                 next_check(flown.due, now(), how.interval, random));
    auto& one = peers.at(flown.peer);
    conclude(one, judge(*one.what, *done.answer));
    arm();
  }

  void conclude(checked_peer& one, const judgement& found) {
    if (found.what == verdict::good) {
      one.fails = 0;
      ++one.rises;
      if (one.down != false && one.rises >= how.min_rises)
        turn(one, false, {});
      return;
    }
    if (found.what != verdict::bad)
      return complain(found.why);
    one.rises = 0;
    if (++one.fails >= how.max_fails && one.down != true)
      turn(one, true, found.why);
  }

  void turn(checked_peer& one, bool down, const std::string& why) {
    const auto& [service_name, peer_name] = one.where;
    if (down)
      ctx->log->warn("{}: peer {} is out after {} bad checks: {}", service_name,
                     peer_name, one.fails, why);
    else if (one.down)
      ctx->log->warn("{}: peer {} is back", service_name, peer_name);
    one.down = down;
    tell_loop(one.where, down, why);
  }

  void tell_loop(const peer_place& who, bool down, const std::string& why) {
    ctx->out->push(
        feed_message{peer_checked{who.first, who.second, down, why}});
  }

  /// This node's own trouble says nothing about a peer.
  void complain(const std::string& why) {
    if (complained && now() - *complained < complaint_interval)
      return;
    complained = now();
    ctx->log->error("a health check could not be made: {}", why);
  }
};

caf::behavior
peer_prober(caf::stateful_actor<peer_prober_state>* self, context_ptr ctx,
            const std::shared_ptr<const std::vector<known_service>>& before,
            peer_checks how, bool current) {
  log_exceptions(self, ctx);
  auto& state = self->state;
  state.self = self;
  state.ctx = std::move(ctx);
  state.begin(*before);
  state.current = current;
  state.how = std::move(how);
  state.bad_statuses = all_but(state.how.ok_status);
  return {
      [=](const msg::role_is&) {},
      [=](const msg::peers_are& all) { self->state.on_service(*all.content); },
      [=](const msg::services_are& all) { self->state.on_names(all.names); },
      [=](const msg::http_done& done) { self->state.on_answer(done); },
      [=](const msg::wake& due) { self->state.on_tick(due.generation); },
  };
}

} // namespace

caf::actor
spawn_peer_prober(caf::actor_system& sys, context_ptr ctx,
                  std::shared_ptr<const std::vector<known_service>> before,
                  peer_checks how, bool current) {
  return sys.spawn(peer_prober, std::move(ctx), std::move(before),
                   std::move(how), current);
}

} // namespace zedcup
