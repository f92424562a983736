#include "store/consul_watch.hpp"

#include <algorithm>

namespace zedcup {
namespace {

using std::chrono::duration_cast;
using std::chrono::milliseconds;

bool same_content(const kv_entry& a, const kv_entry& b) {
  return a.key == b.key && a.value == b.value && a.flags == b.flags &&
         a.session == b.session;
}

/// How many keys of `before` are not in `after`; both sorted.
size_t lost_keys(const kv_tree& before, const kv_tree& after) {
  size_t lost = 0;
  auto at = after.entries.begin();
  for (const auto& entry : before.entries) {
    while (at != after.entries.end() && at->key < entry.key)
      ++at;
    if (at == after.entries.end() || at->key != entry.key)
      ++lost;
  }
  return lost;
}

} // namespace

consul_watch::consul_watch(consul_watch_settings settings, uint64_t seed,
                           std::optional<kv_tree> known)
    : settings_(std::move(settings)), random_(seed),
      published_(std::move(known)),
      backoff_(settings_.backoff_min, settings_.backoff_max),
      allowance_(settings_.burst) {}

consul::read_mode consul_watch::mode() const {
  if (confirm_ || (unsure_ && !settings_.stale_max_age))
    return consul::read_mode::consistent;
  return settings_.stale_max_age && !fresh_ ? consul::read_mode::stale
                                            : consul::read_mode::standard;
}

http_request consul_watch::make_request() const {
  const auto& to = settings_.targets[target_];
  const auto index = confirm_ ? 0 : index_;
  return consul::blocking_read(to, settings_.prefix, index, settings_.wait,
                               mode());
}

consul_watch::step consul_watch::next(time_point now) {
  step what;
  const auto start = std::max(backoff_.until(), paced_until_);
  if (in_flight_) {
    what.what = step::action::idle;
  } else if (now < start) {
    what.what = step::action::wait;
    what.until = start;
  } else {
    what.what = step::action::send;
    what.request = make_request();
    what.ticket = ++ticket_;
    in_flight_ = true;
    if (kicked_)
      pace(now);
    kicked_ = false;
    stale_read_ = mode() == consul::read_mode::stale;
  }
  return what;
}

consul_watch::outcome consul_watch::on_answer(uint64_t ticket,
                                              result<http_response> answer,
                                              time_point now) {
  if (!in_flight_ || ticket != ticket_)
    return {};
  in_flight_ = false;
  if (!answer)
    return fail(answer.error(), now);
  auto read = consul::parse_tree(*answer, settings_.prefix);
  if (!read)
    return fail(read.error(), now);
  return on_tree(*std::move(read), now);
}

consul_watch::outcome consul_watch::fail(error problem, time_point now) {
  backoff_.failed(now, random_);
  target_ = (target_ + 1) % settings_.targets.size();
  // Whoever answers next may be another cluster, or one that lost its data: a
  // block on an index from before could sleep through everything.
  index_ = 0;
  again_ = false;
  unsure_ = true;
  outcome result;
  result.problem = std::move(problem);
  return result;
}

consul_watch::outcome consul_watch::on_tree(consul::tree_answer answer,
                                            time_point now) {
  backoff_.succeeded();
  if (stale_read_ && answer.last_contact > *settings_.stale_max_age) {
    fresh_ = true;
    index_ = 0;
    pace(now);
    return {};
  }
  fresh_ = false;
  take_index(answer.tree.revision);
  if (again_) {
    again_ = false;
    fresh_ = true;
    index_ = 0;
  }
  if (!confirm_ && suspicious(answer.tree)) {
    confirm_ = true;
    return {};
  }
  confirm_ = unsure_ = false;
  return believe(std::move(answer.tree), now);
}

/// The index to block on. One that went backwards belongs to a state that is
/// gone (tombstones reaped, a snapshot restored): start over. A block on 0
/// would not block; on 1 it does, and is always safe.
void consul_watch::take_index(uint64_t index) {
  index_ = index < index_ ? 0 : std::max<uint64_t>(index, 1);
}

/// Servers have been seen to answer empty around elections and restarts. The
/// first answer of all is compared with nothing: it may not be empty.
bool consul_watch::suspicious(const kv_tree& tree) const {
  if (!published_)
    return tree.entries.empty();
  if (published_->entries.empty())
    return false;
  return 2 * lost_keys(*published_, tree) >= published_->entries.size();
}

consul_watch::outcome consul_watch::believe(kv_tree tree, time_point now) {
  confirmed_ = now;
  outcome result;
  if (published_ && published_->entries == tree.entries) {
    pace(now);
    return result;
  }
  result.indexes_only =
      published_ &&
      std::equal(published_->entries.begin(), published_->entries.end(),
                 tree.entries.begin(), tree.entries.end(), same_content);
  published_ = tree;
  result.publish = std::move(tree);
  return result;
}

/// Spends one of the allowance; when it is used up, the next request waits.
void consul_watch::pace(time_point now) {
  const double rate = settings_.per_second;
  const std::chrono::duration<double> since = now - refilled_;
  allowance_ =
      std::min<double>(settings_.burst, allowance_ + rate * since.count()) - 1;
  refilled_ = now;
  if (allowance_ >= 0)
    return;
  const std::chrono::duration<double> wait(-allowance_ / rate);
  paced_until_ = now + duration_cast<time_point::duration>(wait);
}

bool consul_watch::kick() {
  fresh_ = true;
  if (in_flight_ && (index_ == 0 || confirm_)) {
    again_ = true; // its answer may be older than the news
    return false;
  }
  const bool cancel = in_flight_;
  in_flight_ = false;
  index_ = 0;
  backoff_.skip();
  kicked_ = true;
  return cancel;
}

} // namespace zedcup
