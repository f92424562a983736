// What each method is for.
#include "balancer_support.hpp"
#include "support/catch.hpp"

using namespace zedcup;
using namespace zedcup::test;

namespace {

std::vector<uint32_t> places(balancer& from, uint64_t keys) {
  std::vector<uint32_t> slots;
  for (uint64_t key = 0; key < keys; ++key)
    slots.push_back(from.pick(nth(key)).value());
  return slots;
}

} // namespace

TEST_CASE("hash: a key stays with its peer", "[balancer]") {
  const auto peers = peers_of({1, 2, 3});
  balancer one{by(balance_method::hash), peers};
  auto other_worker = by(balance_method::hash);
  other_worker.offset = 3;
  other_worker.seed = 77;
  balancer two{other_worker, peers};
  CHECK(places(one, 500) == places(one, 500));
  CHECK(places(one, 500) == places(two, 500));
  CHECK_FALSE(one.wants_reports());
}

TEST_CASE("hash: the order of the list does not matter", "[balancer]") {
  auto peers = peers_of({1, 2, 3, 1});
  balancer one{by(balance_method::hash), peers};
  const auto before = places(one, 500);
  std::reverse(peers.begin(), peers.end());
  one.update(peers, 0);
  CHECK(places(one, 500) == before);
}

TEST_CASE("hash: only the keys of a peer that goes move", "[balancer]") {
  for (const uint32_t heavy : {1U, 4U}) {
    auto peers = peers_of({1, heavy, 1, 2, 1});
    balancer five{by(balance_method::hash), peers};
    const auto before = places(five, 3'000);
    peers[3].weight = 0;
    five.update(peers, 0);
    const auto after = places(five, 3'000);
    std::map<uint32_t, int> heirs;
    for (size_t i = 0; i < before.size(); ++i) {
      if (before[i] == 3)
        ++heirs[after[i]];
      else
        CHECK(after[i] == before[i]);
    }
    CHECK(heirs.size() == 4);
    CHECK(heirs.count(3) == 0);
    peers[3].weight = 2;
    five.update(peers, 0);
    CHECK(places(five, 3'000) == before);
  }
}

TEST_CASE("hash: a greater weight only draws keys", "[balancer]") {
  auto peers = peers_of({1, 1, 1});
  balancer three{by(balance_method::hash), peers};
  const auto before = places(three, 3'000);
  peers[1].weight = 2;
  three.update(peers, 0);
  const auto after = places(three, 3'000);
  int moved = 0;
  for (size_t i = 0; i < before.size(); ++i) {
    CHECK((after[i] == before[i] || after[i] == 1));
    moved += after[i] != before[i] ? 1 : 0;
  }
  CHECK(moved > 300); // from a third to a half: 500
  CHECK(moved < 700);
}

TEST_CASE("hash: a retry goes to the peer that would inherit the key",
          "[balancer]") {
  auto peers = peers_of({1, 1, 1, 1});
  balancer four{by(balance_method::hash), peers};
  for (uint64_t key = 0; key < 200; ++key) {
    auto wanted = nth(key);
    const auto first = four.pick(wanted).value();
    wanted.tried = &first;
    wanted.tried_count = 1;
    const auto second = four.pick(wanted);
    auto without = peers;
    without[first].weight = 0;
    balancer rest{by(balance_method::hash), without};
    CHECK(rest.pick(nth(key)) == second);
  }
}

TEST_CASE("hash: a bound sends on what is too much for one peer",
          "[balancer]") {
  auto wanted = by(balance_method::hash);
  wanted.hash_balance_factor = 125;
  balancer bounded{wanted, peers_of({1, 1, 1, 1})};
  CHECK(bounded.wants_reports());
  // 80 requests of one key: none may have more than 125 % of a quarter.
  for (int i = 0; i < 80; ++i)
    bounded.started(bounded.pick(nth(5)).value());
  for (uint32_t slot = 0; slot < 4; ++slot)
    CHECK(*bounded.active(slot) <= 26);
  // and the key comes home once there is room
  for (uint32_t slot = 0; slot < 4; ++slot)
    while (*bounded.active(slot) != 0)
      bounded.finished(slot);
  balancer free{by(balance_method::hash), peers_of({1, 1, 1, 1})};
  CHECK(bounded.pick(nth(5)) == free.pick(nth(5)));
}

TEST_CASE("hash: a bound never leaves a request without a peer", "[balancer]") {
  auto wanted = by(balance_method::hash);
  wanted.hash_balance_factor = 101;
  balancer bounded{wanted, peers_of({1, 1})};
  for (int i = 0; i < 50; ++i)
    bounded.started(0);
  auto again = nth(5);
  const uint32_t tried = 1;
  again.tried = &tried;
  again.tried_count = 1;
  CHECK(bounded.pick(again) == 0U);
}

TEST_CASE("least_conn: goes where less is under way", "[balancer]") {
  balancer two{by(balance_method::least_conn), peers_of({1, 1})};
  two.started(0);
  CHECK(counts(two, 100) == std::map<uint32_t, int>{{1, 100}});
  two.started(1);
  two.started(1);
  CHECK(counts(two, 100) == std::map<uint32_t, int>{{0, 100}});
}

TEST_CASE("least_conn: what is under way follows the weights", "[balancer]") {
  balancer three{by(balance_method::least_conn), peers_of({1, 2, 5})};
  for (int i = 0; i < 800; ++i)
    three.started(three.pick(nth(static_cast<uint64_t>(i))).value());
  CHECK(std::abs(static_cast<int>(*three.active(0)) - 100) < 25);
  CHECK(std::abs(static_cast<int>(*three.active(1)) - 200) < 40);
  CHECK(std::abs(static_cast<int>(*three.active(2)) - 500) < 50);
}

TEST_CASE("least_conn: a peer that never finishes gets no more than its part",
          "[balancer]") {
  balancer ten{by(balance_method::least_conn),
               peers_of(std::vector<uint32_t>(10, 1))};
  for (uint64_t i = 0; i < 1'000; ++i) {
    const auto slot = ten.pick(nth(i)).value();
    ten.started(slot);
    if (slot != 4)
      ten.finished(slot);
  }
  CHECK(*ten.active(4) < 10);
}

TEST_CASE("ewma: a slow peer is avoided, and tried again later", "[balancer]") {
  balancer three{by(balance_method::ewma), peers_of({1, 1, 1})};
  for (uint32_t slot = 0; slot < 3; ++slot)
    three.observe(slot, slot == 2 ? 50'000 : 5'000, 1'000);
  auto found = counts(three, 3'000, 1'000);
  CHECK(found.count(2) == 0);
  CHECK(found[0] > 1'000);
  // The others go on to answer as fast; of the slow one nothing is heard.
  for (uint64_t now = 2'000; now <= 60'000; now += 100)
    for (const uint32_t slot : {0U, 1U})
      three.observe(slot, 5'000, now);
  CHECK(counts(three, 3'000, 60'000)[2] > 500);
}

TEST_CASE("ewma: a peak counts at once", "[balancer]") {
  balancer two{by(balance_method::ewma), peers_of({1, 1})};
  for (uint64_t now = 0; now < 1'000; now += 10)
    for (const uint32_t slot : {0U, 1U})
      two.observe(slot, 1'000, now);
  two.observe(0, 100'000, 1'000);
  CHECK(counts(two, 100, 1'000) == std::map<uint32_t, int>{{1, 100}});
}

TEST_CASE("ewma: equal peers share by weight, a little noise or not",
          "[balancer]") {
  balancer two{by(balance_method::ewma), peers_of({3, 1})};
  two.observe(0, 10'000, 0);
  two.observe(1, 10'100, 0);
  auto found = counts(two, 4'000);
  CHECK(std::abs(found[0] - 3'000) < 200);
}

TEST_CASE("ewma: what fails fast does not draw requests", "[balancer]") {
  balancer two{by(balance_method::ewma), peers_of({1, 1})};
  two.observe(0, 20'000, 0);
  two.observe(1, 20'000, 0);
  two.observe_failure(1, 10);
  CHECK(counts(two, 100, 20) == std::map<uint32_t, int>{{0, 100}});
}

TEST_CASE("ewma: of a peer that is new one request is awaited", "[balancer]") {
  balancer two{by(balance_method::ewma), peers_of({1, 1})};
  two.observe(0, 20'000, 0);
  CHECK(counts(two, 100) == std::map<uint32_t, int>{{1, 100}});
  two.started(1);
  CHECK(counts(two, 100) == std::map<uint32_t, int>{{0, 100}});
  two.finished(1, 1'000, 0);
  CHECK(counts(two, 100) == std::map<uint32_t, int>{{1, 100}});
}

TEST_CASE("random: workers draw differently, each by weight", "[balancer]") {
  auto first = by(balance_method::random);
  auto second = first;
  second.seed = 2;
  balancer one{first, peers_of({1, 1, 1})};
  balancer two{second, peers_of({1, 1, 1})};
  CHECK(places(one, 100) != places(two, 100));
}

TEST_CASE("random: shares of ten thousand peers are by weight", "[balancer]") {
  std::vector<uint32_t> weights(10'000, 1);
  weights[7'777] = 10'000;
  balancer many{by(balance_method::random), peers_of(weights)};
  auto found = counts(many, 20'000);
  CHECK(std::abs(found[7'777] - 10'000) < 500);
  CHECK(found.count(9999) < 40); // slot 9999 is a peer here
  CHECK(found.size() > 5'000);
}
