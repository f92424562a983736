// The whole actor graph on its threads, with a real Consul and a real file.
#include <dirent.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <fstream>
#include <map>
#include <set>
#include <sstream>
#include <thread>

#include "actors/system.hpp"
#include "store/consul_protocol.hpp"
#include "support/catch.hpp"
#include "support/consul_agent.hpp"
#include "support/http_client.hpp"
#include "support/live_worker.hpp"
#include "support/tcp_server.hpp"
#include "support/temp_dir.hpp"

using namespace zedcup;
using namespace zedcup::test;
using namespace std::chrono_literals;

namespace {

using steady = std::chrono::steady_clock;

// Sanitizers make everything slower, and add a thread of their own.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr bool sanitized = true;
#else
constexpr bool sanitized = false;
#endif

consul_agent& shared_agent() {
  static consul_agent agent;
  return agent;
}

system_options at_consul(const consul_agent& agent, std::string prefix) {
  system_options options;
  options.prefix = std::move(prefix);
  consul_options consul;
  consul.addresses = {{"127.0.0.1", agent.port()}};
  options.store = consul;
  options.log_level = 8;
  return options;
}

system_options at_file(const temp_dir& dir) {
  system_options options;
  options.store = embedded_target{dir.file("store.db")};
  options.log_level = 8;
  return options;
}

void put_key(const consul_agent& agent, const std::string& key,
             const std::string& value) {
  kv_op op;
  op.key = key;
  op.value = value;
  const auto driver = start_driver();
  auto request = consul::commit(agent.target(), {op}, {});
  REQUIRE(request);
  const auto answer = fetch(*driver, *request);
  REQUIRE(answer);
  REQUIRE(answer->status == 200);
}

// ---- /proc -----------------------------------------------------------------

std::set<std::string> entries_of(const std::string& folder) {
  std::set<std::string> names;
  DIR* const dir = opendir(folder.c_str());
  while (const auto* entry = readdir(dir))
    if (entry->d_name[0] != '.')
      names.insert(entry->d_name);
  closedir(dir);
  return names;
}

std::set<std::string> threads() {
  return entries_of("/proc/self/task");
}

size_t descriptors() {
  return entries_of("/proc/self/fd").size();
}

uint64_t blocked_signals(const std::string& thread) {
  std::ifstream status("/proc/self/task/" + thread + "/status");
  for (std::string line; std::getline(status, line);)
    if (line.rfind("SigBlk:", 0) == 0)
      return std::stoull(line.substr(7), nullptr, 16);
  return 0;
}

/// What the kernel lets a thread block: all but SIGKILL, SIGSTOP, and the two
/// that the C library keeps for itself (32 and 33).
uint64_t all_signals() {
  const auto bit = [](int signal) { return uint64_t{1} << (signal - 1); };
  return ~(bit(SIGKILL) | bit(SIGSTOP) | bit(32) | bit(33));
}

void check_counts_return(size_t threads_before, size_t descriptors_before) {
  // A joined thread may be listed for a moment longer.
  for (int i = 0; i < 500 && threads().size() > threads_before; ++i)
    std::this_thread::sleep_for(10ms);
  CHECK(threads().size() == threads_before);
  CHECK(descriptors() == descriptors_before);
}

} // namespace

// ---- Consul ----------------------------------------------------------------

TEST_CASE("system: a leader sees what changes in Consul", "[live][system]") {
  auto& agent = shared_agent();
  put_key(agent, "seen/instances/a/pools/1/hosts/1/host", "10.0.0.1");
  put_key(agent, "seen/instances/a/pools/1/hosts/1/port", "80");
  worker one(at_consul(agent, "seen"));
  one.actors().set_role(role::leader);
  REQUIRE(one.has_port("a", 80));
  REQUIRE(one.synced_once());
  put_key(agent, "seen/instances/a/pools/1/hosts/1/port", "81");
  CHECK(one.has_port("a", 81, 1s));
}

