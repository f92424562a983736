#include "nginx/bridge.hpp"

#include <cstdlib>
#include <dlfcn.h>
#include <functional>
#include <unistd.h>
#include <utility>

#include "config/decode.hpp"

namespace zedcup {

/// A copy of what the zone holds, made under its lock.
struct zone_content {
  struct entry {
    std::string name;
    uint64_t revision = 0;
    std::optional<std::string> json; ///< nullopt: unchanged
  };
  std::vector<entry> entries;
  ngx_http_zedcup_zone_state_t state{};
  bool ours = false;   ///< it is our store's
  bool failed = false; ///< out of memory while copying: look again later
};

namespace {

using std::chrono::milliseconds;
using steady = std::chrono::steady_clock;

constexpr size_t drain_budget = 256;
/// From commit to applied, before the caller is told that it takes too long.
constexpr std::chrono::seconds apply_patience{10};
/// How long create_handler may wait for the very first content.
constexpr milliseconds first_sync_patience{2000};

std::unique_ptr<runtime> current_runtime;
uint32_t epoch = 1;

extern "C" void visit_zone_entry(void* ctx, const u_char* name, size_t name_len,
                                 uint64_t revision, const u_char* json,
                                 size_t json_len) {
  auto& content = *static_cast<zone_content*>(ctx);
  try {
    zone_content::entry seen;
    seen.name.assign(reinterpret_cast<const char*>(name), name_len);
    seen.revision = revision;
    if (json != nullptr)
      seen.json.emplace(reinterpret_cast<const char*>(json), json_len);
    content.entries.push_back(std::move(seen));
  } catch (const std::exception&) {
    content.failed = true; // we hold the zone's lock: nothing may escape
  }
}

const u_char* bytes(const std::string& text) {
  return reinterpret_cast<const u_char*>(text.data());
}

void log(ngx_uint_t level, const std::string& text) {
  if (ngx_cycle->log->log_level >= level)
    ngx_http_zedcup_log(level, text.data(), text.size());
}

using sema_post_fn = int (*)(void* sema, int n);

sema_post_fn find_sema_post() {
  return reinterpret_cast<sema_post_fn>(
      dlsym(RTLD_DEFAULT, "ngx_http_lua_ffi_sema_post"));
}

} // namespace

runtime* worker_runtime() noexcept {
  return current_runtime.get();
}

uint32_t* runtime_epoch() noexcept {
  return &epoch;
}

result<bool> start_worker_runtime(system_options options, void* lua_semaphore) {
  if (current_runtime ||
      (ngx_process != NGX_PROCESS_WORKER && ngx_process != NGX_PROCESS_SINGLE))
    return false;
  auto* zmcf = static_cast<ngx_http_zedcup_main_conf_t*>(
      ngx_http_cycle_get_module_main_conf(ngx_cycle, ngx_http_zedcup_module));
  if (zmcf == nullptr)
    return error{errc::invalid_argument, "no http {} block"};
  options.log_level = static_cast<int>(
      std::min<ngx_uint_t>(ngx_cycle->log->log_level & 0xf, NGX_LOG_DEBUG));
  if ((ngx_cycle->log->log_level & NGX_LOG_DEBUG_ALL) != 0)
    options.log_level = NGX_LOG_DEBUG;
  auto started = runtime::start(std::move(options), zmcf, lua_semaphore);
  if (!started)
    return started.error();
  current_runtime = std::move(*started);
  return true;
}

runtime::runtime(system_options options, void* lua_semaphore)
    : options_(std::move(options)), lua_semaphore_(lua_semaphore),
      outbox_(ngx_http_zedcup_worker_wake),
      global_json_(to_json(global_config{})) {}

result<std::unique_ptr<runtime>>
runtime::start(system_options options, ngx_http_zedcup_main_conf_t* zmcf,
               void* lua_semaphore) {
  std::unique_ptr<runtime> made(new runtime(std::move(options), lua_semaphore));
  ngx_http_zedcup_zone_set_store(
      std::hash<std::string>{}(made->options_.store_name()));
  made->load_zone();
  auto actors = system::start(made->options_, made->outbox_);
  if (!actors)
    return actors.error();
  made->system_ = std::move(*actors);
  if (ngx_http_zedcup_worker_start(zmcf) != NGX_OK) {
    made->stop(milliseconds{100});
    return error{errc::unavailable, "no connection free for the wake-ups"};
  }
  return made;
}

// ---- the zone ----------------------------------------------------------

void runtime::read_zone(uint64_t seen, zone_content& content) {
  content.ours = ngx_http_zedcup_zone_read(seen, visit_zone_entry, &content,
                                           &content.state) == NGX_OK;
}

/// At the start: content is decoded here, so that a worker that was respawned
/// or reloaded serves from its first request on.
void runtime::load_zone() {
  zone_content content;
  read_zone(0, content);
  zone_kicks_ = content.state.kicks;
  if (!content.ours || content.failed)
    return;
  for (auto& seen : content.entries) {
    if (seen.name.empty()) {
      global_json_ = std::move(*seen.json);
      global_revision_ = seen.revision;
      continue;
    }
    auto decoded = snapshot::from_json(seen.name, *seen.json, seen.revision);
    if (decoded)
      instances_.put(seen.name, std::move(*decoded),
                     static_cast<uint32_t>(ngx_worker));
    zone_names_[seen.name] = seen.revision;
  }
  zone_seen_ = content.state.seq;
  synced_ = content.state.synced != 0;
  revision_ = content.state.synced_revision;
  trouble_ = content.state.error;
  changed();
}

void runtime::look() {
  check_waiters();
  if (!ngx_http_zedcup_zone_changed(zone_seen_))
    return;
  zone_content content;
  // A leader knows the content, it is its own.
  read_zone(leads_ ? UINT64_MAX : zone_seen_, content);
  if (content.failed)
    return; // the next tick looks again
  zone_seen_ = content.state.seq;
  if (leads_) {
    // What stands there is our own, but somebody may have written.
    if (std::exchange(zone_kicks_, content.state.kicks) != content.state.kicks)
      system_->kick();
    return;
  }
  zone_kicks_ = content.state.kicks;
  if (!content.ours)
    return;
  visitor_map present;
  for (auto& seen : content.entries) {
    if (seen.name.empty()) {
      if (seen.json)
        system_->follow_global(seen.revision, std::move(*seen.json));
      continue;
    }
    present[seen.name] = seen.revision;
    if (seen.json)
      system_->follow_instance(seen.name, seen.revision, std::move(*seen.json));
  }
  zone_names_ = std::move(present);
  for (auto& name : instances_.names())
    if (zone_names_.count(name) == 0)
      instances_.remove(name);
  trouble_ = content.state.error;
  // Comes back behind the content that it stands for.
  if (content.state.synced != 0)
    system_->follow_synced(content.state.synced_revision);
  changed();
}

bool runtime::publish(const std::string& name, uint64_t revision,
                      const std::string& json) {
  if (ngx_http_zedcup_zone_put(bytes(name), name.size(), revision, bytes(json),
                               json.size()) == NGX_OK) {
    ngx_http_zedcup_worker_ring();
    return true;
  }
  log(NGX_LOG_ERR,
      "zone is too small: no " + std::to_string(json.size()) +
          " bytes in one piece for " +
          (name.empty() ? "the global settings" : "instance \"" + name + "\"") +
          ", the last good content stays; raise zedcup_zone");
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
  for (auto& message : batch)
    std::visit([this](auto& known) { on(known); }, message);
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
    tell_lua({ZEDCUP_MESSAGE_PUBLISH, 0, message.revision, message.name,
              message.content->peers_json()});
  } else if (leads_ || zone_names_.count(message.name) == 0) {
    return; // overtaken: removed from the zone, or read anew by ourselves
  }
  instances_.put(message.name, std::move(message.content),
                 static_cast<uint32_t>(ngx_worker));
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
  check_waiters();
}

