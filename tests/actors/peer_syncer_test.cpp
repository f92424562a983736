#include "actors/peer_syncer.hpp"

#include "actor_fixture.hpp"
#include "peers/service.hpp"

using namespace zedcup;
using namespace zedcup::test;

namespace {

using lines = std::vector<std::string>;
using keys = std::vector<std::pair<std::string, std::string>>;

class syncing : public actor_fixture {
public:
  syncing() {
    ctx->options.path = "/s/";
    put(place::prober, prober->actor);
  }

  void start(std::vector<known_service> before = {}, bool current = true) {
    put(place::syncer,
        spawn_peer_syncer(
            actors, ctx,
            std::make_shared<const std::vector<known_service>>(before),
            current));
    send(lookup(actors, place::syncer), msg::role_is{role::leader});
  }

  /// Keys below the path, with their values.
  void read(const keys& all) {
    kv_tree tree;
    tree.revision = ++revision;
    for (const auto& [key, value] : all) {
      kv_entry entry;
      entry.key = "/s/" + key;
      entry.value = value;
      entry.modify_index = revision; // written anew, perhaps as it was
      tree.entries.push_back(entry);
    }
    std::sort(tree.entries.begin(), tree.entries.end(),
              [](auto& a, auto& b) { return a.key < b.key; });
    send(lookup(actors, place::syncer),
         msg::instances_read{std::make_shared<const kv_tree>(tree)});
  }

  /// "web: a:80 b:80/3@" (weight, @: begins slowly), then "= web api".
  lines told() {
    lines all;
    for (const auto& message : take<feed_message>())
      if (const auto* changed = std::get_if<peers_changed>(&message))
        all.push_back(words(*changed));
      else if (const auto* synced = std::get_if<peers_synced>(&message)) {
        all.push_back("=");
        synced_at = synced->revision;
        for (const auto& name : synced->services)
          all.back() += " " + name;
      }
    return all;
  }

  /// What the prober heard: services, and "= web api".
  lines probed() {
    lines all;
    for (const auto& one : prober->take<msg::peers_are>())
      all.push_back(one.content->name + " " +
                    std::to_string(one.content->peers.size()));
    for (const auto& one : prober->take<msg::services_are>()) {
      all.push_back("=");
      for (const auto& name : one.names)
        all.back() += " " + name;
    }
    return all;
  }

  static std::string words(const peers_changed& changed) {
    std::string text = changed.service + ":";
    for (const auto& one :
         service_from_json(changed.service, changed.json).peers)
      text += " " + one.name() +
              (one.weight == 1 ? "" : "/" + std::to_string(one.weight)) +
              (one.start_at == 0 ? "" : "@");
    return text;
  }

  std::shared_ptr<recorder<msg::peers_are, msg::services_are>> prober =
      spawn_recorder<msg::peers_are, msg::services_are>(actors);
  uint64_t revision = 0;
  uint64_t synced_at = 0;
};

known_service known(const std::string& name, std::vector<std::string> hosts) {
  service made{name, {}};
  for (const auto& host : hosts) {
    peer one;
    one.host = host;
    one.port = 80;
    made.peers.push_back(one);
  }
  return {name, peers_json(made), {}};
}

const std::string heavy = R"({"weight": 3})";

} // namespace

TEST_CASE_METHOD(syncing, "peer syncer: keys become services", "[feed]") {
  start();
  read({{"web/a:80", ""},
        {"web/b:80", heavy},
        {"web-1/c:80", ""},
        {"api/[::1]:80", ""}});
  CHECK(told() == lines{"api: [::1]:80", "web-1: c:80", "web: a:80 b:80/3",
                        "= api web web-1"});
  CHECK(take_log().empty());
}

TEST_CASE_METHOD(syncing, "peer syncer: only what changed is told", "[feed]") {
  start();
  read({{"web/a:80", ""}, {"api/b:80", ""}});
  told();
  read({{"web/a:80", ""}, {"api/b:80", ""}});
  CHECK(told() == lines{"= api web"});
  CHECK(synced_at == revision);
  read({{"web/a:80", heavy}, {"api/b:80", ""}});
  CHECK(told() == lines{"web: a:80/3", "= api web"});
  read({{"web/a:80", R"({"weight": "3"})"}, {"api/b:80", ""}});
  CHECK(told() == lines{"= api web"}); // other bytes, the same peer
}

