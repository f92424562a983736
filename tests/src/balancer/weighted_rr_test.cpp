#include "balancer/weighted_rr.hpp"

#include <algorithm>
#include <cmath>
#include <map>
#include <random>
#include <string>

#include "support/catch.hpp"

using namespace zedcup;

namespace {

using host_list = std::vector<weighted_rr::candidate>;

// Hosts with slots and ids 0, 1, …
host_list hosts_of(const std::vector<uint32_t>& weights) {
  host_list hosts;
  for (uint32_t i = 0; i < weights.size(); ++i)
    hosts.push_back({i, weights[i], i});
  return hosts;
}

// The hosts named, each one's letter its slot and id.
host_list named(const std::string& names,
                const std::map<char, uint32_t>& weights = {}) {
  host_list hosts;
  for (const char name : names) {
    const auto given = weights.find(name);
    const auto slot = uint32_t{static_cast<unsigned char>(name)};
    hosts.push_back({slot, given == weights.end() ? 1 : given->second, slot});
  }
  return hosts;
}

std::string picks(weighted_rr& balancer, size_t count) {
  std::string out;
  while (count-- > 0)
    out += static_cast<char>(balancer.pick().value());
  return out;
}

uint64_t total_of(const host_list& hosts) {
  uint64_t total = 0;
  for (const auto& host : hosts)
    total += host.weight;
  return total;
}

std::map<uint32_t, uint32_t> counts(weighted_rr& balancer, uint64_t rounds) {
  std::map<uint32_t, uint32_t> out;
  while (rounds-- > 0)
    ++out[balancer.pick().value()];
  return out;
}

bool is_exact(const host_list& hosts, std::map<uint32_t, uint32_t> counted) {
  return std::all_of(hosts.begin(), hosts.end(), [&](const auto& host) {
    return counted[host.slot] == host.weight;
  });
}

size_t longest_run(const std::string& sequence, char name) {
  size_t longest = 0;
  size_t run = 0;
  for (const char c : sequence) {
    run = c == name ? run + 1 : 0;
    longest = std::max(longest, run);
  }
  return longest;
}

std::vector<uint32_t> random_weights(std::mt19937& random, uint32_t max_hosts,
                                     uint32_t max_weight) {
  std::vector<uint32_t> weights(1 + random() % max_hosts);
  for (auto& weight : weights)
    weight = 1 + static_cast<uint32_t>(random() % max_weight);
  return weights;
}

} // namespace

TEST_CASE("weighted_rr: equal weights rotate strictly", "[balancer]") {
  weighted_rr balancer{named("abc", {{'a', 7}, {'b', 7}, {'c', 7}})};
  CHECK(picks(balancer, 9) == "abcabcabc");
}

TEST_CASE("weighted_rr: without hosts there is no pick", "[balancer]") {
  weighted_rr none;
  CHECK_FALSE(none.pick());
  weighted_rr empty{{}, 3};
  CHECK_FALSE(empty.pick());
  empty.update({});
  CHECK_FALSE(empty.pick());
  empty.update(named("a"));
  CHECK(picks(empty, 2) == "aa");
}

TEST_CASE("weighted_rr: a host of weight 0 is never picked", "[balancer]") {
  weighted_rr balancer{named("abc", {{'b', 0}}), 1};
  CHECK(picks(balancer, 4) == "caca");
  weighted_rr nothing{named("a", {{'a', 0}})};
  CHECK_FALSE(nothing.pick());
}

TEST_CASE("weighted_rr: every host gets its weight in every cycle",
          "[balancer]") {
  std::mt19937 random{40};
  for (int round = 0; round < 500; ++round) {
    const auto hosts = hosts_of(random_weights(random, 12, 20));
    weighted_rr balancer{hosts, static_cast<uint32_t>(random())};
    for (int cycle = 0; cycle < 3; ++cycle)
      REQUIRE(is_exact(hosts, counts(balancer, total_of(hosts))));
    counts(balancer, random() % 50);
    REQUIRE(is_exact(hosts, counts(balancer, total_of(hosts))));
  }
}

