// Actors on CAF's test coordinator: no threads, a clock that stands still, and
// nothing runs but in settle() and pass(). Derive or use as a TEST_CASE_METHOD.
#pragma once

#include <chrono>
#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include <caf/all.hpp>
#include <caf/scheduler/test_coordinator.hpp>

#include "actors/context.hpp"
#include "actors/log.hpp"
#include "actors/messages.hpp"
#include "support/catch.hpp"

namespace zedcup::test {

using namespace std::chrono_literals;

class actor_fixture {
public:
  actor_fixture() : actors(prepare(config_)) {
    ctx->log = make_logger(out, 8);
    ctx->out = &out;
  }

  /// ~actor_system waits for every actor.
  ~actor_fixture() {
    for (auto& [place, actor] : placed_)
      actors.registry().erase(place);
    for (auto& [place, actor] : placed_)
      caf::anon_send_exit(actor, caf::exit_reason::kill);
    placed_.clear();
    settle();
  }
  actor_fixture(const actor_fixture&) = delete;
  actor_fixture& operator=(const actor_fixture&) = delete;

  /// Enters an actor under its place, as the supervisor does.
  void put(place where, caf::actor actor) {
    remove(where); // CAF keeps the older of two
    actors.registry().put(place_atom(where),
                          caf::actor_cast<caf::strong_actor_ptr>(actor));
    placed_.emplace_back(place_atom(where), std::move(actor));
  }
  void remove(place where) { actors.registry().erase(place_atom(where)); }

  template <class Message>
  void send(const caf::actor& to, Message message) {
    caf::anon_send(to, std::move(message));
    settle();
  }

  /// Runs everything that can run now.
  void settle() { clockwork().run(); }

  /// Moves the clock in small steps, so that timers that arm themselves again
  /// are all seen.
  void pass(std::chrono::milliseconds time) {
    settle();
    for (constexpr auto step = 10ms; time > 0ms; time -= step) {
      clockwork().advance_time(std::min(time, step));
      settle();
    }
  }

  /// What came out since the last look, of one kind; the rest is kept.
  template <class T>
  std::vector<T> take() {
    collect();
    std::vector<T> found;
    std::vector<loop_message> rest;
    for (auto& message : out_)
      if (auto* wanted = std::get_if<T>(&message))
        found.push_back(std::move(*wanted));
      else
        rest.push_back(std::move(message));
    out_ = std::move(rest);
    return found;
  }

  /// "5 text" per line.
  std::vector<std::string> take_log() {
    std::vector<std::string> lines;
    for (auto& line : take<log_line>())
      lines.push_back(std::to_string(line.level) + " " + line.text);
    return lines;
  }

  /// All kinds of messages, in order, by name: "instance foo".
  std::vector<std::string> take_kinds();

  context_ptr shared() const { return ctx; }

private:
  caf::scheduler::test_coordinator& clockwork() {
    return dynamic_cast<caf::scheduler::test_coordinator&>(actors.scheduler());
  }

  static caf::actor_system_config& prepare(caf::actor_system_config& config) {
    config.set("scheduler.policy", caf::atom("testing"));
    return config;
  }

  void collect() {
    std::deque<loop_message> batch;
    while (out.drain(batch, 1000)) {
    }
    for (auto& message : batch)
      out_.push_back(std::move(message));
  }

  caf::actor_system_config config_;
  std::vector<std::pair<caf::atom_value, caf::actor>> placed_;
  std::vector<loop_message> out_;

public:
  outbox<loop_message> out{[] {}};
  std::shared_ptr<context> ctx = std::make_shared<context>();
  caf::actor_system actors;
};

inline std::vector<std::string> actor_fixture::take_kinds() {
  struct namer {
    std::string operator()(const instance_changed& m) {
      return "instance " + m.name;
    }
    std::string operator()(const complaints_changed& m) {
      return "complaints " + m.name + " " + std::to_string(m.texts.size());
    }
    std::string operator()(const global_changed&) { return "global"; }
    std::string operator()(const synced& m) {
      return "synced " + std::to_string(m.revision);
    }
    std::string operator()(const store_trouble& m) {
      return "trouble " + m.text;
    }
    std::string operator()(const content_found& m) {
      return (m.whole ? "found " : "found of unusable ") +
             std::to_string(m.instances.size());
    }
    std::string operator()(const content_wanted&) { return "wanted"; }
    std::string operator()(const write_done& m) {
      return "done " + std::to_string(m.ask_id);
    }
    std::string operator()(const host_event& m) {
      return (m.up ? "up " : "down ") + m.host.address;
    }
    std::string operator()(const errors_kept& m) {
      return "kept " + std::to_string(m.errors.count);
    }
    std::string operator()(const host_done& m) {
      return "host done " + std::to_string(m.ask_id);
    }
    std::string operator()(const feed_message& m) {
      return std::visit(*this, m);
    }
    std::string operator()(const peers_changed& m) {
      return "peers " + m.service;
    }
    std::string operator()(const peers_synced& m) {
      return "peers synced " + std::to_string(m.revision);
    }
    std::string operator()(const peer_checked& m) {
      return (m.down ? "out " : "back ") + m.peer;
    }
    std::string operator()(const outcomes_settled& m) {
      return "settled " + std::to_string(m.number);
    }
    std::string operator()(const log_line& m) { return "log " + m.text; }
  };
  collect();
  std::vector<std::string> kinds;
  for (auto& message : out_)
    kinds.push_back(std::visit(namer{}, message));
  out_.clear();
  return kinds;
}

using make_behavior = std::function<caf::behavior(caf::event_based_actor*)>;

/// A small actor. (Not sys.spawn(make): without an argument CAF 0.17 takes a
/// reference to nothing, which UBSan minds.)
inline caf::actor spawn_small(caf::actor_system& sys, make_behavior make) {
  return sys.spawn([](caf::event_based_actor* self,
                      const make_behavior& use) { return use(self); },
                   std::move(make));
}

/// An actor that keeps what it is told, of some kinds of messages.
template <class... Messages>
struct recorder {
  std::tuple<std::vector<Messages>...> seen;
  caf::actor actor;

  template <class T>
  std::vector<T> take() {
    return std::exchange(std::get<std::vector<T>>(seen), {});
  }
};

template <class... Messages>
std::shared_ptr<recorder<Messages...>> spawn_recorder(caf::actor_system& sys) {
  auto made = std::make_shared<recorder<Messages...>>();
  auto* raw = made.get(); // the test keeps it until the actor is gone
  made->actor =
      spawn_small(sys, [raw](caf::event_based_actor*) -> caf::behavior {
        return {[raw](const Messages& message) {
          std::get<std::vector<Messages>>(raw->seen).push_back(message);
        }...};
      });
  return made;
}

} // namespace zedcup::test
