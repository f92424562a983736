// The Consul protocol, the watch and the plans against a real server.
#include <atomic>
#include <condition_variable>
#include <fstream>
#include <map>
#include <mutex>
#include <thread>

#include "store/consul_protocol.hpp"
#include "store/consul_watch.hpp"
#include "store/write_plan.hpp"
#include "support/catch.hpp"
#include "support/consul_agent.hpp"
#include "support/http_client.hpp"
#include "support/tcp_server.hpp"

using namespace zedcup;
using namespace zedcup::test;
using namespace std::chrono_literals;

namespace {

using verb = kv_op::verb;
using content = std::map<std::string, std::string>;
using steady = std::chrono::steady_clock;

kv_op op(verb what, std::string key, std::string value = "",
         uint64_t index = 0) {
  kv_op made;
  made.what = what;
  made.key = std::move(key);
  made.value = std::move(value);
  made.index = index;
  return made;
}

kv_op held(verb what, std::string key, std::string session) {
  auto made = op(what, std::move(key), "me");
  made.session = std::move(session);
  return made;
}

template <class T>
T must(result<T> outcome) {
  if (!outcome)
    throw std::runtime_error(outcome.error().message);
  return *std::move(outcome);
}

/// A store client that waits for each answer.
class client {
public:
  explicit client(consul_target to) : to_(std::move(to)) {}

  http_response get(const http_request& request) {
    return must(fetch(*driver_, request));
  }
  result<commit_result> commit(const std::vector<kv_op>& ops) {
    return consul::parse_commit(get(must(consul::commit(to_, ops, {}))), ops);
  }
  kv_tree tree(std::string_view prefix,
               consul::read_mode mode = consul::read_mode::consistent) {
    return must(consul::parse_tree(get(consul::read_tree(to_, prefix, mode)),
                                   prefix))
        .tree;
  }
  std::string session(const consul::session_options& options) {
    return must(
        consul::parse_session_id(get(consul::create_session(to_, options))));
  }
  int run(write_plan plan) {
    int commits = 0;
    while (const auto ops = plan.next()) {
      plan.committed(must(commit(*ops)));
      ++commits;
    }
    return commits;
  }

  const consul_target& to() const { return to_; }
  http_driver& driver() { return *driver_; }

private:
  consul_target to_;
  std::unique_ptr<http_driver> driver_ = start_driver();
};

/// One server for all tests that do not harm it; each uses its own prefix.
consul_agent& shared_agent() {
  static consul_agent agent;
  return agent;
}

kv_leaves hosts(int count, const std::string& value) {
  kv_leaves leaves;
  for (int i = 1; i <= count; ++i)
    leaves.emplace_back("pools/1/hosts/" + std::to_string(i) + "/host", value);
  return leaves;
}

/// What a reader makes of an instance: the record, where there is one.
content effective(const kv_tree& tree, const std::string& root) {
  content plain;
  for (const auto& entry : tree.entries) {
    const auto path = entry.key.substr(root.size());
    if (path == pending_key) {
      const auto record = must(parse_pending(entry.value));
      return {record.leaves.begin(), record.leaves.end()};
    }
    plain[path] = entry.value;
  }
  return plain;
}

/// Runs a consul_watch on a thread, as an actor would.
class follower {
public:
  follower(consul_watch_settings settings, uint64_t seed)
      : watch_(std::move(settings), seed), thread_([this] { loop(); }) {}
  ~follower() {
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      stop_ = true;
    }
    changed_.notify_all();
    driver_->stop();
    thread_.join();
  }
  follower(const follower&) = delete;
  follower& operator=(const follower&) = delete;

  /// Waits until what was published fulfils the condition.
  template <class Condition>
  bool wait_for(Condition condition) {
    std::unique_lock<std::mutex> lock(mutex_);
    return changed_.wait_for(
        lock, 20s, [&] { return published_ && condition(*published_); });
  }
  /// Waits for a problem that was not there yet.
  bool wait_for_problem() {
    std::unique_lock<std::mutex> lock(mutex_);
    const auto before = problems_;
    return changed_.wait_for(lock, 20s, [&] { return problems_ > before; });
  }
  size_t requests() const { return requests_; }
  bool was_ever_empty() const { return empty_seen_; }

private:
  void loop() {
    for (std::unique_lock<std::mutex> lock(mutex_); !stop_;) {
      auto step = watch_.next(steady::now());
      if (step.what == consul_watch::step::action::wait) {
        changed_.wait_until(lock, step.until);
        continue;
      }
      ++requests_;
      lock.unlock();
      auto answer = fetch(*driver_, step.request);
      lock.lock();
      auto outcome =
          watch_.on_answer(step.ticket, std::move(answer), steady::now());
      problems_ += outcome.problem ? 1 : 0;
      changed_.notify_all();
      if (!outcome.publish)
        continue;
      empty_seen_ = empty_seen_ || outcome.publish->entries.empty();
      published_ = std::move(outcome.publish);
    }
  }

