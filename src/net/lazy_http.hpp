// An HTTP client whose thread begins with its first request: most workers
// never send one. Any thread.
#pragma once

#include <memory>
#include <mutex>

#include "net/http_driver.hpp"

namespace zedcup {

class lazy_http final : public http_client {
public:
  explicit lazy_http(const http_driver_options& options) : options_(options) {}
  ~lazy_http() override { stop(); }

  /// As http_driver's; where no thread can be started, the callback gets
  /// errc::exhausted at once, and the next request tries again.
  uint64_t submit(http_request request, callback on_done) override;
  void cancel(uint64_t id) override;

  /// As http_driver's. Later requests are cancelled at once.
  void stop();

private:
  std::shared_ptr<http_driver> driver(bool start);

  const http_driver_options options_;
  std::mutex mutex_;
  bool stopped_ = false;
  std::shared_ptr<http_driver> driver_;
};

} // namespace zedcup
