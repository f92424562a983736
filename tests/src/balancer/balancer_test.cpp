// What holds for every method.
#include "balancer/balancer.hpp"

#include "balancer_support.hpp"
#include "support/catch.hpp"

using namespace zedcup;
using namespace zedcup::test;

TEST_CASE("balancer: methods have names, and only these", "[balancer]") {
  for (const auto method : all_methods)
    CHECK(balance_method_of(text_of(method)) == method);
  CHECK_FALSE(balance_method_of(""));
  CHECK_FALSE(balance_method_of("rr"));
  CHECK_FALSE(balance_method_of("Hash"));
}

TEST_CASE("balancer: an empty list has nothing to pick", "[balancer]") {
  for (const auto method : all_methods) {
    balancer none{by(method)};
    CHECK_FALSE(none.pick(nth(1)));
    none.update({}, 0);
    CHECK_FALSE(none.pick(nth(1)));
    none.update(peers_of({0, 0}), 0);
    CHECK_FALSE(none.pick(nth(1)));
    none.started(0);
    none.started(7);
    none.finished(7);
    none.observe(7, 5, 0);
    none.observe_failure(7, 0);
    CHECK_FALSE(none.active(7));
  }
}

TEST_CASE("balancer: every method honours weights", "[balancer]") {
  for (const auto method : all_methods) {
    INFO(text_of(method));
    balancer three{by(method), peers_of({1, 0, 3, 6})};
    auto found = counts(three, 20'000);
    CHECK(found.count(1) == 0);
    CHECK(found.count(9999) == 0);
    CHECK(std::abs(found[0] - 2'000) < 200);
    CHECK(std::abs(found[2] - 6'000) < 400);
    CHECK(std::abs(found[3] - 12'000) < 400);
  }
}

TEST_CASE("balancer: what was tried is left out", "[balancer]") {
  for (const auto method : all_methods) {
    INFO(text_of(method));
    balancer four{by(method), peers_of({1, 2, 3, 4})};
    std::map<uint32_t, int> found;
    for (uint64_t i = 0; i < 2'000; ++i) {
      auto wanted = nth(i);
      uint32_t tried[4] = {};
      wanted.tried = tried;
      for (; wanted.tried_count < 4; ++wanted.tried_count) {
        const auto slot = four.pick(wanted);
        REQUIRE(slot);
        const auto* end = tried + wanted.tried_count;
        REQUIRE(std::find(tried + 0, tried + wanted.tried_count, *slot) == end);
        tried[wanted.tried_count] = *slot;
        ++found[*slot];
      }
      REQUIRE_FALSE(four.pick(wanted));
    }
    for (uint32_t slot = 0; slot < 4; ++slot)
      CHECK(found[slot] == 2'000);
  }
}

TEST_CASE("balancer: a peer at its max_conns waits for one to finish",
          "[balancer]") {
  for (const auto method : all_methods) {
    INFO(text_of(method));
    auto peers = peers_of({5, 1, 1});
    peers[0].max_conns = 2;
    balancer limited{by(method), peers};
    CHECK(limited.wants_reports());
    for (int i = 0; i < 3; ++i)
      for (const uint32_t slot : {1U, 2U})
        limited.started(slot); // so that 0 is the best
    limited.started(0);
    CHECK(counts(limited, 500)[0] > 0);
    limited.started(0);
    CHECK(limited.active(0) == 2U);
    auto found = counts(limited, 500);
    CHECK(found.count(0) == 0);
    CHECK(found.count(9999) == 0);
    limited.finished(0);
    CHECK(counts(limited, 500)[0] > 0);
  }
}

TEST_CASE("balancer: peers that are all full are none", "[balancer]") {
  for (const auto method : all_methods) {
    auto peers = peers_of({1, 1});
    for (auto& one : peers)
      one.max_conns = 1;
    balancer limited{by(method), peers};
    limited.started(0);
    limited.started(1);
    CHECK_FALSE(limited.pick(nth(1)));
    auto wanted = nth(1);
    const uint32_t tried = 0;
    wanted.tried = &tried;
    wanted.tried_count = 1;
    limited.finished(0);
    CHECK_FALSE(limited.pick(wanted));
    wanted.tried_count = 0;
    CHECK(limited.pick(wanted) == 0U);
  }
}

TEST_CASE("balancer: loads go on by id over a change of the list",
          "[balancer]") {
  balancer old{by(balance_method::least_conn), peers_of({1, 1, 1})};
  old.started(2);
  old.started(2);
  balancer fresh = old;
  auto peers = peers_of({1, 1, 1});
  peers.erase(peers.begin());
  for (auto& one : peers)
    --one.slot; // 1001 is 0 now, 1002 is 1
  fresh.update(peers, 0);
  CHECK(fresh.active(0) == 0U);
  CHECK(fresh.active(1) == 2U);
  CHECK_FALSE(fresh.active(2));
  // A request that began with the old list ends there.
  old.finished(2);
  CHECK(fresh.active(1) == 1U);
  fresh.started(1);
  CHECK(old.active(2) == 2U);
}

TEST_CASE("balancer: a peer without weight keeps its load", "[balancer]") {
  auto peers = peers_of({1, 1});
  balancer down{by(balance_method::least_conn), peers};
  down.started(1);
  peers[1].weight = 0;
  down.update(peers, 0);
  CHECK(down.serves(1000));
  CHECK_FALSE(down.serves(1001));
  CHECK(down.active(1) == 1U);
  down.finished(1);
  CHECK(down.active(1) == 0U);
  down.finished(1); // once too often
  CHECK(down.active(1) == 0U);
}

TEST_CASE("balancer: equal ids have a load each", "[balancer]") {
  auto peers = peers_of({1, 1});
  peers[1].id = peers[0].id;
  balancer twins{by(balance_method::least_conn), peers};
  twins.started(0);
  CHECK(twins.active(1) == 0U);
  twins.update(peers, 0);
  CHECK(*twins.active(0) + *twins.active(1) == 1U);
}

TEST_CASE("balancer: a change of the method keeps the loads", "[balancer]") {
  balancer changing{by(balance_method::weighted_rr), peers_of({1, 1})};
  changing.started(0);
  changing.update(by(balance_method::least_conn), peers_of({1, 1}), 0);
  CHECK(changing.active(0) == 1U);
  CHECK(counts(changing, 100) == std::map<uint32_t, int>{{1, 100}});
  changing.update(by(balance_method::weighted_rr), peers_of({1, 1}), 0);
  CHECK(counts(changing, 100) == std::map<uint32_t, int>{{0, 50}, {1, 50}});
}

TEST_CASE("balancer: weighted_rr is the rotation of weighted_rr",
          "[balancer]") {
  std::vector<weighted_rr::candidate> hosts;
  const auto peers = peers_of({5, 1, 2, 1});
  for (const auto& one : peers)
    hosts.push_back({one.id, one.weight, one.slot});
  weighted_rr plain{hosts, 2};
  auto wanted = by(balance_method::weighted_rr);
  wanted.offset = 2;
  balancer ours{wanted, peers};
  CHECK_FALSE(ours.wants_reports());
  for (int i = 0; i < 40; ++i) {
    if (i == 13)
      ours.update(peers, 5);
    CHECK(ours.pick({}) == plain.pick());
  }
}
