#include "actors/graph.hpp"

#include <atomic>
#include <csignal>
#include <future>
#include <sched.h>
#include <string>
#include <unistd.h>
#include <variant>

#include "actors/consul_store.hpp"
#include "actors/consul_watcher.hpp"
#include "actors/embedded_actors.hpp"
#include "actors/etcd2_watcher.hpp"
#include "actors/etcd_actors.hpp"
#include "actors/log.hpp"

namespace zedcup {

namespace {

/// While it lives, new threads start with all signals blocked and on any CPU:
/// otherwise they would take signals meant for nginx's thread, and crowd the
/// one CPU that worker_cpu_affinity gave it.
class thread_start_guard {
public:
  thread_start_guard() {
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &signals_);
    have_cpus_ = sched_getaffinity(0, sizeof(cpus_), &cpus_) == 0;
    cpu_set_t any;
    CPU_ZERO(&any);
    for (int i = 0; i < CPU_SETSIZE; ++i)
      CPU_SET(i, &any);
    if (have_cpus_)
      sched_setaffinity(0, sizeof(any), &any);
  }
  ~thread_start_guard() {
    if (have_cpus_)
      sched_setaffinity(0, sizeof(cpus_), &cpus_);
    pthread_sigmask(SIG_SETMASK, &signals_, nullptr);
  }
  thread_start_guard(const thread_start_guard&) = delete;
  thread_start_guard& operator=(const thread_start_guard&) = delete;

private:
  sigset_t signals_{};
  cpu_set_t cpus_{};
  bool have_cpus_ = false;
};

caf::actor_system_config& prepare(caf::actor_system_config& config) {
  // Two threads: one slow handler must not hold up the rest. "sharing" waits
  // on a condition variable, where "stealing" polls.
  config.set("scheduler.max-threads", 2);
  config.set("scheduler.policy", caf::atom("sharing"));
  return config;
}

/// Starting takes about a millisecond; the event loop waits for it.
constexpr std::chrono::seconds start_patience{2};

/// For an owner that did not call stop(). No slow handler takes longer.
constexpr std::chrono::seconds drop_patience{10};

/// Unlike that of any other start of actors in this process.
std::string run_name() {
  static std::atomic<uint64_t> starts{0};
  return std::to_string(getpid()) + "." + std::to_string(++starts);
}

} // namespace

result<std::unique_ptr<graph>> graph::start(system_options options,
                                            outbox<loop_message>& out,
                                            const children_of& children) {
  thread_start_guard guard;
  try {
    context ctx;
    ctx.log = make_logger(out, options.log_level);
    ctx.out = &out;
    std::shared_ptr<http_driver> http;
    if (!std::holds_alternative<embedded_target>(options.store)) {
      auto started = http_driver::start();
      if (!started)
        return started.error();
      http = std::move(*started);
    }
    ctx.http = http;
    http_driver_options probing;
    probing.nice = 10; // requests go first
    auto probe_http = std::make_shared<lazy_http>(probing);
    ctx.probe_http = probe_http;
    ctx.run = run_name();
    ctx.options = std::move(options);
    return std::make_unique<graph>(std::move(ctx), std::move(http),
                                   std::move(probe_http), children);
  } catch (const std::exception& problem) {
    return error{errc::unavailable,
                 std::string("the actors cannot start: ") + problem.what()};
  }
}

graph::graph(context ctx, std::shared_ptr<http_driver> http,
             std::shared_ptr<lazy_http> probe_http, const children_of& children)
    : http_(std::move(http)), probe_http_(std::move(probe_http)),
      ctx_(std::make_shared<const context>(std::move(ctx))),
      actors_(std::make_unique<caf::actor_system>(prepare(config_))) {
  // What is sent before an actor is at its place would be lost: content of
  // the zone, or somebody's first write.
  auto started = std::make_shared<std::promise<void>>();
  auto all_started = started->get_future();
  spawn_supervisor(*actors_, ctx_, children(ctx_),
                   [started] { started->set_value(); });
  (void)all_started.wait_for(start_patience);
}

graph::~graph() {
  (void)stop(std::chrono::steady_clock::now() + drop_patience);
}

bool graph::stop(std::chrono::steady_clock::time_point end) {
  if (!actors_)
    return true;
  if (http_)
    http_->stop();
  probe_http_->stop();
  auto ended = std::make_shared<std::promise<void>>();
  auto all_down = ended->get_future();
  if (auto top = lookup(*actors_, place::supervisor)) {
    top->attach_functor([ended](const caf::error&) { ended->set_value(); });
    caf::anon_send_exit(top, caf::exit_reason::user_shutdown);
  } else {
    ended->set_value();
  }
  // ~actor_system waits for every actor without limit, so it may begin only
  // when none is left. (It must also run on the thread that made it.)
  if (all_down.wait_until(end) != std::future_status::ready)
    return false;
  actors_->registry().erase(place_atom(place::supervisor));
  actors_.reset();
  return true;
}

store_actors store_actors_of(const system_options& options) {
  if (std::holds_alternative<embedded_target>(options.store))
    return {spawn_embedded_store, spawn_embedded_watcher};
  if (const auto* etcd = std::get_if<etcd_options>(&options.store)) {
    if (etcd->v2)
      return {nullptr, spawn_etcd2_watcher};
    return {spawn_etcd_store, spawn_etcd_watcher};
  }
  return {spawn_consul_store, spawn_consul_watcher};
}

} // namespace zedcup
