#include "store/consul_watch.hpp"

#include <map>

#include "support/catch.hpp"
#include "util/base64.hpp"

using namespace zedcup;
using namespace std::chrono_literals;

namespace {

using action = consul_watch::step::action;
using content = std::map<std::string, std::string>;

http_response answer(uint64_t index, const content& keys,
                     uint64_t modified = 1) {
  http_response made;
  made.status = keys.empty() ? 404 : 200;
  made.headers = {{"X-Consul-Index", std::to_string(index)},
                  {"X-Consul-LastContact", "0"}};
  if (keys.empty())
    return made;
  made.body = "[";
  for (const auto& [key, value] : keys) {
    made.body += made.body.size() > 1 ? "," : "";
    made.body += R"({"Key":"z/)" + key + R"(","Flags":0,"Value":")" +
                 base64_encode(value) + R"(","ModifyIndex":)" +
                 std::to_string(modified) + "}";
  }
  made.body += "]";
  return made;
}

error broken() {
  return {errc::unavailable, "refused"};
}

/// The machine with a clock that only the test moves.
struct bench {
  explicit bench(consul_watch_settings settings = {},
                 std::optional<kv_tree> known = std::nullopt)
      : watch(prepare(std::move(settings)), 7, std::move(known)) {}

  static consul_watch_settings prepare(consul_watch_settings settings) {
    settings.prefix = "z/";
    if (settings.targets.empty())
      settings.targets.push_back(target("one"));
    return settings;
  }

  static consul_target target(const std::string& host) {
    http_endpoint endpoint;
    endpoint.host = host;
    return {std::make_shared<const http_endpoint>(endpoint), ""};
  }

  /// The query that must be sent now.
  std::string sent() {
    step = watch.next(now);
    REQUIRE(step.what == action::send);
    return step.request.target.substr(step.request.target.find('?'));
  }
  /// How long the machine wants to wait, 0 when it sends (not taken).
  std::chrono::milliseconds delay() {
    auto copy = watch;
    const auto what = copy.next(now);
    REQUIRE(what.what != action::idle);
    return what.what == action::send
               ? 0ms
               : std::chrono::ceil<std::chrono::milliseconds>(what.until - now);
  }
  consul_watch::outcome give(result<http_response> got) {
    return watch.on_answer(step.ticket, std::move(got), now);
  }
  /// Sends and answers; the clock goes on as far as the machine wants.
  consul_watch::outcome round(const result<http_response>& got) {
    now += delay();
    sent();
    return give(got);
  }

  consul_watch watch;
  consul_watch::time_point now{1000s};
  consul_watch::step step;
};

size_t keys_of(const consul_watch::outcome& outcome) {
  REQUIRE(outcome.publish);
  return outcome.publish->entries.size();
}

} // namespace

TEST_CASE("consul_watch: a consistent read first, then blocking ones",
          "[consul]") {
  bench b;
  REQUIRE(b.sent() == "?recurse&consistent");
  REQUIRE(b.watch.next(b.now).what == action::idle);
  const auto outcome = b.give(answer(5, {{"a", "x"}}));
  REQUIRE(keys_of(outcome) == 1);
  REQUIRE(outcome.publish->revision == 5);
  REQUIRE_FALSE(outcome.indexes_only);
  REQUIRE(b.sent() == "?recurse&index=5&wait=600s");
}

// A server that starts up answers 404 before it has read its own log.
TEST_CASE("consul_watch: an empty first answer is confirmed, then published",
          "[consul]") {
  bench b;
  REQUIRE_FALSE(b.round(answer(1, {})).publish);
  REQUIRE(b.sent() == "?recurse&consistent");
  REQUIRE(keys_of(b.give(answer(1, {}))) == 0);
  REQUIRE(b.sent() == "?recurse&index=1&wait=600s");
}

