#include "actors/consul_store.hpp"

#include <unordered_map>
#include <utility>

#include "actors/guard.hpp"
#include "store/consul_protocol.hpp"

namespace zedcup {

namespace {

struct consul_store_state {
  static inline const char* name = "zedcup.store";

  using finisher = std::function<void(result<http_response>)>;

  caf::event_based_actor* self = nullptr;
  context_ptr ctx;
  std::vector<consul_target> targets;
  size_t target = 0;
  uint64_t next_ticket = 1;
  struct call {
    finisher finish;
    size_t target = 0; ///< where it went
  };
  std::unordered_map<uint64_t, call> waiting;

  /// Whoever asked must not wait for the bound of its request.
  ~consul_store_state() {
    for (auto& [ticket, open_call] : waiting)
      open_call.finish(error{errc::unavailable, "the store was restarted"});
  }

  const consul_options& options() const {
    return std::get<consul_options>(ctx->options.store);
  }

  void submit(http_request request, finisher finish) {
    auto ticket = next_ticket++;
    // Writes are rare: at rest a node keeps one connection, its leader's.
    request.close_after = true;
    waiting.emplace(ticket, call{std::move(finish), target});
    ctx->http->submit(
        std::move(request), [me = caf::actor_cast<caf::actor>(self),
                             ticket](result<http_response> answer) {
          caf::anon_send(me,
                         msg::http_done{0, ticket,
                                        std::make_shared<result<http_response>>(
                                            std::move(answer))});
        });
  }

  void on_answer(const msg::http_done& done) {
    auto at = waiting.find(done.ticket);
    if (at == waiting.end())
      return;
    auto ended = std::move(at->second);
    waiting.erase(at);
    // Of several calls that fail on one server, the first moves on.
    if (ended.target == target && useless(*done.answer))
      target = (target + 1) % targets.size();
    ended.finish(std::move(*done.answer));
  }

  /// Another server may do better: nobody there, or one without a leader.
  static bool useless(const result<http_response>& answer) {
    return !answer || answer->status >= 500;
  }

  caf::response_promise read(const std::string& prefix) {
    auto promise = self->make_response_promise();
    auto request = consul::read_tree(targets[target], prefix,
                                     consul::read_mode::consistent);
    submit(std::move(request),
           [promise, prefix](result<http_response> answer) mutable {
             promise.deliver(msg::read_reply{parse_read(answer, prefix)});
           });
    return promise;
  }

  caf::response_promise watch(const msg::watch_order& order) {
    auto promise = self->make_response_promise();
    auto request = consul::blocking_read(targets[target], order.prefix,
                                         order.index, order.wait);
    submit(std::move(request), [promise, prefix = order.prefix](
                                   result<http_response> answer) mutable {
      promise.deliver(msg::read_reply{parse_read(answer, prefix)});
    });
    return promise;
  }

  caf::response_promise session(const msg::session_order& order) {
    auto promise = self->make_response_promise();
    submit(session_request(order),
           [promise, order](result<http_response> answer) mutable {
             promise.deliver(msg::session_reply{
                 answer ? parse_session(order, *answer)
                        : result<std::string>{answer.error()}});
           });
    return promise;
  }

  http_request session_request(const msg::session_order& order) const {
    const auto& to = targets[target];
    if (order.what == msg::session_order::verb::renew)
      return consul::renew_session(to, order.id);
    if (order.what == msg::session_order::verb::destroy)
      return consul::destroy_session(to, order.id);
    consul::session_options wanted;
    wanted.name = order.name;
    wanted.ttl = order.ttl;
    // The key under registry/ is to go with its session, and a lock's with it:
    // as with the original zedcup. A holder stops by its own clock before the
    // session can end, so there is nothing for a lock-delay to protect.
    wanted.delete_keys = true;
    wanted.lock_delay = std::chrono::milliseconds{0};
    return consul::create_session(to, wanted);
  }

  static result<std::string> parse_session(const msg::session_order& order,
                                           const http_response& answer) {
    if (order.what == msg::session_order::verb::create)
      return consul::parse_session_id(answer);
    if (order.what == msg::session_order::verb::renew) {
      if (auto renewed = consul::parse_renewal(answer); !renewed)
        return renewed.error();
    } else if (auto ended = consul::parse_flag(answer); !ended) {
      return ended.error();
    }
    return order.id;
  }

  static result<std::shared_ptr<const kv_tree>>
  parse_read(const result<http_response>& answer, const std::string& prefix) {
    if (!answer)
      return answer.error();
    auto read = consul::parse_tree(*answer, prefix);
    if (!read)
      return read.error();
    return std::make_shared<const kv_tree>(std::move(read->tree));
  }

  caf::response_promise commit(const std::vector<kv_op>& ops) {
    auto promise = self->make_response_promise();
    auto request = consul::commit(targets[target], ops, options().limits);
    if (!request) {
      promise.deliver(msg::commit_reply{request.error()});
      return promise;
    }
    submit(std::move(*request),
           [promise, ops](result<http_response> answer) mutable {
             promise.deliver(msg::commit_reply{
                 answer ? consul::parse_commit(*answer, ops)
                        : result<commit_result>{answer.error()}});
           });
    return promise;
  }
};

caf::behavior consul_store(caf::stateful_actor<consul_store_state>* self,
                           context_ptr ctx) {
  log_exceptions(self, ctx);
  auto& state = self->state;
  state.self = self;
  state.ctx = std::move(ctx);
  state.targets = consul_targets(state.options());
  return {
      [=](const msg::read_order& order) {
        return self->state.read(order.prefix);
      },
      [=](const msg::commit_order& order) {
        return self->state.commit(order.ops);
      },
      [=](const msg::watch_order& order) { return self->state.watch(order); },
      [=](const msg::session_order& order) {
        return self->state.session(order);
      },
      [=](const msg::http_done& done) { self->state.on_answer(done); },
  };
}

} // namespace

caf::actor spawn_consul_store(caf::actor_system& sys, context_ptr ctx) {
  return sys.spawn(consul_store, std::move(ctx));
}

} // namespace zedcup
