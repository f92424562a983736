// From what a store or the zone holds to what the event loop is told.
#include "actors/syncer.hpp"

#include <algorithm>
#include <map>

#include "actor_fixture.hpp"
#include "config/decode.hpp"

using namespace zedcup;
using namespace zedcup::test;

namespace {

using content = std::map<std::string, std::string>;
using lines = std::vector<std::string>;

/// A tree as a store gives it. `revision` is every key's modify_index too.
std::shared_ptr<kv_tree> tree_of(const std::string& head, const content& keys,
                                 uint64_t revision) {
  auto tree = std::make_shared<kv_tree>();
  tree->revision = revision;
  for (auto& [path, value] : keys)
    tree->entries.push_back({head + path, value, 0, revision, ""});
  return tree;
}

content host(const std::string& instance, const std::string& port) {
  return {{instance + "/pools/1/hosts/1/host", "10.0.0.1"},
          {instance + "/pools/1/hosts/1/port", port}};
}

content operator+(content a, const content& b) {
  a.insert(b.begin(), b.end());
  return a;
}

std::string record(const std::string& id, const std::string& port) {
  return R"({"id": ")" + id +
         R"(", "leaves": {"pools/1/hosts/1/host": "10.0.0.9",)"
         R"( "pools/1/hosts/1/port": ")" +
         port + R"("}})";
}

class synced_by : public actor_fixture {
public:
  synced_by() {
    put(place::syncer, spawn_syncer(actors, ctx));
    put(place::watcher, watcher->actor);
    put(place::writer, writer->actor);
    become(role::leader);
  }

  void become(role now) { tell_syncer(msg::role_is{now}); }

  void read(const content& keys, uint64_t revision) {
    tell_syncer(
        msg::instances_read{tree_of("zedcup/instances/", keys, revision)});
  }

  void read_global(const content& keys, uint64_t revision) {
    tell_syncer(msg::global_read{tree_of("zedcup/config/", keys, revision)});
  }

  template <class Message>
  void tell_syncer(Message message) {
    send(lookup(actors, place::syncer), std::move(message));
  }

  uint32_t port_of(const instance_changed& message) {
    return message.content->config().pools.at(0).hosts.at(0).port;
  }

  std::shared_ptr<recorder<msg::pace_is>> watcher =
      spawn_recorder<msg::pace_is>(actors);
  std::shared_ptr<recorder<msg::complete_pending>> writer =
      spawn_recorder<msg::complete_pending>(actors);
};

} // namespace

// ---- leader ----------------------------------------------------------------

TEST_CASE_METHOD(synced_by, "syncer: hands out each instance, then the names",
                 "[syncer]") {
  read(host("a", "80") + host("b", "81"), 7);
  auto changes = take<instance_changed>();
  REQUIRE(changes.size() == 2);
  CHECK(changes[0].name == "a");
  CHECK(changes[0].revision == 7);
  CHECK(changes[0].publish);
  CHECK(changes[0].content->revision() == 7);
  CHECK(port_of(changes[0]) == 80);
  CHECK(changes[1].name == "b");
  CHECK(port_of(changes[1]) == 81);
  auto marks = take<synced>();
  REQUIRE(marks.size() == 1);
  CHECK(marks[0].revision == 7);
  CHECK(marks[0].publish);
  CHECK(*marks[0].names == lines{"a", "b"});
}

TEST_CASE_METHOD(synced_by, "syncer: the names come last", "[syncer]") {
  read(host("a", "80") + host("b", "81"), 7);
  CHECK(take_kinds() == lines{"instance a", "instance b", "synced 7"});
}

TEST_CASE_METHOD(synced_by, "syncer: an unchanged instance is not handed out",
                 "[syncer]") {
  read(host("a", "80") + host("b", "81"), 7);
  take_kinds();
  read(host("a", "80") + host("b", "82"), 8);
  CHECK(take_kinds() == lines{"instance b", "synced 8"});
  // Written again with the same content: only the indexes moved.
  read(host("a", "80") + host("b", "82"), 9);
  CHECK(take_kinds() == lines{"synced 9"});
}

