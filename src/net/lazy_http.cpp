#include "net/lazy_http.hpp"

namespace zedcup {

std::shared_ptr<http_driver> lazy_http::driver(bool start) {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (!driver_ && start && !stopped_)
    if (auto made = http_driver::start(options_))
      driver_ = std::move(*made);
  return driver_;
}

uint64_t lazy_http::submit(http_request request, callback on_done) {
  if (const auto running = driver(true))
    return running->submit(std::move(request), std::move(on_done));
  on_done(error{errc::exhausted, "http: no thread"});
  return 0;
}

void lazy_http::cancel(uint64_t id) {
  if (const auto running = driver(false))
    running->cancel(id);
}

void lazy_http::stop() {
  std::shared_ptr<http_driver> running;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    stopped_ = true;
    running = driver_;
  }
  if (running)
    running->stop();
}

} // namespace zedcup
