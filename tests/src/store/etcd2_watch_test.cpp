#include "store/etcd2_watch.hpp"

#include "support/catch.hpp"

using namespace zedcup;
using namespace std::chrono_literals;

namespace {

using action = etcd2_watch::step::action;

const error broken{errc::unavailable, "refused"};
const error over{errc::timed_out, "timed out"};
const http_response event{
    200, {}, R"({"action":"set","node":{"key":"/s/a"}})", {}};

etcd2_watch_settings settings_of(size_t members) {
  etcd_options options;
  options.addresses.clear();
  for (size_t i = 0; i < members; ++i)
    options.addresses.emplace_back("10.0.0." + std::to_string(i + 1), 2379);
  etcd2_watch_settings made;
  made.targets = etcd2::make_targets(options);
  made.path = "/s/";
  return made;
}

/// The machine with a clock that only the test moves.
struct bench {
  explicit bench(size_t members = 3) : watch(settings_of(members), 7) {}

  etcd2_watch watch;
  etcd2_watch::time_point now{};
  etcd2_watch::step step;

  action next() {
    step = watch.next(now);
    return step.what;
  }
  /// The next request, after whatever it takes; its target.
  std::string sent() {
    while (next() == action::wait)
      now = step.until;
    REQUIRE(step.what == action::send);
    return step.request.target;
  }
  bool polls() { return sent().find("wait=true") != std::string::npos; }
  std::string member() const { return step.request.endpoint->host; }
  bool agreed() const {
    return step.request.target.find("quorum=true") != std::string::npos;
  }

  etcd2_watch::outcome answer(result<http_response> with) {
    return watch.on_answer(step.ticket, std::move(with), now);
  }

  static http_response content(uint64_t index, const std::vector<int>& keys,
                               const std::string& cluster = "c1") {
    http_response made;
    made.status = 200;
    made.headers = {{"X-Etcd-Index", std::to_string(index)},
                    {"X-Etcd-Cluster-Id", cluster}};
    for (const int key : keys)
      made.body += std::string(made.body.empty() ? "" : ",") +
                   R"({"key":"/s/)" + std::to_string(key) +
                   R"(","value":"","modifiedIndex":)" + std::to_string(index) +
                   "}";
    made.body = R"({"node":{"dir":true,"nodes":[)" + made.body + "]}}";
    return made;
  }

  etcd2_watch::outcome read(http_response with) {
    REQUIRE_FALSE(polls());
    return answer(std::move(with));
  }

  void start(uint64_t index = 10, const std::vector<int>& keys = {1, 2}) {
    REQUIRE(read(content(index, keys)).publish);
    REQUIRE(polls());
  }
};

} // namespace

TEST_CASE("etcd2 watch: reads what is agreed on, then waits behind it",
          "[etcd2]") {
  bench b;
  CHECK_FALSE(b.polls());
  CHECK(b.agreed());
  const auto first = b.answer(bench::content(10, {1, 2}));
  CHECK(first.works);
  CHECK(first.publish->entries.size() == 2);
  CHECK(first.publish->revision == 10);
  REQUIRE(b.polls());
  CHECK(b.step.request.target.find("waitIndex=11") != std::string::npos);
  CHECK(b.next() == action::idle);
}

TEST_CASE("etcd2 watch: an event is a hint, the read behind it the truth",
          "[etcd2]") {
  bench b;
  b.start();
  CHECK_FALSE(b.answer(event).publish);
  REQUIRE(b.next() == action::send); // at once
  CHECK_FALSE(b.agreed());           // the member that told of it has it
  CHECK(b.answer(bench::content(14, {1, 2, 3})).publish->entries.size() == 3);
  REQUIRE(b.polls());
  CHECK(b.step.request.target.find("waitIndex=15") != std::string::npos);
}

TEST_CASE("etcd2 watch: content as before is not told again", "[etcd2]") {
  bench b;
  const auto same = bench::content(10, {1, 2});
  b.start();
  b.answer(event);
  auto later = same;
  later.headers[0].second = "12"; // something changed elsewhere
  const auto outcome = b.read(later);
  CHECK(outcome.works);
  CHECK_FALSE(outcome.publish);
  REQUIRE(b.polls());
  CHECK(b.step.request.target.find("waitIndex=13") != std::string::npos);
}

