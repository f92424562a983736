#include "health/schedule.hpp"

#include <algorithm>

namespace zedcup {

namespace {

std::chrono::milliseconds any_of(std::chrono::milliseconds span,
                                 std::minstd_rand& random) {
  std::uniform_int_distribution<int64_t> pick(0, span.count() - 1);
  return std::chrono::milliseconds{pick(random)};
}

} // namespace

void schedule::set(uint64_t id, time_point due) {
  remove(id);
  by_id_.emplace(id, due);
  by_time_.emplace(due, id);
}

void schedule::remove(uint64_t id) {
  const auto at = by_id_.find(id);
  if (at == by_id_.end())
    return;
  by_time_.erase({at->second, id});
  by_id_.erase(at);
}

void schedule::clear() {
  by_time_.clear();
  by_id_.clear();
}

std::optional<schedule::time_point> schedule::next() const {
  if (by_time_.empty())
    return std::nullopt;
  return by_time_.begin()->first;
}

std::vector<std::pair<uint64_t, schedule::time_point>>
schedule::take_due(time_point now, size_t most) {
  std::vector<std::pair<uint64_t, time_point>> due;
  while (!by_time_.empty() && due.size() < most &&
         by_time_.begin()->first <= now) {
    const auto [when, id] = *by_time_.begin();
    due.emplace_back(id, when);
    remove(id);
  }
  return due;
}

schedule::time_point first_check(schedule::time_point now,
                                 std::chrono::seconds interval,
                                 std::optional<std::chrono::seconds> age,
                                 std::minstd_rand& random) {
  using std::chrono::seconds;
  if (!age || *age < seconds{0} || *age >= interval)
    return now + any_of(interval, random);
  // Its second is known, no more: those of one second are spread over one.
  return now + (interval - *age) - seconds{1} + any_of(seconds{1}, random);
}

schedule::time_point next_check(schedule::time_point due,
                                schedule::time_point now,
                                std::chrono::seconds interval,
                                std::minstd_rand& random) {
  const std::chrono::milliseconds span = interval;
  const auto next = due + span - span / 20 + any_of(span / 10, random);
  return std::max(next, now);
}

} // namespace zedcup
