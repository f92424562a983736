// Orders on their way into a store that is scripted.
#include "actors/writer.hpp"

#include <algorithm>
#include <deque>

#include "actor_fixture.hpp"
#include "config/decode.hpp"
#include "fake_store.hpp"
#include "store/write_plan.hpp"

using namespace zedcup;
using namespace zedcup::test;

namespace {

using fate = fake_store::fate;
using lines = std::vector<std::string>;
using verb = kv_op::verb;

const error away{errc::unavailable, "connection refused"};

std::string pool_of(int hosts) {
  std::string list;
  for (int i = 1; i <= hosts; ++i)
    list += (i > 1 ? ", " : "") + std::string(R"({"host": "h)") +
            std::to_string(i) + R"(", "port": 80})";
  return R"({"pools": [{"hosts": [)" + list + "]}]}";
}

// The store is a base, so that it outlives the actors.
struct has_store {
  fake_store store;
};

class writing : public has_store, public actor_fixture {
public:
  writing() {
    put(place::store, spawn_fake_store(actors, store));
    put(place::writer, spawn_writer(actors, ctx));
  }

  void order(uint64_t id, std::string instance, std::string json) {
    write_order made;
    made.ask_id = id;
    made.instance = std::move(instance);
    made.json = std::move(json);
    give(std::move(made));
  }
  void order_removal(uint64_t id, std::string instance) {
    write_order made;
    made.ask_id = id;
    made.instance = std::move(instance);
    made.remove = true;
    give(std::move(made));
  }
  void give(write_order made) {
    tell_writer(actors, ctx->out, std::move(made));
    settle();
  }

  /// The one answer that has come.
  write_done answer() {
    auto all = take<write_done>();
    REQUIRE(all.size() == 1);
    return all[0];
  }
  bool answered() { return !take<write_done>().empty(); }

  std::map<std::string, std::string> instance(const std::string& name) {
    return store.content.below("zedcup/instances/" + name + "/");
  }
};

} // namespace

TEST_CASE_METHOD(writing, "writer: an instance is written as one commit",
                 "[writer]") {
  order(5, "a", pool_of(1));
  const auto done = answer();
  CHECK(done.ask_id == 5);
  CHECK(done.error == "");
  CHECK(done.instance == "a");
  CHECK_FALSE(done.removed);
  CHECK(done.revision == 1);
  CHECK(store.commits.size() == 1);
  CHECK(instance("a") ==
        std::map<std::string, std::string>{{"pools/1/hosts/1/host", "h1"},
                                           {"pools/1/hosts/1/port", "80"}});
}

TEST_CASE_METHOD(writing, "writer: what was there before goes", "[writer]") {
  order(1, "a", pool_of(3));
  order(2, "a", pool_of(1));
  take_kinds();
  CHECK(instance("a").size() == 2);
}

TEST_CASE_METHOD(writing, "writer: a complaint names its place", "[writer]") {
  const std::vector<std::pair<std::string, std::string>> cases = {
      {R"({"pools": [{"hosts": [{"host": "a", "port": 1},
                                {"host": "b", "port": 0}]}]})",
       R"(pools[1].hosts[2].port: expected 1..65535, got "0")"},
      {R"({"pools": [{"timeout": -1}]})",
       R"(pools[1].timeout: expected 1..86400000, got "-1")"},
      {R"({"pools": 5})", R"(pools: expected a table, got "5")"},
      {R"({"ssl": "yes"})",
       R"(ssl: expected true, false or a table, got "yes")"},
      {"5", R"(: expected a table, got "5")"},
  };
  for (auto& [json, complaint] : cases) {
    order(1, "a", json);
    CHECK(answer().error == complaint);
  }
  order(2, "", R"({"watcher_interval": 0})");
  CHECK(answer().error == R"(watcher_interval: expected 1..86400, got "0")");
  CHECK(store.commits.empty());
}

TEST_CASE_METHOD(writing, "writer: what is not JSON is refused", "[writer]") {
  order(1, "a", "{");
  CHECK(answer().error != "");
  order(2, "a", "");
  CHECK(answer().error != "");
  CHECK(store.commits.empty());
}