  std::unique_ptr<http_driver> driver_ = start_driver();
  std::mutex mutex_;
  std::condition_variable changed_;
  bool stop_ = false;
  std::optional<kv_tree> published_;
  size_t problems_ = 0;
  std::atomic<size_t> requests_{0};
  std::atomic<bool> empty_seen_{false};
  consul_watch watch_;
  std::thread thread_;
};

consul_watch_settings following(const consul_target& to, std::string prefix) {
  consul_watch_settings settings;
  settings.targets = {to};
  settings.prefix = std::move(prefix);
  return settings;
}

auto has_value(std::string value) {
  return [value](const kv_tree& tree) {
    return !tree.entries.empty() && tree.entries[0].value == value;
  };
}

} // namespace

TEST_CASE("live: trees of odd keys, raw values and flags come back", "[live]") {
  client c(shared_agent().target());
  auto first =
      op(verb::set, "odd/a b%/?#&+\xc3\xa9\"", std::string("\0\xff", 2));
  first.flags = 1;
  const auto made = must(c.commit({first, op(verb::set, "odd/empty")}));
  const auto tree = c.tree("odd/");
  REQUIRE(tree.entries.size() == 2);
  REQUIRE(tree.entries[0].key == first.key);
  REQUIRE(tree.entries[0].value == first.value);
  REQUIRE(tree.entries[0].flags == 1);
  REQUIRE(tree.entries[0].modify_index == made.indexes[0]);
  REQUIRE(tree.entries[1].value.empty());
  REQUIRE(c.tree("odd/a b%/").entries.size() == 1);
  REQUIRE(must(consul::parse_keys(c.get(consul::list_keys(c.to(), "odd/"))))
              .keys.size() == 2);
}

TEST_CASE("live: an empty prefix is an empty tree with an index", "[live]") {
  client c(shared_agent().target());
  for (const auto mode :
       {consul::read_mode::standard, consul::read_mode::consistent,
        consul::read_mode::stale}) {
    const auto read = must(consul::parse_tree(
        c.get(consul::read_tree(c.to(), "nothing/", mode)), "nothing/"));
    REQUIRE(read.missing);
    REQUIRE(read.tree.revision > 0);
  }
}

TEST_CASE("live: the limits of a transaction are the server's", "[live]") {
  client c(shared_agent().target());
  std::vector<kv_op> ops;
  for (int i = 0; i < 64; ++i)
    ops.push_back(op(verb::set, "limit/" + std::to_string(i)));
  REQUIRE(must(c.commit(ops)).indexes.size() == 64);
  ops.push_back(op(verb::set, "limit/65"));
  const auto request = must(consul::commit(c.to(), ops, {65, 1 << 20}));
  const auto refused = consul::parse_commit(c.get(request), ops);
  REQUIRE_FALSE(refused);
  REQUIRE(refused.error().code == errc::too_large);

  // A commit that the options' limits just allow fits into its body.
  const consul_options options;
  std::vector<kv_op> big;
  const auto part = options.limits.max_bytes / 64;
  for (int i = 0; i < 64; ++i) {
    auto key = "limit/big/" + std::to_string(i);
    big.push_back(op(verb::set, key, std::string(part - key.size(), '\xff')));
  }
  REQUIRE(consul::parse_commit(
      c.get(must(consul::commit(c.to(), big, options.limits))), big));
}

