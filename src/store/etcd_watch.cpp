#include "store/etcd_watch.hpp"

#include <algorithm>
#include <utility>

namespace zedcup {
namespace {

using std::chrono::milliseconds;

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

} // namespace

etcd_watch::etcd_watch(etcd_watch_settings settings, uint64_t seed)
    : random_(seed), backoff_(settings.backoff_min, settings.backoff_max) {}

etcd_watch::step etcd_watch::next(time_point now) {
  step what;
  const bool read = wanted_ && !reading_;
  const bool stream = published_ && !wanted_ && !reading_ && !streaming_;
  if (!read && !stream)
    return what;
  if (now < backoff_.until()) {
    what.what = step::action::wait;
    what.until = backoff_.until();
  } else if (read) {
    wanted_ = false;
    reading_ = true;
    what.what = step::action::read;
  } else {
    streaming_ = true;
    what.what = step::action::stream;
    what.revision = published_->revision + 1;
  }
  return what;
}

etcd_watch::outcome etcd_watch::fail(error problem, time_point now) {
  backoff_.failed(now, random_);
  auto after = start_over();
  after.problem = std::move(problem);
  return after;
}

/// Reads again, and streams again from what that shows.
etcd_watch::outcome etcd_watch::start_over() {
  outcome after;
  after.close_stream = std::exchange(streaming_, false);
  wanted_ = true;
  newest_ = 0;
  return after;
}

/// Another cluster, or one that was restored from an older snapshot: revisions
/// from before mean nothing there.
bool etcd_watch::is_another_past(uint64_t cluster_id, uint64_t revision) const {
  return published_ && ((cluster_id_ != 0 && cluster_id != cluster_id_) ||
                        revision < published_->revision);
}

/// As for every store: content that is gone all at once is looked at twice.
bool etcd_watch::suspicious(const kv_tree& tree) const {
  if (!published_)
    return tree.entries.empty();
  const auto before = published_->entries.size();
  return before > 0 && 2 * common_keys(*published_, tree) <= before;
}

etcd_watch::outcome etcd_watch::on_read(result<etcd::range_answer> answer,
                                        time_point now) {
  if (!std::exchange(reading_, false))
    return {};
  if (!answer)
    return fail(answer.error(), now);
  backoff_.succeeded();
  outcome after;
  if (is_another_past(answer->cluster_id, answer->tree.revision)) {
    after = start_over();
    wanted_ = false;
  }
  if (!confirming_ && suspicious(answer->tree)) {
    confirming_ = wanted_ = true;
    return after;
  }
  confirming_ = false;
  cluster_id_ = answer->cluster_id;
  if (newest_ > answer->tree.revision)
    wanted_ = true; // and while it was read there was more
  published_ = answer->tree;
  after.publish = std::move(answer->tree);
  return after;
}

etcd_watch::outcome etcd_watch::on_message(const etcd::watch_message& message,
                                           time_point now) {
  if (!streaming_)
    return {};
  if (message.canceled) {
    if (message.compacted)
      return start_over();
    return fail({errc::unavailable, "etcd: watch: " + message.reason}, now);
  }
  if (is_another_past(message.cluster_id, UINT64_MAX))
    return start_over();
  newest_ = std::max(newest_, message.changed);
  if (newest_ > published_->revision)
    wanted_ = true;
  return {};
}

etcd_watch::outcome etcd_watch::on_stream_end(error why, time_point now) {
  if (!streaming_)
    return {};
  auto after = fail(std::move(why), now);
  after.close_stream = false;
  return after;
}

etcd_watch::outcome etcd_watch::on_look(const etcd::look_answer& seen) {
  if (!published_ || reading_ || wanted_ || backoff_.failures() != 0)
    return {};
  if (is_another_past(seen.cluster_id, seen.revision))
    return start_over();
  if (seen.revision > published_->revision &&
      (seen.changed > published_->revision ||
       seen.count != published_->entries.size()))
    return start_over();
  return {};
}

void etcd_watch::kick() {
  wanted_ = true;
  backoff_.skip();
}

} // namespace zedcup
