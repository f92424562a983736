// A feed on etcd v3, Consul and the embedded store, against real servers.
#include <chrono>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "store/consul_protocol.hpp"
#include "store/embedded_store.hpp"
#include "support/catch.hpp"
#include "support/consul_agent.hpp"
#include "support/etcd_server.hpp"
#include "support/http_client.hpp"
#include "support/live_feed.hpp"
#include "support/temp_dir.hpp"

using namespace zedcup;
using namespace zedcup::test;
using namespace std::chrono_literals;

namespace {

using verb = kv_op::verb;
using steady = std::chrono::steady_clock;

template <class T>
T must(result<T> outcome) {
  if (!outcome)
    throw std::runtime_error(outcome.error().message);
  return *std::move(outcome);
}

kv_op op(verb what, std::string key, std::string value = "") {
  kv_op made;
  made.what = what;
  made.key = std::move(key);
  made.value = std::move(value);
  return made;
}

std::string weight(int value) {
  return R"({"weight": )" + std::to_string(value) + "}";
}

long ms_since(steady::time_point begin) {
  return std::chrono::duration_cast<std::chrono::milliseconds>(steady::now() -
                                                               begin)
      .count();
}

/// Somebody who writes to a store, all ops in as few steps as it takes.
struct writer {
  std::string path;
  size_t at_once;
  std::function<void(const std::vector<kv_op>&)> commit;

  void put(const std::string& key, const std::string& value = "") const {
    commit({op(verb::set, path + key, value)});
  }
  void remove(const std::string& key) const {
    commit({op(verb::remove, path + key)});
  }
  void remove_tree(const std::string& key) const {
    commit({op(verb::remove_tree, path + key)});
  }
  /// A thousand peers in ten services.
  void rewrite(int value) const {
    std::vector<kv_op> ops;
    for (int i = 0; i < 1000; ++i) {
      ops.push_back(op(verb::set,
                       path + "s" + std::to_string(i % 10) +
                           "/10.0.0.1:" + std::to_string(1 + i),
                       weight(value)));
      if (ops.size() == at_once || i == 999)
        commit(std::exchange(ops, {}));
    }
  }
};

bool all_have(const feeding& f, uint32_t value) {
  size_t good = 0;
  for (const auto& [name, content] : f.services)
    for (const auto& one : content.peers)
      good += one.weight == value ? 1 : 0;
  return good == 1000;
}

/// What holds for every store.
void follow(feeding& f, const writer& w) {
  REQUIRE(f.wait_until([&] { return f.syncs > 0 && f.trouble.empty(); }));
  w.put("web/10.0.0.1:80");
  CHECK(f.has("web", "10.0.0.1:80"));
  w.put("web/10.0.0.1:80", weight(7));
  CHECK(f.has("web", "10.0.0.1:80", 7));
  w.put("web/[::1]:80", weight(2));
  w.put("web/10.0.0.1:99999");
  w.put("web-1/localhost:80", "no JSON");
  CHECK(f.has("web", "[::1]:80", 2));
  CHECK(f.has("web-1", "localhost:80"));
  CHECK(f.peers("web").size() == 2);
  w.remove("web/[::1]:80");
  CHECK(f.gone("web", "[::1]:80"));
  w.put("web/10.0.0.3:80",
        R"({"weight": 3, "note": ")" + std::string(100'000, 'n') + "\"}");
  CHECK(f.has("web", "10.0.0.3:80", 3));
  w.remove("web-1/localhost:80");
  CHECK(f.wait_until([&] { return f.services.count("web-1") == 0; }));
  w.rewrite(4);
  w.rewrite(5);
  const auto written = steady::now();
  CHECK(f.wait_until([&] { return all_have(f, 5); }));
  CHECK(ms_since(written) < 2000);
  for (const auto* name : {"web/", "s"})
    w.remove_tree(name);
  CHECK(f.wait_until([&] { return f.services.empty(); }));
  CHECK(f.trouble.empty());
  CHECK(f.errors.size() == 2); // the port, the value; once each
}

system_options at(const etcd_options& server) {
  system_options options;
  options.path = "/v1/services/";
  options.store = server;
  options.log_level = 8;
  return options;
}

writer etcd_writer(const etcd_options& options) {
  auto driver = std::shared_ptr<http_driver>(start_driver());
  return {"/v1/services/", options.limits().max_ops,
          [driver, to = make_endpoints(options).front(),
           limits = options.limits()](const std::vector<kv_op>& ops) {
            const auto call = must(etcd::commit(ops, limits));
            http_request request;
            request.endpoint = to;
            request.method = http_method::post;
            request.target = "/v3" + call.path;
            request.body = call.body;
            must(etcd::parse_commit(must(fetch(*driver, request)), ops));
          }};
}

