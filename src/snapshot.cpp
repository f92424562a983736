#include "snapshot.hpp"

#include <unordered_map>

#include "config/decode.hpp"

namespace zedcup {

namespace {

// FNV-1a, 64 bits.
class identity_hash {
public:
  void add(std::string_view bytes) noexcept {
    for (const char c : bytes)
      add_byte(static_cast<uint8_t>(c));
  }
  void add(uint32_t number) noexcept {
    for (int shift = 0; shift < 32; shift += 8)
      add_byte(static_cast<uint8_t>(number >> shift));
  }
  uint64_t value() const noexcept { return value_; }

private:
  void add_byte(uint8_t byte) noexcept {
    value_ = (value_ ^ byte) * 0x100000001b3ULL;
  }

  uint64_t value_ = 0xcbf29ce484222325ULL;
};

} // namespace

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

std::vector<weighted_rr::candidate> candidates(const pool_config& pool) {
  std::vector<weighted_rr::candidate> out;
  if (!pool.up)
    return out;
  std::unordered_map<uint64_t, uint32_t> seen;
  for (uint32_t slot = 0; slot < pool.hosts.size(); ++slot) {
    const host_config& host = pool.hosts[slot];
    identity_hash hash;
    hash.add(host.address);
    hash.add(host.port);
    // Hosts that are down count too: an id must not depend on who is up.
    hash.add(seen[hash.value()]++);
    if (host.up)
      out.push_back({hash.value(), host.weight, slot});
  }
  return out;
}

} // namespace zedcup
