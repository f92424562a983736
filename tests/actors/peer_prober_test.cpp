#include "actors/peer_prober.hpp"

#include "actor_fixture.hpp"
#include "fake_http.hpp"

using namespace zedcup;
using namespace zedcup::test;

namespace {

using lines = std::vector<std::string>;

const error refused{errc::unavailable, "refused"};

peer one(const std::string& host, const std::string& url = "/") {
  peer made;
  made.host = host;
  made.port = 80;
  made.check_url = url;
  return made;
}

class probing : public actor_fixture {
public:
  probing() {
    ctx->options.path = "/s/";
    ctx->probe_http = http;
    how.interval = 5s;
    how.max_fails = 3;
    how.min_rises = 2;
  }

  void start(std::vector<known_service> before = {}, bool current = true) {
    if (const auto old = lookup(actors, place::prober)) {
      caf::anon_send_exit(old, caf::exit_reason::kill);
      settle();
    }
    put(place::prober,
        spawn_peer_prober(
            actors, ctx,
            std::make_shared<const std::vector<known_service>>(before), how,
            current));
    send(lookup(actors, place::prober), msg::role_is{role::leader});
  }
  void serve(std::vector<peer> peers, const std::string& name = "web") {
    send(lookup(actors, place::prober),
         msg::peers_are{
             std::make_shared<const service>(service{name, std::move(peers)})});
  }
  void names(std::vector<std::string> all) {
    send(lookup(actors, place::prober), msg::services_are{std::move(all)});
  }

  /// Waits for the next check and answers it.
  void check(int status) {
    http_response answer;
    answer.status = status;
    check_with(answer);
  }
  void check_with(result<http_response> answer) {
    for (int i = 0; http->count("") == 0 && i < 20; ++i)
      pass(500ms);
    auto flown = http->take("");
    urls.push_back(flown.request.endpoint->host + flown.request.target);
    flown.on_done(std::move(answer));
    settle();
  }
  void fail(int times) {
    for (int i = 0; i < times; ++i)
      check_with(refused);
  }

  /// "web a:80 out", "web a:80 back"
  lines told() {
    lines all;
    for (const auto& message : take<feed_message>()) {
      const auto& checked = std::get<peer_checked>(message);
      CHECK(checked.down != checked.why.empty());
      all.push_back(checked.service + " " + checked.peer +
                    (checked.down ? " out" : " back"));
    }
    return all;
  }

  peer_checks how;
  lines urls;
  std::shared_ptr<fake_http> http = std::make_shared<fake_http>();
};

known_service known(std::set<std::string> down) {
  return {"web", "[]", std::move(down)};
}

} // namespace

TEST_CASE_METHOD(probing, "peer prober: fails in a row take a peer out",
                 "[feed]") {
  start();
  serve({one("a", "/health")});
  fail(2);
  check(200);
  fail(2);
  CHECK(told().empty());
  fail(1);
  CHECK(told() == lines{"web a:80 out"});
  fail(5); // told once
  CHECK(told().empty());
  CHECK(urls.front() == "a/health");
  REQUIRE(take_log() ==
          lines{"5 web: peer a:80 is out after 3 bad checks: refused"});
}

TEST_CASE_METHOD(probing, "peer prober: rises in a row bring it back",
                 "[feed]") {
  start();
  serve({one("a")});
  fail(3);
  told();
  check(200);
  fail(1);
  check(200);
  CHECK(told().empty());
  check(204);
  CHECK(told() == lines{"web a:80 back"});
  fail(3); // and out again
  CHECK(told() == lines{"web a:80 out"});
}

TEST_CASE_METHOD(probing, "peer prober: a status that is not good is bad",
                 "[feed]") {
  how.max_fails = 1;
  how.min_rises = 1;
  start();
  serve({one("a")});
  check(403);
  CHECK(told().empty());
  for (const int status : {404, 500, 206}) {
    check(status);
    CHECK(told() == lines{"web a:80 out"});
    check(200);
    CHECK(told() == lines{"web a:80 back"});
  }
}

TEST_CASE_METHOD(probing,
                 "peer prober: this node's own trouble is nobody's "
                 "fault",
                 "[feed]") {
  how.max_fails = 1;
  start();
  serve({one("a")});
  for (int i = 0; i < 5; ++i)
    check_with(error{errc::exhausted, "no descriptors"});
  CHECK(told().empty());
  CHECK(take_log().size() == 1); // a minute has not passed
}

TEST_CASE_METHOD(probing,
                 "peer prober: each peer at its interval, one check "
                 "at a time",
                 "[feed]") {
  start();
  serve({one("a"), one("b")});
  pass(6s); // an interval, and what is drawn at random
  CHECK(http->count("") == 2);
  pass(20s);
  CHECK(http->count("") == 2); // they have not answered
  check(200);
  check(200);
  CHECK(http->count("") == 0);
  pass(6s);
  CHECK(http->count("") == 2);
}

TEST_CASE_METHOD(probing, "peer prober: a peer that goes is asked no more",
                 "[feed]") {
  start();
  serve({one("a"), one("b")});
  pass(6s); // an interval, and what is drawn at random
  serve({one("b")});
  CHECK(http->count("") == 1);
  auto gone = http->take_cancelled();
  CHECK(gone.request.endpoint->host == "a");
  gone.on_done(error{errc::cancelled, "cancelled"});
  settle();
  check(200);
  pass(30s);
  CHECK(http->count("") == 1);
  CHECK(told().empty());
}

