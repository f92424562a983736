#include "config/decode.hpp"

#include <algorithm>

#include "config/address.hpp"
#include "config/decode_fields.hpp"
#include "config/decode_parts.hpp"
#include "util/text.hpp"

namespace zedcup {

namespace {

constexpr uint64_t day_s = 24ULL * 3600;
constexpr uint64_t month_s = 30ULL * 24 * 3600;
constexpr uint64_t max_count = 1'000'000;

// The state of decoding one instance.
struct decoding {
  complaint_log log;
  bool dropped = false; // a pool or a host was left out
};

void decode_method(table_reader& table, std::optional<balance_method>& out) {
  const auto* name = table.leaf("method");
  if (name == nullptr)
    return;
  if (const auto method = balance_method_of(*name))
    out = method;
  else
    table.reject("method", std::string("expected ") + balance_methods +
                               ", got " + quoted(*name));
}

void decode_balance_factor(table_reader& table, uint32_t& out) {
  uint32_t percent = out;
  table.number("hash_balance_factor", 0, 10'000, percent);
  if (percent != 0 && percent <= 100)
    table.reject("hash_balance_factor", "expected 0 or 101..10000, got " +
                                            quoted(std::to_string(percent)));
  else
    out = percent;
}

// What a host has of its own or from its pool.
template <class Config>
void decode_limits(table_reader& table, Config& out) {
  table.duration("slow_start", 0, day_s, out.slow_start);
  table.number("max_conns", 0, 65535, out.max_conns);
}

void decode_up(table_reader& table, const tree& node, host_config& host) {
  table.boolean("up", host.up);
  table.boolean("_down_by_zedcup", host.down_by_zedcup);
  const tree* up = node.find("up");
  if (up != nullptr && up->flags == 1)
    host.down_by_zedcup = true;
  if (host.up)
    host.down_by_zedcup = false;
}

bool decode_address(table_reader& table, std::string& out) {
  const auto* given = table.required_leaf("host");
  if (given == nullptr)
    return false;
  auto address = normalise_address(*given);
  if (address)
    out = std::move(*address);
  else
    table.reject("host", "expected an IP address, a host name or unix:/path, "
                         "got " +
                             quoted(*given));
  return address.has_value();
}

void decode_endpoint(table_reader& table, complaint_log& log,
                     host_config& host) {
  const bool found = decode_address(table, host.address);
  if (found && is_unix_address(host.address)) {
    table.number("port", 0, 65535, host.port);
    if (host.port != 0)
      log.notice(table.path_of("port"), "ignored for a unix socket");
    host.port = 0;
    return;
  }
  if (!found || table.required_leaf("port") != nullptr)
    table.number("port", 1, 65535, host.port);
}

std::optional<host_config> decode_host(const list_element& element,
                                       const pool_config& pool,
                                       complaint_log& log) {
  if (element.node->is_leaf()) {
    log.error(element.path,
              "expected a table, got " + quoted(*element.node->text));
    return std::nullopt;
  }
  table_reader table{*element.node, element.path, log};
  host_config host;
  host.index = element.index;
  host.name = std::to_string(element.index);
  decode_endpoint(table, log, host);
  table.text("name", host.name);
  decode_up(table, *element.node, host);
  table.number("weight", 1, 65535, host.weight);
  host.slow_start = pool.slow_start;
  host.max_conns = pool.max_conns;
  decode_limits(table, host);
  decode_healthcheck(table, log, host.healthcheck);
  host.extra = table.unknown();
  if (table.failed())
    return std::nullopt;
  return host;
}

// The elements below `pools` or `hosts`; none when it is not a table.
std::vector<list_element> decode_list(table_reader& table, const char* key,
                                      decoding& state) {
  const tree* node = table.take(key);
  if (node == nullptr)
    return {};
  const std::string path = table.path_of(key);
  if (node->is_leaf()) {
    state.dropped = true;
    table.reject(key, "expected a table, got " + quoted(*node->text));
    return {};
  }
  const table_reader check{*node, path, state.log};
  return list_elements(*node, path, state.log, state.dropped);
}

void decode_hosts(table_reader& table, decoding& state, pool_config& pool) {
  for (const auto& element : decode_list(table, "hosts", state)) {
    if (auto host = decode_host(element, pool, state.log))
      pool.hosts.push_back(std::move(*host));
    else
      state.dropped = true;
  }
}

std::optional<pool_config> decode_pool(const list_element& element,
                                       std::optional<balance_method> method,
                                       decoding& state) {
  if (element.node->is_leaf()) {
    state.log.error(element.path,
                    "expected a table, got " + quoted(*element.node->text));
    return std::nullopt;
  }
  table_reader table{*element.node, element.path, state.log};
  pool_config pool;
  pool.index = element.index;
  pool.name = std::to_string(element.index);
  table.text("name", pool.name);
  table.boolean("up", pool.up);
  decode_method(table, method);
  pool.method = method.value_or(pool.method);
  decode_balance_factor(table, pool.hash_balance_factor);
  decode_limits(table, pool);
  table.duration("timeout", 1, longest_ms, pool.timeout);
  table.duration("error_timeout", 1, month_s, pool.error_timeout);
  table.number("max_errors", 1, max_count, pool.max_errors);
  table.number("min_rises", 1, max_count, pool.min_rises);
  table.duration("read_timeout", 1, longest_ms, pool.read_timeout);
  table.duration("keepalive_timeout", 1, longest_ms, pool.keepalive_timeout);
  table.number("keepalive_pool", 0, 65535, pool.keepalive_pool);
  table.boolean("retry_non_idempotent", pool.retry_non_idempotent);
  decode_status_codes(table, state.log, pool.status_codes);
  decode_healthcheck(table, state.log, pool.healthcheck);
  decode_hosts(table, state, pool);
  pool.extra = table.unknown();
  return pool;
}

bool has_hosts(const instance_config& instance) {
  return std::any_of(instance.pools.begin(), instance.pools.end(),
                     [](const auto& pool) { return !pool.hosts.empty(); });
}

} // namespace

decoded<instance_config> decode_instance(std::string name, const tree& root) {
  decoding state;
  const std::string path;
  table_reader table{root, path, state.log};
  state.dropped = root.is_leaf() && !root.text->empty();
  instance_config instance;
  instance.name = std::move(name);
  decode_tls(table, state.log, instance.ssl);
  decode_healthcheck(table, state.log, instance.healthcheck);
  decode_method(table, instance.method);
  table.boolean("persist_errors", instance.persist_errors);
  for (const auto& element : decode_list(table, "pools", state)) {
    if (auto pool = decode_pool(element, instance.method, state))
      instance.pools.push_back(std::move(*pool));
    else
      state.dropped = true;
  }
  instance.extra = table.unknown();

  decoded<instance_config> out;
  out.diagnostics = state.log.take();
  if (!state.dropped || has_hosts(instance))
    out.value = std::move(instance);
  return out;
}

decoded<global_config> decode_global(const tree& root) {
  complaint_log log;
  const std::string path;
  table_reader table{root, path, log};
  global_config config;
  const auto seconds = [&](const char* key, std::chrono::seconds& out) {
    table.duration(key, 1, day_s, out);
  };
  seconds("host_revive_interval", config.host_revive_interval);
  seconds("cache_update_interval", config.cache_update_interval);
  seconds("healthcheck_interval", config.healthcheck_interval);
  seconds("watcher_interval", config.watcher_interval);
  seconds("session_renew_interval", config.session_renew_interval);
  seconds("session_ttl", config.session_ttl);
  seconds("worker_lock_ttl", config.worker_lock_ttl);
  seconds("consul_wait_time", config.consul_wait_time);
  config.extra = table.unknown();
  return {std::move(config), log.take()};
}

} // namespace zedcup
