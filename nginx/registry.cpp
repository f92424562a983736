#include "nginx/registry.hpp"

#include <algorithm>
#include <utility>

namespace zedcup {

namespace {

const balancer* balancer_of(const registry::handle* instance, uint32_t index) {
  if (instance == nullptr)
    return nullptr;
  auto& pools = instance->content->config().pools;
  for (size_t i = 0; i < pools.size(); ++i)
    if (pools[i].index == index)
      return &instance->balancers[i];
  return nullptr;
}

bool has_slow_start(const pool_config& pool) {
  return std::any_of(pool.hosts.begin(), pool.hosts.end(),
                     [](auto& host) { return host.slow_start.count() != 0; });
}

balancer::options options_of(const pool_config& pool, uint32_t offset,
                             uint64_t seed) {
  balancer::options out;
  out.method = pool.method;
  out.offset = offset;
  out.seed = seed;
  out.hash_balance_factor = pool.hash_balance_factor;
  return out;
}

} // namespace

// ---- making lists ----------------------------------------------------------

/// @param first the worker sees the instance for the first time: what serves
///        then did before, or nobody knows better.
balancer::peer_list registry::peers(const snapshot& content,
                                    const pool_config& pool,
                                    const balancer* before, bool first) const {
  auto& name = content.config().name;
  auto all = peers_of(pool);
  for (auto& one : all) {
    if (one.weight != 0 && left_out_ &&
        left_out_(name, pool, pool.hosts[one.slot]))
      one.weight = 0;
    if (one.slow_start_ms == 0 || !around_.start_of)
      continue;
    const bool stays = first || (before != nullptr && before->serves(one.id));
    one.start_ms = around_.start_of(name, pool.index, one.id,
                                    one.weight == 0 ? arrival::goes
                                    : stays         ? arrival::stays
                                                    : arrival::comes);
  }
  return all;
}

/// Those that are in no list any more rise anew when they come back.
void registry::note_gone(const std::string& instance, const pool_config& pool,
                         const std::vector<uint64_t>& were,
                         const balancer* now) const {
  if (!around_.start_of || !has_slow_start(pool))
    return;
  for (const uint64_t id : were)
    if (now == nullptr || !now->serves(id))
      (void)around_.start_of(instance, pool.index, id, arrival::goes);
}

void registry::note_gone_pools(const handle& old, const handle& fresh) const {
  auto& config = old.content->config();
  for (size_t i = 0; i < config.pools.size(); ++i)
    note_gone(config.name, config.pools[i], old.balancers[i].serving(),
              balancer_of(&fresh, config.pools[i].index));
}

std::vector<balancer> registry::make_balancers(const snapshot& content,
                                               const handle* old,
                                               uint32_t offset) const {
  std::vector<balancer> made;
  auto& pools = content.config().pools;
  made.reserve(pools.size());
  for (auto& pool : pools) {
    auto* before = balancer_of(old, pool.index);
    const auto wanted = options_of(pool, offset, around_.seed);
    auto list = peers(content, pool, before, old == nullptr);
    made.push_back(before != nullptr ? *before : balancer{wanted});
    made.back().update(wanted, list, now_ms());
  }
  return made;
}

uint32_t registry::version_ = 1;

void registry::serve_natively(const std::string& name,
                              std::optional<balance_method> method) {
  auto& methods = native_[name];
  if (method)
    methods.insert(*method);
}

/// For upstreams that choose in another way than the pools say.
void registry::make_others(handle& fresh, const handle* old,
                           uint32_t offset) const {
  auto& pools = fresh.content->config().pools;
  for (const auto method : native_.at(fresh.content->config().name)) {
    auto& made = fresh.others[method];
    for (size_t i = 0; i < pools.size(); ++i) {
      auto wanted = options_of(pools[i], offset, around_.seed);
      wanted.method = method;
      const auto* before = balancer_of(old, pools[i].index);
      // Made for the old list, so that the rotation goes on.
      if (before != nullptr && old->others.count(method) != 0)
        before = &old->others.at(
            method)[static_cast<size_t>(before - old->balancers.data())];
      else
        before = nullptr;
      made.push_back(before != nullptr ? *before : balancer{wanted});
      made.back().update(wanted, fresh.balancers[i].peers(), now_ms());
      made.back().share_loads(fresh.balancers[i]);
    }
  }
}

void registry::share_list(handle& instance, size_t pool,
                          const balancer::peer_list& list) const {
  for (auto& [method, balancers] : instance.others) {
    balancers[pool].update(list, now_ms());
    balancers[pool].share_loads(instance.balancers[pool]);
  }
}

void registry::refresh(const std::string& name) {
  auto at = instances_.find(name);
  if (at == instances_.end())
    return;
  auto& instance = *at->second;
  auto& pools = instance.content->config().pools;
  for (size_t i = 0; i < pools.size(); ++i) {
    auto& one = instance.balancers[i];
    const auto list = peers(*instance.content, pools[i], &one, false);
    one.update(list, now_ms());
    share_list(instance, i, list);
  }
}

// ---- instances -------------------------------------------------------------

registry::~registry() {
  for (auto& [name, instance] : instances_)
    release(instance);
}

void registry::put(const std::string& name,
                   std::shared_ptr<const snapshot> content, uint32_t offset) {
  auto at = instances_.find(name);
  auto* old = at == instances_.end() ? nullptr : at->second;
  auto fresh = std::make_unique<handle>();
  fresh->balancers = make_balancers(*content, old, offset);
  fresh->content = std::move(content);
  if (old != nullptr)
    note_gone_pools(*old, *fresh);
  if (make_native_ && native_.count(name) != 0) {
    make_others(*fresh, old, offset);
    fresh->native = make_native_(*fresh, old);
  }
  ++version_;
  instances_[name] = fresh.get();
  (void)fresh.release(); // owned by its references now
  release(old);
}

bool registry::remove(const std::string& name) {
  auto at = instances_.find(name);
  if (at == instances_.end())
    return false;
  ++version_;
  release(at->second);
  instances_.erase(at);
  return true;
}

const snapshot* registry::find(const std::string& name) const {
  auto at = instances_.find(name);
  return at == instances_.end() ? nullptr : at->second->content.get();
}

std::shared_ptr<const snapshot> registry::share(const std::string& name) const {
  auto at = instances_.find(name);
  return at == instances_.end() ? nullptr : at->second->content;
}

registry::handle* registry::peek(const std::string& name) const {
  auto at = instances_.find(name);
  return at == instances_.end() ? nullptr : at->second;
}

registry::handle* registry::acquire(const std::string& name) {
  auto at = instances_.find(name);
  if (at == instances_.end())
    return nullptr;
  ++at->second->references;
  return at->second;
}

void registry::release(handle* instance) noexcept {
  if (instance != nullptr && --instance->references == 0)
    delete instance;
}

std::vector<std::string> registry::names() const {
  std::vector<std::string> all;
  all.reserve(instances_.size());
  for (auto& [name, instance] : instances_)
    all.push_back(name);
  std::sort(all.begin(), all.end());
  return all;
}

} // namespace zedcup
