// On answers recorded from Consul 1.8.7.
#include "store/consul_protocol.hpp"

#include <random>

#include "support/catch.hpp"

using namespace zedcup;
using namespace std::chrono_literals;

namespace {

consul_target target(std::string datacenter = "") {
  return {std::make_shared<const http_endpoint>(), std::move(datacenter)};
}

http_response kv_answer(int status, std::string body,
                        const char* index = "19") {
  http_response answer;
  answer.status = status;
  answer.headers = {{"Content-Type", "application/json"},
                    {"X-Consul-Index", index},
                    {"X-Consul-Knownleader", "true"},
                    {"X-Consul-Lastcontact", "0"}};
  answer.body = std::move(body);
  return answer;
}

http_response plain(int status, std::string body) {
  http_response answer;
  answer.status = status;
  answer.body = std::move(body);
  return answer;
}

const char* const recorded_tree =
    R"([{"LockIndex":0,"Key":"zedcup/a","Flags":1,"Value":"eA==",)"
    R"("CreateIndex":7,"ModifyIndex":7},)"
    R"({"LockIndex":0,"Key":"zedcup/e","Flags":0,"Value":null,)"
    R"("CreateIndex":9,"ModifyIndex":9},)"
    R"({"LockIndex":1,"Key":"zedcup/lk","Flags":0,"Value":"eA==",)"
    R"("Session":"5e69f298-f423-2a8e-5878-b3c552f434f5",)"
    R"("CreateIndex":15,"ModifyIndex":18}])";

kv_op op(kv_op::verb what, std::string key, std::string value = "",
         uint64_t index = 0) {
  kv_op made;
  made.what = what;
  made.key = std::move(key);
  made.value = std::move(value);
  made.index = index;
  return made;
}

template <class T>
errc code_of(const result<T>& outcome) {
  REQUIRE_FALSE(outcome);
  return outcome.error().code;
}

using verb = kv_op::verb;

} // namespace

TEST_CASE("consul: reads encode the prefix and name mode and datacenter",
          "[consul]") {
  REQUIRE(consul::read_tree(target(), "zedcup/").target ==
          "/v1/kv/zedcup/?recurse");
  REQUIRE(
      consul::read_tree(target("d c"), "a b/%/", consul::read_mode::consistent)
          .target == "/v1/kv/a%20b/%25/?recurse&consistent&dc=d%20c");
  REQUIRE(consul::list_folders(target("d"), "a b/").target ==
          "/v1/kv/a%20b/?keys&separator=%2F&dc=d");
  REQUIRE(consul::read_tree(target(), "x", consul::read_mode::stale).target ==
          "/v1/kv/x?recurse&stale");
}

TEST_CASE("consul: a blocking read has a unit and outlasts the server's jitter",
          "[consul]") {
  const auto request = consul::blocking_read(target(), "z/", 42, 160s);
  REQUIRE(request.target == "/v1/kv/z/?recurse&index=42&wait=160s");
  REQUIRE(request.timeout == 160s + 10s + 2s + 10s);
  REQUIRE(consul::blocking_read(target(), "z/", 42, 0s).target ==
          "/v1/kv/z/?recurse&index=42&wait=1s");
  REQUIRE(consul::blocking_read(target(), "z/", 42, 3600s).target ==
          "/v1/kv/z/?recurse&index=42&wait=600s");
  REQUIRE(consul::blocking_read(target(), "z/", 0, 60s).target ==
          "/v1/kv/z/?recurse");
}

TEST_CASE("consul: a tree is read with flags, sessions and empty values",
          "[consul]") {
  const auto read =
      consul::parse_tree(kv_answer(200, recorded_tree), "zedcup/");
  REQUIRE(read);
  REQUIRE_FALSE(read->missing);
  REQUIRE(read->tree.revision == 19);
  REQUIRE(read->tree.entries.size() == 3);
  const kv_entry first{"zedcup/a", "x", 1, 7, ""};
  REQUIRE(read->tree.entries[0] == first);
  REQUIRE(read->tree.entries[1].value.empty());
  REQUIRE(read->tree.entries[2].session ==
          "5e69f298-f423-2a8e-5878-b3c552f434f5");
}

TEST_CASE("consul: 404 is an empty tree with its index", "[consul]") {
  const auto read = consul::parse_tree(kv_answer(404, "", "1"), "zedcup/");
  REQUIRE(read);
  REQUIRE(read->missing);
  REQUIRE(read->tree.entries.empty());
  REQUIRE(read->tree.revision == 1);
}