TEST_CASE_METHOD(synced_by,
                 "syncer: other keys with the same meaning change nothing",
                 "[syncer]") {
  read(host("a", "80"), 7);
  take_kinds();
  read(host("a", " 80\n"), 8);
  CHECK(take_kinds() == lines{"synced 8"});
}

TEST_CASE_METHOD(synced_by, "syncer: a removed instance leaves the names",
                 "[syncer]") {
  read(host("a", "80") + host("b", "81"), 7);
  take_kinds();
  read(host("a", "80"), 8);
  auto marks = take<synced>();
  REQUIRE(marks.size() == 1);
  CHECK(*marks[0].names == lines{"a"});
  // Back again, it is news.
  read(host("a", "80") + host("b", "81"), 9);
  CHECK(take_kinds() == lines{"instance b", "synced 9"});
}

TEST_CASE_METHOD(synced_by, "syncer: an empty store has no names", "[syncer]") {
  read({}, 7);
  auto marks = take<synced>();
  REQUIRE(marks.size() == 1);
  CHECK(marks[0].names->empty());
}

TEST_CASE_METHOD(synced_by,
                 "syncer: what cannot be used keeps the last good content",
                 "[syncer]") {
  read(host("a", "80"), 7);
  take_kinds();
  read(host("a", "99999"), 8);
  CHECK(take<instance_changed>().empty());
  auto marks = take<synced>();
  REQUIRE(marks.size() == 1);
  CHECK(*marks[0].names == lines{"a"}); // it must not be removed
  const auto log = take_log();
  REQUIRE(log.size() == 2);
  CHECK(log[0] == "4 zedcup/instances/a/pools/1/hosts/1/port: "
                  "expected 1..65535, got \"99999\"");
  CHECK(log[1].rfind("4 zedcup/instances/a/: nothing usable in it", 0) == 0);
  const auto said = take<complaints_changed>();
  REQUIRE(said.size() == 1);
  CHECK(said[0].name == "a");
  CHECK("4 " + said[0].texts.at(0) == log[0]);
  CHECK("4 " + said[0].texts.at(1) == log[1]);
  read(host("a", "80"), 9);
  CHECK(take_kinds() == lines{"complaints a 0", "synced 9"});
}

TEST_CASE_METHOD(
    synced_by,
    "syncer: complaints are handed out when they change, anew in a "
    "new role",
    "[syncer]") {
  const auto bad = host("a", "80") + content{{"a/pools/1/timeout", "x"}};
  read(bad, 7);
  CHECK(take_kinds().front() == "log zedcup/instances/a/pools/1/timeout: "
                                "expected 1..86400000, got \"x\"");
  read(bad + content{{"a/pools/1/max_errors", "5"}}, 8);
  CHECK(take<complaints_changed>().empty());
  become(role::leader);
  take_kinds();
  read(bad, 9);
  CHECK(take<complaints_changed>().size() == 1);
}

TEST_CASE_METHOD(synced_by, "syncer: complaints about one instance are bounded",
                 "[syncer]") {
  content keys = host("a", "80");
  for (int i = 10; i < 99; ++i)
    keys["a/pools/1/hosts/" + std::to_string(i) + "/port"] = "x";
  read(keys, 7);
  const auto said = take<complaints_changed>();
  REQUIRE(said.size() == 1);
  CHECK(said[0].texts.size() == 50);
}

TEST_CASE_METHOD(synced_by, "syncer: a complaint is logged once per content",
                 "[syncer]") {
  const auto bad = host("a", "80") + content{{"a/pools/1/timeout", "x"}};
  read(bad, 7);
  CHECK(take_log() == lines{"4 zedcup/instances/a/pools/1/timeout: "
                            "expected 1..86400000, got \"x\""});
  read(bad, 8);
  read(bad + host("b", "80"), 9);
  CHECK(take_log().empty());
  read(bad + content{{"a/pools/1/max_errors", "5"}}, 10);
  CHECK(take_log().size() == 1);
}

