// The feeds of a worker: when their actors run, and what Lua hears.
#include "nginx/feeds.hpp"

#include "nginx/fake_nginx.hpp"
#include "saved_content.hpp"
#include "support/catch.hpp"
#include "support/temp_dir.hpp"

using namespace zedcup;

namespace {

/// What the feeds' actors were started with; they say what a test pushes.
struct fake_actors {
  int starts = 0;
  int stops = 0;
  std::vector<known_service> known;
  std::optional<peer_checks> checks;
  outbox<loop_message>* out = nullptr;
};

fake_actors& actors() {
  static fake_actors all;
  return all;
}

class fake_feed final : public feed {
public:
  bool stop(std::chrono::milliseconds) override {
    ++actors().stops;
    return true;
  }
};

system_options etcd_options_for(const char* json) {
  std::vector<std::string> notices;
  auto parsed = parse_feed_options(json, notices);
  REQUIRE(parsed);
  return *parsed;
}

struct heard {
  int kind;
  uint64_t id;
  std::string name, text;
};

std::vector<heard> take(worker_feed& from) {
  std::vector<heard> all;
  zedcup_ffi_message_t raw[16];
  for (int count = from.messages().take(raw, 16); count > 0;
       count = from.messages().take(raw, 16))
    for (int i = 0; i < count; ++i)
      all.push_back({raw[i].kind, raw[i].id,
                     std::string(raw[i].name, raw[i].name_len),
                     std::string(raw[i].text, raw[i].text_len)});
  return all;
}

class one_feed {
public:
  one_feed() : semaphore_(0) { actors() = fake_actors{}; }

  int semaphore_;
  worker_feed mine{etcd_options_for(R"({"etcd_path": "/s/"})"), &semaphore_};
};

} // namespace

namespace zedcup {

result<std::unique_ptr<feed>> feed::start(system_options,
                                          std::vector<known_service> known,
                                          std::optional<peer_checks> checks,
                                          outbox<loop_message>& out) {
  auto& all = actors();
  ++all.starts;
  all.known = std::move(known);
  all.checks = std::move(checks);
  all.out = &out;
  return std::unique_ptr<feed>(new fake_feed);
}

} // namespace zedcup

TEST_CASE_METHOD(one_feed, "feeds: actors run in the leading worker alone",
                 "[feeds]") {
  CHECK(mine.run("[]"));
  CHECK(actors().starts == 0);

  mine.lead(true);
  auto said = take(mine);
  REQUIRE(said.size() == 1);
  CHECK(said[0].kind == ZEDCUP_FEED_LEAD);
  CHECK(actors().starts == 0);
  CHECK(mine.run("[]"));
  CHECK(actors().starts == 1);

  mine.lead(false);
  CHECK(actors().stops == 1);
  actors().out->push(feed_message{peers_changed{"a", 1, "[]"}});
  CHECK_FALSE(mine.drain());
  CHECK(take(mine).empty());
}

TEST_CASE_METHOD(one_feed, "feeds: the actors get what Lua knows already",
                 "[feeds]") {
  mine.lead(true);
  CHECK(
      mine.run(R"([{"name": "a", "peers": "[{}]", "down": ["10.0.0.1:80", 5]},)"
               R"( {"name": 7}, 8])"));
  REQUIRE(actors().known.size() == 1);
  CHECK(actors().known[0].name == "a");
  CHECK(actors().known[0].json == "[{}]");
  CHECK(actors().known[0].down == std::set<std::string>{"10.0.0.1:80"});
  CHECK(mine.run("nonsense"));
  CHECK(actors().known.empty());
  CHECK(actors().stops == 1);
}

TEST_CASE_METHOD(one_feed, "feeds: Lua hears what the actors find", "[feeds]") {
  mine.lead(true);
  CHECK(mine.run("[]"));
  take(mine);
  auto& out = *actors().out;
  out.push(feed_message{peers_changed{"a", 7, "[1]"}});
  out.push(feed_message{peers_synced{8, {"a", "b"}}});
  out.push(feed_message{peer_checked{"a", "10.0.0.1:80", true, "503"}});
  out.push(store_trouble{"gone"});
  out.push(log_line{4, "a line"});
  CHECK_FALSE(mine.drain());
  auto said = take(mine);
  REQUIRE(said.size() == 4);
  CHECK(said[0].kind == ZEDCUP_FEED_PEERS);
  CHECK(said[0].name == "a");
  CHECK(said[0].text == "[1]");
  CHECK(said[1].kind == ZEDCUP_FEED_SYNCED);
  CHECK(said[1].text == R"(["a","b"])");
  CHECK(said[2].kind == ZEDCUP_FEED_CHECKED);
  CHECK(said[2].id == 1);
  CHECK(said[2].text == "10.0.0.1:80");
  CHECK(said[3].kind == ZEDCUP_FEED_TROUBLE);
  CHECK(said[3].text == "gone");
}

TEST_CASE_METHOD(one_feed, "feeds: checks begin with the next start",
                 "[feeds]") {
  mine.lead(true);
  CHECK(mine.run("[]"));
  take(mine);
  peer_checks how;
  how.max_fails = 9;
  mine.check(how);
  auto said = take(mine);
  REQUIRE(said.size() == 1);
  CHECK(said[0].kind == ZEDCUP_FEED_LEAD);
  CHECK(mine.run("[]"));
  REQUIRE(actors().checks);
  CHECK(actors().checks->max_fails == 9);
  mine.check(how);
  CHECK(take(mine).empty());
}

TEST_CASE("feeds: what was saved is given out as it stands in the file",
          "[feeds]") {
  test::temp_dir folder;
  auto options = etcd_options_for(R"({"etcd_path": "/s/"})");
  const auto store = options.store_name();
  const auto path = saved_peers_path(folder.path(), store);
  int semaphore = 0;
  CHECK(worker_feed(options, &semaphore).saved().empty());
  options.state_dir = folder.path();
  worker_feed mine(options, &semaphore);
  CHECK(mine.saved().empty()); // no file

  saved_content content;
  content.entries = {{"a", 7, "[]"}, {"b\xff\"", 8, R"([{"host":"x"}])"}};
  REQUIRE_FALSE(write_file(path, to_text(content, store)));
  const auto& text = mine.saved();
  CHECK(text.find("{\"saved\":1") == 0);
  const auto services = text.find(",\"services\":");
  REQUIRE(services != std::string::npos);
  CHECK(text.substr(services) ==
        ",\"services\":[{\"name\":\"a\",\"revision\":7,\"peers\":\"[]\"},"
        "{\"name\":\"b\xff\\\"\",\"revision\":8,"
        "\"peers\":\"[{\\\"host\\\":\\\"x\\\"}]\"}]}");

  REQUIRE_FALSE(write_file(path, to_text(content, "another")));
  CHECK(mine.saved().empty());
}
