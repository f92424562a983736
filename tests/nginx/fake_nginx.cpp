#include "fake_nginx.hpp"

#include <cstring>
#include <stdexcept>

#include "nginx/host_targets.hpp"
#include "nginx/ngx_http_zedcup.h"

using zedcup::test::nginx;

namespace zedcup::test {

fake_nginx& nginx() {
  static fake_nginx one;
  return one;
}

void fake_zone::put(const std::string& name, uint64_t revision,
                    std::string json) {
  entries[name] = {revision, ++seq, false, std::move(json)};
}

void fake_zone::remove(const std::string& name) {
  if (entries.erase(name) != 0)
    ++seq;
}

void fake_zone::set_synced(uint64_t revision) {
  restored = 0;
  synced = revision;
  ++seq;
}

namespace {

std::string text(const u_char* data, size_t len) {
  return {reinterpret_cast<const char*>(data), len};
}

class told_actors : public system {
public:
  void set_role(role now) override {
    tell(now == role::leader ? "role leader" : "role follower");
  }
  void follow_instance(std::string name, uint64_t revision,
                       std::string) override {
    tell("instance " + name + " " + std::to_string(revision));
  }
  void follow_global(uint64_t revision, std::string) override {
    tell("global " + std::to_string(revision));
  }
  void follow_synced(uint64_t revision, uint64_t restored) override {
    tell((restored == 0 ? "synced " : "restored ") + std::to_string(revision));
  }
  void kick() override { tell("kick"); }
  void write(write_order order) override {
    nginx().actors.writes.push_back(std::move(order));
  }
  uint64_t report(std::vector<host_errors> errors) override {
    for (auto& one : errors)
      nginx().actors.errors.push_back(std::move(one));
    return ++nginx().actors.reports;
  }
  void order(host_order wanted) override {
    nginx().actors.orders.push_back(std::move(wanted));
  }
  uint64_t leave() override {
    tell("leave");
    return ++nginx().actors.reports;
  }
  bool stop(std::chrono::milliseconds) override { return true; }

private:
  static void tell(std::string what) {
    nginx().actors.told.push_back(std::move(what));
  }
};

} // namespace
} // namespace zedcup::test

zedcup::result<std::unique_ptr<zedcup::system>>
zedcup::system::start(system_options, outbox<loop_message>& out) {
  auto& actors = nginx().actors;
  actors.out = &out;
  if (actors.at_start)
    out.push(*actors.at_start);
  return std::unique_ptr<system>(new test::told_actors);
}

// ---- nginx -----------------------------------------------------------------

