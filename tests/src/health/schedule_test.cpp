// When hosts are checked.
#include "health/schedule.hpp"

#include <algorithm>
#include <array>

#include "support/catch.hpp"

using namespace zedcup;
using namespace std::chrono_literals;

namespace {

const schedule::time_point start{1000s};

} // namespace

TEST_CASE("schedule: what is due comes in order, up to a number", "[health]") {
  schedule calendar;
  calendar.set(1, start + 3s);
  calendar.set(2, start + 1s);
  calendar.set(3, start + 2s);
  calendar.set(4, start + 9s);
  CHECK(calendar.next() == start + 1s);
  CHECK(calendar.take_due(start, 9).empty());
  auto due = calendar.take_due(start + 5s, 2);
  REQUIRE(due.size() == 2);
  CHECK(due[0].first == 2);
  CHECK(due[1].first == 3);
  due = calendar.take_due(start + 5s, 9);
  REQUIRE(due.size() == 1);
  CHECK(due[0].first == 1);
  CHECK(calendar.next() == start + 9s);
}

TEST_CASE("schedule: a host has one date", "[health]") {
  schedule calendar;
  calendar.set(1, start + 1s);
  calendar.set(1, start + 5s);
  CHECK(calendar.take_due(start + 2s, 9).empty());
  calendar.remove(1);
  CHECK_FALSE(calendar.next());
  calendar.remove(1);
}

TEST_CASE("schedule: first checks are spread evenly over the interval",
          "[health]") {
  std::minstd_rand random(7);
  std::array<int, 10> tenths{};
  for (int i = 0; i < 10000; ++i) {
    const auto age = i % 2 == 0 ? std::optional<std::chrono::seconds>{}
                                : std::chrono::seconds{60 + i};
    const auto due = first_check(start, 60s, age, random);
    REQUIRE(due >= start);
    REQUIRE(due < start + 60s);
    ++tenths.at(static_cast<size_t>((due - start) / 6s));
  }
  for (const int count : tenths) {
    CHECK(count > 850);
    CHECK(count < 1150);
  }
}

TEST_CASE("schedule: the rhythm of an earlier prober is kept", "[health]") {
  std::minstd_rand random(7);
  for (int i = 0; i < 100; ++i) {
    const auto due = first_check(start, 60s, 20s, random);
    CHECK(due >= start + 39s);
    CHECK(due < start + 40s);
  }
  // A time to come is a clock that is wrong.
  CHECK(first_check(start, 60s, -5s, random) < start + 60s);
}

TEST_CASE("schedule: checks come once an interval on average", "[health]") {
  std::minstd_rand random(7);
  auto due = start;
  for (int i = 0; i < 1000; ++i) {
    const auto next = next_check(due, due, 1s, random);
    REQUIRE(next - due >= 950ms);
    REQUIRE(next - due <= 1050ms);
    due = next;
  }
  CHECK(due - start > 990s);
  CHECK(due - start < 1010s);
}

TEST_CASE("schedule: checks that were missed are not made up for", "[health]") {
  std::minstd_rand random(7);
  CHECK(next_check(start, start + 100s, 1s, random) == start + 100s);
}
