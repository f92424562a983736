#include "snapshot.hpp"

#include <unordered_map>

#include "config/decode.hpp"

namespace zedcup {

snapshot::snapshot(instance_config config, uint64_t revision)
    : config_(std::move(config)), revision_(revision), json_(to_json(config_)),
      peers_json_(zedcup::peers_json(config_)) {}

std::shared_ptr<const snapshot> snapshot::make(instance_config config,
                                               uint64_t revision) {
  return std::shared_ptr<const snapshot>{
      new snapshot{std::move(config), revision}};
}

result<std::shared_ptr<const snapshot>>
snapshot::from_json(std::string name, std::string_view json,
                    uint64_t revision) {
  auto root = tree_from_json(json);
  if (!root)
    return root.error();
  auto decoded = decode_instance(std::move(name), *root);
  if (!decoded.value)
    return error{errc::bad_answer, "nothing usable in it"};
  return make(std::move(*decoded.value), revision);
}

balancer::peer_list peers_of(const pool_config& pool) {
  balancer::peer_list out;
  out.reserve(pool.hosts.size());
  std::unordered_map<uint64_t, uint32_t> seen;
  for (const auto& host : pool.hosts) {
    fnv_hash hash;
    hash.add(host.address);
    hash.add(host.port);
    // Hosts that are down count too: an id must not depend on who is up.
    hash.add(seen[hash.value()]++);
    balancer::peer one;
    one.id = hash.value();
    one.weight = pool.up && host.up ? host.weight : 0;
    one.slot = static_cast<uint32_t>(out.size());
    one.slow_start_ms = static_cast<uint32_t>(
        std::chrono::milliseconds(host.slow_start).count());
    one.max_conns = host.max_conns;
    out.push_back(one);
  }
  return out;
}

} // namespace zedcup
