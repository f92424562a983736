// What is kept of a store's content in a file, and when it is given out.
#include "actors/keeper.hpp"

#include <fcntl.h>
#include <sys/stat.h>

#include "actor_fixture.hpp"
#include "config/decode.hpp"
#include "saved_content.hpp"
#include "snapshot.hpp"
#include "support/temp_dir.hpp"

using namespace zedcup;
using namespace zedcup::test;

namespace {

using lines = std::vector<std::string>;

class keeper_case : public actor_fixture {
public:
  keeper_case() {
    ctx->options.state_dir = folder.path();
    path = saved_path(folder.path(), ctx->options.store_name());
  }

  void start() {
    put(place::keeper, spawn_keeper(actors, ctx, false));
    tell_keeper(msg::role_is{role::leader});
  }
  /// Another process, later.
  void start_again() {
    caf::anon_send_exit(lookup(actors, place::keeper),
                        caf::exit_reason::user_shutdown);
    settle();
    start();
  }
  template <class Message>
  void tell_keeper(Message message) {
    send(lookup(actors, place::keeper), std::move(message));
  }

  void show(const std::string& name, int port) {
    const auto root = tree_from_json(R"({"pools": [{"hosts": [{"host": "a",
        "port": )" + std::to_string(port) +
                                     "}]}]}");
    REQUIRE(root);
    auto outcome = decode_instance(name, *root);
    REQUIRE(outcome.value);
    tell_keeper(msg::instance_is{snapshot::make(std::move(*outcome.value), 7)});
  }
  void show_names(lines names) {
    tell_keeper(msg::instances_are{std::move(names)});
  }

  /// "web 80": instances and ports, of all that was given out.
  lines found() {
    lines all;
    for (auto& one : take<content_found>()) {
      all.emplace_back(one.whole ? "whole" : "unusable");
      if (one.global_json)
        all.emplace_back("global");
      for (auto& content : one.instances)
        all.push_back(content->config().name + " " +
                      std::to_string(content->config().pools[0].hosts[0].port));
    }
    return all;
  }
  /// The names in the file.
  lines kept() {
    const auto file = read_file(path);
    if (!file)
      return {file.error().code == errc::not_found ? "no file" : "?"};
    lines complaints;
    auto content = from_text(file->text, ctx->options.store_name(), complaints);
    REQUIRE(content);
    lines names;
    for (auto& entry : content->entries)
      names.push_back(entry.name);
    return names;
  }

  temp_dir folder;
  std::string path;
};

} // namespace

TEST_CASE_METHOD(keeper_case,
                 "keeper: what was read is kept, and given out "
                 "at the next start",
                 "[keeper]") {
  start();
  show("web", 80);
  CHECK(kept() == lines{"no file"}); // all of it, or nothing
  tell_keeper(msg::global_is{});
  show_names({"web"});
  CHECK(kept() == lines{"", "web"});
  CHECK(found().empty());

  start_again();
  CHECK(found() == lines{"whole", "global", "web 80"});
  tell_keeper(msg::trouble{"no route"});
  pass(5s);
  CHECK(found().empty());
}

TEST_CASE_METHOD(keeper_case,
                 "keeper: an instance that became unusable while nobody looked",
                 "[keeper]") {
  start();
  show("web", 80);
  show("api", 90);
  show_names({"api", "web"});
  start_again();
  CHECK(found() == lines{"whole", "api 90", "web 80"});
  show("api", 91);
  show_names({"api", "web"}); // and no content of web
  CHECK(found() == lines{"unusable", "web 80"});
  pass(2s);
  CHECK(kept() == lines{"api", "web"});
}

TEST_CASE_METHOD(keeper_case, "keeper: what the store has no more goes",
                 "[keeper]") {
  start();
  show("web", 80);
  show("api", 90);
  show_names({"api", "web"});
  pass(2s);
  show_names({"api"});
  CHECK(kept() == lines{"api"});
  start_again();
  CHECK(found() == lines{"whole", "api 90"});
}

