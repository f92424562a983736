#include "config/decode.hpp"

#include "support/catch.hpp"

using namespace zedcup;
using namespace std::chrono_literals;

namespace {

decoded<instance_config> decode_json(std::string_view json) {
  auto root = tree_from_json(json);
  INFO(json);
  REQUIRE(root);
  return decode_instance("test", *root);
}

// One pool with one host (10.0.0.1:80) plus `host_fields`.
decoded<instance_config> decode_host(const std::string& host_fields) {
  return decode_json(R"({"pools": [{"hosts": [{"host": "10.0.0.1", )"
                     R"("port": 80, )" +
                     host_fields + "}]}]}");
}

decoded<instance_config> decode_pool(const std::string& pool_fields) {
  return decode_json(R"({"pools": [{"hosts": [{"host": "10.0.0.1", )"
                     R"("port": 80}], )" +
                     pool_fields + "}]}");
}

// All complaints as "path: message", one a line.
template <class T>
std::string complaints(const decoded<T>& outcome) {
  std::string out;
  for (const auto& d : outcome.diagnostics)
    out += d.path + ": " + d.message + "\n";
  return out;
}

} // namespace

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

TEST_CASE("decode: a bad key of a host drops that host only", "[config]") {
  const auto outcome = decode_json(R"({"pools": {"1": {"hosts": {
      "1": {"host": "10.0.0.1", "port": 80},
      "2": {"host": "10.0.0.2", "port": "abc"},
      "4": {"host": "10.0.0.4", "port": 80}}}}})");
  CHECK_FALSE(outcome.clean());
  REQUIRE(outcome.value);
  const auto& hosts = outcome.value->pools.at(0).hosts;
  REQUIRE(hosts.size() == 2);
  CHECK(hosts[0].index == 1);
  CHECK(hosts[1].index == 4);
  CHECK(hosts[1].name == "4");
  CHECK(complaints(outcome) ==
        "pools/1/hosts/2/port: expected 1..65535, got \"abc\"\n");
}

TEST_CASE("decode: names what is wrong with a host's key", "[config]") {
  const std::vector<std::pair<std::string, std::string>> cases = {
      {R"("port": 0)", R"(port: expected 1..65535, got "0")"},
      {R"("port": 99999)", R"(port: expected 1..65535, got "99999")"},
      {R"("port": -1)", R"(port: expected 1..65535, got "-1")"},
      {R"("port": 80.5)", R"(port: expected 1..65535, got "80.5")"},
      {R"("port": 18446744073709551697)",
       R"(port: expected 1..65535, got "18446744073709551697")"},
      {R"("port": {"a": 1})", "port: expected a value, got a table"},
      {R"("weight": 0)", R"(weight: expected 1..65535, got "0")"},
      {R"("weight": 65536)", R"(weight: expected 1..65535, got "65536")"},
      {R"("up": 1)", R"(up: expected true or false, got "1")"},
      {R"("up": "TRUE")", R"(up: expected true or false, got "TRUE")"},
      {R"("name": [1])", "name: expected a value, got a table"},
      {R"("healthcheck": 5)",
       R"(healthcheck: expected true, false or a table, got "5")"},
      {R"("host": "a b")", "host: expected an IP address, a host name or "
                           "unix:/path, got \"a b\""},
  };
  for (const auto& [fields, complaint] : cases) {
    INFO(fields);
    const auto outcome = decode_host(fields);
    CHECK_FALSE(outcome.value);
    CHECK(complaints(outcome) == "pools/1/hosts/1/" + complaint + "\n");
  }
}

