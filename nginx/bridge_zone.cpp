// The runtime's part about content: the zone between the workers, and what was
// saved for a start without the store.
#include <ctime>
#include <utility>

#include "nginx/bridge.hpp"
#include "nginx/nginx_log.hpp"
#include "saved_content.hpp"

namespace zedcup {

namespace {

using std::chrono::milliseconds;

/// Marks whose time has come a quitting worker leaves to those that stay, for
/// so long: it may have no dispatcher any more to hear the event.
constexpr milliseconds quitting_lag{1000};

std::string in_words(const content_found& found, size_t count) {
  const auto saved = static_cast<time_t>(found.saved);
  tm utc{};
  char time[sizeof("2026-01-31 00:00:00 UTC")] = "";
  if (gmtime_r(&saved, &utc) != nullptr)
    (void)strftime(time, sizeof(time), "%Y-%m-%d %H:%M:%S UTC", &utc);
  return std::string(found.whole ? "until the store is read"
                                 : "where the store has nothing usable") +
         ": " + std::to_string(count) +
         (count == 1 ? " instance" : " instances") +
         " of zedcup_state_dir, last confirmed " + time;
}

} // namespace

/// Makes this worker serve exactly what the zone holds. At the start, so that a
/// worker that was respawned or reloaded serves from its first request on; and
/// when it begins to lead, for what the actors have still under way is dropped
/// then, and what differs from the store is told from what is served here.
void runtime::load_zone() {
  marks_.fetch();
  marks_.apply(true);
  following_ = false;
  auto content = zone_content::read(0);
  zone_kicks_ = content.state.kicks;
  if (!content.ours || content.failed)
    return;
  for (auto& seen : content.entries)
    if (seen.json) // else it never found room
      load(seen);
  note_names(content);
  complaints_.clear();
  complaints_json_ = content.complaints.value_or("");
  zone_seen_ = content.state.seq;
  synced_ = content.state.synced != 0;
  if (synced_ || content.state.restored != 0)
    restored_ = content.state.restored;
  revision_ = content.state.synced_revision;
  trouble_ = content.state.error;
  changed();
}

/// Where the zone knows nothing of the store yet: a start of nginx, that serves
/// from its first request on. What is wrong with the file the keeper says.
void runtime::load_saved() {
  if (has_content() || options_.state_dir.empty())
    return;
  const auto store = options_.store_name();
  std::vector<std::string> ignored;
  auto saved =
      load_content(saved_path(options_.state_dir, store), store, ignored);
  if (!saved)
    return;
  for (auto& entry : saved->content.entries) {
    if (entry.name.empty()) {
      global_json_ = std::move(entry.json);
      continue;
    }
    auto decoded = snapshot::from_json(entry.name, entry.json, entry.revision);
    if (decoded)
      serve(entry.name, std::move(*decoded), false);
  }
  restored_ = saved->changed;
  changed();
}

void runtime::load(zone_content::entry& seen) {
  if (seen.name.empty()) {
    global_json_ = std::move(*seen.json);
    global_revision_ = seen.revision;
    return;
  }
  auto* old = instances_.find(seen.name);
  if (old != nullptr && old->json() == *seen.json)
    return;
  auto decoded = snapshot::from_json(seen.name, *seen.json, seen.revision);
  if (decoded)
    serve(seen.name, std::move(*decoded), false);
}

/// All content that this worker serves comes through here. `news`: read from
/// the store by this worker; what the zone holds was told by who put it there.
void runtime::serve(const std::string& name,
                    std::shared_ptr<const snapshot> content, bool news) {
  auto old = instances_.share(name);
  instances_.put(name, content, static_cast<uint32_t>(ngx_worker));
  marks_.content_changed(old.get(), content.get(), news);
}

void runtime::drop_instance(const std::string& name, bool news) {
  auto old = instances_.share(name);
  instances_.remove(name);
  marks_.content_changed(old.get(), nullptr, news);
}

/// What the zone does not know any more goes.
void runtime::note_names(const zone_content& content) {
  zone_names_.clear();
  refused_.clear();
  for (auto& seen : content.entries) {
    if (!seen.name.empty())
      zone_names_.insert(seen.name);
    if (seen.refused)
      refused_.insert(seen.name);
  }
  if (restored_ != 0 && content.state.synced == 0 &&
      content.state.restored == 0)
    return; // it knows nothing yet: what was saved stays
  for (auto& name : instances_.names())
    if (zone_names_.count(name) == 0)
      drop_instance(name, false);
}

void runtime::look() {
  check_asks();
  marks_.expire(quits_ ? quitting_lag : milliseconds{0});
  // Before the content: a mark ends when content says the same.
  marks_.fetch();
  const bool changed = ngx_http_zedcup_zone_changed(zone_seen_) != 0;
  marks_.apply(leads_ || (!changed && !following_));
  if (!changed)
    return;
  // A leader knows the content, it is its own; but somebody may have written.
  auto content = zone_content::read(leads_ ? UINT64_MAX : zone_seen_);
  if (content.failed)
    return; // the next tick looks again
  zone_seen_ = content.state.seq;
  auto kicks = std::exchange(zone_kicks_, content.state.kicks);
  if (leads_ && kicks != zone_kicks_)
    system_->kick();
  if (!leads_ && content.ours)
    follow(std::move(content));
}

void runtime::follow(zone_content content) {
  note_names(content);
  for (auto& seen : content.entries) {
    if (!seen.json)
      continue;
    if (seen.name.empty())
      system_->follow_global(seen.revision, std::move(*seen.json));
    else
      system_->follow_instance(seen.name, seen.revision, std::move(*seen.json));
  }
  trouble_ = content.state.error;
  if (content.complaints)
    complaints_json_ = std::move(*content.complaints);
  // Comes back behind the content that it stands for.
  following_ = content.state.synced != 0 || content.state.restored != 0;
  if (following_)
    system_->follow_synced(content.state.synced_revision,
                           content.state.restored);
  changed();
}

bool runtime::publish(const std::string& name, uint64_t revision,
                      const std::string& json) {
  bool fits = ngx_http_zedcup_zone_put(bytes(name), name.size(), revision,
                                       bytes(json), json.size()) == NGX_OK;
  ngx_http_zedcup_worker_ring();
  if (fits) {
    refused_.erase(name);
    return true;
  }
  refused_.insert(name);
  const auto size = ngx_http_zedcup_zone_size();
  log_to_nginx(
      NGX_LOG_ERR,
      "the zone is too small: no " + std::to_string(json.size()) +
          " bytes in one piece for " +
          (name.empty() ? "the global settings" : "instance \"" + name + "\"") +
          ", the last good content stays; set zedcup_zone to " +
          std::to_string((size + 2 * json.size()) / 1024 + 64) + "k or more");
  return false;
}

void runtime::kick() {
  if (leads_)
    return system_->kick();
  ngx_http_zedcup_zone_kick();
  ngx_http_zedcup_worker_ring();
}

// ---- what was saved --------------------------------------------------------

void runtime::on(content_found& message) {
  if (!leads_ || (message.whole && synced_))
    return; // the store was faster
  size_t count = 0;
  for (auto& content : message.instances)
    count += restore(content) ? 1 : 0;
  if (message.whole) {
    if (message.global_json && global_revision_ == 0 &&
        publish("", 0, *message.global_json))
      global_json_ = std::move(*message.global_json);
    restored_ = message.saved;
    ngx_http_zedcup_zone_set_restored(restored_);
    ngx_http_zedcup_worker_ring();
  }
  if (count != 0)
    log_to_nginx(message.whole ? NGX_LOG_NOTICE : NGX_LOG_WARN,
                 in_words(message, count));
  changed();
  check_asks();
}

/// Serves saved content everywhere, unless there is other by that name.
bool runtime::restore(const std::shared_ptr<const snapshot>& content) {
  auto& name = content->config().name;
  auto* served = instances_.find(name);
  // What this worker began with may be in no zone yet.
  if ((synced_ && store_names_.count(name) == 0) ||
      (served != nullptr && served->json() != content->json()) ||
      !publish(name, content->revision(), content->json()))
    return false;
  to_lua_.push({ZEDCUP_MESSAGE_PUBLISH, 0, content->revision(), name,
                content->peers_json()});
  if (served == nullptr)
    serve(name, content, false);
  return true;
}

} // namespace zedcup
