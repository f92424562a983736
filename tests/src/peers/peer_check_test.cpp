#include "peers/peer_check.hpp"

#include "support/catch.hpp"

using namespace zedcup;

namespace {

std::string refused(std::string_view json) {
  const auto read = parse_peer_checks(json);
  INFO(json);
  REQUIRE_FALSE(read);
  CHECK(read.error().code == errc::invalid_argument);
  return read.error().message;
}

/// As bad statuses are matched: digits, or x for any.
bool matches(const std::string& pattern, int status) {
  const auto digits = std::to_string(status);
  for (size_t i = 0; i < 3; ++i)
    if (pattern[i] != 'x' && pattern[i] != digits[i])
      return false;
  return pattern.size() == 3;
}

std::shared_ptr<const probe> probe_of(const std::string& host) {
  peer one;
  one.host = host;
  one.port = 8080;
  one.check_url = "/health?a=1";
  peer_checks how;
  how.timeout = std::chrono::milliseconds(300);
  return make_peer_probe("web", one, how, all_but(how.ok_status));
}

} // namespace

TEST_CASE("peer checks: defaults are the original's", "[peers]") {
  const auto read = parse_peer_checks("{}");
  REQUIRE(read);
  CHECK(*read == peer_checks{});
  CHECK(read->interval == std::chrono::seconds(5));
  CHECK(read->max_fails == 3);
  CHECK(read->min_rises == 1);
}

TEST_CASE("peer checks: every option is read", "[peers]") {
  const auto read = parse_peer_checks(
      R"({"interval": 1, "timeout": 250, "max_fails": 2, "min_rises": 4,
          "ok_status": [200, 404]})");
  REQUIRE(read);
  CHECK(read->interval == std::chrono::seconds(1));
  CHECK(read->timeout == std::chrono::milliseconds(250));
  CHECK(read->max_fails == 2);
  CHECK(read->min_rises == 4);
  CHECK(read->ok_status == std::set<int>{200, 404});
}

TEST_CASE("peer checks: an error names the key", "[peers]") {
  for (const std::string key :
       {"interval", "timeout", "max_fails", "min_rises"})
    for (const std::string value : {"0", "-1", "1e9", "\"x\"", "[]", "true"})
      CHECK(refused("{\"" + key + "\": " + value + "}").find("health." + key) ==
            0);
  for (const std::string value :
       {"200", "[]", "{}", "[99]", "[600]", "[\"ok\"]", "[200, null]"})
    CHECK(refused(R"({"ok_status": )" + value + "}").find("health.ok_status") ==
          0);
  CHECK(refused(R"({"intervall": 3})").find("health.intervall") == 0);
  CHECK_FALSE(parse_peer_checks("3"));
  CHECK_FALSE(parse_peer_checks("{"));
}

TEST_CASE("peer checks: all_but() is every status that is not good",
          "[peers]") {
  for (const auto& good :
       {std::set<int>{}, std::set<int>{200}, std::set<int>{100, 199, 599},
        peer_checks{}.ok_status}) {
    const auto bad = all_but(good);
    for (int status = 100; status < 600; ++status) {
      size_t found = 0;
      for (const auto& pattern : bad)
        found += matches(pattern, status) ? 1 : 0;
      INFO(status);
      CHECK(found == (good.count(status) == 0 ? 1 : 0));
    }
  }
  CHECK(all_but({}) ==
        std::set<std::string>{"1xx", "2xx", "3xx", "4xx", "5xx"});
  CHECK(all_but({200}).count("20x") == 0);
  CHECK(all_but({200}).count("201") == 1);
  CHECK(all_but({200}).count("21x") == 1);
}

TEST_CASE("peer checks: a probe asks for the peer's URL", "[peers]") {
  const auto made = probe_of("10.0.0.1");
  REQUIRE(made);
  CHECK(made->request.target == "/health?a=1");
  CHECK(made->request.method == http_method::get);
  CHECK(made->request.endpoint->host == "10.0.0.1");
  CHECK(made->request.endpoint->port == 8080);
  CHECK(made->request.endpoint->connect_timeout ==
        std::chrono::milliseconds(300));
  http_response answer;
  answer.status = 204;
  CHECK(judge(*made, answer).what == verdict::good);
  answer.status = 404;
  CHECK(judge(*made, answer).what == verdict::bad);
  CHECK(judge(*made, error{errc::unavailable, "refused"}).what == verdict::bad);
}

TEST_CASE("peer checks: IPv6 and names are asked too", "[peers]") {
  CHECK(probe_of("[::1]")->request.endpoint->host == "::1");
  CHECK(probe_of("web.example")->request.endpoint->host == "web.example");
}