TEST_CASE("system: a write goes round through Consul", "[live][system]") {
  worker one(at_consul(shared_agent(), "round"));
  one.actors().set_role(role::leader);
  REQUIRE(one.synced_once());
  const auto done = one.answer_to(one.write("a", host(80)));
  CHECK(done.error == "");
  CHECK(done.revision > 0);
  CHECK(one.has_port("a", 80, 1s));
  REQUIRE(one.wait_until([&] { return one.revision >= done.revision; }));

  const auto settings = one.answer_to(one.write("", R"({"session_ttl": 77})"));
  CHECK(settings.error == "");
  one.actors().kick();
  CHECK(
      one.wait_until([&] { return one.global_revision >= settings.revision; }));
  CHECK(one.global.session_ttl == 77s);

  CHECK(one.answer_to(one.write("a", "{", false)).error != "");
  CHECK(one.answer_to(one.write("a", "", true)).error == "");
  CHECK(one.wait_until([&] { return one.instances.empty(); }, 2s));
}

TEST_CASE("system: a large write is seen whole or not at all",
          "[live][system]") {
  worker one(at_consul(shared_agent(), "large"));
  one.actors().set_role(role::leader);
  const auto many = [](int port) {
    std::string json = R"({"pools": [{"hosts": [)";
    for (int i = 1; i <= 200; ++i)
      json += std::string(i > 1 ? ", " : "") + R"({"host": "h)" +
              std::to_string(i) + R"(", "port": )" + std::to_string(port) + "}";
    return json + "]}]}";
  };
  bool whole = true;
  for (int port = 1; port <= 5; ++port) {
    const auto ask = one.write("a", many(port));
    CHECK(one.wait_until([&] {
      if (auto at = one.instances.find("a"); at != one.instances.end()) {
        auto& hosts = at->second->config().pools.at(0).hosts;
        whole = whole && hosts.size() == 200;
        for (auto& host : hosts)
          whole = whole && host.port == hosts[0].port;
      }
      return one.answers.count(ask) != 0;
    }));
    CHECK(one.answers[ask].error == "");
    CHECK(one.has_port("a", port));
  }
  CHECK(whole);
}

TEST_CASE("system: stops at once with a blocking query in flight",
          "[live][system]") {
  worker one(at_consul(shared_agent(), "stop"));
  one.actors().set_role(role::leader);
  REQUIRE(one.synced_once());
  // The watcher sends its next query along with what it hands out.
  put_key(shared_agent(), "stop/instances/a/ssl", "false");
  REQUIRE(one.wait_until([&] { return one.instances.count("a") != 0; }));
  const auto begun = steady::now();
  CHECK(one.actors().stop(5s));
  if (!sanitized)
    CHECK(steady::now() - begun < 100ms);
  CHECK(one.actors().stop(5s)); // again, for nothing
  // What comes after the end does no harm, and asks are answered.
  one.actors().set_role(role::leader);
  one.actors().kick();
  one.actors().follow_synced(1, 0);
  CHECK(one.answer_to(one.write("a", host(1))).error != "");
}

TEST_CASE("system: a Consul that is killed and comes back", "[live][system]") {
  consul_agent agent;
  worker one(at_consul(agent, "again"));
  one.actors().set_role(role::leader);
  REQUIRE(one.answer_to(one.write("a", host(80))).error == "");
  REQUIRE(one.has_port("a", 80));
  agent.kill_now();
  REQUIRE(one.wait_until([&] { return !one.trouble.empty(); }));
  CHECK(one.answer_to(one.write("a", host(81))).error != "");
  CHECK(one.instances.count("a") == 1); // last good
  agent.restart();
  CHECK(one.wait_until([&] { return one.trouble.empty(); }));
  CHECK(one.instances.count("a") == 1);
  CHECK(one.answer_to(one.write("a", host(82))).error == "");
  CHECK(one.has_port("a", 82));
}

TEST_CASE("system: a server that takes connections and says nothing",
          "[live][system]") {
  tcp_server silent(
      [](tcp_server::connection& peer) { peer.wait_for_close(); });
  system_options options;
  consul_options consul;
  consul.addresses = {{"127.0.0.1", silent.port()}};
  consul.connect_timeout = 200ms;
  consul.read_timeout = 200ms;
  options.store = consul;
  worker one(options);
  one.actors().set_role(role::leader);
  CHECK(one.wait_until([&] { return !one.trouble.empty(); }));
  CHECK(one.answer_to(one.write("a", host(1))).error != "");
}

