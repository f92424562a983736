#include "nginx/bridge.hpp"

#include <cstdlib>
#include <ctime>
#include <functional>
#include <type_traits>
#include <unistd.h>
#include <utility>

#include "config/decode.hpp"
#include "nginx/feeds.hpp"
#include "nginx/host_targets.hpp"
#include "nginx/nginx_log.hpp"
#include "saved_content.hpp"

namespace zedcup {

namespace {

using std::chrono::milliseconds;
using steady = std::chrono::steady_clock;

constexpr size_t drain_budget = 256;
/// From commit to applied, before the caller is told that it takes too long.
constexpr std::chrono::seconds apply_patience{10};
/// Marks whose time has come a quitting worker leaves to those that stay, for
/// so long: it may have no dispatcher any more to hear the event.
constexpr milliseconds quitting_lag{1000};
/// How long create_handler may wait for the very first content.
constexpr milliseconds first_sync_patience{2000};

std::unique_ptr<runtime> current_runtime;
uint32_t epoch = 1;

const u_char* bytes(const std::string& text) {
  return reinterpret_cast<const u_char*>(text.data());
}

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

runtime* worker_runtime() noexcept {
  return current_runtime.get();
}

uint32_t* runtime_epoch() noexcept {
  return &epoch;
}

result<bool> start_worker_runtime(system_options options, void* lua_semaphore) {
  if (ngx_process != NGX_PROCESS_WORKER && ngx_process != NGX_PROCESS_SINGLE)
    return false;
  if (current_runtime)
    return current_runtime->join(options, lua_semaphore);
  auto* zmcf = static_cast<ngx_http_zedcup_main_conf_t*>(
      ngx_http_cycle_get_module_main_conf(ngx_cycle, ngx_http_zedcup_module));
  if (zmcf == nullptr)
    return error{errc::invalid_argument, "no http {} block"};
  options.log_level = nginx_log_level();
  options.state_dir.assign(reinterpret_cast<char*>(zmcf->state_dir.data),
                           zmcf->state_dir.len);
  auto started = runtime::start(std::move(options), zmcf, lua_semaphore);
  if (!started)
    return started.error();
  current_runtime = std::move(*started);
  // Where a feed came first, this worker may lead already.
  if (ngx_http_zedcup_worker_leads() != 0)
    current_runtime->lead(true);
  return true;
}

namespace {

/// Hosts of two stores are two.
registry::surroundings surroundings_of(const std::string& store) {
  registry::surroundings out;
  out.seed = (static_cast<uint64_t>(getpid()) << 32) ^ ngx_current_msec;
  out.now_ms = [] { return static_cast<uint64_t>(ngx_current_msec); };
  out.start_of = [seed = hash_key(store)](
                     const std::string& instance, uint32_t pool, uint64_t peer,
                     registry::surroundings::arrival what) {
    using arrival = registry::surroundings::arrival;
    const uint64_t id =
        mix_bits(mix_bits(seed ^ hash_key(instance) ^ pool) ^ peer);
    return ngx_http_zedcup_zone_note_start(
        id, what == arrival::comes  ? NGX_HTTP_ZEDCUP_START_COMES
            : what == arrival::goes ? NGX_HTTP_ZEDCUP_START_GOES
                                    : NGX_HTTP_ZEDCUP_START_STAYS);
  };
  return out;
}

} // namespace

runtime::runtime(system_options options, void* lua_semaphore)
    : options_(std::move(options)), outbox_(ngx_http_zedcup_worker_wake),
      marks_(instances_, std::hash<std::string>{}(options_.store_name()),
             [this](unsigned scopes, const host_event& event) {
               tell_lua(scopes, event);
             }),
      global_json_(to_json(global_config{})), to_lua_(lua_semaphore) {
  instances_.surround(surroundings_of(options_.store_name()));
  instances_.leave_out([this](const std::string& instance,
                              const pool_config& pool,
                              const host_config& host) {
    return marks_.is_marked(instance, pool, host);
  });
}

result<std::unique_ptr<runtime>>
runtime::start(system_options options, ngx_http_zedcup_main_conf_t* zmcf,
               void* lua_semaphore) {
  std::unique_ptr<runtime> made(new runtime(std::move(options), lua_semaphore));
  serve_natively(made->instances_, zmcf);
  ngx_http_zedcup_zone_set_store(
      std::hash<std::string>{}(made->options_.store_name()));
  made->load_zone();
  made->load_saved();
  auto actors = system::start(made->options_, made->outbox_);
  if (!actors)
    return actors.error();
  made->system_ = std::move(*actors);
  if (ngx_http_zedcup_worker_start(zmcf) != NGX_OK) {
    made->stop(milliseconds{100});
    return error{errc::unavailable, "no connection free for the wake-ups"};
  }
  // Until now a wake-up went nowhere, and none follows a first one.
  ngx_http_zedcup_worker_wake();
  return made;
}

// ---- the zone ----------------------------------------------------------

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
  auto file = read_file(saved_path(options_.state_dir, store));
  if (!file)
    return;
  std::vector<std::string> ignored;
  auto saved = from_text(file->text, store, ignored);
  if (!saved)
    return;
  for (auto& entry : saved->entries) {
    if (entry.name.empty()) {
      global_json_ = std::move(entry.json);
      continue;
    }
    auto decoded = snapshot::from_json(entry.name, entry.json, entry.revision);
    if (decoded)
      serve(entry.name, std::move(*decoded), false);
  }
  restored_ = file->changed;
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

// ---- messages from the actors ------------------------------------------

bool runtime::drain() {
  std::deque<loop_message> batch;
  bool more = outbox_.drain(batch, drain_budget);
  for (auto& message : batch) {
    // One that fails must not take the others along, nor `more`.
    try {
      std::visit([this](auto& known) { on(known); }, message);
    } catch (const std::exception& problem) {
      log_to_nginx(NGX_LOG_ERR, problem.what());
    }
  }
  send_failures();
  return more;
}

void runtime::on(instance_changed& message) {
  auto& json = message.content->json();
  if (message.publish) {
    if (!leads_)
      return; // from a leadership that has ended
    auto* old = instances_.find(message.name);
    if ((old == nullptr || old->json() != json) &&
        !publish(message.name, message.revision, json))
      return;
    to_lua_.push({ZEDCUP_MESSAGE_PUBLISH, 0, message.revision, message.name,
                  message.content->peers_json()});
  } else if (leads_ || zone_names_.count(message.name) == 0) {
    return; // overtaken: removed from the zone, or read anew by ourselves
  }
  serve(message.name, std::move(message.content), message.publish);
  changed();
}

void runtime::on(global_changed& message) {
  if (message.publish) {
    if (!leads_)
      return;
    if ((message.json != global_json_ || global_revision_ == 0 ||
         message.revision != global_revision_) &&
        !publish("", message.revision, message.json))
      return;
  } else if (leads_) {
    return;
  }
  global_json_ = std::move(message.json);
  global_revision_ = message.revision;
  changed();
  check_asks();
}

void runtime::on(synced& message) {
  if (message.publish != leads_)
    return;
  if (message.names) {
    keep_only(*message.names);
    publish_complaints();
  }
  if (message.publish && (!synced_ || revision_ != message.revision)) {
    ngx_http_zedcup_zone_set_synced(message.revision);
    ngx_http_zedcup_worker_ring();
  }
  synced_ = message.restored == 0;
  restored_ = message.restored;
  revision_ = message.revision;
  following_ = false;
  if (!ngx_http_zedcup_zone_changed(zone_seen_))
    marks_.apply(true);
  changed();
  check_asks();
}

/// As the leader: whatever is not in the store any more goes.
void runtime::keep_only(const std::vector<std::string>& names) {
  store_names_ = {names.begin(), names.end()};
  auto present = instances_.names();
  present.insert(present.end(), refused_.begin(), refused_.end());
  for (auto& name : present)
    if (!name.empty() && store_names_.count(name) == 0)
      remove_instance(name);
}

/// As the leader: everywhere.
void runtime::remove_instance(const std::string& name) {
  ngx_http_zedcup_zone_remove(bytes(name), name.size());
  refused_.erase(name);
  drop_instance(name, true);
  to_lua_.push({ZEDCUP_MESSAGE_REMOVE, 0, 0, name, {}});
}

void runtime::on(store_trouble& message) {
  if (!leads_ || trouble_ == message.text)
    return;
  trouble_ = std::move(message.text);
  ngx_http_zedcup_zone_set_error(bytes(trouble_), trouble_.size());
  ngx_http_zedcup_worker_ring();
  changed();
}

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

void runtime::on(content_wanted&) {
  zone_seen_ = 0;
} // the next tick looks

void runtime::on(write_done& message) {
  if (!message.error.empty())
    return answer(message.ask_id, std::move(message.error));
  if (!message.instance.empty())
    marks_.forget_instance(message.instance);
  kick();
  int what = message.removed            ? ZEDCUP_ASK_REMOVE_INSTANCE
             : message.instance.empty() ? ZEDCUP_ASK_CONFIGURE
                                        : ZEDCUP_ASK_CONFIGURE_INSTANCE;
  asks_.add({message.ask_id, what, std::move(message.instance),
             message.revision, steady::now() + apply_patience});
  check_asks();
}

void runtime::on(log_line& message) {
  log_to_nginx(static_cast<ngx_uint_t>(message.level), message.text);
}

// ---- asks ----------------------------------------------------------------

uint64_t runtime::ask(int what, std::string name, std::string json) {
  auto id = next_ask_++;
  if (what == ZEDCUP_ASK_SYNCED) {
    asks_.add({id, what, {}, 0, steady::now() + first_sync_patience});
    check_asks();
    return id;
  }
  write_order order;
  order.ask_id = id;
  order.remove = what == ZEDCUP_ASK_REMOVE_INSTANCE;
  order.instance = std::move(name);
  order.json = std::move(json);
  system_->write(std::move(order));
  return id;
}

void runtime::check_asks() {
  asks_.check({instances_, has_content(), synced_, revision_, global_revision_,
               trouble_, refused_},
              [this](uint64_t id, std::string problem) {
                answer(id, std::move(problem));
              });
}

void runtime::answer(uint64_t id, std::string problem, std::string payload) {
  to_lua_.push(
      {ZEDCUP_MESSAGE_ANSWER, id, 0, std::move(payload), std::move(problem)});
}

// ---- Lua -------------------------------------------------------------------

void runtime::state(zedcup_ffi_state_t& out) const {
  out = {1,
         has_content() ? 1 : 0,
         leads_ ? 1 : 0,
         revision_,
         trouble_.data(),
         trouble_.size(),
         settling() ? 1 : 0};
}

const std::string& runtime::names_json() {
  names_json_ = zedcup::names_json(instances_.names());
  return names_json_;
}

/// zedcup_store and Lua both want the runtime, in either order: it is one.
result<bool> runtime::join(const system_options& wanted, void* semaphore) {
  if (wanted.store_name() != options_.store_name())
    return error{errc::invalid_argument,
                 "this worker follows " + options_.store_name() +
                     " already, and not " + wanted.store_name() +
                     ": zedcup_store and zedcup.init() must name one store"};
  if (semaphore == nullptr || !to_lua_.attach(semaphore))
    return false;
  for (auto& name : instances_.names()) {
    auto& content = *instances_.find(name);
    to_lua_.push({ZEDCUP_MESSAGE_PUBLISH, 0, content.revision(), name,
                  content.peers_json()});
  }
  return true;
}

void runtime::changed() {
  ++epoch;
}

// ---- life --------------------------------------------------------------

void runtime::lead(bool leads) {
  leads_ = leads;
  if (leads) {
    load_zone();
    log_to_nginx(NGX_LOG_NOTICE,
                 "this worker follows " + options_.store_name());
  }
  system_->set_role(leads ? role::leader : role::follower);
  changed();
}

void runtime::exiting() {
  send_failures();
  reported_ = system_->leave();
  quits_ = ngx_current_msec + settle_patience_ms;
  to_lua_.wake();
}

bool runtime::stop(milliseconds deadline) {
  return system_->stop(deadline);
}

} // namespace zedcup

// ---- the C files' view -----------------------------------------------------

namespace {

/// Runs on behalf of nginx: whatever happens inside, nothing escapes. What
/// takes a runtime is run where there is one.
template <class F>
void guarded(F&& body) noexcept {
  try {
    if constexpr (std::is_invocable_v<F>)
      body();
    else if (auto* runtime = zedcup::worker_runtime())
      body(*runtime);
  } catch (const std::exception& problem) {
    std::string_view what = problem.what();
    ngx_http_zedcup_log(NGX_LOG_ERR, what.data(), what.size());
  }
}

void leave_without_destructors() {
  _exit(0);
}

} // namespace

ngx_int_t zedcup_bridge_drain(void) {
  bool more = false;
  guarded([&](zedcup::runtime& runtime) { more = runtime.drain(); });
  guarded([&] { more = zedcup::drain_feeds() || more; });
  return more ? 1 : 0;
}

void zedcup_bridge_look(void) {
  guarded([](zedcup::runtime& runtime) { runtime.look(); });
}

void zedcup_bridge_lead(ngx_uint_t leads) {
  guarded([&](zedcup::runtime& runtime) { runtime.lead(leads != 0); });
  guarded([&] { zedcup::lead_feeds(leads != 0); });
}

void zedcup_bridge_exiting(void) {
  guarded([](zedcup::runtime& runtime) { runtime.exiting(); });
  guarded([] { zedcup::feeds_exiting(); });
}

ngx_int_t zedcup_bridge_stop(void) {
  bool in_time = true;
  guarded([&](zedcup::runtime& runtime) {
    in_time = runtime.stop(std::chrono::milliseconds{80});
  });
  guarded([&] {
    in_time = zedcup::stop_feeds(std::chrono::milliseconds{80}) && in_time;
  });
  if (in_time) {
    zedcup::current_runtime.reset();
    return NGX_OK;
  }
  // Threads are still running on this memory: leave it to them, and end the
  // process before any static destructor runs.
  (void)zedcup::current_runtime.release();
  (void)atexit(leave_without_destructors);
  return NGX_ERROR;
}
