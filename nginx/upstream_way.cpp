// One request's or session's way through the hosts of an instance, on behalf of
// nginx's own proxies: pools in order, hosts by the pool's method, and what
// comes of each attempt to the same counters as those of a handler.
#include <algorithm>
#include <charconv>
#include <ctime>
#include <new>
#include <vector>

#include "nginx/bridge.hpp"
#include "nginx/host_targets.hpp"
#include "nginx/zedcup_way.h"

using zedcup::balance_method;
using zedcup::balancer;

namespace {

/// Addresses of one host that an attempt may try before the host has failed.
constexpr uint32_t addresses_a_host = 3;
constexpr uint64_t avoided_ms = 10'000;

struct place {
  uint32_t pool;
  uint32_t host;
};

struct suspect {
  place at;
  ngx_uint_t status;
};

uint64_t now_us() noexcept {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<uint64_t>(now.tv_sec) * 1'000'000 +
         static_cast<uint64_t>(now.tv_nsec) / 1'000;
}

template <class T, class F>
T guarded(T otherwise, F&& body) noexcept {
  try {
    return body();
  } catch (const std::exception& problem) {
    const std::string_view what = problem.what();
    ngx_http_zedcup_log(NGX_LOG_ERR, what.data(), what.size());
    return otherwise;
  }
}

bool is_failure(const zedcup::pool_config& pool, ngx_uint_t status) {
  if (status < 100 || status > 999)
    return false;
  auto text = std::to_string(status);
  auto& codes = pool.status_codes;
  if (codes.count(text) != 0)
    return true;
  text[2] = 'x';
  if (codes.count(text) != 0)
    return true;
  text[1] = 'x';
  return codes.count(text) != 0;
}

ngx_str_t view_of(const std::string& text) {
  return {text.size(),
          reinterpret_cast<u_char*>(const_cast<char*>(text.data()))};
}

} // namespace

struct zedcup_way_s {
  explicit zedcup_way_s(zedcup::registry::handle* held,
                        std::vector<balancer>& chosen_by, ngx_uint_t whose)
      : instance(held), balancers(chosen_by),
        targets(*static_cast<zedcup::target_set*>(held->native.get())),
        side(whose) {
    ++instance->references;
  }
  ~zedcup_way_s() {
    finish();
    zedcup::registry::release(instance);
  }
  zedcup_way_s(const zedcup_way_s&) = delete;
  zedcup_way_s& operator=(const zedcup_way_s&) = delete;

  ngx_int_t next(zedcup_target_t& target);
  void connected() noexcept;
  bool ended(ngx_uint_t how, ngx_uint_t status, ngx_int_t header_ms);
  const zedcup::instance_config& config() const {
    return instance->content->config();
  }
  zedcup::host_target& target_of(place which) const {
    return *targets.pools[which.pool][which.host];
  }
  uint64_t cookie_of(place which) const {
    return zedcup::mix_bits(balancers[which.pool].id_of(which.host));
  }

  std::optional<place> pick_in(uint32_t pool);
  balancer::request wanted_of(uint32_t pool);
  bool is_last();
  bool go_to(place there, zedcup_target_t& target);
  std::optional<uint32_t> sticky_in(uint32_t pool,
                                    const balancer::request& wanted);
  void finish() noexcept;
  void report(bool good, ngx_int_t header_ms) noexcept;
  void settle_suspects(bool good);
  bool try_another_address();
  void blame(place which, std::string_view err) const;

  zedcup::registry::handle* instance;
  std::vector<balancer>& balancers;
  zedcup::target_set& targets;
  ngx_uint_t side;                                 ///< of nginx's configuration
  std::shared_ptr<zedcup::address_list> addresses; ///< of the host under way
  std::vector<std::shared_ptr<zedcup::address_list>> used; ///< and before
  size_t address = 0;
  place at{0, 0};       ///< the host under way, or the last that was
  bool reached = false; ///< `at` is one
  bool failed = false;  ///< it did not serve the request
  bool counted = false; ///< it was reported as started
  bool again = false;   ///< the next attempt is another address of it
  uint32_t repeats = 0; ///< such attempts
  uint64_t begun_us = 0;
  uint64_t key = 0;
  std::optional<uint64_t> cookie; ///< the client's
  std::vector<uint32_t> tried;    ///< what wanted_of() points at
  std::vector<place> tried_all;   ///< of all
  std::vector<suspect> suspects;
};

// ---- choosing --------------------------------------------------------------

std::optional<uint32_t>
zedcup_way_s::sticky_in(uint32_t pool, const balancer::request& wanted) {
  auto& all = balancers[pool];
  for (uint32_t host = 0; host < targets.pools[pool].size(); ++host)
    if (cookie_of({pool, host}) == *cookie && all.can_take(host, wanted))
      return host;
  return std::nullopt;
}

balancer::request zedcup_way_s::wanted_of(uint32_t pool) {
  tried.clear();
  for (auto& one : tried_all)
    if (one.pool == pool)
      tried.push_back(one.host);
  return {tried.data(), tried.size(), key, ngx_current_msec};
}

