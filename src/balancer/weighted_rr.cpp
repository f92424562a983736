#include "balancer/weighted_rr.hpp"

#include <algorithm>
#include <numeric>

namespace zedcup {

namespace {

// Totals reach 10^9 and more: their products need twice the width.
__extension__ using wide = unsigned __int128;

bool contains(const uint32_t* tried, size_t count, uint32_t slot) noexcept {
  return std::find(tried, tried + count, slot) != tried + count;
}

} // namespace

weighted_rr::weighted_rr(const std::vector<candidate>& hosts, uint32_t offset)
    : offset_(offset) {
  build(hosts);
  start(hosts);
}

// A tie goes to the heavier ring.
inline bool weighted_rr::earlier(const turn& a, const turn& b) noexcept {
  const wide left = static_cast<wide>(a.point) * b.total;
  const wide right = static_cast<wide>(b.point) * a.total;
  return left < right || (left == right && a.ring < b.ring);
}

// Makes the rings; in each, hosts keep the order of the list. The turns are
// in the order of the rings, still to be positioned.
void weighted_rr::build(const std::vector<candidate>& hosts) {
  std::vector<uint32_t> order;
  order.reserve(hosts.size());
  for (uint32_t i = 0; i < hosts.size(); ++i)
    if (hosts[i].weight != 0)
      order.push_back(i);
  std::stable_sort(order.begin(), order.end(), [&](uint32_t a, uint32_t b) {
    return hosts[a].weight > hosts[b].weight;
  });

  rings_.clear();
  slots_.clear();
  ids_.clear();
  for (const uint32_t i : order) {
    const candidate& host = hosts[i];
    if (rings_.empty() || rings_.back().weight != host.weight)
      rings_.push_back(
          {static_cast<uint32_t>(slots_.size()), 0, 0, host.weight});
    ++rings_.back().count;
    slots_.push_back(host.slot);
    ids_.push_back(host.id);
  }

  turns_.clear();
  for (uint32_t r = 0; r < rings_.size(); ++r)
    turns_.push_back({0, uint64_t{rings_[r].count} * rings_[r].weight, r});
}

// Positions everything at the first turn of the host that `offset_` says.
void weighted_rr::start(const std::vector<candidate>& hosts) {
  if (rings_.empty())
    return;
  uint64_t left = offset_ % slots_.size();
  const auto is_start = [&](const candidate& host) {
    return host.weight != 0 && left-- == 0;
  };
  const auto at = std::find_if(hosts.begin(), hosts.end(), is_start);
  const uint32_t weight = at->weight;
  const auto in_ring = static_cast<uint64_t>(
      std::count_if(hosts.begin(), at, [=](const candidate& host) {
        return host.weight == weight;
      }));
  const auto home =
      std::find_if(rings_.begin(), rings_.end(),
                   [=](const ring& r) { return r.weight == weight; });
  turn now = turns_[static_cast<size_t>(home - rings_.begin())];
  now.point = step * in_ring + step / 2;
  for (turn& t : turns_) {
    // The rings before it have had the picks that are due before it.
    const uint64_t low =
        t.ring == now.ring ? now.point : first_point_after(now, t);
    const uint64_t picks = (low + step / 2 - 1) / step;
    t.point = step * picks + step / 2;
    ring& r = rings_[t.ring];
    r.cursor = static_cast<uint32_t>(picks % r.count);
  }
  make_heap();
}

// The smallest point at which the ring of `other` is due after `now`.
uint64_t weighted_rr::first_point_after(const turn& now, const turn& other) {
  const wide scaled = static_cast<wide>(now.point) * other.total;
  const auto whole = static_cast<uint64_t>(scaled / now.total);
  const bool tie_is_after = scaled % now.total == 0 && now.ring < other.ring;
  return tie_is_after ? whole : whole + 1;
}

void weighted_rr::make_heap() {
  // An ascending array is a heap.
  std::sort(turns_.begin(), turns_.end(), earlier);
}

weighted_rr::past weighted_rr::take_past() {
  past out;
  out.hosts.reserve(slots_.size());
  for (const turn& t : turns_) {
    const ring& r = rings_[t.ring];
    turn due = t;
    for (uint32_t i = 0; i < r.count; ++i, due.point += step)
      out.hosts.push_back({ids_[r.first + (r.cursor + i) % r.count], due});
  }
  std::sort(out.hosts.begin(), out.hosts.end(),
            [](const auto& a, const auto& b) { return a.id < b.id; });
  out.rings = std::move(rings_);
  out.turns = std::move(turns_);
  std::sort(out.turns.begin(), out.turns.end(),
            [](const turn& a, const turn& b) { return a.ring < b.ring; });
  return out;
}

// Lets a new ring go on with the host of it that was due first, and returns
// when that was; nullopt when all its hosts are new.
std::optional<weighted_rr::turn> weighted_rr::resume(uint32_t at,
                                                     const past& before) {
  ring& r = rings_[at];
  std::optional<turn> first;
  for (uint32_t i = 0; i < r.count; ++i) {
    const uint64_t id = ids_[r.first + i];
    const auto found = std::lower_bound(
        before.hosts.begin(), before.hosts.end(), id,
        [](const upcoming& host, uint64_t wanted) { return host.id < wanted; });
    if (found == before.hosts.end() || found->id != id ||
        (first && !earlier(found->due, *first)))
      continue;
    first = found->due;
    r.cursor = i;
  }
  return first;
}
// The point that keeps how far a ring had come towards its next pick when the
// old list stood at `was_now`. `lowest` stands for that moment in the new one.
uint64_t weighted_rr::carried_point(const turn& ring_turn, uint64_t lowest,
                                    const turn& was_now,
                                    const std::optional<turn>& first,
                                    const past& before) const {
  const auto left_until = [&](const turn& due) {
    const wide now = static_cast<wide>(was_now.point) * due.total;
    const auto passed = static_cast<uint64_t>(now / was_now.total);
    return due.point > passed ? due.point - passed : 0;
  };
  const ring& r = rings_[ring_turn.ring];
  const auto same = std::lower_bound(
      before.rings.begin(), before.rings.end(), r.weight,
      [](const ring& old, uint32_t wanted) { return old.weight > wanted; });
  if (same != before.rings.end() && same->weight == r.weight) {
    const auto index = static_cast<size_t>(same - before.rings.begin());
    const turn& old = before.turns[index];
    return old.total == ring_turn.total ? old.point : lowest + left_until(old);
  }
  if (!first)
    return lowest + step / 2;
  // Its hosts come from elsewhere: the first keeps its own time to wait.
  const wide wait = static_cast<wide>(left_until(*first)) * r.count;
  return lowest + static_cast<uint64_t>(wait / before.rings[first->ring].count);
}

void weighted_rr::update(const std::vector<candidate>& hosts) {
  const past before = take_past();
  build(hosts);
  std::vector<std::optional<turn>> firsts;
  uint32_t next = 0;
  for (uint32_t r = 0; r < rings_.size(); ++r) {
    firsts.push_back(resume(r, before));
    if (firsts[r] && (!firsts[next] || earlier(*firsts[r], *firsts[next])))
      next = r;
  }
  if (firsts.empty() || !firsts[next]) {
    start(hosts);
    return;
  }
  const turn was_now = *firsts[next];
  turn now = turns_[next];
  now.point = static_cast<uint64_t>(static_cast<wide>(was_now.point) *
                                    now.total / was_now.total);
  for (turn& t : turns_) {
    if (t.ring == next) {
      t.point = now.point;
      continue;
    }
    // Within one step from now every ring is due once: that makes the next
    // cycle exact.
    const uint64_t lowest = first_point_after(now, t);
    t.point =
        std::clamp(carried_point(t, lowest, was_now, firsts[t.ring], before),
                   lowest, lowest + step - 1);
  }
  make_heap();
  keep_in_first_cycle();
}

// When the earliest is due in the next cycle, so are all.
inline void weighted_rr::keep_in_first_cycle() noexcept {
  while (turns_.front().point >= step * turns_.front().total)
    for (turn& t : turns_)
      t.point -= step * t.total;
}

template <class Barred>
std::optional<uint32_t>
weighted_rr::pick_unless(const Barred& barred) noexcept {
  constexpr int max_draws = 4;
  for (int i = 0; i < max_draws; ++i) {
    const uint32_t slot = draw();
    if (!barred(slot))
      return slot;
  }
  return scan(barred);
}

std::optional<uint32_t> weighted_rr::pick(const uint32_t* tried,
                                          size_t tried_count) noexcept {
  if (turns_.empty())
    return std::nullopt;
  if (tried_count == 0)
    return draw();
  const auto barred = [=](uint32_t slot) {
    return contains(tried, tried_count, slot);
  };
  return tried_count < slots_.size() ? pick_unless(barred) : scan(barred);
}

std::optional<uint32_t> weighted_rr::pick(const uint32_t* tried,
                                          size_t tried_count,
                                          const filter& others) noexcept {
  if (turns_.empty())
    return std::nullopt;
  return pick_unless([&](uint32_t slot) {
    return contains(tried, tried_count, slot) ||
           others.leaves_out(others.context, slot);
  });
}

inline uint32_t weighted_rr::draw() noexcept {
  keep_in_first_cycle();
  turn& next = turns_.front();
  ring& r = rings_[next.ring];
  const uint32_t slot = slots_[r.first + r.cursor];
  r.cursor = r.cursor + 1 == r.count ? 0 : r.cursor + 1;
  next.point += step;
  sift_down();
  return slot;
}

// The first untried host of the ring that comes first among those that have
// one. The rings' turns stay: a host that many requests have to avoid must
// not leave the others a debt of turns.
template <class Barred>
std::optional<uint32_t> weighted_rr::scan(const Barred& barred) noexcept {
  const turn* best = nullptr;
  uint32_t best_index = 0;
  for (const turn& t : turns_) {
    if (best != nullptr && !earlier(t, *best))
      continue;
    const ring& r = rings_[t.ring];
    uint32_t index = r.cursor;
    for (uint32_t i = 0; i < r.count; ++i) {
      if (!barred(slots_[r.first + index])) {
        best = &t;
        best_index = index;
        break;
      }
      index = index + 1 == r.count ? 0 : index + 1;
    }
  }
  if (best == nullptr)
    return std::nullopt;
  ring& r = rings_[best->ring];
  r.cursor = best_index + 1 == r.count ? 0 : best_index + 1;
  return slots_[r.first + best_index];
}

// Moves the front turn, now later, to its place in the heap.
inline void weighted_rr::sift_down() noexcept {
  const size_t count = turns_.size();
  const turn moving = turns_[0];
  size_t hole = 0;
  for (size_t child = 1; child < count; child = 2 * hole + 1) {
    if (child + 1 < count && earlier(turns_[child + 1], turns_[child]))
      ++child;
    if (!earlier(turns_[child], moving))
      break;
    turns_[hole] = turns_[child];
    hole = child;
  }
  turns_[hole] = moving;
}

} // namespace zedcup
