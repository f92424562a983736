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

TEST_CASE("snapshot: hosts and pools that are down have peers without weight",
          "[snapshot]") {
  auto pool = pool_of({host("a"), host("b"), host("c")});
  pool.hosts[1].up = false;
  pool.hosts[2].weight = 5;
  pool.hosts[2].slow_start = std::chrono::seconds(3);
  pool.hosts[2].max_conns = 7;
  auto found = peers_of(pool);
  REQUIRE(found.size() == 3);
  CHECK(found[0].slot == 0);
  CHECK(found[0].weight == 1);
  CHECK(found[1].weight == 0);
  CHECK(found[2].slot == 2);
  CHECK(found[2].weight == 5);
  CHECK(found[2].slow_start_ms == 3000);
  CHECK(found[2].max_conns == 7);
  pool.up = false;
  found = peers_of(pool);
  REQUIRE(found.size() == 3);
  CHECK(found[0].weight + found[1].weight + found[2].weight == 0);
}

TEST_CASE("snapshot: an id survives another index, name, weight and neighbour",
          "[snapshot]") {
  const auto before = peers_of(pool_of({host("a"), host("b")}));
  auto renumbered = pool_of({host("b")});
  renumbered.hosts[0].index = 1;
  renumbered.hosts[0].name = "other";
  renumbered.hosts[0].weight = 9;
  CHECK(peers_of(renumbered).at(0).id == before.at(1).id);
}

TEST_CASE("snapshot: other addresses, ports and repetitions have other ids",
          "[snapshot]") {
  const auto found = peers_of(
      pool_of({host("a"), host("a"), host("a", 81), host("b"), host("a")}));
  std::set<uint64_t> ids;
  for (const auto& peer : found)
    ids.insert(peer.id);
  CHECK(ids.size() == found.size());
}

TEST_CASE("snapshot: an id does not depend on which equal host is up",
          "[snapshot]") {
  auto pool = pool_of({host("a"), host("a")});
  const uint64_t second = peers_of(pool).at(1).id;
  pool.hosts[0].up = false;
  CHECK(peers_of(pool).at(1).id == second);
}

TEST_CASE("snapshot: ids are the same in every process and version",
          "[snapshot]") {
  CHECK(peers_of(pool_of({host("10.0.0.1")})).at(0).id ==
        0x36fe67f65567d57dULL);
}

TEST_CASE("snapshot: the rotation goes on when hosts are renumbered",
          "[snapshot]") {
  balancer all{{},
               peers_of(pool_of({host("a"), host("b"), host("c"), host("d")}))};
  CHECK(all.pick({}) == 0U);
  CHECK(all.pick({}) == 1U);
  const auto fewer = pool_of({host("b"), host("c"), host("d")});
  all.update(peers_of(fewer), 0);
  CHECK(fewer.hosts.at(all.pick({}).value()).address == "c");
  CHECK(fewer.hosts.at(all.pick({}).value()).address == "d");
}
