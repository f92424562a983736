// The whole actor graph on its threads, and the event loop that it talks to.
#pragma once

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <deque>
#include <iterator>
#include <map>
#include <memory>
#include <set>
#include <stdexcept>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "actors/system.hpp"

namespace zedcup::test {

/// A system and the event loop that it talks to.
class worker {
public:
  explicit worker(system_options options) {
    auto started = zedcup::system::start(std::move(options), out_);
    if (!started)
      throw std::runtime_error(started.error().message);
    actors_ = std::move(*started);
  }
  ~worker() {
    if (actors_ && !actors_->stop(std::chrono::seconds(10)))
      std::abort();
    actors_.reset();
    close(wake_);
  }
  worker(const worker&) = delete;
  worker& operator=(const worker&) = delete;

  zedcup::system& actors() { return *actors_; }

  /// Handles messages until the condition holds; false: not in time.
  template <class Condition>
  bool wait_until(Condition condition,
                  std::chrono::milliseconds bound = std::chrono::seconds(20)) {
    using steady = std::chrono::steady_clock;
    const auto end = steady::now() + bound;
    while (!condition()) {
      const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(
          end - steady::now());
      if (left.count() <= 0)
        return false;
      pollfd ready{wake_, POLLIN, 0};
      poll(&ready, 1, static_cast<int>(left.count()) + 1);
      drain();
    }
    return true;
  }

  uint64_t write(std::string instance, std::string json, bool remove = false) {
    write_order order;
    order.ask_id = ++last_ask_;
    order.instance = std::move(instance);
    order.json = std::move(json);
    order.remove = remove;
    actors_->write(std::move(order));
    return last_ask_;
  }

  /// The answer to a write; empty: success.
  write_done answer_to(uint64_t ask) {
    if (!wait_until([&] { return answers.count(ask) != 0; }))
      throw std::runtime_error("no answer");
    return answers.at(ask);
  }

  bool synced_once() {
    return wait_until([&] { return syncs > 0; });
  }
  bool has_port(const std::string& instance, int port,
                std::chrono::milliseconds bound = std::chrono::seconds(20)) {
    return wait_until(
        [&] {
          auto at = instances.find(instance);
          return at != instances.end() && !at->second->config().pools.empty() &&
                 at->second->config().pools[0].hosts.at(0).port == port;
        },
        bound);
  }

  std::map<std::string, std::shared_ptr<const snapshot>> instances;
  std::map<uint64_t, write_done> answers;
  std::map<uint64_t, host_done> host_answers;
  std::vector<host_event> events;
  uint64_t settled = 0;
  std::string trouble;
  global_config global;
  uint64_t global_revision = 0;
  uint64_t revision = 0;
  int syncs = 0;

private:
  void drain() {
    uint64_t count = 0;
    (void)!read(wake_, &count, sizeof(count));
    std::deque<loop_message> batch;
    while (out_.drain(batch, 256)) {
    }
    for (auto& message : batch)
      std::visit([this](auto& known) { on(known); }, message);
  }
  void on(instance_changed& m) { instances[m.name] = m.content; }
  void on(content_wanted&) {} // there is no zone here
  void on(global_changed& m) {
    global = m.config;
    global_revision = m.revision;
  }
  void on(synced& m) {
    ++syncs;
    revision = m.revision;
    if (!m.names)
      return;
    const std::set<std::string> wanted(m.names->begin(), m.names->end());
    for (auto at = instances.begin(); at != instances.end();)
      at = wanted.count(at->first) != 0 ? std::next(at) : instances.erase(at);
  }
  void on(store_trouble& m) { trouble = m.text; }
  void on(write_done& m) { answers[m.ask_id] = m; }
  void on(host_event& m) { events.push_back(m); }
  void on(host_done& m) { host_answers[m.ask_id] = m; }
  void on(outcomes_settled& m) { settled = m.number; }
  void on(feed_message&) {}
  void on(errors_kept&) {}
  void on(content_found&) {}
  void on(complaints_changed&) {}
  void on(log_line&) {}

  int wake_ = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
  outbox<loop_message> out_{[this] {
    const uint64_t one = 1;
    (void)!::write(wake_, &one, sizeof(one));
  }};
  uint64_t last_ask_ = 0;
  std::unique_ptr<zedcup::system> actors_;
};

/// An instance of one pool with one host, as JSON.
inline std::string host(int port) {
  return R"({"pools": [{"hosts": [{"host": "10.0.0.1", "port": )" +
         std::to_string(port) + "}]}]}";
}

} // namespace zedcup::test
