// What bridge.cpp needs of nginx, of the module's C files, of Lua and of the
// actors, for one worker: scripted by tests, defined in fake_nginx.cpp.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "actors/system.hpp"

namespace zedcup::test {

/// The shared zone as ngx_http_zedcup_zone.c keeps it.
struct fake_zone {
  struct entry {
    uint64_t revision = 0;
    uint64_t seq = 0; ///< of the last change
    bool refused = false;
    std::optional<std::string> json;
  };
  std::map<std::string, entry> entries; ///< "": the global settings
  uint64_t seq = 1;
  uint64_t kicks = 0;
  std::optional<uint64_t> synced;
  uint64_t restored = 0;
  std::string error;

  bool full = false;             ///< refuses whatever is put
  bool breaks = false;           ///< throws, as an example of a bug
  std::vector<std::string> puts; ///< names, since the last look

  /// As another worker: the leader.
  void put(const std::string& name, uint64_t revision, std::string json);
  void remove(const std::string& name);
  void set_synced(uint64_t revision);
};

/// What the bridge told the actors: "instance a 5", "role leader", …
struct fake_actors {
  std::vector<std::string> told;
  std::vector<write_order> writes;
  std::vector<host_errors> errors; ///< reported
  std::vector<host_order> orders;
  uint64_t reports = 0;
  outbox<loop_message>* out = nullptr;
  /// Pushed while the actors start.
  std::optional<loop_message> at_start;
};

struct fake_nginx {
  fake_zone zone;
  fake_actors actors;
  bool worker_runs = false; ///< between worker_start and worker_stop
  int wakes = 0;            ///< that reached a running worker
  int rings = 0;
  int posts = 0; ///< to Lua's semaphore
  std::vector<std::string> log;
  std::vector<uint64_t> errors; ///< memory of the table of errors
};

/// The one of this process.
fake_nginx& nginx();

} // namespace zedcup::test
