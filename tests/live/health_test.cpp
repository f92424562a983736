// Sessions, locks and health checks of whole nodes, on a real Consul and a
// real file, against real servers.
#include <unistd.h>

#include <atomic>
#include <thread>

#include "actors/system.hpp"
#include "health/process_mark.hpp"
#include "store/consul_protocol.hpp"
#include "store/embedded_store.hpp"
#include "support/catch.hpp"
#include "support/consul_agent.hpp"
#include "support/http_client.hpp"
#include "support/tcp_server.hpp"
#include "support/temp_dir.hpp"

using namespace zedcup;
using namespace zedcup::test;
using namespace std::chrono_literals;

namespace {

using steady = std::chrono::steady_clock;

// Looks again and again, for at most so long.
template <class Condition>
bool wait_until(Condition condition, std::chrono::milliseconds bound = 20s) {
  const auto end = steady::now() + bound;
  while (!condition()) {
    if (steady::now() > end)
      return false;
    std::this_thread::sleep_for(20ms);
  }
  return true;
}

/// The leading worker of a node, without an nginx around it.
class node {
public:
  explicit node(system_options options) {
    auto started = zedcup::system::start(std::move(options), out_);
    if (!started)
      throw std::runtime_error(started.error().message);
    actors_ = std::move(*started);
    actors_->set_role(role::leader);
  }
  ~node() { stop(); }
  node(const node&) = delete;
  node& operator=(const node&) = delete;

  zedcup::system& actors() { return *actors_; }
  /// As an nginx that quits does.
  void stop() {
    if (actors_ && !actors_->stop(10s))
      std::abort();
    actors_.reset();
  }

private:
  outbox<loop_message> out_{[] {}};
  std::unique_ptr<zedcup::system> actors_;
};

/// A store as an operator sees it.
class consul_view {
public:
  consul_view(const consul_agent& agent, std::string prefix)
      : agent_(agent), prefix_(std::move(prefix)) {}

  system_options options() const {
    system_options made;
    made.prefix = prefix_;
    consul_options consul;
    consul.addresses = {{"127.0.0.1", agent_.port()}};
    made.store = consul;
    return made;
  }

  void put(const std::string& key, const std::string& value,
           uint64_t flags = 0) const {
    kv_op op;
    op.key = prefix_ + "/" + key;
    op.value = value;
    op.flags = flags;
    const auto answer =
        fetch(*driver_, *consul::commit(agent_.target(), {op}, {}));
    REQUIRE(answer);
    REQUIRE(answer->status == 200);
  }

  std::vector<kv_entry> below(const std::string& key) const {
    const auto head = prefix_ + "/" + key;
    const auto answer =
        fetch(*driver_, consul::read_tree(agent_.target(), head));
    if (!answer)
      throw std::runtime_error(answer.error().message);
    auto tree = consul::parse_tree(*answer, head);
    if (!tree)
      throw std::runtime_error(tree.error().message);
    return tree->tree.entries;
  }

  std::string holder(const std::string& lock) const {
    const auto found = below("locks/" + lock);
    return found.empty() ? "" : found[0].session;
  }

  void end_session(const std::string& id) const {
    REQUIRE(fetch(*driver_, consul::destroy_session(agent_.target(), id)));
  }

private:
  const consul_agent& agent_;
  std::string prefix_;
  std::unique_ptr<http_driver> driver_ = start_driver();
};

consul_agent& shared_agent() {
  static consul_agent agent;
  return agent;
}

/// A host that counts its probes.
class backend {
public:
  explicit backend(std::string status = "200 OK")
      : server_([this, status](tcp_server::connection& peer) {
          if (peer.read_request().empty())
            return;
          ++probes_;
          peer.send(http_answer("", status));
        }) {}

  int probes() const { return probes_; }
  std::string port() const { return std::to_string(server_.port()); }

private:
  std::atomic<int> probes_{0};
  tcp_server server_;
};

void configure(const consul_view& store, const backend& host) {
  store.put("instances/web/healthcheck/interval", "1");
  store.put("instances/web/pools/1/hosts/1/port", host.port());
  store.put("instances/web/pools/1/hosts/1/host", "127.0.0.1");
}

} // namespace

TEST_CASE("health: of two nodes one probes; when it ends, the other does",
          "[live][health]") {
  consul_view store(shared_agent(), "two");
  const backend host;
  configure(store, host);
  auto first = std::make_unique<node>(store.options());
  REQUIRE(wait_until([&] { return host.probes() > 0; }));
  const auto holder = store.holder("healthcheck");
  CHECK_FALSE(holder.empty());
  CHECK(wait_until([&] { return store.holder("revive") == holder; }));

  node second(store.options());
  REQUIRE(wait_until([&] { return store.below("registry/").size() == 2; }));
  const auto before = host.probes();
  const auto begin = steady::now();
  REQUIRE(wait_until([&] { return host.probes() == before + 5; }));
  const auto took = steady::now() - begin;
  CHECK(took > 4s); // both together, as often as one
  CHECK(took < 6500ms);
  CHECK(store.holder("healthcheck") == holder);

  first.reset();
  CHECK(store.below("registry/").size() == 1);
  const auto at_end = host.probes();
  CHECK(wait_until([&] { return host.probes() > at_end; }, 2s));
  CHECK(store.holder("healthcheck") != holder);
}

