// The watcher of etcd's v2 keys API; the watch itself has tests of its own.
#include "actors/etcd2_watcher.hpp"

#include "actor_fixture.hpp"
#include "actors/graph.hpp"
#include "fake_http.hpp"

using namespace zedcup;
using namespace zedcup::test;

namespace {

using lines = std::vector<std::string>;

const error refused{errc::unavailable, "connection refused"};
const error silence{errc::timed_out, "timed out"};

const char* const tree = "recursive=true&sorted=true";
const char* const poll = "wait=true";
const char* const look = "services?quorum=true";

http_response content(uint64_t index) {
  http_response made;
  made.status = 200;
  made.headers = {{"X-Etcd-Index", std::to_string(index)},
                  {"X-Etcd-Cluster-Id", "c1"}};
  made.body = R"({"node":{"key":"/v1/services","dir":true,"nodes":[)"
              R"({"key":"/v1/services/web","dir":true,"nodes":[)"
              R"({"key":"/v1/services/web/10.0.0.1:80","value":"",)"
              R"("modifiedIndex":)" +
              std::to_string(index) + "}]}]}}";
  return made;
}

class watching : public actor_fixture {
public:
  watching() {
    ctx->options.path = "/v1/services/";
    ctx->options.store = *parse_etcd_options(
        R"({"endpoints": ["10.0.0.1", "10.0.0.2"], "api": "v2"})");
    ctx->http = http;
    put(place::syncer,
        spawn_small(actors, [this](caf::event_based_actor*) -> caf::behavior {
          return {
              [this](const msg::instances_read& read) {
                heard.push_back(read.tree->entries.at(0).key + " " +
                                std::to_string(read.tree->revision));
              },
              [this](const msg::trouble& trouble) {
                heard.push_back("trouble " + trouble.text);
              },
          };
        }));
    put(place::watcher, spawn_etcd2_watcher(actors, ctx));
  }

  void become(role now) {
    send(lookup(actors, place::watcher), msg::role_is{now});
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

} // namespace

TEST_CASE_METHOD(watching, "etcd2 watcher: a follower asks nothing",
                 "[etcd2_watcher]") {
  become(role::follower);
  pass(30s);
  CHECK(http->open.empty());
}

TEST_CASE_METHOD(watching, "etcd2 watcher: a leader reads, then waits",
                 "[etcd2_watcher]") {
  become(role::leader);
  REQUIRE(http->open.size() == 1);
  answer(tree, content(5));
  CHECK(take() == lines{"trouble ", "/v1/services/web/10.0.0.1:80 5"});
  REQUIRE(http->open.size() == 1);
  answer("waitIndex=6", {http_response{200, {}, R"({"node":{}})", {}}});
  answer(tree, content(6));
  CHECK(take() == lines{"/v1/services/web/10.0.0.1:80 6"});
  CHECK(http->count("waitIndex=7") == 1);
}

TEST_CASE_METHOD(watching, "etcd2 watcher: the next member takes over",
                 "[etcd2_watcher]") {
  become(role::leader);
  answer(tree, content(5));
  take();
  take_log();
  answer(poll, refused);
  CHECK(take() == lines{"trouble etcd 10.0.0.1:2379: connection refused"});
  CHECK(take_log() ==
        lines{"5 etcd 10.0.0.1:2379: connection refused; trying again"});
  pass(100ms);
  auto second = http->take(tree);
  CHECK(second.request.endpoint->host == "10.0.0.2");
  answer(std::move(second), content(5));
  CHECK(take() == lines{"trouble "});
  CHECK(http->take(poll).request.endpoint->host == "10.0.0.2");
}

TEST_CASE_METHOD(watching, "etcd2 watcher: a connection may die unseen",
                 "[etcd2_watcher]") {
  become(role::leader);
  answer(tree, content(5));
  take();
  pass(10s);
  answer(look, content(5)); // all is well
  CHECK(http->count(poll) == 1);
  pass(10s);
  answer(look, content(6)); // the poll should have told of that
  CHECK(http->count(poll) == 0);
  answer(http->take_cancelled(), error{errc::cancelled, "cancelled"});
  answer(tree, content(6));
  CHECK(take() == lines{"/v1/services/web/10.0.0.1:80 6"});
  CHECK(http->count(poll) == 1);
}

TEST_CASE_METHOD(watching, "etcd2 watcher: a member that hangs is left",
                 "[etcd2_watcher]") {
  become(role::leader);
  answer(tree, content(5));
  take();
  pass(10s);
  CHECK(http->count(look) == 1);
  auto looked = http->take(look);
  CHECK(looked.request.timeout == std::chrono::milliseconds(2000));
  answer(std::move(looked), silence);
  CHECK(take() == lines{"trouble etcd 10.0.0.1:2379: timed out"});
  pass(100ms);
  CHECK(http->take(tree).request.endpoint->host == "10.0.0.2");
}

TEST_CASE_METHOD(watching,
                 "etcd2 watcher: what the last member says of itself "
                 "is not held against the next",
                 "[etcd2_watcher]") {
  become(role::leader);
  answer(tree, content(5));
  pass(10s);
  auto late = http->take(look);
  answer(poll, refused);
  pass(100ms);
  answer(tree, content(5));
  take();
  answer(std::move(late), silence);
  CHECK(take().empty());
  CHECK(http->count(poll) == 1);
}

TEST_CASE_METHOD(watching,
                 "etcd2 watcher: late content of an old leadership "
                 "is dropped",
                 "[etcd2_watcher]") {
  become(role::leader);
  auto old = http->take(tree);
  become(role::follower);
  become(role::leader);
  answer(std::move(old), content(3));
  CHECK(take().empty());
  CHECK(http->count(tree) == 1);
}

TEST_CASE_METHOD(watching, "etcd2 watcher: its end cancels what is in flight",
                 "[etcd2_watcher]") {
  become(role::leader);
  answer(tree, content(5));
  pass(10s);
  CHECK(http->count("") == 2);
  caf::anon_send_exit(lookup(actors, place::watcher),
                      caf::exit_reason::user_shutdown);
  settle();
  CHECK(http->count("") == 0);
}

TEST_CASE("etcd2 watcher: there is no store to write to", "[etcd2_watcher]") {
  system_options options;
  options.store = *parse_etcd_options(R"({"api": "v2"})");
  CHECK(store_actors_of(options).store == nullptr);
  CHECK(store_actors_of(options).watcher == &spawn_etcd2_watcher);
}
