// The queue from the actor threads to the event loop. Any thread pushes; only
// the event-loop thread drains. The waker is called once per idle period, not
// once per message: when the outbox turns from drained to filled.
#pragma once

#include <atomic>
#include <cstddef>
#include <deque>
#include <functional>
#include <mutex>
#include <utility>

namespace zedcup {

template <class T>
class outbox {
public:
  /// @param wake makes the event loop call drain() soon; called without the
  ///        lock, from any thread; must not block (an eventfd write).
  explicit outbox(std::function<void()> wake) : wake_(std::move(wake)) {}

  outbox(const outbox&) = delete;
  outbox& operator=(const outbox&) = delete;

  void push(T item) {
    {
      std::lock_guard<std::mutex> guard(mutex_);
      items_.push_back(std::move(item));
    }
    if (!armed_.exchange(true, std::memory_order_acq_rel))
      wake_();
  }

  /// As push(), unless `limit` or more items wait already: for log lines,
  /// which must not grow without bound while the loop is busy.
  /// @returns false when the item was dropped.
  bool push_unless_full(T item, size_t limit) {
    {
      std::lock_guard<std::mutex> guard(mutex_);
      if (items_.size() >= limit)
        return false;
      items_.push_back(std::move(item));
    }
    if (!armed_.exchange(true, std::memory_order_acq_rel))
      wake_();
    return true;
  }

  /// Takes up to `budget` items in order.
  /// @returns true when more wait: the caller then comes back on its own (no
  ///          further wake-up is sent).
  bool drain(std::deque<T>& out, size_t budget) {
    // Disarm first: an item pushed after the look below wakes the loop anew.
    armed_.store(false, std::memory_order_release);
    std::lock_guard<std::mutex> guard(mutex_);
    if (items_.size() <= budget) {
      for (auto& item : items_)
        out.push_back(std::move(item));
      items_.clear();
      return false;
    }
    for (size_t i = 0; i < budget; ++i) {
      out.push_back(std::move(items_.front()));
      items_.pop_front();
    }
    armed_.store(true, std::memory_order_release);
    return true;
  }

private:
  std::function<void()> wake_;
  std::mutex mutex_;
  std::deque<T> items_;
  std::atomic<bool> armed_{false};
};

} // namespace zedcup