TEST_CASE("consul_watch: a return without news is not published", "[consul]") {
  bench b;
  b.round(answer(5, {{"a", "x"}}));
  REQUIRE_FALSE(b.round(answer(6, {{"a", "x"}})).publish);
  REQUIRE(b.watch.last_confirmed() == b.now);
  REQUIRE(b.sent() == "?recurse&index=6&wait=600s");
}

TEST_CASE("consul_watch: a delete that changes no other key is news",
          "[consul]") {
  bench b;
  b.round(answer(5, {{"a", "x"}, {"b", "x"}, {"c", "x"}}));
  REQUIRE(keys_of(b.round(answer(6, {{"a", "x"}, {"c", "x"}}))) == 2);
}

TEST_CASE("consul_watch: the same content written again renews indexes only",
          "[consul]") {
  bench b;
  b.round(answer(5, {{"a", "x"}}, 5));
  const auto outcome = b.round(answer(9, {{"a", "x"}}, 9));
  REQUIRE(outcome.publish->entries[0].modify_index == 9);
  REQUIRE(outcome.indexes_only);
  REQUIRE_FALSE(b.round(answer(10, {{"a", "y"}}, 10)).indexes_only);
}

TEST_CASE("consul_watch: an index that goes backwards starts over",
          "[consul]") {
  bench b;
  b.round(answer(100, {{"a", "x"}}));
  REQUIRE(keys_of(b.round(answer(50, {{"a", "y"}}))) == 1);
  REQUIRE(b.sent() == "?recurse");
  b.give(answer(50, {{"a", "y"}}));
  REQUIRE(b.sent() == "?recurse&index=50&wait=600s");
}

TEST_CASE("consul_watch: index 0 is never blocked on", "[consul]") {
  bench b;
  b.round(answer(0, {{"a", "x"}}));
  REQUIRE(b.sent() == "?recurse&index=1&wait=600s");
}

TEST_CASE("consul_watch: an empty answer is re-read before it is believed",
          "[consul]") {
  bench b;
  b.round(answer(5, {{"a", "x"}, {"b", "x"}}));
  REQUIRE_FALSE(b.round(answer(6, {})).publish);
  REQUIRE(b.delay() == 0ms);
  REQUIRE(b.sent() == "?recurse&consistent");

  SECTION("and published at once when the re-read agrees") {
    REQUIRE(keys_of(b.give(answer(6, {}))) == 0);
    REQUIRE(b.sent() == "?recurse&index=6&wait=600s");
  }
  SECTION("and forgotten when the re-read has everything") {
    REQUIRE_FALSE(b.give(answer(6, {{"a", "x"}, {"b", "x"}})).publish);
    REQUIRE(b.sent() == "?recurse&index=6&wait=600s");
  }
  SECTION("and not believed on an error") {
    REQUIRE_FALSE(b.give(broken()).publish);
    b.now += 100ms;
    REQUIRE(b.sent() == "?recurse&consistent");
    REQUIRE_FALSE(b.give(answer(6, {{"a", "x"}, {"b", "x"}})).publish);
  }
}

TEST_CASE("consul_watch: half of the keys gone is re-read, less is not",
          "[consul]") {
  bench b;
  b.round(answer(5, {{"a", "x"}, {"b", "x"}, {"c", "x"}, {"d", "x"}}));
  REQUIRE(keys_of(b.round(answer(6, {{"a", "x"}, {"b", "x"}, {"c", "x"}}))) ==
          3);
  REQUIRE_FALSE(
      b.round(answer(7, {{"a", "x"}, {"e", "x"}, {"f", "x"}})).publish);
  REQUIRE(b.sent() == "?recurse&consistent");
  REQUIRE(keys_of(b.give(answer(7, {{"a", "x"}, {"e", "x"}, {"f", "x"}}))) ==
          3);
}

TEST_CASE("consul_watch: what is known guards the first answer", "[consul]") {
  kv_tree known;
  known.entries = {{"z/a", "x", 0, 1, ""}};
  bench b({}, known);
  REQUIRE_FALSE(b.round(answer(5, {})).publish);
  REQUIRE(b.sent() == "?recurse&consistent");
  REQUIRE_FALSE(b.give(answer(5, {{"a", "x"}})).publish);
  REQUIRE(b.watch.last_confirmed() == b.now);
}

