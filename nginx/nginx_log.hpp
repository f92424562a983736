// nginx's error log as the C++ files use it. Event-loop thread only.
#pragma once

#include <algorithm>
#include <string_view>

#include "nginx/ngx_http_zedcup.h"

namespace zedcup {

/// A line at nginx's level, unless that is not logged.
inline void log_to_nginx(ngx_uint_t level, std::string_view text) {
  if (ngx_cycle->log->log_level >= level)
    ngx_http_zedcup_log(level, text.data(), text.size());
}

/// Up to which level actors need to format their lines.
inline int nginx_log_level() {
  const auto level = ngx_cycle->log->log_level;
  if ((level & NGX_LOG_DEBUG_ALL) != 0)
    return NGX_LOG_DEBUG;
  return static_cast<int>(std::min<ngx_uint_t>(level & 0xf, NGX_LOG_DEBUG));
}

} // namespace zedcup
