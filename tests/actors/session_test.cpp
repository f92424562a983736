// The session and its locks, on a store that the test scripts.
#include "actors/session.hpp"

#include <unistd.h>

#include <algorithm>

#include "actor_fixture.hpp"
#include "fake_store.hpp"
#include "health/process_mark.hpp"

using namespace zedcup;
using namespace zedcup::test;

namespace {

using verb = msg::session_order::verb;
using listener = recorder<msg::lock_is>;

const error away{errc::unavailable, "connection refused"};

struct has_store {
  fake_store store;
};

class session_case : public has_store, public actor_fixture {
public:
  explicit session_case(bool embedded = false) {
    if (embedded)
      ctx->options.store = embedded_target{"/nowhere"};
    ctx->run = "1.1";
    put(place::store, spawn_fake_store(actors, store));
    prober = spawn_recorder<msg::lock_is>(actors);
    put(place::prober, prober->actor);
    put(place::session, spawn_session(actors, ctx));
  }

  caf::actor session() { return lookup(actors, place::session); }
  void lead(global_config settings = {}) {
    send(session(), msg::role_is{role::leader});
    send(session(), msg::global_is{settings});
  }
  void want(const std::string& lock) {
    send(session(), msg::lock_wanted{lock, place::prober});
  }

  /// What changed about locks since the last look: "healthcheck+".
  std::string said() {
    std::string all;
    for (auto& one : prober->take<msg::lock_is>()) {
      auto text = one.name + (one.held ? "+ " : "- ");
      if (text != last_said)
        all += text;
      last_said = text;
    }
    return all;
  }
  size_t orders(verb what) const {
    return static_cast<size_t>(
        std::count_if(store.session_orders.begin(), store.session_orders.end(),
                      [&](const auto& order) { return order.what == what; }));
  }
  void held_by(const std::string& session, const std::string& key,
               const std::string& value = "") {
    kv_op op;
    op.what = kv_op::verb::lock;
    op.key = key;
    op.value = value;
    op.session = session;
    REQUIRE(store.content.commit({op}));
  }

  std::shared_ptr<listener> prober;
  std::string last_said;
};

class embedded_case : public session_case {
public:
  embedded_case() : session_case(true) {}
};

} // namespace

TEST_CASE_METHOD(session_case, "session: a leader registers its node",
                 "[session]") {
  lead();
  const auto entries = store.content.below("zedcup/registry/");
  REQUIRE(entries.count("s1") == 1);
  CHECK(process_mark::parse(entries.at("s1")).pid == getpid());
  REQUIRE(store.session_orders.size() == 1);
  CHECK(store.session_orders[0].name == "zedcup: " + std::to_string(getpid()));
  // Consul takes twice its TTL, so that this makes 30 s.
  CHECK(store.session_orders[0].ttl == 15s);
}

TEST_CASE_METHOD(embedded_case, "session: the embedded store is exact",
                 "[session]") {
  lead();
  REQUIRE(store.session_orders.size() == 1);
  CHECK(store.session_orders[0].ttl == 30s);
}

TEST_CASE_METHOD(session_case, "session: a follower has none", "[session]") {
  send(session(), msg::role_is{role::follower});
  send(session(), msg::global_is{});
  want("healthcheck");
  pass(10s);
  CHECK(store.session_orders.empty());
  CHECK(store.watches == 0);
  CHECK(said() == "healthcheck- ");
}

TEST_CASE_METHOD(session_case, "session: without settings it takes defaults",
                 "[session]") {
  send(session(), msg::role_is{role::leader});
  pass(1s);
  CHECK(store.session_orders.empty());
  pass(2s);
  CHECK(store.session_orders.size() == 1);
}

TEST_CASE_METHOD(session_case, "session: a free lock is taken", "[session]") {
  want("healthcheck");
  CHECK(said() == "healthcheck- ");
  lead();
  CHECK(said() == "healthcheck+ ");
  const auto& entry = store.content.entries().at("zedcup/locks/healthcheck");
  CHECK(entry.session == "s1");
  CHECK(entry.value == "locked: " + std::to_string(getpid()));
}

TEST_CASE_METHOD(session_case, "session: another's lock is waited for",
                 "[session]") {
  held_by("other", "zedcup/locks/healthcheck");
  lead();
  want("healthcheck");
  pass(5s);
  CHECK(said() == "healthcheck- ");
  store.content.end_session("other");
  pass(1100ms);
  CHECK(said() == "healthcheck+ ");
}

TEST_CASE_METHOD(session_case, "session: it asks the store seldom when idle",
                 "[session]") {
  held_by("other", "zedcup/locks/healthcheck");
  lead();
  want("healthcheck");
  pass(2s);
  store.watches = 0;
  const auto commits = store.commits.size();
  pass(20s); // this store answers at once, where a Consul would wait
  CHECK(store.watches <= 21);
  CHECK(store.commits.size() == commits);
}

