// A real Consul server for tests: started with a folder and ports of its own,
// killed by its pid when the object goes, or when the test process dies.
#pragma once

#include <sys/types.h>

#include <memory>
#include <string>

#include "store/consul_options.hpp"
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

  ~consul_agent();
  consul_agent(const consul_agent&) = delete;
  consul_agent& operator=(const consul_agent&) = delete;

  uint16_t port() const { return http_port_; }
  uint16_t tls_port() const { return tls_port_; }
  std::string file(const std::string& name) const { return dir_.file(name); }
  consul_target target() const;

  /// Kills it, keeping its data, and starts it again on the same ports.
  void kill_now();
  void restart();
  /// SIGSTOP and SIGCONT: a server that hangs.
  void freeze() const;
  void thaw() const;

private:
  struct tls_tag {};
  explicit consul_agent(tls_tag);
  void configure(const std::string& ports, const std::string& extra);
  void make_certificates() const;
  void start();
  void wait_until_ready() const;

  temp_dir dir_;
  uint16_t http_port_ = 0;
  uint16_t tls_port_ = 0;
  pid_t pid_ = -1;
};

/// The consul binary of the tests. Throws when there is none.
std::string consul_binary();

} // namespace zedcup::test