TEST_CASE_METHOD(syncing, "peer syncer: a new peer begins slowly beside others",
                 "[feed]") {
  start();
  read({{"web/a:80", ""}});
  told();
  read({{"web/a:80", ""}, {"web/b:80", ""}, {"api/c:80", ""}});
  CHECK(told() == lines{"api: c:80", "web: a:80 b:80@", "= api web"});
}

TEST_CASE_METHOD(syncing, "peer syncer: a service goes with its last key",
                 "[feed]") {
  start();
  read({{"web/a:80", ""}, {"api/b:80", ""}});
  told();
  read({{"web/a:80", ""}});
  CHECK(told() == lines{"= web"});
  read({});
  CHECK(told() == lines{"="});
  read({{"web/a:80", ""}}); // nobody is new in a service that is
  CHECK(told() == lines{"web: a:80", "= web"});
}

TEST_CASE_METHOD(syncing, "peer syncer: a folder's own key is no peer",
                 "[feed]") {
  start();
  read({{"", ""}, {"web/", ""}, {"web/a:80", ""}});
  CHECK(told() == lines{"web: a:80", "= web"});
  read({{"", ""}, {"web/", ""}}); // the last peer is gone, its folder is not
  CHECK(told() == lines{"web:", "= web"});
  CHECK(take_log().empty());
}

TEST_CASE_METHOD(syncing, "peer syncer: strays are skipped, and named once",
                 "[feed]") {
  start();
  const keys all{{"stray", "x"}, {"web/a:80", ""}};
  const lines complaint{
      "4 /s/stray: expected <service>/<host:port> below /s/; skipped"};
  read(all);
  CHECK(told() == lines{"web: a:80", "= web"});
  CHECK(take_log() == complaint);
  read(all);
  CHECK(take_log().empty());
  read({{"stray", "y"}, {"web/a:80", ""}});
  CHECK(take_log() == complaint);
  read({{"web/a:80", ""}});
  read(all);
  CHECK(take_log() == complaint);
}

TEST_CASE_METHOD(syncing, "peer syncer: a bad key costs that key alone",
                 "[feed]") {
  start();
  const keys all{{"web/a:80", ""},
                 {"web/b:99999", ""},
                 {"web/c:80", R"({"weight": -1})"},
                 {"web/sub/d:80", ""}};
  read(all);
  CHECK(told() == lines{"web: a:80 c:80", "= web"});
  CHECK(take_log() ==
        lines{"4 /s/web/b:99999: expected a port 1..65535 in \"b:99999\"; "
              "skipped",
              "4 /s/web/c:80: weight: expected a number 0..65535, got -1; the "
              "default stays",
              "4 /s/web/sub/d:80: expected an IPv4 address, [IPv6] or a host "
              "name in \"sub/d:80\"; skipped"});
}

TEST_CASE_METHOD(syncing, "peer syncer: a complaint comes once per content",
                 "[feed]") {
  start();
  read({{"web/a:80", "x"}});
  CHECK(take_log().size() == 1);
  read({{"web/a:80", "x"}, {"web/b:80", ""}}); // another key changed
  CHECK(take_log().empty());
  send(lookup(actors, place::syncer), msg::role_is{role::leader});
  read({{"web/a:80", "x"}, {"web/b:80", ""}}); // all is told anew
  CHECK(take_log().empty());
  read({{"web/a:80", "y"}, {"web/b:80", ""}});
  CHECK(take_log().size() == 1);
  read({{"web/b:80", ""}});
  read({{"web/a:80", "y"}, {"web/b:80", ""}});
  CHECK(take_log().size() == 1);
}

TEST_CASE_METHOD(syncing,
                 "peer syncer: of two keys for one peer the first "
                 "counts",
                 "[feed]") {
  start();
  read({{"web/[::1]:80", heavy}});
  told();
  read({{"web/[0::1]:80", ""}, {"web/[::1]:80", heavy}});
  CHECK(told() == lines{"web: [::1]:80", "= web"});
  CHECK(take_log() ==
        lines{"4 /s/web/[::1]:80: the same as another key; skipped"});
}

