// One state of one instance, as requests see it: typed configuration,
// revision, and the JSON that other workers and people read.
// Made by actors, read anywhere: immutable, shared by pointer.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "balancer/balancer.hpp"
#include "config/model.hpp"
#include "util/result.hpp"

namespace zedcup {

class snapshot {
public:
  /// @param revision the store's, of the read that `config` was decoded from
  static std::shared_ptr<const snapshot> make(instance_config config,
                                              uint64_t revision);

  /// From json() of another worker's. Errors: bad_answer.
  static result<std::shared_ptr<const snapshot>>
  from_json(std::string name, std::string_view json, uint64_t revision);

  const instance_config& config() const noexcept { return config_; }
  uint64_t revision() const noexcept { return revision_; }

  /// to_json() and peers_json() of the configuration, written once.
  const std::string& json() const noexcept { return json_; }
  const std::string& peers_json() const noexcept { return peers_json_; }

private:
  snapshot(instance_config config, uint64_t revision);

  instance_config config_;
  uint64_t revision_;
  std::string json_;
  std::string peers_json_;
};

/// The hosts of a pool for its balancer, those that are down (or all, when the
/// pool is) without a weight. `slot` is the place in `pool.hosts`; when a host
/// began to serve is the caller's to say.
///
/// `id` is a hash of address, port and how many equal hosts come before it in
/// the pool, the same in every process. The index is left out on purpose: when
/// a list is written anew without one host, those behind it move up but are
/// the same servers, and the rotation goes on with them. So is the name.
balancer::peer_list peers_of(const pool_config& pool);

} // namespace zedcup
