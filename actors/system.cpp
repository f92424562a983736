#include "actors/system.hpp"

#include <algorithm>
#include <atomic>
#include <csignal>
#include <future>
#include <sched.h>
#include <thread>
#include <unistd.h>

#include <caf/all.hpp>

#include "actors/consul_store.hpp"
#include "actors/consul_watcher.hpp"
#include "actors/context.hpp"
#include "actors/embedded_actors.hpp"
#include "actors/etcd_actors.hpp"
#include "actors/host_reviver.hpp"
#include "actors/log.hpp"
#include "actors/messages.hpp"
#include "actors/outcomes.hpp"
#include "actors/prober.hpp"
#include "actors/session.hpp"
#include "actors/supervisor.hpp"
#include "actors/syncer.hpp"
#include "actors/writer.hpp"
#include "net/http_driver.hpp"
#include "net/lazy_http.hpp"

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

/// What the end of the session may take of the deadline of stop().
constexpr std::chrono::milliseconds session_patience{40};

/// For an owner that did not call stop(). No slow handler takes longer.
constexpr std::chrono::seconds drop_patience{10};

struct store_actors {
  using spawner = caf::actor (*)(caf::actor_system&, context_ptr);
  spawner store;
  spawner watcher;
};

store_actors actors_of(const system_options& options) {
  if (std::holds_alternative<embedded_target>(options.store))
    return {spawn_embedded_store, spawn_embedded_watcher};
  if (std::holds_alternative<etcd_options>(options.store))
    return {spawn_etcd_store, spawn_etcd_watcher};
  return {spawn_consul_store, spawn_consul_watcher};
}

std::vector<child_spec> children_for(const context_ptr& ctx) {
  auto engine = actors_of(ctx->options);
  auto bind = [&](store_actors::spawner spawn) {
    return [spawn, ctx](caf::actor_system& sys) { return spawn(sys, ctx); };
  };
  return {
      {place::store, bind(engine.store)},
      {place::syncer, bind(spawn_syncer), true},
      {place::writer, bind(spawn_writer)},
      {place::outcomes, bind(spawn_outcomes)},
      // Before the watcher, so that they know the role when content comes.
      {place::session, bind(spawn_session), true},
      {place::prober, bind(spawn_prober), true},
      {place::host_reviver, bind(spawn_host_reviver), true},
      {place::watcher, bind(engine.watcher), true},
  };
}

/// Unlike that of any other start of actors in this process.
std::string run_name() {
  static std::atomic<uint64_t> starts{0};
  return std::to_string(getpid()) + "." + std::to_string(++starts);
}

class running_system final : public system {
public:
  running_system(context ctx, std::shared_ptr<http_driver> http,
                 std::shared_ptr<lazy_http> probe_http)
      : http_(std::move(http)), probe_http_(std::move(probe_http)),
        ctx_(std::make_shared<const context>(std::move(ctx))),
        actors_(std::make_unique<caf::actor_system>(prepare(config_))) {
    // What is sent before an actor is at its place would be lost: content of
    // the zone, or somebody's first write.
    auto started = std::make_shared<std::promise<void>>();
    auto all_started = started->get_future();
    spawn_supervisor(*actors_, ctx_, children_for(ctx_),
                     [started] { started->set_value(); });
    (void)all_started.wait_for(start_patience);
  }

  /// ~actor_system waits without limit for actors that nobody told to end.
  ~running_system() override { (void)stop(drop_patience); }

  void set_role(role now) override {
    tell_to(place::supervisor, msg::role_is{now});
  }

  void follow_instance(std::string name, uint64_t revision,
                       std::string json) override {
    tell_to(place::syncer,
            msg::zone_instance{std::move(name), revision, std::move(json)});
  }

  void follow_global(uint64_t revision, std::string json) override {
    tell_to(place::syncer, msg::zone_global{revision, std::move(json)});
  }

  void follow_synced(uint64_t revision) override {
    tell_to(place::syncer, msg::zone_synced{revision});
  }

  void kick() override { tell_to(place::watcher, msg::kick{}); }

  void write(write_order order) override {
    if (actors_)
      return tell_writer(*actors_, ctx_->out, std::move(order));
    write_ask(ctx_->out, std::move(order)).answer("the actors have ended", 0);
  }

  uint64_t report(std::vector<host_errors> errors) override {
    for (auto& one : errors)
      tell_to(place::outcomes,
              msg::errors_seen{std::move(one.host), one.count, one.window,
                               one.max_errors, one.by_probe,
                               std::move(one.err)});
    return settle(false);
  }

  void order(host_order wanted) override {
    if (actors_)
      return tell_outcomes(*actors_, ctx_->out, std::move(wanted));
    host_ask(ctx_->out, std::move(wanted)).answer("the actors have ended");
  }

  uint64_t leave() override { return settle(true); }

  bool stop(std::chrono::milliseconds deadline) override {
    if (!actors_)
      return true;
    const auto end = std::chrono::steady_clock::now() + deadline;
    end_session(std::min(deadline / 2, session_patience));
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

private:
  uint64_t settle(bool leaving) {
    tell_to(place::outcomes, msg::settle_wanted{++settle_number_, leaving});
    return settle_number_;
  }

  template <class Message>
  void tell_to(place where, Message&& message) {
    if (actors_)
      tell(*actors_, where, std::forward<Message>(message));
  }

  /// A node that says good-bye need not be waited for: its locks are free at
  /// once. Where the store is slow, they are when the session lapses.
  void end_session(std::chrono::milliseconds patience) {
    auto ended = std::make_shared<std::promise<void>>();
    auto over = ended->get_future();
    auto session = lookup(*actors_, place::session);
    if (!session)
      return;
    // An actor that has just failed never calls; hence the bound.
    caf::anon_send(
        session, msg::session_end{std::make_shared<const std::function<void()>>(
                     [ended] { ended->set_value(); })});
    (void)over.wait_for(patience);
  }

  caf::actor_system_config config_;
  std::shared_ptr<http_driver> http_;
  std::shared_ptr<lazy_http> probe_http_;
  context_ptr ctx_;
  std::unique_ptr<caf::actor_system> actors_;
  uint64_t settle_number_ = 0;
};

} // namespace

result<std::unique_ptr<system>> system::start(system_options options,
                                              outbox<loop_message>& out) {
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
    return std::unique_ptr<system>(new running_system(
        std::move(ctx), std::move(http), std::move(probe_http)));
  } catch (const std::exception& problem) {
    return error{errc::unavailable,
                 std::string("the actors cannot start: ") + problem.what()};
  }
}

} // namespace zedcup