TEST_CASE_METHOD(probing,
                 "peer prober: an answer that comes after the peer "
                 "went is nobody's",
                 "[feed]") {
  how.max_fails = 1;
  start();
  serve({one("a")});
  pass(6s); // an interval, and what is drawn at random
  auto flown = http->take("");
  serve({});
  flown.on_done(refused); // it was under way already
  settle();
  CHECK(told().empty());
}

TEST_CASE_METHOD(probing, "peer prober: who goes while out is out no longer",
                 "[feed]") {
  how.max_fails = 1;
  start();
  serve({one("a"), one("b")});
  fail(2);
  CHECK(told().size() == 2);
  serve({one("b")});
  CHECK(told() == lines{"web a:80 back"});
  names({"api"});
  CHECK(told() == lines{"web b:80 back"});
  serve({one("a")}); // a new peer
  fail(1);
  CHECK(told() == lines{"web a:80 out"});
}

TEST_CASE_METHOD(probing, "peer prober: whom its key calls down is not checked",
                 "[feed]") {
  how.max_fails = 1;
  start();
  auto a = one("a");
  serve({a});
  fail(1);
  told();
  a.up = false;
  serve({a});
  CHECK(told() == lines{"web a:80 back"});
  pass(20s);
  CHECK(http->count("") == 0);
}

TEST_CASE_METHOD(probing, "peer prober: another URL keeps what is known",
                 "[feed]") {
  start();
  serve({one("a", "/old")});
  fail(3);
  told();
  serve({one("a", "/new")});
  CHECK(told().empty());
  check(200);
  check(200);
  CHECK(told() == lines{"web a:80 back"});
  CHECK(urls.back() == "a/new");
  pass(6s);                    // an interval, and what is drawn at random
  CHECK(http->count("") == 1); // the old one is forgotten
}

TEST_CASE_METHOD(probing, "peer prober: the same content again changes nothing",
                 "[feed]") {
  start();
  serve({one("a")});
  fail(2);
  serve({one("a")});
  names({"web"});
  fail(1);
  CHECK(told() == lines{"web a:80 out"});
}

TEST_CASE_METHOD(probing, "peer prober: services have peers of the same name",
                 "[feed]") {
  how.max_fails = 1;
  start();
  serve({one("a")}, "web");
  serve({one("a")}, "api");
  names({"web"});
  pass(6s); // an interval, and what is drawn at random
  CHECK(http->count("") == 1);
}

TEST_CASE_METHOD(probing, "peer prober: who was out stays so until it rises",
                 "[feed]") {
  start({known({"a:80"})});
  serve({one("a"), one("b")});
  names({"web"});
  CHECK(told().empty());
  for (int i = 0; i < 4; ++i)
    check(200);
  CHECK(told() == lines{"web a:80 back"});
}

TEST_CASE_METHOD(probing, "peer prober: who was out before counts but once",
                 "[feed]") {
  how.max_fails = 1;
  how.min_rises = 1;
  start({known({"a:80"})});
  serve({one("a")});
  check(200);
  CHECK(told() == lines{"web a:80 back"});
  serve({});
  serve({one("a")}); // a new peer, which is in
  fail(1);
  CHECK(told() == lines{"web a:80 out"});
}

TEST_CASE_METHOD(probing,
                 "peer prober: who was out and is gone is out no "
                 "longer",
                 "[feed]") {
  start({known({"a:80", "b:80"}), {"old", "[]", {"c:80"}}});
  serve({one("b")});
  CHECK(told() == lines{"web a:80 back"});
  names({"web"});
  CHECK(told() == lines{"old c:80 back"});
}

TEST_CASE_METHOD(probing,
                 "peer prober: one that failed is replaced by one "
                 "that tells what it finds",
                 "[feed]") {
  how.max_fails = 1;
  how.min_rises = 1;
  start({known({"a:80"})}, false);
  serve({one("a")});
  fail(1);
  CHECK(told() == lines{"web a:80 out"});
  check(200);
  CHECK(told() == lines{"web a:80 back"});
  serve({one("a")});
  start({}, false);
  http->open.clear();
  serve({one("a")});
  check(200);
  CHECK(told() == lines{"web a:80 back"}); // it may have been out
  check(200);
  CHECK(told().empty());
}

TEST_CASE_METHOD(probing, "peer prober: no more than 256 checks at a time",
                 "[feed]") {
  start();
  std::vector<peer> all;
  for (int i = 0; i < 300; ++i)
    all.push_back(one("h" + std::to_string(i)));
  serve(all);
  pass(6s);
  CHECK(http->count("") == 256);
  check(200);
  pass(100ms);
  CHECK(http->count("") == 256);
}

TEST_CASE_METHOD(probing, "peer prober: its end cancels what is in flight",
                 "[feed]") {
  start();
  serve({one("a")});
  pass(6s); // an interval, and what is drawn at random
  caf::anon_send_exit(lookup(actors, place::prober),
                      caf::exit_reason::user_shutdown);
  settle();
  CHECK(http->count("") == 0);
}
