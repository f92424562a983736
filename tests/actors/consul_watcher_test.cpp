// The watcher of a Consul; the watch itself has tests of its own.
#include "actors/consul_watcher.hpp"

#include "actor_fixture.hpp"
#include "fake_http.hpp"

using namespace zedcup;
using namespace zedcup::test;

namespace {

using lines = std::vector<std::string>;

const error refused{errc::unavailable, "connection refused"};
const error given_up{errc::cancelled, "cancelled"};

class watching : public actor_fixture {
public:
  watching() { start_with(R"({"port": 8500})"); }

  void start_with(std::string_view json) {
    ctx->options.store = *parse_consul_options(json);
    ctx->http = http;
    put(place::syncer,
        spawn_small(actors, [this](caf::event_based_actor*) -> caf::behavior {
          return {
              [this](const msg::instances_read& read) {
                heard.push_back("instances " +
                                std::to_string(read.tree->revision));
              },
              [this](const msg::global_read& read) {
                heard.push_back("config " +
                                std::to_string(read.tree->revision));
              },
              [this](const msg::trouble& trouble) {
                heard.push_back("trouble " + trouble.text);
              },
          };
        }));
    put(place::watcher, spawn_consul_watcher(actors, ctx));
  }

  void become(role now) { tell_watcher(msg::role_is{now}); }

  template <class Message>
  void tell_watcher(Message message) {
    send(lookup(actors, place::watcher), std::move(message));
  }

  void answer(fake_http::exchange to, result<http_response> with) {
    to.on_done(std::move(with));
    settle();
  }
  void answer(std::string_view part, result<http_response> with) {
    answer(http->take(part), std::move(with));
  }

  lines take() { return std::exchange(heard, {}); }

  lines heard;
  std::shared_ptr<fake_http> http = std::make_shared<fake_http>();
};

http_response one_instance(uint64_t index) {
  return tree_answer({{"zedcup/instances/a/ssl", "true"}}, index);
}

const char* const config = "/config/";
const char* const instances = "/instances/";

} // namespace

TEST_CASE_METHOD(watching, "consul watcher: a follower asks nothing",
                 "[consul_watcher]") {
  tell_watcher(msg::kick{});
  tell_watcher(msg::pace_is{60s, 5s});
  pass(60s);
  CHECK(http->open.empty());
}

TEST_CASE_METHOD(watching, "consul watcher: a leader reads both, then blocks",
                 "[consul_watcher]") {
  become(role::leader);
  CHECK(http->open.size() == 2);
  answer(config, tree_answer({{"zedcup/config/a", "1"}}, 4));
  answer(instances, tree_answer({{"zedcup/instances/a/ssl", "true"}}, 5));
  CHECK(take() == lines{"config 4", "trouble ", "instances 5"});
  CHECK(http->count("index=5") == 1);
  CHECK(http->open.size() == 1);
}

TEST_CASE_METHOD(watching, "consul watcher: the settings are polled",
                 "[consul_watcher]") {
  become(role::leader);
  answer(config, tree_answer({}, 4));
  tell_watcher(msg::pace_is{600s, 3s}); // sooner than before: counts at once
  pass(3s);
  answer(config, tree_answer({}, 4));
  pass(2900ms);
  CHECK(http->count(config) == 0);
  pass(100ms);
  CHECK(http->count(config) == 1);
}

TEST_CASE_METHOD(watching, "consul watcher: a deletion from above is noticed",
                 "[consul_watcher]") {
  const char* const names = "separator=";
  become(role::leader);
  answer(instances, tree_answer({{"zedcup/instances/a/ssl", "true"},
                                 {"zedcup/instances/b/ssl", "true"}},
                                5));
  pass(10s);
  answer(
      names,
      answer_with(200, 5, R"(["zedcup/instances/a/","zedcup/instances/b/"])"));
  CHECK(http->count("index=5") == 1);
  pass(10s);
  answer(names, answer_with(200, 5, R"(["zedcup/instances/b/"])"));
  CHECK(http->count("index=5") == 0);
  CHECK(http->count("/instances/?recurse") == 1);
}

TEST_CASE_METHOD(watching,
                 "consul watcher: a blocking query whose connection died "
                 "without a sign is replaced",
                 "[consul_watcher]") {
  become(role::leader);
  answer(instances, tree_answer({{"zedcup/instances/a/ssl", "true"}}, 5));
  pass(10s);
  answer("separator=", answer_with(200, 6, R"(["zedcup/instances/a/"])"));
  CHECK(http->count("index=5") == 0);
  answer("/instances/?recurse",
         tree_answer({{"zedcup/instances/a/ssl", "false"}}, 6));
  CHECK(take().back() == "instances 6");
}

TEST_CASE_METHOD(watching, "consul watcher: names are not asked in trouble",
                 "[consul_watcher]") {
  become(role::leader);
  pass(10s); // nothing read yet
  CHECK(http->count("separator=") == 0);
  answer(instances, tree_answer({{"zedcup/instances/a/ssl", "true"}}, 5));
  answer("index=5", refused);
  pass(10s);
  CHECK(http->count("separator=") == 0);
}

TEST_CASE_METHOD(
    watching, "consul watcher: one read of the settings is under way at most",
    "[consul_watcher]") {
  become(role::leader);
  tell_watcher(msg::kick{});
  tell_watcher(msg::kick{});
  CHECK(http->count(config) == 1);
  take();
  // Its answer may be older than the kick: it is followed by another read.
  answer(config, tree_answer({}, 4));
  CHECK(http->count(config) == 1);
  answer(config, tree_answer({}, 5));
  CHECK(take() == lines{"config 4", "config 5"});
  CHECK(http->count(config) == 0);
}

