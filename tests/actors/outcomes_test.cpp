// Errors, revivals and orders on their way into a store that is scripted.
#include "actors/outcomes.hpp"

#include "actor_fixture.hpp"
#include "fake_store.hpp"

using namespace zedcup;
using namespace zedcup::test;

namespace {

const std::string config_at = "zedcup/instances/web/pools/1/hosts/1/";
const std::string count_key = "zedcup/state/web/1/1/error_count";
const std::string up_key = config_at + "up";

host_ref web(uint32_t host = 1) {
  return {"web", 1, host, "10.0.0." + std::to_string(host), 80};
}

error away() {
  return {errc::unavailable, "connection refused"};
}

class outcomes_fixture : public actor_fixture {
public:
  outcomes_fixture() {
    put(place::store, spawn_fake_store(actors, store));
    worker = spawn_outcomes(actors, shared());
    put(place::outcomes, worker);
    put_host(1);
  }

  void put_host(uint32_t host) {
    const auto at =
        "zedcup/instances/web/pools/1/hosts/" + std::to_string(host) + "/";
    write(at + "host", "10.0.0." + std::to_string(host));
    write(at + "port", "80");
  }

  void write(const std::string& key, const std::string& value,
             uint64_t flags = 0) {
    kv_op op;
    op.key = key;
    op.value = value;
    op.flags = flags;
    REQUIRE(store.content.commit({op}));
  }
  void erase(const std::string& key) {
    kv_op op;
    op.what = kv_op::verb::remove;
    op.key = key;
    REQUIRE(store.content.commit({op}));
  }

  void fail(uint32_t count = 1, std::chrono::seconds window = 60s,
            uint32_t host = 1) {
    send(worker,
         msg::errors_seen{web(host), count, window, 3, false, "refused"});
  }

  void order(host_order::verb what, uint64_t id = 7, uint32_t host = 1) {
    host_order wanted;
    wanted.ask_id = id;
    wanted.what = what;
    wanted.host = web(host);
    tell_outcomes(actors, &out, wanted);
    settle();
  }

  /// "value/flags", or "-"; of a time only that it is one.
  std::string at(const std::string& key) {
    auto found = store.content.entries().find(key);
    if (found == store.content.entries().end())
      return "-";
    auto& entry = found->second;
    return entry.value + "/" +
           (entry.flags > 1000000 ? "now" : std::to_string(entry.flags));
  }

  void script(size_t times, const std::variant<fake_store::fate, error>& what) {
    for (size_t i = 0; i < times; ++i)
      store.script.push_back(what);
  }

  fake_store store;
  caf::actor worker;
};

} // namespace

TEST_CASE_METHOD(outcomes_fixture, "outcomes: counts an error in the store",
                 "[outcomes]") {
  fail();
  CHECK(at(count_key) == "1/now");
  CHECK(at(up_key) == "-");
  CHECK(take<host_event>().empty());
}

TEST_CASE_METHOD(outcomes_fixture,
                 "outcomes: takes a host down at max_errors and tells it once",
                 "[outcomes]") {
  fail(3);
  CHECK(at(count_key) == "3/now");
  CHECK(at(up_key) == "false/1");
  auto events = take<host_event>();
  REQUIRE(events.size() == 1);
  CHECK_FALSE(events[0].up);
  CHECK(events[0].host == web());
  CHECK(events[0].err == "refused");
  CHECK_FALSE(events[0].by_probe);
  fail(3);
  pass(2s);
  CHECK(take<host_event>().empty());
}

TEST_CASE_METHOD(outcomes_fixture, "outcomes: says when a probe did it",
                 "[outcomes]") {
  send(worker, msg::errors_seen{web(), 3, 60s, 3, true, "status code 500"});
  auto events = take<host_event>();
  REQUIRE(events.size() == 1);
  CHECK(events[0].by_probe);
}

TEST_CASE_METHOD(outcomes_fixture,
                 "outcomes: a thousand failures a second make few commits",
                 "[outcomes]") {
  for (int i = 0; i < 500; ++i) {
    send(worker, msg::errors_seen{web(), 2, 60s, 1000000, false, "refused"});
    pass(10ms);
  }
  pass(2s);
  CHECK(at(count_key) == "1000/now");
  CHECK(store.commits.size() <= 10);
}