TEST_CASE("consul: nothing else reads as empty", "[consul]") {
  const auto code = [](http_response answer) {
    return code_of(consul::parse_tree(answer, "zedcup/"));
  };
  for (const char* body :
       {"", "[]", "null", "{}", "true", "[{]", "<html>", "[null]", "[1]",
        R"([{"Key":"zedcup/a"}])",
        R"([{"Key":"zedcup/a","Value":1,"ModifyIndex":1}])",
        R"([{"Key":"zedcup/a","Value":"*","ModifyIndex":1}])",
        R"([{"Key":"zedcup/a","Value":"eA==","ModifyIndex":-1}])",
        R"([{"Key":"other/a","Value":"eA==","ModifyIndex":1}])"})
    REQUIRE(code(kv_answer(200, body)) == errc::bad_answer);
  REQUIRE(code(plain(200, recorded_tree)) == errc::bad_answer);
  REQUIRE(code(plain(404, "not found")) == errc::bad_answer);
  REQUIRE(code(kv_answer(404, "", "x1")) == errc::bad_answer);
  REQUIRE(code(kv_answer(200, recorded_tree, "")) == errc::bad_answer);
  REQUIRE(code(plain(301, "")) == errc::bad_answer);
}

TEST_CASE("consul: refusals keep their kind and text", "[consul]") {
  const auto failed = [](int status, const char* body) {
    const auto read = consul::parse_tree(plain(status, body), "z/");
    REQUIRE_FALSE(read);
    return read.error();
  };
  REQUIRE(failed(403, "ACL not found").code == errc::denied);
  REQUIRE(failed(500, "rpc error making call: Permission denied").code ==
          errc::denied);
  REQUIRE(failed(429, "").code == errc::unavailable);
  REQUIRE(failed(503, "").code == errc::unavailable);
  const auto lost = failed(500, "No path to datacenter\n");
  REQUIRE(lost.code == errc::unavailable);
  REQUIRE(lost.message == "consul: 500: No path to datacenter");
}

TEST_CASE("consul: without a known leader an answer does not count",
          "[consul]") {
  auto answer = kv_answer(200, recorded_tree);
  answer.headers[2].second = "false";
  REQUIRE(code_of(consul::parse_tree(answer, "zedcup/")) == errc::unavailable);
}

TEST_CASE("consul: a 404 filtered by ACLs is denied, not empty", "[consul]") {
  auto answer = kv_answer(404, "");
  answer.headers.emplace_back("X-Consul-Results-Filtered-By-Acls", "true");
  REQUIRE(code_of(consul::parse_tree(answer, "zedcup/")) == errc::denied);
}

TEST_CASE("consul: the last contact of a stale read is told", "[consul]") {
  auto answer = kv_answer(200, recorded_tree);
  answer.headers[3].second = "1500";
  REQUIRE(consul::parse_tree(answer, "zedcup/")->last_contact == 1500ms);
}

TEST_CASE("consul: commits use the verbs of /v1/txn", "[consul]") {
  auto lock = op(verb::lock, "k", "v");
  lock.session = "s";
  auto unlock = op(verb::unlock, "k");
  unlock.session = "s";
  auto set = op(verb::set, "a", "x");
  set.flags = 1;
  const auto request = consul::commit(
      target("d"),
      {set, op(verb::set_if, "b", "", 3), op(verb::remove, "c"),
       op(verb::remove_if, "d", "", 4), op(verb::remove_tree, "e/"),
       op(verb::check_index, "f", "", 5), op(verb::check_absent, "g"), lock,
       unlock},
      {});
  REQUIRE(request);
  REQUIRE(request->method == http_method::put);
  REQUIRE(request->target == "/v1/txn?dc=d");
  REQUIRE(request->body ==
          R"([{"KV":{"Verb":"set","Key":"a","Value":"eA==","Flags":1}},)"
          R"({"KV":{"Verb":"cas","Key":"b","Value":"","Flags":0,"Index":3}},)"
          R"({"KV":{"Verb":"delete","Key":"c"}},)"
          R"({"KV":{"Verb":"delete-cas","Key":"d","Index":4}},)"
          R"({"KV":{"Verb":"delete-tree","Key":"e/"}},)"
          R"({"KV":{"Verb":"check-index","Key":"f","Index":5}},)"
          R"({"KV":{"Verb":"check-not-exists","Key":"g"}},)"
          R"({"KV":{"Verb":"lock","Key":"k","Value":"dg==","Flags":0,)"
          R"("Session":"s"}},)"
          R"({"KV":{"Verb":"unlock","Key":"k","Value":"","Flags":0,)"
          R"("Session":"s"}}])");
}

