// What the two source files of host_marks share.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

#include "config/model.hpp"
#include "host_ref.hpp"
#include "nginx/ngx_http_zedcup.h"

namespace zedcup::marks_detail {

/// The table, locked.
class locked_errors {
public:
  locked_errors() : table_(ngx_http_zedcup_zone_errors_lock()) {}
  ~locked_errors() { ngx_http_zedcup_zone_errors_unlock(); }
  locked_errors(const locked_errors&) = delete;
  locked_errors& operator=(const locked_errors&) = delete;

  ngx_http_zedcup_errors_t* get() const { return table_; }

private:
  ngx_http_zedcup_errors_t* table_;
};

/// FNV-1a.
class hasher {
public:
  explicit hasher(uint64_t seed) : value_(0xcbf29ce484222325ULL ^ seed) {}
  void add(std::string_view text) {
    for (const char c : text)
      add_byte(static_cast<uint8_t>(c));
    add_byte(0);
  }
  void add(uint64_t number) {
    for (int shift = 0; shift < 64; shift += 8)
      add_byte(static_cast<uint8_t>(number >> shift));
  }
  uint64_t value() const { return value_; }

private:
  void add_byte(uint8_t byte) { value_ = (value_ ^ byte) * 0x100000001b3ULL; }
  uint64_t value_;
};

inline uint64_t now_ms() {
  return ngx_current_msec;
}

inline uint64_t unix_now() {
  return static_cast<uint64_t>(
      std::chrono::system_clock::to_time_t(std::chrono::system_clock::now()));
}

inline uint64_t window_of(const pool_config& pool) {
  return static_cast<uint64_t>(
      std::chrono::milliseconds(pool.error_timeout).count());
}

inline host_ref ref_of(const std::string& instance, const pool_config& pool,
                       const host_config& host) {
  return {instance, pool.index, host.index, host.address, host.port};
}

inline std::string text_of(const host_ref& host) {
  return "instance \"" + host.instance + "\": host " +
         std::to_string(host.host) + " of pool " + std::to_string(host.pool) +
         " (" + host.address +
         (host.port != 0 ? ":" + std::to_string(host.port) + ")" : ")");
}

inline void log(ngx_uint_t level, const std::string& text) {
  if (ngx_cycle->log->log_level >= level)
    ngx_http_zedcup_log(level, text.data(), text.size());
}

inline ngx_http_zedcup_host_id_t raw(const std::pair<uint64_t, uint64_t>& id) {
  return {id.first, id.second};
}

} // namespace zedcup::marks_detail
