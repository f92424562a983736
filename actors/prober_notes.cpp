#include "actors/prober_notes.hpp"

#include <algorithm>
#include <utility>

namespace zedcup {

namespace {

using std::chrono::seconds;

constexpr size_t transactions_at_once = 4;
constexpr seconds write_interval{1};
constexpr seconds host_interval{5};
constexpr seconds after_failure{5};
constexpr seconds commit_timeout{10};

struct ops_limit {
  size_t operator()(const embedded_target& /*to*/) const {
    return commit_limits{}.max_ops;
  }
  size_t operator()(const consul_options& to) const {
    return to.limits.max_ops;
  }
  size_t operator()(const etcd_options& to) const {
    return to.limits().max_ops;
  }
};

} // namespace

prober_notes::prober_notes(caf::event_based_actor* self, context_ptr ctx)
    : self_(self), ctx_(std::move(ctx)),
      prefix_(ctx_->options.prefix + "/state/"),
      max_ops_(
          std::max<size_t>(std::visit(ops_limit{}, ctx_->options.store), 1)) {}

void prober_notes::take(const host_ref& host, int64_t unix_time, uint32_t good,
                        bool pressing, time_point now) {
  const auto where = place_of(host);
  auto& mine = notes_[where];
  mine.host = host;
  mine.unix_time = unix_time;
  mine.good = good;
  if (pressing)
    mine.not_before = now;
  if (!std::exchange(mine.waiting, true))
    queue_.push_back(where);
}

void prober_notes::forget(const host_ref& host) {
  notes_.erase(place_of(host)); // skipped where it stands in the queue
}

void prober_notes::clear() {
  notes_.clear();
  queue_.clear();
  sending_.clear();
  busy_ = false;
  ++generation_;
}

std::optional<prober_notes::time_point> prober_notes::next_write() const {
  if (queue_.empty() || busy_)
    return std::nullopt;
  return next_write_;
}

std::deque<prober_notes::batch> prober_notes::batches(time_point now,
                                                      size_t most) {
  std::deque<batch> made;
  for (auto left = queue_.size(); left > 0; --left) {
    auto where = std::move(queue_.front());
    queue_.pop_front();
    const auto at = notes_.find(where);
    if (at == notes_.end() || !at->second.waiting)
      continue;
    auto& mine = at->second;
    const bool full = made.size() == most && made.back().size() == max_ops_;
    if (mine.not_before > now || full) {
      queue_.push_back(std::move(where));
      continue;
    }
    if (made.empty() || made.back().size() == max_ops_)
      made.emplace_back();
    made.back().push_back(
        write_last_check(prefix_, mine.host, mine.unix_time, mine.good));
    mine.waiting = false;
    mine.not_before = now + host_interval;
  }
  return made;
}

void prober_notes::write_due(time_point now) {
  if (busy_ || now < next_write_)
    return;
  next_write_ = now + write_interval;
  sending_ = batches(now, transactions_at_once);
  send_next();
}

void prober_notes::write_all() {
  const auto store = lookup(self_->system(), place::store);
  if (!store)
    return;
  for (auto& one :
       batches(time_point::max() - host_interval, transactions_at_once))
    caf::anon_send(store, msg::commit_order{std::move(one)});
}

void prober_notes::send_next() {
  const auto store = lookup(self_->system(), place::store);
  busy_ = !sending_.empty();
  if (!busy_)
    return;
  if (!store)
    return failed();
  auto ops = std::move(sending_.front());
  sending_.pop_front();
  self_->request(store, commit_timeout, msg::commit_order{std::move(ops)})
      .then(
          [this, mine = generation_](const msg::commit_reply& reply) {
            if (mine != generation_)
              return;
            if (reply.outcome)
              send_next();
            else
              failed();
          },
          [this, mine = generation_](const caf::error&) {
            if (mine == generation_)
              failed();
          });
}

/// What was to be written is not kept: the next probe has news anyway.
void prober_notes::failed() {
  sending_.clear();
  busy_ = false;
  next_write_ = self_->clock().now() + after_failure;
}

} // namespace zedcup
