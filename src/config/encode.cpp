// to_json, peers_json and names_json: what others see, as JSON.
#include "config/decode.hpp"
#include "config/json_writer.hpp"

namespace zedcup {

namespace {

void write_number(json_writer& out, const char* key, uint64_t value) {
  out.key(key);
  out.number(value);
}

template <class Rep, class Period>
void write_number(json_writer& out, const char* key,
                  std::chrono::duration<Rep, Period> value) {
  write_number(out, key, static_cast<uint64_t>(value.count()));
}

void write_text(json_writer& out, const char* key, const std::string& value) {
  out.key(key);
  out.string(value);
}

void write_boolean(json_writer& out, const char* key, bool value) {
  out.key(key);
  out.boolean(value);
}

void write_healthcheck(json_writer& out,
                       const std::optional<healthcheck_config>& value) {
  if (!value)
    return;
  out.key("healthcheck");
  out.value(value->given);
}

void write_tls(json_writer& out, const std::optional<tls_config>& tls) {
  out.key("ssl");
  if (!tls) {
    out.boolean(false);
    return;
  }
  out.begin_object();
  write_boolean(out, "ssl_verify", tls->verify);
  if (!tls->sni_name.empty())
    write_text(out, "sni_name", tls->sni_name);
  if (!tls->client_cert.empty()) {
    write_text(out, "client_cert", tls->client_cert);
    write_text(out, "client_key", tls->client_key);
  }
  if (!tls->ca_cert.empty())
    write_text(out, "ca_cert", tls->ca_cert);
  out.members(tls->extra);
  out.end_object();
}

void write_host(json_writer& out, const pool_config& pool,
                const host_config& host) {
  out.begin_object();
  write_number(out, "_idx", host.index);
  write_text(out, "name", host.name);
  write_text(out, "host", host.address);
  if (host.port != 0)
    write_number(out, "port", host.port);
  write_boolean(out, "up", host.up);
  if (host.down_by_zedcup)
    write_boolean(out, "_down_by_zedcup", true);
  write_number(out, "weight", host.weight);
  if (host.slow_start != pool.slow_start)
    write_number(out, "slow_start", host.slow_start);
  if (host.max_conns != pool.max_conns)
    write_number(out, "max_conns", host.max_conns);
  write_healthcheck(out, host.healthcheck);
  out.members(host.extra);
  out.end_object();
}

void write_status_codes(json_writer& out, const std::set<std::string>& codes) {
  out.key("status_codes");
  out.begin_object();
  for (const auto& code : codes)
    write_boolean(out, code.c_str(), true);
  out.end_object();
}

void write_pool(json_writer& out, const pool_config& pool) {
  out.begin_object();
  write_number(out, "_idx", pool.index);
  write_text(out, "name", pool.name);
  write_boolean(out, "up", pool.up);
  write_text(out, "method", text_of(pool.method));
  write_number(out, "hash_balance_factor", pool.hash_balance_factor);
  write_number(out, "slow_start", pool.slow_start);
  write_number(out, "max_conns", pool.max_conns);
  write_number(out, "timeout", pool.timeout);
  write_number(out, "error_timeout", pool.error_timeout);
  write_number(out, "max_errors", pool.max_errors);
  write_number(out, "min_rises", pool.min_rises);
  write_number(out, "read_timeout", pool.read_timeout);
  write_number(out, "keepalive_timeout", pool.keepalive_timeout);
  write_number(out, "keepalive_pool", pool.keepalive_pool);
  write_boolean(out, "retry_non_idempotent", pool.retry_non_idempotent);
  write_status_codes(out, pool.status_codes);
  write_healthcheck(out, pool.healthcheck);
  out.key("hosts");
  out.begin_array();
  for (const auto& host : pool.hosts)
    write_host(out, pool, host);
  out.end_array();
  out.members(pool.extra);
  out.end_object();
}

void write_peer(json_writer& out, const pool_config& pool,
                const host_config& host) {
  out.begin_object();
  write_text(out, "host", host.address);
  write_number(out, "port", host.port);
  write_number(out, "weight", host.weight);
  write_text(out, "status", pool.up && host.up ? "up" : "down");
  write_text(out, "pool", pool.name);
  write_text(out, "name", host.name);
  out.end_object();
}

} // namespace

std::string to_json(const instance_config& instance) {
  json_writer out;
  out.begin_object();
  write_tls(out, instance.ssl);
  write_healthcheck(out, instance.healthcheck);
  if (instance.method)
    write_text(out, "method", text_of(*instance.method));
  write_boolean(out, "persist_errors", instance.persist_errors);
  out.key("pools");
  out.begin_array();
  for (const auto& pool : instance.pools)
    write_pool(out, pool);
  out.end_array();
  out.members(instance.extra);
  out.end_object();
  return out.take();
}

std::string to_json(const global_config& config) {
  json_writer out;
  out.begin_object();
  write_number(out, "host_revive_interval", config.host_revive_interval);
  write_number(out, "cache_update_interval", config.cache_update_interval);
  write_number(out, "healthcheck_interval", config.healthcheck_interval);
  write_number(out, "watcher_interval", config.watcher_interval);
  write_number(out, "session_renew_interval", config.session_renew_interval);
  write_number(out, "session_ttl", config.session_ttl);
  write_number(out, "worker_lock_ttl", config.worker_lock_ttl);
  write_number(out, "consul_wait_time", config.consul_wait_time);
  out.members(config.extra);
  out.end_object();
  return out.take();
}

std::string peers_json(const instance_config& instance) {
  json_writer out;
  out.begin_array();
  for (const auto& pool : instance.pools)
    for (const auto& host : pool.hosts)
      write_peer(out, pool, host);
  out.end_array();
  return out.take();
}

std::string names_json(const std::vector<std::string>& names) {
  json_writer out;
  out.begin_array();
  for (const auto& name : names)
    out.string(name);
  out.end_array();
  return out.take();
}

} // namespace zedcup