TEST_CASE("consul_watch: garbage is a problem and never content", "[consul]") {
  bench b;
  b.round(answer(5, {{"a", "x"}}));
  auto garbage = answer(6, {{"a", "x"}});
  for (const char* body : {"", "[]", "<html>", "null"}) {
    garbage.body = body;
    const auto outcome = b.round(garbage);
    REQUIRE_FALSE(outcome.publish);
    REQUIRE(outcome.problem->code == errc::bad_answer);
  }
  REQUIRE(b.watch.failures() == 4);
  REQUIRE(b.watch.published()->entries.size() == 1);
}

TEST_CASE("consul_watch: errors back off to the cap, success resets it",
          "[consul]") {
  bench b;
  b.round(answer(5, {{"a", "x"}}));
  std::chrono::milliseconds longest{0};
  for (int i = 0; i < 200; ++i) {
    REQUIRE(b.round(broken()).problem);
    const auto bound =
        std::min<int64_t>(10000, int64_t{100} << std::min(i, 20));
    REQUIRE(b.delay().count() <= bound);
    longest = std::max(longest, b.delay());
  }
  REQUIRE(longest > 9s);
  REQUIRE(b.watch.failures() == 200);
  b.round(answer(6, {{"a", "x"}}));
  REQUIRE(b.watch.failures() == 0);
  b.round(broken());
  REQUIRE(b.delay() <= 100ms);
}

TEST_CASE("consul_watch: the same seed gives the same delays", "[consul]") {
  bench a;
  bench b;
  for (int i = 0; i < 10; ++i) {
    a.round(broken());
    b.round(broken());
    REQUIRE(a.delay() == b.delay());
  }
}

TEST_CASE("consul_watch: after an error it reads before it blocks again",
          "[consul]") {
  bench b;
  b.round(answer(500, {{"a", "x"}}));
  b.round(broken());
  b.now += b.delay();
  // The store may have lost its data: a block on 500 would sleep through 20.
  REQUIRE(b.sent() == "?recurse&consistent");
  REQUIRE(keys_of(b.give(answer(20, {{"a", "y"}}))) == 1);
  REQUIRE(b.sent() == "?recurse&index=20&wait=600s");
}

TEST_CASE("consul_watch: 429 and a cancelled request back off too",
          "[consul]") {
  bench b;
  http_response busy;
  busy.status = 429;
  REQUIRE(b.round(busy).problem->code == errc::unavailable);
  REQUIRE(b.round(error{errc::cancelled, "stopping"}).problem);
  REQUIRE(b.watch.failures() == 2);
}

TEST_CASE("consul_watch: errors go on to the next address", "[consul]") {
  consul_watch_settings settings;
  settings.targets = {bench::target("one"), bench::target("two")};
  bench b(settings);
  b.round(broken());
  REQUIRE(b.step.request.endpoint->host == "one");
  b.round(broken());
  REQUIRE(b.step.request.endpoint->host == "two");
  b.round(answer(5, {{"a", "x"}}));
  REQUIRE(b.step.request.endpoint->host == "one");
  b.round(answer(6, {{"a", "x"}}));
  REQUIRE(b.step.request.endpoint->host == "one");
}

TEST_CASE("consul_watch: returns without news do not spin", "[consul]") {
  bench b;
  int sent = 0;
  const auto end = b.now + 10s;
  for (uint64_t index = 5; b.now < end; ++index, ++sent)
    b.round(answer(index, {}));
  REQUIRE(sent > 100);
  REQUIRE(sent < 130); // a burst of 20, then 10 a second
}

