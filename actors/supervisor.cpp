#include "actors/supervisor.hpp"

#include <algorithm>
#include <chrono>
#include <exception>
#include <random>
#include <string>

#include "actors/guard.hpp"

namespace zedcup {

namespace {

using std::chrono::milliseconds;

constexpr milliseconds backoff_min{100};
constexpr milliseconds backoff_max{10000};
constexpr std::chrono::seconds healthy_after{60};

struct child {
  child_spec spec;
  caf::actor running;
  unsigned failures = 0; ///< in a row
  std::chrono::steady_clock::time_point started{};
};

struct supervisor_state {
  static inline const char* name = "zedcup.supervisor";

  caf::event_based_actor* self = nullptr;
  context_ptr ctx;
  std::vector<child> children;
  role current = role::follower;
  bool ending = false;
  std::minstd_rand random{std::random_device{}()};

  /// A spawn may throw, when there is no thread for a detached actor: that
  /// must not take the supervisor along, who alone can end the others.
  void start(size_t index) {
    auto& c = children.at(index);
    c.started = self->clock().now();
    try {
      c.running = c.spec.spawn(self->system());
    } catch (const std::exception& problem) {
      return start_later(index, problem.what());
    }
    self->monitor(c.running);
    self->system().registry().put(
        place_atom(c.spec.where),
        caf::actor_cast<caf::strong_actor_ptr>(c.running));
  }

  void start_later(size_t index, const std::string& reason) {
    auto& c = children.at(index);
    auto delay = next_delay(c);
    ctx->log->error("actor {} failed ({}), starting it again in {} ms",
                    caf::to_string(place_atom(c.spec.where)), reason,
                    delay.count());
    self->delayed_send(self, delay, msg::wake{index});
  }

  void tell_role() {
    for (auto& c : children)
      if (c.running && c.spec.follows_role)
        self->send(c.running, msg::role_is{current});
  }

  milliseconds next_delay(child& which) {
    if (self->clock().now() - which.started > healthy_after)
      which.failures = 0;
    auto delay = backoff_max;
    if (which.failures < 7)
      delay = std::min(backoff_max, backoff_min * (1 << which.failures));
    ++which.failures;
    std::uniform_int_distribution<int64_t> jitter(0, delay.count() / 4);
    return delay + milliseconds{jitter(random)};
  }

  void on_down(const caf::down_msg& down) {
    for (size_t i = 0; i < children.size(); ++i) {
      auto& c = children[i];
      if (!c.running || c.running.address() != down.source)
        continue;
      c.running = nullptr;
      if (ending)
        return quit_if_alone();
      self->system().registry().erase(place_atom(c.spec.where));
      return start_later(i, self->system().render(down.reason));
    }
  }

  void restart(size_t index) {
    auto& c = children.at(index);
    if (c.running || ending)
      return;
    start(index);
    if (!c.running)
      return;
    // Everyone begins again from a known point: the watcher reads anew, the
    // syncer hands out what differs.
    auto wanted = current;
    current = role::follower;
    tell_role();
    current = wanted;
    tell_role();
  }

  /// Ends the children and, with the last of them, itself.
  void end() {
    ending = true;
    for (auto& c : children)
      if (c.running) {
        self->system().registry().erase(place_atom(c.spec.where));
        self->send_exit(c.running, caf::exit_reason::user_shutdown);
      }
    quit_if_alone();
  }

  void quit_if_alone() {
    for (auto& c : children)
      if (c.running)
        return;
    self->quit(caf::exit_reason::user_shutdown);
  }
};

caf::behavior supervisor(caf::stateful_actor<supervisor_state>* self,
                         context_ptr ctx, std::vector<child_spec> specs,
                         const std::function<void()>& started) {
  log_exceptions(self, ctx);
  auto& state = self->state;
  state.self = self;
  state.ctx = std::move(ctx);
  self->set_down_handler(
      [=](caf::down_msg& down) { self->state.on_down(down); });
  self->set_exit_handler([=](caf::exit_msg&) { self->state.end(); });
  for (auto& spec : specs)
    state.children.push_back(child{std::move(spec), nullptr, 0, {}});
  for (size_t i = 0; i < state.children.size(); ++i)
    state.start(i);
  if (started)
    started();
  return {
      [=](const msg::role_is& changed) {
        self->state.current = changed.now;
        self->state.tell_role();
      },
      [=](const msg::wake& due) { self->state.restart(due.generation); },
  };
}

} // namespace

caf::actor spawn_supervisor(caf::actor_system& sys, context_ptr ctx,
                            std::vector<child_spec> children,
                            std::function<void()> started) {
  auto handle = sys.spawn(supervisor, std::move(ctx), std::move(children),
                          std::move(started));
  sys.registry().put(place_atom(place::supervisor),
                     caf::actor_cast<caf::strong_actor_ptr>(handle));
  return handle;
}

} // namespace zedcup
