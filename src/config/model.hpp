// The typed configuration of an instance, with defaults filled in.
// Values are immutable once they are in a snapshot; any thread.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "balancer/method.hpp"
#include "config/health_check.hpp"
#include "config/tls_config.hpp"
#include "config/tree.hpp"

namespace zedcup {

struct host_config {
  uint32_t index = 0;  ///< its number in the store; gaps are kept
  std::string name;    ///< default: the index
  std::string address; ///< normalise_address() of key `host`: IPv4, "[::1]",
                       ///< a host name or `unix:/path`
  uint16_t port = 0;   ///< 0 for a unix socket
  bool up = true;
  bool down_by_zedcup = false; ///< up=false carries Flags 1
  uint32_t weight = 1;         ///< 1..65535
  /// How long it rises to its weight when it comes, or comes back.
  std::chrono::seconds slow_start{0}; ///< 0..1 day; default: the pool's
  uint32_t max_conns = 0; ///< at a time from one worker, 0..65535 (any);
                          ///< default: the pool's
  /// nullopt: the pool's, which may be the instance's.
  std::optional<healthcheck_config> healthcheck;
  tree extra;

  friend bool operator==(const host_config& a, const host_config& b) {
    return a.index == b.index && a.name == b.name && a.address == b.address &&
           a.port == b.port && a.up == b.up &&
           a.down_by_zedcup == b.down_by_zedcup && a.weight == b.weight &&
           a.slow_start == b.slow_start && a.max_conns == b.max_conns &&
           a.healthcheck == b.healthcheck && a.extra == b.extra;
  }
};

struct pool_config {
  uint32_t index = 0;
  std::string name; ///< default: the index
  bool up = true;
  balance_method method = balance_method::weighted_rr; ///< or the instance's
  /// hash: percent of its share that a host may have; 0: any, or 101..10000.
  uint32_t hash_balance_factor = 0;
  std::chrono::seconds slow_start{0};                 ///< see host_config
  uint32_t max_conns = 0;                             ///< of each host
  std::chrono::milliseconds timeout{2000};            ///< connect; 1 ms..24 h
  std::chrono::seconds error_timeout{60};             ///< 1 s..30 days
  uint32_t max_errors = 3;                            ///< 1..1000000
  uint32_t min_rises = 3;                             ///< 1..1000000
  std::chrono::milliseconds read_timeout{10000};      ///< 1 ms..24 h
  std::chrono::milliseconds keepalive_timeout{60000}; ///< 1 ms..24 h
  uint32_t keepalive_pool = 128; ///< connections, 0..65535; 0: none kept
  bool retry_non_idempotent = false;
  /// Answers that count as failures: a digit 1..5, then digits or 'x'.
  std::set<std::string> status_codes{"4xx", "5xx"};
  std::optional<healthcheck_config> healthcheck;
  std::vector<host_config> hosts; ///< by index
  tree extra;

  friend bool operator==(const pool_config& a, const pool_config& b) {
    return a.index == b.index && a.name == b.name && a.up == b.up &&
           a.method == b.method &&
           a.hash_balance_factor == b.hash_balance_factor &&
           a.slow_start == b.slow_start && a.max_conns == b.max_conns &&
           a.timeout == b.timeout && a.error_timeout == b.error_timeout &&
           a.max_errors == b.max_errors && a.min_rises == b.min_rises &&
           a.read_timeout == b.read_timeout &&
           a.keepalive_timeout == b.keepalive_timeout &&
           a.keepalive_pool == b.keepalive_pool &&
           a.retry_non_idempotent == b.retry_non_idempotent &&
           a.status_codes == b.status_codes && a.healthcheck == b.healthcheck &&
           a.hosts == b.hosts && a.extra == b.extra;
  }
};

struct instance_config {
  std::string name;
  std::optional<tls_config> ssl; ///< nullopt: plain TCP
  std::optional<healthcheck_config> healthcheck;
  std::optional<balance_method> method; ///< of pools that say none
  /// Whether errors are counted, and hosts taken down, in the store; else
  /// each node does so for itself.
  bool persist_errors = true;
  std::vector<pool_config> pools; ///< by index: the order of preference
  tree extra;

  friend bool operator==(const instance_config& a, const instance_config& b) {
    return a.name == b.name && a.ssl == b.ssl &&
           a.healthcheck == b.healthcheck && a.method == b.method &&
           a.persist_errors == b.persist_errors && a.pools == b.pools &&
           a.extra == b.extra;
  }
};

/// `<prefix>/config/<key>`: seconds, all of them, 1..86400.
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

  friend bool operator==(const global_config& a, const global_config& b) {
    return a.host_revive_interval == b.host_revive_interval &&
           a.cache_update_interval == b.cache_update_interval &&
           a.healthcheck_interval == b.healthcheck_interval &&
           a.watcher_interval == b.watcher_interval &&
           a.session_renew_interval == b.session_renew_interval &&
           a.session_ttl == b.session_ttl &&
           a.worker_lock_ttl == b.worker_lock_ttl &&
           a.consul_wait_time == b.consul_wait_time && a.extra == b.extra;
  }
};

} // namespace zedcup