/// The first host or the second tells, as a rule.
bool zedcup_way_s::is_last() {
  for (uint32_t pool = 0; pool < balancers.size(); ++pool) {
    const auto wanted = wanted_of(pool);
    for (uint32_t host = 0; host < targets.pools[pool].size(); ++host)
      if ((pool != at.pool || host != at.host) &&
          balancers[pool].can_take(host, wanted) &&
          !target_of({pool, host}).addresses()->empty())
        return false;
  }
  return true;
}

std::optional<place> zedcup_way_s::pick_in(uint32_t pool) {
  const auto wanted = wanted_of(pool);
  auto host = cookie ? sticky_in(pool, wanted) : std::nullopt;
  if (!host)
    host = balancers[pool].pick(wanted);
  if (!host)
    return std::nullopt;
  return place{pool, *host};
}

bool zedcup_way_s::go_to(place there, zedcup_target_t& target) {
  auto& host = target_of(there);
  auto now_known = host.addresses();
  if (now_known->empty())
    return false; // a name that is not known yet
  at = there;
  // nginx reads the name of every attempt when it logs.
  if (addresses && addresses != now_known)
    used.push_back(addresses);
  addresses = std::move(now_known);
  address = host.next(ngx_current_msec);
  auto& chosen = (*addresses)[address];
  target = {reinterpret_cast<sockaddr*>(&chosen.socket), chosen.length,
            &chosen.name};
  reached = true;
  failed = false;
  if (balancers[there.pool].wants_reports()) {
    balancers[there.pool].started(there.host);
    counted = true;
    begun_us = now_us();
  }
  return true;
}

ngx_int_t zedcup_way_s::next(zedcup_target_t& target) {
  finish();
  if (std::exchange(again, false) && go_to(at, target))
    return NGX_OK;
  repeats = 0;
  for (uint32_t pool = 0; pool < balancers.size(); ++pool)
    while (const auto chosen = pick_in(pool)) {
      if (go_to(*chosen, target))
        return NGX_OK;
      tried_all.push_back(*chosen);
    }
  return NGX_BUSY;
}

// ---- what came of it -------------------------------------------------------

void zedcup_way_s::finish() noexcept {
  if (std::exchange(counted, false))
    balancers[at.pool].finished(at.host);
}

void zedcup_way_s::connected() noexcept {
  if (counted)
    balancers[at.pool].observe(at.host, now_us() - begun_us, ngx_current_msec);
}

void zedcup_way_s::report(bool good, ngx_int_t header_ms) noexcept {
  if (!counted)
    return;
  // nginx's own figure is in whole milliseconds of its clock, but does not
  // include the body.
  const uint64_t whole = now_us() - begun_us;
  if (!good)
    balancers[at.pool].observe_failure(at.host, ngx_current_msec);
  else if (header_ms >= 0)
    balancers[at.pool].observe(
        at.host, std::min(whole, (static_cast<uint64_t>(header_ms) + 1) * 1000),
        ngx_current_msec);
}

void zedcup_way_s::blame(place which, std::string_view err) const {
  if (auto* runtime = zedcup::worker_runtime())
    runtime->failed(*instance, which.pool, which.host, err);
}

/// A bad answer counts against its host only when another answers well.
void zedcup_way_s::settle_suspects(bool good) {
  if (good)
    for (auto& one : suspects)
      blame(one.at, "status code " + std::to_string(one.status));
  suspects.clear();
}

/// One that others found dead too is not tried again in this request, which may
/// be allowed a single try.
bool zedcup_way_s::try_another_address() {
  if (addresses->size() < 2)
    return false;
  (*addresses)[address].avoided_until = ngx_current_msec + avoided_ms;
  const bool alive =
      std::any_of(addresses->begin(), addresses->end(), [](auto& one) {
        return one.avoided_until <= ngx_current_msec;
      });
  return alive && ++repeats < addresses_a_host;
}

bool zedcup_way_s::ended(ngx_uint_t how, ngx_uint_t status,
                         ngx_int_t header_ms) {
  const bool answered = how == ZEDCUP_WAY_DONE || how == ZEDCUP_WAY_BAD_STATUS;
  if (how != ZEDCUP_WAY_STALE)
    report(answered, header_ms);
  finish();
  failed = how != ZEDCUP_WAY_DONE;
  const auto& pool = config().pools[at.pool];
  switch (how) {
  case ZEDCUP_WAY_DONE:
    if (!suspects.empty() && status != 0)
      settle_suspects(!is_failure(pool, status));
    return true;
  case ZEDCUP_WAY_STALE:
    return true; // nginx raises `tries` again
  case ZEDCUP_WAY_BAD_STATUS:
    if (is_failure(pool, status))
      suspects.push_back({at, status});
    break;
  case ZEDCUP_WAY_UNREACHED:
    again = try_another_address();
    if (again)
      return false;
    blame(at, "connect failed");
    break;
  default:
    blame(at, "no answer");
  }
  tried_all.push_back(at);
  return true;
}

// ---- for the C files -------------------------------------------------------

ngx_int_t zedcup_way_method(const u_char* text, size_t len) {
  const auto method =
      zedcup::balance_method_of({reinterpret_cast<const char*>(text), len});
  return method ? static_cast<ngx_int_t>(*method) : -1;
}

