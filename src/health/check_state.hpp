// The store's `<prefix>/state/<instance>/<pool>/<host>/…`, as far as health
// checks read and write it. Pure; any thread.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <tuple>

#include "host_ref.hpp"
#include "store/kv.hpp"

namespace zedcup {

/// What the tree knows about one host.
struct check_state {
  int64_t last_check = 0; ///< unix time; 0: never
  uint32_t good = 0;      ///< good probes in a row, up to then
  int64_t last_error = 0; ///< unix time; 0: none
};

/// Instance, pool index, host index.
using host_place = std::tuple<std::string, uint32_t, uint32_t>;

inline host_place place_of(const host_ref& host) {
  return {host.instance, host.pool, host.host};
}

/// Reads what is below `prefix` (`<prefix>/state/`); other keys are skipped.
std::map<host_place, check_state> read_check_states(const kv_tree& tree,
                                                    std::string_view prefix);

/// Writes `last_check`: the time, and in its Flags the good probes in a row.
kv_op write_last_check(std::string_view prefix, const host_ref& host,
                       int64_t unix_time, uint32_t good);

} // namespace zedcup
