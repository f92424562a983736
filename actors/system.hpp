// The actor graph of one worker, as the event loop sees it: commands go in by
// the member functions, everything else comes out through the outbox. No CAF
// type shows here. All members are called from the event-loop thread only and
// never block, except stop(), which waits for its deadline at most.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "config/model.hpp"
#include "host_ref.hpp"
#include "snapshot.hpp"
#include "store/consul_options.hpp"
#include "store/etcd_options.hpp"
#include "util/outbox.hpp"
#include "util/result.hpp"

namespace zedcup {

/// Which side of the zone this worker stands on.
enum class role {
  follower, ///< hears of changes through the zone
  leader,   ///< reads the store and publishes into the zone
};

// ---- What comes out ----------------------------------------------------

/// An instance has new content.
struct instance_changed {
  std::string name;
  uint64_t revision = 0; ///< the store's
  std::shared_ptr<const snapshot> content;
  bool publish = false; ///< read from the store here: put it into the zone
};

/// What is wrong with an instance in the store now; with an empty name, with
/// the global settings. Each text names its key. From the leader only.
struct complaints_changed {
  std::string name;
  std::vector<std::string> texts; ///< empty: nothing any more
};

/// The global settings have new content.
struct global_changed {
  uint64_t revision = 0;
  global_config config;
  std::string json; ///< to_json(config)
  bool publish = false;
};

/// Everything up to this revision has been handed out.
struct synced {
  uint64_t revision = 0;
  /// Every instance in the store: any other is to be removed. Only from the
  /// leader; a follower's echo of `follow_synced` has none.
  std::optional<std::vector<std::string>> names;
  bool publish = false; ///< from the leader: tell the zone
  /// Not read from the store: saved content of that unix time; 0: it was.
  uint64_t restored = 0;
};

/// Content of system_options::state_dir, for where the store gives none.
struct content_found {
  /// Nothing was read from the store yet; else of instances that are in the
  /// store with nothing usable in them.
  bool whole = true;
  uint64_t saved = 0; ///< unix time when the store held it last
  std::vector<std::shared_ptr<const snapshot>> instances;
  std::optional<std::string> global_json; ///< to_json(global_config)
};

/// The store cannot be read (or, with an empty text, can be read again).
struct store_trouble {
  std::string text;
};

/// The syncer begins anew and has forgotten what it was given to follow: give
/// it the zone's content again.
struct content_wanted {};

/// The end of a write that was ordered by `write()`.
struct write_done {
  uint64_t ask_id = 0;
  std::string error;    ///< empty: committed
  std::string instance; ///< empty: the global settings
  bool removed = false; ///< the instance was deleted
  /// What the store must be read up to to see it.
  uint64_t revision = 0;
};

/// A host failed `count` times. Errors older than `window` no longer count;
/// `max_errors` within it take the host down.
struct host_errors {
  host_ref host;
  uint32_t count = 1;
  std::chrono::seconds window{60};
  uint32_t max_errors = 3;
  bool by_probe = false;
  std::string err; ///< of the last one
};

/// This worker's write took a host down for the cluster, or brought it back:
/// of all that tried, the only one.
struct host_event {
  bool up = false;
  host_ref host;
  bool by_probe = false;
  std::string err; ///< when it went down
};

/// Errors that no store will know of: it was away for too long, or the
/// instance says `persist_errors = false`. They are this node's own.
struct errors_kept {
  host_errors errors;
};

/// The end of a host_order.
struct host_done {
  uint64_t ask_id = 0;
  std::string error;     ///< empty: done
  std::string payload;   ///< a count, or the state as JSON
  host_ref host;         ///< of which instance, and which host if it was one's
  uint64_t revision = 0; ///< of a commit that changed `up`; else 0
};

/// Everything reported up to `system::report`'s number has been dealt with.
struct outcomes_settled {
  uint64_t number = 0;
};

/// A line for nginx's error log; `level` is nginx's (1 emerg .. 8 debug).
struct log_line {
  int level = 7;
  std::string text;
};

/// A service of a feed has other peers.
struct peers_changed {
  std::string service;
  uint64_t revision = 0; ///< the store's
  std::string json;      ///< peers_json()
};

/// A feed has told all that the store holds at this revision.
struct peers_synced {
  uint64_t revision = 0;
  std::vector<std::string> services; ///< any other is gone
};

/// A peer of a feed failed its checks, or passes them again.
struct peer_checked {
  std::string service;
  std::string peer; ///< "host:port"
  bool down = false;
  std::string why; ///< of `down`
};

/// From a feed (feed.hpp) alone.
using feed_message = std::variant<peers_changed, peers_synced, peer_checked>;

using loop_message =
    std::variant<instance_changed, complaints_changed, global_changed, synced,
                 store_trouble, content_found, content_wanted, write_done,
                 host_event, errors_kept, host_done, outcomes_settled, log_line,
                 feed_message>;

// ---- What goes in ------------------------------------------------------

struct embedded_target {
  std::string path; ///< the SQLite file; made if absent
};

struct system_options {
  std::string prefix = "zedcup";
  /// Of a feed (feed.hpp): follow all keys that begin so, in place of
  /// `<prefix>/instances/` and `<prefix>/config/`.
  std::optional<std::string> path;
  std::variant<consul_options, embedded_target, etcd_options> store;
  std::string state_dir; ///< keeps the last good content; empty: nothing does
  int log_level = 4;     ///< nginx's: lines above it are not even formatted

