// What is kept of a feed's peers in a file.
#include "actors/peer_keeper.hpp"

#include "actor_fixture.hpp"
#include "saved_content.hpp"
#include "support/temp_dir.hpp"

using namespace zedcup;
using namespace zedcup::test;

namespace {

using lines = std::vector<std::string>;

class peer_keeper_case : public actor_fixture {
public:
  peer_keeper_case() {
    ctx->options.state_dir = folder.path();
    store = ctx->options.store_name();
    path = saved_peers_path(folder.path(), store);
    start();
  }

  void start() {
    put(place::keeper, spawn_peer_keeper(actors, ctx, false));
    tell(msg::role_is{role::leader});
  }
  void end() {
    caf::anon_send_exit(lookup(actors, place::keeper),
                        caf::exit_reason::user_shutdown);
    settle();
  }
  template <class Message>
  void tell(Message message) {
    send(lookup(actors, place::keeper), std::move(message));
  }
  void show(const std::string& name, const std::string& json) {
    auto content = std::make_shared<service>();
    content->name = name;
    tell(msg::peers_are{content, 7, json});
  }
  void show_names(lines names) { tell(msg::services_are{std::move(names)}); }

  /// "web []": the services in the file.
  lines kept() {
    const auto file = read_file(path);
    if (!file)
      return {file.error().code == errc::not_found ? "no file" : "?"};
    lines complaints;
    auto content = from_text(file->text, store, complaints);
    REQUIRE(content);
    CHECK(complaints.empty());
    lines all;
    for (auto& entry : content->entries)
      all.push_back(entry.name + " " + entry.json);
    return all;
  }

  temp_dir folder;
  std::string store;
  std::string path;
};

} // namespace

TEST_CASE_METHOD(peer_keeper_case, "peer_keeper: what was read is kept",
                 "[keeper]") {
  show("web", "[1]");
  show("api", "[2]");
  CHECK(kept() == lines{"no file"}); // all of it, or nothing
  show_names({"api", "web"});
  CHECK(kept() == lines{"api [2]", "web [1]"});

  pass(2s);
  show("web", "[3]");
  show_names({"web"});
  CHECK(kept() == lines{"web [3]"});
}

TEST_CASE_METHOD(peer_keeper_case,
                 "peer_keeper: another start knows what is in the file",
                 "[keeper]") {
  show("web", "[1]");
  show("old", "[2]");
  show_names({"old", "web"});
  end();
  start();
  show_names({"web"}); // nothing of web changed since the start
  CHECK(kept() == lines{"web [1]"});
}

TEST_CASE_METHOD(peer_keeper_case,
                 "peer_keeper: a change is not lost by a quick end",
                 "[keeper]") {
  show("web", "[1]");
  show_names({"web"});
  show("web", "[2]");
  show_names({"web"});
  CHECK(kept() == lines{"web [1]"});
  end();
  CHECK(kept() == lines{"web [2]"});
}

TEST_CASE_METHOD(peer_keeper_case,
                 "peer_keeper: the file is not that of the instances",
                 "[keeper]") {
  CHECK(path != saved_path(folder.path(), store));
}