TEST_CASE_METHOD(keeper_case, "keeper: changes are written once a second",
                 "[keeper]") {
  start();
  show("a", 80);
  show_names({"a"});
  CHECK(kept() == lines{"a"});
  show("b", 80);
  show_names({"a", "b"});
  show("c", 80);
  show_names({"a", "b", "c"});
  CHECK(kept() == lines{"a"});
  pass(1010ms);
  CHECK(kept() == lines{"a", "b", "c"});
}

TEST_CASE_METHOD(keeper_case, "keeper: a change is not lost by a quick end",
                 "[keeper]") {
  start();
  show("a", 80);
  show_names({"a"});
  show("b", 80);
  show_names({"a", "b"});
  CHECK(kept() == lines{"a"});
  SECTION("of the process") {
    start_again();
  }
  SECTION("of the leadership") {
    tell_keeper(msg::role_is{role::follower});
  }
  CHECK(kept() == lines{"a", "b"});
}

TEST_CASE_METHOD(keeper_case,
                 "keeper: a file that cannot be written is a warning, once, "
                 "and tried again",
                 "[keeper]") {
  std::filesystem::remove(folder.path());
  start();
  show("a", 80);
  show_names({"a"});
  pass(2s);
  show("a", 81);
  show_names({"a"});
  pass(2s);
  const auto said = take_log();
  REQUIRE(said.size() == 1);
  CHECK(said[0].rfind("5 zedcup_state_dir: " + path, 0) == 0);
  CHECK(said[0].find("No such file or directory; the content is not kept") !=
        std::string::npos);
  std::filesystem::create_directory(folder.path());
  pass(60s);
  CHECK(kept() == lines{"a"});
  CHECK(take_log() ==
        lines{"6 zedcup_state_dir: " + path + " is written again"});
}

TEST_CASE_METHOD(keeper_case,
                 "keeper: damage in the file is named, and the "
                 "rest is given out",
                 "[keeper]") {
  saved_content content;
  content.entries = {
      {"good", 1, R"({"pools":{"1":{"hosts":{"1":{"host":"a","port":80}}}}})"},
      {"odd", 1, "7"}};
  auto text = to_text(content, ctx->options.store_name()) + "garbage\n";
  REQUIRE_FALSE(write_file(path, text));
  start();
  CHECK(found() == lines{"whole", "good 80"});
  const auto said = take_log();
  REQUIRE(said.size() == 2);
  CHECK(said[0] == "5 zedcup_state_dir: " + path + ": line 4 is damaged");
  CHECK(said[1].rfind("4 zedcup_state_dir: " + path + ": instance odd: ", 0) ==
        0);
}

TEST_CASE_METHOD(keeper_case, "keeper: a file of anything else is left alone",
                 "[keeper]") {
  REQUIRE_FALSE(write_file(path, "anything"));
  start();
  CHECK(found().empty());
  CHECK(take_log() ==
        lines{"5 zedcup_state_dir: " + path + ": not a file of saved content"});
}

TEST_CASE_METHOD(keeper_case, "keeper: the file says when it was still so",
                 "[keeper]") {
  start();
  show("a", 80);
  show_names({"a"});
  const auto set_old = [&] {
    const timespec long_ago[2] = {{1000, 0}, {1000, 0}};
    REQUIRE(utimensat(AT_FDCWD, path.c_str(), long_ago, 0) == 0);
  };
  set_old();
  pass(61s);
  CHECK(read_file(path)->changed > 1'700'000'000);
  set_old();
  tell_keeper(msg::trouble{"gone"});
  pass(61s);
  CHECK(read_file(path)->changed == 1000);
}

TEST_CASE_METHOD(keeper_case, "keeper: a follower keeps nothing", "[keeper]") {
  start();
  tell_keeper(msg::role_is{role::follower});
  show("a", 80);
  show_names({"a"});
  pass(2s);
  CHECK(kept() == lines{"no file"});
}