TEST_CASE_METHOD(outcomes_fixture,
                 "outcomes: what comes while a commit is under way is added up",
                 "[outcomes]") {
  script(4, fake_store::fate::served);               // the reads
  store.script.push_back(fake_store::fate::unheard); // the commit
  fail();
  for (int i = 0; i < 10; ++i)
    fail();
  CHECK(store.commits.size() == 1);
  pass(7s);
  CHECK(at(count_key) == "11/now");
  CHECK(at(up_key) == "false/1");
  CHECK(store.commits.size() == 3);
}

TEST_CASE_METHOD(outcomes_fixture, "outcomes: two nodes' errors add up",
                 "[outcomes]") {
  bool once = true;
  store.before = [&] { // somebody else, between our read and our commit
    if (store.commits.size() == 1 && std::exchange(once, false))
      write(count_key, "2", 4000000000);
  };
  fail();
  pass(200ms);
  CHECK(at(count_key) == "3/now");
  CHECK(take<host_event>().size() == 1);
}

TEST_CASE_METHOD(outcomes_fixture, "outcomes: who loses the race tells nothing",
                 "[outcomes]") {
  bool once = true;
  store.before = [&] {
    if (store.commits.size() == 1 && std::exchange(once, false))
      write(up_key, "false", 1);
  };
  fail(3);
  pass(1s);
  CHECK(at(up_key) == "false/1");
  CHECK(take<host_event>().empty());
}

TEST_CASE_METHOD(outcomes_fixture,
                 "outcomes: a commit whose answer got lost is not repeated",
                 "[outcomes]") {
  script(4, fake_store::fate::served);
  store.script.push_back(fake_store::fate::unthanked);
  fail(3);
  pass(8s);
  CHECK(at(count_key) == "3/now");
  CHECK(store.commits.size() == 1);
  CHECK(take<host_event>().size() == 1);
}

TEST_CASE_METHOD(outcomes_fixture,
                 "outcomes: outlasts a store that is away for a while",
                 "[outcomes]") {
  script(40, away());
  fail(3);
  pass(44s);
  CHECK(at(up_key) == "false/1");
  CHECK(take<host_event>().size() == 1);
  CHECK(take<errors_kept>().empty());
}

TEST_CASE_METHOD(outcomes_fixture,
                 "outcomes: gives up when the errors would no longer count",
                 "[outcomes]") {
  script(4000, away());
  fail(3, 2s);
  pass(10s);
  auto kept = take<errors_kept>();
  REQUIRE(kept.size() == 1);
  CHECK(kept[0].errors.host == web());
  CHECK(kept[0].errors.count == 3);
  CHECK(take_log().size() == 1);
  store.script.clear();
  pass(60s);
  CHECK(at(count_key) == "-");
  fail();
  CHECK(at(count_key) == "1/now"); // and starts over
}

TEST_CASE_METHOD(outcomes_fixture, "outcomes: a store that is not there at all",
                 "[outcomes]") {
  remove(place::store);
  fail(3);
  pass(1s);
  CHECK(take<host_event>().empty());
  put(place::store, spawn_fake_store(actors, store));
  pass(5s);
  CHECK(take<host_event>().size() == 1);
}

TEST_CASE_METHOD(outcomes_fixture,
                 "outcomes: waits while the instance is being rewritten",
                 "[outcomes]") {
  write("zedcup/instances/web/_pending", "{}");
  fail(3);
  pass(20s);
  CHECK(store.commits.empty());
  erase("zedcup/instances/web/_pending");
  pass(1s);
  CHECK(at(up_key) == "false/1");
}

TEST_CASE_METHOD(outcomes_fixture,
                 "outcomes: another server at the place is left alone",
                 "[outcomes]") {
  write(config_at + "port", "81");
  fail(3);
  order(host_order::verb::take_down);
  pass(1s);
  CHECK(store.commits.empty());
  auto done = take<host_done>();
  REQUIRE(done.size() == 1);
  CHECK(done[0].error.find("another host") != std::string::npos);
}

TEST_CASE_METHOD(outcomes_fixture,
                 "outcomes: with persist_errors = false nothing is written",
                 "[outcomes]") {
  write("zedcup/instances/web/persist_errors", "false");
  fail(3);
  CHECK(store.commits.empty());
  CHECK(take<errors_kept>().size() == 1);
}

TEST_CASE_METHOD(outcomes_fixture,
                 "outcomes: brings back what zedcup took down", "[outcomes]") {
  fail(3);
  take<host_event>();
  send(worker, msg::revival_due{web(), true});
  CHECK(at(up_key) == "true/0");
  CHECK(at(count_key) == "-");
  auto events = take<host_event>();
  REQUIRE(events.size() == 1);
  CHECK(events[0].up);
  CHECK(events[0].by_probe);
  send(worker, msg::revival_due{web(), true});
  CHECK(take<host_event>().empty());
}

