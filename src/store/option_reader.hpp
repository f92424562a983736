// Reads the options table of a store from JSON, key by key: what Consul's and
// etcd's have in common. Internal to src/store; pure; any thread.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "net/http_message.hpp"
#include "store/json.hpp"
#include "util/result.hpp"

namespace zedcup {

/// Where a server is: a name or an address without brackets, and its port.
using server_address = std::pair<std::string, uint16_t>;

/// How to reach servers and to trust them.
struct connection_options {
  std::chrono::milliseconds connect_timeout{2000};
  std::chrono::milliseconds read_timeout{10000};
  bool ssl = false;
  bool ssl_verify = true;
  std::string sni_host;
  std::string ca_cert;
  std::string client_cert;
  std::string client_key;

  /// An endpoint with all that, without headers.
  http_endpoint endpoint(const server_address& at) const;
};

/// Keeps the first complaint; what follows it is of no interest.
class option_reader {
public:
  /// @param store begins every complaint: "consul"
  explicit option_reader(std::string store) : store_(std::move(store)) {}

  /// Text without line breaks and NUL.
  std::string text(const std::string& key, const rapidjson::Value& value);
  /// Also as text.
  bool flag(const std::string& key, const rapidjson::Value& value);
  /// A whole number, also as text ("8500") or as Lua writes some (8500.0).
  uint64_t number(const std::string& key, const rapidjson::Value& value,
                  uint64_t least, uint64_t most);
  /// "host", "host:port", "[v6]", "[v6]:port".
  std::optional<server_address> address(const std::string& key,
                                        std::string_view text,
                                        uint16_t default_port,
                                        const rapidjson::Value& value);
  /// A name or an address, without the brackets of an IPv6 address.
  std::string host(const std::string& key, const rapidjson::Value& value);

  /// Takes a key of connection_options; false: it is none.
  bool connection(const std::string& key, const rapidjson::Value& value,
                  connection_options& out);
  /// What only shows when all keys have been read.
  void check(const connection_options& read);

  void complain(const std::string& key, const std::string& expected,
                const rapidjson::Value& got);
  const std::optional<error>& failure() const { return failure_; }

private:
  std::string store_;
  std::optional<error> failure_;
};

/// Parses the options and gives each member to `member(key, value)`; "", {}
/// and [] (an empty Lua table) have none. Errors: invalid_argument.
template <class Member>
status each_option(const std::string& store, std::string_view text,
                   Member&& member) {
  if (text.empty())
    return success();
  rapidjson::Document document;
  if (!json::parse(document, text))
    return error{errc::invalid_argument,
                 store + ": not JSON, at byte " +
                     std::to_string(document.GetErrorOffset())};
  if (!document.IsObject() && !(document.IsArray() && document.Empty()))
    return error{errc::invalid_argument,
                 store + ": expected a table, got " + json::show(document)};
  if (document.IsObject())
    for (const auto& [name, value] : document.GetObject())
      if (!value.IsNull())
        member(std::string(json::text_of(name)), value);
  return success();
}

} // namespace zedcup
