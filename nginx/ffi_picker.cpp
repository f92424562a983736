// What lreu.picker calls.
#include <string>

#include "nginx/ffi_guard.hpp"
#include "nginx/ngx_http_zedcup.h"
#include "nginx/peer_set.hpp"

namespace {

using zedcup::balance_method;
using zedcup::balancer;

static_assert(static_cast<int>(balance_method::weighted_rr) == ZEDCUP_PICK_RR);
static_assert(static_cast<int>(balance_method::hash) == ZEDCUP_PICK_HASH);
static_assert(static_cast<int>(balance_method::least_conn) ==
              ZEDCUP_PICK_LEAST_CONN);
static_assert(static_cast<int>(balance_method::ewma) == ZEDCUP_PICK_EWMA);
static_assert(static_cast<int>(balance_method::random) == ZEDCUP_PICK_RANDOM);

/// A request that is under way, as the request's pool keeps it.
struct tracked_pick {
  std::shared_ptr<zedcup::peer_revision> from;
  uint32_t slot = 0;
};

balancer::peer_list take_peers(const zedcup_ffi_picker_peer_t* peers,
                               size_t count) {
  balancer::peer_list all;
  all.reserve(count);
  for (size_t i = 0; i < count; ++i) {
    balancer::peer one;
    one.id = zedcup::hash_key({peers[i].name, peers[i].name_len});
    one.key = one.id;
    one.weight = peers[i].weight;
    one.slot = static_cast<uint32_t>(i);
    one.start_ms = static_cast<uint64_t>(peers[i].start_ms);
    one.slow_start_ms = peers[i].slow_start_ms;
    all.push_back(one);
  }
  return all;
}

/// The clock of ngx.now(), with which Lua picks.
uint64_t unix_now_ms() {
  const auto* now = ngx_timeofday();
  return static_cast<uint64_t>(now->sec) * 1000 + now->msec;
}

int slot_or_declined(std::optional<uint32_t> slot) {
  return slot ? static_cast<int>(*slot) : ZEDCUP_FFI_DECLINED;
}

} // namespace

zedcup_picker_t* zedcup_ffi_picker_new(uint32_t offset) {
  try {
    auto made = std::make_unique<zedcup_picker_t>();
    made->offset = offset;
    made->now = std::make_shared<zedcup::peer_revision>(
        nullptr, balancer::peer_list{}, offset, 0);
    return made.release();
  } catch (const std::exception&) {
    return nullptr;
  }
}

void zedcup_ffi_picker_free(zedcup_picker_t* peers) {
  delete peers;
}

int zedcup_ffi_picker_update(zedcup_picker_t* peers,
                             const zedcup_ffi_picker_peer_t* list, size_t count,
                             double now_ms) {
  try {
    peers->now = std::make_shared<zedcup::peer_revision>(
        peers->now.get(), take_peers(list, count), peers->offset,
        static_cast<uint64_t>(now_ms));
    return 0;
  } catch (const std::exception& problem) {
    const std::string_view what = problem.what();
    ngx_http_zedcup_log(NGX_LOG_ERR, what.data(), what.size());
    return ZEDCUP_FFI_ERROR;
  }
}

int zedcup_ffi_picker_next(zedcup_picker_t* peers, double now_ms) {
  balancer::request wanted;
  wanted.now_ms = static_cast<uint64_t>(now_ms);
  return slot_or_declined(peers->now->base().pick(wanted));
}

int zedcup_ffi_picker_pick(zedcup_picker_t* peers, int method, const char* key,
                           size_t key_len, const uint32_t* tried,
                           size_t tried_count, double now_ms) {
  try {
    balancer::request wanted;
    wanted.tried = tried;
    wanted.tried_count = tried_count;
    wanted.key = zedcup::hash_key({key, key_len});
    wanted.now_ms = static_cast<uint64_t>(now_ms);
    return slot_or_declined(
        peers->now->pick(static_cast<balance_method>(method), wanted));
  } catch (const std::exception&) {
    return ZEDCUP_FFI_DECLINED; // no memory
  }
}

int zedcup_ffi_picker_wants_reports(const zedcup_picker_t* peers) {
  return peers->now->wants_reports() ? 1 : 0;
}

int zedcup_ffi_picker_track(zedcup_picker_t* peers, void* request,
                            uint32_t slot) {
  try {
    auto pick = std::make_unique<tracked_pick>();
    pick->from = peers->now;
    pick->slot = slot;
    auto* r = static_cast<ngx_http_request_t*>(request);
    if (ngx_http_zedcup_track(r, pick.get()) != NGX_OK)
      return ZEDCUP_FFI_ERROR;
    pick.release()->from->base().started(slot);
    return 0;
  } catch (const std::exception&) {
    return ZEDCUP_FFI_ERROR;
  }
}

void zedcup_tracked_end(void* data, ngx_int_t answered, ngx_msec_t latency) {
  const std::unique_ptr<tracked_pick> pick(static_cast<tracked_pick*>(data));
  auto& load = pick->from->base();
  const auto now_ms = unix_now_ms();
  if (answered) {
    load.finished(pick->slot, uint64_t{latency} * 1000, now_ms);
    return;
  }
  load.observe_failure(pick->slot, now_ms);
  load.finished(pick->slot);
}

unsigned zedcup_ffi_picker_active(const zedcup_picker_t* peers, uint32_t slot) {
  return peers->now->base().active(slot).value_or(0);
}