void put(const etcd_cluster& server, const std::string& key, int value,
         const std::string& as = "") {
  server.control(as + "put '/v1/services/" + key + "' '" + weight(value) + "'");
}

} // namespace

TEST_CASE("feed live, etcd v3: peers come, change and go", "[live][feed]") {
  etcd_cluster server;
  feeding f(at(server.options()));
  follow(f, etcd_writer(server.options()));
}

TEST_CASE("feed live, Consul: peers come, change and go", "[live][feed]") {
  consul_agent server;
  system_options options;
  options.path = "v1/services/";
  consul_options store;
  store.addresses = {{"127.0.0.1", server.port()}};
  options.store = store;
  options.log_level = 8;
  feeding f(options);
  auto driver = std::shared_ptr<http_driver>(start_driver());
  const writer w{"v1/services/", 64, [&](const std::vector<kv_op>& ops) {
                   must(consul::parse_commit(
                       must(fetch(*driver, must(consul::commit(server.target(),
                                                               ops, {})))),
                       ops));
                 }};
  w.put(""); // the folder's own key, as Consul's page makes it
  follow(f, w);
}

TEST_CASE("feed live, embedded: peers come, change and go", "[live][feed]") {
  temp_dir dir;
  system_options options;
  options.path = "v1/services/";
  options.store = embedded_target{dir.file("store.db")};
  options.log_level = 8;
  feeding f(options);
  auto store = must(embedded_store::open(dir.file("store.db")));
  follow(f, {"v1/services/", 1000,
             [&](const std::vector<kv_op>& ops) { must(store.commit(ops)); }});
}

TEST_CASE("feed live, etcd v3: a compaction, a crash and an older past are "
          "followed",
          "[live][feed]") {
  etcd_cluster server;
  feeding f(at(server.options()));
  put(server, "web/10.0.0.1:80", 1);
  REQUIRE(f.has("web", "10.0.0.1:80", 1));
  const auto snapshot = server.file("snapshot");
  server.control("snapshot save '" + snapshot + "'");

  const auto revision = f.revision;
  for (int i = 0; i < 5; ++i)
    server.control("put elsewhere " + std::to_string(i));
  server.control("compaction " + std::to_string(revision + 3));
  put(server, "web/10.0.0.1:80", 2);
  CHECK(f.has("web", "10.0.0.1:80", 2));

  server.kill_now();
  CHECK(f.wait_until([&] { return !f.trouble.empty(); }));
  CHECK(f.peers("web").size() == 1); // last good
  server.restart();
  CHECK(f.wait_until([&] { return f.trouble.empty(); }));
  put(server, "web/10.0.0.1:80", 3);
  CHECK(f.has("web", "10.0.0.1:80", 3));

  server.restore(snapshot);
  CHECK(f.has("web", "10.0.0.1:80", 1));
  put(server, "web/10.0.0.1:80", 4);
  CHECK(f.has("web", "10.0.0.1:80", 4));
}

TEST_CASE("feed live, etcd v3: a token that no longer counts is replaced",
          "[live][feed]") {
  etcd_cluster server(1, {"--auth-token-ttl", "2"});
  server.control("user add root:secret");
  server.control("auth enable");
  auto etcd = server.options();
  etcd.user = "root";
  etcd.password = "secret";
  feeding f(at(etcd));
  const std::string as_root = "--user root:secret ";
  put(server, "web/10.0.0.1:80", 1, as_root);
  REQUIRE(f.has("web", "10.0.0.1:80", 1));
  std::this_thread::sleep_for(4s); // the token is over by then
  put(server, "web/10.0.0.1:80", 2, as_root);
  CHECK(f.has("web", "10.0.0.1:80", 2));
  server.restart(); // forgets all tokens
  put(server, "web/10.0.0.1:80", 3, as_root);
  CHECK(f.has("web", "10.0.0.1:80", 3));
}

TEST_CASE("feed live, etcd v3: another member takes over within two seconds",
          "[live][feed]") {
  etcd_cluster server(3);
  feeding f(at(server.options()));
  etcd_writer(server.options()).put("web/10.0.0.1:80");
  REQUIRE(f.has("web", "10.0.0.1:80"));
  server.kill_now(0); // the one that it talks to
  const auto killed = steady::now();
  REQUIRE(f.wait_until([&] { return !f.trouble.empty(); }));
  REQUIRE(f.wait_until([&] { return f.trouble.empty(); }));
  INFO(ms_since(killed) << " ms");
  // (an election may be under way when it was the cluster's leader)
  CHECK(ms_since(killed) < 4000);
  auto second = server.options();
  second.addresses.erase(second.addresses.begin());
  etcd_writer(second).put("web/10.0.0.2:80");
  CHECK(f.has("web", "10.0.0.2:80"));
}
