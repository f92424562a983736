#include "store/etcd_protocol.hpp"

#include <random>

#include "store/etcd_stream.hpp"
#include "support/catch.hpp"
#include "util/base64.hpp"

using namespace zedcup;

namespace {

const std::string header =
    R"("header":{"cluster_id":"9","member_id":"1","revision":"5"})";

http_response ok(const std::string& members) {
  http_response made;
  made.status = 200;
  made.body = "{" + header + (members.empty() ? "" : ",") + members + "}";
  return made;
}

http_response failed(int status, const std::string& body) {
  http_response made;
  made.status = status;
  made.body = body;
  return made;
}

std::string said(const std::string& text) {
  return R"({"error":")" + text + R"(","message":")" + text + R"(","code":3})";
}

kv_op op(kv_op::verb what, std::string key) {
  kv_op made;
  made.what = what;
  made.key = std::move(key);
  made.value = "v";
  return made;
}

/// The keys in the body of a call, decoded, in order.
std::vector<std::string> keys_in(const std::string& body,
                                 const std::string& member) {
  std::vector<std::string> all;
  const auto mark = '"' + member + "\":\"";
  for (auto at = body.find(mark); at != body.npos; at = body.find(mark, at)) {
    at += mark.size();
    all.push_back(*base64_decode(body.substr(at, body.find('"', at) - at)));
  }
  return all;
}

} // namespace

TEST_CASE("etcd: the end of a prefix is the next that does not begin with it",
          "[etcd]") {
  CHECK(etcd::prefix_end("a/") == "a0");
  CHECK(etcd::prefix_end("a\xff") == "b");
  CHECK(etcd::prefix_end("\xff\xff") == std::string(1, '\0'));
  CHECK(etcd::prefix_end("") == std::string(1, '\0'));
}

TEST_CASE("etcd: what is left out of an answer is zero", "[etcd]") {
  CHECK(etcd::parse_range(ok(""))->tree.entries.empty());
  CHECK(etcd::parse_range(ok(""))->tree.revision == 5);
  const auto read = etcd::parse_range(
      ok(R"("kvs":[{"key":"Yg==","mod_revision":"3"},)"
         R"({"key":"YQ==","mod_revision":"4","value":"eA==","lease":"7"}])"));
  REQUIRE(read->tree.entries.size() == 2);
  CHECK(read->tree.entries[0].key == "a");
  CHECK(read->tree.entries[0].session == "7");
  CHECK(read->tree.entries[1].value.empty());
  CHECK(read->cluster_id == 9);
}

TEST_CASE("etcd: only an exact mark in a value is flags", "[etcd]") {
  const auto flags_of = [](std::string_view value) {
    const auto read = etcd::parse_range(
        ok(R"("kvs":[{"key":"YQ==","mod_revision":"3","value":")" +
           base64_encode(value) + "\"}]"));
    return std::pair(read->tree.entries[0].value, read->tree.entries[0].flags);
  };
  using pair = std::pair<std::string, uint64_t>;
  CHECK(flags_of(std::string_view("x\0flags=12", 10)) == pair("x", 12));
  CHECK(flags_of(std::string_view("\0flags=1", 8)) == pair("", 1));
  CHECK(flags_of("flags=1") == pair("flags=1", 0));
  for (const std::string_view odd :
       {std::string_view("x\0flags=", 8), std::string_view("x\0flags=-1", 10),
        std::string_view("x\0flags=1 ", 10)})
    CHECK(flags_of(odd) == pair(std::string(odd), 0));
}

TEST_CASE("etcd: no key occurs twice in a transaction", "[etcd]") {
  using verb = kv_op::verb;
  const auto call =
      etcd::commit({op(verb::set, "t/early"), op(verb::remove_tree, "t/"),
                    op(verb::remove, "t/x"), op(verb::remove, "u"),
                    op(verb::set, "t/b"), op(verb::set, "t/a")},
                   {});
  REQUIRE(call);
  const std::string nul(1, '\0');
  CHECK(keys_in(call->body, "key") ==
        std::vector<std::string>{"t/", "t/a" + nul, "t/b" + nul, "u", "t/a",
                                 "t/b"});
  CHECK(keys_in(call->body, "range_end") ==
        std::vector<std::string>{"t/a", "t/b", "t0"});
}

TEST_CASE("etcd: refusals are told apart", "[etcd]") {
  const auto code = [](int status, const std::string& text) {
    return etcd::refusal(failed(status, said(text))).code;
  };
  CHECK(code(400, "etcdserver: authentication failed, invalid user ID or "
                  "password") == errc::denied);
  CHECK(code(403, "etcdserver: permission denied") == errc::denied);
  CHECK(code(400, "etcdserver: request is too large") == errc::too_large);
  CHECK(code(400, "etcdserver: too many operations in txn request") ==
        errc::too_large);
  CHECK(code(503, "etcdserver: no leader") == errc::unavailable);
  CHECK(code(429, "slow down") == errc::unavailable);
  CHECK(etcd::is_stale_token(failed(401, said("x"))));
  CHECK(etcd::is_stale_token(failed(400, said("invalid auth token"))));
  CHECK(etcd::is_no_gateway(failed(404, "404 page not found\n")));
  CHECK_FALSE(etcd::is_no_gateway(failed(404, said("lease not found"))));
  CHECK(etcd::parse_token(failed(400, said("authentication is not enabled")))
            ->empty());
}

