// The instances as one worker serves them. Event-loop thread only.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

#include "balancer/balancer.hpp"
#include "snapshot.hpp"

/// One revision of an instance with its balancers; the opaque handle of the
/// FFI. Requests that began with it finish with it.
struct zedcup_instance_s {
  std::shared_ptr<const zedcup::snapshot> content;
  std::vector<zedcup::balancer> balancers; ///< one per pool
  /// For upstreams with a method of their own, over the same loads.
  std::map<zedcup::balance_method, std::vector<zedcup::balancer>> others;
  std::shared_ptr<void> native; ///< what the native balancer knows of hosts
  uint32_t references = 1; ///< the registry's, Lua's, and those of requests
};

namespace zedcup {

class registry {
public:
  using handle = zedcup_instance_s;

  registry() = default;
  ~registry();
  registry(const registry&) = delete;
  registry& operator=(const registry&) = delete;

  /// What the worker that this is for says of itself.
  struct surroundings {
    uint64_t seed = 1; ///< of what is drawn at random
    /// The clock of slow start; none: it stands still.
    std::function<uint64_t()> now_ms;
    /// When a host with slow start began to serve, by that clock: asked of each
    /// when content changes. `comes`: it did not serve before; `goes`: it does
    /// not serve now, and the answer is not used. None: long ago.
    enum class arrival { stays, comes, goes };
    std::function<uint64_t(const std::string& instance, uint32_t pool_index,
                           uint64_t peer_id, arrival)>
        start_of;
  };
  void surround(surroundings by) { around_ = std::move(by); }

  /// The instances named here are served by the native balancer too: with
  /// `native` made for each revision, of which `old` was the one before.
  using native_maker = std::function<std::shared_ptr<void>(const handle& fresh,
                                                           const handle* old)>;
  void serve_natively(native_maker make) { make_native_ = std::move(make); }
  void serve_natively(const std::string& name,
                      std::optional<balance_method> method);

  /// Replaces an instance. Its balancers go on where the old ones are.
  /// @param offset where new rotations start, in hosts (the worker's number).
  void put(const std::string& name, std::shared_ptr<const snapshot> content,
           uint32_t offset);

  /// Hosts that are left out by the balancers although they are up.
  using filter = std::function<bool(const std::string& instance,
                                    const pool_config&, const host_config&)>;
  void leave_out(filter hosts) { left_out_ = std::move(hosts); }

  /// The filter answers otherwise than before: updates the balancers of an
  /// instance in place, so that requests that began see it too.
  void refresh(const std::string& name);

  /// @returns whether there was one.
  bool remove(const std::string& name);

  /// nullptr when there is none.
  const snapshot* find(const std::string& name) const;

  /// As find(), to be kept.
  std::shared_ptr<const snapshot> share(const std::string& name) const;

  /// As acquire(), but valid only until version() changes.
  handle* peek(const std::string& name) const;
  /// Changes with every put() and remove(), of any registry of this process.
  static uint32_t version() noexcept { return version_; }

  /// Raises the reference count; give back with release(). nullptr: none.
  handle* acquire(const std::string& name);
  static void release(handle* instance) noexcept;

  std::vector<std::string> names() const;

private:
  using arrival = surroundings::arrival;
  balancer::peer_list peers(const snapshot& content, const pool_config& pool,
                            const balancer* before, bool first) const;
  void note_gone(const std::string& instance, const pool_config& pool,
                 const std::vector<uint64_t>& were, const balancer* now) const;
  std::vector<balancer> make_balancers(const snapshot& content,
                                       const handle* old,
                                       uint32_t offset) const;
  void note_gone_pools(const handle& old, const handle& fresh) const;
  uint64_t now_ms() const { return around_.now_ms ? around_.now_ms() : 0; }

  void make_others(handle& fresh, const handle* old, uint32_t offset) const;
  void share_list(handle& instance, size_t pool,
                  const balancer::peer_list& list) const;

  static uint32_t version_;
  surroundings around_;
  native_maker make_native_;
  std::map<std::string, std::set<balance_method>> native_; ///< extra methods
  filter left_out_;
  std::unordered_map<std::string, handle*> instances_;
};

} // namespace zedcup
