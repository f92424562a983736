// What `healthcheck` of an instance, a pool or a host says. Plain value.
#pragma once

#include <chrono>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "config/tls_config.hpp"
#include "config/tree.hpp"

namespace zedcup {

enum class probe_kind {
  http,
  tcp,  ///< a connection (with TLS: a handshake) is enough
  grpc, ///< grpc.health.v1.Health/Check
};

/// TLS of a probe.
struct probe_tls {
  bool on = false;
  tls_config how;
};

struct healthcheck_config {
  /// As it was written: `true`, `false` or a table. This is what is shown and
  /// what other workers get; everything below is read from it.
  tree given;

  /// False: no check here, whatever the pool or the instance says. A table with
  /// a bad key counts as `false`, in `given` too: a check that nobody asked for
  /// in this form could take good hosts down.
  bool enabled = true;
  probe_kind kind = probe_kind::http;
  std::chrono::seconds interval{60}; ///< 1 s..24 h
  std::string method = "GET";
  std::string path = "/";
  /// By name, no two that differ only in case.
  std::vector<std::pair<std::string, std::string>> headers;
  std::optional<std::set<std::string>> status_codes; ///< nullopt: the pool's
  std::optional<probe_tls> ssl;                      ///< nullopt: instance's
  std::optional<std::chrono::milliseconds> timeout;  ///< nullopt: the pool's
  std::optional<std::chrono::milliseconds> read_timeout;
  std::string body;    ///< text that must be in it, or `~` and a pattern
  std::string service; ///< of a grpc check; empty: the server as a whole

  friend bool operator==(const healthcheck_config& a,
                         const healthcheck_config& b) {
    return a.given == b.given; // the rest follows
  }
};

} // namespace zedcup
