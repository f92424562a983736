// Answers are recorded from etcd 3.4.23 with --enable-v2 where not said
// otherwise.
#include "store/etcd2_protocol.hpp"

#include "support/catch.hpp"

using namespace zedcup;

namespace {

const std::string path = "/v1/services/";

etcd2::target member() {
  return etcd2::make_targets({}).front();
}

http_response answer(int status, std::string body, std::string index = "7",
                     std::string cluster = "4e6e4b22d557efe3") {
  http_response made;
  made.status = status;
  made.headers = {{"X-Etcd-Cluster-Id", std::move(cluster)},
                  {"X-Etcd-Index", std::move(index)}};
  made.body = std::move(body);
  return made;
}

error refused(int status, std::string body) {
  const auto read = etcd2::parse_tree(answer(status, std::move(body)), path);
  REQUIRE_FALSE(read);
  return read.error();
}

std::string folder(const std::string& nodes) {
  return R"({"action":"get","node":{"key":"/v1/services","dir":true,"nodes":[)" +
         nodes + R"(],"modifiedIndex":4,"createdIndex":4}})";
}

} // namespace

TEST_CASE("etcd2: requests name the folder and what is wanted", "[etcd2]") {
  CHECK(etcd2::read_tree(member(), path, true).target ==
        "/v2/keys/v1/services?recursive=true&sorted=true&quorum=true");
  CHECK(etcd2::read_tree(member(), "/a b/ü/", false).target ==
        "/v2/keys/a%20b/%C3%BC?recursive=true&sorted=true");
  CHECK(etcd2::look(member(), path).target ==
        "/v2/keys/v1/services?quorum=true");
  const auto wait =
      etcd2::wait_for_change(member(), path, 8, std::chrono::seconds(60));
  CHECK(wait.target ==
        "/v2/keys/v1/services?wait=true&recursive=true&waitIndex=8");
  CHECK(wait.timeout == std::chrono::milliseconds(60000));
}

TEST_CASE("etcd2: every address is a target, with the user's name", "[etcd2]") {
  etcd_options options;
  options.addresses = {{"10.0.0.1", 2379}, {"10.0.0.2", 4001}};
  auto targets = etcd2::make_targets(options);
  REQUIRE(targets.size() == 2);
  CHECK(targets[1]->authority() == "10.0.0.2:4001");
  CHECK(targets[1]->headers.empty());
  options.user = "root";
  options.password = "secret";
  targets = etcd2::make_targets(options);
  REQUIRE(targets[0]->headers.size() == 1);
  CHECK(targets[0]->headers[0].first == "Authorization");
  CHECK(targets[0]->headers[0].second == "Basic cm9vdDpzZWNyZXQ=");
}

TEST_CASE("etcd2: a tree is flattened and sorted by whole keys", "[etcd2]") {
  const auto read = etcd2::parse_tree(
      answer(
          200,
          folder(
              R"({"key":"/v1/services/empty","dir":true,"modifiedIndex":6,"createdIndex":6},)"
              R"({"key":"/v1/services/web","dir":true,"nodes":[)"
              R"({"key":"/v1/services/web/[::1]:80","value":"x","modifiedIndex":7,"createdIndex":7},)"
              R"({"key":"/v1/services/web/10.0.0.1:80","value":"{\"weight\":3}","modifiedIndex":4,"createdIndex":4}],)"
              R"("modifiedIndex":4,"createdIndex":4},)"
              R"({"key":"/v1/services/web-1","dir":true,"nodes":[)"
              R"({"key":"/v1/services/web-1/10.0.0.2:80","value":"","modifiedIndex":5,"createdIndex":5}],)"
              R"("modifiedIndex":5,"createdIndex":5})")),
      path);
  REQUIRE(read);
  CHECK(read->cluster_id == "4e6e4b22d557efe3");
  CHECK(read->tree.revision == 7);
  const auto& entries = read->tree.entries;
  REQUIRE(entries.size() == 4);
  CHECK(entries[0].key == "/v1/services/empty/");
  CHECK(entries[1].key == "/v1/services/web-1/10.0.0.2:80");
  CHECK(entries[1].value.empty());
  CHECK(entries[2].key == "/v1/services/web/10.0.0.1:80");
  CHECK(entries[2].value == R"({"weight":3})");
  CHECK(entries[2].modify_index == 4);
  CHECK(entries[3].key == "/v1/services/web/[::1]:80");
}

