#include "nginx/feeds.hpp"

#include <utility>

#include "nginx/nginx_log.hpp"
#include "saved_content.hpp"
#include "store/json.hpp"

namespace zedcup {

namespace {

constexpr size_t drain_budget = 256;
/// For the actors of a leadership that has ended while the worker lives on.
constexpr std::chrono::milliseconds stop_patience{200};

std::vector<std::unique_ptr<worker_feed>> feeds;

std::vector<known_service> parse_known(std::string_view text) {
  std::vector<known_service> known;
  rapidjson::Document root;
  if (!json::parse(root, text) || !root.IsArray())
    return known;
  for (const auto& item : root.GetArray()) {
    const auto name = json::find_text(item, "name");
    const auto peers = json::find_text(item, "peers");
    if (!name || !peers)
      continue;
    known_service one{std::string(*name), std::string(*peers), {}};
    const auto* down = json::find(item, "down");
    if (down != nullptr && down->IsArray())
      for (const auto& peer_name : down->GetArray())
        if (peer_name.IsString())
          one.down.emplace(json::text_of(peer_name));
    known.push_back(std::move(one));
  }
  return known;
}

/// Byte by byte, unlike config's names_json(): Lua compares them with keys.
std::string raw_names_json(const std::vector<std::string>& names) {
  rapidjson::StringBuffer buffer;
  json::writer out(buffer);
  out.StartArray();
  for (const auto& one : names)
    json::put_text(out, one);
  out.EndArray();
  return {buffer.GetString(), buffer.GetSize()};
}

std::string saved_json(const loaded_content& saved) {
  rapidjson::StringBuffer buffer;
  json::writer out(buffer);
  out.StartObject();
  json::put_text(out, "saved");
  out.Uint64(saved.changed);
  json::put_text(out, "services");
  out.StartArray();
  for (auto& entry : saved.content.entries) {
    out.StartObject();
    json::put_text(out, "name");
    json::put_text(out, entry.name);
    json::put_text(out, "revision");
    out.Uint64(entry.revision);
    json::put_text(out, "peers");
    json::put_text(out, entry.json);
    out.EndObject();
  }
  out.EndArray();
  out.EndObject();
  return {buffer.GetString(), buffer.GetSize()};
}

} // namespace

worker_feed::worker_feed(system_options options, void* lua_semaphore)
    : options_(std::move(options)), name_(options_.store_name()),
      outbox_(ngx_http_zedcup_worker_wake), to_lua_(lua_semaphore) {}

void worker_feed::lead(bool leads) {
  if (leads_ == leads)
    return;
  leads_ = leads;
  if (leads_) {
    log_to_nginx(NGX_LOG_NOTICE, "this worker feeds from " + name_);
    to_lua_.push({ZEDCUP_FEED_LEAD, 0, 0, {}, {}});
    return;
  }
  // What is still on its way belongs to a leadership that has ended.
  if (actors_ && !actors_->stop(stop_patience))
    (void)actors_.release();
  actors_.reset();
}

status worker_feed::run(std::string_view known) {
  if (!leads_)
    return success();
  if (actors_ && !actors_->stop(stop_patience))
    return error{errc::timed_out, "the actors before do not end"};
  actors_.reset();
  std::deque<loop_message> stale;
  (void)outbox_.drain(stale, SIZE_MAX);
  auto options = options_;
  options.log_level = nginx_log_level();
  auto started =
      feed::start(std::move(options), parse_known(known), checks_, outbox_);
  if (!started)
    return started.error();
  actors_ = std::move(*started);
  return success();
}

/// What is wrong with the file the actors say, who read it as well.
const std::string& worker_feed::saved() {
  saved_json_.clear();
  if (options_.state_dir.empty())
    return saved_json_;
  std::vector<std::string> ignored;
  const auto saved =
      load_content(saved_peers_path(options_.state_dir, name_), name_, ignored);
  if (saved)
    saved_json_ = saved_json(*saved);
  return saved_json_;
}

void worker_feed::check(peer_checks how) {
  if (checks_ && *checks_ == how)
    return;
  checks_ = std::move(how);
  if (leads_)
    to_lua_.push({ZEDCUP_FEED_LEAD, 0, 0, {}, {}});
}

bool worker_feed::drain() {
  std::deque<loop_message> batch;
  const bool more = outbox_.drain(batch, drain_budget);
  for (auto& message : batch)
    on(message);
  return more;
}

void worker_feed::on(loop_message& message) {
  if (auto* line = std::get_if<log_line>(&message))
    return log_to_nginx(static_cast<ngx_uint_t>(line->level), line->text);
  if (!leads_)
    return;
  if (auto* seen = std::get_if<feed_message>(&message))
    tell(*seen);
  else if (auto* trouble = std::get_if<store_trouble>(&message))
    to_lua_.push({ZEDCUP_FEED_TROUBLE, 0, 0, {}, std::move(trouble->text)});
}

void worker_feed::tell(feed_message& message) {
  if (auto* changed = std::get_if<peers_changed>(&message))
    to_lua_.push({ZEDCUP_FEED_PEERS, 0, changed->revision,
                  std::move(changed->service), std::move(changed->json)});
  else if (auto* synced = std::get_if<peers_synced>(&message))
    to_lua_.push({ZEDCUP_FEED_SYNCED,
                  0,
                  synced->revision,
                  {},
                  raw_names_json(synced->services)});
  else if (auto* checked = std::get_if<peer_checked>(&message))
    to_lua_.push({ZEDCUP_FEED_CHECKED, checked->down ? 1U : 0U, 0,
                  std::move(checked->service), std::move(checked->peer)});
}

bool worker_feed::stop(std::chrono::milliseconds deadline) {
  return !actors_ || actors_->stop(deadline);
}

// ---- all of them -----------------------------------------------------------

result<std::optional<int>> start_worker_feed(system_options options,
                                             void* lua_semaphore) {
  if (ngx_process != NGX_PROCESS_WORKER && ngx_process != NGX_PROCESS_SINGLE)
    return std::optional<int>{};
  auto* zmcf = static_cast<ngx_http_zedcup_main_conf_t*>(
      ngx_http_cycle_get_module_main_conf(ngx_cycle, ngx_http_zedcup_module));
  if (zmcf == nullptr)
    return error{errc::invalid_argument, "no http {} block"};
  if (ngx_http_zedcup_worker_start(zmcf) != NGX_OK)
    return error{errc::unavailable, "no connection free for the wake-ups"};
  options.state_dir.assign(reinterpret_cast<char*>(zmcf->state_dir.data),
                           zmcf->state_dir.len);
  feeds.push_back(
      std::make_unique<worker_feed>(std::move(options), lua_semaphore));
  feeds.back()->lead(ngx_http_zedcup_worker_leads() != 0);
  return std::optional<int>{static_cast<int>(feeds.size()) - 1};
}

worker_feed* find_worker_feed(int number) {
  if (number < 0 || static_cast<size_t>(number) >= feeds.size())
    return nullptr;
  return feeds[static_cast<size_t>(number)].get();
}

bool drain_feeds() {
  bool more = false;
  for (auto& one : feeds)
    more = one->drain() || more;
  return more;
}

void lead_feeds(bool leads) {
  for (auto& one : feeds)
    one->lead(leads);
}

void feeds_exiting() {
  for (auto& one : feeds)
    one->exiting();
}

bool stop_feeds(std::chrono::milliseconds deadline) {
  bool ended = true;
  const auto end = std::chrono::steady_clock::now() + deadline;
  for (auto& one : feeds) {
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(
        end - std::chrono::steady_clock::now());
    ended = one->stop(std::max(left, std::chrono::milliseconds{1})) && ended;
  }
  if (ended)
    feeds.clear();
  else
    for (auto& one : feeds)
      (void)one.release();
  return ended;
}

} // namespace zedcup