TEST_CASE("weighted_rr: the heavy host of 1/1/10 comes without bursts",
          "[balancer]") {
  weighted_rr balancer{named("abc", {{'c', 10}})};
  const std::string sequence = picks(balancer, 120);
  CHECK(std::count(sequence.begin(), sequence.end(), 'a') == 10);
  CHECK(std::count(sequence.begin(), sequence.end(), 'b') == 10);
  CHECK(longest_run(sequence, 'c') <= 6);
}

TEST_CASE("weighted_rr: 3:1 never gives more than three in a row",
          "[balancer]") {
  weighted_rr balancer{named("ab", {{'a', 3}})};
  const std::string sequence = picks(balancer, 400);
  CHECK(longest_run(sequence, 'a') == 3);
  CHECK(longest_run(sequence, 'b') == 1);
}

TEST_CASE("weighted_rr: a host's turns are spread over the cycle",
          "[balancer]") {
  std::mt19937 random{41};
  for (int round = 0; round < 200; ++round) {
    const auto weights = random_weights(random, 8, 30);
    const auto hosts = hosts_of(weights);
    const auto total = static_cast<double>(total_of(hosts));
    weighted_rr balancer{hosts};
    std::vector<double> taken(weights.size());
    for (int i = 1; i <= total; ++i) {
      ++taken[balancer.pick().value()];
      for (size_t h = 0; h < weights.size(); ++h) {
        const double fair = i * weights[h] / total;
        REQUIRE(std::abs(taken[h] - fair) < 3);
      }
    }
  }
}

TEST_CASE("weighted_rr: offset k begins at the k-th host", "[balancer]") {
  for (uint32_t k = 0; k < 7; ++k) {
    weighted_rr equal{named("abc"), k};
    CHECK(picks(equal, 3) == std::string{"abcab"}.substr(k % 3, 3));
    weighted_rr mixed{named("abc", {{'b', 5}, {'c', 2}}), k};
    CHECK(picks(mixed, 1) == std::string(1, "abc"[k % 3]));
  }
}

TEST_CASE("weighted_rr: an offset is a place in the one cycle", "[balancer]") {
  const auto hosts = named("abcd", {{'a', 5}, {'b', 2}, {'c', 2}});
  weighted_rr first{hosts};
  const std::string cycle = picks(first, 10);
  for (uint32_t k = 0; k < 4; ++k) {
    weighted_rr other{hosts, k};
    CHECK((cycle + cycle).find(picks(other, 10)) != std::string::npos);
  }
}

TEST_CASE("weighted_rr: an update without a change changes nothing",
          "[balancer]") {
  std::mt19937 random{42};
  for (int round = 0; round < 300; ++round) {
    const auto hosts = hosts_of(random_weights(random, 10, 12));
    const auto offset = static_cast<uint32_t>(random() % 10);
    weighted_rr steady{hosts, offset};
    weighted_rr updated{hosts, offset};
    for (int i = 0; i < 100; ++i) {
      if (random() % 3 == 0)
        updated.update(hosts);
      REQUIRE(updated.pick() == steady.pick());
    }
  }
}

TEST_CASE("weighted_rr: removing and adding other hosts keeps the rotation",
          "[balancer]") {
  weighted_rr balancer{named("abcde")};
  CHECK(picks(balancer, 2) == "ab");
  balancer.update(named("acde"));
  CHECK(picks(balancer, 1) == "c");
  balancer.update(named("abcdex"));
  CHECK(picks(balancer, 7) == "dexabcd");
}

TEST_CASE("weighted_rr: a list in another order goes on at the same host",
          "[balancer]") {
  weighted_rr balancer{named("abcd")};
  CHECK(picks(balancer, 2) == "ab");
  balancer.update(named("dcba"));
  CHECK(picks(balancer, 4) == "cbad");
}

TEST_CASE("weighted_rr: when the next host is gone the one after it is next",
          "[balancer]") {
  weighted_rr balancer{named("abcd")};
  CHECK(picks(balancer, 1) == "a");
  balancer.update(named("ad"));
  CHECK(picks(balancer, 2) == "da");
}

