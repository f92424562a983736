// The queue from actor threads to the event loop.
#include "util/outbox.hpp"

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <condition_variable>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "support/catch.hpp"

using namespace zedcup;

namespace {

std::deque<int> drained(outbox<int>& box, size_t budget, bool& more) {
  std::deque<int> out;
  more = box.drain(out, budget);
  return out;
}

/// What a consumer of the stress below must see of each producer.
struct item {
  int producer = 0;
  int number = 0;
};

constexpr int producers = 4;
constexpr int items_each = 20000;

/// Checks that each producer's items come whole and in order.
class ledger {
public:
  void take(const std::deque<item>& batch) {
    for (auto& one : batch) {
      in_order_ = in_order_ && one.number == next_[one.producer];
      next_[one.producer] = one.number + 1;
      ++count_;
    }
  }
  bool whole() const { return count_ == producers * items_each; }
  bool in_order() const { return in_order_; }

private:
  int next_[producers] = {};
  int count_ = 0;
  bool in_order_ = true;
};

std::vector<std::thread> start_producers(outbox<item>& box) {
  std::vector<std::thread> threads;
  for (int p = 0; p < producers; ++p)
    threads.emplace_back([&box, p] {
      for (int i = 0; i < items_each; ++i) {
        box.push({p, i});
        if (i % 97 == 0) // so that the consumer also finds it empty
          std::this_thread::yield();
      }
    });
  return threads;
}

} // namespace

TEST_CASE("outbox: gives items in the order of their pushes", "[outbox]") {
  outbox<int> box([] {});
  bool more = true;
  CHECK(drained(box, 10, more).empty());
  CHECK_FALSE(more);
  for (int i = 1; i <= 5; ++i)
    box.push(i);
  CHECK(drained(box, 10, more) == std::deque<int>{1, 2, 3, 4, 5});
  CHECK_FALSE(more);
}

TEST_CASE("outbox: a drain keeps to its budget and tells of the rest",
          "[outbox]") {
  outbox<int> box([] {});
  for (int i = 1; i <= 5; ++i)
    box.push(i);
  bool more = false;
  CHECK(drained(box, 2, more) == std::deque<int>{1, 2});
  CHECK(more);
  box.push(6);
  CHECK(drained(box, 2, more) == std::deque<int>{3, 4});
  CHECK(more);
  CHECK(drained(box, 2, more) == std::deque<int>{5, 6});
  CHECK_FALSE(more);
}

TEST_CASE("outbox: wakes once per idle period", "[outbox]") {
  int wakes = 0;
  outbox<int> box([&] { ++wakes; });
  bool more = false;
  for (int i = 0; i < 3; ++i)
    box.push(i);
  CHECK(wakes == 1);
  drained(box, 10, more);
  CHECK(wakes == 1);
  box.push(1);
  CHECK(wakes == 2);
}

TEST_CASE("outbox: does not wake a consumer that comes back by itself",
          "[outbox]") {
  int wakes = 0;
  outbox<int> box([&] { ++wakes; });
  for (int i = 0; i < 3; ++i)
    box.push(i);
  bool more = false;
  drained(box, 2, more);
  CHECK(more);
  box.push(3);
  CHECK(wakes == 1);
  drained(box, 2, more);
  CHECK_FALSE(more);
  box.push(4);
  CHECK(wakes == 2);
}

TEST_CASE("outbox: drains onto what the caller has already", "[outbox]") {
  outbox<int> box([] {});
  box.push(2);
  std::deque<int> out{1};
  CHECK_FALSE(box.drain(out, 10));
  CHECK(out == std::deque<int>{1, 2});
}

TEST_CASE("outbox: push_unless_full drops beyond its limit only", "[outbox]") {
  int wakes = 0;
  outbox<int> box([&] { ++wakes; });
  CHECK_FALSE(box.push_unless_full(0, 0));
  CHECK(wakes == 0);
  CHECK(box.push_unless_full(1, 2));
  CHECK(wakes == 1);
  CHECK(box.push_unless_full(2, 2));
  CHECK_FALSE(box.push_unless_full(3, 2));
  box.push(4); // never dropped
  bool more = false;
  CHECK(drained(box, 10, more) == std::deque<int>{1, 2, 4});
  CHECK(box.push_unless_full(5, 2));
  CHECK(wakes == 2);
}

TEST_CASE("outbox: takes items that can only be moved", "[outbox]") {
  outbox<std::unique_ptr<int>> box([] {});
  box.push(std::make_unique<int>(1));
  box.push_unless_full(std::make_unique<int>(2), 10);
  std::deque<std::unique_ptr<int>> out;
  box.drain(out, 1);
  box.drain(out, 1);
  REQUIRE(out.size() == 2);
  CHECK(*out[1] == 2);
}

TEST_CASE("outbox: many producers lose no item and no wake-up", "[outbox]") {
  std::mutex mutex;
  std::condition_variable woken;
  bool awake = false;
  outbox<item> box([&] {
    const std::lock_guard<std::mutex> lock(mutex);
    awake = true;
    woken.notify_one();
  });
  auto threads = start_producers(box);
  ledger seen;
  bool lost_wake = false;
  while (!seen.whole() && !lost_wake) {
    {
      std::unique_lock<std::mutex> lock(mutex);
      lost_wake = !woken.wait_for(lock, std::chrono::seconds(20),
                                  [&] { return awake; });
      awake = false;
    }
    bool more = true;
    while (more) {
      std::deque<item> batch;
      more = box.drain(batch, 7);
      seen.take(batch);
    }
  }
  for (auto& thread : threads)
    thread.join();
  CHECK_FALSE(lost_wake);
  CHECK(seen.whole());
  CHECK(seen.in_order());
}

TEST_CASE("outbox: an eventfd written by the waker loses nothing either",
          "[outbox]") {
  const int fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
  REQUIRE(fd >= 0);
  outbox<item> box([fd] {
    const uint64_t one = 1;
    (void)!write(fd, &one, sizeof(one));
  });
  auto threads = start_producers(box);
  ledger seen;
  bool lost_wake = false;
  bool more = false;
  while (!seen.whole() && !lost_wake) {
    pollfd ready{fd, POLLIN, 0};
    lost_wake = !more && poll(&ready, 1, 20000) <= 0;
    uint64_t count = 0;
    if (!more) // as the worker does: emptied first, then drained
      (void)!read(fd, &count, sizeof(count));
    std::deque<item> batch;
    more = box.drain(batch, 256);
    seen.take(batch);
  }
  for (auto& thread : threads)
    thread.join();
  close(fd);
  CHECK_FALSE(lost_wake);
  CHECK(seen.whole());
  CHECK(seen.in_order());
}