TEST_CASE("health: the time and the good probes in a row are in the store",
          "[live][health]") {
  consul_view store(shared_agent(), "notes");
  const backend host;
  configure(store, host);
  const node only(store.options());
  REQUIRE(wait_until([&] {
    const auto found = store.below("state/web/1/1/last_check");
    return !found.empty() && found[0].flags >= 2;
  }));
  const auto found = store.below("state/web/1/1/last_check");
  const auto seen = std::stoll(found[0].value);
  CHECK(seen <= std::time(nullptr));
  CHECK(seen >= std::time(nullptr) - 10);
}

TEST_CASE("health: the registry says who a session is", "[live][health]") {
  consul_view store(shared_agent(), "registry");
  const node only(store.options());
  REQUIRE(wait_until([&] { return !store.below("registry/").empty(); }));
  const auto entry = store.below("registry/")[0];
  CHECK(entry.key == "registry/registry/" + entry.session);
  const auto mark = process_mark::parse(entry.value);
  CHECK(mark.pid == getpid());
  CHECK(mark.started > 0);
  CHECK_FALSE(mark.host.empty());
}

TEST_CASE("health: a session that ends in the store is made anew",
          "[live][health]") {
  consul_view store(shared_agent(), "lost");
  const backend host;
  configure(store, host);
  store.put("config/session_ttl", "4");
  const node only(store.options());
  REQUIRE(wait_until([&] { return host.probes() > 0; }));
  const auto old = store.holder("healthcheck");
  store.end_session(old);
  CHECK(wait_until(
      [&] {
        const auto now = store.holder("healthcheck");
        return !now.empty() && now != old;
      },
      5s));
  const auto before = host.probes();
  CHECK(wait_until([&] { return host.probes() > before; }));
}

TEST_CASE("health: a worker that ceases to lead frees its locks",
          "[live][health]") {
  consul_view store(shared_agent(), "role");
  const backend host;
  configure(store, host);
  node only(store.options());
  REQUIRE(wait_until([&] { return host.probes() > 0; }));
  only.actors().set_role(role::follower);
  CHECK(wait_until([&] { return store.below("registry/").empty(); }));
  CHECK(store.holder("healthcheck").empty());
  only.actors().set_role(role::leader);
  CHECK(wait_until([&] { return !store.holder("healthcheck").empty(); }));
}

TEST_CASE("health: a dead worker's session is ended by the next one's",
          "[live][health]") {
  consul_view store(shared_agent(), "stale");
  const auto driver = start_driver();
  consul::session_options wanted;
  wanted.delete_keys = true;
  const auto id = consul::parse_session_id(
      *fetch(*driver, consul::create_session(shared_agent().target(), wanted)));
  REQUIRE(id);
  auto mark = process_mark::own("1.1"); // another start of this process …
  mark.pid = 0x7ffffff0;                // … which is gone
  REQUIRE(fetch(*driver,
                consul::acquire(shared_agent().target(),
                                "stale/registry/" + *id, mark.to_json(), *id)));
  REQUIRE(fetch(*driver, consul::acquire(shared_agent().target(),
                                         "stale/locks/healthcheck", "", *id)));
  const node next(store.options());
  CHECK(wait_until(
      [&] {
        const auto now = store.holder("healthcheck");
        return !now.empty() && now != *id;
      },
      5s));
}

TEST_CASE("health: stop() takes the session along within its deadline",
          "[live][health]") {
  consul_view store(shared_agent(), "stop");
  auto only = std::make_unique<node>(store.options());
  REQUIRE(wait_until([&] { return !store.below("registry/").empty(); }));
  const auto begin = steady::now();
  only->stop();
  CHECK(steady::now() - begin < 100ms);
  CHECK(store.below("registry/").empty());
}

TEST_CASE("health: stop() does not wait for a store that hangs",
          "[live][health]") {
  consul_agent agent;
  consul_view store(agent, "hang");
  auto only = std::make_unique<node>(store.options());
  REQUIRE(wait_until([&] { return !store.below("registry/").empty(); }));
  agent.freeze();
  const auto begin = steady::now();
  only->stop();
  CHECK(steady::now() - begin < 100ms);
  agent.thaw();
}

TEST_CASE("health: the embedded store has sessions and locks too",
          "[live][health]") {
  const temp_dir dir;
  const backend host;
  const auto file = dir.file("store.db");
  auto store = embedded_store::open(file);
  REQUIRE(store);
  const auto put = [&](std::string key, std::string value) {
    kv_op op;
    op.key = std::move(key);
    op.value = std::move(value);
    REQUIRE(store->commit({op}));
  };
  put("zedcup/instances/web/healthcheck/interval", "1");
  put("zedcup/instances/web/pools/1/hosts/1/port", host.port());
  put("zedcup/instances/web/pools/1/hosts/1/host", "127.0.0.1");
  system_options options;
  options.store = embedded_target{file};
  auto only = std::make_unique<node>(options);
  CHECK(wait_until([&] { return host.probes() > 1; }));
  CHECK(store->sessions()->size() == 1);
  CHECK(store->read_tree("zedcup/locks/")->entries.size() == 2);
  only.reset();
  CHECK(store->sessions()->empty());
  CHECK(store->read_tree("zedcup/locks/")->entries.empty());
}
