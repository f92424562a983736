#include "net/http_driver.hpp"

#include <signal.h>

#include <atomic>
#include <thread>

#include "support/catch.hpp"
#include "support/http_client.hpp"
#include "support/tcp_server.hpp"

using namespace zedcup;
using namespace zedcup::test;
using namespace std::chrono_literals;

namespace {

using connection = tcp_server::connection;

/// Answers every request on a connection with that text.
tcp_server::script always(std::string text) {
  return [text](connection& peer) {
    while (!peer.read_request().empty() && peer.send(text)) {
    }
  };
}

void never(connection& peer) {
  peer.wait_for_close();
}

} // namespace

TEST_CASE("http_driver: a GET gives status, headers and body", "[net]") {
  tcp_server server(
      always(http_answer("hello", "404 Not Found", "X-Consul-Index:  7 \r\n")));
  const auto driver = start_driver();
  const auto answer = fetch(*driver, to_port(server.port()));
  REQUIRE(answer);
  REQUIRE(answer->status == 404);
  REQUIRE(answer->body == "hello");
  REQUIRE(answer->header("x-consul-index") == "7");
  REQUIRE(answer->elapsed.count() > 0);
}

TEST_CASE("http_driver: a PUT sends its target, headers and body", "[net]") {
  std::promise<std::string> seen;
  tcp_server server([&](connection& peer) {
    seen.set_value(peer.read_request());
    peer.send(http_answer(""));
  });
  auto request = to_port(server.port(), "/v1/../kv/a%20b?cas=0");
  auto endpoint = *request.endpoint;
  endpoint.headers = {{"X-Consul-Token", "secret"}};
  request.endpoint = std::make_shared<const http_endpoint>(endpoint);
  request.method = http_method::put;
  request.headers = {{"X-Empty", ""}};
  request.body = std::string("a\0b", 3);
  const auto driver = start_driver();
  REQUIRE(fetch(*driver, request));
  const auto text = seen.get_future().get();
  REQUIRE(text.rfind("PUT /v1/../kv/a%20b?cas=0 HTTP/1.1\r\n", 0) == 0);
  REQUIRE(text.find("\r\nX-Consul-Token: secret\r\n") != std::string::npos);
  REQUIRE(text.find("\r\nX-Empty:\r\n") != std::string::npos);
  REQUIRE(text.find("\r\nContent-Length: 3\r\n") != std::string::npos);
  REQUIRE(text.find("Expect") == std::string::npos);
  REQUIRE(text.substr(text.size() - 3) == std::string("a\0b", 3));
}

TEST_CASE("http_driver: DELETE and an empty PUT carry no body", "[net]") {
  std::vector<std::string> seen;
  tcp_server server([&](connection& peer) {
    for (auto text = peer.read_request(); !text.empty();
         text = peer.read_request()) {
      seen.push_back(text);
      peer.send(http_answer("true"));
    }
  });
  const auto driver = start_driver();
  auto request = to_port(server.port());
  request.method = http_method::del;
  REQUIRE(fetch(*driver, request));
  request.method = http_method::put;
  REQUIRE(fetch(*driver, request));
  REQUIRE(seen.at(0).rfind("DELETE / HTTP/1.1\r\n", 0) == 0);
  REQUIRE(seen.at(1).find("Content-Length: 0\r\n") != std::string::npos);
}

TEST_CASE("http_driver: connections are reused unless told otherwise",
          "[net]") {
  tcp_server server(always(http_answer("x")));
  const auto driver = start_driver();
  for (int i = 0; i < 5; ++i)
    REQUIRE(fetch(*driver, to_port(server.port())));
  REQUIRE(server.accepted() == 1);
  auto request = to_port(server.port());
  request.close_after = true;
  REQUIRE(fetch(*driver, request));
  REQUIRE(fetch(*driver, request));
  REQUIRE(server.accepted() == 3);
}

TEST_CASE("http_driver: short calls go on beside a long poll", "[net]") {
  tcp_server server([](connection& peer) {
    for (;;) {
      const auto text = peer.read_request();
      if (text.empty())
        return;
      if (text.rfind("GET /slow", 0) == 0)
        peer.wait_for_close();
      else
        peer.send(http_answer("x"));
    }
  });
  const auto driver = start_driver();
  auto slow = send(*driver, to_port(server.port(), "/slow"));
  for (int i = 0; i < 20; ++i)
    REQUIRE(fetch(*driver, to_port(server.port())));
  driver->cancel(slow.id);
  const auto outcome = slow.get();
  REQUIRE_FALSE(outcome);
  REQUIRE(outcome.error().code == errc::cancelled);
}