TEST_CASE_METHOD(outcomes_fixture,
                 "outcomes: an operator's down is not brought back",
                 "[outcomes]") {
  write(up_key, "false");
  send(worker, msg::revival_due{web()});
  order(host_order::verb::bring_up);
  CHECK(at(up_key) == "false/0");
  auto done = take<host_done>();
  REQUIRE(done.size() == 1);
  CHECK(done[0].error.find("operator") != std::string::npos);
}

TEST_CASE_METHOD(outcomes_fixture,
                 "outcomes: a reset that the store refused is sent again",
                 "[outcomes]") {
  fail(2);
  pass(2s);
  script(4, fake_store::fate::served);
  store.script.push_back(away());
  order(host_order::verb::reset_errors);
  pass(4s);
  CHECK(at(count_key) == "-");
  auto done = take<host_done>();
  REQUIRE(done.size() == 1);
  CHECK(done[0].error.empty());
}

TEST_CASE_METHOD(outcomes_fixture, "outcomes: orders are carried out in order",
                 "[outcomes]") {
  order(host_order::verb::count_error, 1);
  order(host_order::verb::count_error, 2);
  order(host_order::verb::take_down, 3);
  order(host_order::verb::reset_errors, 4);
  order(host_order::verb::note_check, 5);
  order(host_order::verb::read_state, 6);
  auto done = take<host_done>();
  REQUIRE(done.size() == 6);
  CHECK(done[0].payload == "1");
  CHECK(done[1].payload == "2");
  CHECK(done[2].revision != 0);
  CHECK(done[3].revision == 0);
  CHECK(done[5].payload.find("[[1,1,0,0,") == 0);
  for (auto& one : done)
    CHECK(one.error.empty());
  CHECK(at(up_key) == "false/1");
  CHECK(take<host_event>().size() == 1);
}

TEST_CASE_METHOD(outcomes_fixture,
                 "outcomes: an order is answered within its bound",
                 "[outcomes]") {
  script(4000, away());
  fail();
  order(host_order::verb::take_down, 1);
  order(host_order::verb::take_down, 2, 9);
  order(host_order::verb::read_state, 3);
  pass(12s);
  CHECK(take<host_done>().size() == 3);
}

TEST_CASE_METHOD(outcomes_fixture,
                 "outcomes: an order is answered also when the actor ends",
                 "[outcomes]") {
  store.script.push_back(fake_store::fate::unheard);
  order(host_order::verb::take_down);
  remove(place::outcomes);
  caf::anon_send_exit(worker, caf::exit_reason::kill);
  settle();
  CHECK(take<host_done>().size() == 1);
  order(host_order::verb::take_down);
  CHECK(take<host_done>().size() == 1);
}

TEST_CASE_METHOD(outcomes_fixture, "outcomes: says when all is settled",
                 "[outcomes]") {
  send(worker, msg::settle_wanted{1});
  CHECK(take_kinds() == std::vector<std::string>{"settled 1"});
  script(4, fake_store::fate::served);
  store.script.push_back(fake_store::fate::unheard);
  fail(3);
  send(worker, msg::settle_wanted{2});
  CHECK(take_kinds().empty());
  pass(10s);
  CHECK(take_kinds() == std::vector<std::string>{"down 10.0.0.1", "settled 2"});
}

TEST_CASE_METHOD(outcomes_fixture,
                 "outcomes: who leaves tries once more and does not linger",
                 "[outcomes]") {
  fail();
  fail(); // rests now
  send(worker, msg::settle_wanted{1, true});
  CHECK(at(count_key) == "2/now");
  CHECK(take_kinds() == std::vector<std::string>{"settled 1"});
  script(100, away());
  fail();
  send(worker, msg::settle_wanted{2});
  CHECK_FALSE(take<errors_kept>().empty());
  CHECK(take<outcomes_settled>().size() == 1);
}

TEST_CASE_METHOD(outcomes_fixture,
                 "outcomes: keeps a bounded number of hosts, the newest",
                 "[outcomes]") {
  script(100000, away());
  for (uint32_t host = 1; host <= 1100; ++host)
    send(worker, msg::errors_seen{web(host), 1, 60s, 3, false, "refused"});
  CHECK(take<errors_kept>().size() >= 1100 - 1024);
  CHECK(take_log().size() == 1); // one line for all of them
}
