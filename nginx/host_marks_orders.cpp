// The handler's functions about hosts, for what this node holds by itself.
#include <algorithm>

#include "nginx/host_marks.hpp"
#include "nginx/host_marks_detail.hpp"
#include "store/host_state.hpp"

namespace zedcup {

using namespace marks_detail;

std::string host_marks::order(const host_order& wanted, std::string& payload) {
  auto* content = instances_.find(wanted.host.instance);
  if (content == nullptr)
    return "no such instance: " + wanted.host.instance;
  const bool here = !content->config().persist_errors;
  if (wanted.what == host_order::verb::read_state) {
    if (here)
      payload = state_of(wanted.host.instance);
    return {};
  }
  const auto at = find(wanted.host);
  if (at.host == nullptr)
    return "host: not in the instance any more: " + text_of(wanted.host);
  if (here)
    return order_host(wanted, at, payload);
  if (wanted.what == host_order::verb::reset_errors)
    drop(id_of(wanted.host));
  return {};
}

std::string host_marks::state_of(const std::string& instance) const {
  instance_state state;
  locked_errors errors;
  for (auto& pool : instances_.find(instance)->config().pools)
    for (auto& host : pool.hosts) {
      const auto id = raw(id_of(instance, pool, host));
      auto* known = ngx_http_zedcup_errors_find(errors.get(), &id, 0);
      if (known == nullptr)
        continue;
      host_state seen;
      seen.error_count = known->count;
      if (known->last != 0)
        seen.last_error =
            unix_now() - (std::max(now_ms(), known->last) - known->last) / 1000;
      seen.last_check = known->checked;
      state[{pool.index, host.index}] = seen;
    }
  return state_json(state);
}

std::vector<host_marks::seen_host>
host_marks::look_at(const instance_config& instance) const {
  std::vector<seen_host> all;
  locked_errors errors;
  for (auto& pool : instance.pools)
    for (auto& host : pool.hosts) {
      const auto id = raw(id_of(instance.name, pool, host));
      const auto* known = ngx_http_zedcup_errors_find(errors.get(), &id, 0);
      seen_host seen;
      if (known != nullptr && now_ms() - known->last < known->window)
        seen.errors = known->count;
      seen.marked = is_marked(instance.name, pool, host);
      all.push_back(seen);
    }
  return all;
}

void host_marks::mark(const place& at) {
  const auto id = raw(id_of(at.instance->name, *at.pool, *at.host));
  bool fresh = false;
  {
    locked_errors errors;
    auto* known = ngx_http_zedcup_errors_find(errors.get(), &id, 1);
    if (known == nullptr || known->marked != 0)
      return;
    fresh = true;
    known->marked = known->told = 1;
    known->last = now_ms();
    known->window = window_of(*at.pool);
    ngx_http_zedcup_errors_touch(errors.get());
  }
  if (fresh)
    tell_here(false, ref_of(at.instance->name, *at.pool, *at.host), false, {},
              scope_cluster | scope_node);
}

std::string host_marks::order_host(const host_order& wanted, const place& at,
                                   std::string& payload) {
  const auto id = raw(id_of(wanted.host));
  uint32_t count = 0;
  switch (wanted.what) {
  case host_order::verb::count_error: {
    locked_errors errors;
    (void)ngx_http_zedcup_errors_add(errors.get(), &id, 1, window_of(*at.pool),
                                     0, now_ms(), &count);
    payload = std::to_string(count);
    return {};
  }
  case host_order::verb::reset_errors: {
    locked_errors errors;
    auto* known = ngx_http_zedcup_errors_find(errors.get(), &id, 0);
    if (known != nullptr)
      known->count = 0; // the time of the last stays: a mark ends by it
    return {};
  }
  case host_order::verb::note_check: {
    locked_errors errors;
    auto* known = ngx_http_zedcup_errors_find(errors.get(), &id, 1);
    if (known != nullptr)
      known->checked = unix_now();
    return {};
  }
  case host_order::verb::take_down:
    if (at.host->up)
      mark(at);
    break;
  default:
    if (!at.host->up)
      return "host: the configuration says `up = false`: " +
             text_of(wanted.host);
    if (marks_.count(id_of(wanted.host)) != 0)
      tell_here(true, wanted.host, false, {}, scope_cluster | scope_node);
    drop(id_of(wanted.host));
  }
  ngx_http_zedcup_worker_ring();
  fetch();
  apply(true);
  return {};
}

} // namespace zedcup
