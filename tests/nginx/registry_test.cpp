// The instances as one worker serves them.
#include "nginx/registry.hpp"

#include <algorithm>
#include <map>

#include "support/catch.hpp"

using namespace zedcup;

namespace {

/// Pool by pool the ports of its hosts; a negative one is down.
std::shared_ptr<const snapshot>
content(const std::vector<std::vector<int>>& pools, uint64_t revision = 1) {
  instance_config config;
  config.name = "a";
  for (auto& ports : pools) {
    pool_config pool;
    pool.index = static_cast<uint32_t>(config.pools.size() + 1);
    for (int port : ports) {
      host_config host;
      host.index = static_cast<uint32_t>(pool.hosts.size() + 1);
      host.address = "10.0.0.1";
      host.port = static_cast<uint16_t>(std::abs(port));
      host.up = port > 0;
      pool.hosts.push_back(host);
    }
    config.pools.push_back(pool);
  }
  return snapshot::make(std::move(config), revision);
}

/// Ports of the next picks of a pool.
std::vector<int> picks(registry& all, int count, size_t pool = 0,
                       uint64_t now_ms = 0) {
  auto* handle = all.acquire("a");
  REQUIRE(handle != nullptr);
  std::vector<int> ports;
  for (int i = 0; i < count; ++i) {
    auto slot = handle->balancers.at(pool).pick({nullptr, 0, 0, now_ms});
    ports.push_back(
        slot ? handle->content->config().pools.at(pool).hosts.at(*slot).port
             : 0);
  }
  registry::release(handle);
  return ports;
}

using ports = std::vector<int>;

} // namespace

TEST_CASE("registry: finds what was put, and nothing else", "[registry]") {
  registry all;
  CHECK(all.find("a") == nullptr);
  CHECK(all.acquire("a") == nullptr);
  const auto first = content({{1}});
  all.put("a", first, 0);
  CHECK(all.find("a") == first.get());
  CHECK(all.find("b") == nullptr);
  const auto second = content({{2}}, 2);
  all.put("a", second, 0);
  CHECK(all.find("a") == second.get());
}

TEST_CASE("registry: names are sorted", "[registry]") {
  registry all;
  CHECK(all.names().empty());
  for (auto* name : {"b", "c", "a"})
    all.put(name, content({{1}}), 0);
  CHECK(all.names() == std::vector<std::string>{"a", "b", "c"});
  CHECK(all.remove("b"));
  CHECK_FALSE(all.remove("b"));
  CHECK(all.names() == std::vector<std::string>{"a", "c"});
  CHECK(all.find("b") == nullptr);
}

TEST_CASE("registry: a content lives as long as somebody holds it",
          "[registry]") {
  std::weak_ptr<const snapshot> old;
  registry::handle* held = nullptr;
  registry::handle* held_too = nullptr;
  {
    registry all;
    {
      auto first = content({{1}});
      old = first;
      all.put("a", std::move(first), 0);
    }
    held = all.acquire("a");
    held_too = all.acquire("a");
    CHECK(held == held_too);
    CHECK(held->references == 3);
    all.put("a", content({{2}}), 0);
    CHECK(held->references == 2);
    CHECK(held->content->config().pools[0].hosts[0].port == 1);
    CHECK(held->balancers[0].pick({}));
  } // the registry is gone, as at the end of a worker
  registry::release(held);
  CHECK_FALSE(old.expired());
  registry::release(held_too);
  CHECK(old.expired());
  registry::release(nullptr);
}

TEST_CASE("registry: an instance may be removed while a request holds it",
          "[registry]") {
  registry all;
  auto first = content({{1, 2}});
  std::weak_ptr<const snapshot> old = first;
  all.put("a", std::move(first), 0);
  auto* held = all.acquire("a");
  CHECK(all.remove("a"));
  CHECK(all.acquire("a") == nullptr);
  CHECK(held->balancers[0].pick({}));
  // Another under the same name is another.
  all.put("a", content({{3}}), 0);
  CHECK(held->content->config().pools[0].hosts.size() == 2);
  registry::release(held);
  CHECK(old.expired());
}

TEST_CASE("registry: a rotation begins at the worker's offset", "[registry]") {
  registry all;
  all.put("a", content({{1, 2, 3}}), 0);
  CHECK(picks(all, 4) == ports{1, 2, 3, 1});
  all.remove("a");
  all.put("a", content({{1, 2, 3}}), 1);
  CHECK(picks(all, 4) == ports{2, 3, 1, 2});
}

TEST_CASE("registry: a rotation goes on over a new content", "[registry]") {
  registry all;
  all.put("a", content({{1, 2, 3, 4}}), 0);
  CHECK(picks(all, 2) == ports{1, 2});
  all.put("a", content({{1, 2, 3, 4}}, 2), 0);
  CHECK(picks(all, 2) == ports{3, 4});
  CHECK(picks(all, 1) == ports{1});
  all.put("a", content({{1, -2, 3, 4}}, 3), 0);
  CHECK(picks(all, 3) == ports{3, 4, 1});
}

TEST_CASE("registry: requests of the old content do not move the new rotation",
          "[registry]") {
  registry all;
  all.put("a", content({{1, 2, 3}}), 0);
  auto* held = all.acquire("a");
  all.put("a", content({{1, 2, 3}}, 2), 0);
  held->balancers[0].pick({});
  registry::release(held);
  CHECK(picks(all, 1) == ports{1});
}

