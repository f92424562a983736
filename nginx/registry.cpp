#include "nginx/registry.hpp"

#include <algorithm>
#include <utility>

namespace zedcup {

namespace {

/// The rotation that served the pool with that index before, if any.
const weighted_rr* predecessor(const registry::handle* old, uint32_t index) {
  if (old == nullptr)
    return nullptr;
  auto& pools = old->content->config().pools;
  for (size_t i = 0; i < pools.size(); ++i)
    if (pools[i].index == index)
      return &old->rotations[i];
  return nullptr;
}

} // namespace

std::vector<weighted_rr::candidate>
registry::usable(const snapshot& content, const pool_config& pool) const {
  auto hosts = candidates(pool);
  if (!left_out_)
    return hosts;
  auto& name = content.config().name;
  auto gone = std::remove_if(hosts.begin(), hosts.end(), [&](auto& one) {
    return left_out_(name, pool, pool.hosts[one.slot]);
  });
  hosts.erase(gone, hosts.end());
  return hosts;
}

std::vector<weighted_rr> registry::make_rotations(const snapshot& content,
                                                  const handle* old,
                                                  uint32_t offset) const {
  std::vector<weighted_rr> rotations;
  auto& pools = content.config().pools;
  rotations.reserve(pools.size());
  for (auto& pool : pools) {
    auto* before = predecessor(old, pool.index);
    if (before == nullptr) {
      rotations.emplace_back(usable(content, pool), offset);
      continue;
    }
    rotations.push_back(*before);
    rotations.back().update(usable(content, pool));
  }
  return rotations;
}

void registry::refresh(const std::string& name) {
  auto at = instances_.find(name);
  if (at == instances_.end())
    return;
  auto& content = *at->second->content;
  auto& pools = content.config().pools;
  for (size_t i = 0; i < pools.size(); ++i)
    at->second->rotations[i].update(usable(content, pools[i]));
}

registry::~registry() {
  for (auto& [name, instance] : instances_)
    release(instance);
}

void registry::put(const std::string& name,
                   std::shared_ptr<const snapshot> content, uint32_t offset) {
  auto at = instances_.find(name);
  auto* old = at == instances_.end() ? nullptr : at->second;
  auto fresh = std::make_unique<handle>();
  fresh->rotations = make_rotations(*content, old, offset);
  fresh->content = std::move(content);
  instances_[name] = fresh.get();
  (void)fresh.release(); // owned by its references now
  release(old);
}

bool registry::remove(const std::string& name) {
  auto at = instances_.find(name);
  if (at == instances_.end())
    return false;
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
