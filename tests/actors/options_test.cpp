// The options of zedcup.init.
#include "actors/system.hpp"
#include "support/catch.hpp"

using namespace zedcup;

namespace {

system_options parse(std::string_view json,
                     std::vector<std::string> expected_notices = {}) {
  std::vector<std::string> notices;
  auto parsed = parse_system_options(json, notices);
  INFO(json);
  CHECK(notices == expected_notices);
  if (!parsed)
    FAIL(parsed.error().message);
  return *parsed;
}

std::string complaint(std::string_view json) {
  std::vector<std::string> notices;
  auto parsed = parse_system_options(json, notices);
  return parsed ? "" : parsed.error().message;
}

const consul_options& consul_of(const system_options& options) {
  return std::get<consul_options>(options.store);
}

} // namespace

TEST_CASE("options: the default is a Consul on this machine", "[options]") {
  for (auto* json : {"{}", "[]", R"({"consul": {}})", R"({"consul": []})",
                     R"({"consul": null, "prefix": null})"}) {
    const auto options = parse(json);
    CHECK(options.prefix == "zedcup");
    CHECK(options.store_name() == "consul 127.0.0.1:8500/zedcup");
  }
}

TEST_CASE("options: slashes around a prefix mean nothing", "[options]") {
  for (auto* prefix : {"a/b", "/a/b", "a/b/", "//a/b//"}) {
    const auto json = std::string(R"({"prefix": ")") + prefix + "\"}";
    CHECK(parse(json).prefix == "a/b");
  }
  CHECK(parse(R"({"prefix": 7})").prefix == "7");
}

TEST_CASE("options: a prefix that is none names its key", "[options]") {
  for (auto* prefix : {R"("")", R"("/")", R"("a//b")", R"("a b")", R"("a\n")",
                       R"("\u00e4")", R"({"a": 1})"}) {
    const auto json = std::string(R"({"prefix": )") + prefix + "}";
    INFO(json);
    CHECK(complaint(json).rfind("prefix: expected ", 0) == 0);
  }
}

TEST_CASE("options: the embedded store wants an absolute path", "[options]") {
  const auto options = parse(R"({"embedded": {"path": "/var/lib/z.db"}})");
  CHECK(std::get<embedded_target>(options.store).path == "/var/lib/z.db");
  CHECK(options.store_name() == "embedded /var/lib/z.db:zedcup");
  for (auto* value : {"{}", "[]", "true", "5", R"({"path": ""})",
                      R"({"path": "z.db"})", R"({"path": {"a": 1}})"}) {
    const auto json = std::string(R"({"embedded": )") + value + "}";
    INFO(json);
    CHECK(complaint(json) == "embedded.path: expected an absolute path");
  }
}

TEST_CASE("options: a bad value of consul names its key", "[options]") {
  CHECK(complaint(R"({"consul": {"port": 0}})") ==
        "consul.port: expected 1..65535, got 0");
  CHECK(complaint(R"({"consul": {"ssl": "yes"}})") ==
        R"(consul.ssl: expected true or false, got "yes")");
  CHECK(complaint(R"({"consul": 5})") == "consul: expected a table, got 5");
}

TEST_CASE("options: all addresses are in the store's name", "[options]") {
  const auto options = parse(
      R"({"prefix": "p", "consul": {"addresses": ["10.0.0.1", "b:85"]}})");
  CHECK(options.store_name() == "consul 10.0.0.1:8500 b:85/p");
}

TEST_CASE("options: a text that reads as a number stays a text", "[options]") {
  const auto options = parse(
      R"({"consul": {"token": "12345", "datacenter": "1", "host": "10.1"}})");
  CHECK(consul_of(options).token == "12345");
  CHECK(consul_of(options).datacenter == "1");
  CHECK(consul_of(options).addresses.front().first == "10.1");
  CHECK(consul_of(parse(R"({"consul": {"default_args": {"token": "true"}}})"))
            .token == "true");
}

TEST_CASE("options: keys that mean nothing are noticed", "[options]") {
  parse(R"({"prefx": "a", "consul": {"hots": "b"}})",
        {"prefx: unknown option", "consul.hots: unknown option"});
  parse(R"({"embedded": {"path": "/z", "mode": 1}})",
        {"embedded.mode: unknown option"});
}

TEST_CASE("options: there is one store", "[options]") {
  CHECK(complaint(R"({"embedded": {"path": "/z"}, "consul": {}})") ==
        "consul, embedded: only one store at a time");
}

TEST_CASE("options: what is not a table is refused", "[options]") {
  CHECK(complaint("5") != "");
  CHECK(complaint(R"("text")") != "");
  CHECK(complaint("") != "");
  CHECK(complaint("{") != "");
}
