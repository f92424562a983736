#include "actors/feed.hpp"

#include "support/catch.hpp"

using namespace zedcup;

namespace {

using lines = std::vector<std::string>;

system_options good(std::string_view json, lines expected = {}) {
  lines notices;
  const auto read = parse_feed_options(json, notices);
  INFO(json);
  if (!read)
    FAIL(read.error().message);
  CHECK(notices == expected);
  return *read;
}

std::string refused(std::string_view json) {
  lines notices;
  const auto read = parse_feed_options(json, notices);
  INFO(json);
  REQUIRE_FALSE(read);
  CHECK(read.error().code == errc::invalid_argument);
  return read.error().message;
}

const etcd_options& etcd_of(const system_options& options) {
  return std::get<etcd_options>(options.store);
}

} // namespace

TEST_CASE("feed options: the original's words", "[feed]") {
  const auto read = good(
      R"({"etcd_host": "10.0.0.1", "etcd_port": 4001, "etcd_path": "/v1/s/"})");
  CHECK(read.path == "/v1/s/");
  CHECK(read.content_prefix() == "/v1/s/");
  CHECK(read.settings_prefix().empty());
  REQUIRE(etcd_of(read).addresses.size() == 1);
  CHECK(etcd_of(read).addresses[0] == server_address{"10.0.0.1", 4001});
  CHECK_FALSE(etcd_of(read).v2);
}

TEST_CASE("feed options: without a store, etcd on this node", "[feed]") {
  CHECK(etcd_of(good(R"({"path": "/s"})")).addresses[0] ==
        server_address{"127.0.0.1", 2379});
}

TEST_CASE("feed options: etcd as a table or in flat words", "[feed]") {
  for (const auto* json :
       {R"({"path": "/s", "etcd": {"endpoints": ["a:1", "b"], "user": "u",
            "password": "p", "api": "v2"}})",
        R"({"path": "/s", "etcd_endpoints": ["a:1", "b"], "etcd_user": "u",
            "etcd_password": "p", "etcd_api": "v2"})"}) {
    const auto etcd = etcd_of(good(json));
    CHECK(etcd.addresses == std::vector<server_address>{{"a", 1}, {"b", 2379}});
    CHECK(etcd.user == "u");
    CHECK(etcd.password == "p");
    CHECK(etcd.v2);
  }
}

TEST_CASE("feed options: errors are in the caller's words", "[feed]") {
  CHECK(refused(R"({"path": "/s", "etcd_port": 0})").find("etcd_port: ") == 0);
  CHECK(refused(R"({"path": "/s", "etcd": {"port": 0}})").find("etcd.port: ") ==
        0);
  CHECK(refused(R"({"path": "/s", "etcd_api": "v4"})").find("etcd_api: ") == 0);
  CHECK(refused(R"({"path": "/s", "etcd_user": "u"})").find("etcd_user: ") ==
        0);
  CHECK(refused(R"({"path": "/s", "etcd": 3})").find("etcd: ") == 0);
  CHECK(refused(R"({"path": "/s", "consul": {"port": 0}})")
            .find("consul.port: ") == 0);
  CHECK(refused(R"({"path": "/s", "embedded": {"path": "x"}})") ==
        "embedded.path: expected an absolute path");
  CHECK(refused(R"({"path": "/s", "embedded": 3})") ==
        "embedded.path: expected an absolute path");
}

TEST_CASE("feed options: one store at a time", "[feed]") {
  CHECK(refused(R"({"path": "/s", "consul": {}, "embedded": {"path": "/x"}})")
            .find("only one store") != std::string::npos);
  CHECK(refused(R"({"path": "/s", "consul": {}, "etcd_host": "a"})")
            .find("only one store") != std::string::npos);
  CHECK(refused(R"({"path": "/s", "etcd": {}, "etcd_host": "a"})") ==
        "etcd_host: either this or the table etcd");
}

TEST_CASE("feed options: the path becomes what the store calls it", "[feed]") {
  const auto path_of = [](const std::string& path, const std::string& store) {
    return *good("{\"path\": \"" + path + "\", " + store + "}").path;
  };
  const std::string v3 = R"("etcd": {})";
  const std::string v2 = R"("etcd": {"api": "v2"})";
  const std::string consul = R"("consul": {})";
  const std::string embedded = R"("embedded": {"path": "/x"})";
  CHECK(path_of("/v1/s", v3) == "/v1/s/");
  CHECK(path_of("v1/s", v3) == "v1/s/");
  CHECK(path_of("v1/s/", v2) == "/v1/s/");
  CHECK(path_of("/v1/s", v2) == "/v1/s/");
  CHECK(path_of("/v1/s/", consul) == "v1/s/");
  CHECK(path_of("v1/s", embedded) == "v1/s/");
}

TEST_CASE("feed options: a bad path names the key that was given", "[feed]") {
  CHECK(refused("{}").find("etcd_path: expected a path") == 0);
  CHECK(refused(R"({"path": 3})").find("path: expected a path") == 0);
  CHECK(refused(R"({"etcd_path": ""})").find("etcd_path: ") == 0);
  for (const std::string path :
       {"/", "//", "/a//b", "/a b", "/a\\n", "/\\u00fc"})
    for (const std::string store :
         {R"("etcd": {})", R"("etcd": {"api": "v2"})", R"("consul": {})"})
      CHECK(refused("{\"path\": \"" + path + "\", " + store + "}")
                .find("path: expected a path") == 0);
  CHECK(refused("{\"path\": \"/" + std::string(600, 'a') + "\"}")
            .find("path: ") == 0);
}

TEST_CASE("feed options: what means nothing is mentioned", "[feed]") {
  good(R"({"path": "/s", "colour": 1, "etcd_colour": 2, "storage": null})",
       {"colour: unknown option", "etcd_colour: unknown option"});
  good(R"({"path": "/s", "etcd": {"colour": 2}})",
       {"etcd.colour: unknown option"});
}

TEST_CASE("feed options: what is no table is refused", "[feed]") {
  for (const auto* json : {"", "[]", "3", "{", "null"})
    CHECK(refused(json) == "options: expected a table");
}
