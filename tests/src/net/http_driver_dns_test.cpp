// A resolver that hangs: libcurl asks it on threads of its own, and neither
// other requests nor the shutdown may wait for those.
#include <dlfcn.h>
#include <netdb.h>

#include <atomic>
#include <condition_variable>
#include <cstring>
#include <mutex>

#include "support/catch.hpp"
#include "support/http_client.hpp"
#include "support/tcp_server.hpp"

using namespace zedcup;
using namespace zedcup::test;
using namespace std::chrono_literals;

namespace {

struct {
  std::mutex mutex;
  std::condition_variable changed;
  bool hanging = false;
  int inside = 0;
} resolver;

void hang() {
  std::unique_lock<std::mutex> lock(resolver.mutex);
  ++resolver.inside;
  resolver.changed.notify_all();
  resolver.changed.wait(lock, [] { return !resolver.hanging; });
  --resolver.inside;
  resolver.changed.notify_all();
}

bool wait_inside(int count) {
  std::unique_lock<std::mutex> lock(resolver.mutex);
  return resolver.changed.wait_for(lock, 10s,
                                   [&] { return resolver.inside == count; });
}

} // namespace

/// Stands before the C library's for the whole test program.
extern "C" __attribute__((visibility("default"))) int
getaddrinfo(const char* node, const char* service, const addrinfo* hints,
            addrinfo** found) {
  if (node && std::strcmp(node, "hangs.example") == 0) {
    hang();
    return EAI_NONAME;
  }
  static const auto real =
      reinterpret_cast<decltype(&getaddrinfo)>(dlsym(RTLD_NEXT, "getaddrinfo"));
  return real(node, service, hints, found);
}

TEST_CASE("http_driver: a resolver that hangs holds up nobody else", "[net]") {
  resolver.hanging = true;
  tcp_server server([](tcp_server::connection& peer) {
    while (!peer.read_request().empty())
      peer.send(http_answer("x"));
  });
  const auto driver = start_driver();
  auto request = to_port(80);
  http_endpoint endpoint;
  endpoint.host = "hangs.example";
  request.endpoint = std::make_shared<const http_endpoint>(endpoint);

  auto timed = request;
  timed.timeout = 50ms;
  auto timing_out = send(*driver, timed);
  auto cancelled = send(*driver, request);
  auto stopped = send(*driver, request);
  REQUIRE(wait_inside(3));
  REQUIRE(timing_out.get().error().code == errc::timed_out);
  driver->cancel(cancelled.id);
  REQUIRE(cancelled.get().error().code == errc::cancelled);
  REQUIRE(fetch(*driver, to_port(server.port())));
  const auto before = std::chrono::steady_clock::now();
  driver->stop();
  REQUIRE(std::chrono::steady_clock::now() - before < 500ms);
  REQUIRE(stopped.get().error().code == errc::cancelled);

  {
    const std::lock_guard<std::mutex> lock(resolver.mutex);
    resolver.hanging = false;
    resolver.changed.notify_all();
  }
  REQUIRE(wait_inside(0));
}