TEST_CASE("decode: host and port are required, every miss is named",
          "[config]") {
  CHECK(complaints(decode_json(R"({"pools": [{"hosts": [{"up": true}]}]})")) ==
        "pools/1/hosts/1/host: required\n");
  CHECK(complaints(decode_json(R"({"pools": [{"hosts": [{"host": "a"}]}]})")) ==
        "pools/1/hosts/1/port: required\n");
  CHECK(complaints(decode_json(R"({"pools": [{"hosts": [{"port": 0}]}]})")) ==
        "pools/1/hosts/1/host: required\n"
        "pools/1/hosts/1/port: expected 1..65535, got \"0\"\n");
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

TEST_CASE("decode: a bad key of a pool takes its default", "[config]") {
  const std::vector<std::pair<std::string, std::string>> cases = {
      {R"("timeout": 0)", R"(timeout: expected 1..86400000, got "0")"},
      {R"("error_timeout": "x")",
       R"(error_timeout: expected 1..2592000, got "x")"},
      {R"("keepalive_pool": 65536)",
       R"(keepalive_pool: expected 0..65535, got "65536")"},
      {R"("max_errors": 0)", R"(max_errors: expected 1..1000000, got "0")"},
      {R"("method": "best")", R"(method: expected weighted_rr, got "best")"},
      {R"("up": "yes")", R"(up: expected true or false, got "yes")"},
      {R"("name": {"a": 1})", "name: expected a value, got a table"},
  };
  const auto expected = decode_pool(R"("name": "1")");
  for (const auto& [fields, complaint] : cases) {
    INFO(fields);
    const auto outcome = decode_pool(fields);
    CHECK_FALSE(outcome.clean());
    CHECK(outcome.value == expected.value);
    CHECK(complaints(outcome) == "pools/1/" + complaint + "\n");
  }
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

TEST_CASE("decode: a healthcheck is kept as a tree", "[config]") {
  const auto outcome = decode_json(R"({"healthcheck": true, "pools": [{
      "healthcheck": {"path": "/h", "headers": {"Host": "a"}},
      "hosts": [{"host": "a", "port": 1, "healthcheck": false}]}]})");
  CHECK(outcome.clean());
  CHECK(outcome.value->healthcheck->text == "true");
  const pool_config& pool = outcome.value->pools.at(0);
  CHECK(pool.healthcheck->find("headers")->find("Host")->text == "a");
  CHECK(pool.hosts.at(0).healthcheck->text == "false");
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

TEST_CASE("decode: two elements cannot have one _idx", "[config]") {
  const auto outcome = decode_json(R"({"pools": [{"hosts": [
      {"_idx": 1, "host": "a", "port": 1},
      {"_idx": 1, "host": "b", "port": 1},
      {"_idx": "x", "host": "c", "port": 1}]}]})");
  CHECK_FALSE(outcome.clean());
  CHECK(outcome.value->pools.at(0).hosts.size() == 1);
  CHECK(complaints(outcome) ==
        "pools/1/hosts/2/_idx: is another element's index too\n"
        "pools/1/hosts/3/_idx: expected a number from 1\n");
}

TEST_CASE("decode: a segment that is no index is left out", "[config]") {
  const auto outcome = decode_json(R"({"pools": {"x": {"up": true}, "0": {},
      "1": {"hosts": {"01": {}, "2": "a", "3": {"host": "a", "port": 1}}}}})");
  REQUIRE(outcome.value);
  CHECK(outcome.value->pools.size() == 1);
  CHECK(outcome.value->pools[0].hosts.size() == 1);
  CHECK(complaints(outcome) ==
        "pools/0: expected a number from 1 as the index\n"
        "pools/x: expected a number from 1 as the index\n"
        "pools/1/hosts/01: expected a number from 1 as the index\n"
        "pools/1/hosts/2: expected a table, got \"a\"\n");
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

TEST_CASE("decode: a value where a table should be is a complaint",
          "[config]") {
  CHECK(complaints(decode_json(R"({"pools": 5})")) ==
        "pools: expected a table, got \"5\"\n");
  CHECK(complaints(decode_json("5")) == ": expected a table, got \"5\"\n");
  tree root;
  root.insert("pools/1/hosts", "x");
  root.insert("pools/1/hosts/1/host", "a");
  root.insert("pools/1/hosts/1/port", "1");
  root.insert("pools/1", "");
  const auto outcome = decode_instance("test", root);
  CHECK(complaints(outcome) == "pools/1/hosts: expected a table, got \"x\"\n");
  CHECK(outcome.value->pools.at(0).hosts.size() == 1);
}