TEST_CASE_METHOD(synced_by, "syncer: flags of a key are content", "[syncer]") {
  auto keys = host("a", "80") + content{{"a/pools/1/hosts/1/up", "false"}};
  read(keys, 7);
  take_kinds();
  auto tree = tree_of("zedcup/instances/", keys, 8);
  for (auto& entry : tree->entries)
    if (entry.value == "false")
      entry.flags = 1;
  tell_syncer(msg::instances_read{tree});
  auto changes = take<instance_changed>();
  REQUIRE(changes.size() == 1);
  CHECK(changes[0].content->config().pools[0].hosts[0].down_by_zedcup);
}

TEST_CASE_METHOD(synced_by, "syncer: a bad instance name is logged and skipped",
                 "[syncer]") {
  read(host("_x", "80") + host("a", "81") + host("b\n5 forged", "82"), 7);
  const auto log = take_log();
  REQUIRE(log.size() == 2);
  CHECK(log[0] == "4 zedcup/instances/_x/: "
                  "an instance name must not begin with \"_\"");
  CHECK(log[1] == "4 zedcup/instances/b\\x0a5 forged/: "
                  "an instance name is printable ASCII without \"/\"");
  CHECK(take_kinds() == lines{"complaints _x 1", "instance a",
                              "complaints b\n5 forged 1", "synced 7"});
}

TEST_CASE_METHOD(synced_by, "syncer: names that begin alike do not mix",
                 "[syncer]") {
  read(host("foo", "80") + host("foo-bar", "81") + host("foobar", "82"), 7);
  CHECK(take_kinds() == lines{"instance foo-bar", "instance foo",
                              "instance foobar", "synced 7"});
}

TEST_CASE_METHOD(synced_by, "syncer: stray keys beside instances are ignored",
                 "[syncer]") {
  read(host("a", "80") + content{{"", ""}, {"stray", "x"}}, 7);
  auto marks = take<synced>();
  REQUIRE(marks.size() == 1);
  CHECK(*marks[0].names == lines{"a"});
  CHECK(take<instance_changed>().size() == 1);
}

TEST_CASE_METHOD(synced_by, "syncer: a folder key makes an empty instance",
                 "[syncer]") {
  read({{"a/", ""}}, 7);
  auto changes = take<instance_changed>();
  REQUIRE(changes.size() == 1);
  CHECK(changes[0].content->config().pools.empty());
}

TEST_CASE_METHOD(synced_by, "syncer: the store's trouble is passed on",
                 "[syncer]") {
  tell_syncer(msg::trouble{"down"});
  tell_syncer(msg::trouble{});
  CHECK(take_kinds() == lines{"trouble down", "trouble "});
}

// ---- redo records ----------------------------------------------------------

TEST_CASE_METHOD(synced_by, "syncer: a redo record stands for the plain keys",
                 "[syncer]") {
  read(host("a", "80") + content{{"a/_pending", record("1", "90")}}, 7);
  auto changes = take<instance_changed>();
  REQUIRE(changes.size() == 1);
  CHECK(port_of(changes[0]) == 90);
  take_kinds();
  // Batch by batch the plain keys follow: nothing new.
  read(content{{"a/_pending", record("1", "90")},
               {"a/pools/1/hosts/1/host", "10.0.0.9"}},
       8);
  CHECK(take_kinds() == lines{"synced 8"});
  read(content{{"a/pools/1/hosts/1/port", "90"},
               {"a/pools/1/hosts/1/host", "10.0.0.9"}},
       9);
  CHECK(take_kinds() == lines{"synced 9"});
}

TEST_CASE_METHOD(synced_by,
                 "syncer: an unreadable record keeps the last good content",
                 "[syncer]") {
  read(host("a", "80"), 7);
  take_kinds();
  read({{"a/_pending", "{"}}, 8);
  CHECK(take<instance_changed>().empty());
  const auto log = take_log();
  REQUIRE(log.size() == 2);
  CHECK(log[0] == "4 zedcup/instances/a/_pending: _pending: not JSON");
}

