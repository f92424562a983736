#include "balancer/balancer.hpp"

#include <algorithm>
#include <cmath>
#include <unordered_map>

namespace zedcup {

namespace {

/// The share of its weight that a peer begins with in slow start.
constexpr float first_share = 0.1F;
/// How often a peer in slow start may be passed over in one pick.
constexpr int max_passes = 32;
/// Drawn at random so often before all peers are looked at.
constexpr int max_draws = 4;
constexpr uint64_t ramp_step_ms = 20;
/// What a failure counts for at least.
constexpr double failure_us = 1'000'000;
constexpr uint64_t one = 1ULL << 32;

bool contains(const balancer::request& wanted, uint32_t slot) noexcept {
  const auto* end = wanted.tried + wanted.tried_count;
  return std::find(wanted.tried, end, slot) != end;
}

} // namespace

// ---- the list --------------------------------------------------------------

void balancer::update(const options& wanted, const peer_list& peers,
                      uint64_t now_ms) {
  const bool same = wanted.method == options_.method;
  options_ = wanted;
  if (!same)
    rr_ = weighted_rr{};
  update(peers, now_ms);
}

void balancer::update(const peer_list& peers, uint64_t now_ms) {
  if (!active_)
    active_ = std::make_shared<uint32_t>(0);
  if (random_ == 0)
    random_ = mix_bits(options_.seed) | 1;
  take_entries(peers);
  build(peers);
  update_ramps(now_ms);
}

// Loads go on by id; of equal ids each takes one.
void balancer::take_entries(const peer_list& peers) {
  std::unordered_multimap<uint64_t, entry> known;
  for (auto& at : entries_)
    if (at.load)
      known.emplace(at.is.id, std::move(at));
  entries_.clear();
  for (const auto& one_peer : peers) {
    if (one_peer.slot >= entries_.size())
      entries_.resize(one_peer.slot + 1);
    auto& at = entries_[one_peer.slot];
    const auto old = known.find(one_peer.id);
    if (old != known.end()) {
      at = std::move(old->second);
      known.erase(old);
    } else {
      at.load = std::make_shared<peer_load>();
    }
    at.is = one_peer;
    if (at.is.key == 0)
      at.is.key = at.is.id;
  }
}

void balancer::share_loads(const balancer& of) noexcept {
  const auto count = std::min(entries_.size(), of.entries_.size());
  for (size_t slot = 0; slot < count; ++slot)
    entries_[slot].load = of.entries_[slot].load;
  active_ = of.active_;
}

void balancer::build(const peer_list& peers) {
  usable_.clear();
  ids_.clear();
  total_weight_ = 0;
  limited_ = false;
  for (const auto& at : peers) {
    if (at.weight == 0)
      continue;
    usable_.push_back(at.slot);
    ids_.push_back(at.id);
    total_weight_ += at.weight;
    limited_ = limited_ || at.max_conns != 0;
  }
  std::sort(ids_.begin(), ids_.end());
  columns_.clear();
  if (options_.method == balance_method::weighted_rr) {
    std::vector<weighted_rr::candidate> hosts;
    hosts.reserve(usable_.size());
    for (const uint32_t slot : usable_)
      hosts.push_back({entries_[slot].is.id, entries_[slot].is.weight, slot});
    rr_.offset(options_.offset);
    rr_.update(hosts);
  } else if (options_.method != balance_method::hash) {
    build_columns();
  }
}

// Vose's alias method, in integers: each column holds `total_weight_` units, of
// its own peer and of one that has more than its part.
void balancer::build_columns() {
  const uint64_t count = usable_.size();
  std::vector<std::pair<uint32_t, uint64_t>> less;
  std::vector<std::pair<uint32_t, uint64_t>> more;
  for (const uint32_t slot : usable_) {
    const uint64_t units = entries_[slot].is.weight * count;
    (units < total_weight_ ? less : more).emplace_back(slot, units);
  }
  columns_.reserve(count);
  while (!less.empty() && !more.empty()) {
    const auto [slot, units] = less.back();
    less.pop_back();
    auto& giver = more.back();
    const auto part =
        static_cast<double>(units) / static_cast<double>(total_weight_);
    columns_.push_back(
        {slot, giver.first,
         static_cast<uint64_t>(part * static_cast<double>(one))});
    giver.second -= total_weight_ - units;
    if (giver.second < total_weight_) {
      less.push_back(giver);
      more.pop_back();
    }
  }
  for (const auto* rest : {&less, &more})
    for (const auto& [slot, units] : *rest)
      columns_.push_back({slot, slot, one});
}

// ---- slow start ------------------------------------------------------------

void balancer::update_ramps(uint64_t now_ms) noexcept {
  ramping_ = false;
  top_factor_ = 0;
  for (const uint32_t slot : usable_) {
    auto& at = entries_[slot];
    const uint64_t age = now_ms > at.is.start_ms ? now_ms - at.is.start_ms : 0;
    const bool rises = at.is.start_ms != 0 && age < at.is.slow_start_ms;
    const float done = rises ? static_cast<float>(age) /
                                   static_cast<float>(at.is.slow_start_ms)
                             : 1;
    at.factor = first_share + (1 - first_share) * done;
    if (!rises) {
      at.factor = 1;
      at.credit = 0;
    }
    ramping_ = ramping_ || rises;
    top_factor_ = std::max(top_factor_, at.factor);
  }
  next_ramp_ms_ = now_ms + ramp_step_ms;
  plain_ =
      options_.method == balance_method::weighted_rr && !limited_ && !ramping_;
}

// A peer in slow start takes only part of what falls to it: as much as it has
// risen, measured at the one that has risen the most.
bool balancer::takes_turn(uint32_t slot) noexcept {
  auto& at = entries_[slot];
  if (at.factor >= top_factor_)
    return true;
  at.credit += at.factor / top_factor_;
  if (at.credit < 1)
    return false;
  at.credit -= 1;
  return true;
}

// ---- who is left out -------------------------------------------------------

bool balancer::is_full(const entry& at) const noexcept {
  return at.is.max_conns != 0 && at.load->active >= at.is.max_conns;
}

bool balancer::is_barred(const request& wanted, uint32_t slot) const noexcept {
  return contains(wanted, slot) || (limited_ && is_full(entries_[slot]));
}

// ---- picking ---------------------------------------------------------------

balancer::found balancer::choose(const request& wanted) noexcept {
  if (usable_.empty())
    return std::nullopt;
  if (ramping_ && wanted.now_ms >= next_ramp_ms_)
    update_ramps(wanted.now_ms);
  switch (options_.method) {
  case balance_method::hash:
    return by_key(wanted);
  case balance_method::random:
    return at_random(wanted);
  case balance_method::least_conn:
  case balance_method::ewma:
    return of_two(wanted);
  default:
    return in_turn(wanted);
  }
}

balancer::found balancer::in_turn(const request& wanted) noexcept {
  const weighted_rr::filter full{[](const void* self, uint32_t slot) noexcept {
                                   const auto& all =
                                       *static_cast<const balancer*>(self);
                                   return all.is_full(all.entries_[slot]);
                                 },
                                 this};
  found slot;
  for (int i = 0; i < max_passes; ++i) {
    slot = limited_ ? rr_.pick(wanted.tried, wanted.tried_count, full)
                    : rr_.pick(wanted.tried, wanted.tried_count);
    if (!slot || takes_turn(*slot))
      break;
  }
  return slot;
}

inline uint64_t balancer::next_random() noexcept {
  random_ += 0x9e3779b97f4a7c15ULL;
  return mix_bits(random_);
}

/// By weight, with respect to slow start.
inline uint32_t balancer::draw() noexcept {
  uint32_t slot = 0;
  for (int i = 0; i < max_passes; ++i) {
    const uint64_t bits = next_random();
    const auto& at = columns_[((bits >> 32) * columns_.size()) >> 32];
    slot = (bits & (one - 1)) < at.own ? at.slot : at.other;
    if (!ramping_ || takes_turn(slot))
      break;
  }
  return slot;
}

balancer::found balancer::at_random(const request& wanted) noexcept {
  for (int i = 0; i < max_draws; ++i) {
    const uint32_t slot = draw();
    if (!is_barred(wanted, slot))
      return slot;
  }
  return any_left(wanted);
}

// The draws hit nothing but peers that are left out: one of the others, by
// weight.
balancer::found balancer::any_left(const request& wanted, found but) noexcept {
  uint64_t total = 0;
  for (const uint32_t slot : usable_)
    if (slot != but && !is_barred(wanted, slot))
      total += entries_[slot].is.weight;
  if (total == 0)
    return std::nullopt;
  uint64_t left = next_random() % total;
  for (const uint32_t slot : usable_) {
    if (slot == but || is_barred(wanted, slot))
      continue;
    if (left < entries_[slot].is.weight)
      return slot;
    left -= entries_[slot].is.weight;
  }
  return std::nullopt;
}

balancer::found balancer::another(const request& wanted,
                                  uint32_t first) noexcept {
  for (int i = 0; i < max_draws; ++i) {
    const uint32_t slot = draw();
    if (slot != first && !is_barred(wanted, slot))
      return slot;
  }
  // In slow start, what is drawn that seldom is meant to be.
  return ramping_ ? std::nullopt : any_left(wanted, first);
}

// The first is drawn by weight and stays where the second is no better: under
// equal loads shares are by weight.
balancer::found balancer::of_two(const request& wanted) noexcept {
  const auto first = at_random(wanted);
  if (!first || usable_.size() == 1)
    return first;
  const auto second = another(wanted, *first);
  return second && is_better(*first, *second, wanted.now_ms) ? second : first;
}

/// The weight of now, of which 1 is the average of the list.
double balancer::share(const entry& at) const noexcept {
  return static_cast<double>(at.is.weight) * static_cast<double>(at.factor) *
         static_cast<double>(usable_.size()) /
         static_cast<double>(total_weight_);
}

/// How long a request more would take.
double balancer::score(const entry& at, uint64_t now_ms) const noexcept {
  const double waiting = at.load->active / share(at);
  if (at.load->latency_us == 0) // one shall tell, not all of them
    return at.load->active == 0 ? 0 : failure_us * waiting;
  return at.load->expected_us(now_ms) * (1 + waiting);
}

bool balancer::is_better(uint32_t first, uint32_t second,
                         uint64_t now_ms) noexcept {
  const auto& a = entries_[first];
  const auto& b = entries_[second];
  if (options_.method == balance_method::least_conn)
    return b.load->active / share(b) < a.load->active / share(a);
  const double first_score = score(a, now_ms);
  const double second_score = score(b, now_ms);
  if (second_score >= first_score)
    return false;
  // Twice as good is always better, a little better only now and then: noise
  // must not undo the weights.
  const double gain = first_score - second_score;
  return gain >= second_score ||
         static_cast<double>(next_random() >> 32) * second_score <
             gain * static_cast<double>(one);
}

bool balancer::is_overloaded(const entry& at) const noexcept {
  const double part = static_cast<double>(at.is.weight) *
                      (static_cast<double>(*active_) + 1) /
                      static_cast<double>(total_weight_);
  const double bound = part * options_.hash_balance_factor / 100;
  return at.load->active + 1 > std::ceil(bound);
}

// Weighted rendezvous: every peer draws a number by the key, the greatest wins.
// With u evenly in (0, 1) that is the greatest ln(u) / weight. A peer that goes
// or joins, or whose weight rises, moves no keys but its own.
balancer::found balancer::by_key(const request& wanted) const noexcept {
  const bool bounded = options_.hash_balance_factor != 0;
  found best;
  found relief; // of those over their bound
  double shortest = 0;
  double relief_shortest = 0;
  for (const uint32_t slot : usable_) {
    const auto& at = entries_[slot];
    const uint64_t bits = mix_bits(wanted.key ^ at.is.key) >> 11;
    const double u = (static_cast<double>(bits) + 0.5) * 0x1p-53;
    const double weight = at.is.weight * static_cast<double>(at.factor);
    const bool is_relief = bounded && is_overloaded(at);
    auto& winner = is_relief ? relief : best;
    auto& limit = is_relief ? relief_shortest : shortest;
    // -ln(u) >= 1 - u spares nearly all logarithms.
    if (winner && 1 - u >= limit * weight)
      continue;
    const double length = -std::log(u) / weight;
    if ((winner && length >= limit) || is_barred(wanted, slot))
      continue;
    winner = slot;
    limit = length;
  }
  return best ? best : relief;
}

// ---- reports ---------------------------------------------------------------

void balancer::started(uint32_t slot) noexcept {
  if (slot >= entries_.size() || !entries_[slot].load)
    return;
  ++entries_[slot].load->active;
  ++*active_;
}

void balancer::finished(uint32_t slot) noexcept {
  if (slot >= entries_.size() || !entries_[slot].load ||
      entries_[slot].load->active == 0)
    return;
  --entries_[slot].load->active;
  if (*active_ != 0)
    --*active_;
}

void balancer::finished(uint32_t slot, uint64_t latency_us,
                        uint64_t now_ms) noexcept {
  observe(slot, latency_us, now_ms);
  finished(slot);
}

void balancer::observe(uint32_t slot, uint64_t latency_us,
                       uint64_t now_ms) noexcept {
  if (slot < entries_.size() && entries_[slot].load)
    entries_[slot].load->observe(std::max(1.0, static_cast<double>(latency_us)),
                                 now_ms);
}

void balancer::observe_failure(uint32_t slot, uint64_t now_ms) noexcept {
  if (slot >= entries_.size() || !entries_[slot].load)
    return;
  auto& load = *entries_[slot].load;
  load.observe(std::max(failure_us, 2 * load.expected_us(now_ms)), now_ms);
}

std::optional<uint32_t> balancer::active(uint32_t slot) const noexcept {
  if (slot >= entries_.size() || !entries_[slot].load)
    return std::nullopt;
  return entries_[slot].load->active;
}

bool balancer::can_take(uint32_t slot, const request& wanted) const noexcept {
  return slot < entries_.size() && entries_[slot].load &&
         entries_[slot].is.weight != 0 && !is_barred(wanted, slot);
}

balancer::peer_list balancer::peers() const {
  peer_list all;
  for (const auto& at : entries_)
    if (at.load)
      all.push_back(at.is);
  return all;
}

bool balancer::serves(uint64_t id) const noexcept {
  return std::binary_search(ids_.begin(), ids_.end(), id);
}

} // namespace zedcup