TEST_CASE("consul: commits beyond the limits are refused unsent", "[consul]") {
  const std::vector<kv_op> many(65, op(verb::remove, "a"));
  REQUIRE(code_of(consul::commit(target(), many, {})) == errc::too_large);
  REQUIRE(code_of(consul::commit(target(), {op(verb::set, "a", "12345")},
                                 {64, 5})) == errc::too_large);
  REQUIRE(code_of(consul::commit(target(), {}, {})) == errc::invalid_argument);
  REQUIRE(code_of(consul::commit(target(), {op(verb::set, "\xff")}, {})) ==
          errc::invalid_argument);
}

TEST_CASE("consul: a commit's answer gives an index per write", "[consul]") {
  const std::vector<kv_op> ops{
      op(verb::check_absent, "zedcup/a"), op(verb::set, "zedcup/a", "x"),
      op(verb::set_if, "zedcup/b c%", "y"), op(verb::remove_tree, "zedcup/z/")};
  const auto made = consul::parse_commit(
      plain(200,
            R"({"Results":[{"KV":{"LockIndex":0,"Key":"zedcup/a","Flags":1,)"
            R"("Value":null,"CreateIndex":7,"ModifyIndex":7}},)"
            R"({"KV":{"LockIndex":0,"Key":"zedcup/b c%","Flags":0,)"
            R"("Value":null,"CreateIndex":7,"ModifyIndex":8}}],)"
            R"("Errors":null})"),
      ops);
  REQUIRE(made);
  REQUIRE(made->revision == 8);
  REQUIRE(made->indexes == std::vector<uint64_t>{0, 7, 8, 0});
}

TEST_CASE("consul: a commit of deletes alone has no results", "[consul]") {
  for (const char* body : {R"({"Results":[],"Errors":null})",
                           R"({"Results":null,"Errors":null})"}) {
    const auto made =
        consul::parse_commit(plain(200, body), {op(verb::remove, "a")});
    REQUIRE(made);
    REQUIRE(made->revision == 0);
    REQUIRE(made->indexes == std::vector<uint64_t>{0});
  }
}

TEST_CASE("consul: results that do not fit the commit are a bad answer",
          "[consul]") {
  const std::vector<kv_op> ops{op(verb::set, "a", "x")};
  for (const char* body :
       {"", "{}", "[]", R"({"Results":[]})", R"({"Results":[{"KV":null}]})",
        R"({"Results":[{"KV":{"Key":"b","ModifyIndex":1}}]})",
        R"({"Results":[{"KV":{"Key":"a","ModifyIndex":1}},
                       {"KV":{"Key":"a","ModifyIndex":1}}]})"})
    REQUIRE(code_of(consul::parse_commit(plain(200, body), ops)) ==
            errc::bad_answer);
}

TEST_CASE("consul: a refused commit is a conflict with the store's words",
          "[consul]") {
  const auto made = consul::parse_commit(
      plain(409, R"({"Results":null,"Errors":[{"OpIndex":0,"What":)"
                 R"("failed to set key \"zedcup/a\", index is stale"},)"
                 R"({"OpIndex":1,"What":"failed to delete key \"zedcup/a\", )"
                 R"(index is stale"}]})"),
      {op(verb::set_if, "zedcup/a")});
  REQUIRE(code_of(made) == errc::conflict);
  REQUIRE(made.error().message ==
          "consul: failed to set key \"zedcup/a\", index is stale; failed to "
          "delete key \"zedcup/a\", index is stale");
}

TEST_CASE("consul: commits refused for other reasons", "[consul]") {
  const auto code = [](int status, const char* body) {
    return code_of(consul::parse_commit(plain(status, body), {}));
  };
  REQUIRE(code(413, "Transaction contains too many operations (65 > 64)") ==
          errc::too_large);
  REQUIRE(code(403, "Permission denied") == errc::denied);
  REQUIRE(code(500, "No cluster leader") == errc::unavailable);
  REQUIRE(code(400, "Failed to parse body: unexpected EOF") ==
          errc::invalid_argument);
  REQUIRE(code(409, "what") == errc::bad_answer);
  REQUIRE(
      code(409, R"({"Errors":[{"OpIndex":0,"What":"Permission denied"}]})") ==
      errc::denied);
  REQUIRE(code(409, R"({"Errors":[{"What":"unknown KV verb \"x\""}]})") ==
          errc::invalid_argument);
}

