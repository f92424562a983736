#include <chrono>
#include <memory>
#include <utility>

#include "actors/etcd_actors.hpp"
#include "actors/etcd_caller.hpp"
#include "actors/guard.hpp"

namespace zedcup {

namespace {

struct etcd_store_state {
  static inline const char* name = "zedcup.store";

  caf::event_based_actor* self = nullptr;
  context_ptr ctx;
  std::unique_ptr<etcd_caller> caller;

  commit_limits limits() const {
    return std::get<etcd_options>(ctx->options.store).limits();
  }

  caf::response_promise read(const std::string& prefix) {
    auto promise = self->make_response_promise();
    caller->call(etcd::read_range(prefix, etcd::prefix_end(prefix)),
                 [promise](result<http_response> answer) mutable {
                   promise.deliver(msg::read_reply{parse_read(answer)});
                 });
    return promise;
  }

  static result<std::shared_ptr<const kv_tree>>
  parse_read(const result<http_response>& answer) {
    if (!answer)
      return answer.error();
    auto read = etcd::parse_range(*answer);
    if (!read)
      return read.error();
    return std::make_shared<const kv_tree>(std::move(read->tree));
  }

  caf::response_promise commit(const std::vector<kv_op>& ops) {
    auto promise = self->make_response_promise();
    attempt(ops, false, promise);
    return promise;
  }

  /// A key that the session holds already counts as locked: that is a second
  /// transaction, since etcd has no "or".
  void attempt(const std::vector<kv_op>& ops, bool held,
               caf::response_promise promise) {
    auto call = etcd::commit(ops, limits(), held);
    if (!call)
      return promise.deliver(msg::commit_reply{call.error()});
    caller->call(std::move(*call), [this, ops, held, promise](
                                       result<http_response> answer) mutable {
      auto outcome = answer ? etcd::parse_commit(*answer, ops)
                            : result<commit_result>{answer.error()};
      if (!outcome && outcome.error().code == errc::conflict && !held &&
          has_lock(ops))
        return attempt(ops, true, promise);
      promise.deliver(msg::commit_reply{std::move(outcome)});
    });
  }

  /// Sessions are leases, which end exactly after their TTL.
  caf::response_promise session(const msg::session_order& order) {
    using verb = msg::session_order::verb;
    auto promise = self->make_response_promise();
    // Whole seconds: rounded up, the holder counts on no more than it asked
    // for.
    const auto ttl = std::chrono::ceil<std::chrono::seconds>(order.ttl);
    auto call = order.what == verb::create  ? etcd::grant_lease(ttl)
                : order.what == verb::renew ? etcd::renew_lease(order.id)
                                            : etcd::revoke_lease(order.id);
    caller->call(std::move(call),
                 [promise, order](result<http_response> answer) mutable {
                   promise.deliver(msg::session_reply{
                       answer ? parse_session(order, *answer)
                              : result<std::string>{answer.error()}});
                 });
    return promise;
  }

  static result<std::string> parse_session(const msg::session_order& order,
                                           const http_response& answer) {
    using verb = msg::session_order::verb;
    if (order.what == verb::create)
      return etcd::parse_lease(answer);
    auto done = order.what == verb::renew ? etcd::parse_renewal(answer)
                                          : etcd::parse_revocation(answer);
    if (!done)
      return done.error();
    return order.id;
  }

  static bool has_lock(const std::vector<kv_op>& ops) {
    for (auto& op : ops)
      if (op.what == kv_op::verb::lock)
        return true;
    return false;
  }
};

caf::behavior etcd_store(caf::stateful_actor<etcd_store_state>* self,
                         context_ptr ctx) {
  log_exceptions(self, ctx);
  auto& state = self->state;
  state.self = self;
  state.ctx = std::move(ctx);
  state.caller = std::make_unique<etcd_caller>(self, state.ctx);
  return {
      [=](const msg::read_order& order) {
        return self->state.read(order.prefix);
      },
      [=](const msg::commit_order& order) {
        return self->state.commit(order.ops);
      },
      // At once: whoever watches asks again after a while.
      [=](const msg::watch_order& order) {
        return self->state.read(order.prefix);
      },
      [=](const msg::session_order& order) {
        return self->state.session(order);
      },
      [=](const msg::http_done& done) { self->state.caller->on_answer(done); },
  };
}

} // namespace

caf::actor spawn_etcd_store(caf::actor_system& sys, context_ptr ctx) {
  return sys.spawn(etcd_store, std::move(ctx));
}

} // namespace zedcup
