#include "nginx/host_marks.hpp"

#include <utility>

#include "nginx/host_marks_detail.hpp"

namespace zedcup {

using namespace marks_detail;

namespace {

/// The same host in another content of the instance.
const host_config* find_same(const snapshot* content, uint32_t pool_index,
                             const host_config& wanted) {
  if (content == nullptr)
    return nullptr;
  for (auto& pool : content->config().pools)
    if (pool.index == pool_index)
      for (auto& host : pool.hosts)
        if (host.index == wanted.index)
          return host.address == wanted.address && host.port == wanted.port
                     ? &host
                     : nullptr;
  return nullptr;
}

using seen_marks = std::vector<ngx_http_zedcup_host_errors_t>;

extern "C" void collect_mark(void* ctx,
                             const ngx_http_zedcup_host_errors_t* host) {
  try {
    static_cast<seen_marks*>(ctx)->push_back(*host);
  } catch (const std::exception&) {
    // No memory, under the zone's lock: it is left out until the next change.
  }
}

} // namespace

host_marks::host_marks(registry& instances, uint64_t store, teller tell)
    : instances_(instances), store_(store), tell_(std::move(tell)) {}

// ---- names -----------------------------------------------------------------

host_marks::host_id host_marks::id_of(const host_ref& host) const {
  auto make = [&](uint64_t seed) {
    hasher hash(seed);
    hash.add(store_);
    hash.add(host.instance);
    hash.add((uint64_t{host.pool} << 32) | host.host);
    hash.add(host.address);
    hash.add(uint64_t{host.port});
    return hash.value();
  };
  return {make(0), make(0x9e3779b97f4a7c15ULL)};
}

host_marks::host_id host_marks::id_of(const std::string& instance,
                                      const pool_config& pool,
                                      const host_config& host) const {
  return id_of(ref_of(instance, pool, host));
}

host_marks::place host_marks::find(const host_ref& host) const {
  auto* content = instances_.find(host.instance);
  if (content == nullptr)
    return {};
  for (auto& pool : content->config().pools)
    if (pool.index == host.pool)
      for (auto& one : pool.hosts)
        if (one.index == host.host && one.address == host.address &&
            one.port == host.port)
          return {&content->config(), &pool, &one};
  return {};
}

/// Of every host: one pass for however many are looked for.
std::map<host_marks::host_id, host_marks::place> host_marks::places() const {
  std::map<host_id, place> all;
  for (auto& name : instances_.names()) {
    auto& config = instances_.find(name)->config();
    for (auto& pool : config.pools)
      for (auto& host : pool.hosts)
        all[id_of(name, pool, host)] = {&config, &pool, &host};
  }
  return all;
}

bool host_marks::is_marked(const std::string& instance, const pool_config& pool,
                           const host_config& host) const {
  return !marks_.empty() && marks_.count(id_of(instance, pool, host)) != 0;
}

// ---- errors ----------------------------------------------------------------

std::optional<host_marks::verdict>
host_marks::failed(const registry::handle& instance, uint32_t pool_place,
                   uint32_t host_place, std::string_view err) {
  auto& config = instance.content->config();
  if (pool_place >= config.pools.size() ||
      host_place >= config.pools[pool_place].hosts.size())
    return std::nullopt;
  auto& pool = config.pools[pool_place];
  auto ref = ref_of(config.name, pool, pool.hosts[host_place]);
  auto at = find(ref);
  if (at.host == nullptr || !at.host->up)
    return std::nullopt; // a request that began before
  verdict found;
  found.persist = at.instance->persist_errors;
  uint32_t count = 0;
  const auto id = raw(id_of(ref));
  {
    locked_errors errors;
    found.marked =
        ngx_http_zedcup_errors_add(errors.get(), &id, 1, window_of(pool),
                                   pool.max_errors, now_ms(), &count) != 0;
    if (found.marked && !found.persist)
      ngx_http_zedcup_errors_find(errors.get(), &id, 0)->told = 1;
  }
  found.errors = {
      ref, 1, pool.error_timeout, pool.max_errors, false, std::string(err)};
  if (!found.marked)
    return found;
  log(NGX_LOG_WARN, text_of(ref) + " is out of this node's rotation after " +
                        std::to_string(count) +
                        " errors, the last: " + found.errors.err);
  if (!found.persist)
    tell_here(false, ref, false, found.errors.err, scope_cluster | scope_node);
  ngx_http_zedcup_worker_ring();
  fetch();
  apply(false);
  return found;
}

void host_marks::kept(const host_errors& errors) {
  const auto at = find(errors.host);
  if (at.host == nullptr || !at.host->up)
    return;
  const auto id = raw(id_of(errors.host));
  // A probe's own, which is longer where it comes more seldom.
  const auto window =
      static_cast<uint64_t>(std::chrono::milliseconds(errors.window).count());
  bool tells = false;
  {
    locked_errors table;
    uint32_t count = 0;
    if (errors.by_probe)
      (void)ngx_http_zedcup_errors_add(table.get(), &id, errors.count, window,
                                       errors.max_errors, now_ms(), &count);
    auto* known = ngx_http_zedcup_errors_find(table.get(), &id, 0);
    tells = known != nullptr && known->marked != 0 && known->told == 0;
    if (tells) {
      known->told = 1;
      ngx_http_zedcup_errors_touch(table.get());
    }
  }
  if (!tells)
    return;
  tell_here(false, errors.host, errors.by_probe, errors.err,
            scope_cluster | scope_node);
  ngx_http_zedcup_worker_ring();
  fetch();
  apply(false);
}

void host_marks::expire(std::chrono::milliseconds late) {
  const auto next =
      ngx_http_zedcup_errors_next_end(ngx_http_zedcup_zone_errors());
  const auto now = now_ms();
  if (next == 0 || next + static_cast<uint64_t>(late.count()) > now)
    return;
  seen_marks ended;
  {
    locked_errors errors;
    ngx_http_zedcup_errors_expire(errors.get(), now, collect_mark, &ended);
  }
  if (ended.empty())
    return;
  ngx_http_zedcup_worker_ring();
  const auto all = places();
  for (auto& mark : ended) {
    const auto found = all.find(host_id{mark.id.a, mark.id.b});
    if (found == all.end() || !found->second.host->up)
      continue;
    const auto& at = found->second;
    const auto ref = ref_of(at.instance->name, *at.pool, *at.host);
    log(NGX_LOG_WARN, text_of(ref) + " is back in this node's rotation");
    if (mark.told != 0)
      tell_here(true, ref, false, {}, scope_cluster | scope_node);
  }
}

// ---- marks -----------------------------------------------------------------

void host_marks::fetch() {
  const auto version =
      ngx_http_zedcup_errors_version(ngx_http_zedcup_zone_errors());
  if (version == seen_)
    return;
  seen_marks found;
  {
    locked_errors errors;
    seen_ = ngx_http_zedcup_errors_version(errors.get());
    ngx_http_zedcup_errors_marked(errors.get(), collect_mark, &found);
  }
  fetched_.clear();
  for (auto& mark : found)
    fetched_[{mark.id.a, mark.id.b}] = mark.told != 0;
}

void host_marks::apply(bool release) {
  if (fetched_ == marks_)
    return;
  auto fresh = fetched_;
  if (!release)
    fresh.insert(marks_.begin(), marks_.end());
  if (fresh == marks_)
    return;
  auto old = std::exchange(marks_, std::move(fresh));
  refresh_changed(old);
  tell_changes(old);
}

void host_marks::refresh_changed(const std::map<host_id, bool>& old) {
  for (auto& name : instances_.names()) {
    auto& config = instances_.find(name)->config();
    bool changed = false;
    for (auto& pool : config.pools)
      for (auto& host : pool.hosts) {
        const auto id = id_of(name, pool, host);
        changed = changed || old.count(id) != marks_.count(id);
      }
    if (changed)
      instances_.refresh(name);
  }
}

/// For the callbacks of every worker: what this node decided by itself.
void host_marks::tell_changes(const std::map<host_id, bool>& old) {
  auto told_in = [](const std::map<host_id, bool>& all, const host_id& id) {
    auto at = all.find(id);
    return at != all.end() && at->second;
  };
  std::vector<std::pair<host_id, bool>> changes; // and whether it came up
  for (auto& [id, told] : marks_)
    if (told && !told_in(old, id))
      changes.emplace_back(id, false);
  for (auto& [id, told] : old)
    if (told && marks_.count(id) == 0)
      changes.emplace_back(id, true);
  if (changes.empty())
    return;
  const auto all = places();
  for (auto& [id, up] : changes) {
    const auto found = all.find(id);
    if (found == all.end() || !found->second.host->up)
      continue;
    const auto& at = found->second;
    tell_here(up, ref_of(at.instance->name, *at.pool, *at.host), false, {},
              scope_worker);
  }
}

void host_marks::drop(const host_id& id) {
  const auto raw_id = raw(id);
  bool marked = false;
  {
    locked_errors errors;
    marked = ngx_http_zedcup_errors_drop(errors.get(), &raw_id) != 0;
  }
  if (!marked)
    return;
  ngx_http_zedcup_worker_ring();
  fetch();
  apply(true);
}

void host_marks::tell_here(bool up, const host_ref& host, bool by_probe,
                           std::string err, unsigned scopes) {
  tell_(scopes, host_event{up, host, by_probe, std::move(err)});
}

// ---- content ---------------------------------------------------------------

void host_marks::content_changed(const snapshot* old, const snapshot* now,
                                 bool leads) {
  if (old == nullptr)
    return;
  auto& name = old->config().name;
  for (auto& pool : old->config().pools)
    for (auto& was : pool.hosts) {
      auto* is = find_same(now, pool.index, was);
      const bool went_down = is != nullptr && was.up && !is->up;
      const bool went_up = is != nullptr && !was.up && is->up;
      if (leads && (is == nullptr || went_down || went_up))
        drop(id_of(name, pool, was));
      if ((went_down && is->down_by_zedcup) || (went_up && was.down_by_zedcup))
        tell_here(went_up, ref_of(name, pool, was), false, {},
                  leads ? scope_node | scope_worker : scope_worker);
    }
}

void host_marks::forget_instance(const std::string& name) {
  auto* content = instances_.find(name);
  if (content == nullptr)
    return;
  for (auto& pool : content->config().pools)
    for (auto& host : pool.hosts)
      drop(id_of(name, pool, host));
}

} // namespace zedcup
