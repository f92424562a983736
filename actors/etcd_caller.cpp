#include "actors/etcd_caller.hpp"

#include <iterator>
#include <utility>

namespace zedcup {

namespace {

constexpr size_t gateways = std::size(etcd::gateway_prefixes);

/// Another member may do better: nobody there, or one without a leader.
bool useless(const result<http_response>& answer) {
  return !answer || answer->status >= 500;
}

} // namespace

etcd_caller::etcd_caller(caf::event_based_actor* self, context_ptr ctx)
    : self_(self), ctx_(std::move(ctx)), endpoints_(make_endpoints(options())),
      have_token_(options().user.empty()) {}

etcd_caller::~etcd_caller() {
  auto left = std::exchange(open_, {});
  for (auto& [ticket, open] : left) {
    ctx_->http->cancel(open.request);
    open.done(error{errc::unavailable, "the store was restarted"});
  }
}

std::string etcd_caller::where() const {
  return endpoints_[endpoint_]->authority();
}

uint64_t etcd_caller::call(etcd::call what, finisher done,
                           std::chrono::milliseconds timeout) {
  open_call fresh;
  fresh.what = std::move(what);
  fresh.done = std::move(done);
  fresh.timeout = timeout;
  return begin(std::move(fresh));
}

uint64_t etcd_caller::stream(etcd::call what, chunk_sink sink, finisher ended) {
  open_call fresh;
  fresh.what = std::move(what);
  fresh.done = std::move(ended);
  fresh.sink = std::move(sink);
  return begin(std::move(fresh));
}

void etcd_caller::cancel(uint64_t ticket) {
  auto at = open_.find(ticket);
  if (at == open_.end())
    return;
  ctx_->http->cancel(at->second.request);
  open_.erase(at);
}

void etcd_caller::cancel_all() {
  while (!open_.empty())
    cancel(open_.begin()->first);
}

uint64_t etcd_caller::begin(open_call fresh) {
  auto ticket = next_ticket_++;
  auto& open = open_.emplace(ticket, std::move(fresh)).first->second;
  submit(ticket, open);
  return ticket;
}

void etcd_caller::submit(uint64_t ticket, open_call& open) {
  open.asking_token = !have_token_;
  open.endpoint = endpoint_;
  open.gateway = gateway_;
  const bool streams = open.sink && !open.asking_token;
  auto what = open.asking_token
                  ? etcd::authenticate(options().user, options().password)
                  : open.what;
  http_request request;
  request.endpoint = endpoints_[endpoint_];
  request.method = http_method::post;
  request.target = std::string(etcd::gateway_prefixes[gateway_]) + what.path;
  request.body = std::move(what.body);
  if (!open.asking_token && !token_.empty())
    request.headers.emplace_back("Authorization", token_);
  if (streams) {
    request.timeout = std::chrono::milliseconds{0};
    request.on_chunk = open.sink;
  } else {
    // At rest a node keeps one connection, its leader's stream.
    request.close_after = true;
    if (open.timeout.count() != 0)
      request.timeout = open.timeout;
  }
  open.request = ctx_->http->submit(
      std::move(request), [me = caf::actor_cast<caf::actor>(self_),
                           ticket](result<http_response> answer) {
        caf::anon_send(me,
                       msg::http_done{0, ticket,
                                      std::make_shared<result<http_response>>(
                                          std::move(answer))});
      });
}

void etcd_caller::on_answer(const msg::http_done& done) {
  auto at = open_.find(done.ticket);
  if (at == open_.end())
    return;
  auto& open = at->second;
  auto& answer = *done.answer;
  // Of several calls that fail on one member, the first moves on.
  if (open.endpoint == endpoint_ && useless(answer))
    endpoint_ = (endpoint_ + 1) % endpoints_.size();
  if (answer && try_again(open, *answer))
    return submit(done.ticket, open);
  if (!answer || !open.asking_token)
    return finish(done.ticket, std::move(answer));
  auto token = etcd::parse_token(*answer);
  if (!token)
    return finish(done.ticket, token.error());
  token_ = std::move(*token);
  have_token_ = true;
  submit(done.ticket, open);
}

/// Whether the answer only says that the call must be put differently.
bool etcd_caller::try_again(open_call& open, const http_response& answer) {
  if (etcd::is_no_gateway(answer) && ++open.gateways_tried < gateways) {
    if (open.gateway == gateway_)
      gateway_ = (gateway_ + 1) % gateways;
    return true;
  }
  if (open.asking_token || options().user.empty() || open.renewed_token ||
      !etcd::is_stale_token(answer))
    return false;
  open.renewed_token = true;
  have_token_ = false;
  return true;
}

void etcd_caller::finish(uint64_t ticket, result<http_response> with) {
  auto at = open_.find(ticket);
  auto done = std::move(at->second.done);
  open_.erase(at);
  done(std::move(with));
}

} // namespace zedcup
