// What the decoder's tests share.
#pragma once

#include <string>
#include <string_view>

#include "config/decode.hpp"
#include "support/catch.hpp"

namespace zedcup {

inline decoded<instance_config> decode_json(std::string_view json) {
  auto root = tree_from_json(json);
  INFO(json);
  REQUIRE(root);
  return decode_instance("test", *root);
}

/// One pool with one host (10.0.0.1:80) and `host_fields`.
inline decoded<instance_config> decode_host(const std::string& host_fields) {
  return decode_json(R"({"pools": [{"hosts": [{"host": "10.0.0.1", )"
                     R"("port": 80, )" +
                     host_fields + "}]}]}");
}

/// The same host in a pool with `pool_fields`.
inline decoded<instance_config> decode_pool(const std::string& pool_fields) {
  return decode_json(R"({"pools": [{"hosts": [{"host": "10.0.0.1", )"
                     R"("port": 80}], )" +
                     pool_fields + "}]}");
}

/// All complaints as "path: message", one a line.
template <class T>
std::string complaints(const decoded<T>& outcome) {
  std::string out;
  for (const auto& d : outcome.diagnostics)
    out += d.path + ": " + d.message + "\n";
  return out;
}

} // namespace zedcup
