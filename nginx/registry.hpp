// The instances as one worker serves them. Event-loop thread only.
#pragma once

#include <cstdint>
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

  /// @returns whether there was one.
  bool remove(const std::string& name);

  /// nullptr when there is none.
  const snapshot* find(const std::string& name) const;

  /// Raises the reference count; give back with release(). nullptr: none.
  handle* acquire(const std::string& name);
  static void release(handle* instance) noexcept;

  std::vector<std::string> names() const;

private:
  std::unordered_map<std::string, handle*> instances_;
};

} // namespace zedcup