TEST_CASE("live: each condition of a commit holds", "[live]") {
  client c(shared_agent().target());
  const auto index =
      must(c.commit({op(verb::set_if, "cond/a", "1", 0)})).indexes[0];
  const auto fails = [&](const kv_op& condition) {
    const auto outcome = c.commit({op(verb::set, "cond/b"), condition});
    REQUIRE_FALSE(outcome);
    REQUIRE(outcome.error().code == errc::conflict);
    REQUIRE(outcome.error().message.find(condition.key) != std::string::npos);
    REQUIRE(c.tree("cond/").entries.size() == 1);
  };
  fails(op(verb::set_if, "cond/a", "2", 0));
  fails(op(verb::set_if, "cond/a", "2", index + 1));
  fails(op(verb::remove_if, "cond/a", "", index + 1));
  fails(op(verb::check_index, "cond/a", "", index + 1));
  fails(op(verb::check_index, "cond/c", "", 5));
  fails(op(verb::check_absent, "cond/a"));
  const auto made = must(c.commit(
      {op(verb::check_index, "cond/a", "", index),
       op(verb::check_absent, "cond/c"), op(verb::set_if, "cond/a", "2", index),
       op(verb::remove, "cond/c"), op(verb::remove_if, "cond/c", "", 9),
       op(verb::set, "cond/d")}));
  REQUIRE(made.indexes[2] > index);
  REQUIRE(made.indexes[5] == made.revision);
  must(c.commit({op(verb::remove_tree, "cond/")}));
  REQUIRE(c.tree("cond/").entries.empty());
}

TEST_CASE("live: a blocking read answers when something changes", "[live]") {
  client c(shared_agent().target());
  const auto index = must(c.commit({op(verb::set, "block/a", "1")})).revision;
  auto pending =
      send(c.driver(), consul::blocking_read(c.to(), "block/", index, 60s));
  REQUIRE(pending.outcome.wait_for(200ms) == std::future_status::timeout);
  must(c.commit({op(verb::set, "block/b", "2")}));
  const auto read = must(consul::parse_tree(must(pending.get()), "block/"));
  REQUIRE(read.tree.entries.size() == 2);
  REQUIRE(read.tree.revision > index);
}

TEST_CASE("live: a blocking read without news returns after its wait",
          "[live]") {
  client c(shared_agent().target());
  const auto index = must(c.commit({op(verb::set, "quiet/a", "1")})).revision;
  const auto before = steady::now();
  const auto read = must(consul::parse_tree(
      c.get(consul::blocking_read(c.to(), "quiet/", index, 1s)), "quiet/"));
  const auto took = steady::now() - before;
  REQUIRE(took >= 1s);
  REQUIRE(took < 3s);
  REQUIRE(read.tree.revision == index);
}

TEST_CASE("live: the watch follows changes and deletes within milliseconds",
          "[live]") {
  client c(shared_agent().target());
  follower f(following(c.to(), "watch/"), 1);
  REQUIRE(f.wait_for([](const kv_tree& tree) { return tree.entries.empty(); }));
  steady::duration worst{};
  for (int i = 0; i < 50; ++i) {
    const auto text = std::to_string(i);
    must(c.commit({op(verb::set, "watch/a", text)}));
    const auto before = steady::now();
    REQUIRE(f.wait_for(has_value(text)));
    worst = std::max(worst, steady::now() - before);
  }
  REQUIRE(worst < 1s);
  must(c.commit({op(verb::set, "watch/b", "x")}));
  must(c.commit({op(verb::remove, "watch/a")}));
  REQUIRE(f.wait_for([](const kv_tree& tree) {
    return tree.entries.size() == 1 && tree.entries[0].key == "watch/b";
  }));
  must(c.commit({op(verb::remove_tree, "watch/")}));
  REQUIRE(f.wait_for([](const kv_tree& tree) { return tree.entries.empty(); }));
}

TEST_CASE("live: the watch neither spins on an empty prefix nor on others' "
          "writes",
          "[live]") {
  client c(shared_agent().target());
  must(c.commit({op(verb::remove_tree, "lonely/")}));
  follower f(following(c.to(), "lonely/"), 1);
  REQUIRE(f.wait_for([](const kv_tree&) { return true; }));
  const auto end = steady::now() + 2s;
  for (int i = 0; steady::now() < end; ++i)
    must(c.commit({op(verb::set, "neighbour/" + std::to_string(i % 9),
                      std::to_string(i))}));
  REQUIRE(f.requests() < 60);
}