TEST_CASE_METHOD(synced_by, "syncer: a record left behind is completed",
                 "[syncer]") {
  read(host("b", "80") + content{{"a/_pending", record("1", "90")}}, 7);
  pass(29900ms);
  CHECK(writer->take<msg::complete_pending>().empty());
  pass(100ms);
  auto orders = writer->take<msg::complete_pending>();
  REQUIRE(orders.size() == 1);
  CHECK(orders[0].instance == "a");
  CHECK(orders[0].record->key == "zedcup/instances/a/_pending");
  CHECK(orders[0].record->modify_index == 7);
}

TEST_CASE_METHOD(synced_by, "syncer: a record that went is not completed",
                 "[syncer]") {
  read({{"a/_pending", record("1", "90")}}, 7);
  pass(10s);
  read(host("a", "90"), 8);
  pass(60s);
  CHECK(writer->take<msg::complete_pending>().empty());
}

TEST_CASE_METHOD(synced_by, "syncer: a record of another write starts anew",
                 "[syncer]") {
  read({{"a/_pending", record("1", "90")}}, 7);
  pass(20s);
  read({{"a/_pending", record("2", "91")}}, 8);
  pass(29s);
  CHECK(writer->take<msg::complete_pending>().empty());
  pass(1s);
  auto orders = writer->take<msg::complete_pending>();
  REQUIRE(orders.size() == 1);
  CHECK(orders[0].record->modify_index == 8);
}

TEST_CASE_METHOD(synced_by,
                 "syncer: batches under one record do not order it twice",
                 "[syncer]") {
  auto keys = content{{"a/_pending", record("1", "90")}};
  auto first = tree_of("zedcup/instances/", keys, 7);
  tell_syncer(msg::instances_read{first});
  for (uint64_t batch = 1; batch <= 5; ++batch) {
    auto more = *tree_of(
        "zedcup/instances/",
        {{"a/pools/1/hosts/" + std::to_string(batch) + "/host", "10.0.0.9"}},
        7 + batch);
    first = std::make_shared<kv_tree>(*first);
    first->entries.push_back(more.entries[0]);
    first->revision = 7 + batch;
    tell_syncer(msg::instances_read{first});
    pass(1s);
  }
  pass(40s);
  CHECK(writer->take<msg::complete_pending>().size() == 1);
}

TEST_CASE_METHOD(synced_by,
                 "syncer: a record that could not be completed is tried again",
                 "[syncer]") {
  read({{"a/_pending", record("1", "90")}}, 7);
  pass(95s);
  CHECK(writer->take<msg::complete_pending>().size() == 3);
}

TEST_CASE_METHOD(synced_by, "syncer: a new leadership counts from its start",
                 "[syncer]") {
  read({{"a/_pending", record("1", "90")}}, 7);
  pass(20s);
  become(role::follower);
  become(role::leader);
  read({{"a/_pending", record("1", "90")}}, 7);
  pass(15s);
  CHECK(writer->take<msg::complete_pending>().empty());
  pass(20s);
  CHECK(writer->take<msg::complete_pending>().size() == 1);
}

// ---- the global settings ---------------------------------------------------

TEST_CASE_METHOD(synced_by, "syncer: hands out the global settings",
                 "[syncer]") {
  read_global({{"watcher_interval", "5"}, {"consul_wait_time", "60"}}, 7);
  auto changes = take<global_changed>();
  REQUIRE(changes.size() == 1);
  CHECK(changes[0].revision == 7);
  CHECK(changes[0].publish);
  CHECK(changes[0].config.watcher_interval == 5s);
  CHECK(changes[0].json == to_json(changes[0].config));
  auto paces = watcher->take<msg::pace_is>();
  REQUIRE(paces.size() == 1);
  CHECK(paces[0].wait == 60s);
  CHECK(paces[0].interval == 5s);
}