TEST_CASE("http_driver: a refused connection is unavailable and names the "
          "address",
          "[net]") {
  const auto port = free_port();
  const auto driver = start_driver();
  const auto outcome = fetch(*driver, to_port(port));
  REQUIRE_FALSE(outcome);
  REQUIRE(outcome.error().code == errc::unavailable);
  REQUIRE(outcome.error().message.find("127.0.0.1:" + std::to_string(port)) ==
          0);
}

TEST_CASE("http_driver: a silent server and a trickling one time out",
          "[net]") {
  tcp_server server([](connection& peer) {
    const auto text = peer.read_request();
    if (text.find("/trickle") != std::string::npos) {
      peer.send("HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n");
      while (peer.send("x"))
        std::this_thread::sleep_for(5ms);
    }
    peer.wait_for_close();
  });
  const auto driver = start_driver();
  for (const char* target : {"/silent", "/trickle"}) {
    auto request = to_port(server.port(), target);
    request.timeout = 100ms;
    const auto outcome = fetch(*driver, request);
    REQUIRE_FALSE(outcome);
    REQUIRE(outcome.error().code == errc::timed_out);
  }
}

TEST_CASE("http_driver: a body cut short is an error, not an answer", "[net]") {
  tcp_server server([](connection& peer) {
    peer.read_request();
    peer.send("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n[{\"Key\"");
  });
  const auto driver = start_driver();
  const auto outcome = fetch(*driver, to_port(server.port()));
  REQUIRE_FALSE(outcome);
  REQUIRE(outcome.error().code == errc::unavailable);
}

TEST_CASE("http_driver: an answer that is no HTTP is a bad answer", "[net]") {
  tcp_server server([](connection& peer) {
    peer.read_request();
    peer.send("SSH-2.0-OpenSSH_9.2\r\n\r\n");
  });
  const auto driver = start_driver();
  const auto outcome = fetch(*driver, to_port(server.port()));
  REQUIRE_FALSE(outcome);
  REQUIRE(outcome.error().code == errc::bad_answer);
}

TEST_CASE("http_driver: a close without an answer is unavailable", "[net]") {
  tcp_server server([](connection& peer) { peer.read_request(); });
  const auto driver = start_driver();
  const auto outcome = fetch(*driver, to_port(server.port()));
  REQUIRE_FALSE(outcome);
  REQUIRE(outcome.error().code == errc::unavailable);
}

TEST_CASE("http_driver: bodies and headers beyond the caps are too large",
          "[net]") {
  tcp_server server([](connection& peer) {
    const auto text = peer.read_request();
    if (text.find("/headers") != std::string::npos) {
      std::string headers;
      for (int i = 0; i < 100; ++i)
        headers += "X-Pad: " + std::string(1000, 'x') + "\r\n";
      peer.send(http_answer("x", "200 OK", headers));
    } else {
      peer.send(http_answer(std::string(2000, 'x')));
    }
    peer.wait_for_close();
  });
  http_driver_options options;
  options.max_body_bytes = 1000;
  const auto driver = start_driver(options);
  for (const char* target : {"/headers", "/body"}) {
    const auto outcome = fetch(*driver, to_port(server.port(), target));
    REQUIRE_FALSE(outcome);
    REQUIRE(outcome.error().code == errc::too_large);
  }
}

TEST_CASE("http_driver: redirects are answers and are not followed", "[net]") {
  tcp_server server(always(http_answer(
      "", "301 Moved", "Location: http://192.0.2.1/elsewhere\r\n")));
  const auto driver = start_driver();
  const auto answer = fetch(*driver, to_port(server.port()));
  REQUIRE(answer);
  REQUIRE(answer->status == 301);
}

TEST_CASE("http_driver: the environment's proxies are ignored", "[net]") {
  setenv("http_proxy", "http://127.0.0.1:1", 1);
  tcp_server server(always(http_answer("x")));
  const auto driver = start_driver();
  const auto answer = fetch(*driver, to_port(server.port()));
  unsetenv("http_proxy");
  REQUIRE(answer);
}

