// Log lines of actor threads: formatted there, written by the event loop.
#pragma once

#include <memory>
#include <string>

#include <spdlog/spdlog.h>

#include "actors/system.hpp"

namespace zedcup {

/// A logger whose lines go to `out` as log_line; lines above nginx's level
/// `nginx_level` are not formatted. While a thousand lines wait, further ones
/// are dropped and counted in the next one that gets through. Thread-safe.
std::shared_ptr<spdlog::logger> make_logger(outbox<loop_message>& out,
                                            int nginx_level);

} // namespace zedcup
