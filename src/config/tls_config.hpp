// TLS towards the hosts of an instance. Plain value; any thread.
#pragma once

#include <string>

#include "config/tree.hpp"

namespace zedcup {

struct tls_config {
  bool verify = true;   ///< key `verify` or `ssl_verify`
  std::string sni_name; ///< empty: the host's own name is sent
  tree extra;           ///< keys that this version does not know

  friend bool operator==(const tls_config& a, const tls_config& b) {
    return a.verify == b.verify && a.sni_name == b.sni_name &&
           a.extra == b.extra;
  }
};

} // namespace zedcup