TEST_CASE("http_driver: unusable requests are refused before any I/O",
          "[net]") {
  const auto driver = start_driver();
  const auto code = [&](const http_request& request) {
    const auto outcome = fetch(*driver, request);
    REQUIRE_FALSE(outcome);
    return outcome.error().code;
  };
  REQUIRE(code(http_request{}) == errc::invalid_argument);
  REQUIRE(code(to_port(0)) == errc::invalid_argument);
  REQUIRE(code(to_port(80, "no-slash")) == errc::invalid_argument);
  REQUIRE(code(to_port(80, "/a b")) == errc::invalid_argument);
  REQUIRE(code(to_port(80, "/a\r\nX: y")) == errc::invalid_argument);
  auto smuggled = to_port(80);
  smuggled.headers = {{"X", "a\r\nY: b"}};
  REQUIRE(code(smuggled) == errc::invalid_argument);
  auto elsewhere = to_port(80);
  http_endpoint endpoint;
  endpoint.host = "user@other/";
  elsewhere.endpoint = std::make_shared<const http_endpoint>(endpoint);
  REQUIRE(code(elsewhere) == errc::invalid_argument);
}

TEST_CASE("http_driver: TLS towards a plain server names TLS in its error",
          "[net]") {
  tcp_server server([](connection& peer) {
    peer.send("HTTP/1.1 400 Bad Request\r\n\r\n");
    peer.wait_for_close();
  });
  auto request = to_port(server.port());
  auto endpoint = *request.endpoint;
  endpoint.tls = true;
  endpoint.sni_host = "store.example";
  request.endpoint = std::make_shared<const http_endpoint>(endpoint);
  const auto driver = start_driver();
  const auto outcome = fetch(*driver, request);
  REQUIRE_FALSE(outcome);
  REQUIRE(outcome.error().code == errc::unavailable);
  REQUIRE(outcome.error().message.find("TLS: ") != std::string::npos);
}

TEST_CASE("http_driver: a CA file that is missing is the operator's error",
          "[net]") {
  tcp_server server(never);
  auto request = to_port(server.port());
  auto endpoint = *request.endpoint;
  endpoint.tls = true;
  endpoint.ca_cert = "/nonexistent/ca.pem";
  request.endpoint = std::make_shared<const http_endpoint>(endpoint);
  const auto driver = start_driver();
  const auto outcome = fetch(*driver, request);
  REQUIRE_FALSE(outcome);
  REQUIRE(outcome.error().code == errc::invalid_argument);
  REQUIRE(outcome.error().message.find("ca.pem") != std::string::npos);
}

TEST_CASE("http_driver: a stream delivers pieces as they come", "[net]") {
  std::promise<void> got_first;
  tcp_server server([&](connection& peer) {
    peer.read_request();
    peer.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
              "3\r\nabc\r\n");
    got_first.get_future().wait();
    peer.send("3\r\ndef\r\n0\r\n\r\n");
    peer.wait_for_close();
  });
  std::string pieces;
  auto request = to_port(server.port());
  request.timeout = 0ms;
  request.on_chunk = [&](std::string_view piece) {
    if (pieces.empty())
      got_first.set_value();
    pieces += piece;
    return true;
  };
  const auto driver = start_driver();
  const auto answer = fetch(*driver, request);
  REQUIRE(answer);
  REQUIRE(answer->body.empty());
  REQUIRE(pieces == "abcdef");
}

TEST_CASE("http_driver: a stream's reader may end it, and never sees an error "
          "page",
          "[net]") {
  tcp_server server([](connection& peer) {
    const auto text = peer.read_request();
    const bool bad = text.find("/bad") != std::string::npos;
    peer.send(http_answer("page", bad ? "500 Oops" : "200 OK"));
    peer.wait_for_close();
  });
  const auto driver = start_driver();
  auto request = to_port(server.port());
  request.on_chunk = [](std::string_view) { return false; };
  const auto ended = fetch(*driver, request);
  REQUIRE_FALSE(ended);
  REQUIRE(ended.error().code == errc::cancelled);
  request.target = "/bad";
  const auto failed = fetch(*driver, request);
  REQUIRE(failed);
  REQUIRE(failed->status == 500);
  REQUIRE(failed->body == "page");
}