TEST_CASE_METHOD(session_case, "session: it is renewed at a third of its TTL",
                 "[session]") {
  want("healthcheck");
  lead();
  pass(4900ms);
  CHECK(orders(verb::renew) == 0);
  (void)prober->take<msg::lock_is>();
  pass(200ms);
  CHECK(orders(verb::renew) == 1);
  const auto told = prober->take<msg::lock_is>();
  REQUIRE(told.size() == 1);
  CHECK(told[0].held);
  CHECK(told[0].until > actors.clock().now() + 14s);
}

TEST_CASE_METHOD(session_case, "session: session_renew_interval is kept",
                 "[session]") {
  global_config settings;
  settings.session_renew_interval = 2s;
  lead(settings);
  pass(10100ms);
  CHECK(orders(verb::renew) == 5);
}

TEST_CASE_METHOD(session_case, "session: one that is lost loses its locks",
                 "[session]") {
  want("healthcheck");
  lead();
  (void)said();
  store.sessions.clear();
  store.content.end_session("s1");
  held_by("other", "zedcup/locks/healthcheck");
  pass(6s);
  CHECK(said() == "healthcheck- ");
  CHECK(store.content.below("zedcup/registry/").count("s2") == 1);
}

TEST_CASE_METHOD(session_case,
                 "session: what cannot be renewed in time is lost",
                 "[session]") {
  want("healthcheck");
  lead();
  (void)said();
  store.session_failures.assign(1000, away);
  pass(14s);
  CHECK(said().empty());
  pass(3s);
  CHECK(said() == "healthcheck- ");
  store.session_failures.clear();
  pass(12s);
  CHECK(said() == "healthcheck+ ");
}

TEST_CASE_METHOD(session_case, "session: failures are backed off from",
                 "[session]") {
  store.session_failures.assign(1000, away);
  lead();
  pass(60s);
  CHECK(orders(verb::create) > 5);
  CHECK(orders(verb::create) < 12);
  const auto lines = take_log();
  CHECK(std::count_if(lines.begin(), lines.end(), [](const auto& line) {
          return line.find("no session in the store: connection refused") !=
                 std::string::npos;
        }) == 1);
}

TEST_CASE_METHOD(session_case, "session: a lock taken away is noticed",
                 "[session]") {
  want("healthcheck");
  lead();
  (void)said();
  pass(2s);
  kv_op op;
  op.what = kv_op::verb::remove;
  op.key = "zedcup/locks/healthcheck";
  REQUIRE(store.content.commit({op}));
  pass(6s);
  CHECK(said() == "healthcheck- healthcheck+ "); // and it was free
}

TEST_CASE_METHOD(session_case, "session: following again frees everything",
                 "[session]") {
  want("healthcheck");
  lead();
  (void)said();
  send(session(), msg::role_is{role::follower});
  CHECK(said() == "healthcheck- ");
  CHECK(store.content.entries().empty());
  CHECK(store.sessions.empty());
}

TEST_CASE_METHOD(session_case, "session: new settings make a new session",
                 "[session]") {
  want("healthcheck");
  lead();
  global_config settings;
  settings.session_ttl = 60s;
  send(session(), msg::global_is{settings});
  pass(1100ms);
  CHECK(store.sessions == std::set<std::string>{"s2"});
  CHECK(store.session_orders.back().ttl == 30s);
  CHECK(said() == "healthcheck- healthcheck+ healthcheck- healthcheck+ ");
  send(session(), msg::global_is{settings});
  pass(2s);
  CHECK(store.sessions == std::set<std::string>{"s2"});
}

TEST_CASE_METHOD(session_case, "session: a TTL that is refused is raised",
                 "[session]") {
  store.session_failures = {
      {errc::bad_answer, "consul: Invalid Session TTL '5000000000', must be "
                         "between [10s=24h0m0s]"}};
  global_config settings;
  settings.session_ttl = 10s;
  lead(settings);
  REQUIRE(store.session_orders.size() == 2);
  CHECK(store.session_orders[0].ttl == 5s);
  CHECK(store.session_orders[1].ttl == 10s);
  CHECK(store.sessions.size() == 1);
}

TEST_CASE_METHOD(session_case, "session: a dead predecessor's is ended",
                 "[session]") {
  auto dead = process_mark::own("1.0");
  dead.pid = 0x7ffffff0;
  auto elsewhere = dead;
  elsewhere.boot = "another machine";
  store.sessions = {"dead", "alive"};
  held_by("dead", "zedcup/registry/dead", dead.to_json());
  held_by("dead", "zedcup/locks/healthcheck");
  held_by("alive", "zedcup/registry/alive", elsewhere.to_json());
  want("healthcheck");
  lead();
  pass(1100ms);
  CHECK(store.sessions == std::set<std::string>{"alive", "s1"});
  CHECK(said() == "healthcheck- healthcheck+ ");
}

TEST_CASE_METHOD(session_case, "session: its end is reported", "[session]") {
  lead();
  int ended = 0;
  const auto done =
      std::make_shared<const std::function<void()>>([&ended] { ++ended; });
  send(session(), msg::session_end{done});
  CHECK(ended == 1);
  CHECK(store.sessions.empty());
  send(session(), msg::session_end{done}); // there is none
  CHECK(ended == 2);
  send(session(), msg::role_is{role::leader}); // too late
  send(session(), msg::global_is{});
  pass(5s);
  CHECK(store.sessions.empty());
}
