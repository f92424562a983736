// One worker's runtime between a zone, actors and a Lua that are scripted.
#include "nginx/bridge.hpp"

#include "fake_nginx.hpp"
#include "saved_content.hpp"
#include "support/catch.hpp"
#include "support/temp_dir.hpp"

using namespace zedcup;
using namespace zedcup::test;

extern "C" volatile ngx_msec_t ngx_current_msec;

namespace {

using lines = std::vector<std::string>;

std::shared_ptr<const snapshot> content(int port, uint64_t revision) {
  instance_config config;
  config.name = "a";
  pool_config pool;
  pool.index = 1;
  pool.name = "1"; // as decoded
  host_config host;
  host.index = 1;
  host.name = "1";
  host.address = "10.0.0.1";
  host.port = static_cast<uint16_t>(port);
  pool.hosts.push_back(host);
  config.pools.push_back(pool);
  return snapshot::make(std::move(config), revision);
}

bool holds(const std::optional<std::string>& text, const std::string& part) {
  return text && text->find(part) != std::string::npos;
}

class bridged {
public:
  bridged() { nginx() = {}; }

  void start(system_options options = {}) {
    auto made = runtime::start(std::move(options), &conf_, &semaphore_);
    REQUIRE(made);
    worker_ = std::move(*made);
  }

  runtime& worker() { return *worker_; }
  fake_zone& zone() { return nginx().zone; }
  lines told() { return std::exchange(nginx().actors.told, {}); }

  void push(loop_message message) {
    nginx().actors.out->push(std::move(message));
  }
  /// As a leader's actors: an instance, read from the store.
  void push_instance(const std::string& name, int port, uint64_t revision) {
    push(instance_changed{name, revision, content(port, revision), true});
  }
  void push_synced(uint64_t revision, lines names) {
    push(synced{revision, std::move(names), true});
  }
  /// As a follower's actors: what they make of what they were told.
  void push_followed(const std::string& name, int port, uint64_t revision) {
    push(instance_changed{name, revision, content(port, revision), false});
  }
  void drain() {
    while (worker().drain()) {
    }
  }

  /// The port served for an instance; 0: there is none.
  int port_of(const std::string& name) {
    auto* found = worker().instances().find(name);
    return found == nullptr ? 0 : found->config().pools.at(0).hosts.at(0).port;
  }

  /// "1 5 text": kind, id, text (or the name), of all that waits for Lua.
  lines to_lua() {
    lines all;
    zedcup_ffi_message_t batch[4];
    while (int count = worker().messages().take(batch, 4))
      for (int i = 0; i < count; ++i) {
        auto& one = batch[i];
        all.push_back(one.kind == ZEDCUP_MESSAGE_ANSWER
                          ? "answer " + std::to_string(one.id) + " " +
                                std::string(one.text, one.text_len)
                          : std::string(one.kind == ZEDCUP_MESSAGE_PUBLISH
                                            ? "publish "
                                            : "remove ") +
                                std::string(one.name, one.name_len));
      }
    return all;
  }

private:
  ngx_http_zedcup_main_conf_t conf_{};
  int semaphore_ = 0;
  std::unique_ptr<runtime> worker_;
};

} // namespace

// ---- start -----------------------------------------------------------------

TEST_CASE_METHOD(bridged, "bridge: a start serves what the zone holds",
                 "[bridge]") {
  zone().put("a", 5, content(80, 5)->json());
  zone().put("broken", 5, "{");
  zone().set_synced(6);
  start();
  CHECK(port_of("a") == 80);
  zedcup_ffi_state_t state{};
  worker().state(state);
  CHECK(state.synced == 1);
  CHECK(state.revision == 6);
  CHECK(told().empty());
  worker().look();
  CHECK(told().empty());
}

TEST_CASE_METHOD(bridged,
                 "bridge: what the actors say while they start is "
                 "heard",
                 "[bridge]") {
  nginx().actors.at_start = log_line{4, "early"};
  start();
  // The worker's eventfd came later; without a wake-up now there is none ever.
  CHECK(nginx().wakes == 1);
  drain();
  CHECK(nginx().log == lines{"4 early"});
  push(log_line{4, "late"});
  CHECK(nginx().wakes == 2);
}

// ---- leader ----------------------------------------------------------------

