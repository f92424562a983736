// What the store knows of a host at run time, and the commits that change it.
// Pure; any thread.
//
//   <prefix>/state/<i>/<n>/<m>/error_count  a number; Flags: unix time of the
//                                           last error
//   <prefix>/state/<i>/<n>/<m>/last_check   unix time of the last probe; Flags:
//                                           good probes in a row so far
//   <prefix>/instances/<i>/pools/<n>/hosts/<m>/up
//                            "false" with Flags 1: zedcup took the host down.
//                            With Flags 0 an operator did: that is never
//                            touched
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "host_ref.hpp"
#include "store/kv.hpp"
#include "util/result.hpp"

namespace zedcup {

/// Flags of an `up` that zedcup wrote when it took a host down.
constexpr uint64_t down_by_zedcup_flag = 1;

/// The key, or the start of the keys, of …
std::string state_prefix(std::string_view prefix, std::string_view instance);
std::string host_state_prefix(std::string_view prefix, const host_ref& host);
std::string host_config_prefix(std::string_view prefix, const host_ref& host);
std::string pending_key_of(std::string_view prefix, std::string_view instance);
std::string persist_key_of(std::string_view prefix, std::string_view instance);

struct host_state {
  uint32_t error_count = 0;
  uint64_t last_error = 0; ///< unix time; 0: none
  uint64_t last_check = 0; ///< unix time; 0: none
  uint32_t rises = 0;      ///< good probes in a row
};

/// By pool index and host index.
using instance_state = std::map<std::pair<uint32_t, uint32_t>, host_state>;

/// Entries below `<prefix>/state/<instance>/`. What is not ours is skipped, a
/// count that is no number counts as none.
instance_state parse_state(std::string_view prefix, std::string_view instance,
                           const std::vector<kv_entry>& entries);

/// An instance's state as JSON: a list of [pool, host, error_count, last_error,
/// last_check], 0 for what there is not.
std::string state_json(const instance_state& state);

/// Everything about one host, as read: the commits below are made on condition
/// that it is still so.
struct host_reading {
  std::optional<kv_entry> address, port, up, error_count, last_check;
  bool rewriting = false; ///< a redo record is there: plain keys may be lost
  bool persist = true;    ///< the instance's persist_errors
};

/// Puts one read entry where it belongs; entries of other keys are ignored.
void note_entry(host_reading& seen, std::string_view prefix,
                const host_ref& host, const kv_entry& entry);

/// Whether the host named is the one that stands at its place.
bool is_same_host(const host_reading& seen, const host_ref& host);

/// What to write for a host.
struct host_change {
  std::vector<kv_op> ops; ///< empty: there is nothing to write
  uint32_t count = 0;     ///< the new error_count, or the one that is there
  bool went_down = false; ///< what it means if the commit goes through
  bool went_up = false;
  bool is_down = false;     ///< it was down before, whoever did it
  bool by_operator = false; ///< and that was not zedcup
};

/// `count` more errors, of which the last was at `now` (unix time). The count
/// starts anew when the one before is older than `window`. At `max_errors` the
/// host goes down, if it is up; 0: never.
host_change plan_errors(std::string_view prefix, const host_ref& host,
                        const host_reading& seen, uint32_t count,
                        std::chrono::seconds window, uint32_t max_errors,
                        uint64_t now);

/// Removes the count.
host_change plan_reset(std::string_view prefix, const host_ref& host,
                       const host_reading& seen);

/// Notes that it was checked; the good probes so far stay.
host_change plan_checked(std::string_view prefix, const host_ref& host,
                         const host_reading& seen, uint64_t now);

/// `up` = "false" with Flags 1, if it is absent or true.
host_change plan_down(std::string_view prefix, const host_ref& host,
                      const host_reading& seen);

/// `up` = "true" with Flags 0, if zedcup took it down; count and good probes
/// are forgotten with it.
host_change plan_up(std::string_view prefix, const host_ref& host,
                    const host_reading& seen);

} // namespace zedcup
