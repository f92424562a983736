// Follows one tree of services and their peers, for lreu.syncer: the actors of
// one such tree, which run in the leading worker alone. What they find comes
// out through the outbox: peers_changed, peers_synced, peer_checked,
// store_trouble and log_line. All members are called from the event-loop thread
// and never block, except stop(), which waits for its deadline at most.
#pragma once

#include <chrono>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "actors/system.hpp"
#include "peers/peer_check.hpp"
#include "util/outbox.hpp"
#include "util/result.hpp"

namespace zedcup {

/// The options of `syncer.init`, as JSON: "path" (or "etcd_path") and one of
/// "etcd", "consul", "embedded"; or "etcd_host", "etcd_port", "etcd_endpoints",
/// "etcd_user", … for the members of "etcd". `path` of the result is set.
/// Errors name the key; keys that mean nothing are listed in `notices`.
result<system_options> parse_feed_options(std::string_view json,
                                          std::vector<std::string>& notices);

/// What an earlier leader of this node told of a service: peers_json(), and
/// which peers ("host:port") are out by a check.
struct known_service {
  std::string name;
  std::string json;
  std::set<std::string> down;
};

class feed {
public:
  /// Starts the threads and the actors. Call after fork. `out` must outlive
  /// the feed.
  /// @param checks nullopt: nobody is checked
  static result<std::unique_ptr<feed>> start(system_options options,
                                             std::vector<known_service> known,
                                             std::optional<peer_checks> checks,
                                             outbox<loop_message>& out);

  /// As stop(), waiting for as long as it takes.
  virtual ~feed() = default;

  /// Ends everything.
  /// @returns false when `deadline` passed first; see system::stop().
  virtual bool stop(std::chrono::milliseconds deadline) = 0;
};

} // namespace zedcup
