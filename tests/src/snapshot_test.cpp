#include "snapshot.hpp"

#include <set>

#include "config/decode.hpp"
#include "support/catch.hpp"

using namespace zedcup;

namespace {

host_config host(std::string address, uint16_t port = 80) {
  host_config out;
  out.address = std::move(address);
  out.port = port;
  return out;
}

pool_config pool_of(std::vector<host_config> hosts) {
  pool_config pool;
  pool.hosts = std::move(hosts);
  return pool;
}

} // namespace

TEST_CASE("snapshot: carries its configuration, revision and JSON",
          "[snapshot]") {
  instance_config config;
  config.name = "test";
  config.pools.push_back(pool_of({host("a")}));
  const auto made = snapshot::make(config, 42);
  CHECK(made->config() == config);
  CHECK(made->revision() == 42);
  CHECK(made->json() == to_json(config));
  CHECK(made->peers_json() == peers_json(config));
}

TEST_CASE("snapshot: candidates are the hosts that are up", "[snapshot]") {
  auto pool = pool_of({host("a"), host("b"), host("c")});
  pool.hosts[1].up = false;
  pool.hosts[2].weight = 5;
  const auto found = candidates(pool);
  REQUIRE(found.size() == 2);
  CHECK(found[0].slot == 0);
  CHECK(found[1].slot == 2);
  CHECK(found[1].weight == 5);
  pool.up = false;
  CHECK(candidates(pool).empty());
}

TEST_CASE("snapshot: an id survives another index, name, weight and neighbour",
          "[snapshot]") {
  const auto before = candidates(pool_of({host("a"), host("b")}));
  auto renumbered = pool_of({host("b")});
  renumbered.hosts[0].index = 1;
  renumbered.hosts[0].name = "other";
  renumbered.hosts[0].weight = 9;
  CHECK(candidates(renumbered).at(0).id == before.at(1).id);
}

TEST_CASE("snapshot: other addresses, ports and repetitions have other ids",
          "[snapshot]") {
  const auto found = candidates(
      pool_of({host("a"), host("a"), host("a", 81), host("b"), host("a")}));
  std::set<uint64_t> ids;
  for (const auto& candidate : found)
    ids.insert(candidate.id);
  CHECK(ids.size() == found.size());
}

TEST_CASE("snapshot: an id does not depend on which equal host is up",
          "[snapshot]") {
  auto pool = pool_of({host("a"), host("a")});
  const uint64_t second = candidates(pool).at(1).id;
  pool.hosts[0].up = false;
  CHECK(candidates(pool).at(0).id == second);
}

TEST_CASE("snapshot: ids are the same in every process and version",
          "[snapshot]") {
  CHECK(candidates(pool_of({host("10.0.0.1")})).at(0).id ==
        0x36fe67f65567d57dULL);
}

TEST_CASE("snapshot: the rotation goes on when hosts are renumbered",
          "[snapshot]") {
  weighted_rr balancer{
      candidates(pool_of({host("a"), host("b"), host("c"), host("d")}))};
  CHECK(balancer.pick() == 0U);
  CHECK(balancer.pick() == 1U);
  const auto fewer = pool_of({host("b"), host("c"), host("d")});
  balancer.update(candidates(fewer));
  CHECK(fewer.hosts.at(balancer.pick().value()).address == "c");
  CHECK(fewer.hosts.at(balancer.pick().value()).address == "d");
}
