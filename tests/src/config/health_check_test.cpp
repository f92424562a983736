// Key `healthcheck`: what it may say, and what is said about the rest.
#include "config/decode.hpp"
#include "support/catch.hpp"

using namespace zedcup;

namespace {

decoded<instance_config> decode_check(const std::string& check) {
  const auto root = tree_from_json(R"({"healthcheck": )" + check + "}");
  REQUIRE(root);
  return decode_instance("web", *root);
}

healthcheck_config good_check(const std::string& json) {
  const auto outcome = decode_check(json);
  REQUIRE(outcome.clean());
  return outcome.value->healthcheck.value();
}

} // namespace

TEST_CASE("healthcheck: true is all defaults", "[config][health]") {
  const auto check = good_check("true");
  CHECK(check.enabled);
  CHECK(check.kind == probe_kind::http);
  CHECK(check.interval == std::chrono::seconds{60});
  CHECK(check.method == "GET");
  CHECK(check.path == "/");
  CHECK(check.headers.empty());
  CHECK_FALSE(check.status_codes);
  CHECK_FALSE(check.ssl);
  CHECK_FALSE(check.timeout);
  CHECK_FALSE(check.read_timeout);
  CHECK(check.body.empty());
}

TEST_CASE("healthcheck: false disables", "[config][health]") {
  CHECK_FALSE(good_check("false").enabled);
}

TEST_CASE("healthcheck: every key of a table is read", "[config][health]") {
  const auto check = good_check(R"({"type": "grpc", "interval": 5,
      "method": "HEAD", "path": "/h?a=b", "headers": {"Host": "a", "X-B": 1},
      "status_codes": ["5xx", 404], "ssl": {"verify": false, "sni_name": "n",
      "ca_cert": "/ca.pem"}, "timeout": 100, "read_timeout": 200,
      "body": "~^ok", "service": "s.T"})");
  CHECK(check.kind == probe_kind::grpc);
  CHECK(check.interval == std::chrono::seconds{5});
  CHECK(check.method == "HEAD");
  CHECK(check.path == "/h?a=b");
  CHECK(check.headers == decltype(check.headers){{"Host", "a"}, {"X-B", "1"}});
  CHECK(check.status_codes == std::set<std::string>{"404", "5xx"});
  REQUIRE(check.ssl);
  CHECK(check.ssl->on);
  CHECK_FALSE(check.ssl->how.verify);
  CHECK(check.ssl->how.sni_name == "n");
  CHECK(check.ssl->how.ca_cert == "/ca.pem");
  CHECK(check.timeout == std::chrono::milliseconds{100});
  CHECK(check.read_timeout == std::chrono::milliseconds{200});
  CHECK(check.body == "~^ok");
  CHECK(check.service == "s.T");
}

TEST_CASE("healthcheck: ssl = false and no status codes can be asked for",
          "[config][health]") {
  const auto check = good_check(R"({"ssl": false, "status_codes": false})");
  REQUIRE(check.ssl);
  CHECK_FALSE(check.ssl->on);
  REQUIRE(check.status_codes);
  CHECK(check.status_codes->empty());
}

TEST_CASE("healthcheck: a bad key is named, and nothing is probed",
          "[config][health]") {
  const std::vector<std::pair<std::string, std::string>> cases = {
      {R"({"interval": 0})", R"(interval: expected 1..86400, got "0")"},
      {R"({"interval": 86401})", R"(interval: expected 1..86400, got "86401")"},
      {R"({"type": "udp"})", R"(type: expected http, tcp or grpc, got "udp")"},
      {R"({"method": "G T"})", R"(method: expected an HTTP method, got "G T")"},
      {R"({"path": "h"})", "path: expected a path that begins with /, "
                           "without spaces and #, got \"h\""},
      {R"({"path": "/a\r\nX: y"})",
       "path: expected a path that begins with /, without spaces and #, got "
       R"("/a\x0d\x0aX: y")"},
      {R"({"headers": "x"})", R"(headers: expected a table, got "x")"},
      {R"({"headers": {"A": "x\ny"}})", "headers/A: not usable as a header"},
      {R"({"headers": {"A b": "x"}})", "headers/A b: not usable as a header"},
      {R"({"headers": {"Content-Length": 7}})",
       "headers/Content-Length: not usable as a header"},
      {R"({"headers": {"a": 1, "A": 2}})", "headers/a: is there twice"},
      {R"({"status_codes": ["x"]})",
       R"(status_codes/1: expected a pattern such as "503" or "5xx", got "x")"},
      {R"({"ssl": "maybe"})",
       R"(ssl: expected true, false or a table, got "maybe")"},
      {R"({"timeout": 0})", R"(timeout: expected 1..86400000, got "0")"},
      {R"({"body": "~("})", "body: missing closing parenthesis at offset 1"},
  };
  for (const auto& [json, complaint] : cases) {
    INFO(json);
    const auto outcome = decode_check(json);
    REQUIRE(outcome.diagnostics.size() == 1);
    const auto& said = outcome.diagnostics[0];
    CHECK(said.severity == diagnostic::level::error);
    CHECK(said.path + ": " + said.message == "healthcheck/" + complaint);
    REQUIRE(outcome.value);
    CHECK_FALSE(outcome.value->healthcheck.value().enabled);
    CHECK(outcome.value->healthcheck->given.text == "false");
  }
}

TEST_CASE("healthcheck: a bad table keeps its host", "[config][health]") {
  const auto root = tree_from_json(R"({"pools": [{"hosts": [{"host": "a",
      "port": 1, "healthcheck": {"interval": "often"}}]}]})");
  const auto outcome = decode_instance("web", *root);
  REQUIRE(outcome.value);
  REQUIRE(outcome.value->pools.at(0).hosts.size() == 1);
  CHECK_FALSE(outcome.value->pools[0].hosts[0].healthcheck->enabled);
}

TEST_CASE("healthcheck: is shown as it was written", "[config][health]") {
  const auto root =
      tree_from_json(R"({"healthcheck": {"path": "/h", "note": "x"}})");
  const auto outcome = decode_instance("web", *root);
  REQUIRE(outcome.clean());
  CHECK(to_json(*outcome.value)
            .find(R"("healthcheck":{"note":"x","path":"/h"})") !=
        std::string::npos);
}
