// What one pick costs: weighted_rr, as it is and through the balancer, beside
// the classic smooth weighted round robin, which looks at every host on every
// pick; then the other methods. Prints ns per pick; run it on an idle machine.
// Not part of the tests.
#include <chrono>
#include <cstdio>
#include <vector>

#include "balancer/balancer.hpp"

namespace {

using zedcup::balance_method;
using zedcup::balancer;
using zedcup::weighted_rr;

// Each pick: every host gains its weight, the one with the most is taken and
// pays the sum of all weights.
class classic_swrr {
public:
  explicit classic_swrr(const std::vector<weighted_rr::candidate>& hosts) {
    for (const auto& host : hosts) {
      peers_.push_back({host.weight, 0, host.slot});
      total_ += host.weight;
    }
  }

  uint32_t pick() {
    peer* best = peers_.data();
    for (peer& p : peers_) {
      p.current += p.weight;
      if (p.current > best->current)
        best = &p;
    }
    best->current -= total_;
    return best->slot;
  }

private:
  struct peer {
    int64_t weight;
    int64_t current;
    uint32_t slot;
  };
  std::vector<peer> peers_;
  int64_t total_ = 0;
};

using host_list = std::vector<weighted_rr::candidate>;

host_list make_hosts(uint32_t count, uint32_t distinct_weights) {
  host_list hosts;
  for (uint32_t i = 0; i < count; ++i)
    hosts.push_back({i, 1 + i % distinct_weights, i});
  return hosts;
}

balancer::peer_list make_peers(const host_list& hosts) {
  balancer::peer_list peers;
  for (const auto& host : hosts) {
    balancer::peer one;
    one.id = zedcup::mix_bits(host.id + 1);
    one.weight = host.weight;
    one.slot = host.slot;
    peers.push_back(one);
  }
  return peers;
}

using steady_clock = std::chrono::steady_clock;

double nanoseconds(steady_clock::duration elapsed) {
  return std::chrono::duration<double, std::nano>(elapsed).count();
}

// The best of five runs, in ns per call.
template <class Function>
double measure(uint64_t calls, Function call) {
  double best = 0;
  for (int run = 0; run < 5; ++run) {
    volatile uint32_t sink = 0;
    const auto begin = steady_clock::now();
    for (uint64_t i = 0; i < calls; ++i)
      sink = call();
    const double each =
        nanoseconds(steady_clock::now() - begin) / static_cast<double>(calls);
    static_cast<void>(sink);
    best = run == 0 || each < best ? each : best;
  }
  return best;
}

void compare(const char* name, uint32_t count, uint32_t distinct_weights) {
  const host_list hosts = make_hosts(count, distinct_weights);
  weighted_rr ours{hosts};
  balancer wrapped{{}, make_peers(hosts)};
  classic_swrr classic{hosts};
  const double our_ns = measure(2'000'000, [&] { return *ours.pick(); });
  const double wrapped_ns =
      measure(2'000'000, [&] { return *wrapped.pick({}); });
  const double classic_ns =
      measure(20'000'000 / (count + 100), [&] { return classic.pick(); });
  std::printf("%-22s %6u hosts %8.1f ns %8.1f ns %10.1f ns %9.1fx\n", name,
              count, our_ns, wrapped_ns, classic_ns, classic_ns / wrapped_ns);
}

void measure_method(balance_method method, uint32_t count) {
  balancer::options wanted;
  wanted.method = method;
  balancer ours{wanted, make_peers(make_hosts(count, 10))};
  balancer::request request;
  const double each = measure(20'000'000 / (count + 100), [&] {
    request.key += 0x9e3779b97f4a7c15ULL;
    return *ours.pick(request);
  });
  std::printf("%-22s %6u hosts %8.1f ns\n", text_of(method), count, each);
}

void measure_update(uint32_t count, uint32_t distinct_weights) {
  const host_list hosts = make_hosts(count, distinct_weights);
  weighted_rr ours{hosts};
  const double each = measure(20, [&] {
    ours.update(hosts);
    return *ours.pick();
  });
  std::printf("update, %5u weights    %6u hosts %8.2f ms\n", distinct_weights,
              count, each / 1e6);
}

} // namespace

int main() {
  std::printf("%-35s %11s %11s %13s %10s\n", "", "weighted_rr", "balancer",
              "classic", "ratio");
  for (const uint32_t count : {3U, 100U, 10'000U}) {
    compare("equal weights", count, 1);
    compare("weights 1..10", count, 10);
    compare("100 distinct weights", count, 100);
  }
  compare("10,000 distinct", 10'000, 10'000);
  for (const uint32_t distinct : {1U, 100U, 10'000U})
    measure_update(10'000, distinct);
  for (const auto method : {balance_method::hash, balance_method::least_conn,
                            balance_method::ewma, balance_method::random})
    for (const uint32_t count : {3U, 100U, 10'000U})
      measure_method(method, count);
  return 0;
}
