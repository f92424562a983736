// The peers that lreu.picker picks from: methods side by side, revisions one
// after the other.
#include "nginx/peer_set.hpp"

#include <map>

#include "support/catch.hpp"

using namespace zedcup;

namespace {

/// Ids are 1-based places in `weights` unless `first_id` says else.
balancer::peer_list list_of(const std::vector<uint32_t>& weights,
                            uint64_t first_id = 1) {
  balancer::peer_list peers;
  for (uint32_t i = 0; i < weights.size(); ++i) {
    balancer::peer one;
    one.id = first_id + i;
    one.weight = weights[i];
    one.slot = i;
    peers.push_back(one);
  }
  return peers;
}

using revision = std::shared_ptr<peer_revision>;

revision next(const revision& before, balancer::peer_list peers) {
  return std::make_shared<peer_revision>(before.get(), std::move(peers), 0,
                                         1'000);
}

revision first(const std::vector<uint32_t>& weights) {
  // as the module begins: without peers
  return next(next(nullptr, {}), list_of(weights));
}

std::map<uint32_t, int> tally(peer_revision& from, balance_method method,
                              int count, uint64_t now_ms = 1'000) {
  std::map<uint32_t, int> seen;
  for (int i = 0; i < count; ++i) {
    balancer::request wanted;
    wanted.key = mix_bits(static_cast<uint64_t>(i) + 1);
    wanted.now_ms = now_ms;
    ++seen[from.pick(method, wanted).value_or(99)];
  }
  return seen;
}

const auto all_methods = {balance_method::weighted_rr, balance_method::hash,
                          balance_method::least_conn, balance_method::ewma,
                          balance_method::random};

} // namespace

TEST_CASE("peer set: without peers there is nothing to pick", "[peer_set]") {
  const auto empty = next(nullptr, {});
  for (const auto method : all_methods)
    CHECK(tally(*empty, method, 2) == std::map<uint32_t, int>{{99, 2}});
  const auto down = first({0, 0});
  for (const auto method : all_methods)
    CHECK(tally(*down, method, 2) == std::map<uint32_t, int>{{99, 2}});
}

TEST_CASE("peer set: every method goes by weight", "[peer_set]") {
  const auto set = first({3, 1, 0});
  CHECK(tally(*set, balance_method::weighted_rr, 40) ==
        std::map<uint32_t, int>{{0, 30}, {1, 10}});
  for (const auto method : all_methods) {
    auto seen = tally(*set, method, 4'000);
    CAPTURE(text_of(method));
    CHECK(seen.size() == 2);
    CHECK(seen[0] > 2'800);
    CHECK(seen[0] < 3'200);
  }
}

TEST_CASE("peer set: reports are wanted once a method needs them",
          "[peer_set]") {
  auto set = first({1, 1});
  tally(*set, balance_method::hash, 1);
  tally(*set, balance_method::random, 1);
  CHECK_FALSE(set->wants_reports());
  tally(*set, balance_method::least_conn, 1);
  CHECK(set->wants_reports());
  set = next(set, list_of({1, 1, 1}));
  CHECK(set->wants_reports());
}

TEST_CASE("peer set: what is counted in one method counts in all",
          "[peer_set]") {
  const auto set = first({1, 1});
  for (int i = 0; i < 10; ++i)
    set->base().started(0);
  CHECK(tally(*set, balance_method::least_conn, 20)[0] == 0);
}

TEST_CASE("peer set: a request that ends after a change counts down there",
          "[peer_set]") {
  const auto before = first({1, 1});
  before->base().started(1);
  // the peer moves to the first slot
  auto peers = list_of({1, 1, 1});
  std::swap(peers[0].id, peers[1].id);
  const auto after = next(before, peers);
  CHECK(after->base().active(0) == 1U);
  CHECK(after->base().active(1) == 0U);
  before->base().finished(1);
  CHECK(after->base().active(0) == 0U);
}

TEST_CASE("peer set: the load of a peer that joins is seen by methods in use",
          "[peer_set]") {
  auto set = first({1, 1});
  tally(*set, balance_method::least_conn, 1);
  tally(*set, balance_method::ewma, 1);
  set = next(set, list_of({1, 1, 1}));
  for (int i = 0; i < 10; ++i)
    set->base().started(2);
  CHECK(tally(*set, balance_method::least_conn, 100)[2] == 0);
  set->base().observe(0, 1'000, 1'000);
  set->base().observe(1, 1'000, 1'000);
  set->base().observe(2, 500'000, 1'000);
  CHECK(tally(*set, balance_method::ewma, 100)[2] == 0);
}

TEST_CASE("peer set: the turn goes on after a change", "[peer_set]") {
  auto set = first({1, 1, 1, 1});
  std::map<uint32_t, int> seen;
  for (int i = 0; i < 40; ++i) {
    ++seen[set->base().pick({}).value()];
    set = next(set, list_of({1, 1, 1, 1}));
  }
  for (uint32_t slot = 0; slot < 4; ++slot)
    CHECK(seen[slot] == 10);
}

TEST_CASE("peer set: draws do not begin anew with each change", "[peer_set]") {
  for (const auto method : {balance_method::random, balance_method::least_conn,
                            balance_method::ewma}) {
    auto set = first({1, 1});
    std::map<uint32_t, int> seen;
    for (int i = 0; i < 400; ++i) {
      ++seen[set->pick(method, {}).value()];
      set = next(set, list_of({1, 1}));
    }
    CAPTURE(text_of(method));
    CHECK(seen[0] > 120);
    CHECK(seen[1] > 120);
  }
}

TEST_CASE("peer set: a peer that joins rises slowly in every method",
          "[peer_set]") {
  auto set = first({1, 1});
  for (const auto method : all_methods)
    tally(*set, method, 1);
  auto peers = list_of({1, 1, 1});
  peers[2].start_ms = 1'000;
  peers[2].slow_start_ms = 10'000;
  set = next(set, peers);
  for (const auto method : all_methods) {
    CAPTURE(text_of(method));
    const int early = tally(*set, method, 3'000, 1'000)[2];
    CHECK(early > 50);
    CHECK(early < 300);
    const int half = tally(*set, method, 3'000, 6'000)[2];
    CHECK(half > early);
    const int late = tally(*set, method, 3'000, 12'000)[2];
    CHECK(late > 850);
    CHECK(late < 1'150);
  }
}

TEST_CASE("peer set: an old revision serves on while a new one is in use",
          "[peer_set]") {
  const auto before = first({1, 1});
  const auto after = next(before, list_of({5}, 77));
  CHECK(tally(*before, balance_method::weighted_rr, 10) ==
        std::map<uint32_t, int>{{0, 5}, {1, 5}});
  CHECK(tally(*after, balance_method::weighted_rr, 10) ==
        std::map<uint32_t, int>{{0, 10}});
}
