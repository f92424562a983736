// The HTTP driver as a test uses it: requests that wait for their answer.
#pragma once

#include <chrono>
#include <future>
#include <memory>

#include "net/http_driver.hpp"

namespace zedcup::test {

inline std::unique_ptr<http_driver>
start_driver(const http_driver_options& options = {}) {
  auto started = http_driver::start(options);
  if (!started)
    throw std::runtime_error(started.error().message);
  return std::move(*started);
}

inline http_request to_port(uint16_t port, std::string target = "/") {
  http_endpoint endpoint;
  endpoint.port = port;
  http_request request;
  request.endpoint = std::make_shared<const http_endpoint>(endpoint);
  request.target = std::move(target);
  return request;
}

struct pending_answer {
  uint64_t id = 0;
  std::future<result<http_response>> outcome;

  /// Fails the test when nothing comes.
  result<http_response> get() {
    if (outcome.wait_for(std::chrono::seconds(20)) != std::future_status::ready)
      throw std::runtime_error("the driver did not answer");
    return outcome.get();
  }
};

inline pending_answer send(http_driver& driver, http_request request) {
  auto promise = std::make_shared<std::promise<result<http_response>>>();
  pending_answer pending;
  pending.outcome = promise->get_future();
  pending.id = driver.submit(std::move(request),
                             [promise](result<http_response> outcome) {
                               promise->set_value(std::move(outcome));
                             });
  return pending;
}

inline result<http_response> fetch(http_driver& driver, http_request request) {
  return send(driver, std::move(request)).get();
}

} // namespace zedcup::test