TEST_CASE("decode: nothing usable left of something means no value",
          "[config]") {
  for (const char* json :
       {"5", R"({"pools": 5})", R"({"pools": [5]})", R"({"pools": {"x": {}}})",
        R"({"pools": [{"hosts": 5}]})", R"({"pools": [{"hosts": [{}]}]})",
        R"({"pools": [{}, {"hosts": [{"host": "a", "port": 0}]}]})"}) {
    INFO(json);
    const auto outcome = decode_json(json);
    CHECK_FALSE(outcome.value);
    CHECK_FALSE(outcome.clean());
  }
}

TEST_CASE("decode: an instance without hosts and complaints is valid",
          "[config]") {
  for (const char* json :
       {"{}", R"({"pools": {}})", R"({"pools": [{}]})", R"({"ssl": true})",
        R"({"pools": [{"hosts": []}]})"}) {
    INFO(json);
    CHECK(decode_json(json).clean());
  }
  CHECK(decode_json(R"({"ssl": "x", "pools": [{"up": "x"}]})").value);
}

TEST_CASE("decode: a pool whose hosts are all bad stays, empty", "[config]") {
  const auto outcome = decode_json(R"({"pools": [
      {"hosts": [{"host": "a", "port": 0}]},
      {"hosts": [{"host": "a", "port": 1}]}]})");
  REQUIRE(outcome.value);
  REQUIRE(outcome.value->pools.size() == 2);
  CHECK(outcome.value->pools[0].hosts.empty());
}

TEST_CASE("decode: complaints are bounded and quoted values cut", "[config]") {
  tree root;
  for (int i = 1; i <= 5000; ++i)
    root.insert("pools/1/hosts/" + std::to_string(i) + "/host",
                std::string(1 << 10, '\x1b'));
  const auto outcome = decode_instance("test", root);
  REQUIRE(outcome.diagnostics.size() == 101);
  CHECK(outcome.diagnostics.back().message == "and 4900 more");
  CHECK(outcome.diagnostics.back().severity == diagnostic::level::error);
  CHECK(outcome.diagnostics.front().message.size() < 400);
}

TEST_CASE("decode: errors beyond the bound still make it unclean", "[config]") {
  tree root;
  for (int i = 1; i <= 200; ++i)
    root.insert("a" + std::to_string(i), "x");
  root.insert("zzz", "x");
  root.insert("zzz/below", "y");
  const auto outcome = decode_instance("test", root);
  CHECK_FALSE(outcome.clean());
  CHECK(outcome.diagnostics.size() == 101);
}

TEST_CASE("decode: paths in complaints are printable and bounded", "[config]") {
  tree root;
  root.insert("pools/\x1b[0m" + std::string(4096, 'x') + "/name", "x");
  const auto outcome = decode_instance("test", root);
  const std::string path = outcome.diagnostics.at(0).path;
  CHECK(path.substr(0, 14) == "pools/\\x1b[0mx");
  CHECK(path.size() < 300);
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

TEST_CASE("decode: instance names are printable ASCII without a slash",
          "[config]") {
  for (const char* name : {"a", "my instance", "a.b:c|d", "1", "..."})
    CHECK(check_instance_name(name).empty());
  for (const std::string name :
       {"", "_a", "a/b", "a\n", "\xc3\xa9", ".", "..", "a\x7f"})
    CHECK_FALSE(check_instance_name(name).empty());
  CHECK(check_instance_name(std::string(128, 'a')).empty());
  CHECK_FALSE(check_instance_name(std::string(129, 'a')).empty());
}

TEST_CASE("decode: lua_path writes a path as Lua does", "[config]") {
  CHECK(lua_path("pools/1/hosts/2/port") == "pools[1].hosts[2].port");
  CHECK(lua_path("healthcheck/headers/User-Agent") ==
        R"(healthcheck.headers["User-Agent"])");
  CHECK(lua_path("1/a").substr(0, 5) == "[1].a");
  CHECK(lua_path(R"(a/b"\c)") == R"(a["b\"\\c"])");
  CHECK(lua_path("").empty());
}