TEST_CASE_METHOD(syncing, "peer syncer: a bad name stands for no service",
                 "[feed]") {
  start();
  read({{"a|b/c:80", ""}, {"/d:80", ""}, {"ready/e:80", ""}, {"web/a:80", ""}});
  CHECK(told() == lines{"web: a:80", "= web"});
  CHECK(take_log().size() == 3);
  read({{"a|b/c:80", ""}, {"web/a:80", ""}});
  CHECK(take_log().empty());
  read({{"web/a:80", ""}});
  CHECK(told() == lines{"= web", "= web"});
  read({{"a|b/c:80", ""}, {"web/a:80", ""}});
  CHECK(take_log().size() == 1); // it was gone
}

TEST_CASE_METHOD(syncing, "peer syncer: complaints do not fill the log",
                 "[feed]") {
  start();
  keys all;
  for (int i = 0; i < 50; ++i)
    all.emplace_back("web/a" + std::to_string(i), "");
  read(all);
  const auto log = take_log();
  REQUIRE(log.size() == 21);
  CHECK(log.back() == "4 /s/: 30 more complaints");
  CHECK(told() == lines{"web:", "= web"});
}

TEST_CASE_METHOD(syncing, "peer syncer: control characters stay out of the log",
                 "[feed]") {
  start();
  read({{"web/a\n:80", ""}, {"stray\x1b", ""}});
  for (const auto& line : take_log()) {
    INFO(line);
    CHECK(line.find_first_of("\n\x1b") == std::string::npos);
  }
}

TEST_CASE_METHOD(syncing,
                 "peer syncer: what is served already is not told "
                 "again",
                 "[feed]") {
  start({known("web", {"a"}), known("api", {"b"}), known("old", {"c"})});
  read({{"web/a:80", ""}, {"api/b:80", ""}, {"api/d:80", ""}});
  CHECK(told() == lines{"api: b:80 d:80@", "= api web"});
  CHECK(probed() == lines{"api 2", "web 1", "= api web"});
}

TEST_CASE_METHOD(syncing,
                 "peer syncer: JSON of before that is none does no "
                 "harm",
                 "[feed]") {
  start({{"web", "]", {}}, {"api", "", {}}});
  read({{"web/a:80", ""}, {"api/b:80", ""}});
  CHECK(told() == lines{"api: b:80", "web: a:80@", "= api web"});
}

TEST_CASE_METHOD(syncing,
                 "peer syncer: one that failed is replaced by one "
                 "that tells all",
                 "[feed]") {
  start({known("web", {"a"})});
  read({{"web/b:80", ""}});
  CHECK(told() == lines{"web: b:80@", "= web"});
  start({known("web", {"a"})}, false); // b is served: it cannot know
  read({{"web/a:80", ""}});
  CHECK(told() == lines{"web: a:80", "= web"});
  read({{"web/a:80", ""}});
  CHECK(told() == lines{"= web"});
}

TEST_CASE_METHOD(syncing,
                 "peer syncer: a new prober hears all, others "
                 "nothing new",
                 "[feed]") {
  start();
  read({{"web/a:80", ""}});
  read({{"web/a:80", ""}, {"web/b:80", ""}});
  told();
  CHECK(probed() == lines{"web 1", "web 2", "= web", "= web"});
  read({{"web/a:80", ""}, {"web/b:80", ""}});
  CHECK(probed() == lines{"= web"});
  told();
  send(lookup(actors, place::syncer), msg::role_is{role::follower});
  send(lookup(actors, place::syncer), msg::role_is{role::leader});
  read({{"web/a:80", ""}, {"web/b:80", ""}});
  CHECK(probed() == lines{"web 2", "= web"});
  CHECK(told() == lines{"= web"}); // and b goes on rising as it did
}

TEST_CASE_METHOD(syncing, "peer syncer: trouble is passed on", "[feed]") {
  start();
  send(lookup(actors, place::syncer), msg::trouble{"refused"});
  CHECK(take_kinds() == lines{"trouble refused"});
}