void runtime::on(synced& message) {
  if (message.publish != leads_)
    return;
  if (message.names) {
    std::map<std::string, bool> wanted;
    for (auto& name : *message.names)
      wanted[name] = true;
    for (auto& name : instances_.names())
      if (wanted.count(name) == 0)
        remove_instance(name);
  }
  if (message.publish && (!synced_ || revision_ != message.revision)) {
    ngx_http_zedcup_zone_set_synced(message.revision);
    ngx_http_zedcup_worker_ring();
  }
  synced_ = true;
  revision_ = message.revision;
  changed();
  check_waiters();
}

/// As the leader: everywhere.
void runtime::remove_instance(const std::string& name) {
  ngx_http_zedcup_zone_remove(bytes(name), name.size());
  instances_.remove(name);
  tell_lua({ZEDCUP_MESSAGE_REMOVE, 0, 0, name, {}});
}

void runtime::on(store_trouble& message) {
  if (!leads_ || trouble_ == message.text)
    return;
  trouble_ = std::move(message.text);
  ngx_http_zedcup_zone_set_error(bytes(trouble_), trouble_.size());
  ngx_http_zedcup_worker_ring();
  changed();
}

void runtime::on(write_done& message) {
  if (!message.error.empty())
    return answer(message.ask_id, std::move(message.error));
  kick();
  int what = message.removed            ? ZEDCUP_ASK_REMOVE_INSTANCE
             : message.instance.empty() ? ZEDCUP_ASK_CONFIGURE
                                        : ZEDCUP_ASK_CONFIGURE_INSTANCE;
  waiters_.push_back({message.ask_id, what, std::move(message.instance),
                      message.revision, steady::now() + apply_patience});
  check_waiters();
}

void runtime::on(log_line& message) {
  log(static_cast<ngx_uint_t>(message.level), message.text);
}