TEST_CASE("etcd2: a folder that is not there is empty", "[etcd2]") {
  const auto read = etcd2::parse_tree(
      answer(
          404,
          R"({"errorCode":100,"message":"Key not found","cause":"/v1","index":3})",
          "3"),
      path);
  REQUIRE(read);
  CHECK(read->tree.entries.empty());
  CHECK(read->tree.revision == 3);
  CHECK(etcd2::parse_tree(answer(200, folder("")), path)->tree.entries.empty());
}

TEST_CASE("etcd2: errors say what is wrong", "[etcd2]") {
  CHECK(refused(404, "404 page not found\n").code == errc::not_found);
  CHECK(refused(404, "404 page not found\n").message ==
        "etcd: 404: 404 page not found: the server has no v2 API "
        "(--enable-v2)");
  CHECK(refused(401, R"({"message":"Insufficient credentials"})").message ==
        "etcd: 401: Insufficient credentials");
  CHECK(refused(401, "{}").code == errc::denied);
  CHECK(refused(400, R"({"errorCode":110,"message":"x"})").code ==
        errc::denied);
  const auto no_leader =
      refused(500, R"({"errorCode":301,"message":"Leader","cause":"none"})");
  CHECK(no_leader.code == errc::unavailable);
  CHECK(no_leader.message == "etcd: 500: Leader (none)");
  CHECK(
      refused(200, R"({"node":{"key":"/v1/services","value":"x"}})").message ==
      "etcd: /v1/services/ is a key, not a folder");
}

TEST_CASE("etcd2: what is no tree is an error", "[etcd2]") {
  for (const auto* body :
       {"", "[]", "{", "{}", R"({"node":3})",
        R"({"node":{"dir":true,"nodes":4}})",
        R"({"node":{"dir":true,"nodes":[4]}})",
        R"({"node":{"dir":true,"nodes":[{"key":"/v1/services/a"}]}})",
        R"({"node":{"dir":true,"nodes":[{"key":"/v1/services/a","value":3}]}})",
        R"({"node":{"dir":true,"nodes":[{"key":"/other/a","value":""}]}})",
        R"({"node":{"dir":true,"nodes":[{"key":"/v1/services/","value":""}]}})",
        R"({"node":{"dir":true,"nodes":[{"dir":true,"nodes":[]}]}})"}) {
    INFO(body);
    CHECK(refused(200, body).code == errc::bad_answer);
  }
}

TEST_CASE("etcd2: a tree may be as deep as a server likes", "[etcd2]") {
  const int depth = 100'000;
  std::string body = R"({"node":{"key":"/v1/services","dir":true,"nodes":[)";
  for (int i = 0; i < depth; ++i)
    body += R"({"key":"/v1/services/a","dir":true,"nodes":[)";
  for (int i = 0; i < depth; ++i)
    body += "]}";
  const auto read = etcd2::parse_tree(answer(200, body + "]}}"), path);
  REQUIRE(read);
  CHECK(read->tree.entries.size() == 1);
}

TEST_CASE("etcd2: an unreadable index counts as none", "[etcd2]") {
  const auto read = etcd2::parse_tree(answer(200, folder(""), "7x", ""), path);
  REQUIRE(read);
  CHECK(read->tree.revision == 0);
  CHECK(read->cluster_id.empty());
}

TEST_CASE("etcd2: how a long poll ends", "[etcd2]") {
  const auto end = [](int status, std::string body) {
    return etcd2::parse_change(answer(status, std::move(body)));
  };
  using etcd2::news;
  CHECK(
      *end(
          200,
          R"({"action":"set","node":{"key":"/v1/services/web/10.0.0.2:80","value":"","modifiedIndex":5,"createdIndex":5}})"
          "\n") == news::change);
  CHECK(*end(200, "") == news::none); // 2.x, after five minutes
  CHECK(*end(200, "\n") == news::none);
  CHECK(
      *end(
          400,
          R"({"errorCode":401,"message":"The event in requested index is outdated and cleared","cause":"the requested history has been cleared [10/5]","index":1009})") ==
      news::outdated);
  CHECK(*end(404, R"({"errorCode":100,"message":"Key not found"})") ==
        news::change);
  CHECK(end(200, "<html>").error().code == errc::bad_answer);
  CHECK(end(503, "").error().code == errc::unavailable);
  CHECK(end(401, R"({"message":"Insufficient credentials"})").error().code ==
        errc::denied);
}
