// The typed configuration of an instance, with defaults filled in.
// Values are immutable once they are in a snapshot; any thread.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "config/tree.hpp"

namespace zedcup {

enum class balance_method { weighted_rr };

/// TLS towards the hosts of an instance.
struct tls_config {
  bool verify = true;   ///< key `verify` or `ssl_verify`
  std::string sni_name; ///< empty: the host's own name is sent
  tree extra;           ///< keys that this version does not know
};

struct host_config {
  uint32_t index = 0;  ///< its number in the store; gaps are kept
  std::string name;    ///< default: the index
  std::string address; ///< IP, hostname or `unix:/path`; key `host`
  uint16_t port = 0;   ///< 0 for a unix socket
  bool up = true;
  bool down_by_zedcup = false; ///< up=false carries Flags 1
  uint32_t weight = 1;         ///< 1..65535
  std::optional<tree> healthcheck; ///< text "true", or a table
  tree extra;
};

struct pool_config {
  uint32_t index = 0;
  std::string name; ///< default: the index
  bool up = true;
  balance_method method = balance_method::weighted_rr;
  std::chrono::milliseconds timeout{2000}; ///< connect
  std::chrono::seconds error_timeout{60};
  uint32_t max_errors = 3;
  uint32_t min_rises = 3;
  std::chrono::milliseconds read_timeout{10000};
  std::chrono::milliseconds keepalive_timeout{60000};
  uint32_t keepalive_pool = 128;
  bool retry_non_idempotent = false;
  std::set<std::string> status_codes{"4xx", "5xx"};
  std::optional<tree> healthcheck;
  std::vector<host_config> hosts; ///< by index
  tree extra;
};

struct instance_config {
  std::string name;
  std::optional<tls_config> ssl; ///< nullopt: plain TCP
  std::optional<tree> healthcheck;
  std::vector<pool_config> pools; ///< by index: the order of preference
  tree extra;
};

/// `<prefix>/config/<key>`: seconds, all of them.
struct global_config {
  std::chrono::seconds host_revive_interval{10};
  std::chrono::seconds cache_update_interval{1};
  std::chrono::seconds healthcheck_interval{10};
  std::chrono::seconds watcher_interval{10};
  std::chrono::seconds session_renew_interval{10};
  std::chrono::seconds session_ttl{30};
  std::chrono::seconds worker_lock_ttl{30};
  std::chrono::seconds consul_wait_time{600};
  tree extra;
};

} // namespace zedcup