TEST_CASE("consul_watch: real changes follow at once, however many",
          "[consul]") {
  bench b;
  const auto before = b.now;
  for (uint64_t index = 5; index < 1005; ++index)
    REQUIRE(b.round(answer(index, {{"a", std::to_string(index)}})).publish);
  REQUIRE(b.now == before);
}

TEST_CASE("consul_watch: the allowance grows again in quiet times",
          "[consul]") {
  bench b;
  for (uint64_t index = 5; index < 50; ++index)
    b.round(answer(index, {}));
  b.now += 10s;
  for (uint64_t index = 50; index < 70; ++index) {
    REQUIRE(b.delay() == 0ms);
    b.round(answer(index, {}));
  }
}

TEST_CASE("consul_watch: a kick cancels a long poll and reads", "[consul]") {
  bench b;
  b.round(answer(5, {{"a", "x"}}));
  b.sent();
  const auto stale_ticket = b.step.ticket;
  REQUIRE(b.watch.kick());
  REQUIRE(b.sent() == "?recurse");
  // The cancelled request's end comes later, and means nothing.
  REQUIRE_FALSE(
      b.watch
          .on_answer(stale_ticket, error{errc::cancelled, "cancelled"}, b.now)
          .problem);
  REQUIRE(b.watch.failures() == 0);
  REQUIRE(keys_of(b.give(answer(6, {{"a", "y"}}))) == 1);
  REQUIRE(b.sent() == "?recurse&index=6&wait=600s");
}

TEST_CASE("consul_watch: a kick during a plain read makes another one",
          "[consul]") {
  bench b;
  b.sent();
  REQUIRE_FALSE(b.watch.kick());
  b.give(answer(5, {{"a", "x"}}));
  REQUIRE(b.sent() == "?recurse");
  b.give(answer(6, {{"a", "y"}}));
  REQUIRE(b.sent() == "?recurse&index=6&wait=600s");
}

TEST_CASE("consul_watch: a kick ends a back-off, a storm of them does not spin",
          "[consul]") {
  bench b;
  for (int i = 0; i < 10; ++i)
    b.round(broken());
  b.watch.kick();
  REQUIRE(b.delay() == 0ms);
  const auto end = b.now + 10s;
  int sent = 0;
  while (b.now < end) {
    b.watch.kick();
    if (b.delay() == 0ms) {
      b.round(broken());
      ++sent;
    }
    b.now += 1ms;
  }
  REQUIRE(sent > 50);
  REQUIRE(sent < 130);
}

TEST_CASE("consul_watch: stale reads are bounded by the last contact",
          "[consul]") {
  consul_watch_settings settings;
  settings.stale_max_age = 5s;
  bench b(settings);
  REQUIRE(b.sent() == "?recurse&stale");
  REQUIRE(b.give(answer(5, {{"a", "x"}})).publish);
  REQUIRE(b.sent() == "?recurse&stale&index=5&wait=600s");
  auto old = answer(6, {{"a", "old"}});
  old.headers[1].second = "5001";
  const auto outcome = b.give(old);
  REQUIRE_FALSE(outcome.publish);
  REQUIRE_FALSE(outcome.problem);
  REQUIRE(b.sent() == "?recurse");
  REQUIRE(b.give(answer(7, {{"a", "new"}})).publish);
  REQUIRE(b.sent() == "?recurse&stale&index=7&wait=600s");
}

TEST_CASE("consul_watch: a kick reads from the leader also in stale mode",
          "[consul]") {
  consul_watch_settings settings;
  settings.stale_max_age = 5s;
  bench b(settings);
  b.round(answer(5, {{"a", "x"}}));
  b.sent();
  b.watch.kick();
  REQUIRE(b.sent() == "?recurse");
}

TEST_CASE("consul_watch: a shorter wait is kept", "[consul]") {
  consul_watch_settings settings;
  settings.wait = 30s;
  bench b(settings);
  b.round(answer(5, {{"a", "x"}}));
  REQUIRE(b.sent() == "?recurse&index=5&wait=30s");
  REQUIRE(b.step.request.timeout > 30s + 2s);
}