// ---- asks ----------------------------------------------------------------

uint64_t runtime::ask(int what, std::string name, std::string json) {
  auto id = next_ask_++;
  if (what == ZEDCUP_ASK_SYNCED) {
    waiters_.push_back({id, what, {}, 0, steady::now() + first_sync_patience});
    check_waiters();
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

bool runtime::satisfied(const waiter& waiting) const {
  switch (waiting.what) {
  case ZEDCUP_ASK_SYNCED:
    return synced_;
  case ZEDCUP_ASK_REMOVE_INSTANCE:
    return synced_ && instances_.find(waiting.name) == nullptr;
  case ZEDCUP_ASK_CONFIGURE:
    return global_revision_ >= waiting.revision;
  default:
    return synced_ && revision_ >= waiting.revision;
  }
}

void runtime::check_waiters() {
  auto now = steady::now();
  for (size_t i = 0; i < waiters_.size();) {
    auto& waiting = waiters_[i];
    bool done = satisfied(waiting);
    if (!done && now < waiting.deadline) {
      ++i;
      continue;
    }
    std::string problem;
    if (!done) {
      problem = waiting.what == ZEDCUP_ASK_SYNCED
                    ? "the store has not been read yet"
                    : "written to the store, but not applied in this worker";
      problem += trouble_.empty() ? "" : ": " + trouble_;
    }
    answer(waiting.id, std::move(problem));
    waiters_.erase(waiters_.begin() + static_cast<std::ptrdiff_t>(i));
  }
}

void runtime::answer(uint64_t id, std::string problem) {
  tell_lua({ZEDCUP_MESSAGE_ANSWER, id, 0, {}, std::move(problem)});
}

// ---- Lua -------------------------------------------------------------------

void runtime::tell_lua(lua_message message) {
  static const sema_post_fn sema_post = find_sema_post();
  if (lua_semaphore_ == nullptr || sema_post == nullptr)
    return; // plain nginx: nobody to tell
  to_lua_.push_back(std::move(message));
  if (!lua_posted_) {
    lua_posted_ = true;
    sema_post(lua_semaphore_, 1);
  }
}

int runtime::take_messages(zedcup_ffi_message_t* out, int max) {
  taken_.clear();
  while (!to_lua_.empty() && static_cast<int>(taken_.size()) < max) {
    taken_.push_back(std::move(to_lua_.front()));
    to_lua_.pop_front();
  }
  lua_posted_ = !to_lua_.empty(); // the caller comes back while it gets some
  int count = 0;
  for (auto& message : taken_)
    out[count++] = {message.kind,        message.id,
                    message.revision,    message.name.data(),
                    message.name.size(), message.text.data(),
                    message.text.size()};
  return count;
}

void runtime::state(zedcup_ffi_state_t& out) const {
  out = {1,         synced_ ? 1 : 0, leads_ ? 1 : 0,
         revision_, trouble_.data(), trouble_.size()};
}

const std::string& runtime::names_json() {
  names_json_ = zedcup::names_json(instances_.names());
  return names_json_;
}

void runtime::changed() {
  ++epoch;
}

// ---- life --------------------------------------------------------------

void runtime::lead(bool leads) {
  leads_ = leads;
  if (leads)
    log(NGX_LOG_NOTICE, "this worker follows " + options_.store_name());
  system_->set_role(leads ? role::leader : role::follower);
  changed();
}

void runtime::exiting() {
  exiting_ = true;
  static const sema_post_fn sema_post = find_sema_post();
  if (lua_semaphore_ != nullptr && sema_post != nullptr)
    sema_post(lua_semaphore_, 1);
}

bool runtime::stop(milliseconds deadline) {
  return system_->stop(deadline);
}

} // namespace zedcup

// ---- the C files' view -----------------------------------------------------

namespace {

/// Runs on behalf of nginx: whatever happens inside, nothing escapes.
template <class F>
void guarded(F&& body) noexcept {
  try {
    if (auto* runtime = zedcup::worker_runtime())
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

ngx_int_t zedcup_bridge_running(void) {
  return zedcup::worker_runtime() != nullptr;
}

ngx_int_t zedcup_bridge_drain(void) {
  bool more = false;
  guarded([&](zedcup::runtime& runtime) { more = runtime.drain(); });
  return more ? 1 : 0;
}

void zedcup_bridge_look(void) {
  guarded([](zedcup::runtime& runtime) { runtime.look(); });
}

void zedcup_bridge_lead(ngx_uint_t leads) {
  guarded([&](zedcup::runtime& runtime) { runtime.lead(leads != 0); });
}

void zedcup_bridge_exiting(void) {
  guarded([](zedcup::runtime& runtime) { runtime.exiting(); });
}

ngx_int_t zedcup_bridge_stop(void) {
  bool in_time = true;
  guarded([&](zedcup::runtime& runtime) {
    in_time = runtime.stop(std::chrono::milliseconds{80});
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