TEST_CASE("registry: pools keep their rotation by index", "[registry]") {
  registry all;
  all.put("a", content({{1, 2}, {11, 12}}), 0);
  CHECK(picks(all, 1, 0) == ports{1});
  CHECK(picks(all, 1, 1) == ports{11});
  // Pool 1 goes; pool 2 is the first now, and the same as before.
  instance_config rest = content({{1, 2}, {11, 12}})->config();
  rest.pools.erase(rest.pools.begin());
  all.put("a", snapshot::make(rest, 2), 0);
  CHECK(picks(all, 1, 0) == ports{12});
  // A new pool 3 begins at the offset.
  rest.pools.push_back(rest.pools[0]);
  rest.pools[1].index = 3;
  all.put("a", snapshot::make(rest, 3), 1);
  CHECK(picks(all, 1, 0) == ports{11});
  CHECK(picks(all, 1, 1) == ports{12});
}

TEST_CASE("registry: a pool without a usable host has nothing to pick",
          "[registry]") {
  registry all;
  all.put("a", content({{-1, -2}, {}}), 0);
  CHECK(picks(all, 1, 0) == ports{0});
  CHECK(picks(all, 1, 1) == ports{0});
}

// ---- slow start ------------------------------------------------------------

namespace {

/// A registry that notes what is told of starts, at a time of its own.
struct watched {
  using arrival = registry::surroundings::arrival;

  watched() {
    registry::surroundings around;
    around.now_ms = [this] { return now; };
    around.start_of = [this](const std::string&, uint32_t, uint64_t peer,
                             arrival what) -> uint64_t {
      if (what == arrival::goes)
        starts.erase(peer);
      else if (what == arrival::comes)
        starts.emplace(peer, now);
      return starts.count(peer) != 0 ? starts[peer] : 0;
    };
    all.surround(around);
  }

  void put(const std::vector<int>& wanted, uint32_t slow_start_s = 10) {
    auto config = content({wanted})->config();
    for (auto& host : config.pools[0].hosts)
      host.slow_start = std::chrono::seconds(slow_start_s);
    all.put("a", snapshot::make(config, ++revision), 0);
  }

  /// Of 1000 picks, those of a port.
  int share(int port) {
    const auto found = picks(all, 1000, 0, now);
    return static_cast<int>(std::count(found.begin(), found.end(), port));
  }

  registry all;
  std::map<uint64_t, uint64_t> starts;
  uint64_t now = 5'000;
  uint64_t revision = 0;
};

} // namespace

TEST_CASE("registry: hosts of the first content have no slow start",
          "[registry]") {
  watched one;
  one.put({1, 2});
  CHECK(one.starts.empty());
  CHECK(one.share(2) == 500);
}

TEST_CASE("registry: a host that joins or comes back rises", "[registry]") {
  watched one;
  one.put({1, -2});
  one.now = 6'000;
  one.put({1, 2});
  CHECK(one.starts.size() == 1);
  CHECK(std::abs(one.share(2) - 91) < 5); // 0.1 of 1.1
  one.now = 11'000;
  CHECK(std::abs(one.share(2) - 355) < 10); // 0.55 of 1.55
  one.put({1, 2, 3});                       // goes on, and another one begins
  CHECK(one.starts.size() == 2);
  CHECK(std::abs(one.share(2) - 333) < 12); // 0.55 of 1.65
  one.now = 60'000;
  CHECK(std::abs(one.share(2) - 333) < 3);
}

TEST_CASE("registry: a host that went is forgotten and rises anew",
          "[registry]") {
  watched one;
  one.put({1, -2});
  one.put({1, 2});
  CHECK(one.starts.size() == 1);
  for (const auto& gone : {std::vector<int>{1, -2}, std::vector<int>{1}}) {
    one.now += 60'000;
    one.put({1, 2});
    one.put(gone);
    CHECK(one.starts.empty());
    one.put({1, 2});
    CHECK(one.starts.begin()->second == one.now);
  }
  one.all.put("a", content({{}}), 0);
  CHECK(one.starts.empty());
}

TEST_CASE("registry: a host that was left out rises when it is back",
          "[registry]") {
  watched one;
  bool out = true;
  one.all.leave_out([&](auto&, auto&, const host_config& host) {
    return out && host.port == 2;
  });
  one.put({1, 2});
  CHECK(one.share(2) == 0);
  out = false;
  one.all.refresh("a");
  CHECK(std::abs(one.share(2) - 91) < 5);
}

TEST_CASE("registry: a new worker goes on with a rise", "[registry]") {
  watched one;
  one.put({1, -2});
  one.put({1, 2});
  const auto kept = one.starts;
  watched respawned;
  respawned.starts = kept;
  respawned.now = one.now + 5'000;
  respawned.put({1, 2});
  CHECK(respawned.starts == kept);
  CHECK(std::abs(respawned.share(2) - 355) < 10);
}

TEST_CASE("registry: a method is the pool's", "[registry]") {
  auto config = content({{1, 2}, {11, 12}})->config();
  config.pools[1].method = balance_method::random;
  registry all;
  all.put("a", snapshot::make(config, 1), 0);
  auto* held = all.acquire("a");
  CHECK(held->balancers[0].method() == balance_method::weighted_rr);
  CHECK(held->balancers[1].method() == balance_method::random);
  registry::release(held);
}
