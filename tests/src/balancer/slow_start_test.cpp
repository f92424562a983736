// A peer that begins to serve rises to its weight, whatever the method.
#include "balancer_support.hpp"
#include "support/catch.hpp"

using namespace zedcup;
using namespace zedcup::test;

namespace {

/// Four peers of weight 2, the last of which begins at 1000 and takes 10 s.
balancer::peer_list with_a_new_one() {
  auto peers = peers_of({2, 2, 2, 2});
  peers[3].start_ms = 1'000;
  peers[3].slow_start_ms = 10'000;
  return peers;
}

/// Its part of the picks at a time, of 1.
double share_at(balancer& from, uint64_t now_ms) {
  return counts(from, 8'000, now_ms)[3] / 8'000.0;
}

double about(double factor) {
  return factor / (3 + factor);
}

} // namespace

TEST_CASE("slow_start: a peer rises from a tenth to its weight", "[balancer]") {
  for (const auto method : all_methods) {
    INFO(text_of(method));
    balancer four{by(method), with_a_new_one(), 1'000};
    CHECK(std::abs(share_at(four, 1'000) - about(0.1)) < 0.015);
    CHECK(std::abs(share_at(four, 3'500) - about(0.325)) < 0.02);
    CHECK(std::abs(share_at(four, 6'000) - about(0.55)) < 0.02);
    CHECK(std::abs(share_at(four, 8'500) - about(0.775)) < 0.02);
    CHECK(std::abs(share_at(four, 11'000) - 0.25) < 0.02);
    CHECK(std::abs(share_at(four, 99'000) - 0.25) < 0.02);
  }
}

TEST_CASE("slow_start: weights hold among the others meanwhile", "[balancer]") {
  for (const auto method : all_methods) {
    INFO(text_of(method));
    auto peers = with_a_new_one();
    peers[1].weight = 6;
    balancer four{by(method), peers, 1'000};
    auto found = counts(four, 10'000, 1'000);
    CHECK(std::abs(found[1] / static_cast<double>(found[0]) - 3) < 0.35);
    CHECK(std::abs(found[0] - found[2]) < 300);
  }
}

TEST_CASE("slow_start: peers that rise together share as ever", "[balancer]") {
  for (const auto method : all_methods) {
    INFO(text_of(method));
    auto peers = peers_of({1, 3});
    for (auto& one : peers) {
      one.start_ms = 1'000;
      one.slow_start_ms = 5'000;
    }
    balancer two{by(method), peers, 1'000};
    auto found = counts(two, 4'000, 2'000);
    CHECK(std::abs(found[1] - 3'000) < 150);
  }
}

TEST_CASE("slow_start: a rising peer serves alone where nobody else is left",
          "[balancer]") {
  for (const auto method : all_methods) {
    INFO(text_of(method));
    balancer four{by(method), with_a_new_one(), 1'000};
    for (uint64_t i = 0; i < 100; ++i) {
      auto wanted = nth(i, 1'000);
      const uint32_t tried[] = {0, 1, 2};
      wanted.tried = tried;
      wanted.tried_count = 3;
      CHECK(four.pick(wanted) == 3U);
    }
  }
}

TEST_CASE("slow_start: an update in between does not restart it",
          "[balancer]") {
  balancer four{by(balance_method::weighted_rr), with_a_new_one(), 1'000};
  counts(four, 100, 5'000);
  four.update(with_a_new_one(), 6'000);
  CHECK(std::abs(share_at(four, 6'000) - about(0.55)) < 0.02);
}

TEST_CASE("slow_start: one that is over costs a rotation nothing",
          "[balancer]") {
  balancer four{by(balance_method::weighted_rr), with_a_new_one(), 99'000};
  balancer plain{by(balance_method::weighted_rr), peers_of({2, 2, 2, 2})};
  for (int i = 0; i < 20; ++i)
    CHECK(four.pick({}) == plain.pick({}));
}

TEST_CASE("slow_start: a start in the future begins at the tenth",
          "[balancer]") {
  // Each worker reads the clock when its loop turns: another's may be ahead.
  balancer four{by(balance_method::random), with_a_new_one(), 0};
  CHECK(std::abs(share_at(four, 990) - about(0.1)) < 0.015);
}
