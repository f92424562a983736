#include "nginx/peer_set.hpp"

#include <utility>

namespace zedcup {

namespace {

balancer::options options_of(balance_method method, uint32_t offset) {
  balancer::options wanted;
  wanted.method = method;
  wanted.offset = offset;
  wanted.seed = uint64_t{offset} + 1;
  return wanted;
}

} // namespace

peer_revision::peer_revision(const peer_revision* before,
                             balancer::peer_list peers, uint32_t offset,
                             uint64_t now_ms)
    : peers_(std::move(peers)), offset_(offset) {
  if (before == nullptr) {
    by_method_[0].emplace(options_of(balance_method::weighted_rr, offset),
                          peers_, now_ms);
    return;
  }
  by_method_ = before->by_method_;
  wants_reports_ = before->wants_reports_;
  for (auto& one : by_method_)
    if (one) {
      one->update(peers_, now_ms);
      one->share_loads(base()); // also those of peers that join
    }
}

void peer_revision::use(balance_method method, uint64_t now_ms) {
  auto& mine = by_method_[static_cast<size_t>(method)];
  balancer made = base();
  made.update(options_of(method, offset_), peers_, now_ms);
  wants_reports_ = wants_reports_ || made.wants_reports();
  mine = std::move(made);
}

} // namespace zedcup
