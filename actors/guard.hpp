// What all actors do about exceptions.
#pragma once

#include <exception>

#include "actors/context.hpp"
#include "actors/messages.hpp"

namespace zedcup {

/// An exception in a handler ends the actor, and the supervisor starts it
/// again; but its reason has no text, and CAF would print that to stderr.
template <class State>
void log_exceptions(caf::stateful_actor<State>* self, const context_ptr& ctx) {
  self->set_exception_handler([log = ctx->log](std::exception_ptr& thrown) {
    try {
      std::rethrow_exception(thrown);
    } catch (const std::exception& problem) {
      log->critical("{}: {}", State::name, problem.what());
    } catch (...) {
      log->critical("{}: an unknown exception", State::name);
    }
    return caf::make_error(caf::sec::runtime_error);
  });
}

} // namespace zedcup