TEST_CASE("system: the role goes to and fro", "[live][system]") {
  auto& agent = shared_agent();
  worker one(at_consul(agent, "roles"));
  for (int i = 0; i < 50; ++i) {
    one.actors().set_role(role::leader);
    one.actors().set_role(role::follower);
  }
  one.actors().set_role(role::leader);
  REQUIRE(one.answer_to(one.write("a", host(80))).error == "");
  CHECK(one.has_port("a", 80));
  CHECK(one.wait_until([&] { return one.trouble.empty(); }));
}

// ---- the embedded store ----------------------------------------------------

TEST_CASE("system: a write goes round through a file", "[live][system]") {
  const temp_dir dir;
  worker one(at_file(dir));
  one.actors().set_role(role::leader);
  REQUIRE(one.synced_once());
  CHECK(one.answer_to(one.write("a", host(80))).error == "");
  one.actors().kick();
  CHECK(one.has_port("a", 80, 1s));
  CHECK(one.answer_to(one.write("", R"({"session_ttl": 77})")).error == "");
  CHECK(one.wait_until([&] { return one.global.session_ttl == 77s; }, 1s));
  CHECK(one.answer_to(one.write("a", "", true)).error == "");
  CHECK(one.wait_until([&] { return one.instances.empty(); }, 1s));
}

TEST_CASE("system: a write of another worker is seen without a kick",
          "[live][system]") {
  const temp_dir dir;
  worker leader(at_file(dir));
  worker follower(at_file(dir));
  leader.actors().set_role(role::leader);
  REQUIRE(leader.synced_once());
  CHECK(follower.answer_to(follower.write("a", host(80))).error == "");
  CHECK(leader.has_port("a", 80, 1s));
  // What the zone would carry over.
  auto& content = leader.instances.at("a");
  follower.actors().follow_instance("a", content->revision(), content->json());
  follower.actors().follow_global(3, R"({"session_ttl": 78})");
  follower.actors().follow_synced(4, 0);
  CHECK(follower.wait_until([&] { return follower.revision == 4; }));
  CHECK(follower.has_port("a", 80));
  CHECK(follower.global.session_ttl == 78s);
}

TEST_CASE("system: a file that cannot be opened is trouble, and answered",
          "[live][system]") {
  const temp_dir dir;
  system_options options;
  options.store = embedded_target{dir.file("no/such/folder/store.db")};
  worker one(options);
  one.actors().set_role(role::leader);
  CHECK(one.wait_until([&] { return !one.trouble.empty(); }));
  CHECK(one.answer_to(one.write("a", host(80))).error != "");
  std::filesystem::create_directories(dir.path() / "no/such/folder");
  CHECK(one.wait_until([&] { return one.trouble.empty() && one.syncs > 0; }));
}

// ---- threads ---------------------------------------------------------------

TEST_CASE("system: fifty starts and stops leave nothing behind",
          "[live][system]") {
  const temp_dir dir;
  shared_agent();
  const auto cycle = [&](bool embedded) {
    worker one(embedded ? at_file(dir) : at_consul(shared_agent(), "cycle"));
    one.actors().set_role(role::leader);
    REQUIRE(one.synced_once());
  };
  cycle(true); // what libraries keep for good is made the first time
  cycle(false);
  const auto threads_before = threads().size();
  const auto descriptors_before = descriptors();
  for (int i = 0; i < 50; ++i)
    cycle(i % 2 == 0);
  check_counts_return(threads_before, descriptors_before);
}

TEST_CASE("system: a system that is dropped ends by itself", "[live][system]") {
  outbox<loop_message> out([] {});
  auto started =
      zedcup::system::start(at_consul(shared_agent(), "dropped"), out);
  REQUIRE(started);
  (*started)->set_role(role::leader);
  started->reset();
}

