// TLS towards the hosts of an instance. Plain value; any thread.
#pragma once

#include <string>

#include "config/tree.hpp"

namespace zedcup {

struct tls_config {
  bool verify = true;   ///< key `verify` or `ssl_verify`
  std::string sni_name; ///< empty: the host's own name is sent
  /// Absolute paths of PEM files that workers can read: the certificate (and
  /// chain) to show to hosts, and its key. Both or neither.
  std::string client_cert;
  std::string client_key;
  /// For health checks: an absolute path of a PEM file, whose certificates
  /// alone are trusted. Empty: the system's.
  std::string ca_cert;
  tree extra; ///< keys that this version does not know

  friend bool operator==(const tls_config& a, const tls_config& b) {
    return a.verify == b.verify && a.sni_name == b.sni_name &&
           a.client_cert == b.client_cert && a.client_key == b.client_key &&
           a.ca_cert == b.ca_cert && a.extra == b.extra;
  }
};

} // namespace zedcup
