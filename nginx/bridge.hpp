// Where the actors' world meets the event loop: one runtime per worker. All of
// it runs on the event-loop thread; the outbox is the only way in for others.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <unordered_set>

#include "actors/system.hpp"
#include "nginx/lua_queue.hpp"
#include "nginx/ngx_http_zedcup.h"
#include "nginx/registry.hpp"
#include "nginx/waiting_asks.hpp"
#include "nginx/zedcup_ffi.h"
#include "nginx/zone_content.hpp"

namespace zedcup {

class runtime {
public:
  /// Takes what the zone holds, then starts the actors and this worker's
  /// place in the node. Call after fork.
  static result<std::unique_ptr<runtime>>
  start(system_options options, ngx_http_zedcup_main_conf_t* zmcf,
        void* lua_semaphore);

  // ---- called by the loop (ngx_http_zedcup_worker.c) -----------------------

  bool drain(); ///< a budget of messages; true: more wait
  void look();  ///< at the zone, and at asks that are overdue
  void lead(bool leads);
  void exiting();
  bool stop(std::chrono::milliseconds deadline);

  // ---- called by Lua (ffi.cpp) ---------------------------------------------

  uint64_t ask(int what, std::string name, std::string json);
  lua_queue& messages() { return to_lua_; }
  void state(zedcup_ffi_state_t& out) const;
  registry& instances() { return instances_; }
  const std::string& names_json();
  const std::string& global_json() const { return global_json_; }

private:
  runtime(system_options options, void* lua_semaphore);

  void load_zone();
  void load(zone_content::entry& seen);
  void follow(zone_content content);
  void note_names(const zone_content& content);
  void changed();

  void on(instance_changed& message);
  void on(global_changed& message);
  void on(synced& message);
  void on(store_trouble& message);
  void on(content_wanted& message);
  void on(write_done& message);
  void on(log_line& message);

  bool publish(const std::string& name, uint64_t revision,
               const std::string& json);
  void keep_only(const std::vector<std::string>& names);
  void remove_instance(const std::string& name);
  void kick();

  void check_asks();
  void answer(uint64_t id, std::string problem);

  system_options options_;
  outbox<loop_message> outbox_;
  std::unique_ptr<system> system_;
  registry instances_;

  bool leads_ = false;
  bool synced_ = false;
  uint64_t revision_ = 0;        ///< of the store, applied here
  uint64_t global_revision_ = 0; ///< of the read that gave global_json_
  std::string global_json_;
  std::string trouble_;
  std::string names_json_;

  uint64_t zone_seen_ = 0;
  uint64_t zone_kicks_ = 0;
  std::unordered_set<std::string> zone_names_; ///< at the last look
  std::unordered_set<std::string> refused_;    ///< see applied_state

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
