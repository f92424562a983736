// An order to the writer that cannot get lost without an answer.
#pragma once

#include <memory>
#include <string>
#include <utility>

#include "actors/system.hpp"

namespace zedcup {

/// Travels from the facade to the writer, and with a job of the writer's to
/// its end. Dropped on the way (in the mailbox of a writer that has ended, or
/// with the jobs of one that failed), it says so by itself.
class write_ask {
public:
  /// `out` must outlive it.
  write_ask(outbox<loop_message>* out, write_order order)
      : out_(out), order_(std::move(order)) {}
  ~write_ask() {
    try {
      answer("the writer was restarted: whether it was written is not known",
             0);
    } catch (const std::exception&) {
      // No memory for the answer. Whoever asked has a bound of its own.
    }
  }
  write_ask(const write_ask&) = delete;
  write_ask& operator=(const write_ask&) = delete;

  const write_order& order() const { return order_; }

  /// The first answer counts. An empty `problem` means success.
  void answer(std::string problem, uint64_t revision) {
    if (out_ == nullptr)
      return;
    std::exchange(out_, nullptr)
        ->push(write_done{order_.ask_id, std::move(problem), order_.instance,
                          order_.remove, revision});
  }

private:
  outbox<loop_message>* out_; ///< nullptr: answered
  write_order order_;
};

} // namespace zedcup
