// Runs HTTP exchanges on one thread of its own, many at a time, over libcurl.
// All members may be called from any thread. Construct after fork.
#pragma once

#include <cstdint>
#include <memory>

#include "net/http_client.hpp"

namespace zedcup {

struct http_driver_options {
  size_t max_body_bytes = size_t{64} << 20; ///< larger: too_large
  size_t max_header_bytes = size_t{64} << 10;
  /// The thread's nice value, so that its exchanges let others go first; 0: as
  /// the process.
  int nice = 0;
};

/// Speaks HTTP/1.1 unless told otherwise, so that a long poll has a connection
/// to itself; connections are reused. Redirects are not followed, proxies in
/// the environment are ignored, and no signal is raised or received.
///
/// Callbacks run on the driver's thread. They may submit and cancel, but not
/// stop or destroy the driver.
class http_driver final : public http_client {
public:
  /// Starts the thread. Errors: unavailable (no thread, no libcurl).
  static result<std::unique_ptr<http_driver>>
  start(const http_driver_options& options = {});

  /// As stop().
  ~http_driver() override;

  /// Queues a request and returns its id, never 0; does not block.
  /// Every HTTP status is an answer. Errors: unavailable (resolve, refused,
  /// closed early, TLS), timed_out, bad_answer (not HTTP), too_large,
  /// invalid_argument (unusable request or certificate file), cancelled.
  /// After stop(): calls `on_done` at once with cancelled, returns 0.
  uint64_t submit(http_request request, callback on_done) override;

  /// Ends a request: its callback gets errc::cancelled, soon, on the driver's
  /// thread. Without effect when the answer came first or the id is unknown.
  void cancel(uint64_t id) override;

  /// Ends every request with errc::cancelled and joins the thread, within
  /// milliseconds also with long polls in flight. Idempotent.
  void stop();

private:
  class loop;
  explicit http_driver(std::unique_ptr<loop> impl);
  std::unique_ptr<loop> loop_;
};

} // namespace zedcup
