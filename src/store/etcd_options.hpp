// The `etcd = {…}` options table, checked. Plain values; any thread.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "net/http_message.hpp"
#include "store/kv.hpp"
#include "store/option_reader.hpp"
#include "util/result.hpp"

namespace zedcup {

///   endpoints          list of "host", "host:port", "http://host:port" or
///                      "https://host:port"; {"127.0.0.1:2379"}
///   host, port         one endpoint, in place of the list
///   user, password     of etcd's auth; both or neither
///   connect_timeout    milliseconds, 2000
///   read_timeout       milliseconds, 10000
///   ssl, ssl_verify    false, true; "https://" stands for ssl
///   sni_host, ca_cert, client_cert, client_key
///   max_txn_ops        128, etcd's --max-txn-ops
///   api                "v3"; "v2", the keys API of servers with --enable-v2,
///                      can be followed but not written
struct etcd_options : connection_options {
  std::vector<server_address> addresses{{"127.0.0.1", 2379}}; ///< at least one
  std::string user;
  std::string password;
  size_t max_txn_ops = 128;
  bool v2 = false;

  /// What one commit may carry: etcd forbids a put inside of a range that the
  /// same transaction deletes, so that each costs a second operation
  /// (etcd::commit), and takes 1.5 MiB.
  commit_limits limits() const {
    return {(max_txn_ops - 1) / 2, size_t{1} << 20};
  }

  std::vector<std::string> notices; ///< keys that mean nothing here
};

/// Reads the options from a JSON object. Errors: invalid_argument, naming the
/// key (`etcd.port: expected 1..65535, got "abc"`).
result<etcd_options> parse_etcd_options(std::string_view json);

using etcd_endpoints = std::vector<std::shared_ptr<const http_endpoint>>;

/// One endpoint per address, in order.
etcd_endpoints make_endpoints(const etcd_options& options);

} // namespace zedcup