TEST_CASE("http_driver: stop ends long polls at once, each exactly once",
          "[net]") {
  tcp_server server(never);
  const auto driver = start_driver();
  std::atomic<int> cancelled{0};
  std::atomic<int> other{0};
  const auto count = [&](const result<http_response>& outcome) {
    ++(!outcome && outcome.error().code == errc::cancelled ? cancelled : other);
  };
  for (int i = 0; i < 20; ++i)
    driver->submit(to_port(server.port()), count);
  while (server.accepted() < 20)
    std::this_thread::yield();
  const auto before = std::chrono::steady_clock::now();
  driver->stop();
  const auto took = std::chrono::steady_clock::now() - before;
  REQUIRE(cancelled == 20);
  REQUIRE(other == 0);
#if !defined(__SANITIZE_THREAD__) && !defined(__SANITIZE_ADDRESS__)
  REQUIRE(took < 20ms);
#else
  REQUIRE(took < 500ms);
#endif
  driver->stop();
  REQUIRE(driver->submit(to_port(server.port()), count) == 0);
  REQUIRE(cancelled == 21);
  driver->cancel(1);
}

TEST_CASE("http_driver: cancel of an id that is over does nothing", "[net]") {
  tcp_server server(always(http_answer("x")));
  const auto driver = start_driver();
  auto pending = send(*driver, to_port(server.port()));
  REQUIRE(pending.get());
  driver->cancel(pending.id);
  driver->cancel(12345);
  REQUIRE(fetch(*driver, to_port(server.port())));
}

TEST_CASE("http_driver: callbacks may submit and cancel", "[net]") {
  tcp_server server([](connection& peer) {
    for (auto text = peer.read_request(); !text.empty();
         text = peer.read_request())
      if (text.find("/slow") == std::string::npos)
        peer.send(http_answer("x"));
  });
  const auto driver = start_driver();
  auto slow = send(*driver, to_port(server.port(), "/slow"));
  std::promise<bool> second;
  driver->submit(to_port(server.port()), [&](result<http_response>) {
    driver->cancel(slow.id);
    driver->submit(to_port(server.port()), [&](result<http_response> outcome) {
      second.set_value(static_cast<bool>(outcome));
    });
  });
  REQUIRE(second.get_future().get());
  REQUIRE_FALSE(slow.get());
}

TEST_CASE("http_driver: many threads may submit and cancel while it stops",
          "[net]") {
  tcp_server server(always(http_answer("x")));
  const auto driver = start_driver();
  std::atomic<int> submitted{0};
  std::atomic<int> called{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i)
    threads.emplace_back([&] {
      for (int n = 0; n < 50; ++n) {
        ++submitted;
        const auto id =
            driver->submit(to_port(server.port()),
                           [&](const result<http_response>&) { ++called; });
        if (n % 3 == 0)
          driver->cancel(id);
      }
    });
  while (called < 20)
    std::this_thread::yield();
  driver->stop();
  for (auto& thread : threads)
    thread.join();
  REQUIRE(called == submitted);
}

TEST_CASE("http_driver: its thread receives no signals", "[net]") {
  static std::atomic<pthread_t> receiver{};
  static std::atomic<int> received{0};
  struct sigaction action {};
  struct sigaction before {};
  action.sa_handler = [](int) {
    receiver = pthread_self();
    ++received;
  };
  sigaction(SIGUSR1, &action, &before);
  const auto driver = start_driver();
  sigset_t usr1;
  sigset_t old;
  sigemptyset(&usr1);
  sigaddset(&usr1, SIGUSR1);
  // With this thread's signal blocked, any other open thread would take it.
  pthread_sigmask(SIG_BLOCK, &usr1, &old);
  kill(getpid(), SIGUSR1);
  tcp_server server(always(http_answer("x")));
  REQUIRE(fetch(*driver, to_port(server.port())));
  REQUIRE(received == 0);
  pthread_sigmask(SIG_SETMASK, &old, nullptr);
  while (received == 0)
    std::this_thread::yield();
  REQUIRE(receiver == pthread_self());
  sigaction(SIGUSR1, &before, nullptr);
}