TEST_CASE_METHOD(writing, "writer: a bad instance name is refused",
                 "[writer]") {
  for (auto* name : {"_a", "a/b", "..", "\xc3\xa4"}) {
    order(1, name, pool_of(1));
    CHECK(answer().error.rfind("instance name: an instance name ", 0) == 0);
    order_removal(2, name);
    CHECK(answer().error.rfind("instance name: an instance name ", 0) == 0);
  }
  CHECK(store.commits.empty());
}

TEST_CASE_METHOD(writing, "writer: an unknown key is stored, and noticed",
                 "[writer]") {
  order(1, "a", R"({"colour": "red"})");
  CHECK(answer().error == "");
  CHECK(instance("a") == std::map<std::string, std::string>{{"colour", "red"}});
  CHECK(take_log() == lines{"6 colour: unknown key"});
}

TEST_CASE_METHOD(writing, "writer: keys of ours are not stored", "[writer]") {
  order(1, "a",
        R"({"_x": 1, "pools": [{"_idx": 1, "_y": {"a": 2}, "hosts": [
            {"_idx": 1, "_pool": 1, "host": "a", "port": 1, "a_b": 3}]}]})");
  CHECK(answer().error == "");
  CHECK(instance("a") ==
        std::map<std::string, std::string>{{"pools/1/hosts/1/host", "a"},
                                           {"pools/1/hosts/1/port", "1"},
                                           {"pools/1/hosts/1/a_b", "3"}});
}

TEST_CASE_METHOD(writing,
                 "writer: a configuration that was read while a host was down "
                 "does not keep it down",
                 "[writer]") {
  order(1, "a",
        R"({"pools": [{"hosts": [
          {"host": "a", "port": 1, "up": false, "_down_by_zedcup": true},
          {"host": "b", "port": 2, "up": false},
          {"host": "c", "port": 3, "up": true, "_down_by_zedcup": true}]}]})");
  CHECK(answer().error == "");
  auto stored = instance("a");
  CHECK(stored.count("pools/1/hosts/1/up") == 0);
  CHECK(stored["pools/1/hosts/2/up"] == "false");
  CHECK(stored["pools/1/hosts/3/up"] == "true");
}

TEST_CASE_METHOD(writing, "writer: an instance without a key gets one",
                 "[writer]") {
  for (auto* json :
       {"{}", "[]", R"({"_idx": 1})", "\"\"", R"({"pools": []})"}) {
    INFO(json);
    order(1, "a", json);
    CHECK(answer().error == "");
    CHECK(instance("a") ==
          std::map<std::string, std::string>{{"ssl", "false"}});
  }
}

TEST_CASE_METHOD(writing, "writer: the global settings are replaced",
                 "[writer]") {
  order(1, "", R"({"watcher_interval": 5, "colour": "red"})");
  order(2, "", R"({"watcher_interval": 6})");
  auto all = take<write_done>();
  REQUIRE(all.size() == 2);
  CHECK(all[1].error == "");
  CHECK(all[1].instance == "");
  CHECK(all[1].revision == 2);
  CHECK(store.content.below("zedcup/config/") ==
        std::map<std::string, std::string>{{"watcher_interval", "6"}});
}

TEST_CASE_METHOD(writing, "writer: removes an instance and its state",
                 "[writer]") {
  order(1, "a", pool_of(1));
  order(2, "ab", pool_of(1));
  take_kinds();
  kv_op counted;
  counted.key = "zedcup/state/a/1/1/error_count";
  REQUIRE(store.content.commit({counted}));
  order_removal(3, "a");
  const auto done = answer();
  CHECK(done.error == "");
  CHECK(done.removed);
  CHECK(done.instance == "a");
  CHECK(instance("a").empty());
  CHECK(store.content.below("zedcup/state/").empty());
  CHECK(instance("ab").size() == 2);
}

TEST_CASE_METHOD(writing, "writer: removing what is not there succeeds",
                 "[writer]") {
  order_removal(1, "a");
  CHECK(answer().error == "");
}

// ---- large writes ----------------------------------------------------------

TEST_CASE_METHOD(writing, "writer: a large write goes through a redo record",
                 "[writer]") {
  order(1, "a", pool_of(100)); // 200 keys, 64 operations a commit
  const auto done = answer();
  CHECK(done.error == "");
  CHECK(done.revision == store.newest());
  CHECK(instance("a").size() == 200);
  CHECK(instance("a").count(std::string(pending_key)) == 0);
  REQUIRE(store.commits.size() == 5);
  auto& first = store.commits.front();
  CHECK(first.front().what == verb::remove_tree);
  CHECK(first.back().key == "zedcup/instances/a/_pending");
  for (size_t i = 1; i < store.commits.size(); ++i) {
    CHECK(store.commits[i].size() <= 64);
    CHECK(store.commits[i].front().what == verb::check_index);
  }
  CHECK(store.commits.back().back().what == verb::remove_if);
}

