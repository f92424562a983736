// An order to outcomes that cannot get lost without an answer.
#pragma once

#include <string>
#include <utility>

#include "actors/system.hpp"

namespace zedcup {

/// Travels from the facade to outcomes, and through its queue to its end; see
/// write_ask, which does the same for the writer.
class host_ask {
public:
  /// `out` must outlive it.
  host_ask(outbox<loop_message>* out, host_order order)
      : out_(out), order_(std::move(order)) {}
  ~host_ask() {
    try {
      answer("outcomes was restarted: whether it was written is not known");
    } catch (const std::exception&) {
      // No memory for the answer. Whoever asked has a bound of its own.
    }
  }
  host_ask(const host_ask&) = delete;
  host_ask& operator=(const host_ask&) = delete;

  const host_order& order() const { return order_; }

  /// The first answer counts. An empty `problem` means success.
  void answer(std::string problem, std::string payload = {},
              uint64_t revision = 0) {
    if (out_ != nullptr)
      std::exchange(out_, nullptr)
          ->push(host_done{order_.ask_id, std::move(problem),
                           std::move(payload), order_.host, revision});
  }

private:
  outbox<loop_message>* out_; ///< nullptr: answered
  host_order order_;
};

} // namespace zedcup
