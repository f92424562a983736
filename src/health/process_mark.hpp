// Who holds a session: the value of its key under `registry/`. By it a worker
// that takes over can tell that the one before is gone, without waiting for
// the end of its session. Reads /proc; any thread.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace zedcup {

struct process_mark {
  std::string host; ///< its name, for people
  int64_t pid = 0;
  int64_t started = 0;   ///< unix time
  std::string boot;      ///< of the kernel that it ran on
  std::string pid_space; ///< its pid namespace
  uint64_t ticks = 0;    ///< when it started, since boot: no pid is reused
  std::string run;       ///< one start of the actors

  /// This process.
  static process_mark own(std::string run);

  std::string to_json() const;
  /// Unreadable text, or that of an original zedcup, gives an empty mark.
  static process_mark parse(std::string_view json);

  /// Whether the process that `other` marks is known to have ended, or is this
  /// one's earlier self: same machine since the same boot, same pid namespace,
  /// and no such process. A mark from elsewhere is never stale.
  bool knows_ended(const process_mark& other) const;
};

} // namespace zedcup
