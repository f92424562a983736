// The instances as one worker serves them.
#include "nginx/registry.hpp"

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
std::vector<int> picks(registry& all, int count, size_t pool = 0) {
  auto* handle = all.acquire("a");
  REQUIRE(handle != nullptr);
  std::vector<int> ports;
  for (int i = 0; i < count; ++i) {
    auto slot = handle->rotations.at(pool).pick(nullptr, 0);
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
    CHECK(held->rotations[0].pick(nullptr, 0));
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
  CHECK(held->rotations[0].pick(nullptr, 0));
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
  held->rotations[0].pick(nullptr, 0);
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