TEST_CASE_METHOD(bridged, "bridge: a leader publishes what its actors read",
                 "[bridge]") {
  start();
  worker().lead(true);
  CHECK(told() == lines{"role leader"});
  push_instance("a", 80, 5);
  push_synced(5, {"a"});
  drain();
  CHECK(port_of("a") == 80);
  CHECK(zone().entries.at("a").json == content(80, 5)->json());
  CHECK(zone().synced == 5);
  CHECK(to_lua() == lines{"publish a"});
  CHECK(nginx().rings >= 1);
  push_instance("a", 80, 6); // read anew, the same
  push_synced(6, {});
  zone().puts.clear();
  drain();
  CHECK(zone().puts.empty());
  CHECK(zone().entries.empty());
  CHECK(port_of("a") == 0);
  CHECK(to_lua() == lines{"publish a", "remove a"});
}

TEST_CASE_METHOD(bridged,
                 "bridge: a leader without a store serves what was saved, "
                 "until the store is read",
                 "[bridge]") {
  start();
  worker().lead(true);
  const auto waiting = worker().ask(ZEDCUP_ASK_SYNCED, {}, {});
  content_found found;
  found.saved = 1700000000;
  found.instances.push_back(content(80, 5));
  found.global_json = R"({"watcher_interval":1})";
  push(found);
  drain();
  CHECK(port_of("a") == 80);
  CHECK(worker().global_json() == R"({"watcher_interval":1})");
  CHECK(to_lua() ==
        lines{"publish a", "answer " + std::to_string(waiting) + " "});
  CHECK(nginx().log.back() ==
        "6 until the store is read: 1 instance of zedcup_state_dir, last "
        "confirmed 2023-11-14 22:13:20 UTC");
  CHECK(zone().restored == 1700000000);
  CHECK_FALSE(worker().is_synced());
  zedcup_ffi_state_t state{};
  worker().state(state);
  CHECK(state.synced == 1);

  push_instance("a", 81, 9);
  push_synced(9, {"a"});
  push(found); // too late
  drain();
  CHECK(port_of("a") == 81);
  CHECK(worker().is_synced());
  CHECK(zone().restored == 0);
}

TEST_CASE_METHOD(bridged,
                 "bridge: a start serves what was saved before anything else",
                 "[bridge]") {
  const temp_dir folder;
  saved_content saved;
  saved.entries = {{"", 0, R"({"watcher_interval":1})"},
                   {"a", 5, content(80, 5)->json()},
                   {"broken", 5, "7"}};
  system_options options;
  options.state_dir = folder.path();
  const auto path = saved_path(options.state_dir, options.store_name());
  REQUIRE_FALSE(write_file(path, to_text(saved, options.store_name())));
  zone().error = "no route"; // somebody was here already, and had nothing
  ++zone().seq;
  start(options);
  CHECK(port_of("a") == 80);
  CHECK(worker().has_content());
  CHECK(worker().global_json() == R"({"watcher_interval":1})");

  SECTION("and keeps it while the zone knows nothing, leading or not") {
    ++zone().seq;
    worker().look();
    CHECK(port_of("a") == 80);
    worker().lead(true);
    CHECK(port_of("a") == 80);
    CHECK(worker().has_content());
    content_found found;
    found.saved = 1700000000;
    found.instances.push_back(
        *snapshot::from_json("a", content(80, 5)->json(), 5));
    push(found);
    drain();
    CHECK(zone().entries.count("a") == 1);
    CHECK(to_lua() == lines{"publish a"});
  }
  SECTION("and shares what the store has made unusable") {
    worker().lead(true);
    push_synced(9, {"a"}); // the store was faster than the keeper
    content_found found;
    found.whole = false;
    found.instances.push_back(
        *snapshot::from_json("a", content(80, 5)->json(), 5));
    push(found);
    drain();
    CHECK(port_of("a") == 80);
    CHECK(zone().entries.count("a") == 1);
  }
  SECTION("until the zone knows more") {
    zone().put("b", 6, content(81, 6)->json());
    zone().set_synced(6);
    worker().look();
    CHECK(port_of("a") == 0);
  }
  SECTION("unless the zone knew more before") {
    zone().put("a", 6, content(81, 6)->json());
    zone().set_synced(6);
    start(options);
    CHECK(port_of("a") == 81);
  }
}

TEST_CASE_METHOD(bridged, "bridge: saved content that the store lacks goes",
                 "[bridge]") {
  start();
  worker().lead(true);
  content_found found;
  found.saved = 1700000000;
  found.instances.push_back(content(80, 5));
  push(found);
  push_synced(9, {});
  drain();
  CHECK(port_of("a") == 0);
}