TEST_CASE_METHOD(writing, "writer: each large write has an id of its own",
                 "[writer]") {
  order(1, "a", pool_of(100));
  order(2, "b", pool_of(100));
  take_kinds();
  std::vector<std::string> ids;
  for (auto& ops : store.commits)
    if (ops.back().what == verb::set)
      if (auto record = parse_pending(ops.back().value))
        ids.push_back(record->id);
  REQUIRE(ids.size() == 2);
  CHECK(ids[0] != ids[1]);
  CHECK(ids[0].size() == 32);
}

TEST_CASE_METHOD(writing, "writer: a failure in the middle begins anew",
                 "[writer]") {
  store.script = {fate::served, fate::served, away};
  order(1, "a", pool_of(100));
  CHECK_FALSE(answered());
  CHECK(store.commits.size() == 3);
  pass(100ms);
  CHECK(answer().error == "");
  CHECK(store.commits.size() == 3 + 5);
  CHECK(instance("a").size() == 200);
}

TEST_CASE_METHOD(writing, "writer: too large for the store is an error",
                 "[writer]") {
  consul_options small;
  small.limits.max_bytes = 2000;
  ctx->options.store = small;
  order(1, "a", pool_of(100));
  CHECK(answer().error.rfind("instance \"a\": ", 0) == 0);
  CHECK(store.commits.empty());
}

TEST_CASE_METHOD(writing, "writer: the embedded store takes it in one",
                 "[writer]") {
  ctx->options.store = embedded_target{"/z"};
  order(1, "a", pool_of(2000));
  CHECK(answer().error == "");
  CHECK(store.commits.size() == 1);
}

// ---- failures --------------------------------------------------------------

TEST_CASE_METHOD(writing, "writer: a store that is away is tried five times",
                 "[writer]") {
  store.script = {away, away, away, away, away};
  order(1, "a", pool_of(1));
  size_t tried = 1;
  for (auto delay : {100ms, 200ms, 400ms, 800ms}) {
    CHECK(store.commits.size() == tried);
    pass(delay - 10ms);
    CHECK(store.commits.size() == tried);
    CHECK_FALSE(answered());
    pass(10ms);
    CHECK(store.commits.size() == ++tried);
  }
  CHECK(answer().error == "connection refused");
  pass(60s);
  CHECK(store.commits.size() == 5);
  CHECK_FALSE(answered());
}

TEST_CASE_METHOD(writing, "writer: a store that comes back in time is enough",
                 "[writer]") {
  store.script = {away, away, away};
  order(1, "a", pool_of(1));
  pass(700ms);
  CHECK(answer().error == "");
  CHECK(instance("a").size() == 2);
}

TEST_CASE_METHOD(writing, "writer: an answer that never comes is a failure",
                 "[writer]") {
  store.script = {fate::unthanked};
  order(1, "a", pool_of(1));
  pass(14900ms);
  CHECK_FALSE(answered());
  pass(100ms);
  CHECK(answer().error ==
        "the store does not answer: system_error(request_timeout)");
  pass(60s);
  CHECK_FALSE(answered());
}

TEST_CASE_METHOD(writing, "writer: a slow store is not asked for ever",
                 "[writer]") {
  auto waiting = std::make_shared<std::deque<caf::response_promise>>();
  auto slow =
      spawn_small(actors, [this, waiting](caf::event_based_actor* self) {
        return caf::behavior{
            [=](const msg::commit_order& order) {
              store.commits.push_back(order.ops);
              waiting->push_back(self->make_response_promise());
              self->delayed_send(self, 3s, 1);
              return waiting->back();
            },
            [=](int) {
              waiting->front().deliver(msg::commit_reply{away});
              waiting->pop_front();
            },
        };
      });
  put(place::store, slow);
  order(1, "a", pool_of(1));
  pass(6s);
  CHECK_FALSE(answered());
  pass(200ms);
  CHECK(answer().error == "connection refused");
  CHECK(store.commits.size() == 2); // the second began within 5 s
}

