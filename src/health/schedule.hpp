// When each host is checked next. Pure: time and randomness are passed in.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <random>
#include <set>
#include <unordered_map>
#include <utility>
#include <vector>

namespace zedcup {

class schedule {
public:
  using time_point = std::chrono::steady_clock::time_point;
  using milliseconds = std::chrono::milliseconds;

  void set(uint64_t id, time_point due);
  void remove(uint64_t id);
  void clear();

  /// When the first is due.
  std::optional<time_point> next() const;

  /// Removes up to `most` that are due, in order.
  std::vector<std::pair<uint64_t, time_point>> take_due(time_point now,
                                                        size_t most);

private:
  std::set<std::pair<time_point, uint64_t>> by_time_;
  std::unordered_map<uint64_t, time_point> by_id_;
};

/// The first check: an interval after the last one, `age` ago by another
/// prober, whose rhythm is then kept. Unknown or overdue: anywhere in the
/// interval, so that many hosts are spread evenly over it.
schedule::time_point first_check(schedule::time_point now,
                                 std::chrono::seconds interval,
                                 std::optional<std::chrono::seconds> age,
                                 std::minstd_rand& random);

/// The next one, an interval after the last was due, give or take a
/// twentieth, and not before `now`.
schedule::time_point next_check(schedule::time_point due,
                                schedule::time_point now,
                                std::chrono::seconds interval,
                                std::minstd_rand& random);

} // namespace zedcup
