// A service of lreu and its peers: one key a peer, `<path><service>/<address>`,
// its value JSON. Pure; any thread.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "store/kv.hpp"
#include "util/result.hpp"

namespace zedcup {

struct peer {
  std::string host; ///< normalise_address(): IPv4, "[::1]" or a name
  uint16_t port = 0;
  uint32_t weight = 1;     ///< 0..65535; 0: gets no new requests
  bool up = true;          ///< key `status`, "up" or "down"
  uint32_t slow_start = 0; ///< seconds, 0..86400
  /// Of active checks: keys `check_url`, `checkurl`.
  std::string check_url = "/";
  /// Since when it rises, unix time; 0: it was there from the start.
  double start_at = 0;

  /// "10.0.0.1:80", "[::1]:80"
  std::string name() const { return host + ":" + std::to_string(port); }

  friend bool operator==(const peer& a, const peer& b) {
    return a.host == b.host && a.port == b.port && a.weight == b.weight &&
           a.up == b.up && a.slow_start == b.slow_start &&
           a.check_url == b.check_url && a.start_at == b.start_at;
  }
};

struct service {
  std::string name;
  std::vector<peer> peers; ///< by key
};

/// A complaint about one key.
struct peer_complaint {
  std::string key;
  std::string text;
};

/// Empty when a service may be called so: no control characters and no '|',
/// at which `_allname` is split. Else what is wrong with the name.
std::string check_service_name(std::string_view name);

/// Reads one peer. The value may be empty: all defaults. Bad JSON and bad
/// fields give their defaults and a complaint each; the fields may also stand
/// in an object `Metadata`, whose own come second.
/// Errors: invalid_argument, the address is none; that key means nothing.
/// @param address what follows the service in the key
result<peer> decode_peer(const std::string& key, std::string_view address,
                         std::string_view value,
                         std::vector<peer_complaint>& complaints);

/// Sets when the peers began that were not there, or not up, in `before`.
/// @param before as of the last read; null: the first read of all, in which
///        nobody is new
/// @param now unix time
void carry_over(service& fresh, const service* before, double now);

/// What the shared dictionary holds: an array of objects with host, port,
/// weight, status, slow_start, check_url, checkurl and start_at.
std::string peers_json(const service& which);

/// From peers_json() of another run; entries that are none are left out.
service service_from_json(std::string name, std::string_view json);

} // namespace zedcup
