// Lists of peers and counts of picks.
#pragma once

#include <map>
#include <vector>

#include "balancer/balancer.hpp"

namespace zedcup::test {

constexpr balance_method all_methods[] = {
    balance_method::weighted_rr, balance_method::hash,
    balance_method::least_conn, balance_method::ewma, balance_method::random};

/// Slot by slot the weights; the id is 1000 + slot.
inline balancer::peer_list peers_of(const std::vector<uint32_t>& weights) {
  balancer::peer_list peers;
  for (const uint32_t weight : weights) {
    balancer::peer one;
    one.slot = static_cast<uint32_t>(peers.size());
    one.id = 1000 + one.slot;
    one.key = mix_bits(one.id);
    one.weight = weight;
    peers.push_back(one);
  }
  return peers;
}

inline balancer::options by(balance_method method) {
  balancer::options wanted;
  wanted.method = method;
  return wanted;
}

/// The n-th request, with a key of its own.
inline balancer::request nth(uint64_t n, uint64_t now_ms = 0) {
  balancer::request wanted;
  wanted.key = mix_bits(n + 1);
  wanted.now_ms = now_ms;
  return wanted;
}

/// Slot -> how often picked; slot 9999: none was found.
inline std::map<uint32_t, int> counts(balancer& from, int picks,
                                      uint64_t now_ms = 0) {
  std::map<uint32_t, int> all;
  for (int i = 0; i < picks; ++i)
    ++all[from.pick(nth(static_cast<uint64_t>(i), now_ms)).value_or(9999)];
  return all;
}

} // namespace zedcup::test
