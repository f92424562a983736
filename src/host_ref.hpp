// Names one host of one instance.
#pragma once

#include <cstdint>
#include <string>

namespace zedcup {

/// A place in the store, and what was there when somebody looked: by now
/// another server may stand at that place, to which nothing said here applies.
struct host_ref {
  std::string instance;
  uint32_t pool = 0;   ///< pool_config::index
  uint32_t host = 0;   ///< host_config::index
  std::string address; ///< host_config::address
  uint16_t port = 0;   ///< host_config::port

  friend bool operator==(const host_ref& a, const host_ref& b) {
    return a.pool == b.pool && a.host == b.host && a.port == b.port &&
           a.instance == b.instance && a.address == b.address;
  }
};

} // namespace zedcup