TEST_CASE_METHOD(bridged,
                 "bridge: saved content of an instance is served where the "
                 "store has nothing usable",
                 "[bridge]") {
  start();
  worker().lead(true);
  content_found found;
  found.whole = false;
  found.saved = 1700000000;
  found.instances.push_back(content(80, 5));
  SECTION("before all was heard of the store") {
    push(found);
    push_synced(9, {"a"});
    drain();
    CHECK(port_of("a") == 80);
  }
  SECTION("after") {
    push_synced(9, {"a"});
    push(found);
    drain();
    CHECK(port_of("a") == 80);
  }
  SECTION("unless it is gone") {
    push_synced(9, {});
    push(found);
    drain();
    CHECK(port_of("a") == 0);
  }
  SECTION("unless there is any") {
    push_instance("a", 81, 9);
    push_synced(9, {"a"});
    push(found);
    drain();
    CHECK(port_of("a") == 81);
  }
}

TEST_CASE_METHOD(bridged,
                 "bridge: what is wrong in the store is in every worker's "
                 "status, as long as it is",
                 "[bridge]") {
  start();
  worker().lead(true);
  push(complaints_changed{"web", {"port: expected 1..65535"}});
  push(complaints_changed{"gone", {"x"}});
  push_synced(9, {"web"});
  drain();
  const auto problems = R"("problems":{"web":["port: expected 1..65535"]})";
  CHECK(holds(worker().status(""), problems));
  // Another worker, from the zone.
  start();
  CHECK(holds(worker().status(""), problems));
  worker().lead(true);
  push(complaints_changed{"", {"watcher_interval: bad"}});
  push(complaints_changed{"web", {}});
  push_synced(10, {"web"});
  drain();
  CHECK(holds(worker().status(""),
              R"("problems":{"":["watcher_interval: bad"]})"));
  push(complaints_changed{"", {}});
  drain();
  CHECK_FALSE(holds(worker().status(""), "problems"));
  start();
  CHECK_FALSE(holds(worker().status(""), "problems"));
}

TEST_CASE_METHOD(bridged, "bridge: the status of one instance, and of none",
                 "[bridge]") {
  start();
  worker().lead(true);
  CHECK(*worker().status("") ==
        R"({"version":"0.1.0","pid":0,"worker":0,"leads":true,)"
        R"("store":"consul 127.0.0.1:8500/zedcup","content":"none",)"
        R"("revision":0,"zone_size":1024,"instances":[]})"
        "\n");
  push_instance("a", 80, 9);
  push_synced(9, {"a"});
  push(store_trouble{"no route"});
  drain();
  const auto of_a = worker().status("a");
  CHECK(holds(of_a, R"("content":"store","revision":9,"trouble":"no route",)"));
  CHECK(holds(of_a,
              R"("instances":[{"name":"a","revision":9,"pools":[{"index":1,)"
              R"("name":"1","method":"weighted_rr","hosts":[{"index":1,)"
              R"("name":"1","host":"10.0.0.1","port":80,"weight":1,)"
              R"("up":true,"errors":0}]}]}])"));
  CHECK_FALSE(worker().status("b"));
}

TEST_CASE_METHOD(bridged, "bridge: a follower has saved content as content",
                 "[bridge]") {
  start();
  const auto waiting = worker().ask(ZEDCUP_ASK_SYNCED, {}, {});
  zone().put("a", 5, content(80, 5)->json());
  zone().restored = 1700000000;
  worker().look();
  CHECK(told() == lines{"instance a 5", "restored 0"});
  CHECK(to_lua().empty());
  push_followed("a", 80, 5);
  push(synced{0, std::nullopt, false, 1700000000});
  drain();
  CHECK(port_of("a") == 80);
  CHECK(to_lua() == lines{"answer " + std::to_string(waiting) + " "});
  CHECK_FALSE(worker().is_synced());
}

TEST_CASE_METHOD(bridged, "bridge: a message that fails takes no other along",
                 "[bridge]") {
  start();
  worker().lead(true);
  zone().breaks = true;
  push_instance("a", 80, 5);
  push(write_done{7, "refused", "a", false, 0});
  for (int i = 0; i < 300; ++i) // more than one budget
    push(log_line{8, "line"});
  bool more = false;
  CHECK_NOTHROW(more = worker().drain());
  CHECK(more); // or the rest would wait for ever
  drain();
  CHECK(to_lua() == lines{"answer 7 refused"});
  CHECK(nginx().log.size() >= 302); // and the exception, and the leadership
}