extern "C" {

static ngx_log_t error_log;
static ngx_cycle_t cycle;

volatile ngx_cycle_t* ngx_cycle = &cycle;
ngx_uint_t ngx_process = NGX_PROCESS_WORKER;
ngx_uint_t ngx_worker = 0;
volatile ngx_msec_t ngx_current_msec = 1000000;
ngx_module_t ngx_http_module;
ngx_module_t ngx_http_zedcup_module;

__attribute__((constructor)) static void make_cycle() {
  error_log.log_level = NGX_LOG_DEBUG;
  cycle.log = &error_log;
}

// ---- Lua -------------------------------------------------------------------

// Found by its name at run time, as in nginx.
__attribute__((visibility("default"))) int ngx_http_lua_ffi_sema_post(void*,
                                                                      int n) {
  nginx().posts += n;
  return 0;
}

// ---- the module's C files --------------------------------------------------

void ngx_http_zedcup_zone_set_store(uint64_t) {}

ngx_uint_t ngx_http_zedcup_zone_changed(uint64_t seen) {
  return nginx().zone.seq != seen;
}

ngx_int_t ngx_http_zedcup_zone_read(uint64_t seen,
                                    ngx_http_zedcup_zone_visit_pt visit,
                                    void* ctx,
                                    ngx_http_zedcup_zone_state_t* state) {
  auto& zone = nginx().zone;
  for (auto& [name, entry] : zone.entries) {
    ngx_http_zedcup_zone_entry_t shown{};
    shown.revision = entry.revision;
    shown.refused = entry.refused;
    shown.name = reinterpret_cast<const u_char*>(name.data());
    shown.name_len = name.size();
    if (entry.json && entry.seq > seen) {
      shown.json = reinterpret_cast<const u_char*>(entry.json->data());
      shown.json_len = entry.json->size();
    }
    visit(ctx, &shown);
  }
  state->seq = zone.seq;
  state->synced = zone.synced.has_value();
  state->synced_revision = zone.synced.value_or(0);
  state->restored = zone.restored;
  state->kicks = zone.kicks;
  std::strncpy(state->error, zone.error.c_str(), sizeof(state->error) - 1);
  return NGX_OK;
}

ngx_int_t ngx_http_zedcup_zone_put(const u_char* name, size_t name_len,
                                   uint64_t revision, const u_char* json,
                                   size_t json_len) {
  using zedcup::test::text;
  auto& zone = nginx().zone;
  if (zone.breaks)
    throw std::runtime_error("broken");
  zone.puts.push_back(text(name, name_len));
  if (!zone.full) {
    zone.put(text(name, name_len), revision, text(json, json_len));
    return NGX_OK;
  }
  zone.entries[text(name, name_len)].refused = true;
  ++zone.seq;
  return NGX_ERROR;
}

size_t ngx_http_zedcup_zone_size(void) {
  return 1024;
}

void ngx_http_zedcup_zone_remove(const u_char* name, size_t name_len) {
  nginx().zone.remove(zedcup::test::text(name, name_len));
}

void ngx_http_zedcup_zone_set_synced(uint64_t revision) {
  nginx().zone.set_synced(revision);
}

ngx_pid_t ngx_pid;

void* ngx_pnalloc(ngx_pool_t*, size_t) {
  return nullptr;
}

void ngx_http_zedcup_zone_set_restored(uint64_t saved) {
  nginx().zone.restored = saved;
  ++nginx().zone.seq;
}

void ngx_http_zedcup_zone_set_error(const u_char* data, size_t len) {
  nginx().zone.error = zedcup::test::text(data, len);
  ++nginx().zone.seq;
}

void ngx_http_zedcup_zone_kick(void) {
  ++nginx().zone.kicks;
  ++nginx().zone.seq;
}

ngx_http_zedcup_errors_t* ngx_http_zedcup_zone_errors(void) {
  constexpr size_t zone_size = 64 * 1024;
  auto& memory = nginx().errors;
  if (memory.empty()) {
    memory.resize(ngx_http_zedcup_errors_size(zone_size) / sizeof(uint64_t) +
                  1);
    ngx_http_zedcup_errors_init(
        reinterpret_cast<ngx_http_zedcup_errors_t*>(memory.data()), zone_size);
  }
  return reinterpret_cast<ngx_http_zedcup_errors_t*>(memory.data());
}

ngx_http_zedcup_errors_t* ngx_http_zedcup_zone_errors_lock(void) {
  return ngx_http_zedcup_zone_errors();
}

void ngx_http_zedcup_zone_errors_unlock(void) {}

} // extern "C"

namespace zedcup {
void serve_natively(registry&, ngx_http_zedcup_main_conf_t*) {}
} // namespace zedcup

extern "C" {

uint64_t ngx_http_zedcup_zone_note_start(uint64_t, ngx_uint_t) {
  return 0;
}

ngx_int_t ngx_http_zedcup_worker_start(ngx_http_zedcup_main_conf_t*) {
  nginx().worker_runs = true;
  return NGX_OK;
}

ngx_uint_t ngx_http_zedcup_worker_leads(void) {
  return 0; // told by zedcup_bridge_lead()
}

void ngx_http_zedcup_worker_await(ngx_uint_t (*)(void), ngx_msec_t) {}

void ngx_http_zedcup_worker_wake(void) {
  if (nginx().worker_runs)
    ++nginx().wakes;
}

void ngx_http_zedcup_worker_ring(void) {
  ++nginx().rings;
}

void ngx_http_zedcup_log(ngx_uint_t level, const char* line, size_t len) {
  nginx().log.push_back(std::to_string(level) + " " + std::string(line, len));
}

} // extern "C"
