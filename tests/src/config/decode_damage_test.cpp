// What the decoder makes of bad content.
#include "src/config/decode_support.hpp"

using namespace zedcup;

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

TEST_CASE("decode: a bad key of a pool takes its default", "[config]") {
  const std::vector<std::pair<std::string, std::string>> cases = {
      {R"("timeout": 0)", R"(timeout: expected 1..86400000, got "0")"},
      {R"("error_timeout": "x")",
       R"(error_timeout: expected 1..2592000, got "x")"},
      {R"("keepalive_pool": 65536)",
       R"(keepalive_pool: expected 0..65535, got "65536")"},
      {R"("max_errors": 0)", R"(max_errors: expected 1..1000000, got "0")"},
      {R"("method": "best")",
       R"(method: expected weighted_rr, hash, least_conn, ewma or random, got "best")"},
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

TEST_CASE("decode: a bad ssl is TLS with verification", "[config]") {
  for (const auto* value : {"yes", "1", "True", "", "on "}) {
    INFO(value);
    tree root;
    root.insert("ssl", value);
    const auto outcome = decode_instance("test", root);
    CHECK_FALSE(outcome.clean());
    REQUIRE(outcome.value);
    CHECK(outcome.value->ssl == tls_config{});
    CHECK(complaints(outcome) ==
          "ssl: expected true, false or a table, got \"" + std::string(value) +
              "\"\n");
  }
  const auto outcome = decode_json(R"({"ssl": {"verify": "no"}})");
  CHECK_FALSE(outcome.clean());
  REQUIRE(outcome.value);
  CHECK(outcome.value->ssl == tls_config{});
}
