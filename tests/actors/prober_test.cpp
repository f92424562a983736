// Health checks on a clock that the test moves, with answers that it gives.
#include "actors/prober.hpp"

#include <ctime>
#include <set>

#include "config/decode.hpp"
#include "fake_http.hpp"
#include "fake_store.hpp"
#include "snapshot.hpp"

using namespace zedcup;
using namespace zedcup::test;

namespace {

using outcomes = recorder<msg::errors_seen, msg::revival_due>;
using locks = recorder<msg::lock_wanted>;

struct has_store {
  fake_store store;
};

class prober_case : public has_store, public actor_fixture {
public:
  prober_case() {
    ctx->probe_http = http;
    put(place::store, spawn_fake_store(actors, store));
    told = spawn_recorder<msg::errors_seen, msg::revival_due>(actors);
    put(place::outcomes, told->actor);
    session = spawn_recorder<msg::lock_wanted>(actors);
    put(place::session, session->actor);
    put(place::prober, spawn_prober(actors, ctx));
    send(prober(), msg::role_is{role::leader});
  }

  caf::actor prober() { return lookup(actors, place::prober); }
  void lock(bool held, std::chrono::seconds ttl = 3600s) {
    send(prober(),
         msg::lock_is{"healthcheck", held, actors.clock().now() + ttl});
  }
  /// `hosts`: what stands between the brackets.
  void show(const std::string& hosts, const std::string& pool = "") {
    show_instance(R"({"healthcheck": {"interval": 1}, "pools": [{)" + pool +
                  R"("hosts": [)" + hosts + "]}]}");
  }
  void show_instance(const std::string& json) {
    const auto root = tree_from_json(json);
    REQUIRE(root);
    auto outcome = decode_instance("web", *root);
    REQUIRE(outcome.value);
    send(prober(),
         msg::instance_is{snapshot::make(std::move(*outcome.value), 1)});
  }
  void answer(int status) {
    http->take("/").on_done(answer_with(status, 0));
    settle();
  }
  /// Passes time, answering each probe at once. Returns how many there were.
  int serve(std::chrono::milliseconds time, int status) {
    int count = 0;
    for (; time > 0ms; time -= 10ms) {
      pass(10ms);
      for (; http->count("/") > 0; ++count)
        answer(status);
    }
    return count;
  }
  void state(const std::string& host, int64_t last_check, uint64_t good) {
    kv_op op;
    op.key = "zedcup/state/web/1/" + host + "/last_check";
    op.value = std::to_string(last_check);
    op.flags = good;
    REQUIRE(store.content.commit({op}));
  }
  size_t written() const {
    size_t count = 0;
    for (const auto& ops : store.commits)
      count += ops.size();
    return count;
  }

  std::shared_ptr<fake_http> http = std::make_shared<fake_http>();
  std::shared_ptr<outcomes> told;
  std::shared_ptr<locks> session;
};

const std::string one_host = R"({"host": "10.0.0.1", "port": 80})";
const std::string fallen_host = R"({"host": "10.0.0.1", "port": 80,
    "up": false, "_down_by_zedcup": true})";

} // namespace

TEST_CASE_METHOD(prober_case, "prober: works under the lock only", "[prober]") {
  const auto wanted = session->take<msg::lock_wanted>();
  REQUIRE(wanted.size() == 1);
  CHECK(wanted[0].name == "healthcheck");
  CHECK(wanted[0].who == place::prober);
  show(one_host);
  CHECK(serve(5s, 200) == 0);
  lock(true);
  CHECK(serve(10s, 200) >= 9);
  lock(false);
  CHECK(serve(5s, 200) == 0);
}

TEST_CASE_METHOD(prober_case, "prober: keeps the interval", "[prober]") {
  lock(true);
  show(one_host);
  const int count = serve(100s, 200);
  CHECK(count >= 95);
  CHECK(count <= 105);
}

TEST_CASE_METHOD(prober_case, "prober: hosts are spread over the interval",
                 "[prober]") {
  std::string hosts;
  for (int i = 1; i <= 200; ++i)
    hosts += std::string(i > 1 ? "," : "") + R"({"host": "10.0.0.)" +
             std::to_string(i) + R"(", "port": 80})";
  lock(true);
  show_instance(R"({"healthcheck": {"interval": 10}, "pools": [{"hosts": [)" +
                hosts + "]}]}");
  int most = 0, all = 0;
  for (int second = 0; second < 10; ++second) {
    const int count = serve(1s, 200);
    most = std::max(most, count);
    all += count;
  }
  CHECK(all > 180);
  CHECK(all < 220);
  CHECK(most < 50); // 20 on average
}

TEST_CASE_METHOD(prober_case, "prober: never two probes of one host",
                 "[prober]") {
  lock(true);
  show(one_host);
  pass(30s);
  CHECK(http->open.size() == 1);
  answer(200);
  pass(100ms);
  CHECK(http->open.size() == 1); // late as it is, at once
}

