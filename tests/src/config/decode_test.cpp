#include "src/config/decode_support.hpp"

using namespace zedcup;
using namespace std::chrono_literals;

TEST_CASE("decode: fills in the documented defaults", "[config]") {
  const auto outcome = decode_host(R"("name": "web01")");
  CHECK(outcome.clean());
  REQUIRE(outcome.value->pools.size() == 1);
  const pool_config& pool = outcome.value->pools[0];
  CHECK(pool.name == "1");
  CHECK(pool.up);
  CHECK(pool.timeout == 2000ms);
  CHECK(pool.error_timeout == 60s);
  CHECK(pool.max_errors == 3);
  CHECK(pool.read_timeout == 10000ms);
  CHECK(pool.keepalive_timeout == 60000ms);
  CHECK(pool.keepalive_pool == 128);
  CHECK(pool.status_codes == std::set<std::string>{"4xx", "5xx"});
  CHECK_FALSE(pool.healthcheck);
  const host_config& host = pool.hosts.at(0);
  CHECK(host.name == "web01");
  CHECK(host.address == "10.0.0.1");
  CHECK(host.port == 80);
  CHECK(host.up);
  CHECK(host.weight == 1);
  CHECK_FALSE(outcome.value->ssl);
}

TEST_CASE("decode: reads every key of a pool", "[config]") {
  const auto outcome = decode_pool(
      R"("name": "p", "up": false, "method": "weighted_rr", "timeout": 5,
         "error_timeout": 6, "max_errors": 7, "min_rises": 8,
         "read_timeout": 9, "keepalive_timeout": 10, "keepalive_pool": 0,
         "retry_non_idempotent": true, "status_codes": ["503"])");
  CHECK(outcome.clean());
  const pool_config& pool = outcome.value->pools.at(0);
  CHECK(pool.name == "p");
  CHECK_FALSE(pool.up);
  CHECK(pool.timeout == 5ms);
  CHECK(pool.error_timeout == 6s);
  CHECK(pool.max_errors == 7);
  CHECK(pool.min_rises == 8);
  CHECK(pool.read_timeout == 9ms);
  CHECK(pool.keepalive_timeout == 10ms);
  CHECK(pool.keepalive_pool == 0);
  CHECK(pool.retry_non_idempotent);
  CHECK(pool.status_codes == std::set<std::string>{"503"});
}

TEST_CASE("decode: numbers may be text and carry white space", "[config]") {
  const auto outcome = decode_host(R"("weight": " 10\n")");
  CHECK(outcome.clean());
  CHECK(outcome.value->pools[0].hosts.at(0).weight == 10);
}

TEST_CASE("decode: a unix socket needs no port", "[config]") {
  const auto outcome =
      decode_json(R"({"pools": [{"hosts": [{"host": "unix:/run/a.sock"},
                  {"host": "unix:/run/b.sock", "port": 80}]}]})");
  CHECK(outcome.clean());
  const auto& hosts = outcome.value->pools.at(0).hosts;
  REQUIRE(hosts.size() == 2);
  CHECK(hosts[0].address == "unix:/run/a.sock");
  CHECK(hosts[1].port == 0);
  CHECK(complaints(outcome) ==
        "pools/1/hosts/2/port: ignored for a unix socket\n");
}

TEST_CASE("decode: equal hosts in a pool are allowed", "[config]") {
  const auto outcome = decode_json(
      R"({"pools": [{"hosts": [{"host": "a", "port": 1, "name": "n"},
                               {"host": "a", "port": 1, "name": "n"}]}]})");
  CHECK(outcome.clean());
  CHECK(outcome.value->pools.at(0).hosts.size() == 2);
}

TEST_CASE("decode: status_codes may be a list, a set or false", "[config]") {
  const auto codes = [](const std::string& json) {
    const auto outcome = decode_pool(R"("status_codes": )" + json);
    CHECK(outcome.clean());
    return outcome.value->pools.at(0).status_codes;
  };
  using set = std::set<std::string>;
  CHECK(codes(R"(["5XX", 503, "40x"])") == set{"40x", "503", "5xx"});
  CHECK(codes(R"({"5xx": true, "404": false, "503": true})") ==
        set{"503", "5xx"});
  CHECK(codes("false").empty());
  CHECK(codes("[]").empty());
}

TEST_CASE("decode: a bad status pattern is left out", "[config]") {
  const auto outcome = decode_pool(R"("status_codes": ["5xx", "6xx", "50",
      "5x", "x50", "5yx", "5xxx", {"a": 1}])");
  CHECK(outcome.value->pools.at(0).status_codes ==
        std::set<std::string>{"5xx"});
  CHECK(outcome.diagnostics.size() == 7);
  CHECK(outcome.diagnostics.at(0).path == "pools/1/status_codes/2");
}

