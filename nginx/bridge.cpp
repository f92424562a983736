#include "nginx/bridge.hpp"

#include <cstdlib>
#include <functional>
#include <type_traits>
#include <unistd.h>
#include <utility>

#include "config/decode.hpp"
#include "nginx/feeds.hpp"
#include "nginx/host_targets.hpp"
#include "nginx/nginx_log.hpp"

namespace zedcup {

namespace {

using std::chrono::milliseconds;
using steady = std::chrono::steady_clock;

constexpr size_t drain_budget = 256;
/// From commit to applied, before the caller is told that it takes too long.
constexpr std::chrono::seconds apply_patience{10};
/// How long create_handler may wait for the very first content.
constexpr milliseconds first_sync_patience{2000};

/// How long a worker of nginx's start waits for it, where requests cannot; and
/// once it is known that the store, or the first of its servers, is away.
constexpr milliseconds start_patience{1000};
constexpr milliseconds troubled_start_patience{100};

std::unique_ptr<runtime> current_runtime;
uint32_t epoch = 1;

/// Before this worker accepts connections: they wait in the backlog instead of
/// being answered 502.
void await_first_content() {
  ngx_http_zedcup_worker_await(
      [] { return ngx_uint_t{!current_runtime->awaits_content()}; },
      start_patience.count());
  ngx_http_zedcup_worker_await(
      [] { return ngx_uint_t{current_runtime->has_content()}; },
      troubled_start_patience.count());
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
  if (zmcf->upstreams.nelts != 0 && !current_runtime->has_content())
    await_first_content();
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