TEST_CASE_METHOD(prober_case, "prober: at most 256 probes at a time",
                 "[prober]") {
  std::string hosts;
  for (int i = 0; i < 600; ++i)
    hosts += std::string(i > 0 ? "," : "") + R"({"host": "10.0.)" +
             std::to_string(i / 200) + "." + std::to_string(i % 200) +
             R"(", "port": 80})";
  lock(true);
  show(hosts);
  pass(5s);
  CHECK(http->open.size() == 256);
  answer(200);
  pass(100ms);
  CHECK(http->open.size() == 256);
}

TEST_CASE_METHOD(prober_case, "prober: tells of each bad probe", "[prober]") {
  lock(true);
  show(one_host, R"("max_errors": 7, "error_timeout": 99, )");
  pass(2s);
  answer(503);
  auto seen = told->take<msg::errors_seen>();
  REQUIRE(seen.size() == 1);
  CHECK(seen[0].host == host_ref{"web", 1, 1, "10.0.0.1", 80});
  CHECK(seen[0].count == 1);
  CHECK(seen[0].by_probe);
  CHECK(seen[0].max_errors == 7);
  CHECK(seen[0].window == 99s);
  CHECK(seen[0].err == "status 503");
  pass(2s);
  http->take("/").on_done(error{errc::timed_out, "slow"});
  settle();
  seen = told->take<msg::errors_seen>();
  REQUIRE(seen.size() == 1);
  CHECK(seen[0].err == "slow");
  CHECK(serve(10s, 200) > 5);
  CHECK(told->take<msg::errors_seen>().empty());
  CHECK(told->take<msg::revival_due>().empty());
}

TEST_CASE_METHOD(prober_case, "prober: its own trouble is nobody's error",
                 "[prober]") {
  lock(true);
  show(one_host);
  for (int i = 0; i < 3; ++i) {
    pass(2s);
    http->take("/").on_done(error{errc::exhausted, "no descriptor"});
    settle();
  }
  CHECK(told->take<msg::errors_seen>().empty());
  CHECK(written() == 0);
  const auto lines = take_log();
  CHECK(std::count_if(lines.begin(), lines.end(), [](const auto& line) {
          return line.find("could not be made: no descriptor") !=
                 std::string::npos;
        }) == 1);
}

