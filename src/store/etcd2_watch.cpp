#include "store/etcd2_watch.hpp"

#include <algorithm>
#include <utility>

namespace zedcup {
namespace {

size_t common_keys(const kv_tree& a, const kv_tree& b) {
  size_t common = 0;
  auto at = b.entries.begin();
  for (const auto& entry : a.entries) {
    while (at != b.entries.end() && at->key < entry.key)
      ++at;
    if (at != b.entries.end() && at->key == entry.key)
      ++common;
  }
  return common;
}

/// For a read that the members must agree on. One that asks while their leader
/// is gone is not answered when there is a new one, but never; and the next
/// member may know better. A tree that takes longer gets its time after some
/// failures.
std::chrono::milliseconds patience(const http_endpoint& to, unsigned failures) {
  const std::chrono::milliseconds least{1000};
  return std::min(to.connect_timeout + to.read_timeout,
                  least * (1 << std::min(failures, 10U)));
}

} // namespace

etcd2_watch::etcd2_watch(etcd2_watch_settings settings, uint64_t seed)
    : settings_(std::move(settings)), random_(seed),
      backoff_(settings_.backoff_min, settings_.backoff_max),
      allowance_(settings_.burst) {}

etcd2_watch::step etcd2_watch::next(time_point now) {
  step what;
  const auto start = std::max(backoff_.until(), paced_until_);
  if (in_flight_)
    return what;
  if (now < start) {
    what.what = step::action::wait;
    what.until = start;
    return what;
  }
  what.what = step::action::send;
  what.ticket = ++ticket_;
  const bool agreed = !polling_ && (unsure_ || confirming_);
  what.request = polling_
                     ? etcd2::wait_for_change(target(), settings_.path,
                                              index_ + 1, settings_.poll_bound)
                     : etcd2::read_tree(target(), settings_.path, agreed);
  if (agreed)
    what.request.timeout = patience(*target(), failures());
  in_flight_ = true;
  sent_ = now;
  return what;
}

etcd2_watch::outcome etcd2_watch::on_answer(uint64_t ticket,
                                            result<http_response> answer,
                                            time_point now) {
  if (!in_flight_ || ticket != ticket_)
    return {};
  in_flight_ = false;
  if (polling_)
    return on_poll(std::move(answer), now);
  if (!answer)
    return fail(answer.error(), now);
  auto read = etcd2::parse_tree(*answer, settings_.path);
  return read ? on_tree(*std::move(read)) : fail(read.error(), now);
}

etcd2_watch::outcome etcd2_watch::fail(error problem, time_point now) {
  backoff_.failed(now, random_);
  target_ = (target_ + 1) % settings_.targets.size();
  polling_ = confirming_ = false;
  outcome after;
  after.problem = std::move(problem);
  after.cancel = std::exchange(in_flight_, false);
  return after;
}

/// Another cluster, or one that was put back to an older state: indexes from
/// before mean nothing there. (Or a member that lags behind.)
bool etcd2_watch::is_another_past(const etcd2::tree_answer& answer) const {
  return published_ &&
         (answer.cluster_id != cluster_id_ || answer.tree.revision < index_);
}

/// As for every store: content that is gone all at once is looked at twice.
bool etcd2_watch::suspicious(const etcd2::tree_answer& answer) const {
  if (!published_)
    return answer.tree.entries.empty();
  const auto before = published_->entries.size();
  return is_another_past(answer) ||
         (before > 0 && 2 * common_keys(*published_, answer.tree) <= before);
}

etcd2_watch::outcome etcd2_watch::on_tree(etcd2::tree_answer answer) {
  outcome after;
  if (!confirming_ && suspicious(answer)) {
    confirming_ = true;
    return after;
  }
  backoff_.succeeded();
  confirming_ = unsure_ = false;
  after.works = polling_ = true;
  index_ = answer.tree.revision;
  cluster_id_ = std::move(answer.cluster_id);
  if (published_ && published_->entries == answer.tree.entries)
    return after;
  published_ = answer.tree;
  after.publish = std::move(answer.tree);
  return after;
}

etcd2_watch::outcome etcd2_watch::on_poll(result<http_response> answer,
                                          time_point now) {
  // Its time is over, not that of a connection that was never made.
  if (!answer && answer.error().code == errc::timed_out &&
      now - sent_ >= settings_.poll_bound / 2)
    return {};
  if (!answer)
    return fail(answer.error(), now);
  auto seen = etcd2::parse_change(*answer);
  if (!seen)
    return fail(seen.error(), now);
  polling_ = *seen == etcd2::news::none;
  pace(now);
  return {};
}

etcd2_watch::outcome etcd2_watch::on_look(result<http_response> answer,
                                          time_point now) {
  if (!may_look())
    return {};
  auto seen = answer ? etcd2::parse_tree(*answer, settings_.path)
                     : result<etcd2::tree_answer>{answer.error()};
  if (!seen) {
    // It may have lost the others: whoever is next must agree with them.
    unsure_ = true;
    return fail(seen.error(), now);
  }
  outcome after;
  if (seen->tree.revision != index_ || is_another_past(*seen)) {
    polling_ = in_flight_ = false;
    after.cancel = true;
  }
  return after;
}

/// Spends one of the allowance; when it is used up, the next request waits.
void etcd2_watch::pace(time_point now) {
  const double rate = settings_.per_second;
  const std::chrono::duration<double> since = now - refilled_;
  allowance_ =
      std::min<double>(settings_.burst, allowance_ + rate * since.count()) - 1;
  refilled_ = now;
  if (allowance_ >= 0)
    return;
  const std::chrono::duration<double> wait(-allowance_ / rate);
  paced_until_ = now + std::chrono::duration_cast<time_point::duration>(wait);
}

} // namespace zedcup
