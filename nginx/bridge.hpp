// Where the actors' world meets the event loop: one runtime per worker. All of
// it runs on the event-loop thread; the outbox is the only way in for others.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_set>
#include <vector>

#include "actors/system.hpp"
#include "nginx/host_marks.hpp"
#include "nginx/lua_queue.hpp"
#include "nginx/ngx_http_zedcup.h"
#include "nginx/registry.hpp"
#include "nginx/waiting_asks.hpp"
#include "nginx/zedcup_ffi.h"
#include "nginx/zone_content.hpp"

namespace zedcup {

class json_writer;

class runtime {
public:
  /// Takes what the zone holds, then starts the actors and this worker's
  /// place in the node. Call after fork.
  static result<std::unique_ptr<runtime>>
  start(system_options options, ngx_http_zedcup_main_conf_t* zmcf,
        void* lua_semaphore);

  /// Somebody else wants to start it. false: nothing new came of it.
  result<bool> join(const system_options& wanted, void* lua_semaphore);

  // ---- called by the loop (ngx_http_zedcup_worker.c) -----------------------

  bool drain(); ///< a budget of messages; true: more wait
  void look();  ///< at the zone, and at asks that are overdue
  void lead(bool leads);
  void exiting();
  bool stop(std::chrono::milliseconds deadline);

  // ---- called by Lua (ffi.cpp) ---------------------------------------------

  uint64_t ask(int what, std::string name, std::string json);
  /// As ask(), about a host's state; `json` names the host.
  uint64_t ask_host(int what, std::string name, std::string_view json);
  /// A request failed with a host: true when that took it out of the node's
  /// rotation.
  bool failed(const registry::handle& instance, uint32_t pool, uint32_t host,
              std::string_view err);
  lua_queue& messages() { return to_lua_; }
  void state(zedcup_ffi_state_t& out) const;
  registry& instances() { return instances_; }
  bool is_synced() const { return synced_; }
  /// Whether there is content to serve, of the store or of zedcup_state_dir.
  bool has_content() const { return synced_ || restored_ != 0; }
  /// Neither content yet nor a reason why there is none.
  bool awaits_content() const { return !has_content() && trouble_.empty(); }
  const std::string& names_json();
  const std::string& global_json() const { return global_json_; }

  // ---- for people (bridge_status.cpp) --------------------------------------

  /// What this worker serves and knows, as JSON; of one instance, or of all.
  /// nullopt: there is no such instance.
  std::optional<std::string> status(std::string_view instance);

private:
  /// How long a quitting worker waits for hosts that it is about to take down.
  static constexpr ngx_msec_t settle_patience_ms = 5000;

  runtime(system_options options, void* lua_semaphore);

  void load_zone();
  void load_saved();
  void load(zone_content::entry& seen);
  void follow(zone_content content);
  void note_names(const zone_content& content);
  void changed();

  void on(instance_changed& message);
  void on(complaints_changed& message);
  void on(global_changed& message);
  void on(synced& message);
  void on(store_trouble& message);
  void on(content_found& message);
  void on(content_wanted& message);
  void on(write_done& message);
  void on(host_event& message);
  void on(errors_kept& message);
  void on(host_done& message);
  void on(outcomes_settled& message);
  void on(log_line& message);
  void on(feed_message&) {} // of a feed, which has an outbox of its own

  bool publish(const std::string& name, uint64_t revision,
               const std::string& json);
  bool restore(const std::shared_ptr<const snapshot>& content);
  void keep_only(const std::vector<std::string>& names);
  void remove_instance(const std::string& name);
  void kick();

  void publish_complaints();
  void write_status(json_writer& out, const std::string& name) const;

  void serve(const std::string& name, std::shared_ptr<const snapshot> content,
             bool news);
  void drop_instance(const std::string& name, bool news);
  void send_failures();
  void tell_lua(unsigned scopes, const host_event& event);
  bool settling() const;

  void check_asks();
  void answer(uint64_t id, std::string problem, std::string payload = {});

  system_options options_;
  outbox<loop_message> outbox_;
  std::unique_ptr<system> system_;
  registry instances_;
  host_marks marks_;
  bool following_ = false; ///< content is on its way through the actors

  std::vector<host_errors> failures_; ///< of this turn of the loop
  uint64_t reported_ = 0;             ///< number of the last report
  uint64_t settled_ = 0;              ///< and of the last that is done with
  std::optional<ngx_msec_t> quits_;   ///< done with them at the latest

  bool leads_ = false;
  bool synced_ = false;
  uint64_t restored_ = 0; ///< not synced: content of that unix time is served
  uint64_t revision_ = 0; ///< of the store, applied here
  uint64_t global_revision_ = 0; ///< of the read that gave global_json_
  std::string global_json_;
  std::string trouble_;
  std::string names_json_;

  uint64_t zone_seen_ = 0;
  uint64_t zone_kicks_ = 0;
  std::unordered_set<std::string> zone_names_; ///< at the last look
  std::unordered_set<std::string> refused_;    ///< see applied_state
  /// As the leader, after the first read: what is in the store.
  std::unordered_set<std::string> store_names_;
  /// As the leader: what is wrong in the store, by instance, and as the zone
  /// has it.
  std::map<std::string, std::vector<std::string>> complaints_;
  std::string complaints_json_;

  waiting_asks asks_;
  uint64_t next_ask_ = 1;
  lua_queue to_lua_;
};

/// The worker's runtime; nullptr before start and after stop.
runtime* worker_runtime() noexcept;

/// @returns ZEDCUP_FFI_DECLINED where there is nothing to start.
result<bool> start_worker_runtime(system_options options, void* lua_semaphore);

/// Raised by everything that a reader of the runtime might have cached.
uint32_t* runtime_epoch() noexcept;

} // namespace zedcup