TEST_CASE_METHOD(prober_case,
                 "prober: settings that prevent probes are named once an hour",
                 "[prober]") {
  const auto two_hosts = one_host + R"(, {"host": "10.0.0.2", "port": 80})";
  const auto lines = [&] {
    const auto all = take_log();
    return std::count_if(all.begin(), all.end(), [](const auto& line) {
      return line.find("web: health checks of its hosts count for nothing") !=
             std::string::npos;
    });
  };
  const auto fail = [&](int count) {
    for (; count > 0; --count) {
      while (http->count("/") == 0)
        pass(100ms);
      http->take("/").on_done(error{errc::invalid_argument, "no file"});
      settle();
    }
  };
  lock(true, 10000s);
  show(two_hosts);
  fail(6);
  CHECK(lines() == 1);
  pass(3600s);
  fail(6);
  CHECK(lines() == 1);
  show_instance(R"({"ssl": {"ca_cert": "/other"},
      "healthcheck": {"interval": 1}, "pools": [{"hosts": [)" +
                two_hosts + "]}]}");
  fail(6); // two of them as they were asked before
  CHECK(lines() == 1);
  CHECK(told->take<msg::errors_seen>().empty());
  CHECK(written() == 0);
}

TEST_CASE_METHOD(prober_case,
                 "prober: min_rises good probes bring a fallen host back",
                 "[prober]") {
  lock(true);
  show(fallen_host);
  int good = 0;
  while (told->take<msg::revival_due>().empty()) {
    pass(10ms);
    if (http->count("/") == 0)
      continue;
    REQUIRE(good < 3);
    answer(200);
    ++good;
  }
  CHECK(good == 3);
}

TEST_CASE_METHOD(prober_case, "prober: a bad probe starts the count over",
                 "[prober]") {
  lock(true);
  show(fallen_host);
  for (const int status : {200, 200, 500, 200, 200}) {
    pass(2s);
    answer(status);
  }
  CHECK(told->take<msg::revival_due>().empty());
  CHECK(told->take<msg::errors_seen>().empty()); // it is down already
  pass(2s);
  answer(200);
  const auto due = told->take<msg::revival_due>();
  REQUIRE(due.size() == 1);
  CHECK(due[0].by_probe);
  CHECK(due[0].host.address == "10.0.0.1");
}

TEST_CASE_METHOD(prober_case,
                 "prober: good probes from before the fall do not count",
                 "[prober]") {
  lock(true);
  show(one_host);
  serve(10s, 200);
  show(fallen_host);
  for (int i = 0; i < 2; ++i) {
    pass(2s);
    answer(200);
  }
  CHECK(told->take<msg::revival_due>().empty());
  pass(2s);
  answer(200);
  CHECK(told->take<msg::revival_due>().size() == 1);
}

TEST_CASE_METHOD(prober_case, "prober: an operator's hosts and pools are left",
                 "[prober]") {
  lock(true);
  show(R"({"host": "10.0.0.1", "port": 80, "up": false})");
  CHECK(serve(5s, 200) == 0);
  show(one_host, R"("up": false, )");
  CHECK(serve(5s, 200) == 0);
  show(one_host);
  CHECK(serve(5s, 200) > 3);
}

TEST_CASE_METHOD(prober_case, "prober: follows the content", "[prober]") {
  lock(true);
  show(one_host);
  pass(2s);
  CHECK(http->count("/") == 1);
  show(R"({"host": "10.0.0.2", "port": 80})"); // another server there
  CHECK(http->count("/") == 0);
  http->take_cancelled().on_done(error{errc::cancelled, ""});
  pass(2s);
  REQUIRE(http->count("/") == 1);
  CHECK(http->open[0].request.endpoint->host == "10.0.0.2");
  show_instance(R"({"pools": [{"hosts": [)" + one_host + "]}]}");
  CHECK(http->count("/") == 0);
  show(one_host);
  pass(2s);
  CHECK(http->count("/") == 1);
  send(prober(), msg::instances_are{{"other"}});
  CHECK(http->count("/") == 0);
}

TEST_CASE_METHOD(prober_case, "prober: a changed interval counts at once",
                 "[prober]") {
  lock(true);
  show_instance(R"({"healthcheck": {"interval": 3600}, "pools": [{"hosts": [)" +
                one_host + "]}]}");
  show(one_host);
  CHECK(serve(5s, 200) >= 4);
}

TEST_CASE_METHOD(prober_case, "prober: notes the time and the good in a row",
                 "[prober]") {
  lock(true);
  show(one_host);
  serve(20s, 200);
  const auto& entry =
      store.content.entries().at("zedcup/state/web/1/1/last_check");
  CHECK(std::stoll(entry.value) >= std::time(nullptr) - 5);
  CHECK(entry.flags >= 10);
  CHECK(store.commits.size() <= 5); // every five seconds
}

TEST_CASE_METHOD(prober_case, "prober: a host that is down is noted at once",
                 "[prober]") {
  lock(true);
  show(fallen_host, R"("min_rises": 1000, )");
  serve(10s, 200);
  CHECK(store.commits.size() >= 7);
  CHECK(store.commits.size() <= 11);
}

TEST_CASE_METHOD(prober_case, "prober: writes are bounded", "[prober]") {
  std::string hosts;
  for (int i = 0; i < 2000; ++i)
    hosts += std::string(i > 0 ? "," : "") + R"({"host": "10.0.)" +
             std::to_string(i / 200) + "." + std::to_string(i % 200) +
             R"(", "port": 80})";
  lock(true);
  show(hosts);
  serve(5s, 200);
  CHECK(store.commits.size() <= 24); // four a second
  CHECK(written() > 1000);
  for (const auto& ops : store.commits)
    CHECK(ops.size() <= 64);
}

TEST_CASE_METHOD(prober_case, "prober: a store that is away is left alone",
                 "[prober]") {
  lock(true);
  show(one_host);
  store.script.assign(1000, error{errc::unavailable, "away"});
  CHECK(serve(20s, 200) > 15); // probes go on
  CHECK(store.commits.size() <= 4);
}

TEST_CASE_METHOD(prober_case, "prober: goes on from what was noted",
                 "[prober]") {
  state("1", std::time(nullptr) - 40, 2);
  show_instance(R"({"healthcheck": {"interval": 60}, "pools": [{"hosts": [)" +
                fallen_host + "]}]}");
  lock(true);
  pass(18s);
  CHECK(http->open.empty());
  pass(4s);
  REQUIRE(http->open.size() == 1);
  answer(200); // the third in a row
  CHECK(told->take<msg::revival_due>().size() == 1);
}

TEST_CASE_METHOD(prober_case, "prober: stops before the lock can be another's",
                 "[prober]") {
  lock(true, 5s);
  show(one_host);
  CHECK(serve(5s, 200) > 3);
  CHECK(serve(5s, 200) == 0);
  lock(true, 5s);
  CHECK(serve(4s, 200) > 2);
}

TEST_CASE_METHOD(prober_case, "prober: a lost lock ends what is in flight",
                 "[prober]") {
  lock(true);
  show(one_host);
  pass(2s);
  auto flown = http->open.at(0);
  lock(false);
  CHECK(http->count("/") == 0);
  flown.on_done(answer_with(500, 0));
  settle();
  CHECK(told->take<msg::errors_seen>().empty());
}

TEST_CASE_METHOD(prober_case, "prober: writes its notes when it hands over",
                 "[prober]") {
  lock(true);
  show(one_host);
  size_t before = 0;
  do { // until there was a probe and no write of it
    before = store.commits.size();
    serve(1500ms, 200);
  } while (store.commits.size() != before);
  send(prober(), msg::role_is{role::follower});
  CHECK(store.commits.size() == before + 1);
}
