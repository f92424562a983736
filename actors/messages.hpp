// Everything that actors say to each other. Each message names its sender.
// Messages are immutable once sent; large content travels by shared_ptr.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include <caf/all.hpp>

#include "actors/host_ask.hpp"
#include "actors/system.hpp"
#include "actors/write_ask.hpp"
#include "host_ref.hpp"
#include "net/http_message.hpp"
#include "peers/service.hpp"
#include "snapshot.hpp"
#include "store/etcd_protocol.hpp"
#include "store/kv.hpp"
#include "util/result.hpp"

namespace zedcup {

/// The actors' places. The supervisor enters each (re)started actor in CAF's
/// registry under its place; others look it up when they send, so that nobody
/// keeps the handle of an actor that was replaced.
enum class place {
  supervisor,
  store,
  watcher,
  syncer,
  writer,
  outcomes,
  session,
  prober,
  host_reviver,
  keeper,
};

} // namespace zedcup

namespace zedcup::msg {

/// facade -> supervisor -> watcher, syncer: this worker's side of the zone.
/// Sent again after a restart, so that the restarted actor starts over.
struct role_is {
  role now;
};

/// facade -> watcher: somebody on this node wrote to the store.
struct kick {};

/// watcher -> syncer: believed content of `<prefix>/instances/`, or of a
/// feed's path.
struct instances_read {
  std::shared_ptr<const kv_tree> tree;
};

/// watcher -> syncer: content of `<prefix>/config/`.
struct global_read {
  std::shared_ptr<const kv_tree> tree;
};

/// watcher -> syncer -> keeper: the store fails ("": it works again). The same
/// in a feed.
struct trouble {
  std::string text;
};

/// A feed's syncer -> its prober, its keeper: a service, and after each read
/// the names of all; a service without one is gone.
struct peers_are {
  std::shared_ptr<const service> content;
  uint64_t revision = 0;
  std::string json{}; ///< its peers, as they are told
};
struct services_are {
  std::vector<std::string> names;
};

/// syncer -> watcher: the global settings that steer it.
struct pace_is {
  std::chrono::seconds wait;     ///< of a blocking query
  std::chrono::seconds interval; ///< between reads of the global settings
};

/// watcher -> itself: time to read the global settings again.
struct global_poll {
  uint64_t round;
};

/// facade -> syncer: what the zone holds.
struct zone_instance {
  std::string name;
  uint64_t revision;
  std::string json;
};
struct zone_global {
  uint64_t revision;
  std::string json;
};
struct zone_synced {
  uint64_t revision;
  uint64_t restored;
};

/// syncer -> itself: look again at a redo record that was there.
struct pending_check {
  std::string instance;
  uint64_t modify_index;
  uint64_t generation; ///< of the role: those of an old one are dropped
};

/// facade -> writer. Whoever has it last answers it.
struct write_wanted {
  std::shared_ptr<write_ask> ask;
};

/// syncer -> writer: finish what a dead writer began.
struct complete_pending {
  std::string instance;
  std::shared_ptr<const kv_entry> record;
};

/// writer -> itself: try an order again.
struct retry_order {
  uint64_t job;
};

/// writer, watcher -> store. Answered by `read_reply`, `commit_reply` and
/// `revision_reply`; the embedded store alone answers `ask_revision`.
struct read_order {
  std::string prefix;
};
struct commit_order {
  std::vector<kv_op> ops;
};
struct ask_revision {};

struct read_reply {
  result<std::shared_ptr<const kv_tree>> content;
};
struct commit_reply {
  result<commit_result> outcome;
};
struct revision_reply {
  result<uint64_t> revision;
};

/// facade, prober -> outcomes: a host failed `count` times. Errors older than
/// `window` no longer count; `max_errors` within it take the host down.
struct errors_seen {
  host_ref host;
  uint32_t count = 1;
  std::chrono::seconds window{60};
  uint32_t max_errors = 3;
  bool by_probe = false;
  std::string err; ///< of the last one
};

/// facade -> outcomes: answer with `outcomes_settled` once there is nothing
/// under way; `leaving`: see system::leave().
struct settle_wanted {
  uint64_t number;
  bool leaving = false;
};

/// facade -> outcomes. Whoever has it last answers it.
struct host_wanted {
  std::shared_ptr<host_ask> ask;
};

/// outcomes -> itself: go on with a host.
struct retry_host {
  uint64_t id;
  uint64_t step;
};

/// prober, host_reviver -> outcomes: bring back a host that zedcup took down.
struct revival_due {
  host_ref host;
  bool by_probe = false;
};

/// syncer of the leader -> prober, host_reviver, keeper: the content of an
/// instance, and after each read every name there is; an instance without one
/// is gone.
struct instance_is {
  std::shared_ptr<const snapshot> content;
};
struct instances_are {
  std::vector<std::string> names;
};

/// syncer of the leader -> session, prober, host_reviver, keeper: the global
/// settings.
struct global_is {
  global_config config;
};

/// keeper -> itself, delayed. Those of an old generation are dropped.
struct keep_due {
  enum class verb { save, confirm };
  verb what;
  uint64_t generation;
};

/// prober, host_reviver -> session: hold `<prefix>/locks/<name>` while this
/// worker leads. Answered by `lock_is` to `who`, at each change and renewal.
struct lock_wanted {
  std::string name;
  place who;
};
struct lock_is {
  std::string name;
  bool held;
  /// Without a further message the lock is lost by then.
  std::chrono::steady_clock::time_point until;
};

/// facade -> session: the process ends. `done` is called, on any thread, when
/// the session is destroyed, or there was none.
struct session_end {
  std::shared_ptr<const std::function<void()>> done;
};

/// session -> store. Answered by `session_reply`: the session's id. `renew` of
/// one that is over gives not_found.
struct session_order {
  enum class verb { create, renew, destroy };
  verb what;
  std::string id;   ///< of those to renew and destroy
  std::string name; ///< of one to create
  std::chrono::milliseconds ttl;
};
struct session_reply {
  result<std::string> id;
};

/// session -> store: as read_order, but a Consul may wait for a change after
/// `index`, at most `wait`. The others answer at once, the embedded store
/// having ended the sessions that are due.
struct watch_order {
  std::string prefix;
  uint64_t index;
  std::chrono::seconds wait;
};

/// session -> itself, delayed. Those of an old generation are dropped.
struct renew_due {
  uint64_t generation;
};
struct watch_due {
  uint64_t generation;
};

/// http_driver's thread -> the actor that submitted. `generation` and `ticket`
/// are that actor's own: which of its requests this answers.
struct http_done {
  uint64_t generation;
  uint64_t ticket;
  std::shared_ptr<result<http_response>> answer;
};

/// http_driver's thread -> etcd's watcher: a message of stream `stream`.
struct etcd_event {
  uint64_t stream;
  result<etcd::watch_message> message;
};

/// An actor -> itself, delayed: go on, unless `generation` is an old one.
struct wake {
  uint64_t generation;
};

} // namespace zedcup::msg

