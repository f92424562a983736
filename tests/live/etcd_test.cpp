// etcd's protocol and the actor graph on it, against real servers.
#include <algorithm>
#include <chrono>
#include <map>
#include <thread>

#include "store/etcd_protocol.hpp"
#include "store/etcd_stream.hpp"
#include "support/catch.hpp"
#include "support/etcd_server.hpp"
#include "support/http_client.hpp"
#include "support/live_worker.hpp"

using namespace zedcup;
using namespace zedcup::test;
using namespace std::chrono_literals;

namespace {

using verb = kv_op::verb;
using steady = std::chrono::steady_clock;
using content = std::map<std::string, std::string>;

etcd_cluster& shared_server() {
  static etcd_cluster server;
  return server;
}

template <class T>
T must(result<T> outcome) {
  if (!outcome)
    throw std::runtime_error(outcome.error().message);
  return *std::move(outcome);
}

kv_op op(verb what, std::string key, std::string value = "",
         uint64_t index = 0) {
  kv_op made;
  made.what = what;
  made.key = std::move(key);
  made.value = std::move(value);
  made.index = index;
  return made;
}

/// A store client that waits for each answer.
class client {
public:
  explicit client(const etcd_options& options)
      : limits_(options.limits()), to_(make_endpoints(options).front()) {}

  http_response call(const etcd::call& what) {
    http_request request;
    request.endpoint = to_;
    request.method = http_method::post;
    request.target = "/v3" + what.path;
    request.body = what.body;
    return must(fetch(*driver_, request));
  }
  result<commit_result> commit(const std::vector<kv_op>& ops,
                               bool held = false) {
    return etcd::parse_commit(call(must(etcd::commit(ops, limits_, held))),
                              ops);
  }
  kv_tree tree(const std::string& prefix) {
    return must(etcd::parse_range(
                    call(etcd::read_range(prefix, etcd::prefix_end(prefix)))))
        .tree;
  }
  content keys(const std::string& prefix) {
    content all;
    for (auto& entry : tree(prefix).entries)
      all[entry.key.substr(prefix.size())] = entry.value;
    return all;
  }
  std::string lease(std::chrono::seconds ttl) {
    return must(etcd::parse_lease(call(etcd::grant_lease(ttl))));
  }

private:
  commit_limits limits_;
  std::shared_ptr<const http_endpoint> to_;
  std::unique_ptr<http_driver> driver_ = start_driver();
};

errc code_of(const result<commit_result>& outcome) {
  REQUIRE_FALSE(outcome);
  return outcome.error().code;
}

system_options at(const etcd_cluster& server, std::string prefix) {
  system_options options;
  options.prefix = std::move(prefix);
  options.store = server.options();
  options.log_level = 8;
  return options;
}

void put(const etcd_cluster& server, const std::string& key,
         const std::string& value) {
  server.control("put '" + key + "' '" + value + "'");
}

void put_host(const etcd_cluster& server, const std::string& host, int port) {
  put(server, host + "/host", "10.0.0.1");
  put(server, host + "/port", std::to_string(port));
}

} // namespace

TEST_CASE("etcd live: values, bytes and flags come back", "[live][etcd]") {
  client c(shared_server().options());
  const std::string bytes("\0\xff\n\"{", 5);
  auto flagged = op(verb::set, "odd/flags", "false");
  flagged.flags = 1700000000;
  const auto made = must(c.commit({op(verb::set, "odd/bytes", bytes),
                                   op(verb::set, "odd/empty", ""), flagged}));
  const auto tree = c.tree("odd/");
  REQUIRE(tree.entries.size() == 3);
  REQUIRE(tree.entries[0].value == bytes);
  REQUIRE(tree.entries[1].value.empty());
  REQUIRE(tree.entries[2].value == "false");
  REQUIRE(tree.entries[2].flags == 1700000000);
  REQUIRE(tree.entries[2].modify_index == made.indexes[2]);
  REQUIRE(tree.revision >= made.revision);
}