TEST_CASE("consul: sessions are created, renewed and listed", "[consul]") {
  consul::session_options options;
  options.name = "zedcup";
  options.ttl = 1500ms;
  options.delete_keys = true;
  const auto request = consul::create_session(target(), options);
  REQUIRE(request.target == "/v1/session/create");
  REQUIRE(request.body == R"({"Name":"zedcup","TTL":"1500ms",)"
                          R"("Behavior":"delete","LockDelay":"0ms"})");
  REQUIRE(*consul::parse_session_id(
              plain(200, R"({"ID":"72c2382f-3cc0-dee2-b997-521ae094e48b"})")) ==
          "72c2382f-3cc0-dee2-b997-521ae094e48b");
  REQUIRE(code_of(consul::parse_session_id(plain(200, "{}"))) ==
          errc::bad_answer);

  REQUIRE(consul::renew_session(target(), "i/d").target ==
          "/v1/session/renew/i%2Fd");
  REQUIRE(consul::parse_renewal(plain(200, "[]")));
  REQUIRE(code_of(consul::parse_renewal(
              plain(404, "Session id 'x' not found"))) == errc::not_found);
  REQUIRE(code_of(consul::parse_renewal(plain(500, ""))) == errc::unavailable);

  const auto list = consul::parse_sessions(
      plain(200, R"([{"ID":"a","Name":"n","Node":"n1","LockDelay":0}])"));
  REQUIRE(list);
  REQUIRE(list->at(0).node == "n1");
}

TEST_CASE("consul: locks answer true, false, or that the session is gone",
          "[consul]") {
  const auto request = consul::acquire(target("d"), "z/l k", "me", "s");
  REQUIRE(request.target == "/v1/kv/z/l%20k?acquire=s&dc=d");
  REQUIRE(request.method == http_method::put);
  REQUIRE(request.body == "me");
  REQUIRE(consul::release(target(), "k", "", "s").target ==
          "/v1/kv/k?release=s");
  REQUIRE(*consul::parse_flag(plain(200, "true\n")) == true);
  REQUIRE(*consul::parse_flag(plain(200, "false")) == false);
  REQUIRE(code_of(consul::parse_flag(plain(200, ""))) == errc::bad_answer);
  REQUIRE(code_of(consul::parse_flag(plain(500, "invalid session \"x\""))) ==
          errc::not_found);
}

TEST_CASE("consul: keys are listed, none on 404", "[consul]") {
  REQUIRE(consul::list_keys(target(), "z/").target == "/v1/kv/z/?keys");
  REQUIRE(consul::parse_keys(kv_answer(200, R"(["z/a","z/b"])"))->keys ==
          std::vector<std::string>{"z/a", "z/b"});
  REQUIRE(consul::parse_keys(kv_answer(404, ""))->keys.empty());
  REQUIRE(code_of(consul::parse_keys(kv_answer(200, "[1]"))) ==
          errc::bad_answer);
}

TEST_CASE("consul: no names are told from an answer that is none", "[consul]") {
  REQUIRE(consul::parse_keys(kv_answer(404, ""))->keys.empty());
  REQUIRE_FALSE(consul::parse_keys(plain(404, "not from Consul")));
  REQUIRE_FALSE(consul::parse_keys(plain(500, "No cluster leader")));
}

TEST_CASE("consul: damaged answers never crash and never read as empty",
          "[consul]") {
  std::mt19937 random(11); // NOLINT: the same damage every time
  const std::vector<kv_op> ops{op(verb::set, "zedcup/a", "x")};
  const std::string made =
      R"({"Results":[{"KV":{"Key":"zedcup/a","ModifyIndex":7}}]})";
  int read_well = 0;
  for (int round = 0; round < 20000; ++round) {
    auto body = round % 2 == 0 ? std::string(recorded_tree) : made;
    for (unsigned n = 1 + random() % 3; n > 0; --n) {
      const size_t at = random() % body.size();
      if (random() % 3 == 0)
        body.erase(at, 1 + random() % 20);
      else
        body[at] = static_cast<char>(random());
    }
    const auto tree = consul::parse_tree(kv_answer(200, body), "zedcup/");
    if (tree) {
      REQUIRE_FALSE(tree->tree.entries.empty());
      ++read_well;
    }
    const auto commit = consul::parse_commit(plain(200, body), ops);
    if (commit)
      REQUIRE(commit->indexes.size() == 1);
    (void)consul::parse_commit(plain(409, body), ops);
    (void)consul::parse_sessions(plain(200, body));
    (void)consul::parse_keys(kv_answer(200, body));
    (void)consul::parse_session_id(plain(200, body));
  }
  REQUIRE(read_well > 100);
}
