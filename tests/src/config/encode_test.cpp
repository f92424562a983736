#include <random>

#include "config/address.hpp"
#include "src/config/decode_support.hpp"

using namespace zedcup;

namespace {

// Generates configurations as a store could hold them.
class generator {
public:
  explicit generator(uint32_t seed) : random_(seed) {}

  uint64_t below(uint64_t bound) { return random_() % bound; }
  bool chance(uint64_t in) { return below(in) == 0; }

  std::string text() {
    static const std::vector<std::string> parts = {
        "a",    "007", "1",    "true",   "-3",       "1e5", "\"",
        "\\",   "\n",  " ",    "0.5",    "\xc3\xa9", "é",   "x-y",
        "null", "{}",  "[1]",  "\x01",   "nan",      "/",   "unix:",
        "5xx",  "1.0", "beta", "::ffff", "http://"};
    std::string out;
    for (auto n = below(4); n > 0; --n)
      out += parts[below(parts.size())];
    return out;
  }

  tree table(int depth) {
    tree out;
    if (depth == 0 || chance(3)) {
      out.text = text();
      return out;
    }
    for (auto n = below(4); n > 0; --n) {
      const std::string key =
          chance(2) ? std::to_string(1 + below(4)) : "k" + text_key();
      out.children[key] = table(depth - 1);
    }
    return out;
  }

  tree extra() {
    tree out;
    for (auto n = below(3); n > 0; --n)
      out.children["x" + text_key()] = table(3);
    return out;
  }

  std::optional<healthcheck_config> healthcheck() {
    if (chance(2))
      return std::nullopt;
    healthcheck_config out;
    if (chance(3))
      out.given.text = chance(2) ? "true" : "false";
    else
      out.given.children["note"] = table(2);
    return out;
  }

