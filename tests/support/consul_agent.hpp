// A real Consul server for tests: started with a folder and ports of its own,
// killed by its pid when the object goes, or when the test process dies.
#pragma once

#include <memory>
#include <string>

#include "store/consul_options.hpp"
#include "support/server_process.hpp"
#include "support/temp_dir.hpp"

namespace zedcup::test {

class consul_agent {
public:
  /// Starts the binary that ZEDCUP_CONSUL names, else `consul` on PATH, and
  /// waits until it has a leader. `extra` is more JSON configuration
  /// (`"acl": {...}`). Throws with a clear text when that does not work.
  explicit consul_agent(const std::string& extra = "");

  /// One that also speaks TLS, and asks its clients for a certificate. Its CA
  /// and certificates are in its folder: ca.pem, client.pem, client-key.pem.
  static std::unique_ptr<consul_agent> with_tls();

  uint16_t port() const { return http_port_; }
  uint16_t tls_port() const { return tls_port_; }
  std::string file(const std::string& name) const { return dir_.file(name); }
  consul_target target() const;

  /// Kills it, keeping its data, and starts it again on the same ports.
  void kill_now() { process_.kill_now(); }
  void restart();
  /// SIGSTOP and SIGCONT: a server that hangs.
  void freeze() const { process_.freeze(); }
  void thaw() const { process_.thaw(); }

private:
  struct tls_tag {};
  explicit consul_agent(tls_tag);
  void configure(const std::string& ports, const std::string& extra);
  void make_certificates() const;
  void start();

  temp_dir dir_;
  uint16_t http_port_ = 0;
  uint16_t tls_port_ = 0;
  server_process process_;
};

/// The consul binary of the tests. Throws when there is none.
std::string consul_binary();

} // namespace zedcup::test
