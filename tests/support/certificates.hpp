// Certificates that a test needs, made by the openssl program in a folder.
#pragma once

#include <string>

#include "support/temp_dir.hpp"

namespace zedcup::test {

/// An authority of its own. Members throw, with openssl's own words.
class certificates {
public:
  certificates();

  /// Makes `<name>.crt` and `<name>.key`, signed by it. `san` as in openssl's
  /// configuration: "DNS:a.example,IP:127.0.0.1". Ended: one of the year 2020.
  void make(const std::string& name, const std::string& san,
            bool ended = false) const;

  /// Also "ca.crt", the authority's own.
  std::string file(const std::string& name) const { return dir_.file(name); }

private:
  void run(const std::string& command) const;

  temp_dir dir_;
};

} // namespace zedcup::test