TEST_CASE_METHOD(bridged, "bridge: messages of an old leadership are dropped",
                 "[bridge]") {
  start();
  worker().lead(true);
  push_instance("a", 80, 5);
  push_synced(5, {"a"});
  push(store_trouble{"down"});
  worker().lead(false);
  drain();
  CHECK(zone().entries.empty());
  CHECK_FALSE(zone().synced);
  CHECK(zone().error == "");
  CHECK(port_of("a") == 0);
}

// ---- follower, and taking over ---------------------------------------------

TEST_CASE_METHOD(bridged, "bridge: a follower asks its actors to decode",
                 "[bridge]") {
  start();
  zone().put("", 4, "{}");
  zone().put("a", 5, content(80, 5)->json());
  zone().set_synced(5);
  worker().look();
  CHECK(told() == lines{"global 4", "instance a 5", "synced 5"});
  push_followed("a", 80, 5);
  push(synced{5, std::nullopt, false});
  drain();
  CHECK(port_of("a") == 80);
  worker().look();
  CHECK(told().empty());
  zone().remove("a");
  worker().look();
  CHECK(port_of("a") == 0);
  push_followed("a", 80, 5); // overtaken
  drain();
  CHECK(port_of("a") == 0);
}

TEST_CASE_METHOD(bridged,
                 "bridge: a new leader starts from what the zone "
                 "holds: changed",
                 "[bridge]") {
  zone().put("a", 5, content(80, 5)->json());
  start();
  // The leader before published this and died; our actors have it under way.
  zone().put("a", 6, content(81, 6)->json());
  worker().look();
  worker().lead(true);
  push_followed("a", 81, 6); // came too late
  drain();
  CHECK(port_of("a") == 81);
  // The store went back: the others must hear of it.
  push_instance("a", 80, 7);
  drain();
  CHECK(zone().entries.at("a").json == content(80, 7)->json());
}

TEST_CASE_METHOD(bridged,
                 "bridge: a new leader starts from what the zone "
                 "holds: new",
                 "[bridge]") {
  start();
  zone().put("b", 6, content(81, 6)->json());
  worker().look();
  worker().lead(true);
  push_followed("b", 81, 6);
  // It is not in the store any more.
  push_synced(7, {});
  drain();
  CHECK(zone().entries.count("b") == 0);
  CHECK(to_lua() == lines{"remove b"});
}

TEST_CASE_METHOD(bridged,
                 "bridge: a new leader starts from what the zone "
                 "holds: gone",
                 "[bridge]") {
  zone().put("a", 5, content(80, 5)->json());
  start();
  zone().remove("a");
  worker().lead(true);
  push_instance("a", 80, 7); // back in the store
  push_synced(7, {"a"});
  drain();
  CHECK(zone().entries.count("a") == 1);
  CHECK(port_of("a") == 80);
}

TEST_CASE_METHOD(bridged,
                 "bridge: a new leader clears the trouble of the one "
                 "before",
                 "[bridge]") {
  start();
  zone().error = "consul is down";
  ++zone().seq;
  worker().look();
  worker().lead(true);
  push(store_trouble{});
  drain();
  CHECK(zone().error == "");
}

// ---- kicks and asks --------------------------------------------------------

TEST_CASE_METHOD(bridged, "bridge: a write here kicks whoever leads",
                 "[bridge]") {
  start();
  push(write_done{7, "", "a", false, 9});
  drain();
  CHECK(zone().kicks == 1);
  CHECK(told().empty());
  worker().lead(true);
  told();
  worker().look(); // its own kick of before
  told();
  push(write_done{8, "", "a", false, 9});
  drain();
  CHECK(told() == lines{"kick"});
  ++zone().kicks; // another worker wrote
  ++zone().seq;
  worker().look();
  CHECK(told() == lines{"kick"});
}

TEST_CASE_METHOD(bridged, "bridge: a write is answered when it is applied here",
                 "[bridge]") {
  start();
  worker().lead(true);
  const auto id = worker().ask(ZEDCUP_ASK_CONFIGURE_INSTANCE, "a", "{}");
  REQUIRE(nginx().actors.writes.size() == 1);
  CHECK(nginx().actors.writes[0].ask_id == id);
  push(write_done{id, "", "a", false, 9});
  push_synced(8, {});
  drain();
  CHECK(to_lua().empty());
  push_instance("a", 80, 9);
  push_synced(9, {"a"});
  drain();
  CHECK(to_lua() == lines{"publish a", "answer " + std::to_string(id) + " "});
}

