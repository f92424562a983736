// The hosts of an instance as nginx connects to them: socket addresses, those
// of names as nginx's resolver knows them, and the TLS sessions kept for each.
// Event-loop thread only.
#pragma once

#include <array>
#include <memory>
#include <string>
#include <vector>

#include "nginx/ngx_http_zedcup_upstream.h"
#include "nginx/registry.hpp"
#include "nginx/zedcup_ffi.h"

namespace zedcup {

struct host_address {
  sockaddr_storage socket{};
  socklen_t length = 0;
  std::string text;           ///< "127.0.0.1:80", as nginx logs it
  ngx_str_t name{};           ///< the same for nginx
  uint64_t avoided_until = 0; ///< ms; it could not be connected to
};
/// Never changed but for `avoided_until`: requests hold it.
using address_list = std::vector<host_address>;

class host_target {
public:
  /// @param tls_name what its certificate must be for; empty: nothing of its
  ///   own. Connections that nginx keeps are not shared over different ones.
  host_target(const host_config& host, const std::string& tls_name,
              ngx_resolver_t* resolver, ngx_msec_t timeout);
  ~host_target();
  host_target(const host_target&) = delete;
  host_target& operator=(const host_target&) = delete;

  bool is(const host_config& host) const {
    return address_ == host.address && port_ == host.port;
  }

  /// The addresses known now; of a name there may be none.
  const std::shared_ptr<address_list>& addresses();

  /// The next of them in turn, one that is not avoided where there is one.
  /// Only when there are some.
  size_t next(uint64_t now_ms);

  void** session(ngx_uint_t side) { return &sessions_[side]; }

  /// What its certificate must be for; empty: nothing of its own.
  const std::string& tls_name() const { return tls_name_; }

private:
  void take_answer();
  void add(std::string_view address);

  std::string address_;
  uint16_t port_;
  std::string tls_name_;
  uint64_t mark_ = 0; ///< see mark() in host_targets.cpp
  std::shared_ptr<address_list> addresses_;
  size_t turn_ = 0;
  zedcup_name_t* name_ = nullptr; ///< null: there is nothing to ask
  uint32_t version_ = 0;
  std::array<void*, ZEDCUP_SIDES> sessions_{};
};

/// Of all hosts of a revision, by place of pool and host.
struct target_set {
  std::vector<std::vector<std::shared_ptr<host_target>>> pools;

  /// Hosts that `old` has too keep what is known of them, unless TLS changed.
  static std::shared_ptr<target_set> make(const registry::handle& fresh,
                                          const registry::handle* old,
                                          ngx_http_zedcup_main_conf_t* zmcf);
};

/// The instances that this configuration's upstreams name are served natively.
void serve_natively(registry& instances, ngx_http_zedcup_main_conf_t* zmcf);

} // namespace zedcup
