// What the HTTP driver does for health checks only.
#include <sys/resource.h>

#include "health/probe.hpp"
#include "net/lazy_http.hpp"
#include "support/catch.hpp"
#include "support/http_client.hpp"
#include "support/raw_server.hpp"
#include "support/tcp_server.hpp"
#include "support/temp_dir.hpp"

using namespace zedcup;
using namespace zedcup::test;
using namespace std::chrono_literals;

namespace {

http_request probe_of(uint16_t port) {
  auto request = to_port(port);
  request.probe = true;
  request.close_after = true;
  return request;
}

} // namespace

TEST_CASE("http_driver: a method of any name is sent", "[net][health]") {
  std::promise<std::string> seen;
  tcp_server server([&](tcp_server::connection& peer) {
    seen.set_value(peer.read_request());
    peer.send(http_answer("x"));
  });
  auto request = probe_of(server.port());
  request.method_name = "OPTIONS";
  request.headers = {{"Host", "www.example.com"}, {"User-Agent", "u"}};
  const auto driver = start_driver();
  REQUIRE(fetch(*driver, request));
  const auto text = seen.get_future().get();
  CHECK(text.rfind("OPTIONS / HTTP/1.1\r\n", 0) == 0);
  CHECK(text.find("\r\nHost: www.example.com\r\n") != std::string::npos);
  CHECK(text.find("\r\nUser-Agent: u\r\n") != std::string::npos);
}

TEST_CASE("http_driver: HEAD waits for no body", "[net][health]") {
  tcp_server server([&](tcp_server::connection& peer) {
    peer.read_request();
    peer.send("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n");
    peer.wait_for_close();
  });
  auto request = probe_of(server.port());
  request.method_name = "HEAD";
  const auto driver = start_driver();
  const auto answer = fetch(*driver, request);
  REQUIRE(answer);
  CHECK(answer->status == 200);
}

TEST_CASE("http_driver: a body is read up to its limit", "[net][health]") {
  tcp_server server([&](tcp_server::connection& peer) {
    peer.read_request();
    peer.send("HTTP/1.1 200 OK\r\n\r\n");
    while (peer.send(std::string(1000, 'x'))) { // without an end
    }
  });
  auto request = probe_of(server.port());
  request.body_limit = 4096;
  const auto driver = start_driver();
  const auto answer = fetch(*driver, request);
  REQUIRE(answer);
  CHECK(answer->status == 200);
  CHECK(answer->body == std::string(4096, 'x'));
}

TEST_CASE("http_driver: connect_only connects, and closes", "[net][health]") {
  std::promise<std::string> seen;
  raw_server server([&](int fd) {
    seen.set_value(raw_server::read_until(
        fd, [](const std::string& text) { return !text.empty(); }));
  });
  auto request = probe_of(server.port());
  request.connect_only = true;
  const auto driver = start_driver();
  REQUIRE(fetch(*driver, request));
  auto text = seen.get_future();
  REQUIRE(text.wait_for(4s) == std::future_status::ready); // it was closed
  CHECK(text.get().empty());
}

TEST_CASE("http_driver: connect_only to a closed port fails", "[net][health]") {
  auto request = probe_of(free_port());
  request.connect_only = true;
  const auto driver = start_driver();
  const auto answer = fetch(*driver, request);
  REQUIRE_FALSE(answer);
  CHECK(answer.error().code == errc::unavailable);
}

TEST_CASE("http_driver: a unix socket is reached", "[net][health]") {
  const temp_dir dir;
  raw_server server(
      [&](int fd) {
        raw_server::read_head(fd);
        raw_server::write(fd, http_answer("over unix"));
      },
      dir.file("s"));
  http_endpoint endpoint;
  endpoint.unix_path = dir.file("s");
  endpoint.host = "localhost";
  endpoint.port = 0;
  auto request = probe_of(1);
  request.endpoint = std::make_shared<const http_endpoint>(endpoint);
  const auto driver = start_driver();
  const auto answer = fetch(*driver, request);
  REQUIRE(answer);
  CHECK(answer->body == "over unix");
}

TEST_CASE("http_driver: a gRPC call over HTTP/2 gives body and trailers",
          "[net][health]") {
  const std::string serving("\0\0\0\0\2\x08\1", 7);
  raw_server server([&](int fd) { grpc_answer::serve(fd, serving, '0'); });
  auto request = probe_of(server.port());
  request.method = http_method::post;
  request.target = "/grpc.health.v1.Health/Check";
  request.headers = {{"content-type", "application/grpc"}, {"te", "trailers"}};
  request.body = grpc_health_request("");
  request.http2 = true;
  const auto driver = start_driver();
  const auto answer = fetch(*driver, request);
  REQUIRE(answer);
  CHECK(answer->status == 200);
  CHECK(answer->header("grpc-status") == "0");
  CHECK(answer->body == serving);
}

TEST_CASE("http_driver: no descriptor left is no fault of the host",
          "[net][health]") {
  tcp_server server([](tcp_server::connection& peer) { peer.read_request(); });
  const auto driver = start_driver();
  rlimit before{};
  getrlimit(RLIMIT_NOFILE, &before);
  // The lowest free descriptor is the limit: none can be made.
  const int lowest = dup(0);
  close(lowest);
  rlimit none = before;
  none.rlim_cur = static_cast<rlim_t>(lowest);
  setrlimit(RLIMIT_NOFILE, &none);
  const auto answer = fetch(*driver, probe_of(server.port()));
  setrlimit(RLIMIT_NOFILE, &before);
  REQUIRE_FALSE(answer);
  CHECK(answer.error().code == errc::exhausted);
}

TEST_CASE("lazy_http: begins with its first request, ends for good",
          "[net][health]") {
  tcp_server server([](tcp_server::connection& peer) {
    peer.read_request();
    peer.send(http_answer("x"));
  });
  lazy_http http{http_driver_options{}};
  http.cancel(7); // nobody there yet
  std::promise<bool> answered;
  CHECK(http.submit(probe_of(server.port()), [&](result<http_response> got) {
    answered.set_value(static_cast<bool>(got));
  }) != 0);
  CHECK(answered.get_future().get());
  http.stop();
  bool refused = false;
  CHECK(http.submit(probe_of(server.port()),
                    [&](result<http_response> got) { refused = !got; }) == 0);
  CHECK(refused);
}

TEST_CASE("http_driver: its thread may let others go first", "[http_driver]") {
  http_driver_options options;
  options.nice = 10;
  const auto driver = start_driver(options);
  std::promise<int> seen;
  driver->submit(to_port(1), [&](const result<http_response>&) {
    seen.set_value(getpriority(PRIO_PROCESS, 0));
  });
  CHECK(seen.get_future().get() == 10);
  CHECK(getpriority(PRIO_PROCESS, 0) < 10);
}