TEST_CASE("etcd2 watch: a poll that ends without news is renewed", "[etcd2]") {
  bench b;
  b.start();
  b.now += 60s;
  const auto outcome = b.answer(over);
  CHECK_FALSE(outcome.problem);
  CHECK(b.polls());
  CHECK_FALSE(b.answer(http_response{200, {}, "", {}}).problem); // etcd 2.x
  CHECK(b.polls());
  b.now += 2s; // that was the connection
  CHECK(b.answer(over).problem);
}

TEST_CASE("etcd2 watch: history that is gone is read anew", "[etcd2]") {
  bench b;
  b.start();
  const auto outcome =
      b.answer(http_response{400, {}, R"({"errorCode":401})", {}});
  CHECK_FALSE(outcome.problem);
  CHECK(b.read(bench::content(2000, {1, 2, 3})).publish);
}

TEST_CASE("etcd2 watch: what is empty or halved is read twice", "[etcd2]") {
  bench b;
  const http_response none{404, {}, R"({"errorCode":100})", {}};
  CHECK_FALSE(b.read(none).publish);
  CHECK_FALSE(b.polls());
  CHECK(b.agreed());
  CHECK(b.answer(none).publish); // so it is
  REQUIRE(b.polls());
  b.answer(event);
  // (a member that says its index now, where it said none: looked at twice)
  CHECK_FALSE(b.read(bench::content(5, {1, 2, 3, 4})).publish);
  CHECK(b.read(bench::content(5, {1, 2, 3, 4})).publish);
  REQUIRE(b.polls());
  b.answer(event);
  const auto halved = b.read(bench::content(6, {1}));
  CHECK_FALSE(halved.publish);
  CHECK_FALSE(halved.works);
  CHECK_FALSE(b.polls());
  CHECK(b.agreed());
  CHECK(b.answer(bench::content(6, {1, 2, 3, 5})).publish);
}

TEST_CASE("etcd2 watch: the next member is asked at once", "[etcd2]") {
  bench b;
  b.start();
  const auto was = b.member();
  const auto outcome = b.answer(broken);
  CHECK(outcome.problem);
  CHECK_FALSE(outcome.works);
  const auto before = b.now;
  CHECK_FALSE(b.polls());
  CHECK(b.now - before <= 100ms);
  CHECK(b.member() != was);
  CHECK_FALSE(b.agreed()); // also while the others elect
  CHECK(b.answer(bench::content(10, {1, 2})).works);
  CHECK(b.polls());
}

TEST_CASE("etcd2 watch: a member that lags behind is not believed", "[etcd2]") {
  bench b;
  b.start();
  b.answer(broken);
  CHECK_FALSE(b.read(bench::content(8, {1})).publish);
  CHECK_FALSE(b.polls());
  CHECK(b.agreed());
  const auto outcome = b.answer(bench::content(10, {1, 2}));
  CHECK(outcome.works);
  CHECK(b.polls());
  CHECK(b.step.request.target.find("waitIndex=11") != std::string::npos);
}

TEST_CASE("etcd2 watch: agreement that does not come is sought elsewhere soon",
          "[etcd2]") {
  bench b;
  b.start();
  b.answer(broken);
  CHECK_FALSE(b.read(bench::content(8, {1})).publish); // it lags
  for (const auto bound : {2000ms, 4000ms, 8000ms, 12000ms, 12000ms}) {
    REQUIRE_FALSE(b.polls());
    REQUIRE(b.agreed());
    CHECK(b.step.request.timeout == bound);
    const auto was = b.member();
    b.answer(over);
    REQUIRE_FALSE(b.polls());
    CHECK(b.member() != was);
    CHECK_FALSE(b.step.request.timeout); // its own view, which it has at hand
    CHECK_FALSE(b.answer(bench::content(8, {1})).publish);
  }
  REQUIRE_FALSE(b.polls());
  CHECK(b.answer(bench::content(10, {1, 2})).works);
  CHECK(b.watch.failures() == 0);
}

