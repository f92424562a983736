// A feed on its threads, and the event loop that it talks to.
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
#include <optional>
#include <set>
#include <stdexcept>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "actors/feed.hpp"
#include "peers/service.hpp"

namespace zedcup::test {

class feeding {
public:
  using steady = std::chrono::steady_clock;

  explicit feeding(system_options options,
                   std::optional<peer_checks> checks = std::nullopt,
                   std::vector<known_service> known = {}) {
    auto started =
        feed::start(std::move(options), std::move(known), checks, out_);
    if (!started)
      throw std::runtime_error(started.error().message);
    feed_ = std::move(*started);
  }
  ~feeding() {
    if (feed_ && !feed_->stop(std::chrono::seconds(10)))
      std::abort();
    feed_.reset();
    close(wake_);
  }
  feeding(const feeding&) = delete;
  feeding& operator=(const feeding&) = delete;

  /// Handles messages until the condition holds; false: not in time.
  template <class Condition>
  bool wait_until(Condition condition,
                  std::chrono::milliseconds bound = std::chrono::seconds(20)) {
    const auto end = steady::now() + bound;
    while (!condition()) {
      const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(
          end - steady::now());
      if (left.count() <= 0)
        return false;
      pollfd ready{wake_, POLLIN, 0};
      ::poll(&ready, 1, static_cast<int>(left.count()) + 1);
      drain();
    }
    return true;
  }

  /// The peers of a service by address; none when there is no such service.
  std::map<std::string, peer> peers(const std::string& name) const {
    std::map<std::string, peer> all;
    const auto at = services.find(name);
    if (at != services.end())
      for (const auto& one : at->second.peers)
        all[one.name()] = one;
    return all;
  }
  bool has(const std::string& service, const std::string& address,
           uint32_t weight = 1) {
    return wait_until([&] {
      const auto all = peers(service);
      const auto at = all.find(address);
      return at != all.end() && at->second.weight == weight;
    });
  }
  bool gone(const std::string& service, const std::string& address) {
    return wait_until([&] { return peers(service).count(address) == 0; });
  }

  std::map<std::string, service> services;
  std::map<std::string, bool> down; ///< by "service peer"
  std::string trouble = "nothing heard";
  std::vector<std::string> errors; ///< of the log
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
  void on(feed_message& m) {
    std::visit([this](auto& known) { on(known); }, m);
  }
  void on(peers_changed& m) {
    services[m.service] = service_from_json(m.service, m.json);
  }
  void on(peers_synced& m) {
    ++syncs;
    revision = m.revision;
    const std::set<std::string> wanted(m.services.begin(), m.services.end());
    for (auto at = services.begin(); at != services.end();)
      at = wanted.count(at->first) != 0 ? std::next(at) : services.erase(at);
  }
  void on(peer_checked& m) { down[m.service + " " + m.peer] = m.down; }
  void on(store_trouble& m) { trouble = m.text; }
  void on(log_line& m) {
    if (m.level <= 4)
      errors.push_back(m.text);
  }
  template <class Other>
  void on(Other&) {}

  int wake_ = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
  outbox<loop_message> out_{[this] {
    const uint64_t one = 1;
    (void)!::write(wake_, &one, sizeof(one));
  }};
  std::unique_ptr<feed> feed_;
};

} // namespace zedcup::test
