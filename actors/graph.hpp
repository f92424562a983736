// The threads and actors behind a facade: what system and feed have in common.
// Used on the thread that made it only; stop() alone waits.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <utility>
#include <vector>

#include <caf/all.hpp>

#include "actors/context.hpp"
#include "actors/messages.hpp"
#include "actors/supervisor.hpp"
#include "net/http_driver.hpp"
#include "net/lazy_http.hpp"
#include "util/result.hpp"

namespace zedcup {

class graph {
public:
  using children_of =
      std::function<std::vector<child_spec>(const context_ptr&)>;

  /// Starts the threads (with all signals blocked in them) and the actors, and
  /// returns when each actor is at its place. Call after fork. `out` must
  /// outlive the graph.
  static result<std::unique_ptr<graph>> start(system_options options,
                                              outbox<loop_message>& out,
                                              const children_of& children);

  graph(context ctx, std::shared_ptr<http_driver> http,
        std::shared_ptr<lazy_http> probe_http, const children_of& children);
  /// As stop(), for as long as no slow handler takes longer: ~actor_system
  /// waits without limit for actors that nobody told to end.
  ~graph();
  graph(const graph&) = delete;
  graph& operator=(const graph&) = delete;

  /// False once it was stopped.
  bool runs() const { return actors_ != nullptr; }
  caf::actor_system& actors() { return *actors_; }
  const context& ctx() const { return *ctx_; }

  template <class Message>
  void tell_to(place where, Message&& message) {
    if (actors_)
      tell(*actors_, where, std::forward<Message>(message));
  }

  /// Cancels what is in flight, ends the actors, joins the threads.
  /// @returns false when `end` passed first; the threads are then left alone.
  bool stop(std::chrono::steady_clock::time_point end);

private:
  caf::actor_system_config config_;
  std::shared_ptr<http_driver> http_;
  std::shared_ptr<lazy_http> probe_http_;
  context_ptr ctx_;
  std::unique_ptr<caf::actor_system> actors_;
};

/// The two actors that speak with the store of these options.
struct store_actors {
  using spawner = caf::actor (*)(caf::actor_system&, context_ptr);
  spawner store; ///< null: the store can be followed, but not written
  spawner watcher;
};
store_actors store_actors_of(const system_options& options);

} // namespace zedcup