TEST_CASE("live: a large plan is never seen half done", "[live]") {
  client c(shared_agent().target());
  const std::string root = "plan/instances/foo/";
  const content one = [] {
    const auto leaves = hosts(300, "one");
    return content(leaves.begin(), leaves.end());
  }();
  const content two = [] {
    const auto leaves = hosts(150, "two");
    return content(leaves.begin(), leaves.end());
  }();
  c.run(must(write_plan::replace_instance("plan", "foo", hosts(300, "one"),
                                          "first", {})));
  std::atomic<bool> stop{false};
  std::atomic<int> reads{0};
  std::atomic<int> halves{0};
  std::thread reader([&] {
    client own(shared_agent().target());
    while (!stop) {
      const auto seen = effective(own.tree(root), root);
      halves += seen == one || seen == two ? 0 : 1;
      ++reads;
    }
  });
  for (int i = 0; i < 5; ++i) {
    REQUIRE(c.run(must(write_plan::replace_instance(
                "plan", "foo", hosts(150, "two"), "b", {}))) > 3);
    REQUIRE(effective(c.tree(root), root) == two);
    REQUIRE(c.run(must(write_plan::replace_instance(
                "plan", "foo", hosts(300, "one"), "c", {}))) > 5);
    REQUIRE(effective(c.tree(root), root) == one);
  }
  stop = true;
  reader.join();
  REQUIRE(reads > 20);
  REQUIRE(halves == 0);
  REQUIRE(c.tree(root).entries.size() == 300);
}

TEST_CASE("live: a dead writer's record is completed, a late one conflicts",
          "[live]") {
  client c(shared_agent().target());
  auto dead = must(
      write_plan::replace_instance("dead", "foo", hosts(200, "x"), "w", {}));
  dead.committed(must(c.commit(*dead.next())));
  dead.committed(must(c.commit(*dead.next())));
  const auto tree = c.tree("dead/instances/foo/_pending");
  REQUIRE(tree.entries.size() == 1);
  c.run(must(write_plan::complete_pending("dead", "foo", tree.entries[0], {})));
  REQUIRE(c.tree("dead/instances/foo/").entries.size() == 200);
  const auto late = c.commit(*dead.next());
  REQUIRE_FALSE(late);
  REQUIRE(late.error().code == errc::conflict);
  REQUIRE(c.run(must(write_plan::remove_instance("dead", "foo"))) == 1);
  REQUIRE(c.tree("dead/").entries.empty());
}

TEST_CASE("live: a lock has one holder, and sessions end it", "[live]") {
  client c(shared_agent().target());
  consul::session_options options;
  options.name = "zedcup";
  options.ttl = 10s;
  const auto one = c.session(options);
  options.delete_keys = true;
  const auto two = c.session(options);
  const auto acquire = [&](const std::string& session) {
    return must(consul::parse_flag(
        c.get(consul::acquire(c.to(), "lock/a", "me", session))));
  };
  REQUIRE(acquire(one));
  REQUIRE(acquire(one));
  REQUIRE_FALSE(acquire(two));
  REQUIRE(c.tree("lock/a").entries[0].session == one);
  REQUIRE(consul::parse_renewal(c.get(consul::renew_session(c.to(), one))));
  REQUIRE(must(
      consul::parse_flag(c.get(consul::release(c.to(), "lock/a", "me", one)))));
  REQUIRE(acquire(two));
  REQUIRE(
      must(consul::parse_flag(c.get(consul::destroy_session(c.to(), two)))));
  REQUIRE(c.tree("lock/a").entries.empty());
  const auto gone =
      consul::parse_renewal(c.get(consul::renew_session(c.to(), two)));
  REQUIRE_FALSE(gone);
  REQUIRE(gone.error().code == errc::not_found);
  const auto refused =
      consul::parse_flag(c.get(consul::acquire(c.to(), "lock/a", "me", two)));
  REQUIRE_FALSE(refused);
  REQUIRE(refused.error().code == errc::not_found);
  const auto listed =
      must(consul::parse_sessions(c.get(consul::list_sessions(c.to()))));
  REQUIRE(std::any_of(listed.begin(), listed.end(),
                      [&](const auto& session) { return session.id == one; }));
}

TEST_CASE("live: locks are taken and given up inside commits", "[live]") {
  client c(shared_agent().target());
  const auto one = c.session({});
  const auto two = c.session({});
  must(c.commit({held(verb::lock, "tx/l", one), op(verb::set, "tx/a")}));
  for (const auto& wrong :
       {held(verb::lock, "tx/l", two), held(verb::unlock, "tx/l", two),
        held(verb::lock, "tx/m", "00000000-0000-0000-0000-000000000000")}) {
    const auto refused = c.commit({op(verb::set, "tx/b"), wrong});
    REQUIRE_FALSE(refused);
    REQUIRE(refused.error().code == errc::conflict);
  }
  const auto made = must(c.commit({held(verb::unlock, "tx/l", one)}));
  REQUIRE(made.indexes[0] > 0);
  must(c.commit({held(verb::lock, "tx/l", two)}));
  REQUIRE(c.tree("tx/b").entries.empty());
}