TEST_CASE_METHOD(watching,
                 "consul watcher: a failed read of the settings is "
                 "made again with the next poll",
                 "[consul_watcher]") {
  become(role::leader);
  answer(config, refused);
  pass(10s);
  answer(config, answer_with(500, 0, "no leader"));
  pass(10s);
  answer(config, tree_answer({}, 7));
  CHECK(take() == lines{"config 7"});
}

TEST_CASE_METHOD(watching, "consul watcher: trouble is logged once, and told",
                 "[consul_watcher]") {
  become(role::leader);
  answer(instances, refused);
  CHECK(take() == lines{"trouble consul 127.0.0.1:8500: connection refused"});
  CHECK(take_log() == lines{"5 consul 127.0.0.1:8500: connection refused; "
                            "trying again"});
  pass(100ms);
  answer(instances, refused);
  CHECK(take_log() == lines{"8 consul 127.0.0.1:8500: connection refused"});
  pass(200ms);
  take();
  answer(instances, one_instance(7));
  CHECK(take() == lines{"trouble ", "instances 7"});
  CHECK(take_log() == lines{"6 consul answers again"});
}

TEST_CASE_METHOD(watching,
                 "consul watcher: trouble names the server that had it",
                 "[consul_watcher]") {
  start_with(R"({"addresses": ["10.0.0.1", "10.0.0.2"]})");
  become(role::leader);
  answer(instances, refused);
  CHECK(take().at(0) == "trouble consul 10.0.0.1:8500: connection refused");
  pass(100ms);
  answer(instances, refused);
  CHECK(take().at(0) == "trouble consul 10.0.0.2:8500: connection refused");
}

TEST_CASE_METHOD(watching,
                 "consul watcher: the first success says that all is well",
                 "[consul_watcher]") {
  // The zone may still hold the complaint of the leader before.
  for (int i = 0; i < 2; ++i) {
    become(role::leader);
    answer(instances, one_instance(7));
    CHECK(take() == lines{"trouble ", "instances 7"});
    answer(instances, one_instance(7));
    CHECK(take().empty());
  }
}

TEST_CASE_METHOD(watching,
                 "consul watcher: the end of a leadership ends its "
                 "requests",
                 "[consul_watcher]") {
  become(role::leader);
  become(role::follower);
  CHECK(http->count("") == 0);
  CHECK(http->open.size() == 2);
  answer(http->take_cancelled(), given_up);
  answer(http->take_cancelled(), given_up);
  pass(60s);
  CHECK(http->open.empty());
  CHECK(take().empty());
  CHECK(take_log().empty());
}

TEST_CASE_METHOD(watching,
                 "consul watcher: answers to an old leadership are "
                 "no answers to the new",
                 "[consul_watcher]") {
  become(role::leader);
  become(role::leader); // as after a restart
  CHECK(http->count("") == 2);
  while (http->open.size() > 2)
    answer(http->take_cancelled(), given_up);
  CHECK(take().empty());
  CHECK(take_log().empty());
  answer(instances, one_instance(7));
  CHECK(take() == lines{"trouble ", "instances 7"});
}

TEST_CASE_METHOD(watching,
                 "consul watcher: late content of an old leadership "
                 "is dropped",
                 "[consul_watcher]") {
  become(role::leader);
  auto old_config = http->take(config);
  auto old_instances = http->take(instances);
  become(role::leader);
  answer(std::move(old_config), tree_answer({}, 3));
  answer(std::move(old_instances), tree_answer({}, 3));
  CHECK(take().empty());
  CHECK(http->count("") == 2);
}

TEST_CASE_METHOD(watching, "consul watcher: a new wait restarts the watch",
                 "[consul_watcher]") {
  become(role::leader);
  answer(instances, tree_answer({{"zedcup/instances/a/ssl", "true"}}, 5));
  CHECK(http->count("wait=600s") == 1);
  tell_watcher(msg::pace_is{60s, 10s});
  answer(http->take_cancelled(), given_up);
  answer(instances, tree_answer({{"zedcup/instances/a/ssl", "true"}}, 5));
  CHECK(http->count("wait=60s") == 1);
  CHECK(take_log().empty());
}

TEST_CASE_METHOD(watching, "consul watcher: a kick ends a back-off",
                 "[consul_watcher]") {
  become(role::leader);
  for (int i = 0; i < 8; ++i) {
    answer(instances, refused);
    pass(10s);
  }
  answer(instances, refused); // up to 10 s now
  tell_watcher(msg::kick{});
  CHECK(http->count(instances) == 1);
}

TEST_CASE_METHOD(watching, "consul watcher: a kick leaves a blocking query be",
                 "[consul_watcher]") {
  become(role::leader);
  answer(instances, one_instance(5));
  const auto id = http->open.back().id;
  tell_watcher(msg::kick{});
  CHECK(http->count(instances) == 1);
  CHECK(http->count("index=5") == 1);
  CHECK(http->open.back().id >= id);
}

TEST_CASE_METHOD(watching, "consul watcher: its end cancels what is in flight",
                 "[consul_watcher]") {
  become(role::leader);
  caf::anon_send_exit(lookup(actors, place::watcher),
                      caf::exit_reason::user_shutdown);
  settle();
  CHECK(http->count("") == 0);
  while (!http->open.empty()) // answers come to nobody
    answer(http->take_cancelled(), given_up);
}
