// What outcomes has to do for one host, in order. Plain data of one actor.
#pragma once

#include <algorithm>
#include <chrono>
#include <deque>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <utility>

#include "actors/messages.hpp"
#include "store/host_state.hpp"

namespace zedcup {

struct host_task {
  enum class kind { errors, revival, order };
  kind what = kind::errors;
  host_errors errors;                      ///< of `errors`; added up
  bool by_probe = false;                   ///< of `revival`
  std::shared_ptr<host_ask> ask;           ///< of `order`
  caf::actor_clock::time_point deadline{}; ///< to be given up
  unsigned failures = 0;                   ///< of the store, in a row
  unsigned conflicts = 0;                  ///< in a row

  host_change plan(const std::string& prefix, const host_ref& host,
                   const host_reading& seen, uint64_t now) const {
    if (what == kind::revival)
      return plan_up(prefix, host, seen);
    if (what == kind::errors)
      return plan_errors(prefix, host, seen, errors.count, errors.window,
                         errors.max_errors, now);
    switch (ask->order().what) {
    case host_order::verb::count_error:
      return plan_errors(prefix, host, seen, 1, ask->order().window, 0, now);
    case host_order::verb::reset_errors:
      return plan_reset(prefix, host, seen);
    case host_order::verb::note_check:
      return plan_checked(prefix, host, seen, now);
    case host_order::verb::take_down:
      return plan_down(prefix, host, seen);
    default:
      return plan_up(prefix, host, seen);
    }
  }
};

/// What was sent to the store last for the first task, while nobody knows
/// whether it went through.
struct sent_change {
  host_change change;
  uint64_t count_index = 0; ///< modify_index of what was to be replaced
  uint64_t up_index = 0;

  /// Whether what stands there now is what we wanted to write, and newer than
  /// what we had read. A change that only removes is simply made again.
  bool is_done(const host_reading& now) const {
    bool written = false;
    for (auto& op : change.ops) {
      if (op.what != kv_op::verb::set_if)
        continue;
      const bool is_up = ends_with(op.key, "/up");
      const auto& entry = is_up                               ? now.up
                          : ends_with(op.key, "/error_count") ? now.error_count
                                                              : now.last_check;
      if (!entry || entry->modify_index == op.index ||
          entry->value != op.value || entry->flags != op.flags)
        return false;
      written = true;
    }
    return written;
  }

private:
  static bool ends_with(const std::string& text, std::string_view end) {
    return text.size() >= end.size() &&
           text.compare(text.size() - end.size(), end.size(), end) == 0;
  }
};

struct host_tasks {
  host_ref host;
  std::string key; ///< in outcomes' index
  std::deque<host_task> tasks;
  bool busy = false; ///< the first one is with the store
  uint64_t step = 0; ///< answers and timers of older ones are dropped
  std::optional<sent_change> unsure;
  bool is_down = false; ///< at the last look
  caf::actor_clock::time_point rest_until{};
  std::chrono::milliseconds rest{0}; ///< the last one

  /// Adds errors to a task that has not begun, or as a new one.
  void add(const host_errors& more, caf::actor_clock::time_point deadline) {
    const bool open = tasks.size() > 1 || (tasks.size() == 1 && !busy);
    if (open && tasks.back().what == host_task::kind::errors) {
      auto& sum = tasks.back().errors;
      const uint64_t count = uint64_t{sum.count} + more.count;
      const bool by_probe = sum.by_probe || more.by_probe;
      sum = more;
      sum.count = static_cast<uint32_t>(std::min<uint64_t>(count, UINT32_MAX));
      sum.by_probe = by_probe;
      return;
    }
    host_task fresh;
    fresh.errors = more;
    fresh.deadline = deadline;
    tasks.push_back(std::move(fresh));
  }

  /// Somebody waits for an answer, or the host is to go down at once.
  bool is_urgent() const {
    for (auto& task : tasks)
      if (task.what != host_task::kind::errors ||
          (!is_down && task.errors.count >= task.errors.max_errors))
        return true;
    return false;
  }
};

} // namespace zedcup
