// Hosts that nobody checks, and when they may come back.
#include "actors/host_reviver.hpp"

#include <ctime>

#include "config/decode.hpp"
#include "fake_store.hpp"
#include "snapshot.hpp"

using namespace zedcup;
using namespace zedcup::test;

namespace {

struct has_store {
  fake_store store;
};

class reviver_case : public has_store, public actor_fixture {
public:
  reviver_case() {
    put(place::store, spawn_fake_store(actors, store));
    told = spawn_recorder<msg::revival_due>(actors);
    put(place::outcomes, told->actor);
    session = spawn_recorder<msg::lock_wanted>(actors);
    put(place::session, session->actor);
    put(place::host_reviver, spawn_host_reviver(actors, ctx));
    send(reviver(), msg::role_is{role::leader});
    send(reviver(), msg::lock_is{"revive", true, actors.clock().now() + 3600s});
  }

  caf::actor reviver() { return lookup(actors, place::host_reviver); }
  void show(const std::string& host_keys, const std::string& pool_keys = "") {
    const auto root = tree_from_json(
        R"({"pools": [{"error_timeout": 60, )" + pool_keys +
        R"("hosts": [{"host": "a", "port": 1, )" + host_keys + "}]}]}");
    REQUIRE(root);
    auto outcome = decode_instance("web", *root);
    REQUIRE(outcome.value);
    send(reviver(),
         msg::instance_is{snapshot::make(std::move(*outcome.value), 1)});
  }
  void last_error(int64_t unix_time) {
    kv_op op;
    op.key = "zedcup/state/web/1/1/error_count";
    op.value = "3";
    op.flags = static_cast<uint64_t>(unix_time);
    REQUIRE(store.content.commit({op}));
  }
  size_t revived() { return told->take<msg::revival_due>().size(); }

  std::shared_ptr<recorder<msg::revival_due>> told;
  std::shared_ptr<recorder<msg::lock_wanted>> session;
};

const std::string fallen = R"("up": false, "_down_by_zedcup": true)";

} // namespace

TEST_CASE_METHOD(reviver_case, "reviver: wants its lock", "[reviver]") {
  const auto wanted = session->take<msg::lock_wanted>();
  REQUIRE(wanted.size() == 1);
  CHECK(wanted[0].name == "revive");
  CHECK(wanted[0].who == place::host_reviver);
}

TEST_CASE_METHOD(reviver_case, "reviver: old errors bring a host back",
                 "[reviver]") {
  last_error(std::time(nullptr) - 61);
  show(fallen);
  pass(10100ms);
  const auto due = told->take<msg::revival_due>();
  REQUIRE(due.size() == 1);
  CHECK(due[0].host == host_ref{"web", 1, 1, "a", 1});
  CHECK_FALSE(due[0].by_probe);
}

TEST_CASE_METHOD(reviver_case, "reviver: recent errors do not", "[reviver]") {
  last_error(std::time(nullptr) - 30);
  show(fallen);
  pass(25s);
  CHECK(revived() == 0);
}

TEST_CASE_METHOD(reviver_case,
                 "reviver: without a state the time of the fall counts",
                 "[reviver]") {
  show(fallen);
  pass(55s);
  CHECK(revived() == 0);
  show(fallen + R"(, "weight": 2)"); // still the same fall
  pass(16s);
  CHECK(revived() == 2);
}

TEST_CASE_METHOD(reviver_case, "reviver: a clock that is ahead does not last",
                 "[reviver]") {
  last_error(std::time(nullptr) + 100000);
  show(fallen);
  pass(71s);
  CHECK(revived() >= 1);
}

TEST_CASE_METHOD(reviver_case, "reviver: an operator's host stays down",
                 "[reviver]") {
  last_error(std::time(nullptr) - 1000);
  show(R"("up": false)");
  pass(100s);
  CHECK(revived() == 0);
}

TEST_CASE_METHOD(reviver_case, "reviver: a checked host is the prober's",
                 "[reviver]") {
  last_error(std::time(nullptr) - 1000);
  show(fallen + R"(, "healthcheck": true)");
  pass(100s);
  CHECK(revived() == 0);
  show(fallen + R"(, "healthcheck": false)", R"("healthcheck": true, )");
  pass(11s);
  CHECK(revived() == 1);
}

TEST_CASE_METHOD(reviver_case, "reviver: in a pool that is down nobody checks",
                 "[reviver]") {
  last_error(std::time(nullptr) - 1000);
  show(fallen, R"("up": false, "healthcheck": true, )");
  pass(11s);
  CHECK(revived() == 1);
}

TEST_CASE_METHOD(reviver_case, "reviver: reads nothing while nothing is down",
                 "[reviver]") {
  show(R"("weight": 1)");
  pass(100s);
  CHECK(store.reads.empty());
  show(fallen);
  pass(20s);
  CHECK(store.reads.size() == 2);
  send(reviver(), msg::instances_are{{}});
  pass(100s);
  CHECK(store.reads.size() == 2);
}

TEST_CASE_METHOD(reviver_case, "reviver: rests without the lock", "[reviver]") {
  last_error(std::time(nullptr) - 1000);
  show(fallen);
  send(reviver(), msg::lock_is{"revive", false, {}});
  pass(100s);
  CHECK(revived() == 0);
  CHECK(store.reads.empty());
}

TEST_CASE_METHOD(reviver_case,
                 "reviver: another host_revive_interval holds at once",
                 "[reviver]") {
  global_config settings;
  settings.host_revive_interval = 2s;
  send(reviver(), msg::global_is{settings});
  last_error(std::time(nullptr) - 1000);
  show(fallen);
  pass(2100ms);
  CHECK(revived() == 1);
  send(reviver(), msg::global_is{settings}); // the same does not begin anew
  pass(10s);
  CHECK(revived() == 5);
  settings.host_revive_interval = 20s;
  send(reviver(), msg::global_is{settings});
  pass(19s);
  CHECK(revived() == 0);
  pass(2s);
  CHECK(revived() == 1);
}
