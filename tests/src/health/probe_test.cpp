// What is asked of a host, and what its answer means.
#include "health/probe.hpp"

#include "config/decode.hpp"
#include "support/catch.hpp"

using namespace zedcup;

namespace {

using probe_ptr = std::shared_ptr<const probe>;

instance_config instance_of(const std::string& json) {
  const auto root = tree_from_json(json);
  REQUIRE(root);
  auto outcome = decode_instance("web", *root);
  REQUIRE(outcome.value);
  return std::move(*outcome.value);
}

/// The probe of the first host of the first pool.
probe_ptr first_probe(const std::string& json) {
  const auto config = instance_of(json);
  const auto& pool = config.pools.at(0);
  return make_probe(config, pool, pool.hosts.at(0));
}

/// The same with that check, for a host at 10.0.0.1:80.
probe_ptr with_check(const std::string& check,
                     const std::string& host = "10.0.0.1") {
  auto made = first_probe(R"({"healthcheck": )" + check +
                          R"(, "pools": [{"hosts": [{"host": ")" + host +
                          R"(", "port": 80}]}]})");
  REQUIRE(made);
  return made;
}

result<http_response> answer(int status, std::string body = "") {
  http_response made;
  made.status = status;
  made.body = std::move(body);
  return made;
}

std::string header(const probe& of, const std::string& name) {
  http_response view;
  view.headers = of.request.headers;
  return std::string(view.header(name).value_or("-"));
}

judgement grpc(const std::string& body, const char* status = "0") {
  auto made = answer(200, body);
  made->headers = {{"grpc-status", status}};
  return judge(*with_check(R"({"type": "grpc"})"), made);
}

} // namespace

TEST_CASE("probe: the nearest check holds as a whole", "[health]") {
  const std::string config = R"({"healthcheck": {"path": "/i", "interval": 9},
      "pools": [{"healthcheck": POOL, "hosts": [
      {"host": "a", "port": 1, "healthcheck": HOST}]}]})";
  const auto target = [&](const std::string& pool, const std::string& host) {
    auto json = config;
    json.replace(json.find("POOL"), 4, pool);
    json.replace(json.find("HOST"), 4, host);
    const auto made = first_probe(json);
    return made ? made->request.target + " " +
                      std::to_string(made->interval.count())
                : "none";
  };
  CHECK(target("null", "null") == "/i 9");
  CHECK(target(R"({"path": "/p"})", "null") == "/p 60");
  CHECK(target(R"({"path": "/p"})", R"({"path": "/h"})") == "/h 60");
  CHECK(target("null", "true") == "/ 60");
  CHECK(target("false", "null") == "none");
  CHECK(target("true", "false") == "none");
  CHECK(target("false", "true") == "/ 60");
  CHECK(target("null", R"({"interval": "x"})") == "none");
}

TEST_CASE("probe: without a healthcheck there is none", "[health]") {
  CHECK_FALSE(
      first_probe(R"({"pools": [{"hosts": [{"host": "a", "port": 1}]}]})"));
}

TEST_CASE("probe: defaults", "[health]") {
  const auto made = with_check("true");
  CHECK(made->request.method_name == "GET");
  CHECK(made->request.target == "/");
  CHECK(header(*made, "user-agent") == "zedcup/" ZEDCUP_VERSION " HTTP check");
  CHECK(made->request.endpoint->host == "10.0.0.1");
  CHECK(made->request.endpoint->connect_timeout ==
        std::chrono::milliseconds{2000});
  CHECK(made->request.endpoint->read_timeout ==
        std::chrono::milliseconds{10000});
  CHECK(made->bad_statuses == std::set<std::string>{"4xx", "5xx"});
  CHECK_FALSE(made->request.endpoint->tls);
}

TEST_CASE("probe: given headers replace the defaults by name", "[health]") {
  const auto made = with_check(
      R"({"headers": {"user-agent": "mine", "Host": "www.example.com"}})");
  CHECK(header(*made, "User-Agent") == "mine");
  CHECK(header(*made, "Host") == "www.example.com");
}

TEST_CASE("probe: the window holds max_errors bad probes", "[health]") {
  const auto of = [](const std::string& pool) {
    return first_probe(R"({"healthcheck": {"interval": 30}, "pools": [{)" +
                       pool + R"("hosts": [{"host": "a", "port": 1}]}]})");
  };
  CHECK(of("")->window == std::chrono::seconds{120});
  CHECK(of(R"("error_timeout": 500, )")->window == std::chrono::seconds{500});
  CHECK(of(R"("max_errors": 9, "min_rises": 2, )")->max_errors == 9);
  CHECK(of(R"("max_errors": 1000000, )")->window ==
        std::chrono::seconds{30'000'030});
}

TEST_CASE("probe: addresses of every kind", "[health]") {
  CHECK(with_check("true", "[::1]")->request.endpoint->host == "::1");
  CHECK(with_check("true", "example.com")->request.endpoint->host ==
        "example.com");
  const auto local = with_check("true", "unix:/tmp/s")->request.endpoint;
  CHECK(local->unix_path == "/tmp/s");
  CHECK(local->host == "localhost");
}

