// Calls to etcd on behalf of one actor: which member, which gateway, which
// token, and who waits for what. A member of the actor's state; it runs on that
// actor only.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <string>
#include <unordered_map>

#include "actors/context.hpp"
#include "actors/messages.hpp"
#include "store/etcd_options.hpp"
#include "store/etcd_protocol.hpp"

namespace zedcup {

class etcd_caller {
public:
  /// Gets every answer of the gateway, whatever its status; called once.
  using finisher = std::function<void(result<http_response>)>;
  /// Called on the HTTP thread with each piece of a stream; false ends it.
  using chunk_sink = std::function<bool(std::string_view)>;

  etcd_caller(caf::event_based_actor* self, context_ptr ctx);
  /// Cancels everything; whoever waits gets errc::unavailable.
  ~etcd_caller();
  etcd_caller(const etcd_caller&) = delete;
  etcd_caller& operator=(const etcd_caller&) = delete;

  /// A short call on a connection of its own, bounded by `timeout` (the
  /// options' where zero). @returns its ticket, for cancel().
  uint64_t call(etcd::call what, finisher done,
                std::chrono::milliseconds timeout = {});

  /// A call whose answer goes on until somebody ends it.
  uint64_t stream(etcd::call what, chunk_sink sink, finisher ended);

  /// Ends a call or a stream; its finisher is dropped.
  void cancel(uint64_t ticket);
  /// cancel() of everything.
  void cancel_all();

  /// The owner's handler of msg::http_done.
  void on_answer(const msg::http_done& done);

  /// Where calls go now, for messages.
  std::string where() const;

private:
  struct open_call {
    etcd::call what;
    finisher done;
    chunk_sink sink; ///< of a stream
    std::chrono::milliseconds timeout{};
    uint64_t request = 0;        ///< http_client's id
    size_t endpoint = 0;         ///< where it went
    size_t gateway = 0;          ///< and by which prefix
    unsigned gateways_tried = 0; ///< that were none
    bool asking_token = false;
    bool renewed_token = false;
  };

  const etcd_options& options() const {
    return std::get<etcd_options>(ctx_->options.store);
  }

  uint64_t begin(open_call fresh);
  void submit(uint64_t ticket, open_call& open);
  bool try_again(open_call& open, const http_response& answer);
  void finish(uint64_t ticket, result<http_response> with);

  caf::event_based_actor* self_;
  context_ptr ctx_;
  etcd_endpoints endpoints_;
  size_t endpoint_ = 0;
  size_t gateway_ = 0;
  std::string token_;
  bool have_token_ = false; ///< or know that none is needed
  uint64_t next_ticket_ = 1;
  std::unordered_map<uint64_t, open_call> open_;
};

} // namespace zedcup
