#include "store/consul_options.hpp"

#include "support/catch.hpp"

using namespace zedcup;
using namespace std::chrono_literals;

namespace {

consul_options good(std::string_view json) {
  auto parsed = parse_consul_options(json);
  if (!parsed)
    FAIL(parsed.error().message);
  return *parsed;
}

std::string complaint(std::string_view json) {
  const auto parsed = parse_consul_options(json);
  if (parsed)
    return "accepted";
  REQUIRE(parsed.error().code == errc::invalid_argument);
  return parsed.error().message;
}

using address = std::pair<std::string, uint16_t>;

} // namespace

TEST_CASE("consul_options: nothing means 127.0.0.1:8500", "[store]") {
  for (const char* text : {"", "{}", "[]"}) {
    const auto options = good(text);
    REQUIRE(options.addresses.size() == 1);
    REQUIRE(options.addresses[0] == address("127.0.0.1", 8500));
    REQUIRE(options.connect_timeout == 2s);
    REQUIRE(options.read_timeout == 10s);
    REQUIRE_FALSE(options.ssl);
    REQUIRE(options.ssl_verify);
    REQUIRE(options.limits.max_ops == 64);
    REQUIRE(options.notices.empty());
  }
}

TEST_CASE("consul_options: lua-resty-consul's names are understood",
          "[store]") {
  const auto options = good(R"({
    "host": "10.0.0.1", "port": "8501", "connect_timeout": 60000,
    "read_timeout": 5000.0, "default_args": {"token": "t", "dc": "east"},
    "ssl": true, "ssl_verify": "false", "sni_host": "consul.example"})");
  REQUIRE(options.addresses[0] == address("10.0.0.1", 8501));
  REQUIRE(options.connect_timeout == 60s);
  REQUIRE(options.read_timeout == 5s);
  REQUIRE(options.token == "t");
  REQUIRE(options.datacenter == "east");
  REQUIRE(options.ssl);
  REQUIRE_FALSE(options.ssl_verify);
  REQUIRE(options.sni_host == "consul.example");
}

TEST_CASE("consul_options: addresses replace host and port", "[store]") {
  const auto options = good(R"({"addresses":
    ["a:1", "b", "[::1]:2", "[::2]", "fe80::1"], "host": "x", "port": 9})");
  const std::vector<address> expected{
      {"a", 1}, {"b", 8500}, {"::1", 2}, {"::2", 8500}, {"fe80::1", 8500}};
  REQUIRE(options.addresses == expected);
}

TEST_CASE("consul_options: stale reads are bounded", "[store]") {
  REQUIRE_FALSE(good("{}").stale_max_age);
  REQUIRE_FALSE(good(R"({"stale": false})").stale_max_age);
  REQUIRE(good(R"({"stale": true})").stale_max_age == 10s);
  REQUIRE(good(R"({"stale": {"max_age": 3}})").stale_max_age == 3s);
}

TEST_CASE("consul_options: every bad value is named", "[store]") {
  REQUIRE(complaint(R"({"port": "abc"})") ==
          R"(consul.port: expected 1..65535, got "abc")");
  REQUIRE(complaint(R"({"port": 70000})") ==
          "consul.port: expected 1..65535, got 70000");
  REQUIRE(complaint(R"({"port": 80.5})").find("consul.port") == 0);
  REQUIRE(complaint(R"({"host": 1})") == "consul.host: expected text, got 1");
  REQUIRE(complaint(R"({"host": ""})").find("consul.host") == 0);
  REQUIRE(complaint(R"({"ssl": 1})") ==
          "consul.ssl: expected true or false, got 1");
  REQUIRE(complaint(R"({"read_timeout": 0})").find("consul.read_timeout") == 0);
  REQUIRE(complaint(R"({"read_timeout": -1})").find("got -1") !=
          std::string::npos);
  REQUIRE(complaint(R"({"default_args": 1})").find("consul.default_args") == 0);
  REQUIRE(complaint(R"({"default_args": {"token": "a\nb"}})") ==
          R"(consul.default_args.token: expected text, got "a\nb")");
  REQUIRE(complaint(R"({"addresses": []})").find("consul.addresses") == 0);
  REQUIRE(complaint(R"({"addresses": ["a:1", "b:x"]})") ==
          R"(consul.addresses[2]: expected "host:port", got "b:x")");
  for (const char* bad : {"", ":80", "a:", "a:0", "a:65536", "[::1", "[::1]x"})
    REQUIRE(complaint("{\"addresses\": [\"" + std::string(bad) + "\"]}")
                .find("consul.addresses[1]") == 0);
  REQUIRE(
      complaint(R"({"stale": {"max_age": 0}})").find("consul.stale.max_age") ==
      0);
  REQUIRE(complaint(R"({"max_txn_ops": 1})").find("consul.max_txn_ops") == 0);
  REQUIRE(complaint(R"({"client_key": "k"})").find("consul.client_cert") == 0);
  REQUIRE(complaint("{") == "consul: not JSON, at byte 1");
  REQUIRE(complaint("7").find("consul: expected a table") == 0);
}

TEST_CASE("consul_options: unknown keys are notices", "[store]") {
  const auto options =
      good(R"({"hots": "x", "default_args": {"ns": "team"}, "port": 1})");
  REQUIRE(options.addresses[0].second == 1);
  REQUIRE(options.notices ==
          std::vector<std::string>{"consul.hots: unknown option",
                                   "consul.default_args.ns: not used here"});
}

TEST_CASE("consul_options: targets carry token, TLS and datacenter",
          "[store]") {
  const auto targets = consul_targets(good(R"({"addresses": ["a", "b"],
    "token": "t", "ssl": true, "ca_cert": "/ca.pem", "datacenter": "d"})"));
  REQUIRE(targets.size() == 2);
  REQUIRE(targets[1].endpoint->host == "b");
  REQUIRE(targets[1].endpoint->tls);
  REQUIRE(targets[1].endpoint->ca_cert == "/ca.pem");
  REQUIRE(targets[1].endpoint->headers ==
          http_headers{{"X-Consul-Token", "t"}});
  REQUIRE(targets[1].datacenter == "d");
}