TEST_CASE_METHOD(writing, "writer: other errors end an order at once",
                 "[writer]") {
  for (auto code : {errc::conflict, errc::denied, errc::too_large}) {
    store.script = {error{code, "no"}};
    order(1, "a", pool_of(1));
    CHECK(answer().error == "no");
  }
  pass(60s);
  CHECK(store.commits.size() == 3);
}

TEST_CASE_METHOD(writing, "writer: a store that is being restarted is awaited",
                 "[writer]") {
  auto alive = lookup(actors, place::store);
  remove(place::store);
  order(1, "a", pool_of(1));
  pass(250ms);
  CHECK_FALSE(answered());
  actors.registry().put(place_atom(place::store),
                        caf::actor_cast<caf::strong_actor_ptr>(alive));
  pass(100ms);
  CHECK(answer().error == "");
}

TEST_CASE_METHOD(writing, "writer: without a store there is an answer too",
                 "[writer]") {
  remove(place::store);
  order(1, "a", pool_of(1));
  pass(1500ms);
  CHECK(answer().error == "the store is restarting");
}

TEST_CASE_METHOD(writing, "writer: orders do not wait for each other",
                 "[writer]") {
  store.script = {away};
  order(1, "a", pool_of(1));
  order(2, "b", pool_of(1));
  CHECK(answer().ask_id == 2);
  pass(100ms);
  CHECK(answer().ask_id == 1);
}

// ---- every order is answered -----------------------------------------------

TEST_CASE_METHOD(writing, "writer: orders under way are answered at its end",
                 "[writer]") {
  store.script = {fate::unheard, away};
  order(1, "a", pool_of(1)); // waits for the store
  order(2, "b", pool_of(1)); // waits for its next attempt
  caf::anon_send_exit(lookup(actors, place::writer),
                      caf::exit_reason::user_shutdown);
  settle();
  auto all = take<write_done>();
  REQUIRE(all.size() == 2);
  CHECK(all[0].ask_id + all[1].ask_id == 3);
  CHECK(all[0].error != "");
}

TEST_CASE_METHOD(writing, "writer: orders to one that has ended are answered",
                 "[writer]") {
  const auto old = lookup(actors, place::writer);
  caf::anon_send_exit(old, caf::exit_reason::kill);
  settle();
  tell_writer(actors, ctx->out, write_order{7, "a", false, pool_of(1)});
  settle();
  CHECK(answer().ask_id == 7);
  remove(place::writer);
  tell_writer(actors, ctx->out, write_order{8, "a", false, pool_of(1)});
  settle();
  const auto done = answer();
  CHECK(done.ask_id == 8);
  CHECK(done.instance == "a");
  CHECK(done.error != "");
}

TEST_CASE_METHOD(writing, "writer: a plan that cannot be made is an answer",
                 "[writer]") {
  ctx->options.prefix = "";
  order(1, "a", pool_of(1));
  CHECK(answer().error == "an empty key prefix");
}

// ---- what a dead writer left -----------------------------------------------

namespace {

msg::complete_pending leftover(memory_store& store) {
  kv_op op;
  op.key = "zedcup/instances/a/_pending";
  op.value = R"({"id": "1", "leaves": {"pools/1/hosts/1/host": "a",)"
             R"( "pools/1/hosts/1/port": "1"}})";
  REQUIRE(store.commit({op}));
  return {"a", std::make_shared<const kv_entry>(store.entries().at(op.key))};
}

} // namespace

TEST_CASE_METHOD(writing, "writer: completes what a dead writer began",
                 "[writer]") {
  send(lookup(actors, place::writer), leftover(store.content));
  CHECK(instance("a") ==
        std::map<std::string, std::string>{{"pools/1/hosts/1/host", "a"},
                                           {"pools/1/hosts/1/port", "1"}});
  CHECK(take_kinds().empty()); // nobody asked
}

TEST_CASE_METHOD(writing, "writer: a record that changed is left alone",
                 "[writer]") {
  const auto old = leftover(store.content);
  const auto fresh = leftover(store.content);
  send(lookup(actors, place::writer), old);
  CHECK(instance("a").count(std::string(pending_key)) == 1);
  const auto log = take_log();
  REQUIRE(log.size() == 1);
  CHECK(log[0].rfind("4 zedcup/instances/a/_pending: cannot be completed: ",
                     0) == 0);
  CHECK_FALSE(answered());
}