const char* zedcup_way_methods(void) {
  return zedcup::balance_methods;
}

size_t zedcup_way_size(void) {
  return sizeof(zedcup_way_t);
}

namespace {

/// Where the balancers of this upstream are; empty: there is no such instance.
std::vector<balancer>* balancers_of(zedcup::registry::handle& instance,
                                    const zedcup_upstream_t& conf) {
  if (conf.method < 0)
    return &instance.balancers;
  const auto own =
      instance.others.find(static_cast<balance_method>(conf.method));
  return own == instance.others.end() ? &instance.balancers : &own->second;
}

/// What the last request found is still right unless content changed.
zedcup::registry::handle* find(zedcup::runtime& runtime,
                               zedcup_upstream_t& conf) {
  auto& all = runtime.instances();
  if (conf.epoch == all.version())
    return static_cast<zedcup::registry::handle*>(conf.found);
  auto* found = all.peek(
      {reinterpret_cast<char*>(conf.instance.data), conf.instance.len});
  if (found != nullptr && !found->native)
    found = nullptr;
  conf.found = found;
  conf.epoch = all.version();
  conf.hashes = 0;
  if (found != nullptr)
    for (auto& one : *balancers_of(*found, conf))
      if (one.method() == balance_method::hash)
        conf.hashes = 1;
  return found;
}

} // namespace

ngx_int_t zedcup_way_open(zedcup_way_t* way, zedcup_upstream_t* conf,
                          const char** why) {
  *why = "zedcup does not run in this worker: neither \"zedcup_store\" nor "
         "run_workers() has started it";
  auto* runtime = zedcup::worker_runtime();
  if (runtime == nullptr)
    return NGX_DECLINED;
  return guarded(ngx_int_t{NGX_DECLINED}, [&]() -> ngx_int_t {
    auto* found = find(*runtime, *conf);
    if (found == nullptr) {
      *why = runtime->is_synced() ? "there is no such instance"
                                  : "the store has not been read yet";
      return NGX_DECLINED;
    }
    new (way) zedcup_way_s(found, *balancers_of(*found, *conf), conf->side);
    return NGX_OK;
  });
}

void zedcup_way_close(zedcup_way_t* way) {
  way->~zedcup_way_s();
}

void zedcup_way_set_key(zedcup_way_t* way, const u_char* text, size_t len) {
  way->key = zedcup::hash_key({reinterpret_cast<const char*>(text), len});
}

void zedcup_way_set_cookie(zedcup_way_t* way, const u_char* text, size_t len) {
  const char* begin = reinterpret_cast<const char*>(text);
  uint64_t value = 0;
  if (len != 16)
    return;
  const auto read = std::from_chars(begin, begin + len, value, 16);
  if (read.ec == std::errc() && read.ptr == begin + len)
    way->cookie = value;
}

ngx_uint_t zedcup_way_tries(zedcup_way_t* way) {
  ngx_uint_t count = 0;
  for (auto& pool : way->balancers)
    count += pool.serving().size();
  return count != 0 ? count : 1;
}

ngx_int_t zedcup_way_next(zedcup_way_t* way, zedcup_target_t* target) {
  return guarded(ngx_int_t{NGX_BUSY}, [&] { return way->next(*target); });
}

ngx_uint_t zedcup_way_is_last(zedcup_way_t* way) {
  return guarded(ngx_uint_t{0},
                 [&]() -> ngx_uint_t { return way->is_last() ? 1 : 0; });
}

void zedcup_way_connected(zedcup_way_t* way) {
  way->connected();
}

ngx_uint_t zedcup_way_ended(zedcup_way_t* way, ngx_uint_t how,
                            ngx_uint_t status, ngx_int_t header_ms) {
  return guarded(ngx_uint_t{1}, [&]() -> ngx_uint_t {
    return way->ended(how, status, header_ms) ? 1 : 0;
  });
}

void zedcup_way_names(zedcup_way_t* way, ngx_str_t* instance, ngx_str_t* pool,
                      ngx_str_t* host) {
  *instance = view_of(way->config().name);
  *pool = {0, nullptr};
  *host = {0, nullptr};
  if (!way->reached)
    return;
  auto& serving = way->config().pools[way->at.pool];
  *pool = view_of(serving.name);
  *host = view_of(serving.hosts[way->at.host].name);
}

void zedcup_way_tls_name(zedcup_way_t* way, ngx_str_t* name) {
  *name = view_of(way->target_of(way->at).tls_name());
}

void** zedcup_way_session(zedcup_way_t* way) {
  return way->target_of(way->at).session(way->side);
}

ngx_uint_t zedcup_way_cookie(zedcup_way_t* way, u_char* text) {
  static constexpr char digits[] = "0123456789abcdef";
  if (!way->reached || way->failed)
    return 0;
  const uint64_t value = way->cookie_of(way->at);
  if (way->cookie == value)
    return 0;
  for (int i = 0; i < 16; ++i)
    text[i] = static_cast<u_char>(digits[(value >> (60 - 4 * i)) & 0xf]);
  return 1;
}