TEST_CASE("decode: nothing but bad status patterns takes the default",
          "[config]") {
  for (const char* json : {R"(["6xx"])", "true", "503"}) {
    const auto outcome = decode_pool(R"("status_codes": )" + std::string{json});
    CHECK_FALSE(outcome.clean());
    CHECK(outcome.value->pools.at(0).status_codes ==
          std::set<std::string>{"4xx", "5xx"});
  }
}

TEST_CASE("decode: ssl is false, true or a table", "[config]") {
  const auto ssl = [](const std::string& json) {
    return decode_json(R"({"ssl": )" + json + "}").value->ssl;
  };
  CHECK_FALSE(ssl("false"));
  CHECK(ssl("true") == tls_config{});
  CHECK_FALSE(ssl(R"({"verify": false})")->verify);
  CHECK_FALSE(ssl(R"({"ssl_verify": false})")->verify);
  CHECK(ssl(R"({"sni_name": "a.b"})")->sni_name == "a.b");
  CHECK(ssl(R"({"sni_name": "a.b"})")->verify);
  CHECK_FALSE(decode_json(R"({"ssl": "yes"})").clean());
  CHECK(ssl(R"({"verify": "no"})")->verify);
}

TEST_CASE("decode: names and files of ssl are checked", "[config]") {
  const auto ssl = [](const std::string& json) {
    return decode_json(R"({"ssl": )" + json + "}");
  };
  const auto good = ssl(R"({"client_cert": "/c.pem", "client_key": "/k.pem"})");
  CHECK(good.clean());
  CHECK(good.value->ssl->client_cert == "/c.pem");
  CHECK(good.value->ssl->client_key == "/k.pem");
  const auto issuer = ssl(R"({"ca_cert": "/ca.pem"})");
  CHECK(issuer.clean());
  CHECK(issuer.value->ssl->ca_cert == "/ca.pem");
  CHECK_FALSE(issuer.value->ssl == tls_config{});
  for (const auto* json :
       {R"({"sni_name": "a b"})", R"({"ca_cert": "ca.pem"})",
        R"({"ca_cert": "/c\na.pem"})", R"({"ca_cert": {"1": "/ca.pem"}})",
        R"({"sni_name": "unix:/x"})", R"({"sni_name": "a\u0000b"})",
        R"({"sni_name": "*.a"})", R"({"sni_name": "1.2.3"})",
        R"({"sni_name": {"1": "a"}})", R"({"client_cert": "/c.pem"})",
        R"({"client_key": "/k.pem"})",
        R"({"client_cert": "c.pem", "client_key": "/k.pem"})",
        R"({"client_cert": "/c.pem", "client_key": "/k\n.pem"})",
        R"({"client_cert": {"1": "/c.pem"}, "client_key": "/k.pem"})"}) {
    INFO(json);
    const auto bad = ssl(json);
    CHECK_FALSE(bad.clean());
    CHECK(bad.value->ssl == tls_config{});
  }
  for (const auto* json :
       {R"({"sni_name": "10.0.0.1"})", R"({"sni_name": "::1"})",
        R"({"sni_name": "[::1]"})", R"({"sni_name": "a_b.c."})"})
    CHECK(ssl(json).clean());
}

TEST_CASE("decode: a healthcheck is kept as a tree", "[config]") {
  const auto outcome = decode_json(R"({"healthcheck": true, "pools": [{
      "healthcheck": {"path": "/h", "headers": {"Host": "a"}},
      "hosts": [{"host": "a", "port": 1, "healthcheck": false}]}]})");
  CHECK(outcome.clean());
  CHECK(outcome.value->healthcheck->given.text == "true");
  const pool_config& pool = outcome.value->pools.at(0);
  CHECK(pool.healthcheck->given.find("headers")->find("Host")->text == "a");
  CHECK(pool.hosts.at(0).healthcheck->given.text == "false");
}

TEST_CASE("decode: an empty table for ssl or healthcheck counts as absent",
          "[config]") {
  const auto outcome = decode_json(R"({"ssl": {}, "healthcheck": {}})");
  CHECK(outcome.clean());
  CHECK_FALSE(outcome.value->ssl);
  CHECK_FALSE(outcome.value->healthcheck);
  CHECK(outcome.diagnostics.size() == 2);
}

TEST_CASE("decode: up=false with Flags 1 was written by zedcup", "[config]") {
  tree root;
  root.insert("pools/1/hosts/1/host", "a");
  root.insert("pools/1/hosts/1/port", "1");
  const auto down_by_zedcup = [&](const char* up, uint64_t flags) {
    root.insert("pools/1/hosts/1/up", up, flags);
    const auto outcome = decode_instance("test", root);
    CHECK(outcome.clean());
    return outcome.value->pools.at(0).hosts.at(0).down_by_zedcup;
  };
  CHECK(down_by_zedcup("false", 1));
  CHECK_FALSE(down_by_zedcup("false", 0));
  CHECK_FALSE(down_by_zedcup("false", 2));
  CHECK_FALSE(down_by_zedcup("true", 1));
}

