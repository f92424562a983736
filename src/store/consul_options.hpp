// The `consul = {…}` options table, checked. Plain values; any thread.
#pragma once

#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "net/http_message.hpp"
#include "store/kv.hpp"
#include "store/option_reader.hpp"
#include "util/result.hpp"

namespace zedcup {

/// The names are those of lua-resty-consul's options, and ours beside them:
///
///   host, port         "127.0.0.1", 8500
///   addresses          list of "host" or "host:port", in place of host, port
///   connect_timeout    milliseconds, 2000
///   read_timeout       milliseconds, 10000; blocking queries add their wait
///   ssl, ssl_verify    false, true
///   sni_host, ca_cert, client_cert, client_key
///   default_args       { token, dc }
///   datacenter, token  the same, at the top
///   stale              { max_age = seconds }, or true for 10 s: plain reads
///                      may come from any server that heard from the leader
///                      within that time
///   max_txn_ops        64 (Consul up to 1.13; 128 later)
struct consul_options : connection_options {
  /// At least one.
  std::vector<server_address> addresses{{"127.0.0.1", 8500}};
  std::string token;
  std::string datacenter; ///< empty: the agent's own
  std::optional<std::chrono::milliseconds> stale_max_age;
  /// A transaction's body may have 512 KiB, its values in base64.
  commit_limits limits{64, size_t{360} * 1024};

  /// Words about keys that mean nothing here; for the log.
  std::vector<std::string> notices;
};

/// Reads the options from a JSON object; "" and "{}" give the defaults.
/// Errors: invalid_argument, naming the key
/// (`consul.port: expected 1..65535, got "abc"`). Unknown keys are notices.
result<consul_options> parse_consul_options(std::string_view json);

/// Where requests go: one of the addresses, with what each request carries.
struct consul_target {
  std::shared_ptr<const http_endpoint> endpoint;
  std::string datacenter;
};

/// One target per address, in order.
std::vector<consul_target> consul_targets(const consul_options& options);

} // namespace zedcup