TEST_CASE("weighted_rr: a host is told by its id, not by its slot",
          "[balancer]") {
  weighted_rr balancer{{{100, 1, 0}, {101, 1, 1}, {102, 1, 2}}};
  CHECK(balancer.pick() == 0U);
  balancer.update({{101, 1, 0}, {102, 1, 1}});
  CHECK(balancer.pick() == 0U);
}

TEST_CASE("weighted_rr: an update keeps the next host, whatever else changes",
          "[balancer]") {
  std::mt19937 random{43};
  for (int round = 0; round < 3000; ++round) {
    const auto hosts = hosts_of(random_weights(random, 10, 6));
    weighted_rr balancer{hosts, static_cast<uint32_t>(random())};
    counts(balancer, random() % 40);
    weighted_rr undisturbed = balancer;
    const uint32_t next = undisturbed.pick().value();

    host_list changed;
    for (auto host : hosts) {
      if (host.slot != next && random() % 4 == 0)
        continue;
      if (random() % 3 == 0)
        host.weight = 1 + static_cast<uint32_t>(random() % 6);
      changed.push_back(host);
    }
    if (random() % 2 == 0)
      changed.push_back({1000, 2, 1000});
    std::shuffle(changed.begin(), changed.end(), random);
    balancer.update(changed);
    REQUIRE(balancer.pick() == next);
    REQUIRE(is_exact(changed, counts(balancer, total_of(changed))));
  }
}

TEST_CASE("weighted_rr: cycles stay exact through any chain of updates",
          "[balancer]") {
  std::mt19937 random{46};
  for (int round = 0; round < 30; ++round) {
    weighted_rr balancer;
    for (int change = 0; change < 200; ++change) {
      host_list hosts;
      const uint32_t max_weight = random() % 4 == 0 ? 200 : 4;
      for (uint32_t i = 0; i < 8; ++i)
        if (random() % 3 != 0)
          hosts.push_back({i, static_cast<uint32_t>(random() % max_weight), i});
      balancer.update(hosts);
      if (total_of(hosts) == 0)
        REQUIRE_FALSE(balancer.pick());
      else if (random() % 2 == 0)
        REQUIRE(is_exact(hosts, counts(balancer, total_of(hosts))));
    }
  }
}

TEST_CASE("weighted_rr: doubling every weight keeps the order", "[balancer]") {
  weighted_rr balancer{named("abcde", {{'a', 3}, {'b', 3}})};
  const std::string cycle = picks(balancer, 9);
  picks(balancer, 4);
  balancer.update(
      named("abcde", {{'a', 6}, {'b', 6}, {'c', 2}, {'d', 2}, {'e', 2}}));
  CHECK(picks(balancer, 9) == cycle.substr(4) + cycle.substr(0, 4));
}

TEST_CASE("weighted_rr: a change among light hosts leaves the heavy one's "
          "phase",
          "[balancer]") {
  for (size_t before = 0; before < 12; ++before) {
    weighted_rr balancer{named("abH", {{'H', 10}})};
    std::string sequence = picks(balancer, before);
    balancer.update(named("abcH", {{'H', 10}}));
    sequence += picks(balancer, 13);
    CHECK(longest_run(sequence, 'H') <= 6);
  }
}

TEST_CASE("weighted_rr: shares hold while the list changes all the time",
          "[balancer]") {
  std::mt19937 random{44};
  weighted_rr balancer{named("abH", {{'H', 8}})};
  std::map<uint32_t, uint32_t> counted;
  constexpr int rounds = 60'000;
  double fair = 0;
  for (int i = 0; i < rounds; ++i) {
    const auto weight = static_cast<uint32_t>(4 + random() % 8);
    auto hosts = named("abcH", {{'H', weight}});
    if (random() % 2 == 0)
      hosts.erase(hosts.begin() + 2);
    balancer.update(hosts);
    fair += weight / static_cast<double>(total_of(hosts));
    ++counted[balancer.pick().value()];
  }
  CHECK(std::abs(counted['H'] - fair) < fair * 0.03);
  CHECK(std::abs(int64_t{counted['a']} - int64_t{counted['b']}) <= 1);
}

