// The feeds of this worker (lreu.syncer): while it leads the node, each has its
// actors; otherwise it only waits. Event-loop thread only.
#pragma once

#include <chrono>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "actors/feed.hpp"
#include "nginx/lua_queue.hpp"

namespace zedcup {

class worker_feed {
public:
  worker_feed(system_options options, void* lua_semaphore);

  lua_queue& messages() { return to_lua_; }

  /// Becomes or ceases to be the leader's. Lua is asked for what it knows
  /// (ZEDCUP_FEED_LEAD) and answers with run().
  void lead(bool leads);

  /// Starts the actors, those before being stopped; nothing while another
  /// worker leads. @param known JSON: [{"name", "peers", "down": […]}, …]
  status run(std::string_view known);

  /// For a start without the store: what zedcup_state_dir has, in the JSON of
  /// zedcup_ffi_feed_saved(); empty: nothing. Reads the file.
  const std::string& saved();

  /// How peers are checked from now on.
  void check(peer_checks how);

  bool drain(); ///< a budget of messages; true: more wait
  void exiting() { to_lua_.wake(); }
  bool stop(std::chrono::milliseconds deadline);
  const std::string& name() const { return name_; }

private:
  void on(loop_message& message);
  void tell(feed_message& message);

  system_options options_;
  std::string name_; ///< of store and path, for people
  std::string saved_json_;
  outbox<loop_message> outbox_;
  std::unique_ptr<feed> actors_;
  std::optional<peer_checks> checks_;
  bool leads_ = false;
  lua_queue to_lua_;
};

/// Makes a feed of this worker; its number is its place in worker_feeds().
/// nullopt: this is no worker. Errors: unavailable.
result<std::optional<int>> start_worker_feed(system_options options,
                                             void* lua_semaphore);

/// The feed of that number; nullptr: there is none.
worker_feed* find_worker_feed(int number);

/// What the loop calls for all feeds; see bridge.cpp.
bool drain_feeds();
void lead_feeds(bool leads);
void feeds_exiting();
/// False: some are still running; their memory must stay.
bool stop_feeds(std::chrono::milliseconds deadline);

} // namespace zedcup