TEST_CASE_METHOD(bridged,
                 "bridge: content that finds no room is told to who "
                 "wrote it",
                 "[bridge]") {
  start();
  worker().lead(true);
  zone().full = true;
  push(write_done{7, "", "a", false, 9});
  push_instance("a", 80, 9);
  push_synced(9, {"a"});
  drain();
  const auto messages = to_lua();
  REQUIRE(messages.size() == 1);
  CHECK(messages[0].rfind("answer 7 written to the store, but not served", 0) ==
        0);
  CHECK(port_of("a") == 0);
}

// ---- hosts that fail -------------------------------------------------------

TEST_CASE_METHOD(bridged, "bridge: a turn's failures go out added up",
                 "[bridge]") {
  start();
  worker().lead(true);
  push_instance("a", 80, 5);
  push_synced(5, {"a"});
  drain();
  auto* handle = worker().instances().acquire("a");
  const auto wakes = nginx().wakes;
  CHECK_FALSE(worker().failed(*handle, 0, 0, "refused"));
  CHECK_FALSE(worker().failed(*handle, 0, 0, "refused"));
  CHECK(worker().failed(*handle, 0, 0, "timeout"));
  CHECK_FALSE(worker().failed(*handle, 7, 0, "no such pool"));
  CHECK(nginx().actors.errors.empty());
  CHECK(nginx().wakes == wakes + 1);
  drain();
  REQUIRE(nginx().actors.errors.size() == 1);
  CHECK(nginx().actors.errors[0].count == 3);
  CHECK(nginx().actors.errors[0].err == "timeout");
  registry::release(handle);
}

TEST_CASE_METHOD(bridged, "bridge: a quitting worker waits for its reports",
                 "[bridge]") {
  start();
  worker().lead(true);
  push_instance("a", 80, 5);
  drain();
  zedcup_ffi_state_t state{};
  auto* handle = worker().instances().acquire("a");
  worker().failed(*handle, 0, 0, "refused");
  registry::release(handle);
  worker().state(state);
  CHECK(state.settling == 1);
  worker().exiting();
  worker().state(state);
  CHECK(state.settling == 1);
  push(outcomes_settled{2}); // of the report, then of the leave
  drain();
  worker().state(state);
  CHECK(state.settling == 0);
}

TEST_CASE_METHOD(bridged,
                 "bridge: a worker that has long been quitting waits for new "
                 "reports too",
                 "[bridge]") {
  start();
  worker().lead(true);
  push_instance("a", 80, 5);
  drain();
  auto* handle = worker().instances().acquire("a");
  worker().exiting();
  push(outcomes_settled{1});
  drain();
  zedcup_ffi_state_t state{};
  worker().state(state);
  CHECK(state.settling == 0);
  ngx_current_msec = ngx_current_msec + 60000; // a long download
  worker().failed(*handle, 0, 0, "refused");
  registry::release(handle);
  worker().state(state);
  CHECK(state.settling == 1);
  drain();
  worker().state(state);
  CHECK(state.settling == 1);
}

TEST_CASE_METHOD(bridged,
                 "bridge: a quitting worker leaves the end of marks to others",
                 "[bridge]") {
  start();
  worker().lead(true);
  push_instance("a", 80, 5);
  drain();
  auto* handle = worker().instances().acquire("a");
  for (int i = 0; i < 3; ++i)
    worker().failed(*handle, 0, 0, "refused");
  registry::release(handle);
  drain();
  REQUIRE(nginx().actors.errors.size() == 1);
  push(errors_kept{nginx().actors.errors[0]});
  drain();
  worker().exiting();
  to_lua();
  ngx_current_msec = ngx_current_msec + 60500;
  worker().look();
  CHECK(to_lua().empty()); // nobody here may be left to tell it
  ngx_current_msec = ngx_current_msec + 2000;
  worker().look(); // but there is no other
  CHECK_FALSE(to_lua().empty());
}

TEST_CASE_METHOD(bridged, "bridge: what another leader told is not told again",
                 "[bridge]") {
  auto down = content(80, 6)->config();
  down.pools[0].hosts[0].up = false;
  down.pools[0].hosts[0].down_by_zedcup = true;
  zone().put("a", 5, content(80, 5)->json());
  start();
  // published by a leader that left before this worker heard of it
  zone().put("a", 6, snapshot::make(down, 6)->json());
  worker().lead(true);
  zedcup_ffi_message_t message;
  REQUIRE(worker().messages().take(&message, 1) == 1);
  CHECK(message.kind == ZEDCUP_MESSAGE_EVENT);
  CHECK(message.id == scope_worker);
  CHECK(worker().messages().take(&message, 1) == 0);
}