TEST_CASE("etcd2 watch: an older past or another cluster is believed",
          "[etcd2]") {
  bench b;
  b.start();
  b.answer(broken);
  CHECK_FALSE(b.read(bench::content(8, {1, 2})).publish);
  CHECK(b.read(bench::content(8, {1, 2})).publish->revision == 8);
  REQUIRE(b.polls());
  CHECK(b.step.request.target.find("waitIndex=9") != std::string::npos);
  b.answer(event);
  CHECK_FALSE(b.read(bench::content(20, {1, 2}, "c2")).publish);
  CHECK(b.read(bench::content(20, {1, 2}, "c2")).publish);
  CHECK(b.polls());
}

TEST_CASE("etcd2 watch: failures back off, and one success ends that",
          "[etcd2]") {
  bench b(1);
  b.start();
  std::chrono::milliseconds longest{0};
  for (int i = 0; i < 60; ++i) {
    REQUIRE(b.answer(broken).problem);
    const auto before = b.now;
    b.sent();
    longest = std::max(
        longest,
        std::chrono::duration_cast<std::chrono::milliseconds>(b.now - before));
  }
  CHECK(longest > 500ms);
  CHECK(longest <= 1500ms);
  CHECK(b.answer(bench::content(11, {1, 2})).works);
  CHECK(b.watch.failures() == 0);
}

TEST_CASE("etcd2 watch: while writes pour in, its reads are few", "[etcd2]") {
  bench b;
  b.start();
  const auto begin = b.now;
  uint64_t index = 10;
  int reads = 0;
  while (b.now - begin < 10s) {
    b.now += 1ms;
    b.answer(event);
    CHECK(b.read(bench::content(++index, {1, 2})).publish);
    REQUIRE(b.polls());
    ++reads;
  }
  CHECK(reads >= 100);
  CHECK(reads <= 125); // 20 at once, 10 a second
  b.now += 3s;
  b.answer(event);
  CHECK(b.next() == action::send); // the first after a rest waits for nothing
}

TEST_CASE("etcd2 watch: empty polls do not spin either", "[etcd2]") {
  bench b;
  b.start();
  const auto begin = b.now;
  for (int i = 0; i < 120; ++i) {
    b.answer(http_response{200, {}, "", {}});
    REQUIRE(b.polls());
  }
  CHECK(b.now - begin >= 9s);
}

TEST_CASE("etcd2 watch: a look finds a poll that sleeps", "[etcd2]") {
  bench b;
  CHECK_FALSE(b.watch.may_look());
  b.start();
  CHECK(b.watch.may_look());
  CHECK_FALSE(b.watch.on_look(bench::content(10, {}), b.now).cancel);
  CHECK(b.next() == action::idle);
  CHECK(b.watch.on_look(bench::content(11, {}), b.now).cancel);
  CHECK_FALSE(b.watch.may_look());
  b.start(11);
  CHECK(b.watch.on_look(bench::content(9, {}), b.now).cancel); // an older past
  CHECK_FALSE(b.read(bench::content(9, {1, 2})).publish);
  b.start(9);
  CHECK(b.watch.on_look(bench::content(9, {}, "c2"), b.now).cancel);
}

TEST_CASE("etcd2 watch: a member that lost the others is left", "[etcd2]") {
  bench b;
  b.start();
  const auto was = b.member();
  const auto outcome = b.watch.on_look(over, b.now);
  CHECK(outcome.problem);
  CHECK(outcome.cancel);
  CHECK_FALSE(b.polls());
  CHECK(b.member() != was);
  CHECK(b.agreed());
  CHECK(b.answer(bench::content(10, {1, 2})).works);
  CHECK(b.polls());
}

TEST_CASE("etcd2 watch: answers to what was given up are ignored", "[etcd2]") {
  bench b;
  b.start();
  const auto poll = b.step.ticket;
  REQUIRE(b.watch.on_look(bench::content(11, {}), b.now).cancel);
  CHECK_FALSE(b.watch.on_answer(poll, broken, b.now).problem);
  REQUIRE_FALSE(b.polls());
  CHECK_FALSE(b.watch.on_answer(poll, broken, b.now).problem);
  CHECK_FALSE(b.watch.on_look(broken, b.now).problem);
}