TEST_CASE("system: its threads block all signals, the caller's mask and CPUs "
          "stay",
          "[live][system]") {
  const temp_dir dir;
  cpu_set_t cpus_at_first;
  REQUIRE(sched_getaffinity(0, sizeof(cpus_at_first), &cpus_at_first) == 0);
  // As under worker_cpu_affinity: one CPU.
  cpu_set_t one_cpu;
  CPU_ZERO(&one_cpu);
  for (int i = 0; i < CPU_SETSIZE && CPU_COUNT(&one_cpu) == 0; ++i)
    if (CPU_ISSET(i, &cpus_at_first))
      CPU_SET(i, &one_cpu);
  REQUIRE(sched_setaffinity(0, sizeof(one_cpu), &one_cpu) == 0);
  sigset_t mask_before;
  pthread_sigmask(SIG_SETMASK, nullptr, &mask_before);

  for (const bool embedded : {true, false}) {
    const auto before = threads();
    worker one(embedded ? at_file(dir) : at_consul(shared_agent(), "signals"));
    one.actors().set_role(role::leader);
    REQUIRE(one.synced_once());
    size_t started = 0;
    for (auto& thread : threads()) {
      if (before.count(thread) != 0)
        continue;
      ++started;
      CHECK((blocked_signals(thread) & all_signals()) == all_signals());
      cpu_set_t its;
      REQUIRE(sched_getaffinity(std::stoi(thread), sizeof(its), &its) == 0);
      CHECK(CPU_COUNT(&its) >= CPU_COUNT(&cpus_at_first));
    }
    CHECK(started >= 3); // two of the scheduler, one of the store or of HTTP
  }

  sigset_t mask_after;
  pthread_sigmask(SIG_SETMASK, nullptr, &mask_after);
  for (int signal = 1; signal < 32; ++signal)
    CHECK(sigismember(&mask_before, signal) ==
          sigismember(&mask_after, signal));
  cpu_set_t cpus_after;
  REQUIRE(sched_getaffinity(0, sizeof(cpus_after), &cpus_after) == 0);
  CHECK(CPU_EQUAL(&one_cpu, &cpus_after));
  sched_setaffinity(0, sizeof(cpus_at_first), &cpus_at_first);
}

// ---- outcomes --------------------------------------------------------------

namespace {

/// Four workers report the same host at once, over and over: each time one of
/// them takes it down, and one brings it back.
void race_for_a_host(const system_options& options) {
  std::vector<std::unique_ptr<worker>> all;
  for (int i = 0; i < 4; ++i)
    all.push_back(std::make_unique<worker>(options));
  auto& first = *all.front();
  REQUIRE(first.answer_to(first.write("race", host(80))).error.empty());
  const host_ref seen{"race", 1, 1, "10.0.0.1", 80};
  uint64_t round = 0;
  const auto settle = [&](const std::vector<uint64_t>& numbers) {
    for (size_t i = 0; i < all.size(); ++i)
      REQUIRE(
          all[i]->wait_until([&] { return all[i]->settled >= numbers.at(i); }));
  };
  while (++round <= 10) {
    std::vector<uint64_t> numbers;
    for (auto& one : all)
      numbers.push_back(
          one->actors().report({{seen, 3, 60s, 3, false, "refused"}}));
    settle(numbers);
    for (auto& one : all) {
      host_order order;
      order.ask_id = round;
      order.what = host_order::verb::bring_up;
      order.host = seen;
      one->actors().order(order);
    }
    for (auto& one : all)
      REQUIRE(one->wait_until([&] { return one->host_answers.count(round); }));
    uint64_t downs = 0;
    uint64_t ups = 0;
    for (auto& one : all)
      for (auto& event : one->events)
        ++(event.up ? ups : downs);
    REQUIRE(downs == round);
    REQUIRE(ups == round);
  }
}

} // namespace

TEST_CASE("outcomes: of four that race one wins, on a real Consul",
          "[live][outcomes]") {
  race_for_a_host(at_consul(shared_agent(), "race"));
}

TEST_CASE("outcomes: of four that race one wins, on one file",
          "[live][outcomes]") {
  const temp_dir dir;
  race_for_a_host(at_file(dir));
}