TEST_CASE("etcd: what a condition, a lease and a renewal say", "[etcd]") {
  const std::vector<kv_op> ops{op(kv_op::verb::set, "a")};
  CHECK(etcd::parse_commit(ok(""), ops).error().code == errc::conflict);
  CHECK(etcd::parse_commit(
            failed(404, said("etcdserver: requested lease not found")), ops)
            .error()
            .code == errc::conflict);
  const auto made = etcd::parse_commit(
      ok(R"("succeeded":true,"responses":[{"response_put":{}}])"), ops);
  CHECK(made->revision == 5);
  CHECK(made->indexes == std::vector<uint64_t>{5});
  CHECK(*etcd::parse_lease(ok(R"("ID":"77","TTL":"5")")) == "77");
  CHECK_FALSE(etcd::parse_lease(ok("")));
  CHECK(
      etcd::parse_renewal(failed(200, R"({"result":{"ID":"77","TTL":"5"}})")));
  CHECK(etcd::parse_renewal(failed(200, R"({"result":{"ID":"77"}})"))
            .error()
            .code == errc::not_found);
}

TEST_CASE("etcd: messages of a watch", "[etcd]") {
  const auto events = etcd::parse_watch(
      "{\"result\":{" + header +
      R"(,"events":[{"kv":{"key":"YQ==","mod_revision":"4"}},)"
      R"({"type":"DELETE","kv":{"key":"YQ==","mod_revision":"5"}}]}})");
  CHECK(events->changed == 5);
  CHECK(events->cluster_id == 9);
  const auto gone =
      etcd::parse_watch("{\"result\":{" + header +
                        R"(,"canceled":true,"compact_revision":"4"}})");
  CHECK(gone->canceled);
  CHECK(gone->compacted);
  const auto error =
      etcd::parse_watch(R"({"error":{"grpc_code":14,"message":"no leader"}})");
  CHECK(error->canceled);
  CHECK(error->reason == "no leader");
  CHECK_FALSE(etcd::parse_watch("{}"));
  CHECK_FALSE(etcd::parse_watch("[1]"));
}

TEST_CASE("etcd: damaged answers never crash and never read as empty",
          "[etcd]") {
  std::mt19937 random(3); // NOLINT: the same damage every time
  const auto good =
      ok(R"("kvs":[{"key":"YQ==","mod_revision":"3","value":"eA=="}])").body;
  for (int i = 0; i < 20000; ++i) {
    auto body = good;
    for (auto hits = random() % 3 + 1; hits > 0; --hits)
      body[random() % body.size()] = static_cast<char>(random() % 256);
    body.resize(body.size() - random() % 2 * (random() % body.size()));
    const auto answer = failed(200, body);
    if (const auto read = etcd::parse_range(answer))
      for (const auto& entry : read->tree.entries)
        REQUIRE_FALSE(entry.key.empty());
    (void)etcd::parse_look(answer);
    (void)etcd::parse_commit(answer, {op(kv_op::verb::set, "a")});
    (void)etcd::parse_lease(answer);
    (void)etcd::parse_renewal(answer);
    (void)etcd::parse_watch(body);
    (void)etcd::refusal(failed(500, body));
  }
}

TEST_CASE("etcd: a stream comes apart at its objects, however it is cut",
          "[etcd]") {
  const std::string stream = "{\"a\":{\"b\":\"}{\\\"\\\\\"}}\n {}{\"c\":1}\r\n";
  const std::vector<std::string> objects{"{\"a\":{\"b\":\"}{\\\"\\\\\"}}", "{}",
                                         "{\"c\":1}"};
  for (size_t piece = 1; piece <= stream.size(); ++piece) {
    json_splitter splitter(100);
    std::vector<std::string> got;
    for (size_t at = 0; at < stream.size(); at += piece)
      REQUIRE(splitter.feed(
          std::string_view(stream).substr(at, piece),
          [&](std::string_view object) { got.emplace_back(object); }));
    CHECK(got == objects);
  }
}

TEST_CASE("etcd: a stream of something else ends at once", "[etcd]") {
  const auto nothing = [](std::string_view) { FAIL("an object"); };
  CHECK_FALSE(json_splitter(100).feed("<html>", nothing));
  CHECK_FALSE(json_splitter(100).feed("]", nothing));
  CHECK_FALSE(json_splitter(4).feed("{\"aaaa", nothing));
  json_splitter failed(100);
  CHECK_FALSE(failed.feed("x", nothing));
  CHECK_FALSE(failed.feed("{}", nothing));
}
