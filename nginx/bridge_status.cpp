// The runtime's part about itself: `zedcup_status`, and what is wrong in the
// store, which the leader alone finds out and all workers show.
#include <ctime>

#include "config/json_writer.hpp"
#include "nginx/bridge.hpp"
#include "nginx/nginx_log.hpp"

namespace zedcup {

namespace {

void write(json_writer& out, const char* key, uint64_t value) {
  out.key(key);
  out.number(value);
}

void write(json_writer& out, const char* key, std::string_view text) {
  out.key(key);
  out.string(text);
}

void write_flag(json_writer& out, const char* key, bool value) {
  out.key(key);
  out.boolean(value);
}

/// Who keeps a host from serving; nullptr: nobody.
const char* down_by(const pool_config& pool, const host_config& host,
                    bool marked) {
  if (!pool.up || (!host.up && !host.down_by_zedcup))
    return "operator";
  if (!host.up)
    return "zedcup";
  return marked ? "node" : nullptr;
}

void write_host(json_writer& out, const pool_config& pool, size_t slot,
                const host_marks::seen_host& seen, const balancer& chooser) {
  auto& host = pool.hosts[slot];
  out.begin_object();
  write(out, "index", host.index);
  write(out, "name", host.name);
  write(out, "host", host.address);
  write(out, "port", host.port);
  write(out, "weight", host.weight);
  const auto* by = down_by(pool, host, seen.marked);
  write_flag(out, "up", by == nullptr);
  if (by != nullptr)
    write(out, "down_by", std::string_view(by));
  write(out, "errors", seen.errors);
  if (chooser.wants_reports())
    write(out, "active",
          chooser.active(static_cast<uint32_t>(slot)).value_or(0));
  out.end_object();
}

/// Of the trouble in the zone, and since when.
uint64_t troubled_since() {
  ngx_http_zedcup_zone_state_t state{};
  const auto ignore = [](void*, const ngx_http_zedcup_zone_entry_t*) {};
  if (ngx_http_zedcup_zone_read(UINT64_MAX, ignore, nullptr, &state) != NGX_OK)
    return 0;
  return state.troubled;
}

} // namespace

void runtime::on(complaints_changed& message) {
  if (!leads_)
    return;
  if (message.texts.empty())
    complaints_.erase(message.name);
  else
    complaints_[message.name] = std::move(message.texts);
  // That of instances waits for the end of the read, for what is gone.
  if (message.name.empty())
    publish_complaints();
}

void runtime::publish_complaints() {
  std::string json;
  if (!complaints_.empty()) {
    json_writer out;
    out.begin_object();
    for (auto at = complaints_.begin(); at != complaints_.end();) {
      if (!at->first.empty() && store_names_.count(at->first) == 0) {
        at = complaints_.erase(at);
        continue;
      }
      out.key(at->first);
      out.begin_array();
      for (auto& text : at->second)
        out.string(text);
      out.end_array();
      ++at;
    }
    out.end_object();
    json = out.take();
  }
  if (json == complaints_json_)
    return;
  complaints_json_ = std::move(json);
  zone_content::publish_complaints(complaints_json_);
  ngx_http_zedcup_worker_ring();
}

void runtime::write_status(json_writer& out, const std::string& name) const {
  auto& served = *instances_.peek(name);
  auto& config = served.content->config();
  const auto seen = marks_.look_at(config);
  size_t at = 0;
  out.begin_object();
  write(out, "name", name);
  write(out, "revision", served.content->revision());
  if (refused_.count(name) != 0)
    write_flag(out, "outdated", true); // the zone has no room for newer content
  out.key("pools");
  out.begin_array();
  for (size_t i = 0; i < config.pools.size(); ++i) {
    auto& pool = config.pools[i];
    out.begin_object();
    write(out, "index", pool.index);
    write(out, "name", pool.name);
    write(out, "method", std::string_view(text_of(pool.method)));
    out.key("hosts");
    out.begin_array();
    for (size_t slot = 0; slot < pool.hosts.size(); ++slot)
      write_host(out, pool, slot, seen[at++], served.balancers[i]);
    out.end_array();
    out.end_object();
  }
  out.end_array();
  out.end_object();
}

std::optional<std::string> runtime::status(std::string_view instance) {
  const std::string wanted(instance);
  if (!wanted.empty() && instances_.find(wanted) == nullptr)
    return std::nullopt;
  const auto now = static_cast<uint64_t>(std::time(nullptr));
  json_writer out;
  out.begin_object();
  write(out, "version", std::string_view(ZEDCUP_VERSION));
  write(out, "pid", static_cast<uint64_t>(ngx_pid));
  write(out, "worker", ngx_worker);
  write_flag(out, "leads", leads_);
  write(out, "store", options_.store_name());
  write(out, "content",
        std::string_view(synced_          ? "store"
                         : restored_ != 0 ? "saved"
                                          : "none"));
  write(out, "revision", revision_);
  if (!trouble_.empty()) {
    write(out, "trouble", trouble_);
    if (const auto since = troubled_since(); since != 0)
      write(out, "trouble_seconds", now - std::min(now, since));
  }
  if (!synced_ && restored_ != 0)
    write(out, "age", now - std::min(now, restored_));
  write(out, "zone_size", ngx_http_zedcup_zone_size());
  if (!complaints_json_.empty()) {
    out.key("problems");
    out.raw(complaints_json_);
  }
  out.key("instances");
  out.begin_array();
  if (wanted.empty())
    for (auto& name : instances_.names())
      write_status(out, name);
  else
    write_status(out, wanted);
  out.end_array();
  out.end_object();
  return out.take() + "\n";
}

} // namespace zedcup

ngx_int_t zedcup_status(ngx_pool_t* pool, const ngx_str_t* instance,
                        ngx_str_t* json) {
  auto* runtime = zedcup::worker_runtime();
  if (runtime == nullptr)
    return NGX_DECLINED;
  try {
    const auto text = runtime->status(
        {reinterpret_cast<const char*>(instance->data), instance->len});
    if (!text)
      return NGX_ABORT;
    json->data = static_cast<u_char*>(ngx_pnalloc(pool, text->size()));
    if (json->data == nullptr)
      return NGX_ERROR;
    text->copy(reinterpret_cast<char*>(json->data), text->size());
    json->len = text->size();
    return NGX_OK;
  } catch (const std::exception& problem) {
    zedcup::log_to_nginx(NGX_LOG_ERR, problem.what());
    return NGX_ERROR;
  }
}