TEST_CASE("decode: _idx gives an element's index", "[config]") {
  const auto outcome = decode_json(
      R"({"pools": [{"_idx": 3, "_pending": true, "hosts": [
          {"_idx": 7, "host": "a", "port": 1},
          {"_idx": 2, "host": "b", "port": 1},
          {"host": "c", "port": 1}]}]})");
  CHECK(outcome.clean());
  CHECK(outcome.diagnostics.empty());
  const pool_config& pool = outcome.value->pools.at(0);
  CHECK(pool.index == 3);
  REQUIRE(pool.hosts.size() == 3);
  CHECK(pool.hosts[0].address == "b");
  CHECK(pool.hosts[0].index == 2);
  CHECK(pool.hosts[1].index == 3);
  CHECK(pool.hosts[1].address == "c");
  CHECK(pool.hosts[2].index == 7);
}

TEST_CASE("decode: an appended element whose place is taken goes last",
          "[config]") {
  const auto outcome = decode_json(R"({"pools": [{"hosts": [
      {"_idx": 2, "host": "a", "port": 1}, {"host": "b", "port": 1}]}]})");
  CHECK(outcome.clean());
  const auto& hosts = outcome.value->pools.at(0).hosts;
  REQUIRE(hosts.size() == 2);
  CHECK(hosts[0].address == "a");
  CHECK(hosts[1].index == 3);
}

TEST_CASE("decode: unknown keys are kept with a notice", "[config]") {
  const auto outcome = decode_json(
      R"({"new": {"a": [1]}, "_pending": 1, "pools": [{"x": 1, "hosts": [
          {"host": "a", "port": 1, "y": "007"}]}]})");
  CHECK(outcome.clean());
  CHECK(complaints(outcome) == "pools/1/hosts/1/y: unknown key\n"
                               "pools/1/x: unknown key\n"
                               "new: unknown key\n");
  CHECK(outcome.value->extra.find("new")->find("a")->find("1")->text == "1");
  CHECK(outcome.value->extra.find("_pending") == nullptr);
  CHECK(outcome.value->pools.at(0).extra.find("x")->text == "1");
  CHECK(outcome.value->pools[0].hosts.at(0).extra.find("y")->text == "007");
}

TEST_CASE("decode: reads the global configuration", "[config]") {
  const auto root = tree_from_json(
      R"({"consul_wait_time": "300", "session_ttl": 0, "new": "x"})");
  const auto outcome = decode_global(*root);
  CHECK_FALSE(outcome.clean());
  REQUIRE(outcome.value);
  CHECK(outcome.value->consul_wait_time == 300s);
  CHECK(outcome.value->session_ttl == 30s);
  CHECK(outcome.value->extra.find("new")->text == "x");
  CHECK(complaints(outcome) ==
        "session_ttl: expected 1..86400, got \"0\"\nnew: unknown key\n");
  CHECK(decode_global(tree{}).value == global_config{});
}

TEST_CASE("decode: a pool takes the instance's method unless it has one",
          "[config]") {
  const auto outcome = decode_json(
      R"({"method": "ewma", "pools": [{}, {"method": "hash",
          "hash_balance_factor": 150}]})");
  CHECK(outcome.clean());
  CHECK(outcome.value->method == balance_method::ewma);
  CHECK(outcome.value->pools.at(0).method == balance_method::ewma);
  CHECK(outcome.value->pools.at(1).method == balance_method::hash);
  CHECK(outcome.value->pools.at(1).hash_balance_factor == 150);
}

TEST_CASE("decode: a host takes the pool's slow_start and max_conns",
          "[config]") {
  const auto outcome = decode_json(
      R"({"pools": [{"slow_start": 30, "max_conns": 5, "hosts": [
            {"host": "a", "port": 1},
            {"host": "b", "port": 1, "slow_start": 0, "max_conns": "7"}]}]})");
  CHECK(outcome.clean());
  const auto& hosts = outcome.value->pools.at(0).hosts;
  CHECK(hosts.at(0).slow_start == 30s);
  CHECK(hosts.at(0).max_conns == 5);
  CHECK(hosts.at(1).slow_start == 0s);
  CHECK(hosts.at(1).max_conns == 7);
}

TEST_CASE("decode: complaints about balancing name their key", "[config]") {
  const auto outcome = decode_json(
      R"({"method": "best", "pools": [{"method": "", "slow_start": 86401,
          "hash_balance_factor": 100, "hosts": [
          {"host": "a", "port": 1, "max_conns": -1}]}]})");
  CHECK(complaints(outcome) ==
        "method: expected weighted_rr, hash, least_conn, ewma or random, got "
        "\"best\"\n"
        "pools/1/method: expected weighted_rr, hash, least_conn, ewma or "
        "random, got \"\"\n"
        "pools/1/hash_balance_factor: expected 0 or 101..10000, got \"100\"\n"
        "pools/1/slow_start: expected 0..86400, got \"86401\"\n"
        "pools/1/hosts/1/max_conns: expected 0..65535, got \"-1\"\n");
}