TEST_CASE_METHOD(synced_by,
                 "syncer: unchanged global settings still move the revision",
                 "[syncer]") {
  read_global({{"watcher_interval", "5"}}, 7);
  take_kinds();
  watcher->take<msg::pace_is>();
  read_global({{"watcher_interval", "5"}}, 9);
  auto changes = take<global_changed>();
  REQUIRE(changes.size() == 1);
  CHECK(changes[0].revision == 9);
  CHECK(changes[0].config.watcher_interval == 5s);
  CHECK(watcher->take<msg::pace_is>().empty());
}

TEST_CASE_METHOD(synced_by,
                 "syncer: a complaint about a global setting is logged once "
                 "per content",
                 "[syncer]") {
  read_global({}, 7);
  CHECK(take_log().empty());
  // The bad key takes its default, so that the settings stay the same.
  read_global({{"watcher_interval", "x"}}, 8);
  CHECK(take_log() == lines{"4 zedcup/config/watcher_interval: "
                            "expected 1..86400, got \"x\""});
  read_global({{"watcher_interval", "x"}}, 9);
  CHECK(take_log().empty());
  read_global({{"watcher_interval", "y"}}, 10);
  CHECK(take_log().size() == 1);
}

// ---- follower, and changes of role -----------------------------------------

TEST_CASE_METHOD(synced_by, "syncer: a follower decodes what the zone holds",
                 "[syncer]") {
  read(host("a", "80"), 7);
  const auto json = take<instance_changed>().at(0).content->json();
  take_kinds();
  become(role::follower);
  tell_syncer(msg::zone_instance{"a", 8, json});
  tell_syncer(msg::zone_global{9, R"({"consul_wait_time": 30})"});
  tell_syncer(msg::zone_synced{10, 0});
  auto changes = take<instance_changed>();
  REQUIRE(changes.size() == 1);
  CHECK(changes[0].name == "a");
  CHECK(changes[0].revision == 8);
  CHECK_FALSE(changes[0].publish);
  CHECK(port_of(changes[0]) == 80);
  CHECK(changes[0].content->json() == json);
  auto settings = take<global_changed>();
  REQUIRE(settings.size() == 1);
  CHECK(settings[0].revision == 9);
  CHECK_FALSE(settings[0].publish);
  CHECK(settings[0].config.consul_wait_time == 30s);
  auto marks = take<synced>();
  REQUIRE(marks.size() == 1);
  CHECK_FALSE(marks[0].publish);
  CHECK_FALSE(marks[0].names);
  // The watcher is told, for the day when it leads.
  CHECK(watcher->take<msg::pace_is>().size() == 1);
}

TEST_CASE_METHOD(synced_by, "syncer: unreadable content of the zone is logged",
                 "[syncer]") {
  become(role::follower);
  tell_syncer(msg::zone_instance{"a", 8, "{"});
  tell_syncer(msg::zone_global{9, "{"});
  tell_syncer(msg::zone_synced{10, 0});
  const auto log = take_log();
  REQUIRE(log.size() == 2);
  CHECK(log[0].rfind("4 zone: instance a: ", 0) == 0);
  CHECK(log[1].rfind("4 zone: the global settings: ", 0) == 0);
  CHECK(take_kinds() == lines{"wanted", "synced 10"});
}

TEST_CASE_METHOD(synced_by, "syncer: a follower is deaf to a watcher",
                 "[syncer]") {
  become(role::follower);
  read(host("a", "80"), 7);
  read_global({}, 7);
  tell_syncer(msg::trouble{"down"});
  // but asks for the zone's content, which it may have lost in a restart
  CHECK(take_kinds() == lines{"wanted"});
}

TEST_CASE_METHOD(synced_by, "syncer: a change of role starts over",
                 "[syncer]") {
  read(host("a", "80"), 7);
  read_global({}, 7);
  take_kinds();
  watcher->take<msg::pace_is>();
  become(role::leader); // as after a restart
  read(host("a", "80"), 7);
  read_global({}, 7);
  CHECK(take_kinds() == lines{"instance a", "synced 7", "global"});
  CHECK(watcher->take<msg::pace_is>().size() == 1);
}