TEST_CASE("etcd live: each condition of a commit holds", "[live][etcd]") {
  client c(shared_server().options());
  const auto made = must(c.commit({op(verb::set, "cond/a", "1")}));
  const auto at = made.indexes[0];
  CHECK(code_of(c.commit({op(verb::set_if, "cond/a", "2", at + 1)})) ==
        errc::conflict);
  CHECK(code_of(c.commit({op(verb::set_if, "cond/a", "2", 0)})) ==
        errc::conflict);
  CHECK(code_of(c.commit({op(verb::check_absent, "cond/a"),
                          op(verb::set, "cond/b", "2")})) == errc::conflict);
  CHECK(code_of(c.commit({op(verb::remove_if, "cond/a", "", at + 1)})) ==
        errc::conflict);
  CHECK(c.keys("cond/") == content{{"a", "1"}});
  CHECK(c.commit({op(verb::check_index, "cond/a", "", at),
                  op(verb::check_absent, "cond/b"),
                  op(verb::set_if, "cond/b", "2", 0)}));
  CHECK(c.commit({op(verb::remove_if, "cond/a", "", at)}));
  CHECK(c.keys("cond/") == content{{"b", "2"}});
  CHECK(must(c.commit({op(verb::remove, "cond/none")})).revision == 0);
}

TEST_CASE("etcd live: a tree is removed and written anew in one commit",
          "[live][etcd]") {
  client c(shared_server().options());
  std::vector<kv_op> ops;
  for (int i = 0; i < 40; ++i)
    ops.push_back(op(verb::set, "tree/" + std::to_string(i), "old"));
  ops.push_back(op(verb::set, "tree2", "stays"));
  must(c.commit(ops));
  must(
      c.commit({op(verb::remove_tree, "tree/"), op(verb::remove, "tree/7"),
                op(verb::set, "tree/", "first"), op(verb::set, "tree/7", "7"),
                op(verb::set, "tree/70", "70"), op(verb::set, "tree/~", "z")}));
  CHECK(c.keys("tree/") ==
        content{{"", "first"}, {"7", "7"}, {"70", "70"}, {"~", "z"}});
  CHECK(c.keys("tree2") == content{{"", "stays"}});
  must(
      c.commit({op(verb::set, "tree/8", "8"), op(verb::remove_tree, "tree/")}));
  CHECK(c.keys("tree/").empty());
}

TEST_CASE("etcd live: a lock has one holder, and ends with its lease",
          "[live][etcd]") {
  client c(shared_server().options());
  const auto mine = c.lease(60s);
  const auto other = c.lease(60s);
  const auto lock = [](const std::string& session) {
    auto made = op(verb::lock, "locks/x", "me");
    made.session = session;
    return made;
  };
  must(c.commit({lock(mine)}));
  CHECK(c.tree("locks/").entries[0].session == mine);
  CHECK(code_of(c.commit({lock(other)})) == errc::conflict);
  CHECK(c.commit({lock(mine)}, true));
  auto release = lock(mine);
  release.what = verb::unlock;
  CHECK(c.commit({release}));
  CHECK(c.commit({lock(other)}));
  CHECK(etcd::parse_renewal(c.call(etcd::renew_lease(other))));
  CHECK(etcd::parse_revocation(c.call(etcd::revoke_lease(other))));
  CHECK(c.keys("locks/").empty());
  CHECK(etcd::parse_renewal(c.call(etcd::renew_lease(other))).error().code ==
        errc::not_found);
  CHECK(etcd::parse_revocation(c.call(etcd::revoke_lease(other))));
  CHECK(code_of(c.commit({lock(other)})) == errc::conflict);
}

TEST_CASE("etcd live: a commit beyond etcd's limits says so", "[live][etcd]") {
  const auto limits = shared_server().options().limits();
  std::vector<kv_op> ops;
  for (size_t i = 0; i <= limits.max_ops; ++i)
    ops.push_back(op(verb::set, "limit/" + std::to_string(i), "x"));
  CHECK(etcd::commit(ops, limits).error().code == errc::too_large);
  ops.pop_back();
  ops.front() = op(verb::remove_tree, "limit/");
  client c(shared_server().options());
  CHECK(c.commit(ops)); // as many operations as etcd takes
}

