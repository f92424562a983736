// What this node holds against its hosts (the table in the shared zone, see
// ngx_http_zedcup_errors.c), as one worker sees and changes it: hosts that
// failed too often are left out of the rotations of all workers at once, before
// the store has been heard of it, and without it. Event-loop thread only.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "actors/system.hpp"
#include "nginx/ngx_http_zedcup.h"
#include "nginx/registry.hpp"

namespace zedcup {

/// Which callbacks an event is for; the bits of zedcup.bind's `scope`.
enum event_scope : unsigned {
  scope_cluster = 1, ///< on the node that made it
  scope_node = 2,    ///< once on every node
  scope_worker = 4,  ///< in every worker
};

class host_marks {
public:
  /// An event for the callbacks of these scopes in this worker.
  using teller = std::function<void(unsigned scopes, const host_event& event)>;

  /// @param store any hash of the store's name: hosts of two are two.
  host_marks(registry& instances, uint64_t store, teller tell);
  host_marks(const host_marks&) = delete;
  host_marks& operator=(const host_marks&) = delete;

  /// A request of this worker failed with a host. Counts it here, and tells
  /// whether that took the host out of the node's rotation. nullopt: the host
  /// is down or gone already.
  struct verdict {
    bool marked = false;
    bool persist = true; ///< the store is to know of it
    host_errors errors;
  };
  std::optional<verdict> failed(const registry::handle& instance, uint32_t pool,
                                uint32_t host, std::string_view err);

  /// Errors that the store will not know of: a probe's are counted here, and a
  /// host that is marked is now down by this node's own word.
  void kept(const host_errors& errors);

  /// Ends marks whose time has come, on behalf of the node.
  /// @param late only when that was so long ago and no other worker did it.
  void expire(std::chrono::milliseconds late = {});

  /// Reads the marks, if they changed; apply() makes this worker serve so.
  /// @param release false: marks that are gone stay, for the content that they
  ///        make room for is not applied yet.
  void fetch();
  void apply(bool release);

  /// This worker serves new content (nullptr: none before, or none now).
  /// @param leads on behalf of the node: what the content says now ends marks.
  void content_changed(const snapshot* old, const snapshot* now, bool leads);

  /// configure_instance() starts over.
  void forget_instance(const std::string& name);

  /// Whether a host is to be left out.
  bool is_marked(const std::string& instance, const pool_config& pool,
                 const host_config& host) const;

  /// What is held here against the hosts of an instance, in their order.
  struct seen_host {
    uint32_t errors = 0; ///< within error_timeout
    bool marked = false;
  };
  std::vector<seen_host> look_at(const instance_config& instance) const;

  /// Carries out an order on an instance with persist_errors = false; for
  /// others, its part for this node. Returns an error text, or "".
  std::string order(const host_order& wanted, std::string& payload);

private:
  using host_id = std::pair<uint64_t, uint64_t>;
  struct place {
    const instance_config* instance = nullptr;
    const pool_config* pool = nullptr;
    const host_config* host = nullptr;
  };

  host_id id_of(const std::string& instance, const pool_config& pool,
                const host_config& host) const;
  host_id id_of(const host_ref& host) const;
  place find(const host_ref& host) const;
  std::map<host_id, place> places() const;
  void tell_here(bool up, const host_ref& host, bool by_probe, std::string err,
                 unsigned scopes);
  void tell_changes(const std::map<host_id, bool>& fresh);
  void refresh_changed(const std::map<host_id, bool>& fresh);
  void drop(const host_id& id);
  void mark(const place& at);
  std::string state_of(const std::string& instance) const;
  std::string order_host(const host_order& wanted, const place& at,
                         std::string& payload);

  registry& instances_;
  uint64_t store_;
  teller tell_;
  uint64_t seen_ = 0;               ///< version of fetched_
  std::map<host_id, bool> fetched_; ///< marked -> told
  std::map<host_id, bool> marks_;   ///< as served
};

} // namespace zedcup
