// The active checks of lreu.health: their options, and what is sent to a peer.
// Pure; any thread.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <set>
#include <string>
#include <string_view>

#include "health/probe.hpp"
#include "peers/service.hpp"
#include "util/result.hpp"

namespace zedcup {

/// How all peers are checked. The defaults are the original lreu's.
struct peer_checks {
  std::chrono::seconds interval{5}; ///< 1 s..24 h
  std::chrono::milliseconds timeout{
      500};               ///< to connect, and to answer, 1 ms..1 h
  uint32_t max_fails = 3; ///< in a row, that take a peer out
  uint32_t min_rises = 1; ///< in a row, that bring it back
  std::set<int> ok_status{200, 201, 204, 301, 302, 401, 403};

  friend bool operator==(const peer_checks& a, const peer_checks& b) {
    return a.interval == b.interval && a.timeout == b.timeout &&
           a.max_fails == b.max_fails && a.min_rises == b.min_rises &&
           a.ok_status == b.ok_status;
  }
};

/// From JSON: "interval" (seconds), "timeout" (milliseconds), "max_fails",
/// "min_rises", "ok_status" (a list). Errors: invalid_argument, naming the key.
result<peer_checks> parse_peer_checks(std::string_view json);

/// Patterns (`503`, `50x`, `5xx`) of every status from 100 to 599 that is not
/// in `good`.
std::set<std::string> all_but(const std::set<int>& good);

/// How to check a peer: GET of its check_url. @param bad_statuses all_but()
std::shared_ptr<const probe>
make_peer_probe(const std::string& service, const peer& which,
                const peer_checks& how,
                const std::set<std::string>& bad_statuses);

} // namespace zedcup
