// What the logger counts in each worker.
#include "peers/traffic.hpp"

#include <limits>

#include "store/json.hpp"
#include "support/catch.hpp"

using namespace zedcup;

namespace {

struct taken {
  rapidjson::Document root;

  explicit taken(traffic& from) {
    const auto text = from.take_json();
    REQUIRE(json::parse(root, text));
  }

  uint64_t requests() const { return root["requests"].GetUint64(); }
  size_t size() const { return root["peers"].Size(); }

  const rapidjson::Value& of(std::string_view upstream,
                             std::string_view peer) const {
    for (const auto& one : root["peers"].GetArray())
      if (json::text_of(one["upstream"]) == upstream &&
          json::text_of(one["peer"]) == peer)
        return one;
    FAIL("no " << upstream << " " << peer);
    return root;
  }
};

uint64_t sum(const rapidjson::Value& counts) {
  uint64_t all = 0;
  for (const auto& one : counts.GetObject())
    all += one.value.GetUint64();
  return all;
}

} // namespace

TEST_CASE("histogram: each duration lies in its bucket, and not in the one "
          "before",
          "[traffic]") {
  size_t last = 0;
  for (uint32_t ms = 0; ms < 300'000; ++ms) {
    const auto bucket = duration_histogram::bucket_of(ms);
    REQUIRE(bucket < duration_histogram::buckets);
    REQUIRE(bucket >= last);
    REQUIRE(bucket - last <= 1);
    REQUIRE(ms <= duration_histogram::upper_ms(bucket));
    if (bucket != 0)
      REQUIRE(ms > duration_histogram::upper_ms(bucket - 1));
    last = bucket;
  }
}

TEST_CASE("histogram: a bucket is at most a quarter wide", "[traffic]") {
  for (size_t i = 1; i < duration_histogram::buckets; ++i) {
    const double least = duration_histogram::upper_ms(i - 1) + 1;
    CHECK(duration_histogram::upper_ms(i) < least * 1.25);
  }
}

TEST_CASE("histogram: what is longer than all buckets counts in the last",
          "[traffic]") {
  const auto last = duration_histogram::buckets - 1;
  CHECK(duration_histogram::bucket_of(duration_histogram::upper_ms(last) + 1) ==
        last);
  CHECK(duration_histogram::bucket_of(std::numeric_limits<uint32_t>::max()) ==
        last);
  duration_histogram times;
  times.add(std::numeric_limits<uint32_t>::max());
  CHECK(times.count(last) == 1);
}

TEST_CASE("traffic: counts by upstream and peer, and begins anew",
          "[traffic]") {
  traffic all;
  CHECK(all.empty());
  all.record("a", "10.0.0.1:80", 200, 5);
  all.record("a", "10.0.0.1:80", 200, 6);
  all.record("a", "10.0.0.1:80", 502, 0);
  all.record("b", "10.0.0.1:80", 404, 70);
  all.count_request();
  all.count_request();
  CHECK_FALSE(all.empty());

  const taken first(all);
  CHECK(first.requests() == 2);
  CHECK(first.size() == 2);
  const auto& one = first.of("a", "10.0.0.1:80");
  CHECK(one["ms"].GetUint64() == 11);
  CHECK(one["codes"]["200"].GetUint() == 2);
  CHECK(one["codes"]["502"].GetUint() == 1);
  CHECK(sum(one["times"]) == 3);
  CHECK(first.of("b", "10.0.0.1:80")["codes"]["404"].GetUint() == 1);

  CHECK(all.empty());
  const taken second(all);
  CHECK(second.requests() == 0);
  CHECK(second.size() == 0);
}

TEST_CASE("traffic: names that run together are still two", "[traffic]") {
  traffic all;
  all.record("a", "bc", 200, 1);
  all.record("ab", "c", 200, 1);
  CHECK(taken(all).size() == 2);
}

TEST_CASE("traffic: a name that is not UTF-8, or has quotes, is still JSON",
          "[traffic]") {
  traffic all;
  all.record("a\"\\\n", std::string_view("\xff\0b", 3), 200, 1);
  CHECK(taken(all).size() == 1);
}

TEST_CASE("traffic: memory is bounded whatever the peers", "[traffic]") {
  traffic all;
  const auto extra = 1'000;
  for (size_t i = 0; i < traffic::most_peers + extra; ++i)
    all.record("up" + std::to_string(i % 7), std::to_string(i), 200, 1);
  all.record("up", "other", 200, 1); // not a way around the bound
  const taken seen(all);
  CHECK(seen.size() == traffic::most_peers + 1);
  CHECK(seen.of("other", "other")["codes"]["200"].GetUint() == extra + 1);
}

TEST_CASE("traffic: memory is bounded whatever the statuses", "[traffic]") {
  traffic all;
  for (int status = 100; status < 999; ++status)
    all.record("a", "b", status, 1);
  const taken seen(all);
  const auto& codes = seen.of("a", "b")["codes"];
  CHECK(codes.MemberCount() <= traffic::most_statuses + 1);
  CHECK(sum(codes) == 899);
}