TEST_CASE("live: a session that is not renewed ends by its TTL", "[live]") {
  client c(shared_agent().target());
  consul::session_options options;
  options.ttl = 1s;
  options.delete_keys = true;
  const auto session = c.session(options);
  must(c.commit({held(verb::lock, "ttl/a", session)}));
  follower f(following(c.to(), "ttl/"), 1);
  // Consul waits for up to twice the TTL.
  REQUIRE(f.wait_for([](const kv_tree& tree) { return tree.entries.empty(); }));
}

TEST_CASE("live: an unknown token is denied", "[live]") {
  consul_agent agent(R"("acl": {"enabled": true, "default_policy": "allow"})");
  consul_options options;
  options.addresses = {{"127.0.0.1", agent.port()}};
  options.token = "11111111-2222-3333-4444-555555555555";
  client c(consul_targets(options).front());
  const auto read =
      consul::parse_tree(c.get(consul::read_tree(c.to(), "a/")), "a/");
  REQUIRE_FALSE(read);
  REQUIRE(read.error().code == errc::denied);
  const auto made = c.commit({op(verb::set, "a/b")});
  REQUIRE_FALSE(made);
  REQUIRE(made.error().code == errc::denied);
}

TEST_CASE("live: keys that a token may not read are never taken for empty",
          "[live]") {
  consul_agent agent(R"("acl": {"enabled": true, "default_policy": "deny",
                        "enable_key_list_policy": true})");
  client c(agent.target());
  const auto read =
      consul::parse_tree(c.get(consul::read_tree(c.to(), "a/")), "a/");
  REQUIRE_FALSE(read);
  REQUIRE(read.error().code == errc::denied);
}

TEST_CASE("live: the watch survives a killed, a frozen and an emptied server",
          "[live]") {
  consul_agent agent;
  auto options = consul_options();
  options.addresses = {{"127.0.0.1", free_port()}, // nobody there
                       {"127.0.0.1", agent.port()}};
  options.connect_timeout = 500ms;
  options.read_timeout = 500ms;
  auto settings = following(agent.target(), "a/");
  settings.targets = consul_targets(options);
  settings.wait = 1s;
  settings.backoff_max = 200ms;
  client c(agent.target());
  must(c.commit({op(verb::set, "a/b", "one")}));
  follower f(settings, 3);
  REQUIRE(f.wait_for(has_value("one")));
  agent.restart();
  must(c.commit({op(verb::set, "a/b", "two")}));
  REQUIRE(f.wait_for(has_value("two")));
  agent.freeze();
  REQUIRE(f.wait_for_problem());
  agent.thaw();
  must(c.commit({op(verb::set, "a/b", "three")}));
  REQUIRE(f.wait_for(has_value("three")));
  REQUIRE_FALSE(f.was_ever_empty());
  must(c.commit({op(verb::remove_tree, "a/")}));
  REQUIRE(f.wait_for([](const kv_tree& tree) { return tree.entries.empty(); }));
}

TEST_CASE("live: TLS with a CA, a client certificate and another name",
          "[live]") {
  const auto agent = consul_agent::with_tls();
  const auto driver = start_driver();
  consul_options options;
  options.addresses = {{"127.0.0.1", agent->tls_port()}};
  options.ssl = true;
  options.ca_cert = agent->file("ca.pem");
  options.client_cert = agent->file("client.pem");
  options.client_key = agent->file("client-key.pem");
  const auto read = [&] {
    return fetch(*driver,
                 consul::read_tree(consul_targets(options).front(), "a/"));
  };
  const auto why_not = [&] {
    const auto outcome = read();
    REQUIRE_FALSE(outcome);
    REQUIRE(outcome.error().code == errc::unavailable);
    return outcome.error().message;
  };
  REQUIRE(must(read()).status == 404);
  options.sni_host = "server.dc1.consul";
  REQUIRE(must(read()).status == 404);
  options.sni_host = "elsewhere.example";
  REQUIRE(why_not().find("elsewhere.example") != std::string::npos);
  options.sni_host.clear();
  options.ca_cert.clear();
  const auto unknown_ca = why_not();
  REQUIRE(unknown_ca.find("TLS: ") != std::string::npos);
  REQUIRE(unknown_ca.find("certificate") != std::string::npos);
  options.ssl_verify = false;
  REQUIRE(must(read()).status == 404);
  options.client_cert.clear();
  options.client_key.clear();
  REQUIRE(why_not().find("127.0.0.1:") == 0);
}
