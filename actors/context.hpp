// What every actor gets from the system that spawns it.
#pragma once

#include <memory>
#include <string>

#include <spdlog/spdlog.h>

#include "actors/system.hpp"
#include "net/http_client.hpp"

namespace zedcup {

/// Immutable, apart from the objects behind the pointers, each of which may be
/// used from any thread. Outlives the actors.
struct context {
  system_options options;
  outbox<loop_message>* out = nullptr;
  std::shared_ptr<spdlog::logger> log;
  std::shared_ptr<http_client> http;       ///< null with the embedded store
  std::shared_ptr<http_client> probe_http; ///< for health checks alone
  std::string run; ///< names this start of the actors, unlike any other
};

using context_ptr = std::shared_ptr<const context>;

} // namespace zedcup