TEST_CASE("etcd live: a leader sees what changes, whole", "[live][etcd]") {
  auto& server = shared_server();
  worker w(at(server, "follow"));
  w.actors().set_role(role::leader);
  REQUIRE(w.synced_once());
  put_host(server, "follow/instances/web/pools/1/hosts/1", 8001);
  CHECK(w.has_port("web", 8001));
  put(server, "follow/instances/web/pools/1/hosts/1/port", "8002");
  CHECK(w.has_port("web", 8002));
  put(server, "follow/config/session_ttl", "77");
  CHECK(w.wait_until([&] { return w.global.session_ttl == 77s; }));
  server.control("del --prefix follow/instances/web/");
  CHECK(w.wait_until([&] { return w.instances.empty(); }));
  // more than a message of the stream, and more than one transaction
  put(server, "follow/instances/big/note", std::string(100'000, 'n'));
  put_host(server, "follow/instances/big/pools/1/hosts/1", 8003);
  CHECK(w.has_port("big", 8003));
  std::string json = R"({"pools": [{"hosts": [)";
  for (int i = 1; i <= 500; ++i)
    json += std::string(i > 1 ? "," : "") + R"({"host": "10.0.0.1", "port": )" +
            std::to_string(i) + "}";
  CHECK(w.answer_to(w.write("large", json + "]}]}")).error.empty());
  CHECK(w.has_port("large", 1));
  CHECK(w.instances["large"]->config().pools[0].hosts.size() == 500);
  CHECK(w.answer_to(w.write("large", host(9))).error.empty());
  CHECK(w.has_port("large", 9));
  CHECK(client(server.options()).keys("follow/instances/large/").size() == 2);
}

TEST_CASE("etcd live: a compaction, a crash and an older past are followed",
          "[live][etcd]") {
  etcd_cluster server;
  worker w(at(server, "z"));
  w.actors().set_role(role::leader);
  put_host(server, "z/instances/web/pools/1/hosts/1", 8001);
  REQUIRE(w.has_port("web", 8001));
  const auto snapshot = server.file("snapshot");
  server.control("snapshot save '" + snapshot + "'");

  const auto revision = w.revision;
  for (int i = 0; i < 5; ++i)
    put(server, "elsewhere", std::to_string(i));
  server.control("compaction " + std::to_string(revision + 3));
  put(server, "z/instances/web/pools/1/hosts/1/port", "8002");
  CHECK(w.has_port("web", 8002));

  server.kill_now();
  CHECK(w.wait_until([&] { return !w.trouble.empty(); }));
  CHECK(w.has_port("web", 8002, 1ms)); // last good
  server.restart();
  CHECK(w.wait_until([&] { return w.trouble.empty(); }));
  put(server, "z/instances/web/pools/1/hosts/1/port", "8003");
  CHECK(w.has_port("web", 8003));

  server.restore(snapshot);
  CHECK(w.has_port("web", 8001));
  put(server, "z/instances/web/pools/1/hosts/1/port", "8004");
  CHECK(w.has_port("web", 8004));
}

TEST_CASE("etcd live: a token that no longer counts is replaced",
          "[live][etcd]") {
  etcd_cluster server(1, {"--auth-token-ttl", "2"});
  auto options = at(server, "z");
  auto& etcd = std::get<etcd_options>(options.store);
  etcd.user = "root";
  etcd.password = "secret";
  server.control("user add root:secret");
  server.control("auth enable");
  const std::string as_root = "--user root:secret ";
  worker w(options);
  w.actors().set_role(role::leader);
  REQUIRE(w.synced_once());
  CHECK(w.answer_to(w.write("web", host(8001))).error.empty());
  CHECK(w.has_port("web", 8001));
  std::this_thread::sleep_for(4s); // the token is over by then
  CHECK(w.answer_to(w.write("web", host(8002))).error.empty());
  CHECK(w.has_port("web", 8002));
  server.restart(); // forgets all tokens
  CHECK(w.answer_to(w.write("web", host(8003))).error.empty());
  CHECK(w.has_port("web", 8003));

  etcd.password = "wrong";
  worker denied(options);
  denied.actors().set_role(role::leader);
  CHECK(denied.wait_until([&] {
    return denied.trouble.find("authentication failed") != std::string::npos;
  }));
}

TEST_CASE("etcd live: another member takes over within two seconds",
          "[live][etcd]") {
  etcd_cluster server(3);
  worker w(at(server, "z"));
  w.actors().set_role(role::leader);
  REQUIRE(w.synced_once());
  CHECK(w.answer_to(w.write("web", host(8001))).error.empty());
  REQUIRE(w.has_port("web", 8001));
  server.kill_now(0); // the one that it talks to
  const auto killed = steady::now();
  REQUIRE(w.wait_until([&] { return !w.trouble.empty(); }));
  REQUIRE(w.wait_until([&] { return w.trouble.empty(); }));
  const auto took = steady::now() - killed;
  INFO(std::chrono::duration_cast<std::chrono::milliseconds>(took).count()
       << " ms");
  // (an election may be under way when it was the cluster's leader)
  CHECK(took < 4s);
  CHECK(w.answer_to(w.write("web", host(8002))).error.empty());
  CHECK(w.has_port("web", 8002));
}