TEST_CASE("probe: TLS is the instance's unless the check says otherwise",
          "[health]") {
  const auto of = [](const std::string& host, const std::string& ssl,
                     const std::string& check) {
    return first_probe(R"({"ssl": )" + ssl + R"(, "healthcheck": )" + check +
                       R"(, "pools": [{"hosts": [{"host": ")" + host +
                       R"(", "port": 443}]}]})")
        ->request.endpoint;
  };
  CHECK_FALSE(of("a", "false", "true")->tls);
  CHECK(of("a", "true", "true")->tls);
  CHECK(of("a", "true", "true")->verify);
  CHECK(of("a", "true", "true")->verify_name);
  CHECK(of("10.0.0.1", "true", "true")->verify_name);
  CHECK(of("[::1]", "true", "true")->verify_name);
  CHECK_FALSE(of("unix:/s", "true", "true")->verify_name);
  CHECK(of("unix:/s", R"({"sni_name": "n"})", "true")->verify_name);
  CHECK(of("a", R"({"sni_name": "[::1]"})", "true")->sni_host == "::1");
  CHECK(of("10.0.0.1", R"({"sni_name": "n"})", "true")->verify_name);
  CHECK(of("10.0.0.1", R"({"sni_name": "n"})", "true")->sni_host == "n");
  CHECK_FALSE(of("a", R"({"verify": false})", "true")->verify);
  CHECK(of("a", R"({"ca_cert": "/c"})", "true")->ca_cert == "/c");
  CHECK_FALSE(of("a", "true", R"({"ssl": false})")->tls);
  CHECK(of("a", "false", R"({"ssl": {"ca_cert": "/d"}})")->ca_cert == "/d");
}

TEST_CASE("probe: statuses are judged by pattern", "[health]") {
  const auto made = with_check(R"({"status_codes": ["5xx", "40x", "301"]})");
  const auto bad = [&](int status) {
    return judge(*made, answer(status)).what == verdict::bad;
  };
  CHECK(bad(500));
  CHECK(bad(404));
  CHECK(bad(301));
  CHECK_FALSE(bad(302));
  CHECK_FALSE(bad(410));
  CHECK_FALSE(bad(200));
  CHECK_FALSE(bad(42));
}

TEST_CASE("probe: the body must match", "[health]") {
  const auto made = with_check(R"({"body": "~^ok\\b"})");
  CHECK(judge(*made, answer(200, "ok then")).what == verdict::good);
  const auto bad = judge(*made, answer(200, "not ok"));
  CHECK(bad.what == verdict::bad);
  CHECK(bad.why.find("the body does not match") == 0);
}

TEST_CASE("probe: what fails on this side says nothing about the host",
          "[health]") {
  const auto made = with_check("true");
  const auto what = [&](errc code) {
    return judge(*made, error{code, "x"}).what;
  };
  CHECK(what(errc::unavailable) == verdict::bad);
  CHECK(what(errc::timed_out) == verdict::bad);
  CHECK(what(errc::bad_answer) == verdict::bad);
  CHECK(what(errc::too_large) == verdict::bad);
  CHECK(what(errc::exhausted) == verdict::none);
  CHECK(what(errc::cancelled) == verdict::none);
  CHECK(what(errc::invalid_argument) == verdict::misconfigured);
}

TEST_CASE("probe: tcp is satisfied with a connection", "[health]") {
  const auto made = with_check(R"({"type": "tcp"})");
  CHECK(made->request.connect_only);
  CHECK(judge(*made, answer(0)).what == verdict::good);
  CHECK(judge(*made, error{errc::unavailable, ""}).what == verdict::bad);
}

TEST_CASE("probe: grpc asks for a service", "[health]") {
  CHECK(grpc_health_request("") == std::string(5, '\0'));
  CHECK(grpc_health_request("a.B") ==
        std::string("\0\0\0\0\5\x0a\3", 7) + "a.B");
  const auto longer = grpc_health_request(std::string(300, 'x'));
  CHECK(longer.substr(0, 8) == std::string("\0\0\0\1\x2f\x0a\xac\2", 8));
  const auto made = with_check(R"({"type": "grpc", "service": "a.B"})");
  CHECK(made->request.http2);
  CHECK(made->request.body == grpc_health_request("a.B"));
  CHECK(header(*made, "content-type") == "application/grpc");
}

TEST_CASE("probe: grpc passes when it is SERVING", "[health]") {
  CHECK(grpc(std::string("\0\0\0\0\2\x08\1", 7)).what == verdict::good);
  CHECK(grpc(std::string("\0\0\0\0\2\x08\2", 7)).why == "serving status 2");
  CHECK(grpc(std::string(5, '\0')).why == "serving status 0");
  CHECK(grpc(std::string("\0\0\0\0\2\x08\1", 7), "12").why == "grpc-status 12");
  const std::vector<std::string> damaged = {
      "",
      std::string("\1\0\0\0\2\x08\1", 7),
      std::string("\0\0\0\0\3\x08\1", 7),
      std::string("\0\0\0\0\1\x08", 6),
      std::string("\0\0\0\0\2\x0a\1", 7),
      std::string("\0\xff\xff\xff\xff", 5),
      std::string("\0\0\0\0\x0b", 5) + std::string(11, '\xff')};
  for (const auto& body : damaged)
    CHECK(grpc(body).why == "no HealthCheckResponse in the answer");
  CHECK(judge(*with_check(R"({"type": "grpc"})"), answer(200)).why ==
        "no grpc-status in the answer");
}