// Messages never leave the process, so CAF needs no serialization of them:
// that is all that "unsafe" means here.
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(zedcup::msg::write_wanted)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(zedcup::msg::role_is)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(zedcup::msg::kick)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(zedcup::msg::instances_read)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(zedcup::msg::global_read)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(zedcup::msg::peers_are)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(zedcup::msg::services_are)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(zedcup::msg::trouble)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(zedcup::msg::pace_is)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(zedcup::msg::global_poll)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(zedcup::msg::zone_instance)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(zedcup::msg::zone_global)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(zedcup::msg::zone_synced)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(zedcup::msg::pending_check)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(zedcup::msg::complete_pending)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(zedcup::msg::retry_order)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(zedcup::msg::read_order)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(zedcup::msg::commit_order)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(zedcup::msg::ask_revision)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(zedcup::msg::read_reply)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(zedcup::msg::commit_reply)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(zedcup::msg::revision_reply)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(zedcup::msg::errors_seen)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(zedcup::msg::settle_wanted)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(zedcup::msg::host_wanted)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(zedcup::msg::retry_host)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(zedcup::msg::revival_due)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(zedcup::msg::instance_is)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(zedcup::msg::instances_are)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(zedcup::msg::global_is)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(zedcup::msg::keep_due)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(zedcup::msg::lock_wanted)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(zedcup::msg::lock_is)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(zedcup::msg::session_end)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(zedcup::msg::session_order)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(zedcup::msg::session_reply)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(zedcup::msg::watch_order)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(zedcup::msg::renew_due)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(zedcup::msg::watch_due)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(zedcup::msg::http_done)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(zedcup::msg::etcd_event)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(zedcup::msg::wake)

namespace zedcup {

constexpr caf::atom_value place_atom(place where) {
  switch (where) {
  case place::supervisor:
    return caf::atom("supervisor");
  case place::store:
    return caf::atom("store");
  case place::watcher:
    return caf::atom("watcher");
  case place::syncer:
    return caf::atom("syncer");
  case place::writer:
    return caf::atom("writer");
  case place::outcomes:
    return caf::atom("outcomes");
  case place::session:
    return caf::atom("session");
  case place::prober:
    return caf::atom("prober");
  case place::host_reviver:
    return caf::atom("reviver");
  case place::keeper:
    return caf::atom("keeper");
  }
  return caf::atom("none");
}

/// The actor at a place; an invalid handle while it is being restarted.
inline caf::actor lookup(caf::actor_system& sys, place where) {
  return caf::actor_cast<caf::actor>(sys.registry().get(place_atom(where)));
}

/// Sends to whoever is at a place now; dropped while nobody is.
template <class Message>
void tell(caf::actor_system& sys, place where, Message&& message) {
  if (auto target = lookup(sys, where))
    caf::anon_send(target, std::forward<Message>(message));
}

} // namespace zedcup
