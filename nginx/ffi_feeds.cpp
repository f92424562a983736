// What lreu.syncer and lreu.health call: checks, guards against exceptions, and
// passes on to the worker's feeds.
#include <string>

#include "nginx/feeds.hpp"
#include "nginx/ffi_guard.hpp"
#include "nginx/ngx_http_zedcup.h"

using zedcup::ffi_call;

int zedcup_ffi_feed_start(const char* json, size_t len, void* sema, char* err,
                          size_t* err_len) {
  return ffi_call(err, err_len, [&]() -> zedcup::result<int> {
    std::vector<std::string> notices;
    auto options = zedcup::parse_feed_options({json, len}, notices);
    if (!options)
      return options.error();
    for (auto& notice : notices)
      ngx_http_zedcup_log(NGX_LOG_WARN, notice.data(), notice.size());
    auto started = zedcup::start_worker_feed(std::move(*options), sema);
    if (!started)
      return started.error();
    return started->value_or(ZEDCUP_FFI_DECLINED);
  });
}

int zedcup_ffi_feed_take(int feed, zedcup_ffi_message_t* out, int max) {
  auto* mine = zedcup::find_worker_feed(feed);
  return mine == nullptr ? 0 : mine->messages().take(out, max);
}

int zedcup_ffi_feed_saved(int feed, const char** json, size_t* len, char* err,
                          size_t* err_len) {
  *json = "";
  *len = 0;
  return ffi_call(err, err_len, [&]() -> zedcup::result<int> {
    auto* mine = zedcup::find_worker_feed(feed);
    if (mine == nullptr)
      return ZEDCUP_FFI_DECLINED;
    auto& text = mine->saved();
    *json = text.data();
    *len = text.size();
    return 0;
  });
}

int zedcup_ffi_feed_run(int feed, const char* known, size_t len, char* err,
                        size_t* err_len) {
  return ffi_call(err, err_len, [&]() -> zedcup::result<int> {
    auto* mine = zedcup::find_worker_feed(feed);
    if (mine == nullptr)
      return ZEDCUP_FFI_DECLINED;
    auto started = mine->run({known, len});
    if (!started)
      return started.error();
    return 0;
  });
}

int zedcup_ffi_feed_check(int feed, const char* json, size_t len, char* err,
                          size_t* err_len) {
  return ffi_call(err, err_len, [&]() -> zedcup::result<int> {
    auto how = zedcup::parse_peer_checks({json, len});
    if (!how)
      return how.error();
    auto* mine = zedcup::find_worker_feed(feed);
    if (mine == nullptr)
      return ZEDCUP_FFI_DECLINED;
    mine->check(std::move(*how));
    return 0;
  });
}