TEST_CASE("weighted_rr: when all hosts are new it starts at its offset",
          "[balancer]") {
  weighted_rr balancer{named("abc"), 2};
  CHECK(picks(balancer, 2) == "ca");
  balancer.update(named("xyz"));
  CHECK(picks(balancer, 3) == "zxy");
}

TEST_CASE("weighted_rr: leaves out the hosts that were tried", "[balancer]") {
  const auto hosts = named("abc", {{'c', 100}});
  weighted_rr balancer{hosts};
  for (int i = 0; i < 1000; ++i) {
    const std::vector<uint32_t> tried = {'c', 'a'};
    REQUIRE(balancer.pick(tried.data(), 1) != 'c');
    REQUIRE(balancer.pick(tried.data(), 2) == 'b');
  }
}

TEST_CASE("weighted_rr: no pick only when every host was tried", "[balancer]") {
  std::mt19937 random{45};
  for (int round = 0; round < 300; ++round) {
    const auto weights = random_weights(random, 30, 5);
    weighted_rr balancer{hosts_of(weights), static_cast<uint32_t>(random())};
    std::vector<uint32_t> tried;
    while (tried.size() < weights.size()) {
      const auto slot = balancer.pick(tried.data(), tried.size());
      REQUIRE(slot);
      REQUIRE(std::count(tried.begin(), tried.end(), *slot) == 0);
      tried.push_back(*slot);
    }
    REQUIRE_FALSE(balancer.pick(tried.data(), tried.size()));
  }
}

TEST_CASE("weighted_rr: avoiding a heavy host shares its load among the rest",
          "[balancer]") {
  weighted_rr balancer{named("abcH", {{'H', 1000}})};
  const uint32_t heavy = 'H';
  std::map<uint32_t, uint32_t> counted;
  for (int i = 0; i < 3000; ++i)
    ++counted[balancer.pick(&heavy, 1).value()];
  for (const char name : {'a', 'b', 'c'})
    CHECK(std::abs(int64_t{counted[static_cast<uint32_t>(name)]} - 1000) <= 20);
}

TEST_CASE("weighted_rr: retries leave no debt of turns", "[balancer]") {
  const auto hosts = named("abH", {{'a', 2}, {'H', 20}});
  weighted_rr balancer{hosts};
  const uint32_t heavy = 'H';
  for (int i = 0; i < 10'007; ++i)
    REQUIRE(balancer.pick(&heavy, 1) != heavy);
  CHECK(is_exact(hosts, counts(balancer, total_of(hosts))));
}

TEST_CASE("weighted_rr: the largest pools do not overflow", "[balancer]") {
  constexpr uint32_t host_count = 10'000;
  host_list hosts;
  for (uint32_t i = 0; i < host_count; ++i)
    hosts.push_back({i, i % 2 == 0 ? 65535U : 65534U, i});
  hosts[0].weight = 1;
  weighted_rr balancer{hosts, host_count - 1};
  for (uint32_t lap = 0; lap < 3; ++lap) {
    const auto counted = counts(balancer, host_count - 1);
    const auto most = std::max_element(
        counted.begin(), counted.end(),
        [](const auto& a, const auto& b) { return a.second < b.second; });
    CHECK(most->second <= 2);
    CHECK(counted.size() >= host_count - 3);
    hosts.pop_back();
    balancer.update(hosts);
  }
}

TEST_CASE("weighted_rr: a very long cycle is exact", "[balancer]") {
  const auto hosts = hosts_of({65535, 65534, 1, 40000, 40000, 12345});
  weighted_rr balancer{hosts, 4};
  CHECK(is_exact(hosts, counts(balancer, total_of(hosts))));
  CHECK(is_exact(hosts, counts(balancer, total_of(hosts))));
}

TEST_CASE("weighted_rr: ids that are not unique do no harm", "[balancer]") {
  weighted_rr balancer{{{7, 1, 0}, {7, 1, 1}, {7, 2, 2}}};
  counts(balancer, 3);
  balancer.update({{7, 1, 0}, {7, 3, 1}});
  const host_list hosts = {{7, 1, 0}, {7, 3, 1}};
  CHECK(is_exact(hosts, counts(balancer, 4)));
}