  /// Names the store and the prefix in words, for messages and for telling
  /// one store's content from another's: "consul 127.0.0.1:8500/zedcup".
  std::string store_name() const;

  /// What a watcher follows as content ...
  std::string content_prefix() const {
    return path ? *path : prefix + "/instances/";
  }
  /// ... and as settings; empty: there are none.
  std::string settings_prefix() const {
    return path ? std::string() : prefix + "/config/";
  }
};

/// The options of `zedcup.init`, as JSON: {"prefix", "consul" |
/// "etcd" | "embedded"}.
/// Errors name the key ("consul.port: expected 1..65535, got 0"); keys that
/// mean nothing are listed in `notices`.
result<system_options> parse_system_options(std::string_view json,
                                            std::vector<std::string>& notices);

/// What to write. The content is checked completely before anything is.
struct write_order {
  uint64_t ask_id = 0;
  std::string instance; ///< empty: the global settings
  bool remove = false;  ///< delete the instance
  std::string json;     ///< the new content, as the Lua caller gave it
};

/// What a handler's caller wants of a host's state in the store.
struct host_order {
  enum class verb {
    read_state,   ///< of all hosts of host.instance
    count_error,  ///< one more; takes nobody down
    reset_errors, ///< forget the count
    note_check,   ///< it was checked now
    take_down,
    bring_up, ///< only what zedcup took down
  };
  uint64_t ask_id = 0;
  verb what = verb::read_state;
  host_ref host;
  std::chrono::seconds window{60}; ///< for count_error
};

class system {
public:
  /// Starts the threads (with all signals blocked in them) and the actors.
  /// Call after fork. `out` must outlive the system.
  static result<std::unique_ptr<system>> start(system_options options,
                                               outbox<loop_message>& out);
  /// As stop(), waiting for as long as it takes.
  virtual ~system() = default;

  /// This worker begins or ceases to read the store for its node.
  virtual void set_role(role now) = 0;

  /// Content that another worker put into the zone, decoded here and answered
  /// in order by `instance_changed`, `global_changed` and `synced`.
  virtual void follow_instance(std::string name, uint64_t revision,
                               std::string json) = 0;
  virtual void follow_global(uint64_t revision, std::string json) = 0;
  /// @param restored see `synced`
  virtual void follow_synced(uint64_t revision, uint64_t restored) = 0;

  /// Somebody on this node wrote to the store: look now.
  virtual void kick() = 0;

  /// Rewrites or removes an instance, or rewrites the global settings.
  /// Answered by `write_done`, within seconds also when the store is gone.
  virtual void write(write_order order) = 0;

  /// Counts errors in the store, and takes hosts down there. Returns a number
  /// for which `outcomes_settled` comes when all of it is done or given up.
  virtual uint64_t report(std::vector<host_errors> errors) = 0;

  /// Answered by `host_done`, within seconds also when the store is gone.
  virtual void order(host_order wanted) = 0;

  /// This worker is about to quit: what the store does not take at the first
  /// try is given up. Returns a number as report() does.
  virtual uint64_t leave() = 0;

  /// Ends everything: cancels what is in flight, joins the threads.
  /// @returns false when `deadline` passed first; the threads are then left
  ///          alone, and the process must end without running destructors.
  virtual bool stop(std::chrono::milliseconds deadline) = 0;
};

} // namespace zedcup
