// How a pool chooses among its hosts. Any thread.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace zedcup {

enum class balance_method : uint8_t {
  weighted_rr, ///< in turns, each host as often as its weight says
  hash,        ///< by a key: the same key to the same host (rendezvous)
  least_conn,  ///< of two drawn at random, the one with fewer requests
  ewma,        ///< of two drawn at random, the one that answers sooner
  random,      ///< drawn at random, by weight
};

/// "weighted_rr, hash, least_conn, ewma or random": for complaints.
constexpr const char* balance_methods =
    "weighted_rr, hash, least_conn, ewma or random";

constexpr const char* text_of(balance_method method) noexcept {
  switch (method) {
  case balance_method::hash:
    return "hash";
  case balance_method::least_conn:
    return "least_conn";
  case balance_method::ewma:
    return "ewma";
  case balance_method::random:
    return "random";
  default:
    return "weighted_rr";
  }
}

inline std::optional<balance_method>
balance_method_of(std::string_view text) noexcept {
  for (const auto method : {balance_method::weighted_rr, balance_method::hash,
                            balance_method::least_conn, balance_method::ewma,
                            balance_method::random})
    if (text == text_of(method))
      return method;
  return std::nullopt;
}

} // namespace zedcup
