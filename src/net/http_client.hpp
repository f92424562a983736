// What the actors need of an HTTP client. http_driver is the real one; tests
// have one that they script.
#pragma once

#include <cstdint>
#include <functional>

#include "net/http_message.hpp"
#include "util/result.hpp"

namespace zedcup {

class http_client {
public:
  /// Called exactly once per submit, on any thread; must not block.
  using callback = std::function<void(result<http_response>)>;

  http_client() = default;
  http_client(const http_client&) = delete;
  http_client& operator=(const http_client&) = delete;
  virtual ~http_client() = default;

  /// Queues a request and returns its id, never 0; does not block. A client
  /// that has been stopped calls `on_done` at once with cancelled, and
  /// returns 0.
  virtual uint64_t submit(http_request request, callback on_done) = 0;

  /// Ends a request: its callback gets errc::cancelled soon. Without effect
  /// when the answer came first or the id is unknown.
  virtual void cancel(uint64_t id) = 0;
};

} // namespace zedcup
