// Choosing a host, and what its requests report: the part of the FFI that a
// request calls. The instance is the caller's, so there is no runtime to look
// for.
#include <ctime>

#include "nginx/registry.hpp"
#include "nginx/zedcup_ffi.h"

extern "C" {
#include <ngx_config.h>
#include <ngx_core.h>
}

namespace {

int pick(zedcup_instance_t* instance, uint32_t pool,
         zedcup::balancer::request wanted) noexcept {
  if (pool >= instance->balancers.size())
    return ZEDCUP_FFI_DECLINED;
  wanted.now_ms = ngx_current_msec;
  const auto slot = instance->balancers[pool].pick(wanted);
  return slot ? static_cast<int>(*slot) : ZEDCUP_FFI_DECLINED;
}

uint64_t now_us() noexcept {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<uint64_t>(now.tv_sec) * 1'000'000 +
         static_cast<uint64_t>(now.tv_nsec) / 1'000;
}

} // namespace

int zedcup_ffi_instance_pick(zedcup_instance_t* instance, uint32_t pool,
                             const uint32_t* tried, size_t tried_count) {
  return pick(instance, pool, {tried, tried_count, 0, 0});
}

int zedcup_ffi_instance_pick_by(zedcup_instance_t* instance, uint32_t pool,
                                const uint32_t* tried, size_t tried_count,
                                const char* key, size_t key_len) {
  return pick(instance, pool,
              {tried, tried_count, zedcup::hash_key({key, key_len}), 0});
}

int zedcup_ffi_pool_wants_tickets(zedcup_instance_t* instance, uint32_t pool) {
  return pool < instance->balancers.size() &&
                 instance->balancers[pool].wants_reports()
             ? 1
             : 0;
}

void zedcup_ffi_ticket_open(zedcup_ticket_t* ticket,
                            zedcup_instance_t* instance, uint32_t pool,
                            uint32_t host) {
  *ticket = {nullptr, pool, host, 0};
  if (pool >= instance->balancers.size())
    return;
  ++instance->references;
  ticket->instance = instance;
  ticket->begun_us = now_us();
  instance->balancers[pool].started(host);
}

void zedcup_ffi_ticket_answered(zedcup_ticket_t* ticket, int failed) {
  if (ticket->instance == nullptr)
    return;
  auto& balancer = ticket->instance->balancers[ticket->pool];
  if (failed != 0)
    balancer.observe_failure(ticket->host, ngx_current_msec);
  else
    balancer.observe(ticket->host, now_us() - ticket->begun_us,
                     ngx_current_msec);
}

void zedcup_ffi_ticket_close(zedcup_ticket_t* ticket) {
  auto* instance = ticket->instance;
  if (instance == nullptr)
    return;
  ticket->instance = nullptr;
  instance->balancers[ticket->pool].finished(ticket->host);
  zedcup::registry::release(instance);
}
