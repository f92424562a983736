// A scripted TCP server for tests: a thread per connection runs the script.
#pragma once

#include <cstdint>
#include <functional>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

namespace zedcup::test {

/// A loopback port that was free a moment ago, out of ZEDCUP_TEST_PORTS
/// ("first-last", default 21000-21999: below the range that the kernel hands
/// out by itself). Never the same twice in a process.
uint16_t free_port();

class tcp_server {
public:
  /// One accepted connection.
  class connection {
  public:
    explicit connection(int fd) : fd_(fd) {}
    /// The next request with its body (by Content-Length); empty: closed.
    std::string read_request() const;
    /// False when the peer is gone.
    bool send(std::string_view text) const;
    /// Blocks until the peer closes, or the server ends.
    void wait_for_close() const;

  private:
    int fd_;
  };
  using script = std::function<void(connection&)>;

  /// Listens on 127.0.0.1. The connection is closed when the script returns.
  explicit tcp_server(script run);
  ~tcp_server();
  tcp_server(const tcp_server&) = delete;
  tcp_server& operator=(const tcp_server&) = delete;

  uint16_t port() const { return port_; }
  /// Connections accepted so far.
  size_t accepted() const;

private:
  void accept_loop();
  void serve(int fd);

  script script_;
  uint16_t port_ = 0;
  int listener_ = -1;
  mutable std::mutex mutex_;
  bool stopping_ = false;
  size_t accepted_ = 0;
  std::vector<int> open_;
  std::vector<std::thread> workers_;
  std::thread acceptor_;
};

/// "HTTP/1.1 200 OK" with that body and its length.
std::string http_answer(std::string_view body,
                        std::string_view status = "200 OK",
                        std::string_view extra_headers = "");

} // namespace zedcup::test