  host_config host(uint32_t index) {
    static const std::vector<std::string> addresses = {
        "10.0.0.1", "[::1]", "web01", "a_b.example.com", "unix:/run/x.sock"};
    host_config out;
    out.index = index;
    out.name = "n" + text();
    out.address = addresses[below(addresses.size())];
    if (!is_unix_address(out.address))
      out.port = static_cast<uint16_t>(1 + below(65535));
    out.up = !chance(3);
    out.down_by_zedcup = !out.up && chance(2);
    out.weight = static_cast<uint32_t>(1 + below(65535));
    out.slow_start = std::chrono::seconds{below(86'401)};
    out.max_conns = static_cast<uint32_t>(below(65536));
    out.healthcheck = healthcheck();
    out.extra = extra();
    return out;
  }

  pool_config pool(uint32_t index) {
    pool_config out;
    out.index = index;
    out.name = "n" + text();
    out.up = !chance(4);
    out.method = static_cast<balance_method>(below(5));
    out.hash_balance_factor =
        chance(2) ? 0 : static_cast<uint32_t>(101 + below(9'900));
    out.slow_start = std::chrono::seconds{below(86'401)};
    out.max_conns = static_cast<uint32_t>(below(65536));
    out.timeout = std::chrono::milliseconds{1 + below(86'400'000)};
    out.error_timeout = std::chrono::seconds{1 + below(2'592'000)};
    out.max_errors = static_cast<uint32_t>(1 + below(1'000'000));
    out.min_rises = static_cast<uint32_t>(1 + below(1'000'000));
    out.read_timeout = std::chrono::milliseconds{1 + below(86'400'000)};
    out.keepalive_timeout = std::chrono::milliseconds{1 + below(86'400'000)};
    out.keepalive_pool = static_cast<uint32_t>(below(65536));
    out.retry_non_idempotent = chance(2);
    out.status_codes.clear();
    for (auto n = below(4); n > 0; --n)
      out.status_codes.insert(chance(2) ? "5xx" : "40x");
    out.healthcheck = healthcheck();
    uint32_t host_index = 0;
    for (auto n = below(5); n > 0; --n)
      out.hosts.push_back(host(host_index += 1 + below(3)));
    out.extra = extra();
    return out;
  }

  instance_config instance() {
    instance_config out;
    out.name = "test";
    if (chance(2)) {
      out.ssl = tls_config{};
      out.ssl->verify = chance(2);
      if (chance(2))
        out.ssl->sni_name = "n" + std::to_string(below(100)) + ".example";
      if (chance(2)) {
        out.ssl->client_cert = "/c" + std::to_string(below(100));
        out.ssl->client_key = "/k" + std::to_string(below(100));
      }
      if (chance(2))
        out.ssl->ca_cert = "/a" + std::to_string(below(100));
      out.ssl->extra = extra();
    }
    out.healthcheck = healthcheck();
    if (chance(2))
      out.method = static_cast<balance_method>(below(5));
    uint32_t index = 0;
    for (auto n = below(4); n > 0; --n)
      out.pools.push_back(pool(index += 1 + below(3)));
    out.extra = extra();
    return out;
  }

private:
  std::string text_key() {
    std::string key = text();
    for (char& c : key)
      c = c == '/' ? '-' : c;
    return key;
  }

  std::mt19937 random_;
};

// What was decoded, whatever it came from, survives to_json and back.
void check_stable(const decoded<instance_config>& outcome) {
  REQUIRE(outcome.diagnostics.size() <= 101);
  if (!outcome.value)
    return;
  const auto again = decode_json(to_json(*outcome.value));
  REQUIRE(again.clean());
  REQUIRE(*again.value == *outcome.value);
  REQUIRE(tree_from_json(peers_json(*outcome.value)));
}

} // namespace

TEST_CASE("encode: what is decoded from to_json is the same", "[config]") {
  generator make{30};
  for (int round = 0; round < 3000; ++round) {
    const instance_config instance = make.instance();
    const std::string json = to_json(instance);
    INFO(json);
    const auto outcome = decode_json(json);
    REQUIRE(outcome.clean());
    REQUIRE(*outcome.value == instance);
  }
}

TEST_CASE("encode: writes defaults, _idx and a set of status codes",
          "[config]") {
  instance_config instance;
  instance.pools.resize(1);
  instance.pools[0].index = 2;
  instance.pools[0].name = "2";
  host_config host;
  host.index = 3;
  host.name = "web";
  host.address = "[::1]";
  host.port = 80;
  instance.pools[0].hosts.push_back(host);
  CHECK(
      to_json(instance) ==
      R"({"ssl":false,"persist_errors":true,"pools":[{"_idx":2,"name":"2","up":true,)"
      R"("method":"weighted_rr","hash_balance_factor":0,"slow_start":0,"max_conns":0,"timeout":2000,"error_timeout":60,)"
      R"("max_errors":3,"min_rises":3,"read_timeout":10000,)"
      R"("keepalive_timeout":60000,"keepalive_pool":128,)"
      R"("retry_non_idempotent":false,)"
      R"("status_codes":{"4xx":true,"5xx":true},"hosts":[{"_idx":3,)"
      R"("name":"web","host":"[::1]","port":80,"up":true,"weight":1}]}]})");
}

TEST_CASE("encode: writes the peers with their pool and status", "[config]") {
  const auto outcome = decode_json(
      R"({"pools": [{"name": "p", "hosts": [
            {"host": "10.0.0.1", "port": 80, "name": "w1", "weight": 5},
            {"host": "unix:/a", "up": false}]},
          {"up": false, "hosts": [{"host": "b", "port": 1}]}]})");
  CHECK(peers_json(*outcome.value) ==
        R"([{"host":"10.0.0.1","port":80,"weight":5,"status":"up",)"
        R"("pool":"p","name":"w1"},)"
        R"({"host":"unix:/a","port":0,"weight":1,"status":"down",)"
        R"("pool":"p","name":"2"},)"
        R"({"host":"b","port":1,"weight":1,"status":"down",)"
        R"("pool":"2","name":"1"}])");
  CHECK(peers_json(instance_config{}) == "[]");
}

TEST_CASE("encode: names stay text, whatever they look like", "[config]") {
  CHECK(names_json({}) == "[]");
  CHECK(names_json({"1", "a\"b", "true"}) == R"(["1","a\"b","true"])");
}

TEST_CASE("encode: the global configuration survives to_json", "[config]") {
  global_config config;
  config.session_ttl = std::chrono::seconds{15};
  config.extra.insert("new/1", "007");
  const auto root = tree_from_json(to_json(config));
  REQUIRE(root);
  CHECK(decode_global(*root).value == config);
}

TEST_CASE("encode: no mutation of JSON crashes the decoder", "[config]") {
  generator make{31};
  for (int seed = 0; seed < 40; ++seed) {
    const std::string json = to_json(make.instance());
    for (int round = 0; round < 500; ++round) {
      std::string bad = json;
      for (auto n = 1 + make.below(4); n > 0 && !bad.empty(); --n) {
        const size_t at = make.below(bad.size());
        if (make.chance(2))
          bad[at] = json[make.below(json.size())];
        else
          bad.erase(at, make.below(9));
      }
      const auto root = tree_from_json(bad);
      if (root)
        check_stable(decode_instance("test", *root));
    }
  }
}

TEST_CASE("encode: no keys and values of a store crash the decoder",
          "[config]") {
  generator make{32};
  const std::vector<std::string> segments = {"pools",
                                             "hosts",
                                             "1",
                                             "2",
                                             "01",
                                             "host",
                                             "port",
                                             "up",
                                             "ssl",
                                             "_idx",
                                             "name",
                                             "",
                                             "status_codes",
                                             "healthcheck",
                                             "5xx",
                                             "weight",
                                             "\xff",
                                             "verify",
                                             "_down_by_zedcup",
                                             "x"};
  const std::vector<std::string> values = {"a",
                                           "80",
                                           "true",
                                           "false",
                                           "",
                                           "5xx",
                                           "\xff\xfe",
                                           "-1",
                                           "99999",
                                           "1",
                                           std::string("\0", 1),
                                           "unix:/a",
                                           "::1"};
  for (int round = 0; round < 10'000; ++round) {
    tree root;
    root.insert("pools/1/hosts/1/host", "10.0.0.1");
    root.insert("pools/1/hosts/1/port", "80");
    for (auto n = make.below(20); n > 0; --n) {
      std::string path = make.chance(2) ? "pools/1/hosts/2" : "pools/1";
      for (auto depth = make.below(make.chance(50) ? 60 : 5); depth > 0;
           --depth)
        path += "/" + segments[make.below(segments.size())];
      root.insert(path, values[make.below(values.size())], make.below(3));
    }
    check_stable(decode_instance("test", root));
  }
}
