// The instances as one worker serves them. Event-loop thread only.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "balancer/weighted_rr.hpp"
#include "snapshot.hpp"

/// One revision of an instance with its rotations; the opaque handle of the
/// FFI. Requests that began with it finish with it.
struct zedcup_instance_s {
  std::shared_ptr<const zedcup::snapshot> content;
  std::vector<zedcup::weighted_rr> rotations; ///< one per pool
  uint32_t references = 1;                    ///< the registry's, and Lua's
};

namespace zedcup {

class registry {
public:
  using handle = zedcup_instance_s;

  registry() = default;
  ~registry();
  registry(const registry&) = delete;
  registry& operator=(const registry&) = delete;

  /// Replaces an instance. Its rotations go on where the old ones are.
  /// @param offset where new rotations start, in hosts (the worker's number).
  void put(const std::string& name, std::shared_ptr<const snapshot> content,
           uint32_t offset);

  /// Hosts that are left out of the rotations although they are up.
  using filter = std::function<bool(const std::string& instance,
                                    const pool_config&, const host_config&)>;
  void leave_out(filter hosts) { left_out_ = std::move(hosts); }

  /// The filter answers otherwise than before: makes the rotations of an
  /// instance anew, in place, so that requests that began see it too.
  void refresh(const std::string& name);

  /// @returns whether there was one.
  bool remove(const std::string& name);

  /// nullptr when there is none.
  const snapshot* find(const std::string& name) const;

  /// As find(), to be kept.
  std::shared_ptr<const snapshot> share(const std::string& name) const;

  /// Raises the reference count; give back with release(). nullptr: none.
  handle* acquire(const std::string& name);
  static void release(handle* instance) noexcept;

  std::vector<std::string> names() const;

private:
  std::vector<weighted_rr::candidate> usable(const snapshot& content,
                                             const pool_config& pool) const;
  std::vector<weighted_rr> make_rotations(const snapshot& content,
                                          const handle* old,
                                          uint32_t offset) const;

  filter left_out_;
  std::unordered_map<std::string, handle*> instances_;
};

} // namespace zedcup
