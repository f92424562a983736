// What lreu.logger calls: counts from nginx's own records of the tries, so that
// no variable has to be made and parsed.
#include <string>

#include "nginx/ngx_http_zedcup.h"
#include "nginx/zedcup_ffi.h"
#include "peers/traffic.hpp"

namespace {

zedcup::traffic counted;
std::string taken;

std::string_view text_of(const ngx_str_t& text) {
  return {reinterpret_cast<const char*>(text.data), text.len};
}

/// The name of the upstream block, or the host of a proxy_pass without one.
std::string_view upstream_of(const ngx_http_request_t& r) {
  const auto* u = r.upstream;
  if (u == nullptr)
    return {};
  if (u->upstream != nullptr)
    return text_of(u->upstream->host);
  return u->resolved != nullptr ? text_of(u->resolved->host)
                                : std::string_view();
}

/// 0 where none came. A client that left before is no fault of the peer's.
int status_of(const ngx_http_request_t& r, ngx_uint_t i) {
  const auto* state =
      static_cast<const ngx_http_upstream_state_t*>(r.upstream_states->elts);
  if (state[i].status == 0 && i + 1 == r.upstream_states->nelts &&
      r.headers_out.status == NGX_HTTP_CLIENT_CLOSED_REQUEST)
    return NGX_HTTP_CLIENT_CLOSED_REQUEST;
  return static_cast<int>(state[i].status);
}

} // namespace

int zedcup_ffi_traffic_count(void* request) {
  auto* r = static_cast<ngx_http_request_t*>(request);
  if (r->upstream_states == nullptr || r->upstream_states->nelts == 0)
    return 0;
  try {
    const auto upstream = upstream_of(*r);
    const auto* state =
        static_cast<const ngx_http_upstream_state_t*>(r->upstream_states->elts);
    int tries = 0;
    for (ngx_uint_t i = 0; i < r->upstream_states->nelts; ++i) {
      if (state[i].peer == nullptr)
        continue; // between the upstreams of an internal redirect
      const auto ms = state[i].response_time;
      counted.record(
          upstream, text_of(*state[i].peer), status_of(*r, i),
          ms == static_cast<ngx_msec_t>(-1) ? 0 : static_cast<uint32_t>(ms));
      ++tries;
    }
    if (tries > 0)
      counted.count_request();
    return tries;
  } catch (const std::exception&) {
    return 0; // no memory: not counted
  }
}

int zedcup_ffi_traffic_take(const char** json, size_t* len) {
  if (counted.empty())
    return 0;
  try {
    taken = counted.take_json();
  } catch (const std::exception&) {
    return 0;
  }
  *json = taken.data();
  *len = taken.size();
  return 1;
}

uint32_t zedcup_ffi_traffic_bucket(uint32_t bucket) {
  return zedcup::duration_histogram::upper_ms(bucket);
}
